"""What a gate says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow_migration.promotion.facts import Version
from mlflow_migration.records import Json


@dataclass(frozen=True)
class Verdict:
    """Whether a gate lets a version through: what was wanted, what was found, and why not."""

    gate: str
    name: str
    passed: bool
    wanted: str
    found: str
    reason: str = ""

    def as_json(self) -> Json:
        return dict(vars(self))


@dataclass(frozen=True)
class Case:
    """What gates look at: the version, who holds an alias at the destination, the names of the step, and the folder
    that checks are run in. `alias` is that of the version in use at the destination."""

    version: Version
    holder: Callable[[str], Version | None]
    model: str
    source: str
    destination: str
    alias: str
    folder: Path
