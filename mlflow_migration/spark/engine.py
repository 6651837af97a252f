"""The driver of an export on Spark: it counts, hands out shards, and writes the one manifest.

The executors' answers hold counts and folder names only; objects never pass through the driver.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow_migration import errors
from mlflow_migration.bundle import layout, merge
from mlflow_migration.calls import Readable
from mlflow_migration.engine import config
from mlflow_migration.errors import MigrationError, UsageError
from mlflow_migration.exporting import Export, options_of
from mlflow_migration.objects import experiment
from mlflow_migration.places import Selection
from mlflow_migration.records import Json, canonical
from mlflow_migration.report import STATES, Report, Row
from mlflow_migration.server.live import Server
from mlflow_migration.server.rest import PATIENCE, Rest
from mlflow_migration.spark import shared, task
from mlflow_migration.spark.task import Work

log = logging.getLogger(__name__)

ENDING = ".parts"
"""The folder of the attempts lies beside the bundle's, so that a late one never writes into the bundle."""
JOB = "job.json"
CHOSEN = "chosen.json"
SHARDS_FOR_A_SLOT = 4
"""More shards than tasks at once even out shards of different size; fewer make fewer listings."""
MOST_SHARDS = 500
COUNTS = "shard INT, kind STRING, " + ", ".join(f"{name} BIGINT" for name in ("asked", *STATES, "bytes"))
FAILURES = "shard INT, kind STRING, id STRING, name STRING, state STRING, reason STRING"


@dataclass(frozen=True)
class How:
    """How an export is spread. `shards`: None for four times the tasks that run at once, at most one for each
    experiment. `workers`: requests at once of each task. `session`: None for the active one, or a new one."""

    shards: int | None = None
    workers: int = 8
    dry_run: bool = False
    session: Any = None


@dataclass(frozen=True)
class Exported:
    """What became of it. `counts` and `failures` are Spark DataFrames, a row for each shard and kind, and one for each
    object or part of one that is not in the bundle; `report` has the same for the whole."""

    report: Report
    counts: Any
    failures: Any


@dataclass(frozen=True)
class _Shard:
    """How a shard ended: its number, what its manifest counts, and its rows of failures."""

    number: int
    counts: Json
    failures: list[Json]


def export_with_spark(
    source: str | Callable[[], Readable],
    output_dir: str,
    selection: Selection,
    how: How | None = None,
    command: str = "export-all",
) -> Exported:
    """Export what is selected of a server into one bundle, a shard in each Spark task.

    `source` is an address, or a function that connects; it is called on every executor, which has to have the
    credentials in its own environment or configuration. `output_dir` is a path that all machines share, or an address
    that fsspec knows. A job that broke off goes on with the shards that are done when it is called again.

    Raises UsageError for a folder that holds something else, and what a task that can't go on raised.
    """
    how = how or How()
    session = how.session or spark_session()
    if isinstance(source, str):
        source = partial(_connected, public(source), how.workers)
    target = shared.folder(output_dir)
    live = source()
    try:
        if selection.filter:
            live.check_filter(selection.filter)
        # Counted as they come, not held; a name that isn't there is told here.
        count = sum(1 for _ in experiment.read(live, selection))
        asked = Export(command, selection)
        of = _shards(session, how, count) if how.dry_run else _begin(target, live, asked, _shards(session, how, count))
        report = Report(command, live.address, target.address, how.dry_run)
    finally:
        live.close()
    work = Work(source, asked, target.beside(ENDING).address, of, how.workers, how.dry_run)
    found = _exported(session, work, target)
    requests = task.requests_of(live) + sum(row["requests"] for row in found)
    if how.dry_run:
        shards = [_Shard(row["shard"], row["counts"], row["failures"]) for row in found]
        report.kinds, rows = merge.added_up((each.counts, map(_line, each.failures)) for each in shards)
    else:
        shards, report.kinds, rows = _finished(session, work, target, {row["shard"]: row["attempt"] for row in found})
    report.rows = [Row(**json.loads(line)) for line in rows]
    report.end({"source": requests})
    return Exported(report, *_frames(session, shards))


