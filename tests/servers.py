"""Real MLflow servers for the tests: start, stop, photograph and reset.

A start costs about five seconds, so a server is started once and then *reset*: SQLite's backup call replaces the whole
database under it in milliseconds, and its artifact folder is copied. A reset server answers as a fresh one does.
"""

import base64
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

START_SECONDS = 90
# Starts the server and ends it when this test process, which holds the other end of stdin, is gone for any reason.
WATCH = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: os._exit(server.wait()), daemon=True).start()
sys.stdin.buffer.read()
os.killpg(0, signal.SIGKILL)
"""


@dataclass(frozen=True)
class Server:
    """A running `mlflow server`: where it answers, and the files behind it."""

    url: str
    database: Path
    artifacts: Path
    log: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)


@dataclass(frozen=True)
class Snapshot:
    """The content of a server at one moment: a database and, when there are any, its artifacts."""

    database: Path
    artifacts: Path | None = None


@dataclass(frozen=True)
class Options:
    """How a server is started.

    `template` is an empty, already migrated database (see `make_template`); `python` has the MLflow that runs;
    `database` is the address of one that is there already; `artifact_root` is where new experiments' artifacts go when
    the server doesn't serve them itself (its own folder when empty).
    """

    template: Path | None = None
    workers: int = 1
    app_name: str | None = None
    serve_artifacts: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable
    database: str = ""
    artifact_root: str = ""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without anything that could steer MLflow, plus `extra`."""
    prefixes = ("MLFLOW_", "_MLFLOW_", "DATABRICKS_", "AWS_")
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(prefixes)}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # Without one every process has a key of its own, and can't list webhooks of a photograph that another one made.
    key = {"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(32)).decode()}
    return kept | quiet | key | dict(extra or {})


def make_template(path: Path) -> Path:
    """An empty MLflow database at `path`; its schema migrations take seconds, so it is made once and copied."""
    code = (
        "import sys\n"
        "from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore\n"
        "SqlAlchemyStore('sqlite:///' + sys.argv[1], 'mlflow-artifacts:/')\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run(command, check=True, env=clean_environment(), capture_output=True, timeout=120)
    return path


def free_port() -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, options: Options | None = None) -> Server:
    """Start a server whose database, artifacts and log live in `folder`; returns once it answers /health.

    Raises RuntimeError with the end of the server's log when it does not come up.
    """
    options = options or Options()
    folder.mkdir(parents=True, exist_ok=True)
    database, artifacts = folder / "mlflow.db", folder / "artifacts"
    artifacts.mkdir(exist_ok=True)
    if options.template and not database.exists():
        shutil.copy(options.template, database)
    for _ in range(3):  # another process may take the port between looking and listening
        server = _launch(folder, options)
        if _is_up(server):
            return server
        stop(server)
    raise RuntimeError(f"mlflow server did not start:\n{(folder / 'server.log').read_text('utf-8')[-3000:]}")


def _launch(folder: Path, options: Options) -> Server:
    port, log = free_port(), folder / "server.log"
    command = [options.python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    store = options.database or f"sqlite:///{folder / 'mlflow.db'}"
    command += ["--workers", str(options.workers), "--backend-store-uri", store]
    if options.serve_artifacts:
        command += ["--artifacts-destination", str(folder / "artifacts")]
    else:
        command += [
            "--no-serve-artifacts",
            "--default-artifact-root",
            options.artifact_root or str(folder / "artifacts"),
        ]
    if options.app_name:
        command += ["--app-name", options.app_name]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", WATCH, *command],
            cwd=folder,
            env=clean_environment(options.env),
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(f"http://127.0.0.1:{port}", folder / "mlflow.db", folder / "artifacts", log, process)


def _is_up(server: Server) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{server.url}/health", timeout=5).status_code == 200:
                return True
        time.sleep(0.1)
    return False


def stop(server: Server) -> None:
    """End the server and its workers, which are one process group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(3)
    if server.process.stdin:
        server.process.stdin.close()
    server.process.wait(5)


def photograph(server: Server, folder: Path) -> Snapshot:
    """Copy what the server holds now into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _copy_database(server.database, folder / "mlflow.db")
    shutil.copytree(server.artifacts, folder / "artifacts")
    return Snapshot(folder / "mlflow.db", folder / "artifacts")


def reset(server: Server, content: Snapshot) -> None:
    """Make the running server hold exactly `content`, as if it had been started on it."""
    for child in server.artifacts.iterdir():
        shutil.rmtree(child)
    _copy_database(content.database, server.database)
    if content.artifacts:
        shutil.copytree(content.artifacts, server.artifacts, dirs_exist_ok=True)


def execute(server: Server | Snapshot, statement: str, *values: object) -> int:
    """Change the server's database behind its back; returns the number of rows changed."""
    with contextlib.closing(sqlite3.connect(server.database)) as base, base:
        return base.execute(statement, values).rowcount


def select(server: Server | Snapshot, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of the server's database."""
    with contextlib.closing(sqlite3.connect(server.database)) as base:
        return base.execute(query, values).fetchall()


def _copy_database(source: Path, destination: Path) -> None:
    with contextlib.closing(sqlite3.connect(source)) as left, contextlib.closing(sqlite3.connect(destination)) as right:
        left.backup(right)
