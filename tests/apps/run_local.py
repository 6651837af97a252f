"""`app run-local` and `make app` as a person starts and ends them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from tests import servers

START_SECONDS = 120


@contextlib.contextmanager
def started(
    words: Sequence[str | Path], folder: Path, port: int, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """A command in a session of its own, as from a terminal, once its app serves; nothing of it is left afterwards."""
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            list(map(str, words)),
            cwd=folder,
            env=servers.clean_environment({"DATABRICKS_CONFIG_FILE": str(folder / "no-profiles"), **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + START_SECONDS
        found: dict[str, Any] = {}
        while found.get("state") != "serving":
            assert process.poll() is None and time.monotonic() < until, (folder / "said").read_text()[-3000:]
            time.sleep(0.2)
            with contextlib.suppress(requests.RequestException):
                found = requests.get(f"http://127.0.0.1:{port}/mlflow-app/status.json", timeout=5).json()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def interrupted(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Ctrl-C, which a terminal sends to all that runs in it; the exit code and what stood on stdout."""
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    return process.returncode, said