def public(address: str) -> str:
    """An address that may be seen. Raises UsageError for one with user, password or query in it."""
    parts = urlsplit(address)
    if parts.username or parts.password or parts.query:
        raise UsageError(
            "the server's address holds credentials",
            "Spark would write them into its plans and logs",
            "leave them out, and set MLFLOW_MIGRATION_SRC_USERNAME and so on for driver and executors",
        )
    return address


def _connected(address: str, workers: int) -> Server:
    uri, credentials = config.load(None, os.environ).place(address, "SRC", os.environ)
    live = Server(Rest(uri, credentials, workers, PATIENCE))
    live.connect()
    return live


def active_session() -> Any:
    """The Spark session that is there already, or None. Raises UsageError where Spark isn't installed."""
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise UsageError("--engine spark needs pyspark", hint="pip install 'mlflow-migration[spark]'") from error
    return SparkSession.getActiveSession()


def spark_session() -> Any:
    """The active Spark session, or a new one: `local[*]` unless Spark's own configuration says otherwise.

    Raises UsageError where Spark isn't installed or can't start.
    """
    if there := active_session():
        return there
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    try:
        session = SparkSession.builder.appName("mlflow-migration").getOrCreate()
        context = session.sparkContext
        if context.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
            # Workers on this machine are to find what this interpreter finds, not what `python3` does.
            context.pythonExec = sys.executable
        return session
    except PySparkException as error:
        hint = "install Java 17 and set JAVA_HOME, or run this where a Spark session is"
        raise UsageError("Spark can't be started", str(error).partition("\n")[0], hint) from error


def _shards(session: Any, how: How, experiments: int) -> int:
    if how.shards is not None:
        if not 0 < how.shards <= MOST_SHARDS:
            raise UsageError(f"not a number of shards: {how.shards}", hint=f"give 1 to {MOST_SHARDS}")
        return how.shards
    return max(1, min(_slots(session) * SHARDS_FOR_A_SLOT, experiments, MOST_SHARDS))


def _slots(session: Any) -> int:
    """How many tasks run at once, as far as the session tells: one of Spark Connect doesn't."""
    from pyspark.errors import PySparkException

    try:
        return int(session.sparkContext.defaultParallelism)
    except (PySparkException, AttributeError):
        return int(session.conf.get("spark.sql.shuffle.partitions", "200")) // SHARDS_FOR_A_SLOT


def _begin(target: shared.Folder, live: Readable, asked: Export, of: int) -> int:
    """Mark the folder as being written; the number of shards, that of a job which is now gone on with if there is one.

    Raises UsageError where the folder holds a whole bundle, something else, or another job's beginning.
    """
    if target.has(layout.MANIFEST):
        hint = "give a new or empty folder; export without --engine spark brings a bundle up to date"
        raise UsageError(f"the folder holds a whole bundle: {target.address}", hint=hint)
    if target.names() and not target.has(layout.MARK):
        raise UsageError(f"the folder is not empty and not a bundle: {target.address}", hint="give a new folder")
    parts = target.beside(ENDING)
    job = {"source": live.address, "options": options_of(asked.selection)}
    if parts.has(JOB):
        known = json.loads(parts.read(JOB))
        if canonical(known["job"]) != canonical(job):
            what = f"another export was begun here: {parts.address}"
            raise UsageError(what, "its source or options are others", "finish that one, or remove both folders")
        return int(known["shards"])
    with shared.storage(target):
        parts.write(JOB, canonical({"job": job, "shards": of}))
        target.write(layout.MARK, b"A bundle is being written here by Spark. Type the export command again.\n")
    return of


def _exported(session: Any, work: Work, target: shared.Folder) -> list[Json]:
    """How each shard ended. Raises the first error that ended one."""
    parts = target.beside(ENDING)
    if not work.dry_run and parts.has(CHOSEN):
        chosen: dict[str, str] = json.loads(parts.read(CHOSEN))
        return [{"shard": int(number), "attempt": name, "requests": 0} for number, name in chosen.items()]

    def export(number: int) -> str:
        return json.dumps(task.export_shard(work, number))

    found = _on_executors(session, work.of, export)
    for row in found:
        if "error" in row:
            raise _error(row)
    return sorted(found, key=lambda row: int(row["shard"]))


