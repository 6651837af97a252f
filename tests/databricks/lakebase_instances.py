"""Lakebase's provisioned instances: /api/2.0/database, instances with roles, and credentials.

The platform takes no new ones since March 2026: tests that want one there already use `make_instance`.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from starlette.routing import BaseRoute

from tests.databricks import acl, app_state, calls, errors, lakebase_state
from tests.databricks.app_state import moment
from tests.databricks.calls import Call, Handler
from tests.databricks.lakebase_state import Cluster, Project, Role, lakebase
from tests.databricks.paging import page
from tests.databricks.state import ADMIN, Workspace

PREFIX = "/api/2.0/database"
MOST = 100
SENT = ("capacity", "node_count", "retention_window_in_days", "stopped", "custom_tags", "enable_pg_native_login")

Answer = Mapping[str, Any] | None


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of instances."""
    table: dict[str, Handler] = {
        "POST instances": _create,
        "GET instances": _list,
        "GET instances:findByUid": _by_uid,
        "GET instances/{instance}": lambda call: _shown(_found(call)),
        "PATCH instances/{instance}": _update,
        "DELETE instances/{instance}": _delete,
        "GET instances/{instance}/roles": _list_roles,
        "POST instances/{instance}/roles": _create_role,
        "GET instances/{instance}/roles/{role}": lambda call: _role(*_role_of(call)),
        "DELETE instances/{instance}/roles/{role}": _delete_role,
        "POST credentials": _credentials,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def make_instance(workspace: Workspace, name: str, owner: str = ADMIN) -> Project:
    """For tests: an instance that is there, of that owner."""
    instance = Project(name, owner, {"capacity": "CU_1"}, str(uuid.uuid4()), instance=True)
    workspace.part(acl.Acls).give(*lakebase_state.target(instance), owner, "CAN_MANAGE")
    lakebase(workspace).instances[name] = instance
    _make(workspace, instance)
    return instance


def _make(workspace: Workspace, instance: Project) -> None:
    time.sleep(lakebase(workspace).seconds)
    instance.cluster = lakebase_state.start(workspace, instance.owner)
    instance.state = "AVAILABLE"


def _create(call: Call) -> Answer:
    workspace, held, name = call.workspace, lakebase(call.workspace), call.need("name")
    if not held.takes_instances:
        message = "Creating new Lakebase Provisioned instances is not supported. Create a Lakebase Autoscaling project."
        raise errors.ApiError(400, "FEATURE_DISABLED", message)
    sent = {key: call.json[key] for key in SENT if key in call.json}
    with held.lock:
        if name in held.instances:
            raise errors.ApiError(409, "ALREADY_EXISTS", f"Database instance {name} already exists")
        instance = Project(name, call.principal.name, sent, str(uuid.uuid4()), instance=True)
        held.instances[name] = instance
    workspace.part(acl.Acls).give(*lakebase_state.target(instance), call.principal.name, "CAN_MANAGE")
    app_state.in_background(lambda: _make(workspace, instance))
    return _shown(instance)


def _found(call: Call, level: str = "CAN_USE") -> Project:
    name = call.names["instance"]
    instance = lakebase(call.workspace).instances.get(name)
    if not instance:
        raise errors.ApiError(404, "NOT_FOUND", f"Resource not found: database instance {name}")
    acl.require(call.workspace, call.principal, level, lakebase_state.target(instance))
    return instance


def _list(call: Call) -> Answer:
    seen = [
        one
        for _, one in sorted(lakebase(call.workspace).instances.items())
        if acl.level(call.workspace, call.principal, *lakebase_state.target(one)) != "NO_PERMISSIONS"
    ]
    found, following = page(call, seen, int(call.query.get("page_size") or MOST))
    return {"database_instances": [_shown(one) for one in found], **following}


def _by_uid(call: Call) -> Answer:
    for one in lakebase(call.workspace).instances.values():
        if one.uid == call.query.get("uid"):
            acl.require(call.workspace, call.principal, "CAN_USE", lakebase_state.target(one))
            return _shown(one)
    raise errors.ApiError(404, "NOT_FOUND", f"Resource not found: database instance {call.query.get('uid')}")


def _update(call: Call) -> Answer:
    instance = _found(call, "CAN_MANAGE")
    instance.sent |= {key: call.json[key] for key in SENT if key in call.json}
    if "stopped" in call.json:
        instance.state = "STOPPED" if call.json["stopped"] else "AVAILABLE"
        if instance.cluster and call.json["stopped"]:
            instance.cluster.disconnect()
    instance.updated = moment()
    return _shown(instance)


def _delete(call: Call) -> Answer:
    instance = _found(call, "CAN_MANAGE")
    if call.query.get("purge") == "false":
        raise errors.invalid("purge=false is not supported: instances are deleted for good")
    lakebase(call.workspace).instances.pop(instance.name, None)
    call.workspace.part(acl.Acls).direct.pop(lakebase_state.target(instance), None)
    if instance.cluster:
        instance.cluster.stop()
    return None


def _ready(call: Call, level: str) -> tuple[Project, dict[str, Role]]:
    """The instance with its roles by name."""
    instance = _found(call, level)
    if not instance.cluster or instance.state != "AVAILABLE":
        raise errors.ApiError(400, "BAD_REQUEST", f"Database instance {instance.name} is not available")
    return instance, {role.name: role for role in instance.cluster.roles.values()}


def _list_roles(call: Call) -> Answer:
    instance, roles = _ready(call, "CAN_USE")
    return {"database_instance_roles": [_role(instance, one) for one in roles.values()]}


def _role_of(call: Call, level: str = "CAN_USE") -> tuple[Project, Role]:
    instance, roles = _ready(call, level)
    if call.names["role"] not in roles:
        raise errors.ApiError(404, "NOT_FOUND", f"Role {call.names['role']} does not exist")
    return instance, roles[call.names["role"]]


def _create_role(call: Call) -> Answer:
    instance, roles = _ready(call, "CAN_MANAGE")
    name, identity = call.need("name"), str(call.json.get("identity_type") or "PG_ONLY")
    if name in roles:
        raise errors.ApiError(409, "ALREADY_EXISTS", f"Role {name} already exists")
    principal = call.workspace.account.principals.get(name)
    if identity != "PG_ONLY" and (not principal or principal.service != (identity == "SERVICE_PRINCIPAL")):
        raise errors.missing(f"Identity {name} of type {identity} does not exist")
    superuser = call.json.get("membership_role") == "DATABRICKS_SUPERUSER"
    auth = lakebase_state.NO_LOGIN if identity == "PG_ONLY" else lakebase_state.OAUTH
    attributes = {key: bool(value) for key, value in (call.json.get("attributes") or {}).items()}
    role = Role(lakebase_state.role_id(name), name, identity, auth, superuser, attributes)
    if instance.cluster:
        _or_bad_request(lambda cluster: lakebase_state.add_role(cluster, role), instance.cluster)
    return _role(instance, role)


def _delete_role(call: Call) -> Answer:
    instance, role = _role_of(call, "CAN_MANAGE")
    heir = str(call.query.get("reassign_owned_to") or "")

    def drop(cluster: Cluster) -> None:
        if heir:
            lakebase_state.reassign(cluster, role.name, heir)
        lakebase_state.drop_role(cluster, role)

    if instance.cluster:
        _or_bad_request(drop, instance.cluster)
    return None


def _or_bad_request(do: Callable[[Cluster], None], cluster: Cluster) -> None:
    """Do it; what PostgreSQL refuses is raised as ApiError 400."""
    try:
        do(cluster)
    except psycopg.Error as error:
        raise errors.ApiError(400, "BAD_REQUEST", str(error).strip()) from error


def _credentials(call: Call) -> Answer:
    """One token for all instances named."""
    names = call.json.get("instance_names") or ()
    if not names:
        raise errors.invalid("At least one of instance_names or claims must be specified")
    for name in names:
        instance = lakebase(call.workspace).instances.get(str(name))
        if not instance:
            raise errors.ApiError(404, "NOT_FOUND", f"Resource not found: database instance {name}")
        if not lakebase_state.may_ask(call.workspace, call.principal, instance):
            raise errors.denied(f"{call.principal.name} may not connect to {name}.")
    seconds = call.workspace.account.token_seconds
    token = lakebase(call.workspace).token(call.principal.name, seconds)
    return {"token": token, "expiration_time": moment(time.time() + seconds)}


def _shown(instance: Project) -> dict[str, Any]:
    body: dict[str, Any] = {
        **instance.sent,
        "name": instance.name,
        "uid": instance.uid,
        "creator": instance.owner,
        "creation_time": instance.created,
        "pg_version": "PG_VERSION_16",
        "state": instance.state,
        "effective_stopped": instance.state == "STOPPED",
    }
    if instance.cluster:
        body["read_write_dns"] = instance.cluster.host
    return body


def _role(instance: Project, role: Role) -> dict[str, Any]:
    body: dict[str, Any] = {"name": role.name, "identity_type": role.identity, "instance_name": instance.name}
    if role.superuser:
        body["membership_role"] = "DATABRICKS_SUPERUSER"
    if role.attributes:
        body["attributes"] = dict(role.attributes)
    return body
