"""The app's runtime on this machine: on a laptop, in a container, for a look before a deployment."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Local:
    """How to run it: everything the app keeps is below `folder`; `settings` are further MLFLOW_APP_ variables.

    `volume` is where snapshots go: a folder (the default is one below `folder`) or /Volumes/... through the Files API.
    """

    folder: Path
    port: int = 8000
    host: str = "127.0.0.1"
    name: str = "mlflow"
    volume: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def environment(local: Local, outside: Mapping[str, str]) -> dict[str, str]:
    """The environment of the runtime: `outside` (credentials, proxies), and what `local` says."""
    folder = local.folder.expanduser().absolute()
    told = {
        "MLFLOW_APP_NAME": local.name,
        "MLFLOW_APP_HOST": local.host,
        "MLFLOW_APP_STATE_DIR": str(folder / "state"),
        "DATABRICKS_APP_PORT": str(local.port),
    }
    kept = {key: value for key, value in outside.items() if not key.startswith("MLFLOW_APP_")}
    if local.volume or local.settings.get("MLFLOW_APP_BACKEND", "sqlite") == "sqlite":
        told["MLFLOW_APP_VOLUME"] = local.volume or str(folder / "volume")
    return {**kept, **told, **local.settings}


def run_local(local: Local, outside: Mapping[str, str]) -> int:
    """Run until Ctrl-C or SIGTERM; returns the runtime's exit code.

    0: ended on demand. 1: the last snapshot failed, or another instance took over. 2: something in the settings.

    The runtime's log goes to stderr. Called on another thread than the main one, signals have to be sent to the
    runtime itself.
    """
    words = [sys.executable, "-m", "mlflow_migration.apps.runtime"]
    process = subprocess.Popen(words, env=environment(local, outside), stdin=subprocess.DEVNULL)
    with process, _passing_signals_on(process):
        return process.wait()


@contextmanager
def _passing_signals_on(process: "subprocess.Popen[bytes]") -> Iterator[None]:
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
