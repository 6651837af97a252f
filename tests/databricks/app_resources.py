"""An app's resources: what its service principal may do because of them, and the values `valueFrom` gives.

Whoever binds a resource must manage it. A volume's binding also grants USE CATALOG and USE SCHEMA, as Databricks' page
"Add a Unity Catalog volume resource to a Databricks app" says; what the principal had already is left to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.databricks import access, acl, catalogue, errors, lakebase_state, secrets
from tests.databricks.access import Securable
from tests.databricks.app_source import Failed, Plan
from tests.databricks.app_state import App
from tests.databricks.calls import Call
from tests.databricks.lakebase_login import PORT
from tests.databricks.lakebase_state import ENDPOINT
from tests.databricks.state import Principal, Workspace

KINDS = ("uc_securable", "secret", "experiment", "app", "postgres", "database")
SECRET_LEVELS = ("READ", "WRITE", "MANAGE")

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Binding:
    """A resource to bind to an app: who asks, and for which service principal."""

    workspace: Workspace
    asking: Principal
    principal: str
    resource: Resource

    @property
    def kind(self) -> str:
        """Which of its fields says what it is."""
        return next(kind for kind in KINDS if kind in self.resource)

    @property
    def told(self) -> Mapping[str, Any]:
        """What is in that field."""
        told: Mapping[str, Any] = self.resource[self.kind]
        return told


def check(call: Call, resources: Sequence[Resource]) -> None:
    """Raise ApiError unless each can be bound by the caller: 400, 403, or 404 for what isn't there."""
    names = [str(one.get("name") or "") for one in resources]
    if "" in names or len(set(names)) < len(names):
        raise errors.invalid("Each resource must have a unique name")
    for one in resources:
        if sum(kind in one for kind in KINDS) != 1:
            raise errors.invalid(f"Resource {one['name']} must have exactly one of {', '.join(KINDS)}")
        binding = Binding(call.workspace, call.principal, "", one)
        CHECKS[binding.kind](binding)


def bind(call: Call, app: App, resources: Sequence[Resource]) -> None:
    """Give the app's principal what the resources say, after `check`, and take what earlier ones gave."""
    client = app.client.client_id
    for one in app.sent.get("resources") or ():
        _give(Binding(call.workspace, call.principal, client, one), False)
    for one in resources:
        _give(Binding(call.workspace, call.principal, client, one), True)


def unbind_all(workspace: Workspace, app: App) -> None:
    """Take everything the app's principal got: it is about to go."""
    client = app.client.client_id
    for held in access.grants(workspace.metastore).direct.values():
        held.pop(client, None)
    for given in workspace.part(acl.Acls).direct.values():
        given.pop(client, None)
    for scope in workspace.part(secrets.Secrets).scopes.values():
        scope.acls.pop(client, None)


def environment(workspace: Workspace, app: App, plan: Plan) -> dict[str, str]:
    """The variables of the plan with their values, and PG* of the first database; raises Failed for an unknown key."""
    resources = {str(one["name"]): one for one in app.sent.get("resources") or ()}
    found = _database(workspace, app, list(resources.values()))
    for one in plan.variables:
        key = one.get("value_from")
        if key is None:
            found[str(one["name"])] = str(one.get("value", ""))
        elif key in resources:
            found[str(one["name"])] = _value(Binding(workspace, _owner(workspace, app), "", resources[key]))
        else:
            raise Failed(
                f"Error resolving resource {key} specified in app.yaml. Please make sure to configure a resource with"
                f" name {key} in the app."
            )
    return found


def _owner(workspace: Workspace, app: App) -> Principal:
    return workspace.account.principals[app.client.client_id]


def _value(binding: Binding) -> str:
    told = binding.told
    if binding.kind == "uc_securable":
        return "/Volumes/" + str(told["securable_full_name"]).replace(".", "/")
    if binding.kind == "secret":
        scope = binding.workspace.part(secrets.Secrets).scopes.get(str(told["scope"]))
        if not scope or told["key"] not in scope.values:
            raise Failed(f"Error resolving secret {told['scope']}/{told['key']}: it does not exist")
        return scope.values[str(told["key"])][0].decode()
    if binding.kind == "postgres":
        return f"{told['branch']}/endpoints/{ENDPOINT}"
    simple = {"experiment": "experiment_id", "app": "name", "database": "instance_name"}
    return str(told[simple[binding.kind]])


def _database(workspace: Workspace, app: App, resources: Sequence[Resource]) -> dict[str, str]:
    """PG* of the first database resource; a password isn't among them."""
    for one in resources:
        if "postgres" not in one and "database" not in one:
            continue
        kind = "postgres" if "postgres" in one else "database"
        try:
            host, database = lakebase_state.connection(workspace, kind, one[kind])
        except errors.ApiError as error:
            raise Failed(f"Error resolving resource {one['name']}: {error.message}") from error
        return {
            "PGHOST": host,
            "PGPORT": str(PORT),
            "PGDATABASE": database,
            "PGUSER": app.client.client_id,
            "PGSSLMODE": "require",
            "PGAPPNAME": app.name,
        }
    return {}


