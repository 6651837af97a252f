"""Lakebase with autoscaling: /api/2.0/postgres, projects with branches, endpoints, roles, databases, credentials.

A project comes with the branch `production`, its endpoint `primary` and the database `databricks_postgres`; there are
no further branches and endpoints here. What changes something answers with an operation to ask for until it is done.
"""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import sql
from starlette.routing import BaseRoute

from tests.databricks import acl, app_state, calls, errors, lakebase_state
from tests.databricks.app_state import moment
from tests.databricks.calls import Call, Handler
from tests.databricks.lakebase_state import BRANCH, ENDPOINT, OAUTH, Cluster, Database, Project, Role, lakebase
from tests.databricks.paging import page
from tests.databricks.state import Workspace

PREFIX = "/api/2.0/postgres"
MOST = 100
# A project's id may be a single letter, a role's has four characters at least.
PROJECT_ID, OTHER_ID = r"[a-z][a-z0-9-]{0,62}", r"[a-z][a-z0-9-]{3,62}"
LEAST_SECONDS, MOST_SECONDS = 300, 3600

Answer = Mapping[str, Any] | None


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of projects and what is in them."""
    branch = "projects/{project}/branches/{branch}"
    table: dict[str, Handler] = {
        "POST projects": _create_project,
        "GET projects": _list_projects,
        "GET projects/{project}": lambda call: _project(_found(call)),
        "PATCH projects/{project}": _update_project,
        "DELETE projects/{project}": _delete_project,
        "GET projects/{project}/branches": lambda call: {"branches": [_branch(_found(call))]},
        "POST projects/{project}/branches": _no_more,
        f"GET {branch}": lambda call: _branch(_on_branch(call)),
        f"GET {branch}/endpoints": lambda call: {"endpoints": [_endpoint(_on_branch(call))]},
        f"POST {branch}/endpoints": _no_more,
        f"GET {branch}/endpoints/{{id}}": _get_endpoint,
        f"GET {branch}/roles": _list_roles,
        f"POST {branch}/roles": _create_role,
        f"GET {branch}/roles/{{id}}": lambda call: _role(*_role_of(call)),
        f"PATCH {branch}/roles/{{id}}": _update_role,
        f"DELETE {branch}/roles/{{id}}": _delete_role,
        f"GET {branch}/databases": _list_databases,
        f"POST {branch}/databases": _create_database,
        f"GET {branch}/databases/{{id}}": lambda call: _database(*_database_of(call)),
        f"DELETE {branch}/databases/{{id}}": _delete_database,
        "POST credentials": _credentials,
        "GET {operation:path}": _operation,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _begin(call: Call, parent: str, do: Callable[[], Mapping[str, Any]]) -> Answer:
    """An operation under way, whose response is what `do` gives."""
    held, name = lakebase(call.workspace), f"{parent}/operations/{uuid.uuid4()}"
    held.operations[name] = {"name": name, "done": False, "metadata": {}}

    def carry_out() -> None:
        time.sleep(held.seconds)
        try:
            ended: dict[str, Any] = {"response": dict(do())}
        except psycopg.Error as error:
            ended = {"error": {"error_code": "BAD_REQUEST", "message": str(error).strip()}}
        except RuntimeError as error:
            ended = {"error": {"error_code": "INTERNAL_ERROR", "message": str(error)}}
        held.operations[name] = {**held.operations[name], **ended, "done": True}

    app_state.in_background(carry_out)
    return held.operations[name]


def _operation(call: Call) -> Answer:
    found = lakebase(call.workspace).operations.get(call.names["operation"])
    if not found:
        raise errors.missing(f"{call.names['operation']} does not exist.")
    return found


def _found(call: Call, level: str = "CAN_USE") -> Project:
    name = call.names["project"]
    project = lakebase(call.workspace).projects.get(name)
    if not project:
        raise errors.ApiError(404, "NOT_FOUND", f"project id not found: {name}")
    acl.require(call.workspace, call.principal, level, lakebase_state.target(project))
    return project


def _on_branch(call: Call, level: str = "CAN_USE") -> Project:
    project = _found(call, level)
    if call.names["branch"] != BRANCH:
        raise errors.ApiError(404, "NOT_FOUND", f"branch id not found: {call.names['branch']}")
    return project


def _cluster(call: Call, level: str = "CAN_USE") -> tuple[Project, Cluster]:
    project = _on_branch(call, level)
    if not project.cluster:
        raise errors.ApiError(400, "BAD_REQUEST", f"project {project.name} is not ready")
    return project, project.cluster


def _create_project(call: Call) -> Answer:
    workspace, held, name = call.workspace, lakebase(call.workspace), call.need("project_id")
    if not re.fullmatch(PROJECT_ID, name):
        raise errors.invalid(f"project_id {name!r} does not match {PROJECT_ID}")
    spec = call.json.get("spec") or {}
    if not isinstance(spec.get("pg_version", lakebase_state.PG_VERSION), int):
        raise errors.invalid("pg_version must be an integer")
    with held.lock:
        if name in held.projects:
            raise errors.ApiError(409, "ALREADY_EXISTS", f"project with such id already exists: {name}")
        project = Project(name, call.principal.name, dict(spec), str(uuid.uuid4()))
        held.projects[name] = project
    workspace.part(acl.Acls).give(*lakebase_state.target(project), call.principal.name, "CAN_MANAGE")

    def make() -> Mapping[str, Any]:
        project.cluster = lakebase_state.start(workspace, project.owner)
        project.state = "READY"
        return _project(project)

    return _begin(call, f"projects/{name}", make)


def _list_projects(call: Call) -> Answer:
    seen = [
        one
        for _, one in sorted(lakebase(call.workspace).projects.items())
        if acl.level(call.workspace, call.principal, *lakebase_state.target(one)) != "NO_PERMISSIONS"
    ]
    found, following = page(call, seen, int(call.query.get("page_size") or MOST))
    return {"projects": [_project(one) for one in found], **following}


def _update_project(call: Call) -> Answer:
    project = _found(call, "CAN_MANAGE")
    project.sent |= call.json.get("spec") or {}
    project.updated = moment()
    return _begin(call, f"projects/{project.name}", lambda: _project(project))


def _delete_project(call: Call) -> Answer:
    project = _found(call, "CAN_MANAGE")

    def remove() -> Mapping[str, Any]:
        lakebase(call.workspace).projects.pop(project.name, None)
        call.workspace.part(acl.Acls).direct.pop(lakebase_state.target(project), None)
        if project.cluster:
            project.cluster.stop()
        return {}

    return _begin(call, f"projects/{project.name}", remove)


def _no_more(call: Call) -> Answer:
    raise errors.ApiError(400, "FEATURE_DISABLED", "This emulator has one branch with one endpoint in each project")


def _get_endpoint(call: Call) -> Answer:
    project = _on_branch(call)
    if call.names["id"] != ENDPOINT:
        raise errors.ApiError(404, "NOT_FOUND", f"endpoint id not found: {call.names['id']}")
    return _endpoint(project)


def _list_roles(call: Call) -> Answer:
    project, cluster = _cluster(call)
    found, following = page(call, [*cluster.roles.values()], int(call.query.get("page_size") or MOST))
    return {"roles": [_role(project, one) for one in found], **following}


def _role_of(call: Call, level: str = "CAN_USE") -> tuple[Project, Role]:
    project, cluster = _cluster(call, level)
    role = cluster.roles.get(call.names["id"])
    if not role:
        raise errors.ApiError(404, "NOT_FOUND", f"role id not found: {call.names['id']}")
    return project, role


def _create_role(call: Call) -> Answer:
    project, cluster = _cluster(call, "CAN_MANAGE")
    spec = call.json.get("spec") or {}
    given = str(call.query.get("role_id") or "")
    if given and not re.fullmatch(OTHER_ID, given):
        raise errors.invalid(f"role_id {given!r} does not match {OTHER_ID}")
    name = str(spec.get("postgres_role") or given)
    role = _told_role(call, Role(given or lakebase_state.role_id(name), name), spec)
    there = role.id in cluster.roles or name in [one.name for one in cluster.roles.values()]
    if there and call.query.get("replace_existing") != "true":
        raise errors.ApiError(409, "ALREADY_EXISTS", f"role with such id already exists: {role.id}")

    def make() -> Mapping[str, Any]:
        (lakebase_state.change_role if there else lakebase_state.add_role)(cluster, role)
        return _role(project, role)

    return _begin(call, f"projects/{project.name}", make)


def _told_role(call: Call, role: Role, spec: Mapping[str, Any]) -> Role:
    """The role a request describes; raises ApiError for an identity that isn't one."""
    identity = str(spec.get("identity_type") or "")
    if identity in ("USER", "SERVICE_PRINCIPAL"):
        principal = call.workspace.account.principals.get(role.name)
        if not principal or principal.service != (identity == "SERVICE_PRINCIPAL"):
            raise errors.missing(f"identity {role.name} of type {identity} does not exist")
    auth = str(spec.get("auth_method") or (OAUTH if identity else lakebase_state.NO_LOGIN))
    attributes = {key: bool(value) for key, value in (spec.get("attributes") or {}).items()}
    superuser = "DATABRICKS_SUPERUSER" in (spec.get("membership_roles") or ())
    return Role(role.id, role.name, identity, auth, superuser, attributes, role.created)


