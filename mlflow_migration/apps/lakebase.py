"""The PostgreSQL of `lakebase`: a project with autoscaling that is found or made, or an instance that exists.

Routes and fields are those of databricks-sdk's `service/postgres.py` and `service/database.py` (0.156). New provisioned
instances can't be made since March 2026 (Databricks' release notes), projects can. What makes or changes something
answers with an operation, which is asked for until it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.platform import TAKEN, found
from mlflow_migration.apps.wait import Waiting, until
from mlflow_migration.errors import ConflictError, MigrationError, NotFoundError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Rest

POSTGRES, INSTANCES = "/api/2.0/postgres/", "/api/2.0/database/instances/"
READ_WRITE = "ENDPOINT_TYPE_READ_WRITE"
CONNECT_AND_CREATE = "CAN_CONNECT_AND_CREATE"
"""The one permission an app's resource of this kind takes; the app's role has no other of the platform's."""
AVAILABLE = "AVAILABLE"


@dataclass(frozen=True)
class Home:
    """Which PostgreSQL it is, by what is there: a project's branch, or an instance."""

    name: str
    branch: str = ""
    is_there: bool = False

    @property
    def is_instance(self) -> bool:
        """Whether it is a provisioned instance."""
        return not self.branch

    @property
    def endpoint(self) -> str:
        """The endpoint a project begins with; `connection` knows the true one."""
        return f"{self.branch}/endpoints/primary" if self.branch else ""

    def __str__(self) -> str:
        return f"instance {self.name}" if self.is_instance else f"project {self.name}"


@dataclass(frozen=True)
class Connection:
    """Where its database is: what an app is bound to (`resource`), and what gives tokens for it."""

    home: Home
    host: str
    database: str
    endpoint: str
    resource: Json


def home(rest: Rest, config: AppConfig) -> Home:
    """The project or instance a configuration means; nothing is made. Raises NotFoundError for an instance it names
    that isn't there, ForbiddenError."""
    told = config.lakebase_or_default
    name = told.instance or told.project or config.name
    branch = f"projects/{name}/branches/{told.branch}"
    if not told.instance and found(rest, f"{POSTGRES}projects/{quote(name)}") is not None:
        return Home(name, branch, is_there=True)
    if found(rest, INSTANCES + quote(name)) is not None:
        return Home(name, is_there=True)
    if told.instance:
        hint = "leave instance out: a project is made then, as new instances can't be"
        raise NotFoundError(f"there is no Lakebase instance {name}", f"at {rest.address}", hint)
    return Home(name, branch)


def make(rest: Rest, config: AppConfig, where: Home, waiting: Waiting) -> None:
    """Make the project, and wait until it is there."""
    told = config.lakebase_or_default
    limits = {"autoscaling_limit_min_cu": told.min_cu, "autoscaling_limit_max_cu": told.max_cu}
    body: Json = {"spec": {"display_name": where.name, "default_endpoint_settings": limits}}
    path, what = f"{POSTGRES}projects/{quote(where.name)}", f"Lakebase project {where.name}"
    query = {"project_id": where.name}
    begun = rest.call("POST", f"{POSTGRES}projects", body, query=query, look=lambda: found(rest, path))
    if "/operations/" in str(begun.get("name")):
        finished(rest, begun, what, waiting)
    until(lambda: found(rest, f"{POSTGRES}{where.branch}"), what, lambda branch: branch is not None, waiting)


def connection(rest: Rest, config: AppConfig, where: Home, waiting: Waiting) -> Connection:
    """Where the database is, as soon as its compute has an address. Raises NotFoundError, MigrationError."""
    told = config.lakebase_or_default
    if where.is_instance:
        head = until(
            lambda: rest.call("GET", INSTANCES + quote(where.name)),
            f"Lakebase instance {where.name}",
            lambda one: one.get("state") == AVAILABLE or one.get("effective_stopped") is True,
            waiting,
        )
        if head.get("state") != AVAILABLE:
            raise MigrationError(f"the Lakebase instance {where.name} is {head.get('state')}", hint="start it first")
        resource = {"instance_name": where.name, "database_name": told.database, "permission": CONNECT_AND_CREATE}
        return Connection(where, str(head["read_write_dns"]), told.database, "", {"database": resource})
    endpoint = until(lambda: _endpoint(rest, where), f"the endpoint of {where}", lambda one: bool(_host(one)), waiting)
    database = _database(rest, where, told.database)
    bound = {"branch": where.branch, "database": database, "permission": CONNECT_AND_CREATE}
    return Connection(where, _host(endpoint), told.database, str(endpoint["name"]), {"postgres": bound})


