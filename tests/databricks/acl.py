"""Access-control lists of workspace objects: experiments, notebooks, folders, registered models.

Who made an object manages it; so do admins, whoever owns the home folder it is in, and everybody below /Shared.
"""

from dataclasses import dataclass, field

from tests.databricks import access, errors
from tests.databricks.state import Principal, Workspace

# Each level includes those before it.
LEVELS = (
    "NO_PERMISSIONS",
    "CAN_READ",
    "CAN_USE",
    "CAN_RUN",
    "CAN_EDIT",
    "CAN_MANAGE_STAGING_VERSIONS",
    "CAN_MANAGE_PRODUCTION_VERSIONS",
    "CAN_MANAGE",
    "IS_OWNER",
)


@dataclass
class Acls:
    """Levels given directly: by (object type such as "experiments", id), then by principal or group."""

    direct: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    # Where an object is in the workspace's tree, for what its folder gives.
    paths: dict[tuple[str, str], str] = field(default_factory=dict)

    def give(self, kind: str, object_id: str, principal: str, level: str) -> None:
        """Set a principal's or group's direct level."""
        self.direct.setdefault((kind, object_id), {})[principal] = level


def level(workspace: Workspace, principal: Principal, kind: str, object_id: str) -> str:
    """The highest level a principal has on an object, directly, by a group or by the folder."""
    if access.is_admin(workspace, principal):
        return "CAN_MANAGE"
    acls, key = workspace.part(Acls), (kind, object_id)
    names = {principal.name, *workspace.account.groups_of(principal.name)}
    held = [given for name, given in acls.direct.get(key, {}).items() if name in names]
    if acls.paths.get(key, "").startswith((f"/Users/{principal.name}/", "/Shared/")):
        held.append("CAN_MANAGE")
    return max(held, key=LEVELS.index, default="NO_PERMISSIONS")


def require(workspace: Workspace, principal: Principal, wanted: str, target: tuple[str, str]) -> None:
    """Raise ApiError 403 unless the principal has at least that level on (kind, id)."""
    if LEVELS.index(level(workspace, principal, *target)) < LEVELS.index(wanted):
        kind, object_id = target
        spoken = {"CAN_READ": "View", "CAN_EDIT": "Edit", "CAN_MANAGE": "Manage"}.get(wanted, wanted)
        message = f"{principal.name} does not have {spoken} permissions on {kind.removesuffix('s')} {object_id}."
        raise errors.denied(message)
