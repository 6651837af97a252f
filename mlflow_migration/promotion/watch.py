"""Promoting what comes up: models are looked at when a webhook tells of them, and every so often in any case."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mlflow_migration.errors import AccessError, MigrationError
from mlflow_migration.promotion import flow
from mlflow_migration.promotion.flow import Outcome
from mlflow_migration.promotion.step import Asked, Manner, Step

log = logging.getLogger(__name__)

Tell = Callable[[str, "Outcome | MigrationError"], None]


@dataclass(frozen=True)
class Watched:
    """What is watched: steps by the policy's names of their models, and which version of each is wanted."""

    steps: Sequence[Step]
    wanted: Callable[[str], Asked]
    manner: Manner


def once(watched: Watched, tell: Tell) -> bool:
    """Look at each model once, and promote what its gates let through; whether none failed. A refusal is no failure:
    what it waits for may still come.

    Raises AccessError where a server can't be reached.
    """
    results = [_one(watched, step, tell) for step in watched.steps]
    return all(results)


def _one(watched: Watched, step: Step, tell: Tell) -> bool:
    try:
        outcome = flow.promote(step, watched.wanted(step.model), watched.manner)
    except AccessError:
        raise
    except MigrationError as error:
        tell(step.model, error)
        return False
    tell(step.model, outcome)
    return True


def forever(watched: Watched, names: queue.Queue[str], seconds: float, tell: Tell, stop: threading.Event) -> None:
    """Look at every model now and every so many seconds, and at one as soon as its name comes in. A server that can't
    be reached is asked again the next time. Returns when `stop` is set."""
    due = 0.0
    while not stop.is_set():
        if time.monotonic() >= due:
            due = time.monotonic() + seconds
            _kept_up(watched, tell)
            continue
        try:
            name = names.get(timeout=min(1.0, max(0.01, due - time.monotonic())))
        except queue.Empty:
            continue
        told = [step for step in watched.steps if step.src_name == name]
        _kept_up(replace(watched, steps=told), tell)


def _kept_up(watched: Watched, tell: Tell) -> None:
    try:
        once(watched, tell)
    except AccessError as error:
        log.warning("not looked at: %s", error)
        tell("*", error)
