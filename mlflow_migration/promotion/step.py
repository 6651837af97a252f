"""One step of a model on its path: from which environment into which, and which version."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from mlflow_migration.calls import Live
from mlflow_migration.errors import NotFoundError, UsageError
from mlflow_migration.objects.version_writer import ADDED_FROM
from mlflow_migration.places import Root
from mlflow_migration.promotion import facts
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.policy import Environment, Loaded, Policy
from mlflow_migration.records import Json, tags_of

Opener = Callable[[Environment, str], Live]
"""Opens the place of an environment; the second word is SRC or DST, for credentials of the two ends."""
_SPEC = re.compile(r"(?P<model>[^/@]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[\w-]+))?")


@dataclass(frozen=True)
class Asked:
    """A model as a person typed it: a name of the policy, a version's number or an alias where given."""

    model: str
    version: str = ""
    alias: str = ""


def asked(text: str) -> Asked:
    """`MODEL`, `MODEL/VERSION` or `MODEL@ALIAS`. Raises UsageError for anything else."""
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"not a model: {text!r}", hint="write MODEL, MODEL/VERSION or MODEL@ALIAS")
    return Asked(found["model"], found["version"] or "", found["alias"] or "")


@dataclass(frozen=True)
class Manner:
    """How a promotion is done. `alias` is the one that is moved; `tags` are set at the promoted version; the seconds of
    a lease; whether a lock is broken; how many requests at once; what stops it."""

    by: str
    alias: str
    reason: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    break_lock: bool = False
    workers: int = 8
    quiet: bool = True
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Step:
    """A model between two environments, both open."""

    loaded: Loaded
    model: str
    source: str
    destination: str
    src: Live
    dst: Live

    @property
    def policy(self) -> Policy:
        return self.loaded.policy

    @property
    def settings(self) -> Environment:
        return self.policy.known(self.destination)

    @property
    def src_name(self) -> str:
        return self.policy.name_in(self.source, self.model)

    @property
    def dst_name(self) -> str:
        return self.policy.name_in(self.destination, self.model)

    @property
    def is_one_model(self) -> bool:
        """Whether both environments are one registered model, told apart by aliases only: nothing is copied then."""
        return self.src.address == self.dst.address and self.src_name == self.dst_name


def step(loaded: Loaded, model: str, destination: str, opener: Opener) -> Step:
    """The step of a model into an environment, with both ends open. Raises UsageError for an unknown environment."""
    source = loaded.policy.before(destination)
    environments = loaded.policy.environments
    src = opener(environments[source], "SRC")
    return Step(loaded, model, source, destination, src, opener(environments[destination], "DST"))


def alias_in(policy: Policy, environment: str) -> str:
    """The alias of the version in use in an environment."""
    return policy.known(environment).alias or policy.alias


def candidate(step: Step, wanted: Asked) -> Version:
    """The version that is asked for: by number, by alias, by the environment's alias for candidates, the one in use
    there, or else the newest. Raises NotFoundError where there is none."""
    here = facts.aliases(step.src, step.src_name)
    settings = step.policy.known(step.source)
    number = wanted.version
    if not number and wanted.alias:
        number = here.get(wanted.alias, "")
        if not number:
            raise NotFoundError(f"no alias {wanted.alias!r} of {step.src_name}", f"at {step.src.address}")
    if not number and settings.candidate:
        number = here.get(settings.candidate, "")
        if not number:
            why = f"{step.source} names its candidates by the alias {settings.candidate!r}"
            raise NotFoundError(f"nothing to promote of {step.src_name}", why, "set the alias, or give a version")
    number = number or here.get(alias_in(step.policy, step.source), "") or newest(step.src, step.src_name)
    return facts.version(step.src, step.src_name, number)


def newest(live: Live, name: str) -> str:
    """The highest number of a model's versions. Raises NotFoundError where it has none."""
    found = [int(head["version"]) for head in live.registry.search_versions(False, name)]
    if not found:
        raise NotFoundError(f"no version of {name}", f"at {live.address}", "check the model's name")
    return str(max(found))


def copied(step: Step, version: Version) -> Json | None:
    """The destination's version that came from this one, or None."""
    if step.is_one_model:
        return version.head
    mark = f"{step.src.address} {version.id}"
    heads = step.dst.registry.search_versions(False, step.dst_name)
    return next((head for head in heads if tags_of(head.get("tags")).get(ADDED_FROM) == mark), None)


class _Joined:
    """A place whose registry is another server's: what belongs to versions is asked there, all else here."""

    def __init__(self, tracking: Live, registry: Live) -> None:
        self._tracking = tracking
        self._registry = registry
        self.registry = registry.registry
        self.address = tracking.address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracking, name)

    def files(self, root: Root) -> Any:
        return (self._registry if root.kind == "model_version" else self._tracking).files(root)

    def open_file(self, root: Root, path: str) -> Any:
        return (self._registry if root.kind == "model_version" else self._tracking).open_file(root, path)

    def close(self) -> None:
        self._tracking.close()
        self._registry.close()


def joined(tracking: Live, registry: Live) -> Live:
    """One place of a tracking server and the server of its registry."""
    return cast(Live, _Joined(tracking, registry))
