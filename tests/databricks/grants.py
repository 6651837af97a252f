"""Grants: GET and PATCH /api/2.1/unity-catalog/permissions/{type}/{name}, and effective permissions.

Effective permissions are, as the platform's, those of each principal named in a grant: what it has through a group is
listed under the group, and what it has as owner or by MANAGE isn't listed at all.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import access, calls, catalogue, errors
from tests.databricks.access import Securable
from tests.databricks.calls import Call, Handler
from tests.databricks.paging import page
from tests.databricks.privileges import GRANTABLE
from tests.databricks.state import Workspace
from tests.databricks.unity_catalog import PREFIX, metastore_securable, require_principal

MOST = 1000

Answer = Mapping[str, Any] | None


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of grants."""
    table: dict[str, Handler] = {
        "GET permissions/{type}/{name}": _get,
        "PATCH permissions/{type}/{name}": _change,
        "GET effective-permissions/{type}/{name}": _effective,
        "GET privilege-assignments/{type}/{name}": _get,
        "GET effective-privilege-assignments/{type}/{name}": _effective,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _securable(call: Call) -> Securable:
    kind = call.names["type"].lower()
    if kind not in GRANTABLE:
        raise errors.invalid(f"SECURABLE_TYPE {call.names['type'].upper()} is not a valid securable type")
    if kind == "metastore":
        wanted = metastore_securable(call.workspace.metastore)
        if call.names["name"] != wanted.name:
            raise errors.ApiError(404, "METASTORE_DOES_NOT_EXIST", f"Metastore '{call.names['name']}' does not exist.")
        return wanted
    return catalogue.usable(call.workspace, call.principal, catalogue.securable(kind, call.names["name"])).securable


def _wanted_principal(call: Call, securable: Securable) -> str:
    """The principal asked for. Who doesn't manage the object may ask for itself and its groups alone."""
    principal = call.query.get("principal", "")
    if principal:
        require_principal(call.workspace, principal)
    own = {call.principal.name, *call.workspace.account.groups_of(call.principal.name)}
    if principal not in own:
        catalogue.require_manage(call.workspace, call.principal, securable)
    return principal


def _get(call: Call) -> Answer:
    securable = _securable(call)
    only = _wanted_principal(call, securable)
    return _paged(call, _assignments(call.workspace, securable, only))


def _assignments(workspace: Workspace, securable: Securable, only: str = "") -> list[dict[str, Any]]:
    direct = access.grants(workspace.metastore).direct.get(securable, {})
    return [
        {"principal": principal, "privileges": sorted(privileges)}
        for principal, privileges in sorted(direct.items())
        if privileges and only in ("", principal)
    ]


def _effective(call: Call) -> Answer:
    """A privilege is listed where it applies: USE CATALOG of the catalog isn't one of its schemas'."""
    securable = _securable(call)
    only = _wanted_principal(call, securable)
    found: dict[str, list[dict[str, str]]] = {}
    direct = access.grants(call.workspace.metastore).direct
    for level in securable.ancestry:
        for principal, privileges in sorted(direct.get(level, {}).items()):
            if only in ("", principal):
                applicable = sorted(privileges & GRANTABLE[securable.type])
                found.setdefault(principal, []).extend(_privilege(one, level, securable) for one in applicable)
    return _paged(call, [{"principal": name, "privileges": held} for name, held in found.items() if held])


def _privilege(privilege: str, level: Securable, securable: Securable) -> dict[str, str]:
    if level == securable:
        return {"privilege": privilege}
    return {"privilege": privilege, "inherited_from_type": level.type.upper(), "inherited_from_name": level.name}


def _paged(call: Call, assignments: list[dict[str, Any]]) -> Answer:
    """`max_results` not given means all, as of old; 0 or more means pages."""
    found, following = page(call, assignments, MOST) if "max_results" in call.query else (assignments, {})
    return {"privilege_assignments": found, **following} if found else following


def _change(call: Call) -> Answer:
    securable, workspace = _securable(call), call.workspace
    catalogue.require_manage(workspace, call.principal, securable)
    changes = call.json.get("changes") or []
    for change in changes:
        require_principal(workspace, str(change.get("principal", "")))
        added, removed = set(change.get("add") or ()), set(change.get("remove") or ())
        if both := added & removed:
            raise errors.invalid(f"Privileges {', '.join(sorted(both))} are both to be added and to be removed")
        _require_grantable(added | removed, securable)
    held = access.grants(workspace.metastore)
    for change in changes:
        held.take(
            securable, change["principal"], *_taken(change.get("remove") or (), held, securable, change["principal"])
        )
        if change.get("add"):
            held.give(securable, change["principal"], *change["add"])
    return {"privilege_assignments": _assignments(workspace, securable)}


def _taken(removed: Iterable[str], held: access.Grants, securable: Securable, principal: str) -> Iterable[str]:
    """Who loses ALL PRIVILEGES loses each single one too."""
    if "ALL_PRIVILEGES" in removed:
        return set(held.direct.get(securable, {}).get(principal, ()))
    return removed


def _require_grantable(privileges: Iterable[str], securable: Securable) -> None:
    for privilege in sorted(privileges):
        if privilege not in set().union(*GRANTABLE.values()):
            raise errors.invalid(f"Privilege {privilege} is not a valid privilege")
        if privilege not in GRANTABLE[securable.type]:
            raise errors.invalid(
                f"Privilege {privilege.replace('_', ' ')} is not applicable to this entity"
                f" [{securable.name}:{securable.type.upper()}]. If this seems unexpected, please check the privilege"
                " version of the metastore in use [1.0]."
            )
