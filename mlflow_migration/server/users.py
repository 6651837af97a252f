"""Users, roles and permissions of MLflow's basic-auth over REST, as MLflow 3.17 has them (tried on 3.17.2).

Passwords are never given. Only an administrator sees all of it: to others the lists come shortened, without a word.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus

from mlflow_migration.errors import ConflictError, ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.address import DEFAULT_WORKSPACE
from mlflow_migration.server.rest import Rest

NAMED = {
    "gateway_secret": ("gateway/secrets/list", "secrets", "secret_id", "secret_name"),
    "gateway_endpoint": ("gateway/endpoints/list", "endpoints", "endpoint_id", "name"),
    "gateway_model_definition": (
        "gateway/model-definitions/list",
        "model_definitions",
        "model_definition_id",
        "name",
    ),
    "mcp_server": ("mcp-servers", "mcp_servers", "name", "name"),
}
"""By resource type: the route that lists such things, and the fields of list, id and name. Names are unique."""
TAKEN = "RESOURCE_ALREADY_EXISTS"
PASSWORD_BYTES = 32


class Users:
    """Implements `UserCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._exist: bool | None = None

    @property
    def workspace(self) -> str:
        """The workspace these credentials work in: roles and permissions belong to one."""
        return self._rest.workspace or DEFAULT_WORKSPACE

    def exist(self) -> bool:
        """Whether the server has users at all.

        Raises ForbiddenError where these credentials are not an administrator's, ConflictError where the server can't
        list its users: it is too old, or they aren't MLflow's own.
        """
        if self._exist is None:
            self._exist = self._asked()
        return self._exist

    def _asked(self) -> bool:
        try:
            answer = self._rest.call("GET", pages.V2 + "users/current")
        except ServerError as error:
            if error.status not in pages.LACKING:
                raise
            if self._is_old():
                raise ConflictError("this server is too old to list its users", "MLflow 3.17 does") from error
            return False
        user = answer.get("user")
        if not isinstance(user, dict) or "is_admin" not in user:
            raise ConflictError("this server's users aren't those of MLflow's basic-auth", self._rest.address)
        if not user["is_admin"]:
            raise ForbiddenError(
                "only an administrator sees users, roles and permissions",
                f"{user.get('username')!r} at {self._rest.address} is none",
                "give an administrator's credentials",
            )
        return True

    def _is_old(self) -> bool:
        """Whether the server has users though it can't tell who asks: it misses a name rather than the route."""
        try:
            self._rest.call("GET", pages.V2 + "users/get")
        except ForbiddenError:
            return True
        except ServerError as error:
            return error.status == HTTPStatus.BAD_REQUEST
        return True

    def list_users(self) -> list[Json]:
        """Every user, with roles and their permissions: one request, which MLflow doesn't page."""
        users: list[Json] = self._rest.call("GET", pages.V2 + "users/list")["users"]
        return users

    def list_roles(self) -> list[Json]:
        """Every role of the workspace with its permissions, those too in which MLflow keeps a user's own."""
        query = {"workspace": self.workspace}
        roles: list[Json] = self._rest.call("GET", pages.V3 + "roles/list", query=query)["roles"]
        return roles

    def create_user(self, username: str) -> Json:
        """The new user's head. Its password is made here, at random, and kept nowhere."""

        def look() -> Json | None:
            found = pages.get_or_none(self._rest, pages.V2 + "users/get", {"username": username}, "user")
            return {"user": found} if found else None

        body = {"username": username, "password": secrets.token_urlsafe(PASSWORD_BYTES)}
        try:
            made: Json = pages.post(self._rest, pages.V2 + "users/create", body, look)["user"]
        except ServerError as error:
            if error.code == TAKEN:
                raise ConflictError(f"somebody else made the user {username!r} at the same time") from None
            # MLflow's own words may hold the statement that failed, with the password's hash in it.
            raise ServerError(error.what, error.why.partition("[SQL")[0], error.status, error.code) from None
        return made

    def set_admin(self, username: str, is_admin: bool) -> None:
        self._rest.call("PATCH", pages.V2 + "users/update-admin", {"username": username, "is_admin": is_admin})

    def create_role(self, name: str, description: str) -> Json:
        """The new role's head."""

        def look() -> Json | None:
            found = next((role for role in self.list_roles() if role["name"] == name), None)
            return {"role": found} if found else None

        body = {"workspace": self.workspace, "name": name, **({"description": description} if description else {})}
        made: Json = pages.post(self._rest, pages.V3 + "roles/create", body, look)["role"]
        return made

    def update_role(self, role_id: int, description: str) -> None:
        self._rest.call("PATCH", pages.V3 + "roles/update", {"role_id": role_id, "description": description})

    def add_role_permission(self, role_id: int, permission: Json) -> None:
        def look() -> Json | None:
            query = {"role_id": role_id}
            there = self._rest.call("GET", pages.V3 + "roles/permissions/list", query=query)["role_permissions"]
            found = (row for row in there if permission.items() <= row.items())
            return next(found, None)

        pages.post(self._rest, pages.V3 + "roles/permissions/add", {"role_id": role_id, **permission}, look)

    def update_permission(self, permission_id: int, level: str) -> None:
        body = {"role_permission_id": permission_id, "permission": level}
        self._rest.call("PATCH", pages.V3 + "roles/permissions/update", body)

    def remove_permission(self, permission_id: int) -> None:
        body = {"role_permission_id": permission_id}
        pages.unless_gone(self._rest, pages.V3 + "roles/permissions/remove", body, "DELETE")

    def assign_role(self, username: str, role_id: int) -> None:
        def look() -> Json | None:
            query = {"username": username}
            roles = self._rest.call("GET", pages.V3 + "users/roles/list", query=query)["roles"]
            return next((role for role in roles if role["id"] == role_id), None)

        pages.post(self._rest, pages.V3 + "roles/assign", {"username": username, "role_id": role_id}, look)

    def grant(self, username: str, permission: Json) -> None:
        """Give a user a permission of their own, which they don't have yet on that thing."""

        def look() -> Json | None:
            query = {"username": username}
            rows = self._rest.call("GET", pages.V3 + "users/permissions/list", query=query)["permissions"]
            # Names as `__user_7__` are MLflow's: nobody else may give a role one.
            own = (row for row in rows if row["role_name"].startswith("__user_"))
            return next((row for row in own if permission.items() <= row.items()), None)

        body = {
            "username": username,
            "resource_type": permission["resource_type"],
            "resource_id": permission["resource_pattern"],
            "permission": permission["permission"],
        }
        pages.post(self._rest, pages.V3 + "users/permissions/grant", body, look)

    def resource_names(self, resource_type: str) -> dict[str, str]:
        """The names of the things of a type in NAMED, by the ids that permissions know them by."""
        route, field, id_, name = NAMED[resource_type]
        found = pages.pages(self._rest, pages.V3 + route, {}, field)
        return {str(thing[id_]): str(thing[name]) for thing in pages.where_known(found)}
