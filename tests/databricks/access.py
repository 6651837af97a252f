"""Who asks, and whether they may: credentials, and Unity Catalog privileges with ownership and inheritance."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.databricks import errors
from tests.databricks.state import Metastore, Principal, Workspace

PARENTS = {"catalog": 1, "schema": 2}


@dataclass(frozen=True)
class Securable:
    """A Unity Catalog object: `type` is catalog, schema, volume, function (a registered model), table or metastore."""

    type: str
    name: str

    @property
    def ancestry(self) -> "tuple[Securable, ...]":
        """Itself, its schema, its catalog."""
        names = self.name.split(".")
        above = [Securable(kind, ".".join(names[:depth])) for kind, depth in PARENTS.items() if depth < len(names)]
        return self, *reversed(above)


@dataclass
class Grants:
    """The owners and direct grants of a metastore's objects; an object is there when it has an owner."""

    owners: dict[Securable, str] = field(default_factory=dict)
    direct: dict[Securable, dict[str, set[str]]] = field(default_factory=dict)

    def own(self, securable: Securable, owner: str) -> None:
        """Make `owner` (a principal or group) the owner."""
        self.owners[securable] = owner

    def give(self, securable: Securable, principal: str, *privileges: str) -> None:
        """Grant to a principal or group."""
        self.direct.setdefault(securable, {}).setdefault(principal, set()).update(privileges)

    def take(self, securable: Securable, principal: str, *privileges: str) -> None:
        """Revoke what was granted directly."""
        held = self.direct.get(securable, {})
        held.get(principal, set()).difference_update(privileges)
        if principal in held and not held[principal]:
            del held[principal]

    def forget(self, securable: Securable) -> None:
        """The object is gone."""
        self.owners.pop(securable, None)
        self.direct.pop(securable, None)


def grants(metastore: Metastore) -> Grants:
    """The metastore's grants."""
    return metastore.part(Grants)


def identify(workspace: Workspace, headers: Mapping[str, str]) -> Principal:
    """Whose credentials these headers carry; raises ApiError 401 or 403 as the platform does."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise errors.no_credential()
    account = workspace.account
    if issued := account.issued.get(token):
        if issued.ends <= time.time():
            raise errors.expired(account.expired_status)
        return account.principals[issued.principal]
    if token not in account.tokens:
        raise errors.bad_token()
    return account.principals[account.tokens[token]]


def is_admin(workspace: Workspace, principal: Principal) -> bool:
    """Whether a principal is in the group `admins`, who manage the workspace and its metastore."""
    return "admins" in workspace.account.groups_of(principal.name)


def privileges(workspace: Workspace, principal: Principal, securable: Securable) -> set[str]:
    """What a principal holds on an object: granted to it or its groups, here or above; with `OWNER`, `MANAGE`."""
    names = {principal.name, *workspace.account.groups_of(principal.name)}
    held, found = grants(workspace.metastore), set[str]()
    for level in securable.ancestry:
        if held.owners.get(level) in names:
            found |= {"MANAGE"} if level != securable else {"OWNER", "MANAGE"}
        for name, given in held.direct.get(level, {}).items():
            if name in names:
                found |= given
    return found


def holds(workspace: Workspace, principal: Principal, privilege: str, securable: Securable) -> bool:
    """Whether a principal may use `privilege` on an object: by grant, as owner of it, or by ALL_PRIVILEGES.

    MANAGE lets one manage an object and grant on it, not read it. The admin of the tests holds everything.
    """
    if is_admin(workspace, principal):
        return True
    found = privileges(workspace, principal, securable)
    return bool(found & {privilege, "OWNER"}) or ("ALL_PRIVILEGES" in found and privilege != "MANAGE")


def require(workspace: Workspace, principal: Principal, privilege: str, securable: Securable) -> None:
    """Raise ApiError 403 unless the principal holds the privilege."""
    if not holds(workspace, principal, privilege, securable):
        spoken = privilege.replace("_", " ")
        kind = {"function": "Routine or Model"}.get(securable.type, securable.type.capitalize())
        message = f"User does not have {spoken} on {kind} '{securable.name}'."
        raise errors.denied(message)


def require_use(workspace: Workspace, principal: Principal, securable: Securable) -> None:
    """Raise ApiError 403 unless the principal may use the object's catalog and schema."""
    for level in reversed(securable.ancestry[1:]):
        require(workspace, principal, f"USE_{level.type.upper()}", level)


def require_all(workspace: Workspace, principal: Principal, needed: Iterable[tuple[str, Securable]]) -> None:
    """Raise ApiError 403 for the first privilege that lacks."""
    for privilege, securable in needed:
        require(workspace, principal, privilege, securable)
