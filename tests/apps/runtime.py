"""Apps for the tests: the runtime as a process on a local port, a database to begin with, a client that writes."""

import contextlib
import gzip
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests import servers

START_SECONDS = 120
FIRST = "20260101T000000.000Z-00000000"


@dataclass
class App:
    """The runtime, started on `state` with snapshots in `volume`."""

    url: str
    state: Path
    log: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)

    def status(self) -> dict[str, Any]:
        """The status document, as the page's neighbour gives it."""
        answer = requests.get(f"{self.url}/mlflow-app/status.json", headers=PERSON, timeout=10)
        answer.raise_for_status()
        return dict(answer.json())

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text("utf-8")

    def until(self, met: Callable[[dict[str, Any]], object], seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait until the status meets a condition; fails with the log's end."""
        deadline, last = time.monotonic() + seconds, {}
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                last = self.status()
                if met(last):
                    return last
            assert self.process.poll() is None, self.text()[-3000:]
            time.sleep(0.1)
        raise AssertionError(f"{last}\n{self.text()[-3000:]}")

    def serving(self) -> "App":
        """Wait until it serves."""
        self.until(lambda found: found["state"] == "serving" and found["supervised"])
        return self

    def server_pids(self) -> list[int]:
        """The server's processes: children of the runtime, and theirs."""
        return _below(self.process.pid)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; its exit code and how many seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        return self.process.wait(30), time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL to all of it at once, as a machine that goes away."""
        pids = [self.process.pid, *self.server_pids()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)


PERSON = {"X-Forwarded-Email": "ann@example.org"}


def launch(folder: Path, volume: Path | str, env: Mapping[str, str] | None = None) -> App:
    """Start the runtime in `folder`; its state and log live there. It isn't waited for."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = servers.free_port(), folder / "app.log"
    told = {
        "MLFLOW_APP_NAME": "trial",
        "MLFLOW_APP_VOLUME": str(volume),
        "MLFLOW_APP_STATE_DIR": str(folder / "state"),
        "MLFLOW_APP_SNAPSHOT_SECONDS": "1",
        "MLFLOW_APP_LEASE_SECONDS": "3",
        "DATABRICKS_APP_PORT": str(port),
        # Nothing of the person's own configuration.
        "DATABRICKS_CONFIG_FILE": str(folder / "no-profiles"),
    }
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow_migration.apps.runtime"],
            cwd=folder,
            env=servers.clean_environment({**told, **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    return App(f"http://127.0.0.1:{port}", folder / "state", log, process)


@contextlib.contextmanager
def running(folder: Path, volume: Path | str, env: Mapping[str, str] | None = None) -> Iterator[App]:
    """`launch` for the length of a block; whatever is left of it is killed afterwards."""
    app = launch(folder, volume, env)
    try:
        yield app
    finally:
        if app.process.poll() is None:
            app.kill()


def put_snapshot(volume: Path, database: Path, generation: str = FIRST, point: bool = True) -> Path:
    """Write a snapshot by hand, as the format is documented; returns its database file."""
    folder = volume / "snapshots"
    folder.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress(database.read_bytes())
    with contextlib.closing(sqlite3.connect(database)) as base:
        revision = base.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    manifest = {
        "format": 1,
        "generation": generation,
        "file": f"{generation}.db.gz",
        "sha256": hashlib.sha256(packed).hexdigest(),
        "size": len(packed),
        "database_size": database.stat().st_size,
        "time": "2026-01-01T00:00:00.000+00:00",
        "mlflow": "",
        "revision": revision,
        "instance": "00000000",
        "app": "trial",
        "lease": 0,
        "checked": True,
    }
    (folder / f"{generation}.db.gz").write_bytes(packed)
    (folder / f"{generation}.json").write_text(json.dumps(manifest))
    if point:
        (volume / "latest.json").write_text(json.dumps({"generation": generation, "format": 1}))
    return folder / f"{generation}.db.gz"


def post(app: App, path: str, document: Mapping[str, Any], **headers: str) -> dict[str, Any]:
    """POST JSON to MLflow's API behind the app."""
    answer = requests.post(f"{app.url}/api/2.0/mlflow/{path}", json=document, headers={**PERSON, **headers}, timeout=30)
    answer.raise_for_status()
    return dict(answer.json())


def new_run(app: App) -> str:
    """A run in the default experiment."""
    return str(post(app, "runs/create", {"experiment_id": "0", "start_time": 1})["run"]["info"]["run_id"])


def tags_of(app: App, run: str) -> dict[str, str]:
    """A run's tags."""
    found = requests.get(f"{app.url}/api/2.0/mlflow/runs/get", params={"run_id": run}, headers=PERSON, timeout=30)
    found.raise_for_status()
    return {tag["key"]: tag["value"] for tag in found.json()["run"]["data"].get("tags", ())}


class Writer:
    """Writes tags without a pause, and remembers which ones the app has acknowledged, and when."""

    def __init__(self, app: App, run: str) -> None:
        self._app = app
        self._run = run
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.acknowledged: dict[str, float] = {}
        self.refused: list[str] = []

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(30)

    def _write(self) -> None:
        number = 0
        while not self._closed.is_set():
            number += 1
            key = f"written.{number:06d}"
            try:
                post(self._app, "runs/set-tag", {"run_id": self._run, "key": key, "value": "x" * 200})
            except requests.RequestException as error:
                self.refused.append(str(error))
                time.sleep(0.02)
            else:
                self.acknowledged[key] = time.time()


def _below(pid: int) -> list[int]:
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
    found, wanted = [], [pid]
    while wanted:
        parent = wanted.pop()
        children = [child for child, its in pairs if its == parent]
        found += children
        wanted += children
    return found
