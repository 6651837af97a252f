"""Carries out a job's task in a process of its own, with the environment a cluster has.

Notebooks run by `tests.databricks.run_notebook`, wheels' entry points as Databricks looks them up: among the package's
console scripts, else as a function of the package itself. Libraries aren't installed: what runs is what is here.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import servers
from tests.databricks import errors, workspace_tree
from tests.databricks.state import Workspace

SUCCESS, FAILED, CANCELED, TIMEDOUT = "SUCCESS", "FAILED", "CANCELED", "TIMEDOUT"
FAILED_MESSAGE = "Workload failed, see run output for details"
# Without a limit of its own a task may not outlive the tests.
LONGEST_SECONDS = 300
POLL_SECONDS = 0.05
LOGS_BYTES = 5 * 1024**2
ROOT = Path(__file__).parents[2]
WHEEL = """
import importlib, importlib.metadata, sys
package, entry_point, target, *arguments = sys.argv[1:]
sys.argv = [entry_point, *arguments]
found = importlib.metadata.entry_points(name=entry_point, group="console_scripts")
own = [one for one in found if one.dist and one.dist.name.replace("-", "_") == package.replace("-", "_")]
if target:
    module, _, name = target.partition(":")
    call = getattr(importlib.import_module(module), name)
else:
    call = own[0].load() if own else getattr(importlib.import_module(package.replace("-", "_")), entry_point)
try:
    call()
except SystemExit as leaving:
    # The platform takes any of them for a failure, also of code 0 (kedro-org/kedro issue 1807).
    sys.exit(f"SystemExit: {leaving.code}")
"""


@dataclass(frozen=True)
class Outcome:
    """How a task ended; no result while it hasn't."""

    result: str = ""
    message: str = ""
    value: str | None = None
    logs: str = ""
    error: str = ""
    trace: str = ""
    internal: bool = False


@dataclass(frozen=True)
class Running:
    """A task to carry out: where, as whom, what, and how it is told to stop."""

    workspace: Workspace
    principal: str
    task: Mapping[str, Any]
    cancelled: threading.Event


@dataclass(frozen=True)
class Ended:
    """How a process ended; no exit code when it was stopped."""

    code: int | None
    out: str
    err: str


def carry_out(running: Running) -> Outcome:
    """How the task ended."""
    task = running.task
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if "notebook_task" in task:
                return _notebook(running, folder)
            command = _wheel(task) if "python_wheel_task" in task else _script(running, folder)
        except errors.ApiError as error:
            return Outcome(FAILED, error.message, error=error.message, internal=True)
        ended = _process(running, command, folder)
    return _stopped(running, ended) or _of_a_script(ended)


def environment(workspace: Workspace, principal: str) -> dict[str, str]:
    """What a cluster's processes have: the workspace and the credentials of whom the job runs as."""
    return servers.clean_environment(
        {
            "DATABRICKS_HOST": workspace.url,
            "DATABRICKS_TOKEN": workspace.token(principal),
            "DATABRICKS_CONFIG_FILE": os.devnull,
            "MLFLOW_TRACKING_URI": "databricks",
            "PYTHONPATH": str(ROOT),
        }
    )


def _notebook(running: Running, folder: Path) -> Outcome:
    task = running.task["notebook_task"]
    file, parameters = folder / "notebook.py", folder / "parameters.json"
    file.write_bytes(_source(running, str(task.get("notebook_path", "")), "NOTEBOOK"))
    parameters.write_text(json.dumps(task.get("base_parameters") or {}))
    command = [sys.executable, "-m", "tests.databricks.run_notebook", str(file), str(parameters)]
    ended = _process(running, command, folder)
    if stopped := _stopped(running, ended):
        return stopped
    try:
        told = json.loads(ended.out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return Outcome(FAILED, FAILED_MESSAGE, error=ended.err or ended.out, trace=ended.err)
    if told.get("error"):
        return Outcome(FAILED, FAILED_MESSAGE, error=told["error"], trace=told.get("trace") or "")
    return Outcome(SUCCESS, value=told.get("exit"))


def _wheel(task: Mapping[str, Any]) -> list[str]:
    wheel = task["python_wheel_task"]
    if not wheel.get("package_name") or not wheel.get("entry_point"):
        raise errors.invalid("python_wheel_task needs package_name and entry_point")
    named = [f"--{key}={value}" for key, value in (wheel.get("named_parameters") or {}).items()]
    given = [str(one) for one in wheel.get("parameters") or ()]
    target = _own_script(wheel["package_name"], wheel["entry_point"])
    return [sys.executable, "-c", WHEEL, wheel["package_name"], wheel["entry_point"], target, *(given or named)]


def _own_script(package: str, entry_point: str) -> str:
    """This project's own `module:function` of a script, which is newer than what was installed; else ""."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    scripts = text.partition("[project.scripts]")[2].partition("\n[")[0]
    found = re.search(rf'^{re.escape(entry_point)} = "(.*)"$', scripts, re.MULTILINE)
    return found[1] if found and package.replace("_", "-") == "mlflow-migration" else ""


def _script(running: Running, folder: Path) -> list[str]:
    task = running.task["spark_python_task"]
    file = folder / "script.py"
    file.write_bytes(_source(running, str(task.get("python_file", "")), "FILE"))
    return [sys.executable, str(file), *(str(one) for one in task.get("parameters") or ())]


def _source(running: Running, path: str, kind: str) -> bytes:
    """What is at a path of the workspace; raises ApiError as the platform words it."""
    account, workspace = running.workspace.account, running.workspace
    refusal = errors.missing(
        f'Unable to access the {kind.lower()} "{path}". Either it does not exist, or the identity used to run this job,'
        f" {running.principal}, lacks the required permissions."
    )
    try:
        node = workspace_tree.get(workspace, workspace_tree.clean(path))
        workspace_tree.require_read(workspace, account.principals[running.principal], node)
    except errors.ApiError as error:
        raise refusal from error
    if node.type != kind:
        raise refusal
    return node.content


def _process(running: Running, command: list[str], folder: Path) -> Ended:
    """The process, until it ends, is cancelled, or its time is over; its children end with it."""
    seconds = float(running.task.get("timeout_seconds") or LONGEST_SECONDS)
    out, err = folder / "out", folder / "err"
    env = environment(running.workspace, running.principal)
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            command, stdout=to_out, stderr=to_err, stdin=subprocess.DEVNULL, env=env, cwd=folder, start_new_session=True
        )
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline and not running.cancelled.wait(POLL_SECONDS):
            pass
        code = process.poll()
        if code is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Ended(code, out.read_text(errors="replace"), err.read_text(errors="replace"))


def _stopped(running: Running, ended: Ended) -> Outcome | None:
    if ended.code is not None:
        return None
    if running.cancelled.is_set():
        return Outcome(CANCELED, "Run cancelled.", logs=ended.out)
    return Outcome(TIMEDOUT, f"Run timed out after {running.task.get('timeout_seconds')} seconds.", logs=ended.out)


def _of_a_script(ended: Ended) -> Outcome:
    logs = (ended.out + ended.err)[-LOGS_BYTES:]
    if ended.code == 0:
        return Outcome(SUCCESS, logs=logs)
    last = ended.err.strip().splitlines()[-1:] or [f"SystemExit: {ended.code}"]
    return Outcome(FAILED, FAILED_MESSAGE, logs=logs, error=last[0], trace=ended.err)
