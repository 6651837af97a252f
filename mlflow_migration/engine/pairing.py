"""Summaries of two places' objects in a scratch database, joined there: comparing takes no memory for its size."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PENDING = 1000

SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE origin (side TEXT, id TEXT, origin TEXT, PRIMARY KEY (side, id)) WITHOUT ROWID;
CREATE TABLE summary (side TEXT, kind TEXT, grp TEXT, origin TEXT, id TEXT, name TEXT, digest TEXT, lineage TEXT,
  PRIMARY KEY (side, kind, grp, origin, id)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Summary:
    """One object of one place. Two are a pair when `kind`, `group` and `origin` are equal."""

    kind: str
    group: str
    origin: str
    id: str
    name: str
    digest: str
    lineage: dict[str, str]


class Pairing:
    """The scratch database. Safe to share between threads."""

    def __enter__(self) -> Pairing:
        self._folder = tempfile.TemporaryDirectory(prefix="mlflow-migration-")
        self._db = sqlite3.connect(Path(self._folder.name) / "pairs.db", check_same_thread=False, isolation_level=None)
        self._db.executescript(SCHEMA)
        self._lock = threading.Lock()
        self._pending: list[tuple[str, ...]] = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def learn(self, side: str, id_: str, origin: str) -> None:
        """An object of a place came from another one."""
        if id_ != origin:
            with self._lock:
                self._db.execute("INSERT OR REPLACE INTO origin VALUES (?, ?, ?)", (side, id_, origin))

    def origin(self, side: str, id_: str) -> str | None:
        """Where an object of a place came from; None for one that was made there."""
        with self._lock:
            row = self._db.execute("SELECT origin FROM origin WHERE side = ? AND id = ?", (side, id_)).fetchone()
        return str(row[0]) if row else None

    def add(self, side: str, summary: Summary) -> None:
        fields = (summary.kind, summary.group, summary.origin, summary.id, summary.name, summary.digest)
        self._pending.append((side, *fields, json.dumps(summary.lineage)))
        if len(self._pending) >= PENDING:
            self.flush()

    def flush(self) -> None:
        with self._lock:
            self._db.executemany("INSERT OR REPLACE INTO summary VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._pending)
            self._pending.clear()

    def only(self, side: str, kind: str) -> Iterator[Summary]:
        """Objects whose origin the other side doesn't hold."""
        sql = (
            "SELECT a.kind, a.grp, a.origin, a.id, a.name, a.digest, a.lineage "
            "FROM summary a WHERE side = ? AND kind = ? AND NOT EXISTS "
            "(SELECT 1 FROM summary b "
            "WHERE b.side != a.side AND b.kind = a.kind AND b.grp = a.grp AND b.origin = a.origin)"
        )
        return map(_summary, self._db.execute(sql, (side, kind)))

    def repeated(self, side: str, kind: str) -> Iterator[Summary]:
        """Further objects of an origin that stands more often on this side than on the other."""
        sql = (
            "SELECT a.kind, a.grp, a.origin, a.id, a.name, a.digest, a.lineage "
            "FROM summary a WHERE side = ? AND kind = ? "
            "AND (SELECT COUNT(*) FROM summary c WHERE c.side = a.side AND c.kind = a.kind AND c.grp = a.grp "
            "AND c.origin = a.origin AND c.id <= a.id) > (SELECT COUNT(*) FROM summary b "
            "WHERE b.side != a.side AND b.kind = a.kind AND b.grp = a.grp AND b.origin = a.origin) "
            "AND EXISTS (SELECT 1 FROM summary b WHERE b.side != a.side AND b.kind = a.kind AND b.grp = a.grp "
            "AND b.origin = a.origin)"
        )
        return map(_summary, self._db.execute(sql, (side, kind)))

    def both(self, kind: str) -> Iterator[tuple[Summary, Summary]]:
        """Each left object with the right one of its origin: the one of the same id, else the first."""
        sql = (
            "SELECT a.kind, a.grp, a.origin, a.id, a.name, a.digest, a.lineage, "
            "b.kind, b.grp, b.origin, b.id, b.name, b.digest, b.lineage FROM summary a JOIN summary b "
            "ON b.kind = a.kind AND b.grp = a.grp AND b.origin = a.origin WHERE a.side = 'left' AND b.side = 'right' "
            "AND a.kind = ? AND b.id = COALESCE((SELECT c.id FROM summary c WHERE c.side = 'right' AND c.kind = a.kind "
            "AND c.grp = a.grp AND c.origin = a.origin AND c.id = a.id), (SELECT MIN(c.id) FROM summary c "
            "WHERE c.side = 'right' AND c.kind = a.kind AND c.grp = a.grp AND c.origin = a.origin))"
        )
        size = len(Summary.__dataclass_fields__)
        for row in self._db.execute(sql, (kind,)):
            yield _summary(row[:size]), _summary(row[size:])


def _summary(row: tuple[str, ...]) -> Summary:
    kind, group, origin, id_, name, digest, lineage = row
    return Summary(kind, group, origin, id_, name, digest, json.loads(lineage))
