"""Keeps an SQLite database safe while a server writes to it: snapshots when it changed, the lease, the last one."""

import logging
import sqlite3
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from mlflow_migration.apps.runtime import generations, lease, snapshots, status
from mlflow_migration.apps.runtime.generations import Manifest
from mlflow_migration.apps.runtime.lease import DeposedError, Lease
from mlflow_migration.apps.runtime.settings import Settings
from mlflow_migration.apps.runtime.snapshots import SnapshotError, Stamp
from mlflow_migration.apps.runtime.status import Status
from mlflow_migration.apps.runtime.storage import Storage, StorageError

logger = logging.getLogger(__name__)
SET_ASIDE = "set-aside"
# Beside a copy of the database, its compressed file needs room.
SPARE_BYTES = 65536


@dataclass(frozen=True)
class Began:
    """What the database held at first: the generation it came from, whether that is all that is in it, and whether a
    killed instance left it on this machine, which then is the only place that has it."""

    generation: str
    saved: bool
    left_here: bool = False


class Keeper:
    """Two threads: one makes snapshots, one renews the lease. Made before the server starts, to see all it changes."""

    def __init__(self, settings: Settings, storage: Storage, mine: Lease, state: Status, began: Began) -> None:
        self._settings = settings
        self._storage = storage
        self._lease = mine
        self._status = state
        self._began = self._newest = began.generation
        # Tells whether others have committed since, as long as it is the same connection that is asked.
        self._watch = sqlite3.connect(settings.database_file, timeout=60, check_same_thread=False)
        self._saved_version = self._version() if began.saved else -1
        self._closed = threading.Event()
        self._pointing = threading.Lock()
        self._threads = [
            threading.Thread(target=self._hold, name="lease", daemon=True),
            threading.Thread(target=self._keep, name="snapshots", daemon=True),
        ]
        self.deposed = ""

    def hold(self) -> None:
        """Renew the lease from now on."""
        self._threads[0].start()

    def start(self) -> None:
        """Make snapshots from now on: once MLflow has made or upgraded its tables, which takes many commits."""
        self._threads[1].start()

    @property
    def trouble(self) -> str:
        """Why the app can't go on: it was deposed, or its snapshots ended for a reason nobody foresaw."""
        if self.deposed or self._closed.is_set():
            return self.deposed
        ended = [thread.name for thread in self._threads if thread.ident and not thread.is_alive()]
        return f"the thread for {' and '.join(ended)} ended by itself" if ended else ""

    def close(self, seconds: float) -> None:
        """Stop both threads; a snapshot under way has `seconds` to end, and doesn't count if it ends later."""
        self._closed.set()
        until = time.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def finish(self, storage: Storage) -> bool:
        """The last snapshot, of a database nobody writes to any more, and the end of the lease; False if it failed."""
        try:
            if self._version() != self._saved_version:
                self._snapshot(storage, final=True)
            lease.release(storage, self._lease)
        except DeposedError as error:
            self.deposed = str(error)
            return self.set_aside(storage)
        except (SnapshotError, StorageError, sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        self._watch.close()
        return True

    def set_aside(self, storage: Storage) -> bool:
        """Keep what a deposed instance has, without its counting as a snapshot; False if that failed."""
        try:
            with tempfile.TemporaryDirectory(dir=self._settings.state, prefix=".aside-") as folder:
                copied = Path(folder) / "mlflow.db"
                snapshots.copy(self._settings.database_file, copied)
                name = f"{SET_ASIDE}/{generations.name(self._lease.instance)}.db"
                with copied.open("rb") as source:
                    storage.put(name, source)
        except (StorageError, sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        logger.error("%s; what this instance held is in %s/%s", self.deposed, storage.address, name)
        return True

    def _keep(self) -> None:
        seconds, last = self._settings.keeping.seconds, float("-inf")
        while not self._closed.wait(min(1.0, seconds / 2)):
            try:
                version = self._version()
            except sqlite3.Error as error:
                self._failed(error)
                continue
            if version == self._saved_version:
                continue
            if not self._status.part("snapshot").get("unsaved_since"):
                self._status.put("snapshot", unsaved_since=status.now())
            if time.monotonic() - last >= seconds:
                last = time.monotonic()
                self._try(version)

    def _try(self, version: int) -> None:
        try:
            moment = self._snapshot(self._storage, final=False)
            self._saved_version = version
            if self._version() != version:
                self._status.put("snapshot", unsaved_since=moment)
        except DeposedError as error:
            self.deposed = str(error)
        except (SnapshotError, StorageError, sqlite3.Error, OSError) as error:
            self._failed(error)

    def _snapshot(self, storage: Storage, final: bool) -> str:
        """Make one and point to it; returns the moment it shows. The last one has no time for a check."""
        began, moment = time.monotonic(), status.now()
        with tempfile.TemporaryDirectory(dir=self._settings.state, prefix=".snapshot-") as folder:
            copied = Path(folder) / "mlflow.db"
            snapshots.copy(self._settings.database_file, copied)
            if not final and (trouble := snapshots.broken(copied)):
                raise SnapshotError(f"the copy doesn't pass integrity_check: {trouble}")
            stamp = Stamp(self._lease.instance, self._settings.name, self._lease.number)
            made = snapshots.store(storage, copied, stamp, checked=not final, after=self._newest)
        with self._pointing:
            if self._closed.is_set() and not final:
                return moment  # the last snapshot is newer, and may be there already
            lease.check(storage, self._lease)
            generations.point(storage, made.generation)
            self._newest = made.generation
        self._made(made, moment, time.monotonic() - began)
        if not final:
            self._prune(storage)
        return moment

    def _prune(self, storage: Storage) -> None:
        keeping = self._settings.keeping
        try:
            # What the database began with stays for as long as this instance runs: the way back from an upgrade.
            generations.prune(storage, keeping.newest, keeping.days, {self._newest, self._began})
        except (StorageError, generations.ManifestError) as error:
            logger.warning("old snapshots stay for now: %s", error)

    def _version(self) -> int:
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def _hold(self) -> None:
        while not self._closed.wait(self._settings.keeping.lease_seconds / 3):
            try:
                self._lease = lease.renew(self._storage, self._lease)
                self._status.put("lease", renewed=self._lease.renewed, error="")
            except DeposedError as error:
                self.deposed = str(error)
                return
            except StorageError as error:
                logger.warning("the lease can't be renewed: %s", error)
                self._status.put("lease", error=str(error))

    def _made(self, made: Manifest, moment: str, seconds: float) -> None:
        logger.info("snapshot %s: %d bytes in %.1f s", made.generation, made.size, seconds)
        self._status.put(
            "snapshot",
            generation=made.generation,
            time=moment,
            bytes=made.size,
            seconds=round(seconds, 2),
            error="",
            unsaved_since=None,
        )

    def _failed(self, error: Exception) -> None:
        room = status.disk(self._settings.database_file)
        text = str(error)
        # SQLite calls a full disk an I/O error where it can't grow the index of its log.
        if room and room["free_bytes"] < room["bytes"] + SPARE_BYTES:
            text += f"; the disk of {self._settings.state} is full: {room['free_bytes']} bytes free"
        logger.error("no snapshot: %s", text)
        self._status.put("snapshot", error=text, error_time=status.now())
