"""What an executor does: the same export as on one machine, of one shard.

Each attempt at a shard writes into a folder of its own, so that neither a repeated nor a speculative one can meet
another. It counts when its manifest is there; the driver chooses one for each shard.
"""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_migration import exporting
from mlflow_migration.bundle import layout
from mlflow_migration.calls import Readable
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import MigrationError
from mlflow_migration.exporting import Export
from mlflow_migration.pipeline import Tools, counts, failures
from mlflow_migration.places import Shard
from mlflow_migration.records import Json
from mlflow_migration.report import Report, error_json
from mlflow_migration.server.live import Server
from mlflow_migration.spark import shared


@dataclass(frozen=True)
class Work:
    """What all tasks of a job share; it is sent to the executors, so that it holds no secret.

    `open_source` connects to the source with the credentials of the machine it is called on. `parts` is the address of
    the folder for attempts, `of` the number of shards, `workers` the requests at once of each task.
    """

    open_source: Callable[[], Readable]
    asked: Export
    parts: str
    of: int
    workers: int = 8
    dry_run: bool = False

    def attempts(self, number: int) -> shared.Folder:
        """The folder of a shard's attempts."""
        return shared.folder(self.parts).child(f"{number:05d}-of-{self.of:05d}")


def export_shard(work: Work, number: int) -> Json:
    """Export a shard, unless an earlier job has; its attempt, or the `error` that would end any further one.

    `requests` are those sent. Of a rehearsal there is no attempt but `counts` and `failures`. What isn't a
    MigrationError is raised, so that Spark tries again, elsewhere.
    """
    try:
        return _export(work, number)
    except MigrationError as error:
        return {"shard": number, "error": error_json(error), "class": type(error).__name__}


def _export(work: Work, number: int) -> Json:
    attempts = work.attempts(number)
    for name in () if work.dry_run else attempts.names():
        if attempts.child(name).has(layout.MANIFEST):
            return {"shard": number, "attempt": name, "requests": 0}
    attempt = uuid.uuid4().hex
    asked = replace(work.asked, selection=replace(work.asked.selection, shard=Shard(number, work.of)))
    report = Report(asked.command, "", "", work.dry_run)
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
        ledger = Ledger(Path(scratch), {"shard": number, "attempt": attempt})
        try:
            live = work.open_source()
            try:
                tools = Tools(ledger, report, Progress(quiet=True), threading.Event(), work.workers)
                if work.dry_run:
                    exporting.begin(asked, live, Path(scratch) / "bundle")(tools)
                else:
                    with shared.written(attempts.child(attempt)) as folder:
                        exporting.begin(asked, live, folder)(tools)
            finally:
                live.close()
        finally:
            ledger.close()
    found: Json = {"shard": number, "attempt": attempt, "requests": requests_of(live)}
    if work.dry_run:
        found.update(counts=counts(report), failures=failures(report))
    return found


def requests_of(live: Readable) -> int:
    """How many requests a server has been sent; a database gets none."""
    return live.rest.requests if isinstance(live, Server) else 0


def publish_shard(work: Work, number: int, attempt: str, target: str) -> None:
    """Move the objects of a shard's attempt into the bundle. May be called again, or by two tasks at once."""
    shared.publish(work.attempts(number).child(attempt), shared.folder(target))
