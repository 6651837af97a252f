"""A bundle as the first database of an app on SQLite: ids kept, artifacts where its server looks for them.

Nothing counts until all of it is there: artifacts first, then the comparison, then the snapshot, the pointer last.
"""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow_migration import compare, into_database
from mlflow_migration.apps import data as app_data
from mlflow_migration.apps.data import Data, Held
from mlflow_migration.apps.runtime import generations, snapshots
from mlflow_migration.apps.runtime.snapshots import Stamp
from mlflow_migration.compare import Comparison, Ends
from mlflow_migration.database.connect import DEFAULT_WORKSPACE, Connected, open_database
from mlflow_migration.database.storing import PROXIED, Roots
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import INCOMPLETE, ConflictError, DamagedError, MigrationError, NotFoundError, UsageError
from mlflow_migration.objects import KINDS, OF_USERS, access_list, user
from mlflow_migration.pipeline import BundleSource, LiveSource, Tools, bundle_folder, refuse_after
from mlflow_migration.places import Selection, Writing
from mlflow_migration.records import Json
from mlflow_migration.report import Report, Row

log = logging.getLogger(__name__)

COMMAND = "app seed"
DEFAULT = (0, "Default")
"""The experiment that every MLflow begins with, and that clients write to unless told otherwise."""
SAYS = 3
"""Differences that an error names."""


@dataclass(frozen=True)
class Asked:
    """What is to be seeded. With `replace` beside snapshots that are there already, which stay as generations."""

    bundle: Path
    replace: bool = False
    dry_run: bool = False
    allowed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Working:
    """What the work is done with. `stop` is set by Ctrl-C."""

    progress: Progress
    stop: threading.Event = field(default_factory=threading.Event)
    workers: int = 8


@dataclass
class Seeded:
    """What came of it. `generation` is the one that counts now and holds the bundle, "" where there is none;
    `verified` the comparison of the bundle with it; `before` the generation that counted until then."""

    report: Report
    verified: Comparison | None = None
    generation: str = ""
    before: str = ""

    @property
    def exit_code(self) -> int:
        code = self.report.exit_code
        return code or (INCOMPLETE if self.verified is not None and self.verified.failed else 0)

    def as_json(self) -> Json:
        """The document of `--json`."""
        found = self.report.as_json()
        verified = self.verified.as_json() if self.verified else None
        told = {"generation": self.generation, "before": self.before, "verified": verified}
        return {**found, "ok": self.exit_code == 0, "exit_code": self.exit_code, **told}


def seed(data: Data, asked: Asked, working: Working) -> Seeded:
    """Seed an app's data with a bundle; what was wrong is in the report. A bundle that is there already is left alone.

    Raises BundleError where the bundle isn't whole, UsageError where the app's MLflow couldn't open the database.
    """
    _check_version(data)
    source = BundleSource(bundle_folder(asked.bundle))
    report = Report(COMMAND, str(asked.bundle), data.address, asked.dry_run, asked.allowed)
    seeded = Seeded(report)
    try:
        with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
            _Seeding(data, asked, source, (working, Path(scratch))).run(seeded)
    except MigrationError as error:
        report.error = error
    report.end({})
    return seeded


