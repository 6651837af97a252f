"""The life of an app: begin, serve, look after the server and its data, end within what the platform allows."""

import contextlib
import fcntl
import logging
import os
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests

from mlflow_migration.apps.runtime import beginning, environment, server, snapshots, status, ui, waiting
from mlflow_migration.apps.runtime.beginning import UpgradeError
from mlflow_migration.apps.runtime.keeper import Keeper
from mlflow_migration.apps.runtime.lease import Lease, release
from mlflow_migration.apps.runtime.passwords import PasswordError, Passwords
from mlflow_migration.apps.runtime.server import Server
from mlflow_migration.apps.runtime.settings import EVERYWHERE, Settings, SettingsError, databricks_host
from mlflow_migration.apps.runtime.snapshots import NoGoodSnapshotError
from mlflow_migration.apps.runtime.status import HEARTBEAT_SECONDS, Status
from mlflow_migration.apps.runtime.storage import Storage, StorageError, open_storage

logger = logging.getLogger(__name__)
# The platform kills 15 seconds after SIGTERM. The server gets the first part, the last snapshot what is left of 11.
END_SECONDS, SERVER_SECONDS, SNAPSHOT_UNDER_WAY_SECONDS = 11.0, 5.0, 1.0
LOOK_SECONDS = 0.2
# How long to wait before what couldn't begin is tried again.
AGAIN_SECONDS = 5.0
DONE, FAILED, USAGE = 0, 1, 2
DATABRICKS_NOTES = (
    "Tracking is the workspace's own and models are those of Unity Catalog: its own pages show all of it.",
    "Pages that work here: experiments, their runs with metrics, params and tags, and traces.",
    "The Models page and the Prompts page show nothing, and a model's own page is an error: Unity Catalog refuses the "
    "filters and orders that MLflow's pages send. Clients load models by their full names, CATALOG.SCHEMA.MODEL.",
    "What a run's page says of registered models, and the list of an experiment's Datasets, stay empty for the same "
    "reason. A workspace has nothing for Overview's charts of traces, Judges, the AI Gateway and the MCP registry.",
    "Artifacts lie in the workspace's storage: clients read and write them with Databricks credentials of their own.",
    "Experiments' names are workspace paths, as /Shared/churn.",
    "The workspace takes the app for the user of all runs; who asked the app stands in the tag mlflow_app_user.",
)


class StopError(Exception):
    """SIGTERM or Ctrl-C before the server was started."""


@dataclass
class Life:
    """What an instance has while it lives."""

    settings: Settings
    env: Mapping[str, str]
    status: Status
    instance: str
    stopping: bool = False
    serving: bool = False
    served: bool = False
    left_here: bool = False
    lease: Lease | None = None
    storage: Storage | None = None
    keeper: Keeper | None = None
    passwords: Passwords | None = None


def run(settings: Settings, env: Mapping[str, str]) -> int:
    """Run until SIGTERM, SIGINT or another instance's taking over; returns the exit code.

    0: ended on demand, nothing lost. 1: the last snapshot failed, or another instance took over. Raises SettingsError
    where another supervisor works in the same state folder.
    """
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(settings):
        life = Life(settings, env, _first_status(settings), uuid.uuid4().hex[:8])
        life.status.set(instance=life.instance)
        _on_signals(life)
        try:
            _begin(life)
            process = Server(
                server.command(settings.host, settings.port, settings.workers),
                environment.of_server(settings, env, environment.address_of(settings)),
                str(settings.state),
            )
            _start(life, process)
        except StopError:
            _let_go(life)
            return DONE
        began = _serve(life, process)
        return _end(life, process, began)


def _begin(life: Life) -> None:
    """Everything before the server's first start, tried again until it succeeds; raises StopError."""
    with waiting.answering(life.settings, life.status):
        while True:
            try:
                _prepare(life)
                return
            except (StorageError, NoGoodSnapshotError, UpgradeError, PasswordError, OSError, sqlite3.Error) as error:
                life.status.set(state="refused", message=str(error))
                logger.error("can't start: %s", error)
                _let_go(life)
                _sleep(life, AGAIN_SECONDS)


def _prepare(life: Life) -> None:
    settings = life.settings
    host = databricks_host(life.env)
    if settings.ui:
        ui.unpack(Path(settings.ui), settings.ui_folder)
    if settings.backend == "sqlite":
        # To repeat a request for longer than until the next snapshot gains nothing.
        patience = max(5.0, min(30.0, settings.keeping.seconds))
        life.storage = open_storage(settings.volume, host, patience)
        life.lease = beginning.take_lease(settings, life.storage, life.instance, life.status)
        began = beginning.prepare_database(settings, life.storage, life.lease, life.status)
        life.left_here = began.left_here
        life.keeper = Keeper(settings, life.storage, life.lease, life.status, began)
    elif settings.lakebase:
        life.passwords = Passwords(settings.lakebase, environment.password_file(settings), host, life.status)
        life.passwords.renew()
        life.status.set(message="looking at the database")
        beginning.prepare_lakebase(settings)
    life.status.set(state="starting", message="MLflow is starting")