def _give(binding: Binding, on: bool) -> None:
    """Give what the resource says to the principal, or take it again."""
    workspace, told, principal = binding.workspace, binding.told, binding.principal
    if binding.kind == "uc_securable":
        held = access.grants(workspace.metastore)
        for privilege, securable in _privileges(told):
            # A catalog or schema may serve another resource too: USE stays.
            if on or not privilege.startswith("USE_"):
                (held.give if on else held.take)(securable, principal, privilege)
    elif binding.kind == "secret":
        _acl(workspace.part(secrets.Secrets).scopes[told["scope"]].acls, principal, told["permission"], on)
    elif binding.kind == "experiment":
        _acl_of(binding, "experiments", str(told["experiment_id"]), on)
    elif binding.kind == "app":
        _acl_of(binding, "apps", str(told["name"]), on)
    elif on:
        lakebase_state.let_in(workspace, principal, binding.kind, told)


def _acl_of(binding: Binding, kind: str, number: str, on: bool) -> None:
    held = binding.workspace.part(acl.Acls).direct.setdefault((kind, number), {})
    _acl(held, binding.principal, binding.told["permission"], on)


def _acl(held: dict[str, str], principal: str, level: str, on: bool) -> None:
    if on:
        held[principal] = level
    else:
        held.pop(principal, None)


def _privileges(told: Mapping[str, Any]) -> list[tuple[str, Securable]]:
    """What a binding of this securable grants, from the catalog down."""
    volume = catalogue.securable("volume", str(told["securable_full_name"]))
    above = [(f"USE_{one.type.upper()}", one) for one in reversed(volume.ancestry[1:])]
    # Who may write a volume reads it too.
    privileges = {"READ_VOLUME": ("READ_VOLUME",), "WRITE_VOLUME": ("READ_VOLUME", "WRITE_VOLUME")}
    return [*above, *((one, volume) for one in privileges[str(told["permission"])])]


def _check_volume(binding: Binding) -> None:
    told, workspace = binding.told, binding.workspace
    if told.get("securable_type") != "VOLUME":
        raise errors.ApiError(400, "FEATURE_DISABLED", "This emulator binds no Unity Catalog resources but volumes")
    if told.get("permission") not in ("READ_VOLUME", "WRITE_VOLUME"):
        raise errors.invalid(f"Permission {told.get('permission')} is not supported for VOLUME")
    volume = catalogue.securable("volume", str(told.get("securable_full_name") or ""))
    catalogue.existing(workspace, volume)
    everybody = access.grants(workspace.metastore).direct
    for privilege, securable in _privileges(told):
        if privilege not in everybody.get(securable, {}).get("account users", set()):
            catalogue.require_manage(workspace, binding.asking, securable)


def _check_secret(binding: Binding) -> None:
    told, workspace = binding.told, binding.workspace
    scopes = workspace.part(secrets.Secrets).scopes
    name, key = str(told.get("scope")), str(told.get("key"))
    if told.get("permission") not in SECRET_LEVELS:
        raise errors.invalid(f"Permission {told.get('permission')} is not supported for secrets")
    if name not in scopes:
        raise errors.missing(f"Scope {name} does not exist!")
    names = {binding.asking.name, *workspace.account.groups_of(binding.asking.name)}
    manages = any(scopes[name].acls.get(one) == "MANAGE" for one in names)
    if not manages and not access.is_admin(workspace, binding.asking):
        raise errors.denied(f"User {binding.asking.name} does not have MANAGE permission on scope {name}")
    if key not in scopes[name].values:
        raise errors.missing(f"Secret with key {key} does not exist in scope {name}")


def _check_experiment(binding: Binding) -> None:
    target = ("experiments", str(binding.told.get("experiment_id")))
    if target not in binding.workspace.part(acl.Acls).direct:
        raise errors.missing(f"Experiment {target[1]} does not exist.")
    acl.require(binding.workspace, binding.asking, "CAN_MANAGE", target)


def _check_app(binding: Binding) -> None:
    target = ("apps", str(binding.told.get("name")))
    if target not in binding.workspace.part(acl.Acls).direct:
        raise errors.missing(f"App with name {target[1]} does not exist or is deleted.")
    acl.require(binding.workspace, binding.asking, "CAN_MANAGE", target)


def _check_database(binding: Binding) -> None:
    if binding.told.get("permission") != "CAN_CONNECT_AND_CREATE":
        raise errors.invalid(f"Permission {binding.told.get('permission')} is not supported for databases")
    lakebase_state.check(binding.workspace, binding.asking, binding.kind, binding.told)


CHECKS: Mapping[str, Callable[[Binding], None]] = {
    "uc_securable": _check_volume,
    "secret": _check_secret,
    "experiment": _check_experiment,
    "app": _check_app,
    "postgres": _check_database,
    "database": _check_database,
}
