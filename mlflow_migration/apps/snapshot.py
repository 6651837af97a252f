"""A bundle of what a deployed app on SQLite holds, made of one of its generations: the app needn't run."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_migration import exporting
from mlflow_migration.apps import data as app_data
from mlflow_migration.apps.data import Data
from mlflow_migration.apps.seed import Working
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.errors import MigrationError, NotFoundError
from mlflow_migration.exporting import Export
from mlflow_migration.pipeline import Tools
from mlflow_migration.places import Selection
from mlflow_migration.records import Json
from mlflow_migration.report import Report

COMMAND = "app snapshot"


@dataclass(frozen=True)
class Asked:
    """Where the bundle goes, and of which generation it is; "" for the one that counts."""

    folder: Path
    generation: str = ""
    dry_run: bool = False
    allowed: frozenset[str] = frozenset()


@dataclass
class Taken:
    """What came of it: `generation` is what the bundle holds, made at `time`."""

    report: Report
    generation: str = ""
    time: str = ""

    def as_json(self) -> Json:
        """The document of `--json`."""
        return {**self.report.as_json(), "generation": self.generation, "time": self.time}


def take(data: Data, asked: Asked, working: Working) -> Taken:
    """Make a bundle of a generation and the artifacts it names; what was wrong is in the report."""
    report = Report(COMMAND, data.address, str(asked.folder), asked.dry_run, asked.allowed)
    taken = Taken(report)
    try:
        with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
            _take(data, asked, (working, Path(scratch)), taken)
    except MigrationError as error:
        report.error = error
    report.end({})
    return taken


def _take(data: Data, asked: Asked, means: tuple[Working, Path], taken: Taken) -> None:
    # Imported here: SQLAlchemy is an extra.
    from mlflow_migration.database.place import Database

    working, scratch = means
    generation = asked.generation or app_data.newest(data)
    if not generation:
        raise NotFoundError(f"{data.address} has no snapshot", hint="the app makes one when something was written")
    manifest = app_data.fetched(data, generation, scratch / "mlflow.db")
    taken.generation, taken.time = generation, manifest.time
    with ExitStack() as stack:
        opened = app_data.as_database(data, manifest, scratch / "mlflow.db")
        stack.callback(opened.close)
        # A bundle tells where it comes from: not from a temporary file.
        place = Database(replace(opened, address=data.address), app_data.artifacts_of(data))
        ledger = Ledger(scratch / "ledger", {"source": data.address, "generation": generation})
        stack.callback(ledger.close)
        work = exporting.begin(Export(COMMAND, Selection()), place, asked.folder)
        work(Tools(ledger, taken.report, working.progress, working.stop, working.workers))
