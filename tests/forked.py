"""One command of the tool in a process of its own that is forked from the tests', so that nothing is imported again.

A new interpreter needs about a second of CPU before it begins; the suite runs more than a thousand commands.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

from mlflow_migration.cli import later
from mlflow_migration.cli.main import all_commands, main

POLL = 0.01
for _name in (
    # What a command imports when it needs it.
    "google.protobuf.json_format",
    "mlflow.exceptions",
    "mlflow.tracking._tracking_service.utils",
    "mlflow.tracking.request_auth.registry",
    "mlflow.tracking.request_header.registry",
    "mlflow.utils.workspace_context",
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    "rich.console",
    "rich.progress",
    "rich.table",
    *(vars(later)[name].__name__ for name in later.__all__),
):
    import_module(_name)
all_commands()


def run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> "subprocess.CompletedProcess[str]":
    """Run `mlflow-migration WORDS` in `folder` to its end. Raises TimeoutExpired after so many seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _child(words, folder, environment, (out, err))
        code = _ended(child, words, timeout)
        return subprocess.CompletedProcess(words, code, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8")


def _ended(child: int, words: Sequence[str], timeout: float) -> int:
    end = time.monotonic() + timeout
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise subprocess.TimeoutExpired(list(words), timeout)
        time.sleep(POLL)


def _child(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], streams: tuple[IO[bytes], IO[bytes]]
) -> NoReturn:
    code: object = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, source in enumerate((os.open(os.devnull, os.O_RDONLY), *(stream.fileno() for stream in streams))):
            os.dup2(source, target)
        sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace")
        main([*words])
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
