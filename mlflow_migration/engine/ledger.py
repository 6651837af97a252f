"""What a job has done so far, in a SQLite file that survives a crash.

One file per job: source, destination and selection together name it, and it refuses any other job and a second
process of the same one. It is never asked whether an object is at the destination; only the destination is.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlflow_migration.errors import ConflictError, StorageError, UsageError
from mlflow_migration.records import Json, digest_of

log = logging.getLogger(__name__)

STATE_DIR = "MLFLOW_MIGRATION_STATE_DIR"

SCHEMA = """
CREATE TABLE IF NOT EXISTS job (key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (key));
CREATE TABLE IF NOT EXISTS object (
  kind TEXT NOT NULL, source_id TEXT NOT NULL, destination_id TEXT NOT NULL DEFAULT '', state TEXT NOT NULL,
  digest TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
  attempt INTEGER NOT NULL, link TEXT, PRIMARY KEY (kind, source_id));
"""


def state_dir(given: str | None) -> Path:
    """Where ledgers live: what is given, else `$XDG_STATE_HOME/mlflow-migration`, else below `~/.local/state`."""
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "mlflow-migration"


class Ledger:
    """One job's ledger, open and locked. Safe to share between threads."""

    def __init__(self, folder: Path, job: Json) -> None:
        """`job` is what makes it this job and no other: places and selection.

        Raises ConflictError while another process works on the same job, StorageError when it can't be written.
        """
        self.path = folder / _name(job)
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._guard = _lock_file(self.path.with_suffix(".lock"))
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                "can't write the job's ledger",
                f"{self.path}: {error}",
                f"give another folder by --state-dir or {STATE_DIR}",
            ) from error
        text = json.dumps(job, sort_keys=True)
        known = self._value("job")
        if known and known != text:
            raise UsageError("the ledger belongs to another job", str(self.path), "give another --state-dir")
        self._set("job", text)
        self._attempt = int(self._value("attempt") or 0) + 1
        self._set("attempt", str(self._attempt))
        self._set("begun", str(int(time.time())))

    def close(self) -> None:
        self._db.close()
        os.close(self._guard)

    def destination(self, kind: str, source_id: str) -> str | None:
        """The id this attempt found or made at the destination."""
        rows = self._execute(
            "SELECT destination_id FROM object "
            "WHERE kind = ? AND source_id = ? AND attempt = ? AND destination_id != ''",
            (kind, source_id, self._attempt),
        )
        return str(rows[0][0]) if rows else None

    def earlier(self, kind: str, source_id: str) -> str | None:
        """The id that any attempt noted last: a hint, for it may be gone from the destination."""
        sql = "SELECT destination_id FROM object WHERE kind = ? AND source_id = ? AND destination_id != ''"
        rows = self._execute(sql, (kind, source_id))
        return str(rows[0][0]) if rows else None

    def arrived(self, kind: str, source_id: str, destination_id: str) -> None:
        """An object has an id at the destination, though it may not be whole yet."""
        self._execute(
            "INSERT INTO object (kind, source_id, destination_id, state, attempt) VALUES (?, ?, ?, 'begun', ?) "
            "ON CONFLICT DO UPDATE SET destination_id = excluded.destination_id, attempt = excluded.attempt",
            (kind, source_id, destination_id, self._attempt),
        )

    def ended(self, kind: str, source_id: str, row: Json) -> None:
        """How an object ended: `row` has state, and id, digest, error and link where there are any."""
        link = json.dumps(row["link"]) if row.get("link") else None
        self._execute(
            "INSERT INTO object (kind, source_id, destination_id, state, digest, attempts, error, attempt, link) "
            "VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "destination_id = COALESCE(NULLIF(excluded.destination_id, ''), destination_id), "
            "state = excluded.state, digest = excluded.digest, attempts = attempts + 1, error = excluded.error, "
            "attempt = excluded.attempt, link = excluded.link",
            (
                kind,
                source_id,
                row.get("id", ""),
                row["state"],
                row.get("digest", ""),
                row.get("error", ""),
                self._attempt,
                link,
            ),
        )

    def has_ended(self, kind: str, source_id: str) -> bool:
        """Whether this attempt has been through with an object, however it ended."""
        sql = "SELECT 1 FROM object WHERE kind = ? AND source_id = ? AND attempt = ? AND state != 'begun'"
        return bool(self._execute(sql, (kind, source_id, self._attempt)))

    def links(self, kind: str) -> Iterator[tuple[str, str, Json]]:
        """What this attempt left for the second pass: source id, destination id, what to do."""
        last = ""
        while True:
            rows = self._execute(
                "SELECT source_id, destination_id, link FROM object "
                "WHERE kind = ? AND attempt = ? AND link IS NOT NULL AND source_id > ? ORDER BY source_id LIMIT 500",
                (kind, self._attempt, last),
            )
            for source_id, destination_id, link in rows:
                yield str(source_id), str(destination_id), json.loads(str(link))
                last = str(source_id)
            if not rows:
                return

    def _value(self, key: str) -> str:
        rows = self._execute("SELECT value FROM job WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else ""

    def _set(self, key: str, value: str) -> None:
        self._execute("INSERT INTO job VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value))

    def _execute(self, sql: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        try:
            with self._lock:
                return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError("can't write the job's ledger", f"{self.path}: {error}", "free some space") from error


UNTAGGED = (
    "issue",
    "scorer",
    "label_schema",
    "review_queue",
    "webhook",
    "gateway_model_definition",
    "gateway_guardrail",
    "gateway_budget",
)
"""Kinds that MLflow gives no tags: only a ledger knows where one came from."""


def rehearsal(folder: Path, scratch: Path, job: Json) -> Ledger:
    """A ledger in `scratch` that knows what the job's own in `folder` does, and leaves no trace there."""
    path = folder / _name(job)
    if path.is_file():
        try:
            with closing(_reader(path)) as real, closing(sqlite3.connect(scratch / path.name)) as copy:
                real.backup(copy)
        except sqlite3.Error as error:
            raise StorageError("can't read the job's ledger", f"{path}: {error}") from error
    return Ledger(scratch, job)


def _name(job: Json) -> str:
    return f"{digest_of(job)[:24]}.db"


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)


@dataclass(frozen=True)
class Noted:
    """What a ledger says came from `source`, a server or the folder of a bundle."""

    kind: str
    source: str
    source_id: str
    destination_id: str


def noted(folder: Path, destination: str) -> Iterator[Noted]:
    """What the jobs of this folder noted of objects without tags at a place, oldest job first."""
    for path in sorted(folder.glob("*.db"), key=lambda path: path.stat().st_mtime):
        base = _reader(path)
        try:
            ((text,),) = base.execute("SELECT value FROM job WHERE key = 'job'")
            job = json.loads(text)
            sql = "SELECT source_id, destination_id FROM object WHERE kind = ? AND destination_id != '' ORDER BY 1"
            for kind in UNTAGGED if job.get("destination") == destination else ():
                for source_id, destination_id in base.execute(sql, (kind,)):
                    yield Noted(kind, str(job["source"]), source_id, destination_id)
        except (sqlite3.Error, ValueError) as error:
            log.warning("no ledger, or none that can be read: %s: %s", path, error)
        finally:
            base.close()


def _lock_file(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(handle)
    except OSError as error:
        os.close(handle)
        raise ConflictError(
            "another process is doing this very job", f"lock: {path}", "wait for it to end, then type the command again"
        ) from error
    return handle


def _lock(handle: int) -> None:
    """An exclusive lock that the system drops when the process ends, however it ends."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
