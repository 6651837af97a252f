"""A database to write to: one transaction for each experiment with all that belongs to it, savepoints within."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from mlflow_migration.database import conflicts, gateway_rows, registry_rows, review_rows, run_rows, trace_rows
from mlflow_migration.database.connect import DEFAULT_WORKSPACE, Connected, advance_sequences, reason
from mlflow_migration.database.made import Guess, Made, Part, Values
from mlflow_migration.database.settled import Place, RenameIn, Settled
from mlflow_migration.database.shaping import Shaper
from mlflow_migration.database.storing import Put, Roots, Storing
from mlflow_migration.database.writing import Writer
from mlflow_migration.errors import ConflictError, MigrationError, StorageError
from mlflow_migration.places import Root, Writing
from mlflow_migration.records import ORIGIN, Loss, Record, Written

if TYPE_CHECKING:
    pass

T = TypeVar("T")
RUN_ID = ORIGIN + "run_id"
NOT_MOVED = {
    "user": "a server with users keeps them in a database of its own",
    "role": "a server with users keeps its roles in a database of its own",
    "access_list": "MLflow's tables have no place for Databricks' permissions",
    "grant": "a server with users keeps permissions in a database of its own",
}
LIMIT_OF_GROUP = 100
GROUPS = {"trace": 50}
PLANS: dict[str, tuple[Part, ...]] = {
    "run": run_rows.RUN,
    "logged_model": run_rows.MODEL,
    "trace": trace_rows.TRACE,
    "registered_model": registry_rows.MODEL,
    "prompt": registry_rows.MODEL,
    "model_version": registry_rows.VERSION,
    "prompt_version": registry_rows.VERSION,
    "webhook": registry_rows.WEBHOOK,
    "issue": review_rows.ISSUE,
    "label_schema": review_rows.SCHEMA,
    "review_queue": review_rows.QUEUE,
    "scorer": review_rows.SCORER,
    "evaluation_dataset": review_rows.DATASET,
    "gateway_model_definition": gateway_rows.DEFINITION,
    "gateway_endpoint": gateway_rows.ENDPOINT,
    "gateway_budget": gateway_rows.BUDGET,
    "gateway_guardrail": gateway_rows.GUARDRAIL,
    "mcp_server": gateway_rows.MCP_SERVER,
    "workspace": gateway_rows.WORKSPACE,
}
HAVE_ARTIFACTS = ("run", "logged_model", "trace")
WITH_FILES = {
    "run": ("runs", "run_uuid", "artifact_uri"),
    "logged_model": ("logged_models", "model_id", "artifact_location"),
}
"""The table, id and address of what has artifacts."""


@dataclass(frozen=True)
class Prepared:
    """An object with its artifacts written, ready to become rows."""

    record: Record
    put: Put


@dataclass
class Here:
    """What the database has of one experiment already: addresses that aren't where a new object's would be, and the
    runs that came over REST and have other ids."""

    addresses: dict[str, str] = field(default_factory=dict)
    came_as: dict[str, str] = field(default_factory=dict)


class DatabaseSink:
    """Writes records as rows. One thread writes at a time; artifacts are written by as many as there are."""

    def __init__(self, connected: Connected, job: Writing, roots: Roots, rename_in: RenameIn) -> None:
        self.address = connected.address
        self.settled = Settled(connected.workspace or DEFAULT_WORKSPACE, rename_in)
        self._connected = connected
        self._job = job
        self._roots = roots
        self._storing = Storing(roots, self.settled.text, job.checksum, job.dry_run)
        self._experiments: conflicts.Experiments | None = None
        self._highest = 0
        self._here: dict[str, Here] = {}
        self._made: set[tuple[str, str]] = set()
        self._shaper: Shaper | None = None

    def expect(self, records: Sequence[Record]) -> None:
        """Take in which experiments are to come: a number given to one of them must not be another's."""
        ids = [int(each.id) for each in records if each.id.isdigit() and int(each.id) <= conflicts.LARGEST_ID]
        self._highest = max(ids, default=0)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is written inside is there as a whole, or not at all. Raises StorageError where it can't be kept."""
        # A rehearsal keeps nobody from writing.
        opened = self._connected.reading() if self._job.dry_run else self._connected.writing()
        with _told(), opened as connection:
            writer = Writer(connection, self._connected.tables, self._job.dry_run)
            self._shaper = Shaper(writer, self.settled, self._job, self.address, self._made)
            try:
                yield
                writer.flush()
                if not self._job.dry_run:
                    advance_sequences(connection, self._connected.tables)
            finally:
                self._shaper = None

    @property
    def shaper(self) -> Shaper:
        """What makes rows in the present transaction. Raises RuntimeError outside of one."""
        if self._shaper is None:
            raise RuntimeError("nothing is written outside a transaction")
        return self._shaper

    @property
    def writer(self) -> Writer:
        """What writes rows in the present transaction."""
        return self.shaper.writer

    def put_experiment(self, record: Record) -> Written:
        """Write an experiment, or find the one that is written to instead.

        Raises ConflictError or LeftOutError where another one has its place, as the person chose.
        """
        if self._experiments is None:
            self._experiments = conflicts.Experiments(self.writer, self._job, self.settled.workspace, self._highest)
        before = str(record.head.get("artifact_location") or "")
        try:
            chosen = self._experiments.choose(record)
        except MigrationError as error:
            self.settled.left_out[record.id] = error
            raise
        location = chosen.location if chosen.location is not None else self._roots.location(chosen.id, before)
        place = Place(chosen.id, location, before)
        self.settled.experiments[record.id] = place
        made = run_rows.experiment(record.head, place, chosen.name, self.settled)
        losses: tuple[Loss, ...] = ()
        if chosen.joins:
            self.settled.joined.add(place.id)
            made, losses = self._joined(made, place)
        made.rows["experiment_tags"] += [
            {"key": key, "value": value, "experiment_id": place.id} for key, value in (chosen.marks or {}).items()
        ]
        state = self._saved(lambda: self.writer.put(run_rows.EXPERIMENT, [made]))[0]
        told = made.rows["experiments"][0].get("creation_time")
        self._experiments.made(chosen, location, told.value if isinstance(told, Guess) else told)
        if state != "done":
            self._here[record.id] = self._look(place)
        return Written(str(place.id), state, losses=losses)

    def _joined(self, made: Made, place: Place) -> tuple[Made, tuple[Loss, ...]]:
        """What is added to an experiment of the database's own: the tags it lacks."""
        found = self.writer.select("experiment_tags", ("key", "value"), experiment_id=place.id)
        there = {row["key"]: row["value"] for row in found}
        reason = f"experiment {place.id} at the destination has another value, which is kept"
        tags = made.rows["experiment_tags"]
        losses = tuple(
            Loss("tag", tag["key"], reason) for tag in tags if there.get(tag["key"], tag["value"]) != tag["value"]
        )
        row: Values = {"experiment_id": place.id}
        rows = {"experiments": [row], "experiment_tags": [tag for tag in tags if tag["key"] not in there]}
        return replace(made, rows=rows), losses

    def _look(self, place: Place) -> Here:
        """What there is of an experiment that was there before."""
        import sqlalchemy as sa

        here = Here()
        tables = self._connected.tables
        base = place.location.rstrip("/")
        for kind, (name, id_, address) in WITH_FILES.items():
            table = tables[name]
            folder = base if kind == "run" else f"{base}/models"
            usual = sa.literal(f"{folder}/").concat(table.c[id_]).concat("/artifacts")
            asked = sa.select(table.c[id_], table.c[address])
            asked = asked.where(table.c.experiment_id == place.id, table.c[address] != usual)
            here.addresses.update((row[0], row[1]) for row in self.writer.connection.execute(asked))
        tags, infos = tables["trace_tags"], tables["trace_info"]
        usual = sa.literal(f"{base}/traces/").concat(tags.c.request_id).concat("/artifacts")
        asked = sa.select(tags.c.request_id, tags.c.value).join(infos, infos.c.request_id == tags.c.request_id)
        asked = asked.where(infos.c.experiment_id == place.id, tags.c.key == trace_rows.LOCATION, tags.c.value != usual)
        here.addresses.update((row[0], row[1]) for row in self.writer.connection.execute(asked))
        marks, runs = tables["tags"], tables["runs"]
        came = sa.select(marks.c.value, marks.c.run_uuid).join(runs, runs.c.run_uuid == marks.c.run_uuid)
        came = came.where(runs.c.experiment_id == place.id, marks.c.key == RUN_ID)
        here.came_as.update((row[0], row[1]) for row in self.writer.connection.execute(came))
        return here

    def prepare(self, record: Record) -> Prepared:
        """Write an object's artifacts: they are there before anything names them. Any thread may call this."""
        if record.kind not in HAVE_ARTIFACTS or self._elsewhere(record):
            return Prepared(record, Put())
        place = self.settled.place(record.refs["experiment"])
        address = self._address(record)
        uri = address if address is not None else _usual(record, place)
        return Prepared(record, self._storing.put(Root(record.kind, record.id, uri), record.files()))

    def _elsewhere(self, record: Record) -> str:
        """The id under which a run came over REST, "" where it didn't."""
        if record.kind != "run":
            return ""
        here = self._here.get(record.refs["experiment"])
        found = here.came_as.get(record.id, "") if here else ""
        return "" if found == record.id else found

    def _address(self, record: Record) -> str | None:
        """Where an object's artifacts lie, None for where a new one's would."""
        if record.kind not in HAVE_ARTIFACTS:
            return None
        here = self._here.get(record.refs["experiment"])
        if here and record.id in here.addresses:
            return here.addresses[record.id]
        if self._roots.base:
            return None
        head = record.head
        if record.kind == "trace":
            return str(head.get("tags", {}).get(trace_rows.LOCATION, "")) or None
        return str(head["info"].get("artifact_uri") or "") or None

    def tie(self, ties: Iterable[tuple[str, str]]) -> None:
        """Tie traces to runs of other experiments, given as (trace id, run id)."""
        rows = [trace_rows.tie(("trace", trace_id), ("run", run_id)) for trace_id, run_id in ties]
        part = trace_rows.TIES
        made = [Made(tuple(row[column] for column in part.same), {part.key: [row]}) for row in rows]
        self._saved(lambda: self.writer.put((part,), made))

    def put_group(self, group: Sequence[Prepared]) -> list[Written]:
        """Write some objects of one kind, whole or not at all: what is wrong with one is wrong with the group."""
        return self._saved(lambda: self._put_group(group))

    def _saved(self, work: Callable[[], T]) -> T:
        """What the work gives, its rows rolled back where it fails."""
        with _told():
            savepoint = self.writer.connection.begin_nested()
            try:
                result = work()
                self.writer.flush()
            except BaseException:
                self.writer.forget()
                savepoint.rollback()
                raise
            savepoint.commit()
            return result

    def _put_group(self, group: Sequence[Prepared]) -> list[Written]:
        kind = group[0].record.kind
        if kind in NOT_MOVED:
            return [Written("", "unsupported", reason=NOT_MOVED[kind]) for _ in group]
        if kind == "gateway_secret":
            return [self.shaper.secret(each.record) for each in group]
        done: dict[int, Written] = {}
        made: dict[int, Made] = {}
        for number, each in enumerate(group):
            if there := self._elsewhere(each.record):
                done[number] = Written(there, "skipped", reason=f"it came over REST, as run {there}")
                continue
            rows = self.shaper.rows(each.record, self._address(each.record))
            if rows.said:
                done[number] = Written("", "skipped", reason=rows.said, losses=tuple(rows.losses))
            else:
                made[number] = rows
        if made:
            self._check_homes(PLANS[kind][0], list(made.values()))
            states = self.writer.put(PLANS[kind], list(made.values()))
            for (number, rows), state in zip(made.items(), states, strict=True):
                done[number] = self._written(group[number], rows, state)
        return [done[number] for number in range(len(group))]

    def _check_homes(self, root: Part, group: Sequence[Made]) -> None:
        """Raise ConflictError where an object of the same id is in another experiment."""
        rows = {made.key[0]: made.rows[root.key][0] for made in group}
        if root.same != root.owner or len(root.same) > 1 or "experiment_id" not in next(iter(rows.values())):
            return
        column = root.same[0]
        for there in self.writer.select(root.table, (column, "experiment_id"), **{column: list(rows)}):
            if there["experiment_id"] != rows[there[column]]["experiment_id"]:
                raise ConflictError(
                    f"an object of this id is in experiment {there['experiment_id']} already",
                    f"{root.table} {there[column]}",
                    "a database holds an id once: delete the one that is there, or write to another database",
                )

    def _written(self, each: Prepared, made: Made, state: str) -> Written:
        record = each.record
        news = made.points is not None and self._put_points(record, made.points(), state == "done")
        if (news or each.put.changed) and state == "same":
            state = "updated"
        losses = (*made.losses, *each.put.losses)
        if record.kind == "webhook" and state != "done":
            losses = ()
        if self._job.dry_run:
            self._made.add((record.kind, record.id))
        if record.kind == "gateway_endpoint" and state != "same":
            self.shaper.name_in_scorers(record)
        id_ = record.id
        if record.kind in {"registered_model", "prompt"}:
            id_ = str(made.key[1])
        return Written(id_, state, losses=losses, bytes=each.put.bytes)

    def _put_points(self, record: Record, rows: Iterator[Values], is_new: bool) -> bool:
        """The rows that are streams; whether any was new."""
        if record.kind == "evaluation_dataset":
            return self._put_records(rows, is_new)
        latest = run_rows.Latest()
        points = latest.seen(rows)
        if is_new:
            self.writer.stream("metrics", points)
            self.writer.stream("latest_metrics", latest.rows.values())
            return bool(latest.rows)
        found = self.writer.stream_missing(run_rows.METRICS, points)
        there = {
            row["key"]: row for row in self.writer.select("latest_metrics", run_rows.LATEST_COLUMNS, run_uuid=record.id)
        }
        for key, row in latest.rows.items():
            if key not in there:
                self.writer.stream("latest_metrics", [row])
            elif run_rows.rank(row) > run_rows.rank(there[key]):
                news = {name: row[name] for name in ("value", "timestamp", "step", "is_nan")}
                self.writer.update("latest_metrics", {"run_uuid": record.id, "key": key}, news)
        return found

    def _put_records(self, rows: Iterator[Values], is_new: bool) -> bool:
        """The records of an evaluation dataset."""
        if is_new:
            self.writer.stream("evaluation_dataset_records", rows)
            return False
        changed = False
        for made in rows:
            whole = Made((made["dataset_id"], made["input_hash"]), {review_rows.RECORD.key: [made]})
            changed = self.writer.put((review_rows.RECORD,), [whole])[0] != "same" or changed
        return changed


def default_location(connected: Connected) -> str | None:
    """Where the experiment `Default` keeps its artifacts, None where there is none."""
    import sqlalchemy as sa

    table = connected.tables["experiments"]
    with connected.reading() as connection:
        found = connection.execute(sa.select(table.c.artifact_location).where(table.c.experiment_id == 0)).scalar()
    return None if found is None else str(found)


def _usual(record: Record, place: Place) -> str:
    """Where a new object's artifacts lie."""
    if record.kind == "run":
        return run_rows.run_uri(place, record.id)
    if record.kind == "trace":
        return trace_rows.trace_uri(place, record.id)
    return run_rows.model_uri(place, record.id)


@contextmanager
def _told() -> Iterator[None]:
    """A database's errors as this tool's: what is wrong with an object, and what is wrong with the whole database."""
    import sqlalchemy as sa

    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        raise StorageError(
            "the database can't be written", reason(error), "what was begun is undone; type the command again"
        ) from error
    except sa.exc.IntegrityError as error:
        raise ConflictError("the database refuses it", reason(error)) from error
    except sa.exc.DBAPIError as error:
        raise MigrationError("the database can't hold it", reason(error)) from error