def _error(row: Json) -> MigrationError:
    """An executor's error as one of its class, so that the exit code is its own."""
    kind = getattr(errors, row["class"], MigrationError)
    told = row["error"]
    why = f"shard {row['shard']}"
    if issubclass(kind, errors.ServerError):
        return MigrationError(told["message"], why, told["hint"])
    error: MigrationError = kind(told["message"], why, told["hint"])
    return error


def _finished(
    session: Any, work: Work, target: shared.Folder, attempts: dict[int, str]
) -> tuple[list[_Shard], Json, list[str]]:
    """Publish the objects, write what speaks of all of them, the manifest last; shards, counts, lines of failures."""
    parts = target.beside(ENDING)
    # Kept before the first object is moved: who goes on has to go on with the very same attempts.
    parts.write(CHOSEN, json.dumps(attempts).encode())
    address = target.address

    def publish(number: int) -> str:
        task.publish_shard(work, number, attempts[number], address)
        return "{}"

    _on_executors(session, work.of, publish)
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
        folders = [
            shared.about(work.attempts(number).child(name), Path(scratch)) for number, name in sorted(attempts.items())
        ]
        found = merge.parts_of(folders)
        with shared.storage(target):
            kinds, lines = _write_whole(found, target, Path(scratch))
        shards = [_Shard(part.shard["number"], part.info["counts"], merge.failures_of(part.root)) for part in found]
    target.remove(layout.MARK)
    parts.remove()
    return shards, kinds, lines


def _write_whole(parts: list[merge.Part], target: shared.Folder, scratch: Path) -> tuple[Json, list[str]]:
    root = target.local or scratch / "whole"
    root.mkdir(parents=True, exist_ok=True)
    together = merge.write_whole(parts, root)
    if target.local is None:
        names = [name for name, _ in layout.walk(root)]
        target.put(root, [name for name in names if name != layout.MANIFEST])
        target.put(root, [layout.MANIFEST])
    return together


def _on_executors(session: Any, of: int, work: Callable[[int], str]) -> list[Json]:
    """What `work` gives for each number up to `of`, each a task of its own."""
    from pyspark.sql.functions import udf

    with _spark_errors():
        # Not deterministic: Spark's optimizer must not call it twice for one row.
        column = udf(work, "string", useArrow=False).asNondeterministic()("id")
        rows = session.range(1, of + 1, 1, of).select(column.alias("found")).collect()
    return [json.loads(row["found"]) for row in rows]


@contextmanager
def _spark_errors() -> Iterator[None]:
    """Turn a task that failed each time into an error with Spark's first words about it."""
    try:
        yield
    except _errors_of_spark() as error:
        log.debug("Spark gave up", exc_info=True)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next((line for line in lines if "Job aborted" in line or "Error" in line), lines[0] if lines else "")
        hint = "see Spark's log; type the same command again: shards that are done are kept"
        raise MigrationError("Spark gave a shard up", told[:300], hint) from error


def _errors_of_spark() -> tuple[type[Exception], ...]:
    from pyspark.errors import PySparkException

    try:
        from py4j.protocol import Py4JError
    except ImportError:
        # Spark Connect's client has no JVM beside it.
        return (PySparkException,)
    return (PySparkException, Py4JError)


def _frames(session: Any, shards: list[_Shard]) -> tuple[Any, Any]:
    names = ("asked", *STATES, "bytes")
    counts = [
        (each.number, kind, *(found.get(name, 0) for name in names))
        for each in shards
        for kind, found in each.counts.items()
    ]
    fields = ("kind", "id", "name", "state", "reason")
    failures = [(each.number, *(row[name] for name in fields)) for each in shards for row in each.failures]
    return session.createDataFrame(counts, COUNTS), session.createDataFrame(failures, FAILURES)


def _line(row: Json) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False)
