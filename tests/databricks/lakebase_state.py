"""Lakebase's databases: a real PostgreSQL for each branch or instance, its roles, and the tokens to log in with.

A project's owner is, as on the platform, no superuser but a member of `databricks_superuser`, which owns the database
`databricks_postgres`; other roles may connect, and no more until they are granted more.
"""

import re
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from tests.databricks import access, acl, errors, lakebase_login, lakebase_servers
from tests.databricks.app_state import moment
from tests.databricks.lakebase_servers import Servers
from tests.databricks.state import Principal, Workspace

SUPERUSER = "databricks_superuser"
DATABASE = "databricks_postgres"
BRANCH, ENDPOINT = "production", "primary"
OAUTH, NO_LOGIN = "LAKEBASE_OAUTH_V1", "NO_LOGIN"
ATTRIBUTES = ("createdb", "createrole", "bypassrls")
PG_VERSION = 17


@dataclass
class Role:
    """A role of a cluster that the API made or knows; `name` is the one in PostgreSQL."""

    id: str
    name: str
    identity: str = ""
    auth: str = OAUTH
    superuser: bool = False
    attributes: Mapping[str, bool] = field(default_factory=dict)
    created: str = field(default_factory=moment)


@dataclass
class Database:
    """A database of a cluster, and the name of the role that owns it."""

    id: str
    name: str
    owner: str
    created: str = field(default_factory=moment)


@dataclass
class Cluster:
    """One PostgreSQL. `host` is where clients reach it, `address` where this emulator does, as its superuser."""

    host: str
    address: str
    roles: dict[str, Role] = field(default_factory=dict)
    databases: dict[str, Database] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    def stop(self) -> None:
        """It is gone, with all its data."""
        self._open.close()

    def execute(self, statement: sql.Composed | sql.SQL, database: str = "postgres") -> None:
        """Carry one statement out as superuser."""
        address = self.address.replace("/postgres?", f"/{database}?")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement)

    def disconnect(self) -> None:
        """End every connection of a client, as a restart of the compute does."""
        lakebase_servers.end_connections(self.address)


@dataclass
class Project:
    """An autoscaling project with its one branch and endpoint, or (`instance`) a provisioned instance."""

    name: str
    owner: str
    sent: dict[str, Any]
    uid: str
    instance: bool = False
    state: str = "STARTING"
    cluster: Cluster | None = None
    created: str = field(default_factory=moment)
    updated: str = field(default_factory=moment)


@dataclass
class Lakebase:
    """The projects and instances of a workspace; `seconds` is how long one takes to be there, beside PostgreSQL's own.

    `takes_instances` lets provisioned instances be created, which the platform ended in March 2026.
    """

    projects: dict[str, Project] = field(default_factory=dict)
    instances: dict[str, Project] = field(default_factory=dict)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    seconds: float = 0.2
    takes_instances: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def close(self) -> None:
        """Stop every PostgreSQL."""
        for one in [*self.projects.values(), *self.instances.values()]:
            if one.cluster:
                one.cluster.stop()

    def expire_tokens(self) -> None:
        """Every token given so far is over: nobody logs in with it any more."""
        with self.lock:
            self.tokens = {token: (owner, 0.0) for token, (owner, _) in self.tokens.items()}

    def token(self, principal: str, seconds: float) -> str:
        """A new token of a principal."""
        made = "lb" + secrets.token_urlsafe(48)
        with self.lock:
            self.tokens[made] = (principal, time.time() + seconds)
        return made

    def good(self, role: str, token: str) -> bool:
        """Whether a token logs this role in now."""
        owner, ends = self.tokens.get(token, ("", 0.0))
        return owner == role and ends > time.time()


def lakebase(workspace: Workspace) -> Lakebase:
    """The workspace's Lakebase."""
    return workspace.part(Lakebase)


def start(workspace: Workspace, owner: str) -> Cluster:
    """A running PostgreSQL with the owner's role; raises RuntimeError or psycopg.Error when it can't be."""
    held, opened = lakebase(workspace), ExitStack()
    servers = workspace.account.lasting.get(Servers)
    server = servers.take()
    opened.callback(servers.give_back, server)
    cluster = Cluster("", server.address, _open=opened)

    def allows(role: str, token: str) -> bool:
        known = {one.name: one for one in cluster.roles.values()}.get(role)
        return known is not None and known.auth == OAUTH and held.good(role, token)

    login = lakebase_login.start(server.socket, allows)
    opened.callback(login.stop)
    cluster.host = login.host
    for statement in (
        f"CREATE ROLE {SUPERUSER} NOLOGIN CREATEDB CREATEROLE BYPASSRLS",
        f"GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO {SUPERUSER}",
        f"CREATE DATABASE {DATABASE} OWNER {SUPERUSER}",
    ):
        cluster.execute(sql.SQL(statement))
    cluster.databases["databricks-postgres"] = Database("databricks-postgres", DATABASE, SUPERUSER)
    principal = workspace.account.principals[owner]
    identity = "SERVICE_PRINCIPAL" if principal.service else "USER"
    add_role(cluster, Role(role_id(owner), owner, identity, superuser=True))
    return cluster


