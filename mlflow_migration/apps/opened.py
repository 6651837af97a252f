"""An app and its workspace, logged in to once for both."""

from __future__ import annotations

from contextlib import closing
from types import TracebackType

from mlflow_migration.errors import AccessError
from mlflow_migration.records import Json
from mlflow_migration.server.address import Credentials, Endpoint
from mlflow_migration.server.databricks import app
from mlflow_migration.server.databricks.address import authenticated, configured
from mlflow_migration.server.rest import Rest

PATIENCE = 20.0
"""Seconds for which a request to an app is repeated: a person waits for what is looked at."""


OVER = frozenset({"STOPPED", "STOPPING", "DELETING"})


class Opened:
    """One app, to be looked at. Close it, or use it in a `with`."""

    def __init__(self, workspace: str, name: str, credentials: Credentials) -> None:
        """`workspace` is its address. Raises UsageError where it can't be logged in to."""
        self.where = app.at(workspace, name)
        self._credentials = credentials
        self._config = configured(self.where.workspace, credentials)
        self.workspace = app.workspace_session(self.where, self._config, credentials)

    def __enter__(self) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.workspace.close()

    def head(self) -> Json:
        """The app as the Apps API shows it now. Raises AccessError where there is none."""
        return app.required(self.workspace, self.where)

    def refusal(self) -> str:
        """Why the app would refuse this login, "" where it wouldn't; nothing is sent to it."""
        return authenticated(self.where.uri, lambda: app.oauth_fault(self._config))

    def url(self, head: Json) -> str:
        """The app's URL. Raises AccessError where it has none that can be opened."""
        return app.url_of(self.where, head, self._config)

    def require_logs(self) -> None:
        """Raise AccessError where the app is gone, or stopped: its log goes on nowhere."""
        compute = self.head().get("compute_status") or {}
        if compute.get("state") in OVER:
            raise AccessError(
                f"the app {self.where.name} isn't running any more: its compute is {compute['state']}",
                str(compute.get("message") or ""),
                self.where.command("status"),
            )

    def endpoint(self, head: Json) -> Endpoint:
        """Where the app is called, by OAuth tokens. Raises AccessError where this login gives none."""
        app.require_oauth(self.where, self._config)
        return app.endpoint_at(self.url(head), self.where, self._config, self._credentials)

    def session(self, head: Json) -> closing[Rest]:
        """What speaks to the app, however it is. Raises AccessError where this login gives no OAuth tokens."""
        return closing(Rest(self.where.uri, self._credentials, 2, PATIENCE, self.endpoint(head)))
