"""What the runtime says of itself: written by the supervisor, shown at /mlflow-app/status (and .json)."""

import copy
import json
import logging
import os
import threading
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
# The supervisor writes at least this often, so that a page can tell when nobody looks after the server any more.
HEARTBEAT_SECONDS = 5
SILENT_SECONDS = 20


class Status:
    """The status document, and its file. Threads may change it."""

    def __init__(self, file: Path, first: Mapping[str, Any]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._document: dict[str, Any] = dict(first)

    def set(self, **values: Any) -> None:
        """Change top-level entries and write the file."""
        with self._lock:
            self._document.update(values)
            self._write()

    def put(self, part: str, **values: Any) -> None:
        """Change entries of one part and write the file."""
        with self._lock:
            self._document[part] = {**(self._document.get(part) or {}), **values}
            self._write()

    def note(self, text: str) -> None:
        """Add a note that stays."""
        with self._lock:
            self._document["notes"] = [*self._document.get("notes", ()), text]
            self._write()

    def beat(self) -> None:
        """Say that the supervisor lives."""
        with self._lock:
            self._write()

    def part(self, name: str) -> dict[str, Any]:
        """One part of what is known now."""
        with self._lock:
            return dict(self._document.get(name) or {})

    def document(self) -> dict[str, Any]:
        """What is known now."""
        with self._lock:
            return with_ages(copy.deepcopy(self._document))

    def _write(self) -> None:
        self._document["written"] = now()
        made = self._file.with_suffix(".new")
        try:
            made.write_text(json.dumps(self._document, indent=1), "utf-8")
            made.replace(self._file)
        except OSError as error:
            # A full disk keeps the page old, which it says; the server goes on.
            logger.warning("can't write %s: %s", self._file, error.strerror or error)


def load(file: Path) -> dict[str, Any]:
    """The document of a status file, with ages; one that says so where the file can't be read."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        return {"state": "unknown", "message": f"the status can't be read: {error}"}
    return with_ages(document)


def with_ages(document: dict[str, Any]) -> dict[str, Any]:
    """A document with what depends on the moment it is looked at.

    `snapshot.age_seconds`: how old the newest snapshot is. `loss_seconds`: how much would be lost if the machine went
    now, that is since when there are changes that are in no snapshot; 0 where all is safe.
    """
    snapshot = document.get("snapshot")
    if isinstance(snapshot, dict):
        snapshot["age_seconds"] = _since(snapshot.get("time"))
        document["loss_seconds"] = _since(snapshot.get("unsaved_since")) or 0
    silent = _since(document.get("written"))
    document["supervised"] = silent is not None and silent < SILENT_SECONDS
    return document


def now() -> str:
    """This moment, as all times of the document are written."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def disk(file: Path) -> dict[str, int]:
    """How big a file is, and how much room its disk has."""
    try:
        room = os.statvfs(file.parent)
        return {"bytes": file.stat().st_size, "free_bytes": room.f_bavail * room.f_frsize}
    except OSError:
        return {}


def _since(moment: Any) -> float | None:
    if not isinstance(moment, str):
        return None
    return round((datetime.now(timezone.utc) - datetime.fromisoformat(moment)).total_seconds(), 1)
