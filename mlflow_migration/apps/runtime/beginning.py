"""Before the server can start on SQLite: the lease, and the database: the one this machine still has, or a snapshot."""

import json
import logging
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mlflow_migration.apps.runtime import generations, lease, snapshots
from mlflow_migration.apps.runtime.environment import address_of
from mlflow_migration.apps.runtime.generations import Manifest, ManifestError
from mlflow_migration.apps.runtime.keeper import Began
from mlflow_migration.apps.runtime.lease import Lease
from mlflow_migration.apps.runtime.settings import Settings
from mlflow_migration.apps.runtime.status import Status
from mlflow_migration.apps.runtime.storage import Storage

logger = logging.getLogger(__name__)
UPGRADE_SECONDS = 900


class UpgradeError(Exception):
    """MLflow couldn't bring the database to its version."""


def take_lease(settings: Settings, storage: Storage, instance: str, state: Status) -> Lease:
    """Wait for the lease; the status says who holds it. Raises StorageError."""

    def waiting(held: Lease) -> None:
        state.set(
            state="refused",
            message=f"instance {held.instance} of {held.app} writes to {storage.address} (last seen {held.renewed}); "
            "a second writer is refused, and waits until it ends",
        )

    mine = lease.take(storage, instance, settings.name, settings.keeping.lease_seconds, waiting)
    state.set(lease={"number": mine.number, "renewed": mine.renewed}, message="")
    return mine


def prepare_database(settings: Settings, storage: Storage, mine: Lease, state: Status) -> Began:
    """Put the database in place, in WAL mode, as MLflow's version wants it.

    Raises StorageError, NoGoodSnapshotError, UpgradeError.
    """
    state.set(state="restoring", message=f"looking for snapshots in {storage.address}")
    left = _left_here(settings, storage, mine)
    if left is not None:
        began, version = Began(_pointed(storage), saved=False, left_here=True), left
        state.note("The database was found on this machine, newer than its last snapshot.")
    else:
        manifest = _restored(settings, storage, state)
        generation, version = (manifest.generation, manifest.mlflow) if manifest else ("", "")
        began = Began(generation or _pointed(storage), saved=manifest is not None)
    installed = snapshots.mlflow_version()
    _note(settings, storage, mine, began.generation, version)
    if version and version != installed and snapshots.revision(settings.database_file):
        state.set(message=f"bringing the database from MLflow {version} to {installed}")
        _upgrade_file(settings)
        began = replace(began, saved=False)
    _note(settings, storage, mine, began.generation, installed)
    with closing(sqlite3.connect(settings.database_file)) as base:
        # Readers, the snapshots among them, don't keep writers from writing.
        base.execute("PRAGMA journal_mode=WAL")
    state.set(message="")
    return began


def forget_database(settings: Settings) -> None:
    """Remove the database of a clean end: its last snapshot is what the next start goes by."""
    for part in _parts(settings.database_file):
        part.unlink(missing_ok=True)
    _marker(settings).unlink(missing_ok=True)


def prepare_lakebase(settings: Settings) -> None:
    """See that the database answers, and bring MLflow's tables in it, if there are any, to MLflow's version.

    Raises UpgradeError, which says why it doesn't answer.
    """
    # Only there with MLflow itself, which the deploying side hasn't.
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    engine = create_engine(address_of(settings), pool_size=1)
    try:
        has_tables = inspect(engine).has_table("alembic_version")
    except SQLAlchemyError as error:
        raise UpgradeError(f"the database doesn't answer: {str(error).partition(chr(10))[0]}") from error
    finally:
        engine.dispose()
    if has_tables:
        upgrade(address_of(settings))


def upgrade(address: str) -> None:
    """`mlflow db upgrade`: nothing where the schema is current. Raises UpgradeError."""
    words = [sys.executable, "-m", "mlflow", "db", "upgrade", address]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=UPGRADE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise UpgradeError(f"`mlflow db upgrade` took longer than {UPGRADE_SECONDS} s") from error
    if done.returncode:
        raise UpgradeError(f"`mlflow db upgrade` failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")


def _restored(settings: Settings, storage: Storage, state: Status) -> Manifest | None:
    done = snapshots.restore(storage, settings.database_file, settings.keeping.start_empty, logger.warning)
    found, passed = done.manifest, list(done.passed_over)
    if found:
        logger.info("restored snapshot %s", found.generation)
        state.put("snapshot", generation=found.generation, time=found.time, bytes=found.size)
        state.set(restored={"generation": found.generation, "time": found.time, "passed_over": passed})
    else:
        logger.warning("%s has no snapshot: beginning with an empty database", storage.address)
        state.set(restored={"generation": "", "time": "", "passed_over": passed})
        state.note(f"At the start there was no snapshot to use in {storage.address}: the database began empty.")
    return found


def _left_here(settings: Settings, storage: Storage, mine: Lease) -> str | None:
    """The MLflow version of the database that a killed instance left on this machine; None where there is none to use.

    It holds more than any snapshot. It is kept beside and not used where another one has had the lease since, be it
    to put an older snapshot back.
    """
    if not settings.database_file.exists():
        return None
    version, trouble = _noted(settings, storage, mine), ""
    if version is not None and not (trouble := snapshots.broken(settings.database_file)):
        logger.info("going on with %s, which a killed instance left", settings.database_file)
        return version
    aside = settings.database_file.with_name(f"mlflow-left-{mine.instance}.db")
    logger.warning(
        "%s %s: moved to %s", settings.database_file, trouble or "doesn't go with the newest snapshot", aside
    )
    for part, target in zip(_parts(settings.database_file), _parts(aside), strict=True):
        if part.exists():
            part.replace(target)
    return None


def _noted(settings: Settings, storage: Storage, mine: Lease) -> str | None:
    """The MLflow version noted beside the database, where the lease before this one is the one it was written under."""
    try:
        note = json.loads(_marker(settings).read_text("utf-8"))
        same = note["storage"] == storage.address and note["lease"] == mine.number - 1
        # Else another snapshot was put back in the meantime.
        newest = _pointed(storage)
        same = same and (newest == note["began"] or newest.endswith(f"-{note['instance']}"))
        return str(note["mlflow"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note(settings: Settings, storage: Storage, mine: Lease, began: str, version: str) -> None:
    """Note beside the database what it goes with; a clean end removes both (`forget_database`)."""
    note = {"storage": storage.address, "lease": mine.number, "instance": mine.instance, "began": began}
    _marker(settings).write_text(json.dumps({**note, "mlflow": version}), "utf-8")


def _upgrade_file(settings: Settings) -> None:
    """Upgrade a copy, which takes the database's place: SQLite's DDL can't be taken back where it breaks off."""
    with tempfile.TemporaryDirectory(dir=settings.state, prefix=".upgrade-") as folder:
        copied = Path(folder) / "mlflow.db"
        snapshots.copy(settings.database_file, copied)
        upgrade(f"sqlite:///{copied}")
        for part in _parts(settings.database_file):
            part.unlink(missing_ok=True)
        copied.replace(settings.database_file)


def _parts(database: Path) -> list[Path]:
    """A database and what SQLite keeps beside it."""
    return [database.with_name(database.name + beside) for beside in ("", "-wal", "-shm")]


def _marker(settings: Settings) -> Path:
    return settings.state / "database.json"


def _pointed(storage: Storage) -> str:
    try:
        return generations.pointed(storage)
    except ManifestError:
        return ""
