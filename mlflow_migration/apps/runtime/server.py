"""The `mlflow server` under the supervisor's care: a process group of its own that is started, watched and ended."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)
# `mlflow server --app-name` starts the application of this entry point: MLflow's own, behind `gate.py`.
APP_NAME = "mlflow-migration"
APPLICATION = "mlflow_migration.apps.runtime.gate:create_app"
# How long requests under way may take once the server is told to stop.
GRACE_SECONDS = 4
FIRST_PAUSE, LONGEST_PAUSE, CALM_SECONDS = 1.0, 30.0, 60.0


def command(host: str, port: int, workers: int) -> list[str]:
    """The command line. Addresses of stores stand in the environment: they may name users and hosts.

    Connections are kept open longer than a proxy in front keeps them, so that none is closed under a request.
    """
    uvicorn = f"--timeout-graceful-shutdown {GRACE_SECONDS} --timeout-keep-alive 75"
    where = ["--host", host, "--port", str(port), "--workers", str(workers)]
    return [sys.executable, "-m", "mlflow", "server", *where, "--app-name", APP_NAME, "--uvicorn-opts", uvicorn]


def register(folder: Path) -> str:
    """Tell MLflow of the application, for processes that have the returned folder in their PYTHONPATH.

    MLflow looks for applications among the entry points of installed packages; this one is for the supervisor's own
    servers only, and is found wherever this package runs from.
    """
    about = folder / "entry" / "mlflow_migration_app-1.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mlflow-migration-app\nVersion: 1\n", "utf-8")
    (about / "entry_points.txt").write_text(f"[mlflow.app]\n{APP_NAME} = {APPLICATION}\n", "utf-8")
    return str(about.parent)


class Server:
    """One server process after another: a crashed one is started again, later each time it crashes at once."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str], cwd: str) -> None:
        self._words = words
        self._env = env
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = FIRST_PAUSE
        self._started = 0.0
        self._again_at: float | None = None
        self.crashes = 0
        self.last_exit = ""

    def start(self) -> None:
        """Start a process; it leads a group of its own, so that all of it can be ended."""
        self._started = time.monotonic()
        self._again_at = None
        self._process = subprocess.Popen(
            self._words, env=dict(self._env), cwd=self._cwd, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def look(self) -> bool:
        """See to it: returns whether it has just crashed. It is started again when its pause is over."""
        if self._again_at is not None:
            if time.monotonic() >= self._again_at:
                self.start()
            return False
        if self._process is None or self._process.poll() is None:
            return False
        self._end_group(self._process.pid, seconds=2)
        self.crashes += 1
        code = self._process.returncode
        self.last_exit = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if time.monotonic() - self._started > CALM_SECONDS:
            self._pause = FIRST_PAUSE
        logger.error("the server ended by itself (%s); starting it again in %g s", self.last_exit, self._pause)
        self._again_at = time.monotonic() + self._pause
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        return True

    def stop(self, seconds: float) -> None:
        """End it: SIGTERM to the whole group, SIGKILL to what is left of it after `seconds`."""
        self._again_at = None
        if self._process is None:
            return
        self._end_group(self._process.pid, seconds)
        self._process.wait()
        self._process = None

    def _end_group(self, group: int, seconds: float) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGTERM)
        until = time.monotonic() + seconds
        while self._is_there(group) and time.monotonic() < until:
            time.sleep(0.05)
        if self._is_there(group):
            logger.warning("the server doesn't stop within %g s: killed", seconds)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def _is_there(self, group: int) -> bool:
        """Whether any process of the group lives. Orphans of a container become children of this one: reap them."""
        if self._process is not None:
            self._process.poll()
        with suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
