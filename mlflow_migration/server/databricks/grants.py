"""Owners and grants of Unity Catalog's objects.

Read as plain JSON: databricks-sdk's `Privilege` (0.156) lacks CREATE_MODEL_VERSION, and turns what it doesn't know into
None. A registered model is a securable of type `function` where grants are concerned.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from mlflow_migration.calls.access_lists import AccessList, Entry
from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.places import UNITY_CATALOG
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Rest

log = logging.getLogger(__name__)

ROUTE = "/api/2.1/unity-catalog/"
CATALOG, SCHEMA, MODEL, TABLE, VOLUME = "catalog", "schema", "function", "table", "volume"
"""Types of securables in the grants' routes."""
_ROUTES = {CATALOG: "catalogs", SCHEMA: "schemas", MODEL: "models", TABLE: "tables", VOLUME: "volumes"}
NO_PRINCIPAL = "PRINCIPAL_DOES_NOT_EXIST"
_ALL_PAGES = {"max_results": "0"}
"""Pages of the server's own size; without it the answer is said to be cut one day."""


class Grants:
    """Speaks of securables by type and full name."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def head(self, type_: str, name: str) -> Json | None:
        """An object as Unity Catalog shows it, with its `owner`; None where there is none. Raises ForbiddenError."""
        try:
            return self._rest.call("GET", f"{ROUTE}{_ROUTES[type_]}/{quote(name, safe='')}")
        except ServerError as error:
            if is_gone(error):
                return None
            raise

    def metastore(self) -> Json | None:
        """The workspace's metastore with its `name` and `owner`; None where the workspace has none."""
        try:
            return self._rest.call("GET", ROUTE + "metastore_summary")
        except ServerError as error:
            if is_gone(error):
                return None
            raise

    def direct(self, type_: str, name: str) -> list[Json]:
        """What was granted on an object itself: `{"principal", "privileges": [...]}`."""
        return self._assignments("permissions", type_, name)

    def effective(self, type_: str, name: str, principals: Iterable[str]) -> list[Json]:
        """What holds on an object, inherited or not: privileges are `{"privilege", "inherited_from_type", …_name}`.

        Of everybody, in one request. Who doesn't manage the object may ask only for themselves and their groups: then
        of each of these. Raises ForbiddenError where neither is allowed.
        """
        try:
            return self._assignments("effective-permissions", type_, name)
        except ForbiddenError as error:
            log.info("asked of one after the other: %s", error)
        return [
            row
            for each in principals
            for row in self._assignments("effective-permissions", type_, name, principal=each)
        ]

    def _assignments(self, route: str, type_: str, name: str, **query: str) -> list[Json]:
        path = f"{ROUTE}{route}/{type_}/{quote(name, safe='')}"
        try:
            return list(pages.pages(self._rest, path, {**_ALL_PAGES, **query}, "privilege_assignments"))
        except ServerError as error:
            if query and error.code == NO_PRINCIPAL:
                # A group of the workspace alone, as `users` is: Unity Catalog knows the account's.
                return []
            raise

    def of_model(self, name: str) -> AccessList | None:
        """Who was given what on a registered model, and its owner; None where there is none."""
        head = self.head(MODEL, name)
        if head is None:
            return None
        entries = (
            Entry("", str(each["principal"]), tuple(sorted(map(str, each.get("privileges", ())))))
            for each in self.direct(MODEL, name)
            # What a principal was given that is deleted stays with an empty name.
            if each.get("principal")
        )
        return AccessList(UNITY_CATALOG, tuple(entry for entry in entries if entry.levels), str(head.get("owner", "")))

    def add_to_model(self, name: str, entries: Sequence[Entry]) -> None:
        """Grant what entries say, in one request, all or nothing; what was granted before stays."""
        changes = [{"principal": entry.principal, "add": list(entry.levels)} for entry in entries]
        self._rest.call("PATCH", f"{ROUTE}permissions/{MODEL}/{quote(name, safe='')}", {"changes": changes})


_SQL = {MODEL: "FUNCTION"}
"""In SQL a registered model is granted on as a function, as the REST API has it (docs.databricks.com, privileges)."""


def quoted(name: str) -> str:
    """An identifier or principal as SQL takes any."""
    return "`" + name.replace("`", "``") + "`"


def statement(privilege: str, type_: str, name: str, principal: str) -> str:
    """The SQL that grants a privilege, given in the REST API's words, on an object by its full name."""
    on = ".".join(map(quoted, name.split(".")))
    return f"GRANT {privilege.replace('_', ' ')} ON {_SQL.get(type_, type_.upper())} {on} TO {quoted(principal)};"


def is_gone(error: ServerError) -> bool:
    """Whether Unity Catalog says that there is no such thing: CATALOG_DOES_NOT_EXIST and the like."""
    return error.code.endswith(("DOES_NOT_EXIST", "NOT_FOUND")) and error.code != "ENDPOINT_NOT_FOUND"
