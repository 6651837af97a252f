"""Where each object of a bundle lies, by kind and id: in a scratch database, so that memory doesn't grow with it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_migration.errors import StorageError

SCHEMA = """
CREATE TABLE place (
  number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, file TEXT NOT NULL, begin INTEGER NOT NULL,
  size INTEGER NOT NULL, UNIQUE (kind, id));
CREATE INDEX by_file ON place (file, begin);
"""
PAGE = 500
"""Places read at once."""


@dataclass(frozen=True)
class Place:
    """The file of an object, relative to the bundle, and which of its bytes; `size` 0 for a file of its own."""

    file: str
    begin: int = 0
    size: int = 0


class Index:
    """The places of a bundle's objects. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The empty name is SQLite's for a file of its own choice that goes when it is closed.
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=OFF;" + SCHEMA)

    def add(self, kind: str, id_: str, place: Place) -> bool:
        """Note a new object; False where it has a place already, which then stays."""
        sql = "INSERT OR IGNORE INTO place (kind, id, file, begin, size) VALUES (?, ?, ?, ?, ?)"
        _, changed = self._execute(sql, (kind, id_, *_values(place)))
        return changed == 1

    def put(self, kind: str, id_: str, place: Place) -> None:
        """Note an object's place, instead of an earlier one."""
        sql = "INSERT OR REPLACE INTO place (kind, id, file, begin, size) VALUES (?, ?, ?, ?, ?)"
        self._execute(sql, (kind, id_, *_values(place)))

    def drop(self, kind: str, id_: str) -> None:
        self._execute("DELETE FROM place WHERE kind = ? AND id = ?", (kind, id_))

    def get(self, kind: str, id_: str) -> Place | None:
        rows, _ = self._execute("SELECT file, begin, size FROM place WHERE kind = ? AND id = ?", (kind, id_))
        return _place(rows[0]) if rows else None

    def all(self, kind: str) -> Iterator[Place]:
        """Every place of a kind, in the order noted."""
        last = 0
        while True:
            rows, _ = self._execute(
                "SELECT file, begin, size, number FROM place WHERE kind = ? AND number > ? ORDER BY number LIMIT ?",
                (kind, last, PAGE),
            )
            for row in rows:
                yield _place(row)
            if len(rows) < PAGE:
                return
            last = int(rows[-1][3])

    def below(self, kind: str, folder: str) -> Iterator[Place]:
        """Every place of a kind in a folder and those below it, in the order of their files."""
        last: tuple[str, int] = (f"{folder}/", -1)
        while True:
            # The character after the slash ends the folder: names of files are compared as bytes.
            rows, _ = self._execute(
                "SELECT file, begin, size FROM place INDEXED BY by_file "
                "WHERE kind = ? AND (file, begin) > (?, ?) AND file < ? ORDER BY file, begin LIMIT ?",
                (kind, *last, f"{folder}0", PAGE),
            )
            for row in rows:
                yield _place(row)
            if len(rows) < PAGE:
                return
            last = (str(rows[-1][0]), int(rows[-1][1]))

    def lines(self, file: str) -> list[Place]:
        """The places in one file, in order."""
        rows, _ = self._execute("SELECT file, begin, size FROM place WHERE file = ? ORDER BY begin", (file,))
        return [_place(row) for row in rows]

    def _execute(self, sql: str, values: tuple[object, ...]) -> tuple[list[tuple[Any, ...]], int]:
        """The rows found, and how many were changed."""
        try:
            with self._lock:
                cursor = self._db.execute(sql, values)
                return cursor.fetchall(), cursor.rowcount
        except sqlite3.Error as error:
            raise StorageError(
                "can't write a scratch file", f"in the folder for temporary files: {error}", "free some space there"
            ) from error


def _values(place: Place) -> tuple[object, ...]:
    return place.file, place.begin, place.size


def _place(row: tuple[Any, ...]) -> Place:
    return Place(str(row[0]), int(row[1]), int(row[2]))
