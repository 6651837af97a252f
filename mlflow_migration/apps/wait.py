"""Waiting for the platform, by loops that know every state an app can come to.

databricks-sdk's own waiters take a CANCELLED deployment for one under way and poll for 20 minutes, and look no more
after a deployment has SUCCEEDED, though its app may have crashed since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlflow_migration.apps import platform
from mlflow_migration.errors import InterruptedJobError, MigrationError, NotFoundError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks.app import AppAddress
from mlflow_migration.server.rest import Rest

T = TypeVar("T")
DEPLOYED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
AT_REST = frozenset({"ACTIVE", "STOPPED", "ERROR", "DELETING", ""})
"""States of compute that don't change by themselves."""
GROWTH = 1.5


def _silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Waiting:
    """For which app is waited, for how many seconds at most; `tell` gets a line at each change.

    It is asked `first` seconds after the beginning, then ever less often until `longest`. An app counts as running
    when it has been so for `steady` seconds, where it can't be called.
    """

    where: AppAddress
    seconds: float = 1200.0
    tell: Callable[[str], object] = _silent
    first: float = 0.5
    longest: float = 10.0
    steady: float = 5.0

    @property
    def name(self) -> str:
        """The app's name."""
        return self.where.name

    @property
    def look(self) -> str:
        """The command that shows how far it is."""
        return self.where.command("status")


def until(ask: Callable[[], T], what: str, is_over: Callable[[T], bool], waiting: Waiting) -> T:
    """The first answer that is the last one.

    Raises MigrationError where it takes too long, InterruptedJobError at Ctrl-C: the platform goes on in both cases.
    """
    begun, pause = time.monotonic(), waiting.first
    try:
        while True:
            answer = ask()
            if is_over(answer):
                return answer
            left = waiting.seconds - (time.monotonic() - begun)
            if left <= 0:
                raise MigrationError(
                    f"{what} takes longer than {waiting.seconds:.0f} s", "the platform goes on with it", waiting.look
                )
            time.sleep(min(pause, left))
            pause = min(pause * GROWTH, waiting.longest)
    except KeyboardInterrupt:
        why = f"the platform goes on with {what}; nothing here waits for it any more"
        raise InterruptedJobError("interrupted", why, waiting.look) from None


def at_rest(rest: Rest, waiting: Waiting) -> Json | None:
    """The app when its compute changes no more and no update is under way; None where there is no app."""

    def over(app: Json | None) -> bool:
        return platform.compute(app) in AT_REST

    return until(lambda: platform.get(rest, waiting.name), f"the compute of app {waiting.name}", over, waiting)


def active(rest: Rest, waiting: Waiting) -> Json:
    """The app when its compute is ACTIVE. Raises MigrationError where it comes to another state."""
    app = at_rest(rest, waiting)
    if app is None:
        raise NotFoundError(f"the app {waiting.name} is gone", "somebody has deleted it meanwhile")
    state, message = platform.state_of(app, "compute_status")
    if state != "ACTIVE":
        raise MigrationError(f"the compute of app {waiting.name} is {state}", message, waiting.look)
    return app


def gone(rest: Rest, waiting: Waiting) -> None:
    """Until there is no app of that name: one that is DELETING keeps it, for minutes."""
    until(
        lambda: platform.get(rest, waiting.name),
        f"the deletion of app {waiting.name}",
        lambda app: app is None,
        waiting,
    )


def stopped(rest: Rest, waiting: Waiting) -> Json:
    """The app when its compute is STOPPED. Raises MigrationError where it comes to another state."""
    app = at_rest(rest, waiting)
    state, message = platform.state_of(app, "compute_status")
    if app is None or state != "STOPPED":
        raise MigrationError(f"the app {waiting.name} isn't stopped", f"{state}: {message}", waiting.look)
    return app


def updated(rest: Rest, waiting: Waiting) -> None:
    """Until an update of the app's fields is over. Raises MigrationError where it failed."""
    answer = until(
        lambda: platform.updating(rest, waiting.name),
        f"the update of app {waiting.name}",
        lambda one: platform.state_of(one, "status")[0] != "IN_PROGRESS",
        waiting,
    )
    state, message = platform.state_of(answer, "status")
    if state == "FAILED":
        raise MigrationError(f"the app {waiting.name} couldn't be updated", message)


def settled(rest: Rest, waiting: Waiting) -> Json:
    """The app when no deployment is under way. Raises NotFoundError where there is no app."""
    app = until(
        lambda: platform.get(rest, waiting.name),
        f"the deployment of app {waiting.name} that is under way",
        lambda one: one is None or not one.get("pending_deployment"),
        waiting,
    )
    if app is None:
        raise NotFoundError(f"the app {waiting.name} is gone", "somebody has deleted it meanwhile")
    return app


def begun(rest: Rest, source: str, waiting: Waiting) -> str:
    """The id of a new deployment of that folder, begun when no other is under way."""
    settled(rest, waiting)
    try:
        made = platform.deploy(rest, waiting.name, source)
    except ServerError as error:
        if platform.BUSY not in error.why:
            raise
        waiting.tell("another deployment is in progress: waiting for its end")
        settled(rest, waiting)
        made = platform.deploy(rest, waiting.name, source)
    return str(made["deployment_id"])


def deployed(rest: Rest, id_: str, waiting: Waiting) -> tuple[str, str]:
    """State (SUCCEEDED, FAILED, CANCELLED) and message of a deployment when it is over."""
    answer = until(
        lambda: platform.deployment(rest, waiting.name, id_),
        f"the deployment {id_} of app {waiting.name}",
        lambda one: one is None or platform.state_of(one, "status")[0] in DEPLOYED,
        waiting,
    )
    if answer is None:
        return "CANCELLED", "the app was deleted meanwhile"
    return platform.state_of(answer, "status")
