"""The app's runtime on this machine: on a laptop, in a container, for a look before a deployment."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from mlflow_migration.apps import config as configuration
from mlflow_migration.apps import render
from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.render import Deployment, Packages
from mlflow_migration.apps.runtime.settings import EVERYWHERE
from mlflow_migration.errors import UsageError

STATUS_PAGE = "/mlflow-app/status"
LOOK_SECONDS = 0.5
STDERR = 2
OWN = ("MLFLOW_APP_VOLUME", "MLFLOW_APP_ARTIFACTS", "MLFLOW_APP_REQUIRE_IDENTITY")
"""Variables that have another value here than in the deployed app."""
WORKSPACES_OWN = ("/Volumes/", "dbfs:")
"""How places of a workspace begin."""


@dataclass(frozen=True)
class Local:
    """How to run it: everything the app keeps is below `folder`; `settings` are further MLFLOW_APP_ variables.

    `volume` is where snapshots go: a folder (the default is one below `folder`) or /Volumes/... through the Files API.
    `notes` is what a person should know of how this came about.
    """

    folder: Path
    port: int = 8000
    host: str = "127.0.0.1"
    name: str = "mlflow"
    volume: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where MLflow is, for whoever sits at this machine."""
        # Where one listens at all addresses is no address to go to.
        name = "127.0.0.1" if self.host in (EVERYWHERE, "::") else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}"

    @property
    def status_page(self) -> str:
        """Where its status page is."""
        return f"{self.url}{STATUS_PAGE}"


def configured(local: Local, content: Mapping[str, Any], given: Mapping[str, Any], where: str) -> Local:
    """`local` with the values of a mlflow-app.yml; `given` are those of its keys that were given beside it.

    What runs here never writes to a Volume of the workspace only because a configuration names it: the deployed app's
    data lies there. Requests need no headers of a platform here. Raises UsageError.
    """
    own = str(_absolute(local.folder) / "volume")
    needed = {"name": local.name, "volume": own}
    arguments = {**{key: value for key, value in needed.items() if key not in content}, **given}
    config = configuration.with_arguments(content, arguments, where)
    secret = [key for key, value in config.environment.items() if not isinstance(value, str)]
    far = [key for key in ("volume", "artifacts") if getattr(config, key).startswith(WORKSPACES_OWN)]
    volume = local.volume or ("" if "volume" in far or config.volume == own else config.volume)
    settings = _settings(config)
    if config.artifacts and "artifacts" not in far:
        settings["MLFLOW_APP_ARTIFACTS"] = config.artifacts
    notes = [f"{key} {getattr(config, key)} is left alone: --volume says where data goes here" for key in far]
    unset = [f"{key} is not set: a resource of the deployed app gives it" for key in secret]
    return replace(
        local,
        name=config.name,
        volume=volume,
        settings={**settings, **local.settings},
        notes=(*local.notes, *([] if local.volume else notes), *unset),
    )


def told(local: Local) -> dict[str, str]:
    """The variables the runtime is told, by names."""
    folder = _absolute(local.folder)
    backend = local.settings.get("MLFLOW_APP_BACKEND", "sqlite")
    found = {
        "MLFLOW_APP_NAME": local.name,
        "MLFLOW_APP_HOST": local.host,
        "MLFLOW_APP_STATE_DIR": str(folder / "state"),
        "DATABRICKS_APP_PORT": str(local.port),
    }
    if local.volume or backend != "databricks":
        found["MLFLOW_APP_VOLUME"] = local.volume or str(folder / "volume")
    return {**found, **local.settings}


def environment(local: Local, outside: Mapping[str, str]) -> dict[str, str]:
    """The environment of the runtime: `outside` (credentials, proxies), and what `local` says."""
    kept = {key: value for key, value in outside.items() if not key.startswith("MLFLOW_APP_")}
    return {**kept, **told(local)}


def check_port(local: Local) -> None:
    """Raise UsageError where something else listens on the port: the server would start and crash for ever."""
    kind = socket.AF_INET6 if ":" in local.host else socket.AF_INET
    with closing(socket.socket(kind, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((local.host, local.port))
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(
                f"can't listen on port {local.port} of {local.host}", why, "give another --port"
            ) from error


def wait_until_serving(local: Local, ended: threading.Event) -> bool:
    """Wait until MLflow answers; False where it ended before."""
    while not ended.wait(LOOK_SECONDS):
        try:
            if requests.get(f"{local.url}/health", timeout=5).ok:
                return True
        except requests.RequestException:
            continue  # it isn't up yet
    return False


def _settings(config: AppConfig) -> dict[str, str]:
    """The runtime's variables of a configuration, as far as they mean something on any machine."""
    found = {**render.variables(config, Deployment(Packages("", ()))), **config.environment}
    return {name: value for name, value in found.items() if name not in OWN and isinstance(value, str)}


def _absolute(folder: Path) -> Path:
    return folder.expanduser().absolute()


def run_local(local: Local, outside: Mapping[str, str]) -> int:
    """Run until Ctrl-C or SIGTERM; returns the runtime's exit code.

    0: ended on demand. 1: the last snapshot failed, or another instance took over. 2: something in the settings.

    All that it and the server say goes to stderr. Called on another thread than the main one, signals have to be sent
    to the runtime itself.
    """
    words = [sys.executable, "-m", "mlflow_migration.apps.runtime"]
    process = subprocess.Popen(words, env=environment(local, outside), stdin=subprocess.DEVNULL, stdout=STDERR)
    with process, _passing_signals_on(process):
        return process.wait()


@contextmanager
def _passing_signals_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave the ending to the runtime: whoever is told to end waits for it. A signal it has twice is no harm."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, lambda got, _: process.send_signal(got))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
