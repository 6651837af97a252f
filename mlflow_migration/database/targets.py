"""What each object of one database becomes at another: itself, a part of another one of the name, or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlflow_migration.database import addresses, parts
from mlflow_migration.database.conflicts import EXPERIMENT_ID, EXPERIMENT_NAME, IS_PROMPT, SOURCE
from mlflow_migration.database.copying import NEW, OWN, SHARED, Copier, Move, Target
from mlflow_migration.database.parts import Key, Unit
from mlflow_migration.errors import ConflictError
from mlflow_migration.places import FAIL, NEW_NAME, SKIP, UPDATE, free_name

if TYPE_CHECKING:
    import sqlalchemy as sa

DEFAULT = 0
"""The id of the experiment `Default`, which every server has."""
CHOOSE = "choose with --on-conflict update, new-name or skip"
LARGEST = {"sqlite": 2**63 - 1}
LARGEST_OTHER = 2**31 - 1
"""The largest id of an experiment that a database holds: MLflow's column is INTEGER (3.17.2), in SQLite any length."""
NAMED = 5
"""So many collisions are shown."""
BORN = {
    "experiments": "creation_time",
    "registered_models": "creation_time",
    "mcp_servers": "created_at",
    "workspaces": "name",
}
"""Where objects are known by their names: the column that tells two of one name apart."""
NAMES = {"secrets": "secret_name", "model_definitions": "name", "endpoints": "name"}
"""Where objects have ids, and names that a workspace has once."""


@dataclass(frozen=True)
class Planned:
    """One object: the move, or None where it stays behind, as `state` and `reason` say."""

    kind: str
    id: str
    name: str
    move: Move | None
    state: str = ""
    reason: str = ""


@dataclass(frozen=True)
class _Experiment:
    id: int
    name: str
    born: int | None
    workspace: str
    location: str = ""


class Experiments:
    """Decides for experiments. `names` are those of the source, by id; with `root` artifacts go below it, and the
    addresses that change by that are noted in the copier."""

    def __init__(self, copier: Copier, policy: str, root: str = "") -> None:
        self._copier = copier
        self._policy = policy
        self._root = root
        flow = copier.flow
        self._source = flow.source.address
        here = [each for each in _experiments(flow.reader, flow.source.tables) if _in(flow.source.workspace, each)]
        self._here = {each.id: each for each in here}
        self.names = {each.id: each.name for each in here}
        there = list(_experiments(flow.writer, flow.destination.tables))
        flow.writer.rollback()
        self._workspace = flow.destination.workspace
        self._by_id = {each.id: each for each in there}
        if root and DEFAULT in self._by_id and addresses.is_proxied(self._by_id[DEFAULT].location):
            # The destination's server gives artifacts from its own root, which `root` is.
            self._root = addresses.PROXIED
        self._by_name = {(each.workspace, each.name): each for each in there}
        self._largest = LARGEST.get(flow.destination.dialect, LARGEST_OTHER)
        used = [each.id for each in (*here, *there) if each.id <= self._largest]
        self._numbers = itertools.count(max(used, default=0) + 1)
        self._known = _known(copier, self._source)

    def planned(self, wanted: Iterable[int]) -> list[Planned]:
        """What becomes of the experiments with these ids.

        Raises ConflictError, before anything is written, where ids or names are taken and nobody chose what to do then.
        """
        chosen = [self._here[id_] for id_ in wanted]
        taken = [(each, why) for each in chosen if (why := self._taken(each))]
        if taken and not self._policy:
            shown = "; ".join(why for _, why in taken[:NAMED])
            more = f"; and {len(taken) - NAMED} more" if len(taken) > NAMED else ""
            raise ConflictError("the destination has other experiments in their places", shown + more, CHOOSE)
        return [self._plan(each) for each in chosen]

    def _place(self, each: _Experiment) -> str:
        return self._workspace or each.workspace

    def _taken(self, each: _Experiment) -> str:
        """Why an experiment can't have its id and name; "" where it can, or has them."""
        if each.id in self._known:
            return ""
        same_id = self._by_id.get(each.id)
        same_name = self._by_name.get((self._place(each), each.name))
        if same_id and not _is_same(each, same_id):
            return f"{each.id} {each.name!r} is {same_id.name!r} there"
        if same_name and same_name.id != each.id:
            return f"{each.id} {each.name!r} has the id {same_name.id} there"
        return ""

    def _plan(self, each: _Experiment) -> Planned:
        why = self._taken(each)
        if why and self._policy in {SKIP, FAIL}:
            self._copier.left_out.add(each.id)
            state = "skipped" if self._policy == SKIP else "failed"
            return Planned("experiment", str(each.id), each.name, None, state, f"{why}: {CHOOSE}")
        target = self._known_target(each) or self._fitting(each, why)
        if target.key != (each.id,):
            self._copier.experiments[each.id] = int(str(target.key[0]))
        return Planned("experiment", str(each.id), each.name, Move(parts.EXPERIMENT, (each.id,), target))

    def _fitting(self, each: _Experiment, why: str) -> Target:
        """A file store's ids have 18 digits: where the column is too short for one, it gets another."""
        return self._other(each) if why or each.id > self._largest else self._itself(each)

    def _known_target(self, each: _Experiment) -> Target | None:
        """The experiment that an earlier job made of this one under another id."""
        if each.id not in self._known:
            return None
        there = self._by_id[self._known[each.id]]
        return Target((there.id,), OWN, self._changed(each, there), self._tags(each))

    def _itself(self, each: _Experiment) -> Target:
        there = self._by_id.get(each.id)
        state = NEW
        if there is not None:
            state = OWN if there.born == each.born or self._is_untouched(there) else SHARED
        return Target((each.id,), state, self._changed(each, replace(each, workspace=self._place(each))))

    def _other(self, each: _Experiment) -> Target:
        same_name = self._by_name.get((self._place(each), each.name))
        if same_name and self._policy == UPDATE:
            return Target((same_name.id,), SHARED, self._changed(each, same_name))
        name = each.name
        if same_name and self._policy == NEW_NAME:
            name = free_name(each.name, lambda text: (self._place(each), text) not in self._by_name)
        made = _Experiment(next(self._numbers), name, each.born, self._place(each))
        self._by_name[made.workspace, name] = made
        return Target((made.id,), NEW, self._changed(each, made), self._tags(each))

    def _changed(self, each: _Experiment, made: _Experiment) -> dict[tuple[str, str], Callable[[Any], Any]]:
        changes: dict[tuple[str, str], Callable[[Any], Any]] = {}
        if self._root:
            # One that is there already keeps the place it has.
            there = self._by_id.get(made.id)
            location = there.location if there else addresses.moved(each.location, self._root, made.id)
            self._copier.addresses[each.location] = location
            changes.update(addresses.changes(each.location, location))
        name, workspace = made.name, made.workspace
        return {**changes, ("experiments", "name"): lambda _: name, ("experiments", "workspace"): lambda _: workspace}

    def _tags(self, each: _Experiment) -> dict[str, str]:
        return {SOURCE: self._source, EXPERIMENT_ID: str(each.id), EXPERIMENT_NAME: each.name}

    def _is_untouched(self, there: _Experiment) -> bool:
        """Whether it is the `Default` of a server that nobody has used yet."""
        flow = self._copier.flow
        tables = [flow.destination.tables[name] for name in ("runs", "experiment_tags", "trace_info", "logged_models")]
        return there.id == DEFAULT and not any(
            flow.looker.execute(table.select().where(table.c.experiment_id == there.id).limit(1)).first()
            for table in tables
        )


