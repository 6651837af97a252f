"""Whole objects from one database to another, row by row as they are: ids, times, and what no other way shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_migration.database import parts, rows
from mlflow_migration.database.parts import Key, Part, Unit
from mlflow_migration.database.rows import Change, Flow, Stream
from mlflow_migration.database.tally import Tally
from mlflow_migration.errors import ConflictError, MigrationError, StorageError

NEW, OWN, SHARED = "new", "own", "shared"
"""What a destination has of an object: nothing; the object itself; another one that it is added to, whose own rows
stay as they are."""
NATURAL = {
    "datasets": (("name", "digest"), "dataset_uuid"),
    "label_schemas": (("name",), "schema_id"),
    "review_queues": (("name_key",), "queue_id"),
    "scorers": (("scorer_name",), "scorer_id"),
}
"""Of what an experiment has one of each name: the columns of the name, and the id by which others refer to it."""
REFERRING = (
    *("dataset_uuid", "schema_id", "queue_id", "scorer_id"),
    *("secret_id", "model_definition_id", "endpoint_id", "action_endpoint_id"),
)
"""Columns with ids of what may be there under another id."""


@dataclass(frozen=True)
class Target:
    """What an object becomes at the destination: its key there, what is there of it, and what changes on the way, by
    table and column. `tags` are added to an experiment that got another id, so that it is known again."""

    key: Key
    state: str = NEW
    changes: Mapping[tuple[str, str], Change] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Move:
    """One object: its unit, its key at the source, and what it becomes."""

    unit: Unit
    key: Key
    target: Target


@dataclass
class Copier:
    """One job. `held` are the tables in which the source has rows at all; `ids` and `experiments` map what has another
    id at the destination, `addresses` those of experiments' artifacts; `left_out` are experiments that don't go."""

    flow: Flow
    held: frozenset[str]
    ids: dict[str, str] = field(default_factory=dict)
    experiments: dict[int, int] = field(default_factory=dict)
    left_out: set[int] = field(default_factory=set)
    addresses: dict[str, str] = field(default_factory=dict)

    def copy(self, move: Move) -> Tally:
        """Copy one object with all that belongs to it, in one transaction; how its objects ended.

        Raises ConflictError where the destination refuses a row, StorageError where it can't go on.
        """
        tally = Tally(move.unit.root.table, move.target.state == SHARED)
        with self._transaction():
            for part in self._held(move.unit.parts):
                self._part(move, part, tally)
            if move.unit is parts.EXPERIMENT:
                for part in self._held(parts.ACROSS):
                    self._write(move, part, self._beside(move, part, own=True), tally)
                self._tag(move.target)
        self._tell_refused(tally)
        return tally

    def tie(self, move: Move) -> Tally:
        """Copy what is in an experiment and refers to runs of others, which are there by now."""
        tally = Tally("")
        there = replace(move, target=replace(move.target, state=OWN))
        with self._transaction():
            for part in self._held(parts.ACROSS):
                self._write(there, part, self._beside(move, part, own=False), tally)
        self._tell_refused(tally)
        return tally

    def _tell_refused(self, tally: Tally) -> None:
        tally.lost.extend(self.flow.refused)
        self.flow.refused.clear()

    def _held(self, some: tuple[Part, ...]) -> Iterator[Part]:
        return (part for part in some if part.table in self.held)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        import sqlalchemy as sa

        try:
            with self.flow.writer.begin() as transaction:
                yield
                if self.flow.rehearsal:
                    transaction.rollback()
        except sa.exc.DBAPIError as error:
            raise self._meant(error.orig or error) from error
        except self._driver.Error as error:
            # From COPY, which goes to the driver directly.
            raise self._meant(error) from error
        finally:
            if self.flow.writer.in_transaction():
                self.flow.writer.rollback()

    @property
    def _driver(self) -> Any:
        return self.flow.writer.dialect.dbapi

    def _meant(self, error: BaseException) -> MigrationError:
        """What a driver's error means to a person: its first line, for those after it quote rows."""
        text = str(error).strip().partition("\n")[0]
        if isinstance(error, self._driver.OperationalError):
            return StorageError(f"{self.flow.destination.address} can't go on", text, "mend it, then type this again")
        if isinstance(error, self._driver.IntegrityError):
            return ConflictError("the destination refuses a row", text)
        return MigrationError("the destination can't hold a value", text)

    def _part(self, move: Move, part: Part, tally: Tally) -> None:
        stream = self._stream(move, part)
        if move.target.state == SHARED and part.table in NATURAL:
            self._learn(part, stream)
            stream = self._stream(move, part)
        self._write(move, part, stream, tally)

    def _write(self, move: Move, part: Part, stream: Stream, tally: Tally) -> None:
        if move.target.state == NEW:
            tally.inserted(part, rows.insert_all(self.flow, stream))
        else:
            rows.write(self.flow, stream, tally.wanted(part, stream, rows.differences(self.flow, stream)))

    def _stream(self, move: Move, part: Part) -> Stream:
        tables = self.flow.source.tables
        here = parts.rows_of(tables, move.unit, part, move.key)
        there = parts.rows_of(tables, move.unit, part, move.target.key)
        if self.left_out and _ties_experiments(part):
            gone = [str(each) for each in self.left_out]
            here = here & tables[part.table].c.destination_id.not_in(gone)
        return Stream(tables[part.table], here, there, self._changes(part, move.target))

    def _changes(self, part: Part, target: Target) -> dict[str, Change]:
        columns = self.flow.source.tables[part.table].columns.keys()
        changes = {name: target.changes[part.table, name] for name in columns if (part.table, name) in target.changes}
        if self.experiments and "experiment_id" in columns:
            changes["experiment_id"] = self._experiment
        if self.experiments and _ties_experiments(part):
            changes["destination_id"] = lambda value: str(self._experiment(int(value)))
        if self.ids:
            referring = ("source_id",) if part.only == parts.RUN_TAKES else REFERRING
            changes.update({name: self._id for name in referring if name in columns})
        return changes

    def _experiment(self, value: Any) -> Any:
        return self.experiments.get(value, value)

    def _id(self, value: Any) -> Any:
        return self.ids.get(value, value)

    def _learn(self, part: Part, stream: Stream) -> None:
        """Which of the destination's things have the names of these, under other ids."""
        import sqlalchemy as sa

        names, id_ = NATURAL[part.table]
        statement = sa.select(*(stream.table.c[name] for name in (*names, id_)))
        there = {tuple(row[:-1]): row[-1] for row in self.flow.writer.execute(statement.where(stream.there))}
        for row in self.flow.reader.execute(statement.where(stream.here)):
            known = there.get(tuple(row[:-1]))
            if known is not None and known != row[-1]:
                self.ids[str(row[-1])] = str(known)

    def _beside(self, move: Move, part: Part, own: bool) -> Stream:
        """The rows of an experiment that refer to runs of its own or to none, or else those that refer to others."""
        import sqlalchemy as sa

        stream = self._stream(move, part)
        runs = self.flow.source.tables["runs"]
        column = stream.table.c[parts.RUN_COLUMN[part.table]]
        inside = sa.select(runs.c.run_uuid).where(runs.c.experiment_id == move.key[0])
        beside = sa.or_(column.is_(None), column.in_(inside)) if own else column.not_in(inside)
        return replace(stream, here=stream.here & beside)

    def _tag(self, target: Target) -> None:
        """Set the tags by which an experiment under another id is known again."""
        table = self.flow.destination.tables["experiment_tags"]
        there = table.c.experiment_id == target.key[0]
        if not target.tags or self.flow.rehearsal:
            return
        known = {row.key: row.value for row in self.flow.writer.execute(table.select().where(there))}
        lacking = [
            {"key": key, "value": value, "experiment_id": target.key[0]}
            for key, value in target.tags.items()
            if known.get(key) != value
        ]
        if lacking:
            self.flow.writer.execute(table.delete().where(there & table.c.key.in_([each["key"] for each in lacking])))
            self.flow.writer.execute(table.insert(), lacking)


def _ties_experiments(part: Part) -> bool:
    """Whether a part's rows name experiments in their `destination_id`, as text."""
    return part.table == "entity_associations" and part.kind == "evaluation_dataset"


def held(flow: Flow) -> frozenset[str]:
    """The tables in which the source has rows."""
    import sqlalchemy as sa

    tables = flow.source.tables
    return frozenset(
        name
        for name, table in tables.items()
        if flow.reader.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None
    )
