"""What of a metastore is listed and may not be read: Unity Catalog lists by BROWSE, and gives by other rights."""

from __future__ import annotations

import threading

MODELS, PROMPTS = "registered_model", "prompt"


class Hidden:
    """What searches were refused so far, by name. Implements `RightsReads`. Safe to share between threads."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {MODELS: set(), PROMPTS: set()}
        self._lock = threading.Lock()

    def note(self, kind: str, name: str) -> None:
        """Keep a name: that of an object, or `main.*` for all that a catalog or schema may hold."""
        with self._lock:
            self._names[kind].add(name)

    def denied(self, kind: str) -> tuple[str, ...]:
        """The names of a kind's objects that searches were refused."""
        with self._lock:
            return tuple(sorted(self._names.get(kind, ())))

    def are_limited(self) -> bool:
        """False: what isn't even listed, nothing tells of."""
        return False
