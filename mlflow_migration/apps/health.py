"""Whether a deployed app answers as MLflow does, asked with OAuth as a client of it would be."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from mlflow_migration.errors import AccessError, ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.databricks import app as app_address
from mlflow_migration.server.databricks.address import authenticated, configured
from mlflow_migration.server.databricks.app import AppAddress
from mlflow_migration.server.rest import Rest

PATIENCE = 1.0
"""Seconds for which one try repeats its requests: the loop around it asks again."""
STATUS = "/mlflow-app/status.json"


@dataclass(frozen=True)
class Workspace:
    """A workspace that is open: `uri` and `credentials` are what it was opened by, and open its apps too."""

    uri: str
    credentials: Credentials
    rest: Rest

    def where(self, name: str) -> AppAddress:
        """The address of an app of this workspace."""
        return app_address.at(self.uri, name)


def opened(uri: str, credentials: Credentials, patience: float) -> Workspace:
    """A workspace by its address. Raises UsageError where it can't be logged in to, or is none."""
    return Workspace(uri, credentials, Rest(uri, credentials, 4, patience))


def cannot_be_called(workspace: Workspace) -> str:
    """Why the workspace's apps can't be called with its credentials, "" where they can: apps refuse personal tokens."""
    config = configured(workspace.uri, workspace.credentials)
    return authenticated(workspace.uri, lambda: app_address.oauth_fault(config))


def fault(workspace: Workspace, name: str) -> str:
    """What is wrong with an app, "" where `/health` and a search of experiments are answered."""
    credentials = replace(workspace.credentials, workspace=None)
    uri = workspace.where(name).uri
    try:
        # The app itself, also where its address means the workspace behind it.
        front = app_address.front(uri, credentials)
        with closing(Rest(uri, credentials, 1, PATIENCE, front)) as rest, rest.hurried():
            return _fault(rest)
    except (AccessError, ForbiddenError, ServerError) as error:
        return str(error)


def _fault(rest: Rest) -> str:
    try:
        rest.text("/health")
        rest.call("POST", "/api/2.0/mlflow/experiments/search", {"max_results": 1})
    except ServerError as error:
        return _told(rest) or str(error)
    return ""


def _told(rest: Rest) -> str:
    """What the runtime says of itself, "" where it says nothing."""
    try:
        status: Json = rest.call("GET", STATUS)
    except (AccessError, ForbiddenError, ServerError):
        return ""
    return ": ".join(str(status[key]) for key in ("state", "message") if status.get(key))
