"""What every rule needs: the server, the settings, the time, and how a finding is noted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from mlflow_migration.calls import Readable
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import MigrationError
from mlflow_migration.governance.environments import Environments
from mlflow_migration.governance.findings import Finding
from mlflow_migration.promotion.audit_forms import Audit
from mlflow_migration.records import Json

HOUR, DAY = 3_600_000, 86_400_000


@dataclass(frozen=True)
class Thing:
    """The object a finding is about."""

    kind: str
    id: str
    name: str
    link: str = ""


@dataclass
class Looking:
    """One audit under way. `now` is ms since 1970. `name` is the server's among the environments."""

    environments: Environments
    name: str
    settings: Audit
    now: int
    workers: int = 8
    findings: list[Finding] = field(default_factory=list)
    looked: Counter[str] = field(default_factory=Counter)
    unlooked: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def place(self) -> Readable:
        """The server that is looked at."""
        return self.environments.open[self.name]

    def asks(self, *rules: str) -> bool:
        """Whether one of these rules is on."""
        return any(self.settings.level(rule) != "off" for rule in rules)

    def note(self, rule: str, thing: Thing, message: str) -> None:
        """A finding, unless its rule is off."""
        severity = self.settings.level(rule)
        if severity != "off":
            with self.lock:
                self.findings.append(Finding(rule, severity, thing.kind, thing.id, thing.name, message, thing.link))

    def check(self, rules: tuple[str, ...], look: Callable[[], None]) -> None:
        """Look by some rules that share their requests; where that breaks off, all of them count as not checked."""
        if not self.asks(*rules):
            return
        found = guarded(look, "rule", ", ".join(rules))
        if isinstance(found, MigrationError):
            self.miss(rules, str(found))

    def miss(self, rules: tuple[str, ...], why: str) -> None:
        """Note that rules couldn't be checked, wholly or in part; the first reason stays."""
        with self.lock:
            for rule in rules:
                if self.asks(rule):
                    self.unlooked.setdefault(rule, why)

    def is_production(self, word: str) -> bool:
        """Whether an alias or a stage means a version in use."""
        return any(fnmatchcase(word.lower(), pattern.lower()) for pattern in self.settings.production)


def age_in_days(looking: Looking, moment: int) -> float:
    """How long ago something was, in days."""
    return (looking.now - moment) / DAY


def counted(number: int, word: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def is_active(head: Json) -> bool:
    """Whether an experiment, or a run's info, isn't deleted."""
    return head.get("lifecycle_stage") != "deleted"
