"""What a server keeps at all: one on files (`--backend-store-uri ./mlruns`) has none of the newer kinds."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.rest import DISABLED, Rest


class Features:
    """Asked once for each server, when the first of these kinds is listed. Safe to share between threads."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._on_files: bool | None = None

    def listed(self, found: Iterator[Json]) -> Iterator[Json]:
        """The objects of a listing; none where the server is too old for its route, or keeps its things in files.

        Only one listing of a server on files says so (`FEATURE_DISABLED`); the others break with a plain 500, which
        must not be taken for "none" elsewhere.
        """
        if not self._keeps_files():
            yield from pages.where_known(found)

    def _keeps_files(self) -> bool:
        with self._lock:
            if self._on_files is None:
                try:
                    self._rest.call("POST", pages.V3 + "datasets/search", {"max_results": 1})
                    self._on_files = False
                except ForbiddenError:
                    # A server with users refuses this to all but admins, and never keeps these things in files.
                    self._on_files = False
                except ServerError as error:
                    self._on_files = error.code == DISABLED
            return self._on_files
