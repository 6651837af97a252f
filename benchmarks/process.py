"""Run one candidate as a process of its own, and measure it from outside."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import servers

# Linux counts in kB, macOS in bytes.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Usage:
    """How a process ended and what it took."""

    exit_code: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def run(arguments: Sequence[str], folder: Path, timeout: float, **environment: str) -> Usage:
    """Run `python ARGUMENTS…` in `folder`; peak memory is that of this process alone, as the kernel counted it.

    The kernel lets a child's count start at what its parent held, so the caller has to stay small: nothing here imports
    mlflow.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.log"
    known = servers.clean_environment(**environment) | {"PYTHONPATH": str(ROOT)}
    known.pop("PYTHONDONTWRITEBYTECODE", None)
    with log.open("wb") as stream:
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=known, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
        watchdog = threading.Timer(timeout, process.kill)
        watchdog.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            watchdog.cancel()
        seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    return Usage(process.returncode, seconds, cpu, used.ru_maxrss * RSS_UNIT, log.read_text(errors="replace"))