def role_id(name: str) -> str:
    """The id of a role nobody gave one."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return slug if slug[:1].isalpha() else f"role-{slug}"


def add_role(cluster: Cluster, role: Role) -> None:
    """Make the role in PostgreSQL; raises psycopg.Error when there is one of that name."""
    cluster.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role.name), _options(role)))
    _set_membership(cluster, role)
    cluster.roles[role.id] = role


def change_role(cluster: Cluster, role: Role) -> None:
    """Make the role in PostgreSQL what is described."""
    cluster.execute(sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(role.name), _options(role)))
    _set_membership(cluster, role)
    cluster.roles[role.id] = role


def drop_role(cluster: Cluster, role: Role) -> None:
    """Take the role away; raises psycopg.Error while it owns something."""
    cluster.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role.name)))
    del cluster.roles[role.id]


def reassign(cluster: Cluster, name: str, other: str) -> None:
    """What the role owns in any database is the other's; what was granted to it is gone."""
    for database in ("postgres", *(each.name for each in cluster.databases.values())):
        for statement in ("REASSIGN OWNED BY {0} TO {1}", "DROP OWNED BY {0}"):
            made = sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(other))
            cluster.execute(made, database)


def _options(role: Role) -> sql.SQL:
    words = ["NOLOGIN" if role.auth == NO_LOGIN else "LOGIN"]
    for name in ATTRIBUTES:
        given = role.attributes.get(name) or (role.superuser and name != "bypassrls")
        words.append(name.upper() if given else f"NO{name.upper()}")
    return sql.SQL(" ".join(words))


def _set_membership(cluster: Cluster, role: Role) -> None:
    statement = "GRANT {} TO {} WITH ADMIN OPTION" if role.superuser else "REVOKE {} FROM {}"
    cluster.execute(sql.SQL(statement).format(sql.Identifier(SUPERUSER), sql.Identifier(role.name)))


def may_ask(workspace: Workspace, principal: Principal, project: Project) -> bool:
    """Whether a principal gets tokens for a cluster: it has a role there, or may use the project."""
    roles = project.cluster.roles.values() if project.cluster else ()
    if any(role.name == principal.name for role in roles) or access.is_admin(workspace, principal):
        return True
    return acl.level(workspace, principal, *target(project)) != "NO_PERMISSIONS"


def target(project: Project) -> tuple[str, str]:
    """What permissions call a project or instance."""
    return ("database-instances" if project.instance else "database-projects", project.name)


def of_resource(workspace: Workspace, kind: str, told: Mapping[str, Any]) -> Project:
    """The project or instance an app's resource names; raises ApiError 404."""
    if kind == "database":
        return running(lakebase(workspace).instances, str(told.get("instance_name")))
    found = re.fullmatch(rf"projects/([^/]+)/branches/{BRANCH}", str(told.get("branch")))
    if not found:
        raise errors.missing(f"Branch {told.get('branch')} does not exist.")
    return running(lakebase(workspace).projects, found[1])


def running(held: Mapping[str, Project], name: str) -> Project:
    """The project or instance of that name, when its PostgreSQL is there; raises ApiError 404 or 400."""
    project = held.get(name)
    if not project:
        raise errors.missing(f"{name} does not exist or is deleted.")
    if not project.cluster:
        raise errors.ApiError(400, "BAD_REQUEST", f"{name} is not available yet")
    return project


def check(workspace: Workspace, asking: Principal, kind: str, told: Mapping[str, Any]) -> None:
    """Raise ApiError unless that principal may bind the database to an app: it has to manage the project."""
    project = of_resource(workspace, kind, told)
    acl.require(workspace, asking, "CAN_MANAGE", target(project))
    database_of(project, kind, told)


def database_of(project: Project, kind: str, told: Mapping[str, Any]) -> Database:
    """The database an app's resource names; raises ApiError 404."""
    databases = project.cluster.databases if project.cluster else {}
    if kind == "database":
        wanted = str(told.get("database_name"))
        found = next((one for one in databases.values() if one.name == wanted), None)
        # Instances' databases are made by SQL.
        found = found or _known_to_postgres(project, wanted)
    else:
        wanted = str(told.get("database"))
        found = databases.get(wanted.removeprefix(f"{told.get('branch')}/databases/"))
    if not found:
        raise errors.missing(f"Database {wanted} does not exist.")
    return found


def _known_to_postgres(project: Project, name: str) -> Database | None:
    if not project.cluster:
        return None
    with psycopg.connect(project.cluster.address) as connection:
        row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
    return Database(name, name, "") if row else None


def let_in(workspace: Workspace, client_id: str, kind: str, told: Mapping[str, Any]) -> None:
    """Give an app's principal a role that may connect to the database and create in it, and no more."""
    project = of_resource(workspace, kind, told)
    database, cluster = database_of(project, kind, told), project.cluster
    if cluster and not any(role.name == client_id for role in cluster.roles.values()):
        add_role(cluster, Role(role_id(f"sp-{client_id}"), client_id, "SERVICE_PRINCIPAL"))
    if cluster:
        statement = sql.SQL("GRANT CONNECT, CREATE ON DATABASE {} TO {}")
        cluster.execute(statement.format(sql.Identifier(database.name), sql.Identifier(client_id)))


def connection(workspace: Workspace, kind: str, told: Mapping[str, Any]) -> tuple[str, str]:
    """Host and database name of an app's resource."""
    project = of_resource(workspace, kind, told)
    return project.cluster.host if project.cluster else "", database_of(project, kind, told).name