def _update_role(call: Call) -> Answer:
    project, role = _role_of(call, "CAN_MANAGE")
    changed = _told_role(call, role, {**_role_spec(role), **(call.json.get("spec") or {})})

    def change() -> Mapping[str, Any]:
        if project.cluster:
            lakebase_state.change_role(project.cluster, changed)
        return _role(project, changed)

    return _begin(call, f"projects/{project.name}", change)


def _delete_role(call: Call) -> Answer:
    project, role = _role_of(call, "CAN_MANAGE")

    def drop() -> Mapping[str, Any]:
        if project.cluster:
            if to := str(call.query.get("reassign_owned_to") or ""):
                other = project.cluster.roles[to.rpartition("/")[2]].name
                lakebase_state.reassign(project.cluster, role.name, other)
            lakebase_state.drop_role(project.cluster, role)
        return {}

    return _begin(call, f"projects/{project.name}", drop)


def _list_databases(call: Call) -> Answer:
    project, cluster = _cluster(call)
    found, following = page(call, [*cluster.databases.values()], int(call.query.get("page_size") or MOST))
    return {"databases": [_database(project, one) for one in found], **following}


def _database_of(call: Call, level: str = "CAN_USE") -> tuple[Project, Database]:
    project, cluster = _cluster(call, level)
    database = cluster.databases.get(call.names["id"])
    if not database:
        raise errors.ApiError(404, "NOT_FOUND", f"database id not found: {call.names['id']}")
    return project, database


