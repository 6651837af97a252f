"""Stages and aliases at a registry that has only one of them: mapped where the person says how, kept in tags else.

A workspace's registry has stages alone, Unity Catalog aliases alone, open-source MLflow both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from mlflow_migration.calls import Live
from mlflow_migration.objects import held
from mlflow_migration.objects.registry import Family, version_id
from mlflow_migration.places import Ids, Writing
from mlflow_migration.records import Loss, Record


@dataclass(frozen=True)
class OfModel:
    """A model as the destination can have it; the origin tags that keep the rest, and what is told of it."""

    record: Record
    marks: Mapping[str, str] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class OfVersion:
    """The stage a version is to have, "" for whichever it has; the rest as of a model."""

    stage: str
    marks: Mapping[str, str] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()


def of_model(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> OfModel:
    """The model's aliases at the destination; where they become stages, its versions will ask for them."""
    wanted = held.aliases_of(record.head)
    if sink.abilities.registry.aliases:
        entries = [{"alias": alias, "version": number} for alias, number in wanted.items()]
        return OfModel(replace(record, head={**record.head, "aliases": entries}))
    losses, real = [], {entry["alias"] for entry in record.head.get("aliases") or ()}
    for alias, number in sorted(wanted.items()):
        stage = job.aliases_to_stages.get(alias)
        asked = ids.once(_asked(family, record.id, number), partial(str, stage)) if stage else None
        if alias in real and (stage is None or asked != stage):
            hint = f"--aliases-to-stages {alias}=STAGE moves the version to a stage"
            why = f"version {number} is {asked} by another one" if asked else hint
            losses.append(Loss("link", f"alias {alias}", f"the registry has no aliases: it is kept in a tag; {why}"))
    marks = {held.ALIAS + alias: number for alias, number in wanted.items()}
    return OfModel(replace(record, head={**record.head, "aliases": []}), marks, tuple(losses))


def of_version(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> OfVersion:
    """The version's stage at the destination; where it becomes an alias, the model's second pass sets it."""
    own, name, number = held.stage_of(record.head), record.head["name"], str(record.head["version"])
    if sink.abilities.registry.stages:
        asked = ids.once(_asked(family, name, number), str)
        return OfVersion(own if own not in {"", held.NO_STAGE} else asked or own)
    if own in {"", held.NO_STAGE}:
        return OfVersion("")
    alias = job.stages_to_aliases.get(own)
    if alias:
        by_stage(family, name, ids).setdefault(alias, []).append(number)
        return OfVersion("", {held.STAGE: own})
    why = f"the registry has no stages: {own} is kept in a tag; --stages-to-aliases {own}=ALIAS makes it an alias"
    # One that is only kept in a tag stays in it.
    lost = (Loss("tag", "stage", why),) if record.head.get("current_stage") == own else ()
    return OfVersion("", {held.STAGE: own}, lost)


def by_stage(family: Family, name: str, ids: Ids) -> dict[str, list[str]]:
    """Alias → the versions of a source's model that are to have it by their stage, in ascending order."""
    found: dict[str, list[str]] = ids.once(f"aliases by stage of {family.version} {name}", dict)
    return found


def _asked(family: Family, name: str, number: str) -> str:
    return f"stage by alias of {family.version} {version_id(name, number)}"