def _experiments(connection: sa.Connection, tables: Mapping[str, sa.Table]) -> Iterator[_Experiment]:
    import sqlalchemy as sa

    table = tables["experiments"]
    named = (table.c.experiment_id, table.c.name, table.c.creation_time, table.c.workspace, table.c.artifact_location)
    for row in connection.execute(sa.select(*named).order_by(table.c.experiment_id)).all():
        yield _Experiment(*row)


def _known(copier: Copier, source: str) -> dict[int, int]:
    """The experiments that earlier jobs made under another id: id at the source → id at the destination."""
    import sqlalchemy as sa

    table = copier.flow.destination.tables["experiment_tags"]
    mine, theirs = table.alias(), table.alias()
    statement = (
        sa.select(theirs.c.value, theirs.c.experiment_id)
        .join(mine, mine.c.experiment_id == theirs.c.experiment_id)
        .where(mine.c.key == SOURCE, mine.c.value == source, theirs.c.key == EXPERIMENT_ID)
    )
    found = copier.flow.writer.execute(statement).all()
    copier.flow.writer.rollback()
    return {int(value): experiment_id for value, experiment_id in found if value.isdigit()}


def _is_same(each: _Experiment, there: _Experiment) -> bool:
    """Whether two of one id are one experiment: both the `Default`, of one name, or renamed since."""
    return each.id == DEFAULT or (each.born == there.born and (each.born is not None or each.name == there.name))


def _in(workspace: str, each: _Experiment) -> bool:
    return not workspace or each.workspace == workspace