def _create_database(call: Call) -> Answer:
    project, cluster = _cluster(call, "CAN_MANAGE")
    spec = call.json.get("spec") or {}
    name = str(spec.get("postgres_database") or call.query.get("database_id") or "")
    number = str(call.query.get("database_id") or lakebase_state.role_id(name))
    owner = cluster.roles.get(str(spec.get("role") or "").rpartition("/")[2])
    if not name or not owner:
        raise errors.invalid("spec.postgres_database and an existing spec.role are required")
    if number in cluster.databases:
        raise errors.ApiError(409, "ALREADY_EXISTS", f"database with such id already exists: {number}")
    database = Database(number, name, owner.name)

    def make() -> Mapping[str, Any]:
        statement = sql.SQL("CREATE DATABASE {} OWNER {}")
        cluster.execute(statement.format(sql.Identifier(name), sql.Identifier(owner.name)))
        cluster.databases[number] = database
        return _database(project, database)

    return _begin(call, f"projects/{project.name}", make)


def _delete_database(call: Call) -> Answer:
    project, database = _database_of(call, "CAN_MANAGE")

    def drop() -> Mapping[str, Any]:
        if project.cluster:
            project.cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))
            del project.cluster.databases[database.id]
        return {}

    return _begin(call, f"projects/{project.name}", drop)


