"""Local MLflow servers on SQLite, for the demo and the benchmarks: on a free port, stopped with all their workers."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class LocalServer:
    """One running `mlflow server`; everything it keeps is below `folder`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def database(self) -> Path:
        return database_of(self.folder)

    @property
    def artifacts(self) -> Path:
        return artifacts_of(self.folder)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def pid(self) -> int:
        return self.process.pid


def database_of(folder: Path) -> Path:
    """Where the server of `folder` keeps its rows."""
    return folder / "mlflow.db"


def artifacts_of(folder: Path) -> Path:
    """Where the server of `folder` keeps its artifacts."""
    return folder / "artifacts"


def clean_environment(**extra: str) -> dict[str, str]:
    """The caller's environment without any MLflow or proxy setting that could send a local request elsewhere."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("MLFLOW_")}
    local = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return environment | local | extra


def launch(folder: Path, workers: int = 1) -> LocalServer:
    """Start a server on what `folder` holds (nothing yet: a new database) without waiting for it."""
    folder.mkdir(parents=True, exist_ok=True)
    artifacts_of(folder).mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", str(workers)]
    command += ["--backend-store-uri", f"sqlite:///{database_of(folder)}"]
    command += ["--artifacts-destination", str(artifacts_of(folder))]
    # The job runner and its seven consumers cost 230 MB each and have nothing to do here.
    environment = clean_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with (folder / "server.log").open("ab") as log:
        # Its own session: Ctrl-C reaches only the caller, which then stops the server and its workers together.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return LocalServer(folder, port, process)


def wait_until_ready(server: LocalServer) -> None:
    """Return when the server answers; `RuntimeError` with the end of its log when it ends or stays silent."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        if answers(server.port):
            return
        time.sleep(0.1)
    tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-20:])
    raise RuntimeError(f"the MLflow server of {server.folder} did not start; its log ends with:\n{tail}")


def answers(port: int) -> bool:
    """Whether a server says it is healthy."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(server: LocalServer) -> None:
    """End the server and every worker it started; no-op when it has ended already."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(STOP_SECONDS)
            return


@contextlib.contextmanager
def serving(folder: Path, workers: int = 1) -> Iterator[LocalServer]:
    """A server for the length of a `with` block."""
    server = launch(folder, workers)
    try:
        wait_until_ready(server)
        yield server
    finally:
        stop(server)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def copy_folder(template: Path, folder: Path) -> Path:
    """A fresh server folder with the database and artifacts of a stopped one."""
    folder.mkdir(parents=True)
    shutil.copyfile(database_of(template), database_of(folder))
    shutil.copytree(artifacts_of(template), artifacts_of(folder))
    return folder


def stop_on_termination() -> None:
    """Let SIGTERM unwind the program as Ctrl-C does, so that `finally` blocks stop the servers."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
