"""Workspaces over REST (`/api/3.0/mlflow/workspaces`, since MLflow 3.10; tried on 3.17.2)."""

from __future__ import annotations

from urllib.parse import quote

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Rest

ROUTE = pages.V3 + "workspaces"


class Workspaces:
    """Implements `WorkspaceCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._exist: bool | None = None

    def at_default(self) -> bool:
        """Whether these credentials work in the server's default workspace, as they do where none is named."""
        return not self._rest.workspace

    def exist(self) -> bool:
        """Whether the server has workspaces; one without them would answer 503 to each of their routes."""
        if self._exist is None:
            try:
                info = self._rest.call("GET", pages.V3 + "server-info")
            except ForbiddenError:
                # MLflow itself tells everybody: a gate before it refuses what it doesn't know.
                info = {}
            except ServerError as error:
                if error.status not in pages.LACKING:
                    raise
                info = {}
            self._exist = bool(info.get("workspaces_enabled"))
        return self._exist

    def list_workspaces(self) -> list[Json]:
        """Every workspace these credentials may see; MLflow doesn't page them."""
        return list(self._rest.call("GET", ROUTE).get("workspaces", []))

    def get_workspace(self, name: str) -> Json | None:
        return pages.get_or_none(self._rest, f"{ROUTE}/{quote(name, safe='')}", {}, "workspace")

    def create_workspace(self, body: Json) -> None:
        def look() -> Json | None:
            return self.get_workspace(body["name"])

        pages.post(self._rest, ROUTE, body, look)

    def update_workspace(self, name: str, fields: Json) -> None:
        self._rest.call("PATCH", f"{ROUTE}/{quote(name, safe='')}", fields)
