"""Permissions of MLflow's basic-auth: what each is about, at either end. Users, roles and grants share these rules.

A permission names a thing by type and pattern: an id or name, or `*` for all of that type. Experiments and scorers are
known by the experiment's id, gateway things by ids of their own, all else by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import experiment, kind, registry, texts
from mlflow_migration.places import Ids, Selection
from mlflow_migration.records import Json

ALL = "*"
BY_LISTING = frozenset({"gateway_secret", "gateway_endpoint", "gateway_model_definition", "mcp_server"})
"""Types whose things are found at a destination by their names."""
OWN_PREFIX = "__user_"
"""Begins the name of the role in which MLflow keeps what a user has besides roles; no other role may be named so."""
NO_USERS = "the destination has no users: it runs without --app-name basic-auth"


def wanted(selection: Selection) -> bool:
    """Whether users, roles and permissions are asked for: by an option, and of a whole server only."""
    return selection.permissions and not selection.experiments and not selection.run_ids


def experiment_of(permission: Json) -> str:
    """The id of the experiment it is about, whole or by a scorer of it; "" for any other."""
    pattern = str(permission["resource_pattern"])
    if pattern == ALL or permission["resource_type"] not in {experiment.NAME, "scorer"}:
        return ""
    return pattern.partition("/")[0]


def within_experiment(permission: Json) -> str:
    """What follows the experiment's id in the pattern: "/" and a scorer's quoted name, or nothing."""
    return str(permission["resource_pattern"])[len(experiment_of(permission)) :]


def model_of(permission: Json) -> str:
    """The name of the registered model or prompt it is about, which may be another one at a destination; else ""."""
    named = permission["resource_type"] in registry.FAMILIES and permission["resource_pattern"] != ALL
    return str(permission["resource_pattern"]) if named else ""


def about(permission: Json, swaps: Mapping[str, str]) -> str:
    """The type and thing in words that both ends share, once `swaps` has turned ids and new names into such."""
    id_, type_ = experiment_of(permission), permission["resource_type"]
    if model := model_of(permission):
        return f"{type_} {swaps.get(texts.shared_name(type_, model), model)}"
    if not id_:
        return f"{type_} {permission.get('resource_name') or permission['resource_pattern']}"
    shared = experiment.shared_id(id_)
    return f"{type_}: {swaps.get(shared, shared)}{within_experiment(permission)}"


def swaps_of(permissions: Iterable[Json], known: kind.Known) -> dict[str, str]:
    """What turns experiments' ids and models' names in permissions into those that both ends share."""
    found: dict[str, str] = {}
    for permission in permissions:
        if id_ := experiment_of(permission):
            shared = experiment.shared_id(id_)
            found[shared] = known(shared) or shared
        elif model := model_of(permission):
            shared = texts.shared_name(permission["resource_type"], model)
            found[shared] = known(shared) or model
    return found


class Described:
    """Permissions of a place as records keep them: without the server's own ids, with names of what has an id."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._names: dict[str, dict[str, str]] = {}

    def __call__(self, rows: Iterable[Json]) -> Iterator[Json]:
        for row in rows:
            permission = bare(row)
            type_, pattern = permission["resource_type"], permission["resource_pattern"]
            if type_ in BY_LISTING and pattern != ALL:
                if type_ not in self._names:
                    self._names[type_] = self._source.users.resource_names(type_)
                if name := self._names[type_].get(pattern):
                    permission["resource_name"] = name
            yield permission


def bare(permission: Json) -> Json:
    """A permission as MLflow takes it."""
    return {key: permission[key] for key in ("resource_type", "resource_pattern", "permission")}


def thing(permission: Json) -> tuple[str, str]:
    """What it is about: of each thing a role has one permission at most."""
    return permission["resource_type"], permission["resource_pattern"]


@dataclass(frozen=True)
class Destination:
    """Where permissions are to be written."""

    sink: Live
    ids: Ids
    dry_run: bool

    def has_users(self) -> bool:
        """Whether there are users at all. Raises ForbiddenError where these credentials aren't an administrator's."""
        return self.sink.users.exist()

    def there(self, permission: Json) -> Json:
        """The permission on the destination's own thing. Raises NotFoundError where that isn't there."""
        pattern = permission["resource_pattern"] if permission["resource_pattern"] == ALL else self._find(permission)
        return {**bare(permission), "resource_pattern": pattern}

    def _find(self, permission: Json) -> str:
        type_, pattern = thing(permission)
        found: str | None
        if source_id := experiment_of(permission):
            found = self.ids.get(experiment.NAME, source_id)
            found = None if found is None else found + within_experiment(permission)
        elif type_ in BY_LISTING:
            names = self.ids.once(f"names of {type_}", lambda: self.sink.users.resource_names(type_))
            name = permission.get("resource_name") or pattern
            found = next((id_ for id_, other in names.items() if other == name), None)
        else:
            found = self.ids.get(type_, pattern)
        if found is None and self.dry_run:
            # What a rehearsal would make has no id.
            return pattern
        if found is None:
            raise NotFoundError(f"{type_} {permission.get('resource_name') or pattern} isn't at the destination")
        return found

    def claim(self, kind_name: str, source_id: str, there: str) -> None:
        """Note that this job made it: only then may a later one change what it says."""
        self.ids.put(f"{kind_name} made", source_id, there)

    def is_ours(self, kind_name: str, source_id: str, there: str) -> bool:
        """Whether this job, now or in an earlier attempt, made what stands there."""
        return self.ids.earlier(f"{kind_name} made", source_id) == there
