"""A program of somebody else's, run with a time limit; whatever it started ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MOST_OUTPUT = 1024 * 1024


@dataclass(frozen=True)
class Ended:
    """How a program ended. `code` is None where it was stopped at the time limit; output beyond 1 MiB is cut off."""

    code: int | None
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last line it wrote to stderr."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return lines[-1][:500] if lines else ""


@dataclass(frozen=True)
class Program:
    """What is run: without a shell, in `folder`, with the whole environment `environment`."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


def run(program: Program, text: str, seconds: float) -> Ended:
    """Run a program with `text` on stdin; its process group is killed at the end, or at the limit.

    Raises OSError where it can't be started.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(text.encode())
        given.seek(0)
        process = subprocess.Popen(
            list(program.command),
            cwd=program.folder,
            env=dict(program.environment),
            stdin=given,
            stdout=out,
            stderr=err,
            start_new_session=sys.platform != "win32",
        )
        code: int | None = None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill(process)
        return Ended(code, _text(out), _text(err))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it and everything it started. A group that is gone already is what is wanted."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MOST_OUTPUT).decode("utf-8", "replace")
