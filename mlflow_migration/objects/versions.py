"""Versions of registered models and prompts: exact numbers, what they were made of, stage, tags, and their files where
a registry keeps them. How they are written is told in `version_writer`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from mlflow_migration.calls import Readable
from mlflow_migration.errors import ConflictError, NotFoundError
from mlflow_migration.objects import forms, held, registry, sources, version_files
from mlflow_migration.objects.kind import Known
from mlflow_migration.objects.registry import SOURCE_VERSION, Family, version_id
from mlflow_migration.objects.texts import run_ids_in, swap
from mlflow_migration.places import Selection, Versions
from mlflow_migration.records import Identity, Json, Record, tags_of

RUN_TAGS = frozenset({"mlflow.prompt.associatedRunIds", "mlflow.prompt.run_ids"})
"""Tags that hold runs' ids. Others belong to people, as a prompt's text does."""
NO_STAGE = held.NO_STAGE


@dataclass(frozen=True)
class Queued(Record):
    """A version in the order of writing. `after` are the ids of those that have to be written before it."""

    after: tuple[str, ...] = ()


def validate(family: Family, head: Json) -> Identity:
    """Check a version's head from outside; its home and id. Raises ValueError."""
    form = forms.ModelVersion.model_validate(head)
    if not family.takes(head):
        raise ValueError(f"it is no {family.version}")
    return (family.folder, form.name, form.version), version_id(form.name, form.version)


def read(family: Family, source: Readable, selection: Selection) -> Iterator[Record]:
    """The versions of the selected models, in the order of writing."""
    patterns = family.chosen(selection)
    plain = patterns and not any(char in pattern for pattern in patterns for char in "*?[")
    found = (
        _record(family, head, source, selection)
        for name in (patterns if plain else ("",))
        for head in source.registry.search_versions(family.prompts, name)
        if family.takes(head)
    )
    return choose(family, found, selection, source.address)


def record(family: Family, source: Readable, id_: str, selection: Selection) -> Record | None:
    """One version by id, or None."""
    name, _, number = id_.rpartition("/")
    head = source.registry.get_version(name, number)
    return _record(family, head, source, selection) if head and family.takes(head) else None


def choose(family: Family, records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those that are asked for, each after those it needs: their heads are held at once to be put in order.

    Raises ConflictError where versions are made of each other in a circle, which no server gives.
    """
    patterns = family.chosen(selection)
    named = [each for each in records if registry.named(patterns, each.head["name"])]
    chosen = {each.id: each for each in _chosen(named, selection.versions, where)}
    before: dict[str, tuple[str, ...]] = {}
    last: dict[str, str] = {}
    for each in sorted(chosen.values(), key=lambda each: int(each.head["version"])):
        name = each.head["name"]
        address = sources.address_of(each.head)
        made_of = each.head["source"].removeprefix("models:").lstrip("/") if address.kind == sources.VERSION else ""
        needed = (last.get(name, ""), made_of)
        before[each.id] = tuple(id_ for id_ in needed if id_ in chosen)
        last[name] = each.id
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError as error:
        raise ConflictError("versions are made of each other in a circle", f"{where}: {error.args[1]}") from error
    for id_ in order:
        fields = {name: getattr(chosen[id_], name) for name in Record.__dataclass_fields__}
        yield Queued(**fields, after=before[id_])


def _chosen(records: list[Record], wanted: Versions, where: str) -> list[Record]:
    """Those of the models' versions that are asked for. Raises NotFoundError where a number meets none of them."""
    ids, stages = frozenset(wanted.ids), frozenset(stage.lower() for stage in wanted.stages)
    if ids:
        return [each for each in records if each.id in ids]
    found = [each for each in records if not wanted.numbers or str(each.head["version"]) in wanted.numbers]
    unmet = set(wanted.numbers) - {str(each.head["version"]) for each in found}
    if unmet:
        raise NotFoundError(f"no such version: {', '.join(sorted(unmet))}", f"at {where}", "check the numbers")
    if stages:
        found = [each for each in found if _stage_of(each).lower() in stages]
    if wanted.latest:
        last: dict[tuple[str, str], Record] = {}
        for each in sorted(found, key=lambda each: int(each.head["version"])):
            last[each.head["name"], _stage_of(each)] = each
        found = list(last.values())
    return found


def _stage_of(record: Record) -> str:
    return record.head.get("current_stage") or NO_STAGE


def _record(family: Family, head: Json, source: Readable, selection: Selection) -> Record:
    # A model's aliases stand with the model, where a search shows them too.
    kept = {key: value for key, value in head.items() if key != "aliases"}
    name, number = head["name"], str(head["version"])
    id_ = version_id(name, number)
    files = version_files.of_version(source, head, selection)
    return Record(family.version, id_, id_, (family.folder, name, number), kept, {family.model: name}, files=files)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends: the model's name may be another one after a rename."""
    head = record.head
    tags = held.restored(tags_of(head.get("tags")))
    return {
        "description": head.get("description") or "",
        "stage": _stage_of(record),
        "source": swap(head.get("source") or "", swaps),
        "run_id": swap(held.run_of(head), swaps),
        "run_link": held.run_link_of(head),
        "tags": {key: swap(value, swaps) if key in RUN_TAGS else value for key, value in tags.items()},
    }


def origin(record: Record) -> str:
    """Name and number of the version this one came from in the first place, or its own."""
    return tags_of(record.head.get("tags")).get(SOURCE_VERSION) or record.id


def swaps_of(record: Record, known: Known) -> dict[str, str]:
    """What turns the ids in this version into those that both ends share."""
    swaps = sources.swaps_of(record, known)
    for key, value in tags_of(record.head.get("tags")).items():
        if key in RUN_TAGS:
            swaps.update({id_: known(id_) or id_ for id_ in run_ids_in(value)})
    return swaps
