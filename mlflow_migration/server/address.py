"""From an address to a host and credentials, resolved by MLflow itself: whatever works for `mlflow` works here."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests

from mlflow_migration.errors import UsageError

DEFAULT_WORKSPACE = "default"
"""What a request without a workspace means, at servers without workspaces too."""
WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"
SETTINGS = ("MLFLOW_TRACKING_", "DATABRICKS_")
"""How the variables begin that tell MLflow something of a server or of where it runs."""
DATABRICKS, DATABRICKS_UC = "databricks", "databricks-uc"
"""A Databricks workspace with its own model registry, and the same with Unity Catalog's."""
DATABRICKS_APP = "databricks-app"
"""An MLflow server of one's own that runs as a Databricks App: databricks-app://[PROFILE/]NAME."""
PLUGINS = ("mlflow.tracking_store", "mlflow.request_header_provider", "mlflow.request_auth_provider")


@dataclass(frozen=True)
class Credentials:
    """What the configuration says of one address; whatever is None comes from MLflow's own settings."""

    username: str | None = None
    password: str | None = None
    token: str | None = None
    workspace: str | None = None
    insecure_tls: bool | None = None
    ca_bundle: str | None = None
    client_cert: str | None = None
    databricks: tuple[Mapping[str, str], ...] = ()
    """Settings of databricks-sdk by the names of its variables, the nearest first."""

    def merged(self, other: Credentials) -> Credentials:
        """These, with the gaps filled from `other`."""
        gaps = {name: value for name, value in vars(other).items() if getattr(self, name) is None}
        return replace(self, **gaps, databricks=self.databricks + other.databricks)


@dataclass(frozen=True)
class Endpoint:
    """A resolved server. `headers()` and `auth` carry the credentials; never print them.

    `dialect`: "" for MLflow's own, else DATABRICKS or DATABRICKS_UC. `renew` makes `headers()` give a new token where
    one was refused, None where there is nothing to renew. `hint`: what to do about refused credentials.
    `login`: what databricks-sdk calls the way of logging in. `address`: what everybody knows the server by, where what
    was typed means it on one machine only. `stays`: an answer that leads elsewhere is never followed; it is how one
    is told to log in. `folder`: where a workspace's experiments go whose names are no paths, "" for the caller's own.
    """

    host: str
    headers: Callable[[], dict[str, str]]
    auth: Callable[[requests.PreparedRequest], requests.PreparedRequest] | tuple[str, str] | None
    verify: bool | str
    cert: str | None
    workspace: str = ""
    dialect: str = ""
    workspace_id: str = ""
    renew: Callable[[], None] | None = None
    login: str = ""
    address: str = ""
    stays: bool = False
    folder: str = ""
    hint: str = (
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or _TOKEN), "
        "or MLFLOW_MIGRATION_SRC_… and _DST_… where the two servers differ"
    )


def printable(uri: str) -> str:
    """An address without user info and query, fit for logs, reports and tags."""
    parts = urlsplit(uri)
    if not parts.scheme or not parts.netloc:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def is_server(text: str) -> bool:
    """Whether an address names a server and not a folder."""
    return "://" in text or text.startswith(("arn:", "sqlite:", "file:")) or is_databricks(text)


def is_databricks(text: str) -> bool:
    """Whether an address names a Databricks workspace."""
    return text.partition("://")[0] in {DATABRICKS, DATABRICKS_UC}


def is_app(text: str) -> bool:
    """Whether an address names a Databricks App."""
    return text.startswith(DATABRICKS_APP + "://")


def has_workspace_login(text: str) -> bool:
    """Whether one logs in to a Databricks workspace for what an address names: the workspace, or an App of it."""
    return is_databricks(text) or is_app(text)


def resolve(uri: str, given: Credentials) -> Endpoint:
    """The endpoint of a tracking address.

    Host and credentials are those of the store MLflow resolves for it (user/password, token, `~/.mlflow/credentials`,
    TLS options, SigV4, request-auth and request-header plug-ins, plug-in addresses); `given` goes before them.
    A Databricks workspace's are those databricks-sdk resolves, and of these come an App's, whose workspace is asked
    where it is. Raises UsageError for an address without a REST server behind it, AccessError for an App that isn't
    running or takes no such credentials.
    """
    if is_app(uri):
        from mlflow_migration.server.databricks import app

        return app.endpoint(uri, given)
    if is_databricks(uri):
        # Imported here: databricks-sdk takes a while to load, and most places are none of its.
        from mlflow_migration.server.databricks.address import endpoint

        return endpoint(uri, given)
    creds = _mlflow_credentials(uri)
    verify: bool | str = creds.verify
    if given.insecure_tls is not None or given.ca_bundle is not None:
        verify = given.ca_bundle or not given.insecure_tls
    return Endpoint(
        host=str(creds.host).rstrip("/"),
        headers=lambda: _headers(uri, given),
        auth=_auth(creds) if given.username is None and given.token is None else None,
        verify=verify,
        cert=given.client_cert or creds.client_cert_path,
        workspace=workspace_of(given),
    )