def _start(life: Life, process: Server) -> None:
    # From here on a signal only sets `stopping`: the server has to be ended, and its last changes kept.
    life.serving = True
    if life.stopping:
        raise StopError
    process.start()
    if life.keeper:
        life.keeper.hold()
    if life.passwords:
        life.passwords.start()


def _serve(life: Life, process: Server) -> float:
    """Look after the server until it has to end; returns when that was."""
    url = f"http://{_reachable(life.settings.host)}:{life.settings.port}/health"
    up, beaten = False, 0.0
    while not life.stopping and not (life.keeper and life.keeper.trouble):
        if process.look():
            up = False
            life.status.set(state="restarting", restarts=process.crashes, last_exit=process.last_exit)
        if not up and _answers(url):
            up = True
            logger.info("serving on port %d", life.settings.port)
            if life.keeper and not life.served:
                life.keeper.start()
            life.served = True
            life.status.set(state="serving", message="")
        if time.monotonic() - beaten > HEARTBEAT_SECONDS:
            beaten = time.monotonic()
            if life.keeper:
                life.status.set(database=status.disk(life.settings.database_file))
            life.status.beat()
        time.sleep(LOOK_SECONDS)
    return time.monotonic()


def _end(life: Life, process: Server, began: float) -> int:
    life.status.set(state="stopping", message="")
    logger.info("stopping")
    process.stop(SERVER_SECONDS)
    if life.passwords:
        life.passwords.close()
    keeper = life.keeper
    if keeper is None:
        life.status.set(state="stopped")
        return DONE
    keeper.close(SNAPSHOT_UNDER_WAY_SECONDS)
    if not life.served and not keeper.deposed:
        return _end_unserved(life)
    ended: list[bool] = []
    last = threading.Thread(target=lambda: ended.append(_last(life, keeper, began)), daemon=True)
    last.start()
    last.join(max(1.0, began + END_SECONDS - time.monotonic()))
    kept = bool(ended and ended[0])
    if trouble := keeper.trouble:
        logger.error("ended because %s", trouble)
    if not kept:
        logger.error("the last snapshot failed: what changed since the one before it is only in %s", _where(life))
    elif not keeper.deposed:
        beginning.forget_database(life.settings)
    life.status.set(state="stopped")
    return DONE if kept and not keeper.trouble else FAILED


def _end_unserved(life: Life) -> int:
    """End before MLflow ever answered: its tables may be half made or half upgraded, and no client wrote anything."""
    if not life.left_here:
        beginning.forget_database(life.settings)
        _let_go(life)
    life.status.set(state="stopped")
    return DONE


def _last(life: Life, keeper: Keeper, began: float) -> bool:
    left = began + END_SECONDS - time.monotonic()
    try:
        # One that gives up in time, unlike the one for the snapshots before it.
        hurried = open_storage(life.settings.volume, databricks_host(life.env), patience=max(1.0, left - 1))
    except StorageError as error:
        logger.error("%s", error)
        return False
    return keeper.set_aside(hurried) if keeper.deposed else keeper.finish(hurried)


def _let_go(life: Life) -> None:
    """Give up the lease of a start that came to nothing."""
    if life.lease and life.storage:
        try:
            release(life.storage, life.lease)
        except StorageError as error:
            logger.warning("the lease stays until it runs out: %s", error)
    life.lease = life.keeper = None


def _on_signals(life: Life) -> None:
    def stop(number: int, _: object) -> None:
        life.stopping = True
        if not life.serving:
            raise StopError(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _sleep(life: Life, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        life.status.beat()
        time.sleep(min(1.0, seconds))


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[IO[bytes]]:
    """Hold the lock of the state folder; the server's processes end when it is let go."""
    with settings.lock_file.open("ab") as lock:
        until = time.monotonic() + SERVER_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                # A server whose supervisor was killed holds it for a moment, on its way out.
                if time.monotonic() > until:
                    raise SettingsError(f"another instance works in {settings.state}") from error
                time.sleep(LOOK_SECONDS)
        yield lock


def _first_status(settings: Settings) -> Status:
    first = {
        "app": settings.name,
        "backend": settings.backend,
        "state": "starting",
        "message": "",
        "pid": os.getpid(),
        "started": status.now(),
        "mlflow": snapshots.mlflow_version(),
        "package": snapshots.version_of("mlflow-migration"),
        "volume": settings.volume,
        "artifacts": settings.artifacts,
        "experiment_prefix": settings.experiment_prefix,
        "workers": settings.workers,
        "restarts": 0,
        "last_exit": "",
        "notes": list(DATABRICKS_NOTES) if settings.backend == "databricks" else [],
    }
    if settings.backend == "sqlite":
        first |= {"snapshot": {}, "snapshot_seconds": settings.keeping.seconds}
    return Status(settings.status_file, first)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("", EVERYWHERE) else host


def _where(life: Life) -> str:
    return str(life.settings.database_file)
