"""Whether a deployment came to an app that runs: deployed, RUNNING, and answering as MLflow does."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from mlflow_migration.apps import health, platform, wait
from mlflow_migration.apps.health import Workspace
from mlflow_migration.apps.wait import Waiting
from mlflow_migration.errors import InterruptedJobError, MigrationError

START_SECONDS = 300.0
"""For which a deployed app may take to answer: installing is over by then, migrations of a database may not be."""


@dataclass(frozen=True)
class Ended:
    """How a deployment ended. `fault` says what is wrong, "" for an app that runs; `note` why it wasn't called."""

    id: str
    fault: str = ""
    note: str = ""


def deployed(workspace: Workspace, source: str, waiting: Waiting) -> Ended:
    """Deploy a folder, and wait until the app runs or is known not to. Raises InterruptedJobError, ServerError."""
    id_ = wait.begun(workspace.rest, source, waiting)
    waiting.tell(f"deployment {id_} of {waiting.name} has begun")
    state, message = wait.deployed(workspace.rest, id_, waiting)
    if state != "SUCCEEDED":
        return Ended(id_, f"{state}: {message}" if message else state)
    return replace(answering(workspace, waiting), id=id_)


def answering(workspace: Workspace, waiting: Waiting) -> Ended:
    """Wait until the app is RUNNING and answers, or has crashed.

    A deployment that has SUCCEEDED says no more than that the app was started: it may crash right after.
    """
    note = health.cannot_be_called(workspace)
    since: list[float] = []

    def look() -> tuple[bool, str]:
        """Whether this is the last look, and what is wrong."""
        state, message = platform.state_of(platform.get(workspace.rest, waiting.name), "app_status")
        if state == "CRASHED":
            return True, f"CRASHED: {message}"
        if state != "RUNNING":
            since.clear()
            return False, f"{state}: {message}"
        if not note:
            wrong = health.fault(workspace, waiting.name)
            return not wrong, wrong
        since.append(time.monotonic())
        return since[-1] - since[0] >= waiting.steady, ""

    last = [""]

    def asked() -> bool:
        is_over, last[0] = look()
        return is_over

    try:
        limit = replace(waiting, seconds=min(waiting.seconds, START_SECONDS), longest=min(waiting.longest, 3.0))
        wait.until(asked, f"the start of app {waiting.name}", bool, limit)
    except InterruptedJobError:
        raise
    except MigrationError as error:
        return Ended("", f"{error.what}: {last[0]}", note)
    return Ended("", last[0], note)
