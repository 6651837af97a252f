"""From what a person typed to an open place."""

from __future__ import annotations

import os
from pathlib import Path

from mlflow_migration.cli.options import Common
from mlflow_migration.engine import config
from mlflow_migration.errors import UsageError
from mlflow_migration.pipeline import BundleSource, LiveSource, bundle_folder
from mlflow_migration.server.live import Server
from mlflow_migration.server.rest import Rest


def server(text: str | None, role: str, common: Common) -> Server:
    """A connected server. Without an address MLFLOW_TRACKING_URI is taken. Raises UsageError, AccessError."""
    given = text if text is not None else os.environ.get("MLFLOW_TRACKING_URI", "")
    if not given:
        raise UsageError("no server was given", hint="set MLFLOW_TRACKING_URI, or give its address as an option")
    uri, credentials = config.load(common.config, os.environ).place(given, role, os.environ)
    if config.folder_or_server(uri) != "server":
        raise UsageError(f"not a server's address: {uri}", hint="write it like http://localhost:5000, or @name")
    live = Server(Rest(uri, credentials, common.workers, common.patience))
    live.connect()
    return live


def source(text: str, role: str, common: Common) -> LiveSource | BundleSource:
    """A server or a proven bundle to read from."""
    uri, _ = config.load(common.config, os.environ).place(text, role, os.environ)
    if config.folder_or_server(uri) == "server":
        return LiveSource(server(text, role, common))
    return BundleSource(bundle_folder(Path(uri)))
