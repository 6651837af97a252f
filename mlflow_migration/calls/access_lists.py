"""Who may do what with one experiment or model, where a place keeps that with each of them, as Databricks does.

Three vocabularies say the same, more or less. Each level is taken apart into what it allows, in Unity Catalog's words
where it has one; what is given in one vocabulary becomes the most that another can say without giving more.

| basic-auth | workspace | allows |
| --- | --- | --- |
| READ | CAN_READ | EXECUTE |
| EDIT | CAN_EDIT | and CREATE_MODEL_VERSION, APPLY_TAG |
| | CAN_MANAGE_STAGING_VERSIONS, CAN_MANAGE_PRODUCTION_VERSIONS | and moving versions to those stages |
| MANAGE | CAN_MANAGE | and MANAGE |

`ALL_PRIVILEGES` of Unity Catalog stands for every privilege but MANAGE (docs.databricks.com, GRANT). Levels of
experiments are CAN_READ, CAN_EDIT and CAN_MANAGE (databricks-sdk 0.156, `ExperimentPermissionLevel`), of models of a
workspace the five above (`RegisteredModelPermissionLevel`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow_migration.places import UNITY_CATALOG, WORKSPACE

BASIC_AUTH = "basic_auth"
"""The vocabulary of open-source MLflow, which has grants of users in place of lists."""

_READ = ("EXECUTE",)
_EDIT = (*_READ, "APPLY_TAG", "CREATE_MODEL_VERSION")
_STAGING = (*_EDIT, "the stage Staging")
_PRODUCTION = (*_STAGING, "the stage Production")
_MANAGE = (*_PRODUCTION, "MANAGE")
_ALLOWS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    WORKSPACE: {
        "CAN_READ": _READ,
        "CAN_EDIT": _EDIT,
        "CAN_MANAGE_STAGING_VERSIONS": _STAGING,
        "CAN_MANAGE_PRODUCTION_VERSIONS": _PRODUCTION,
        "CAN_MANAGE": _MANAGE,
    },
    BASIC_AUTH: {"READ": _READ, "EDIT": _EDIT, "MANAGE": _MANAGE},
    UNITY_CATALOG: {
        "EXECUTE": _READ,
        "APPLY_TAG": ("APPLY_TAG",),
        "CREATE_MODEL_VERSION": ("CREATE_MODEL_VERSION",),
        "MANAGE": ("MANAGE",),
        "ALL_PRIVILEGES": _EDIT,
    },
}
_STAGES = frozenset(_PRODUCTION) - frozenset(_EDIT)
"""What Unity Catalog has no word for: its versions have no stages."""


@dataclass(frozen=True)
class Entry:
    """What one principal was given. `type` is "user", "group" or "service_principal", "" where the list doesn't tell.

    `levels` is one level of a workspace, or any privileges of Unity Catalog.
    """

    type: str
    principal: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class AccessList:
    """What was given on one object itself, nothing it inherits. `owner` is "" where nobody is said to own it."""

    dialect: str
    entries: tuple[Entry, ...]
    owner: str = ""


@dataclass(frozen=True)
class Translated:
    """Levels in another vocabulary, and what they lack of what was given."""

    levels: tuple[str, ...]
    lacking: tuple[str, ...] = ()


class AccessListReads(Protocol):
    """What a place can be asked about its access lists; None for an object that isn't there."""

    @property
    def dialect_of_models(self) -> str: ...

    def of_experiment(self, experiment_id: str) -> AccessList | None: ...

    def of_model(self, name: str) -> AccessList | None: ...


class AccessListCalls(AccessListReads, Protocol):
    """`AccessListReads`, and what changes them. `known` gives a principal's type, and its name as the place writes it;
    None for one it doesn't know."""

    def known(self, principal: str, likely: str) -> tuple[str, str] | None: ...

    def add_to_experiment(self, experiment_id: str, entries: Sequence[Entry]) -> None: ...

    def add_to_model(self, name: str, entries: Sequence[Entry]) -> None: ...


def folded(principal: str) -> str:
    """A principal's name as two places write the same: of users, who are mail addresses, case doesn't count."""
    return principal.casefold() if "@" in principal else principal


def allowed(levels: Iterable[str], dialect: str) -> frozenset[str]:
    """What levels allow, each part in one word; a level that isn't known stands for itself alone."""
    return frozenset(part for level in levels for part in _ALLOWS[dialect].get(level, (level,)))


def translated(levels: Sequence[str], source: str, target: str) -> Translated:
    """The most that another vocabulary can say of these levels without allowing more."""
    if source == target:
        return Translated(tuple(levels))
    wanted = allowed(levels, source)
    if "MANAGE" in wanted and wanted >= frozenset(_EDIT):
        # Who manages a model of Unity Catalog moves its versions as they like.
        wanted |= _STAGES
    if target == UNITY_CATALOG:
        found = tuple(sorted(wanted & frozenset(_MANAGE) - _STAGES))
    else:
        fitting = [level for level, parts in _ALLOWS[target].items() if wanted >= frozenset(parts)]
        found = tuple(fitting[-1:])
    lacking = wanted - allowed(found, target)
    if target == UNITY_CATALOG and "MANAGE" in found:
        lacking -= _STAGES
    return Translated(found, tuple(sorted(lacking)))


def is_more(levels: Sequence[str], there: Sequence[str], dialect: str) -> bool:
    """Whether these levels allow something that those that are there don't."""
    return not allowed(levels, dialect) <= allowed(there, dialect)