def planned(copier: Copier, unit: Unit, policy: str) -> Iterator[Planned]:
    """Every object of a kind that belongs to no experiment."""
    flow = copier.flow
    prompts = _prompts(flow.reader, flow.source.tables) if unit is parts.REGISTERED_MODEL else frozenset()
    scorers = _scorers(flow.reader, flow.source.tables) if unit is parts.GUARDRAIL else {}
    here = list(_rows(flow.reader, flow.source.tables, unit))
    there = {_key(unit, row): row for row in _rows(flow.writer, flow.destination.tables, unit)}
    flow.writer.rollback()
    name_column = NAMES.get(unit.root.table, "")
    by_name = {(row[name_column], row["workspace"]): row for row in there.values()} if name_column else {}
    for row in here:
        if flow.source.workspace and row.get("workspace", flow.source.workspace) != flow.source.workspace:
            continue
        key = _moved(unit, _key(unit, row), flow.destination.workspace)
        kind = "prompt" if _key(unit, row) in prompts else unit.kind
        other = by_name.get((row[name_column], flow.destination.workspace or row["workspace"])) if name_column else None
        experiment = scorers.get(row["scorer_id"]) if "scorer_id" in row else None
        yield _plan(copier, _Found(unit, kind, row, key, there.get(key), other, experiment), policy)


@dataclass(frozen=True)
class _Found:
    """An object of the source: its key there, the destination's rows of that key and of its name, and the experiment
    of what it refers to."""

    unit: Unit
    kind: str
    row: Mapping[str, Any]
    key: Key
    there: Mapping[str, Any] | None
    other: Mapping[str, Any] | None
    experiment: int | None = None


def _plan(copier: Copier, found: _Found, policy: str) -> Planned:
    unit, row = found.unit, found.row
    source_key = _key(unit, row)
    name = str(row.get(NAMES.get(unit.root.table, "name")) or source_key[-1])

    def stays(state: str, reason: str) -> Planned:
        return Planned(found.kind, str(source_key[-1]), name, None, state, reason)

    def goes(key: Key, state: str) -> Planned:
        changed = {name: address for name, address in copier.addresses.items() if name != address}
        changes = {**addresses.version_changes(changed), **_workspace_changes(copier, unit)}
        target = Target(key, state, changes)
        return Planned(found.kind, str(source_key[-1]), name, Move(unit, source_key, target))

    experiment_id = row.get("experiment_id") or found.experiment
    if experiment_id in copier.left_out:
        return stays("skipped", f"experiment {experiment_id} is left out")
    born = BORN.get(unit.root.table, "")
    if found.there is not None and (not born or found.there[born] == row[born]):
        return goes(found.key, OWN)
    if found.there is None and found.other is None:
        return goes(found.key, NEW)
    if policy != UPDATE:
        reason = f"another {found.kind} has the name there: choose with --on-conflict update or skip"
        return stays("skipped" if policy == SKIP else "failed", reason)
    if found.other is None:
        return goes(found.key, SHARED)
    key = _key(unit, found.other)
    copier.ids[str(source_key[0])] = str(key[0])
    return goes(key, SHARED)


def _prompts(connection: sa.Connection, tables: Mapping[str, sa.Table]) -> frozenset[Key]:
    """The registered models that are prompts."""
    import sqlalchemy as sa

    table = tables["registered_model_tags"]
    statement = sa.select(table.c.workspace, table.c.name).where(table.c.key == IS_PROMPT)
    return frozenset(tuple(row) for row in connection.execute(statement))


def _scorers(connection: sa.Connection, tables: Mapping[str, sa.Table]) -> dict[str, int]:
    """The experiment of each scorer, by the scorer's id."""
    import sqlalchemy as sa

    table = tables["scorers"]
    return {
        id_: experiment for id_, experiment in connection.execute(sa.select(table.c.scorer_id, table.c.experiment_id))
    }


def _rows(connection: sa.Connection, tables: Mapping[str, sa.Table], unit: Unit) -> Iterator[dict[str, Any]]:
    import sqlalchemy as sa

    table = tables[unit.root.table]
    wanted = {*unit.root.columns, "workspace", "experiment_id", "scorer_id"}
    wanted |= {BORN.get(table.name, ""), NAMES.get(table.name, "")}
    columns = [column for column in table.columns if column.name in wanted]
    order = [table.c[name] for name in unit.root.columns]
    for row in connection.execute(sa.select(*columns).order_by(*order)).mappings().all():
        yield dict(row)


def _key(unit: Unit, row: Mapping[str, Any]) -> Key:
    return tuple(row[name] for name in unit.root.columns)


def _moved(unit: Unit, key: Key, workspace: str) -> Key:
    """The key in the workspace that was asked for."""
    if not workspace:
        return key
    return tuple(
        workspace if name == "workspace" else value for name, value in zip(unit.root.columns, key, strict=True)
    )


def _workspace_changes(copier: Copier, unit: Unit) -> dict[tuple[str, str], Callable[[Any], Any]]:
    workspace = copier.flow.destination.workspace
    return {(part.table, "workspace"): lambda _: workspace for part in unit.parts} if workspace else {}
