"""From what a person typed to an open place."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from mlflow_migration.calls import Readable
from mlflow_migration.cli.options import Common
from mlflow_migration.database import connect, file_store
from mlflow_migration.database.connect import Connected
from mlflow_migration.engine import config
from mlflow_migration.errors import UsageError
from mlflow_migration.pipeline import BundleSource, LiveSource, bundle_folder
from mlflow_migration.server.address import is_databricks
from mlflow_migration.server.live import Server
from mlflow_migration.server.rest import Rest

WORKSPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
"""What MLflow takes as a workspace's name (3.17.2)."""


STORES = ("database", "file store")
"""The kinds of places whose tables are read without a server."""


def server(text: str | None, role: str, common: Common) -> Server:
    """A connected server. Without an address MLFLOW_TRACKING_URI is taken. Raises UsageError, AccessError."""
    folder = common.dst_experiment_dir or ""
    if folder and not folder.startswith("/"):
        raise UsageError(f"not a workspace path: {folder}", hint="write --dst-experiment-dir like /Shared/experiments")
    live = Server(session(text, role, common), folder if role == "DST" else "")
    live.connect()
    return live


def session(text: str | None, role: str, common: Common) -> Rest:
    """What speaks to a server that nothing has been asked of yet. Raises UsageError."""
    given = text if text is not None else default()
    if not given:
        raise UsageError("no server was given", hint="set MLFLOW_TRACKING_URI, or give its address as an option")
    given, workspace = _workspace(given, role, common.workspace)
    uri, credentials = config.load(common.config, os.environ).place(given, role, os.environ)
    found = config.kind_of_place(uri)
    if found == "file store":
        raise file_store.refuse(uri)
    if found != "server":
        # A database's own address may hold a password.
        shown = connect.printable(uri) if found == "database" else uri
        raise UsageError(f"not a server's address: {shown}", hint="write it like http://localhost:5000, or @name")
    if workspace:
        credentials = replace(credentials, workspace=workspace)
    return Rest(uri, credentials, common.workers, common.patience)


def readable(text: str | None, role: str, common: Common) -> Readable:
    """A server, a database or a file store to read from. Without an address MLFLOW_TRACKING_URI is taken.

    Raises UsageError, AccessError; StorageError where there is no room to read a file store.
    """
    given = text if text is not None else os.environ.get("MLFLOW_TRACKING_URI", "")
    if not given or config.kind_of_place(_uri(given, role, common)) not in STORES:
        return server(text, role, common)
    address, workspace = _workspace(given, role, common.workspace)
    uri, credentials = config.load(common.config, os.environ).place(address, role, os.environ)
    chosen = workspace or credentials.workspace or os.environ.get("MLFLOW_WORKSPACE", "")
    opened = _opened(uri, chosen)
    # Imported here: SQLAlchemy is an extra, which `open_database` has looked for.
    from mlflow_migration.database.place import Database

    root = common.dst_artifact_root if role == "DST" else common.src_artifact_root
    return Database(opened, root or common.artifact_root or "")


def _opened(uri: str, workspace: str) -> Connected:
    if config.kind_of_place(uri) == "file store":
        return file_store.open_file_store(uri, workspace)
    return connect.open_database(uri, workspace)


