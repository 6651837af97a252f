"""What a destination has of a kind without tags and without a name of its own: known by what it says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from mlflow_migration.records import Json


class Lookalikes:
    """The destination's objects of one kind; each is taken by one of the source's. Safe to share between threads."""

    def __init__(self, heads: Iterator[Json], id_key: str) -> None:
        self._key = id_key
        self._free = {head[id_key]: head for head in heads}
        self._known = set(self._free)
        self._lock = threading.Lock()

    def take(self, known: str | None, fits: Callable[[Json], bool]) -> Json | None:
        """The object with the id `known`, or else one that fits; None where there is neither."""
        with self._lock:
            fitting = next((id_ for id_, head in self._free.items() if fits(head)), None)
            found = known if known in self._free else fitting
            return self._free.pop(found) if found else None

    def is_known(self, id_: str) -> bool:
        """Whether the object was there before, or has been made by this job."""
        with self._lock:
            return id_ in self._known

    def made(self, id_: str) -> None:
        with self._lock:
            self._known.add(id_)

    def new(self, heads: Iterator[Json], fits: Callable[[Json], bool]) -> Json | None:
        """One that fits and was made since: by a request whose answer was lost."""
        return next((head for head in heads if not self.is_known(head[self._key]) and fits(head)), None)