@dataclass(frozen=True)
class _Unconfigured:
    """What MLflow answers for a server that nothing is configured for."""

    host: str
    username: str | None = None
    password: str | None = None
    token: str | None = None
    auth: str | None = None
    aws_sigv4: bool = False
    verify: bool = True
    client_cert_path: str | None = None


def _is_configured(uri: str) -> bool:
    """Whether MLflow has to be asked about an address: it is no plain one, or something is set up that it looks at.

    Importing MLflow takes longer than a small job (more than a second: pandas and FastAPI come along, 3.17.2).
    """
    if "mlflow" in sys.modules or not uri.startswith(("http://", "https://")):
        return True
    if any(name.startswith(SETTINGS) and name != "MLFLOW_TRACKING_URI" for name in os.environ):
        return True
    if Path("~/.mlflow/credentials").expanduser().exists():
        return True
    return _has_plugins()


@cache
def _has_plugins() -> bool:
    # Once: it reads a file of every package that is installed.
    return any(each.group in PLUGINS for package in metadata.distributions() for each in package.entry_points)


def _mlflow_credentials(uri: str) -> Any:
    if not _is_configured(uri):
        return _Unconfigured(uri)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    hint = "give the http(s) address of an MLflow server, or a bundle folder"
    if uri.startswith(("sqlite:", "postgresql", "mysql", "mssql", "file:")):
        raise UsageError(
            f"not a server: {printable(uri)}",
            "databases and file stores can't be read directly yet",
            f"start one on it: mlflow server --backend-store-uri {printable(uri)}",
        )
    try:
        store = _tracking_store_registry.get_store(uri, None)
        return store.get_host_creds()
    except AttributeError as error:
        raise UsageError(f"no REST server is behind the address {printable(uri)}", hint=hint) from error
    except (configparser.Error, OSError, ValueError) as error:
        # The error's text may quote the file, and with it a secret.
        raise UsageError(
            "MLflow's credentials can't be read", f"{type(error).__name__} in ~/.mlflow/credentials", "mend the file"
        ) from None
    except MlflowException as error:
        raise UsageError(f"MLflow can't resolve the address {printable(uri)}", error.message, hint) from error


def _headers(uri: str, given: Credentials) -> dict[str, str]:
    headers = client_headers(uri)
    if workspace := workspace_of(given):
        headers[WORKSPACE_HEADER] = workspace
    if given.username is not None or given.token is not None:
        username, password, token = given.username, given.password, given.token
    else:
        creds = _mlflow_credentials(uri)
        username, password, token = creds.username, creds.password, creds.token
    if username is not None and password is not None:
        headers["Authorization"] = requests.auth._basic_auth_str(username, password)
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def client_headers(uri: str) -> dict[str, str]:
    """What MLflow's own client tells of itself."""
    if not _is_configured(uri):
        version = metadata.version("mlflow-skinny")
        return {"User-Agent": f"mlflow-python-client/{version}", "X-MLflow-Client-Version": version}
    from mlflow.tracking.request_header.registry import resolve_request_headers

    return {str(key): str(value) for key, value in resolve_request_headers().items()}


def workspace_of(given: Credentials) -> str:
    """The workspace of MLflow's own that requests are for, "" for the default one."""
    if "mlflow" not in sys.modules:
        # Nobody can have set one but by the variable.
        return given.workspace or os.environ.get("MLFLOW_WORKSPACE", "").strip()
    from mlflow.utils.workspace_context import get_request_workspace

    return given.workspace or get_request_workspace() or ""


def _auth(creds: Any) -> Any:
    if creds.aws_sigv4:
        from requests_auth_aws_sigv4 import AWSSigV4

        return AWSSigV4("execute-api")
    if creds.auth:
        from mlflow.tracking.request_auth.registry import fetch_auth

        return fetch_auth(creds.auth)
    return None