def default() -> str:
    """The address that MLflow's own variables name."""
    tracking, registry = (os.environ.get(name, "") for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"))
    if not is_databricks(tracking):
        return tracking
    from mlflow_migration.server.databricks.address import with_registry

    return with_registry(tracking, registry)


def session_of(live: Readable) -> Rest | None:
    """What speaks to a server; None for a place of another kind."""
    return live.rest if isinstance(live, Server) else None


def may_write(live: Readable) -> bool | None:
    """Whether these credentials may create something at a server; None for a place that isn't asked so."""
    return live.may_write() if isinstance(live, Server) else None


def _uri(text: str, role: str, common: Common) -> str:
    """The address of what a person typed."""
    return config.load(common.config, os.environ).place(text, role, os.environ)[0]


def _workspace(text: str, role: str, given: str | None) -> tuple[str, str]:
    """The address, and the workspace to open there: `--workspace SRC=DST`, or ADDRESS#WORKSPACE, as reports write it.

    Raises UsageError for what no workspace can be called.
    """
    address, _, written = text.partition("#") if "://" in text else (text, "", "")
    if written.startswith("/") or "@" in written:
        # A page of MLflow's own, as a browser shows its address, or a password with the sign in it.
        written = ""
    first, separator, second = (given or "").partition("=")
    chosen = (second if separator and role == "DST" else first) or written
    if chosen and not WORKSPACE.fullmatch(chosen):
        raise UsageError(f"not a workspace's name: {chosen!r}", hint="write --workspace SRC=DST, or one name for both")
    return address if written else text, chosen


def databases(source: str | None, destination: str | None, common: Common) -> tuple[Connected, Connected] | None:
    """Both ends of a copy where each is a database, or the first one a file store; an empty destination gets MLflow's
    tables.

    Raises UsageError where the destination is in use and `--online` doesn't say that this is meant, or is a file store.
    """
    settings = config.load(common.config, os.environ)
    given = [text if text is not None else os.environ.get("MLFLOW_TRACKING_URI", "") for text in (source, destination)]
    if not all(given):
        return None
    ends = [_workspace(text, role, common.workspace) for text, role in zip(given, config.ROLES, strict=True)]
    uris = [settings.place(text, role, os.environ)[0] for (text, _), role in zip(ends, config.ROLES, strict=True)]
    kinds = [config.kind_of_place(uri) for uri in uris]
    if kinds[1] == "file store":
        raise file_store.refuse(uris[1])
    if kinds[0] not in STORES or kinds[1] != "database":
        return None
    if kinds[0] == kinds[1] and connect.printable(uris[0]) == connect.printable(uris[1]):
        raise UsageError("source and destination are one database", connect.printable(uris[0]))
    return _opened(uris[0], ends[0][1]), writable(uris[1], ends[1][1], common)


def is_workspace(text: str | None, role: str, common: Common) -> bool:
    """Whether what a person typed is a Databricks workspace's address; nothing is opened."""
    given = text if text is not None else default()
    return bool(given) and is_databricks(_uri(given, role, common))


def destination(text: str | None, common: Common, notebook_dir: str = "") -> Server | Connected:
    """A server or a database to write to. Without an address MLFLOW_TRACKING_URI is taken.

    Raises UsageError where `--keep-ids` asks for what a server can't do, or `notebook_dir` for what only a Databricks
    workspace can: before a database gets tables.
    """
    if notebook_dir and not is_workspace(text, "DST", common):
        place = connect.printable(text if text is not None else default())
        raise UsageError(f"only a Databricks workspace takes notebooks: {place}", hint="leave --dst-notebook-dir out")
    given = text if text is not None else os.environ.get("MLFLOW_TRACKING_URI", "")
    address, workspace = _workspace(given, "DST", common.workspace)
    uri = config.load(common.config, os.environ).place(address, "DST", os.environ)[0] if given else ""
    if connect.is_database(uri):
        return writable(uri, workspace, common)
    if common.keep_ids:
        raise UsageError(
            f"a server gives its own ids and times: {connect.printable(uri)}",
            hint="give its database's address as the destination, or leave --keep-ids out",
        )
    return server(text, "DST", common)


def writable(uri: str, workspace: str, common: Common) -> Connected:
    """A database to write to; an empty one gets MLflow's tables, unless nothing is to be written.

    Raises UsageError where others have it open and `--online` doesn't say that this is meant.
    """
    if common.dry_run:
        return connect.rehearsed(uri, workspace)
    return connect.open_database(uri, workspace, create=True, alone=not common.online)


def source(text: str, role: str, common: Common) -> LiveSource | BundleSource:
    """A server, a database, a file store or a proven bundle to read from."""
    uri = _uri(text, role, common)
    if config.kind_of_place(uri) == "bundle":
        return BundleSource(bundle_folder(Path(uri)))
    return LiveSource(readable(text, role, common))