def token(rest: Rest, place: Connection) -> str:
    """A password for the caller's own role, good for an hour. Never print it."""
    if place.home.is_instance:
        body: Json = {"instance_names": [place.home.name]}
        return str(rest.call("POST", "/api/2.0/database/credentials", body)["token"])
    return str(rest.call("POST", f"{POSTGRES}credentials", {"endpoint": place.endpoint})["token"])


def role(rest: Rest, place: Home, name: str) -> Json | None:
    """The role of that name in PostgreSQL, as the API shows it; None where there is none."""
    if place.is_instance:
        return found(rest, f"{INSTANCES}{quote(place.name)}/roles/{quote(name, safe='')}")
    roles = pages.pages(rest, f"{POSTGRES}{place.branch}/roles", {}, "roles")
    return next((each for each in roles if _status(each).get("postgres_role") == name), None)


def ensure_role(rest: Rest, place: Home, client_id: str, waiting: Waiting) -> bool:
    """A role for an app's service principal, which may log in and nothing more; whether it was made.

    As a rule the app's resource has made it already.
    """
    if role(rest, place, client_id) is not None:
        return False
    try:
        if place.is_instance:
            told: Json = {"name": client_id, "identity_type": "SERVICE_PRINCIPAL"}
            rest.call("POST", f"{INSTANCES}{quote(place.name)}/roles", told)
            return True
        spec = {"postgres_role": client_id, "identity_type": "SERVICE_PRINCIPAL", "auth_method": "LAKEBASE_OAUTH_V1"}
        query = {"role_id": f"sp-{client_id}"}
        begun = rest.call("POST", f"{POSTGRES}{place.branch}/roles", {"spec": spec}, query=query)
    except ServerError as error:
        if error.code not in TAKEN:
            raise
        return False
    finished(rest, begun, f"the role of {client_id}", waiting)
    return True


def drop_role(rest: Rest, place: Home, name: str, heir: str, waiting: Waiting) -> bool:
    """Take a role away; what it owns is the role `heir`'s then, if one is named. Whether there was one.

    Raises ServerError where it owns something and nobody inherits it.
    """
    head = role(rest, place, name)
    if head is None:
        return False
    if place.is_instance:
        query = {"reassign_owned_to": heir} if heir else None
        rest.call("DELETE", f"{INSTANCES}{quote(place.name)}/roles/{quote(name, safe='')}", query=query)
        return True
    other = role(rest, place, heir) if heir else None
    query = {"reassign_owned_to": str(other["name"])} if other else None
    finished(rest, rest.call("DELETE", f"{POSTGRES}{head['name']}", query=query), f"the end of role {name}", waiting)
    return True


def finished(rest: Rest, operation: Json, what: str, waiting: Waiting) -> None:
    """Wait for an operation. Raises MigrationError where it failed."""
    name = str(operation["name"])
    ended = until(
        lambda: operation if operation.get("done") else rest.call("GET", f"{POSTGRES}{name}"),
        what,
        lambda one: bool(one.get("done")),
        waiting,
    )
    if error := ended.get("error"):
        raise MigrationError(f"{what} failed", str(error.get("message") or error))


def _endpoint(rest: Rest, where: Home) -> Json:
    """The endpoint of the branch that is written to; {} where it has none yet."""
    path = f"{POSTGRES}{where.branch}/endpoints"
    try:
        there = list(pages.pages(rest, path, {}, "endpoints"))
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise NotFoundError(f"{where} has no branch {where.branch.rpartition('/')[2]}", error.why) from error
    return next((each for each in there if _status(each).get("endpoint_type", READ_WRITE) == READ_WRITE), {})


def _host(endpoint: Json) -> str:
    hosts = _status(endpoint).get("hosts") or {}
    return str(hosts.get("host") or "")


def _database(rest: Rest, where: Home, name: str) -> str:
    """The full name the API has for a database."""
    there = pages.pages(rest, f"{POSTGRES}{where.branch}/databases", {}, "databases")
    for each in there:
        if _status(each).get("postgres_database") == name:
            return str(each["name"])
    raise ConflictError(f"{where} has no database {name}", "", "make it there, or leave lakebase.database out")


def _status(head: Json) -> dict[str, Any]:
    status = head.get("status")
    return status if isinstance(status, dict) else {}