def _credentials(call: Call) -> Answer:
    """A token for the endpoint, good for an hour or for what `ttl` says."""
    wanted = re.fullmatch(rf"projects/([^/]+)/branches/{BRANCH}/endpoints/{ENDPOINT}", call.need("endpoint"))
    project = lakebase(call.workspace).projects.get(wanted[1]) if wanted else None
    if not project:
        raise errors.ApiError(404, "NOT_FOUND", f"endpoint not found: {call.json['endpoint']}")
    if not lakebase_state.may_ask(call.workspace, call.principal, project):
        raise errors.denied(f"{call.principal.name} may not connect to {project.name}.")
    seconds = call.workspace.account.token_seconds
    if ttl := str(call.json.get("ttl") or ""):
        seconds = float(ttl.removesuffix("s"))
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            raise errors.invalid(f"ttl must be between {LEAST_SECONDS}s and {MOST_SECONDS}s")
    token = lakebase(call.workspace).token(call.principal.name, seconds)
    return {"token": token, "expire_time": moment(time.time() + seconds)}


def _project(project: Project) -> dict[str, Any]:
    name, spec = f"projects/{project.name}", project.sent
    status = {"display_name": project.name, "pg_version": lakebase_state.PG_VERSION, **spec, "owner": project.owner}
    times = {"create_time": project.created, "update_time": project.updated}
    status |= {"project_id": project.name, "default_branch": f"{name}/branches/{BRANCH}"}
    return {"name": name, "uid": project.uid, **times, "status": status}


def _branch(project: Project) -> dict[str, Any]:
    parent = f"projects/{project.name}"
    state = "READY" if project.cluster else "INIT"
    status = {"branch_id": BRANCH, "default": True, "current_state": state}
    return {"name": f"{parent}/branches/{BRANCH}", "parent": parent, "create_time": project.created, "status": status}


def _endpoint(project: Project) -> dict[str, Any]:
    parent = f"projects/{project.name}/branches/{BRANCH}"
    status: dict[str, Any] = {
        "endpoint_id": ENDPOINT,
        "endpoint_type": "ENDPOINT_TYPE_READ_WRITE",
        "current_state": "ACTIVE" if project.cluster else "INIT",
        "hosts": {"host": project.cluster.host} if project.cluster else {},
    }
    name = f"{parent}/endpoints/{ENDPOINT}"
    return {"name": name, "parent": parent, "create_time": project.created, "status": status}


def _role_spec(role: Role) -> dict[str, Any]:
    shown: dict[str, Any] = {"postgres_role": role.name, "auth_method": role.auth}
    if role.identity:
        shown["identity_type"] = role.identity
    if role.superuser:
        shown["membership_roles"] = ["DATABRICKS_SUPERUSER"]
    if role.attributes:
        shown["attributes"] = dict(role.attributes)
    return shown


def _role(project: Project, role: Role) -> dict[str, Any]:
    parent = f"projects/{project.name}/branches/{BRANCH}"
    shown = {"name": f"{parent}/roles/{role.id}", "parent": parent, "create_time": role.created}
    return {**shown, "status": {"role_id": role.id, **_role_spec(role)}}


def _database(project: Project, database: Database) -> dict[str, Any]:
    parent = f"projects/{project.name}/branches/{BRANCH}"
    roles = project.cluster.roles.values() if project.cluster else ()
    owner = next((role.id for role in roles if role.name == database.owner), "")
    status = {"database_id": database.id, "postgres_database": database.name}
    if owner:
        status["role"] = f"{parent}/roles/{owner}"
    name = f"{parent}/databases/{database.id}"
    return {"name": name, "parent": parent, "create_time": database.created, "status": status}
