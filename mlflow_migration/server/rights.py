"""What a server with users hides from these credentials, as far as it says so.

Searches of experiments, runs, logged models and registered models leave out, without a word, what the user may not
read; the other listings refuse as a whole (found on 3.17.2). Only what is denied expressly can be known: what a server
doesn't give by default is in no list.
"""

from __future__ import annotations

import threading

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Rest

ROUTE = pages.V3 + "users/current/permissions"
DENIAL = "DENY"
TYPES = {"model_version": "registered_model_version"}
"""What a server with users calls a kind otherwise."""


class Rights:
    """Asked once for each server, when first needed. Safe to share between threads."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._answer: Json | None = None

    def denied(self, kind: str) -> tuple[str, ...]:
        """The ids (of models the names) of a kind's objects that are denied; `*` stands for all of them."""
        rows = self._asked().get("permissions", [])
        found = [
            row for row in rows if row.get("permission") == DENIAL and row.get("resource_type") == TYPES.get(kind, kind)
        ]
        return tuple(str(row["resource_pattern"]) for row in found)

    def are_limited(self) -> bool:
        """Whether the server has users, and these credentials are not an administrator's."""
        return self._asked().get("is_admin") is False

    def _asked(self) -> Json:
        with self._lock:
            if self._answer is None:
                try:
                    self._answer = self._rest.call("GET", ROUTE)
                except (ForbiddenError, ServerError):
                    # No users, or a server before it could say so.
                    self._answer = {}
            return self._answer
