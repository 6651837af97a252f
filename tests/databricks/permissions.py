"""Permissions of workspace objects: GET, PUT, PATCH /api/2.0/permissions/{type}/{id} and permissionLevels.

The lists themselves are in `acl`, which experiments', models' and notebooks' own calls ask. Types, ids and inherited
entries are named as databricks-sdk's `service/iam.py` and its Terraform provider's fixtures have them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import acl, calls, errors, workspace_tree
from tests.databricks.calls import Call, Handler
from tests.databricks.state import Account, Workspace

PREFIX = "/api/2.0/permissions"


@dataclass(frozen=True)
class Kind:
    """A type of object: what answers call it, the levels it has, and whose permissions it inherits."""

    shown: str
    levels: tuple[str, ...]
    inherits_from: str


OF_FILES = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
OF_MODELS = ("CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE")
KINDS: Mapping[str, Kind] = {
    "experiments": Kind("mlflowExperiment", ("CAN_READ", "CAN_EDIT", "CAN_MANAGE"), "/directories/"),
    "registered-models": Kind("registered-model", OF_MODELS, "/registered-models/"),
    "notebooks": Kind("notebook", OF_FILES, "/directories/"),
    "directories": Kind("directory", OF_FILES, "/directories/"),
    "apps": Kind("apps", ("CAN_USE", "CAN_MANAGE"), "/apps/"),
    "database-projects": Kind("database-projects", ("CAN_USE", "CAN_MANAGE"), "/database-projects/"),
    "database-instances": Kind("database-instances", ("CAN_USE", "CAN_MANAGE"), "/database-instances/"),
    "files": Kind("file", OF_FILES, "/directories/"),
}
# The three ways a request names a principal, with what the error calls it.
NAMED_BY = {"user_name": "UserName", "group_name": "GroupName", "service_principal_name": "ServicePrincipalName"}

Answer = Mapping[str, Any] | None


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of permissions."""
    table: dict[str, Handler] = {
        "GET {type}/{id}": _get,
        "PUT {type}/{id}": _put,
        "PATCH {type}/{id}": _patch,
        "GET {type}/{id}/permissionLevels": _levels,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _target(call: Call) -> tuple[Kind, tuple[str, str]]:
    """The object; raises ApiError 400 for a type that isn't, 404 for an id nothing has."""
    name, number = call.names["type"], call.names["id"]
    if name not in KINDS:
        raise errors.invalid(f"'{name}' is not a supported object type")
    node = workspace_tree.by_id(call.workspace, int(number)) if number.isdigit() else None
    in_tree = node is not None and workspace_tree.KINDS[node.type] == name
    if not in_tree and (name, number) not in call.workspace.part(acl.Acls).direct:
        raise errors.missing(f"{KINDS[name].shown} with id {number} does not exist.")
    return KINDS[name], (name, number)


def _get(call: Call) -> Answer:
    """Readers see the list; who may manage the object changes it."""
    kind, target = _target(call)
    acl.require(call.workspace, call.principal, "CAN_READ", target)
    return _shown(call.workspace, kind, target)


def _put(call: Call) -> Answer:
    kind, target = _target(call)
    acl.require(call.workspace, call.principal, "CAN_MANAGE", target)
    given = _given(call, kind)
    call.workspace.part(acl.Acls).direct[target] = given
    return _shown(call.workspace, kind, target)


def _patch(call: Call) -> Answer:
    kind, target = _target(call)
    acl.require(call.workspace, call.principal, "CAN_MANAGE", target)
    for principal, level in _given(call, kind).items():
        call.workspace.part(acl.Acls).give(*target, principal, level)
    return _shown(call.workspace, kind, target)


def _levels(call: Call) -> Answer:
    kind, _ = _target(call)
    return {"permission_levels": [{"permission_level": one, "description": _described(one)} for one in kind.levels]}


def _described(level: str) -> str:
    return f"{level.replace('_', ' ').capitalize()} the object"


def _given(call: Call, kind: Kind) -> dict[str, str]:
    """The levels a request gives, by principal; raises ApiError 400 or, for an unknown principal, 404."""
    return dict(_entries(call.workspace.account, kind, call.json.get("access_control_list") or ()))


def _entries(account: Account, kind: Kind, listed: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for entry in listed:
        named = [key for key in NAMED_BY if entry.get(key)]
        if len(named) != 1:
            raise errors.invalid("Exactly one of user_name, group_name and service_principal_name must be set")
        name, level = str(entry[named[0]]), str(entry.get("permission_level", ""))
        if not _known(account, named[0], name):
            raise errors.missing(f"Principal: {NAMED_BY[named[0]]}({name}) does not exist")
        if level not in kind.levels:
            raise errors.invalid(f"Permission level {level} is not supported for {kind.shown}")
        yield name, level


def _known(account: Account, named_by: str, name: str) -> bool:
    if named_by == "group_name":
        return name in account.groups
    principal = account.principals.get(name)
    return principal is not None and principal.service == (named_by == "service_principal_name")


def _shown(workspace: Workspace, kind: Kind, target: tuple[str, str]) -> dict[str, Any]:
    """Direct entries, and the admins', which every object inherits."""
    direct = workspace.part(acl.Acls).direct.get(target, {})
    entries = {name: [_permission(level)] for name, level in sorted(direct.items())}
    inherited = {"permission_level": "CAN_MANAGE", "inherited": True, "inherited_from_object": [kind.inherits_from]}
    entries.setdefault("admins", []).append(inherited)
    listed = [{**_named(workspace.account, name), "all_permissions": held} for name, held in entries.items()]
    return {"object_id": f"/{target[0]}/{target[1]}", "object_type": kind.shown, "access_control_list": listed}


def _permission(level: str) -> dict[str, Any]:
    return {"permission_level": level, "inherited": False}


def _named(account: Account, name: str) -> dict[str, str]:
    """A group by its name; users and service principals with the name they are shown by."""
    principal = account.principals.get(name)
    if not principal:
        return {"group_name": name}
    return {
        "service_principal_name" if principal.service else "user_name": name,
        "display_name": principal.display_name,
    }