class _Seeding:
    """One job, with a folder for what is made on the way."""

    def __init__(self, data: Data, asked: Asked, source: BundleSource, means: tuple[Working, Path]) -> None:
        self._data, self._asked, self._source = data, asked, source
        self._working, self._scratch = means

    def run(self, seeded: Seeded) -> None:
        seeded.before = before = self._newest()
        if before and self._is_there(seeded):
            return
        if self._asked.dry_run:
            self._fill(seeded.report)
            return
        with app_data.held(self._data) as holding:
            if self._newest() != before:
                raise ConflictError(f"an app wrote to {self._data.address} meanwhile", hint=app_data.STOP)
            file = self._fill(seeded.report)
            self._prove(file, seeded)
            refuse_after(self._working.stop)
            self._store(file, holding, seeded)

    def _newest(self) -> str:
        """The generation that counts, "" also where there are only pieces of some, and nobody wants them."""
        try:
            return app_data.newest(self._data)
        except DamagedError:
            if not self._asked.replace:
                raise
            return ""

    def _before(self, generation: str) -> Connected | None:
        """The database of a generation; None where it can't be used, which is no reason not to replace it."""
        file = self._scratch / "before.db"
        try:
            return app_data.as_database(self._data, app_data.fetched(self._data, generation, file), file)
        except (DamagedError, NotFoundError, UsageError) as error:
            if not self._asked.replace:
                raise
            log.info("generation %s is replaced unseen: %s", generation, error)
            return None

    def _is_there(self, seeded: Seeded) -> bool:
        """Whether the generation that counts holds the bundle. Raises ConflictError where it doesn't, and nobody said
        that it is to be replaced."""
        opened = self._before(seeded.before)
        if opened is None:
            return False
        try:
            found = compared(self._source, (opened, self._data), self._asked.allowed, self._working)
        finally:
            opened.close()
        if not found.failed:
            for kind, counts in found.kinds.items():
                seeded.report.count(kind, "same", counts["equal"])
            _tell_users(self._source, seeded.report)
            seeded.verified, seeded.generation = found, seeded.before
            return True
        if self._asked.replace:
            return False
        raise ConflictError(
            f"{self._data.address} holds something else already",
            f"generation {seeded.before} lacks or differs in: {_first(found)}",
            "--replace seeds a new generation; those that are there stay, and app restore goes back to them",
        )

    def _fill(self, report: Report) -> Path:
        """The bundle as a database file, its artifacts put where the app looks for them."""
        file = self._scratch / "seeded.db"
        selection, job = Selection(), Writing(self._source.bundle.origin, dry_run=report.dry_run, checksum=True)
        _tell_users(self._source, report)
        ledger = Ledger(self._scratch / "ledger", {"source": report.source})
        connected = open_database(f"sqlite:///{file}", create=True)
        try:
            _add_default(connected)
            roots = Roots(PROXIED, self._data.artifacts, kept=True)
            if not report.dry_run:
                app_data.make_folder(self._data)
            tools = Tools(ledger, report, self._working.progress, self._working.stop, self._working.workers)
            # Rows of the report name the app's data, and not a temporary file.
            sink = into_database.sink_at(replace(connected, address=self._data.address), job, roots)
            into_database.fill(self._source, sink, job, selection, tools)
            for row in self._source.lost(selection):
                report.add(row)
        finally:
            connected.close()
            ledger.close()
        return file

    def _prove(self, file: Path, seeded: Seeded) -> None:
        """Raise MigrationError where something failed, or differs though nothing is known to be lost."""
        failed = sum(counts["failed"] for counts in seeded.report.kinds.values())
        lost = sum(counts["unsupported"] for counts in seeded.report.kinds.values())
        again = "put right what the rows say and type it again: what was uploaded isn't uploaded twice"
        if failed:
            raise MigrationError("nothing was seeded", f"{failed} objects of the bundle failed", again)
        opened = open_database(f"sqlite:///{file}")
        try:
            found = compared(self._source, (opened, self._data), self._asked.allowed, self._working)
        finally:
            opened.close()
        seeded.verified = found
        if found.failed and not lost:
            raise MigrationError("nothing was seeded: the database differs from the bundle", _first(found), again)
        if trouble := snapshots.broken(file):
            raise MigrationError("nothing was seeded: the database is broken", trouble, again)

    def _store(self, file: Path, holding: Held, seeded: Seeded) -> None:
        """The snapshot, read back before it counts."""
        storage, stamp = self._data.storage, Stamp(holding.instance, self._data.where.name, holding.number)
        with app_data.told():
            made = snapshots.store(storage, file, stamp, checked=True, after=seeded.before)
        app_data.fetched(self._data, made.generation, self._scratch / "stored.db")
        holding.check()
        with app_data.told():
            generations.point(storage, made.generation)
        seeded.generation = made.generation


def compared(
    source: BundleSource, right: tuple[Connected, Data], allowed: frozenset[str], working: Working
) -> Comparison:
    """Whether a database, with the artifacts behind it, holds what a bundle does. Raises what reading them raises."""
    # Imported here: SQLAlchemy is an extra, which opening the database has looked for.
    from mlflow_migration.database.place import Database

    connected, data = right
    asked = source.bundle.asked_for().kinds
    selection = Selection(kinds=tuple(kind for kind in KINDS if kind in asked))
    place = LiveSource(Database(connected, app_data.artifacts_of(data)))
    result = Comparison("verify", source.address, data.address, allowed=allowed)
    begun = time.monotonic()
    compare.compare(
        Ends(source, place, selection, Writing(source.bundle.origin)), result, working.progress, working.workers
    )
    result.seconds = time.monotonic() - begun
    return result


def _tell_users(source: BundleSource, report: Report) -> None:
    """A row where a bundle holds users and what they may do: an app knows its own from the platform."""
    if any(source.counts.get(kind) for kind in (*OF_USERS, access_list.NAME)):
        reason = "the platform knows who may use an app: app permissions"
        report.add(Row(user.NAME, "*", "users and permissions of the source", "skipped", reason))


def _first(found: Comparison) -> str:
    lines = [line for line, each in zip(found.lines(), found.differences, strict=True) if each.sign != "+"]
    more = f"; and {len(lines) - SAYS} more" if len(lines) > SAYS else ""
    return "; ".join(lines[:SAYS]) + more


def _add_default(connected: Connected) -> None:
    """The experiment that MLflow makes in an empty database only: clients count on it."""
    table, now = connected.tables["experiments"], int(time.time() * 1000)
    id_, name = DEFAULT
    values = {
        "experiment_id": id_,
        "name": name,
        "artifact_location": f"{PROXIED}/{id_}",
        "lifecycle_stage": "active",
        "creation_time": now,
        "last_update_time": now,
        "workspace": DEFAULT_WORKSPACE,
    }
    with connected.writing() as connection:
        # Before MLflow 3.10 there are no workspaces.
        connection.execute(table.insert().values({key: value for key, value in values.items() if key in table.c}))


def _check_version(data: Data) -> None:
    """Raise UsageError where the app is pinned to an older MLflow than this machine's, whose tables it can't open."""
    here, there = snapshots.mlflow_version(), data.where.mlflow
    if there and _minor(there) < _minor(here):
        raise UsageError(
            f"the app is pinned to MLflow {there}, and the database would be of MLflow {here}",
            "an older MLflow can't open the tables of a newer one",
            f"seed with that one installed, pip install mlflow=={there}, or pin the app to {here}",
        )


def _minor(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:2]]
