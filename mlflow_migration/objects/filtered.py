"""A place of which only a choice is shown: experiments, models and prompts, and what these two were made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlflow_migration.objects import (
    KINDS,
    OF_EXPERIMENTS,
    access_list,
    experiment,
    logged_model,
    model_version,
    prompt,
    prompt_version,
    registered_model,
    run,
)
from mlflow_migration.objects.kind import Kind
from mlflow_migration.objects.versions import Queued
from mlflow_migration.places import Selection, Source
from mlflow_migration.records import Record

NAMED: Mapping[str, Kind] = {
    experiment.NAME: experiment,
    registered_model.NAME: registered_model,
    prompt.NAME: prompt,
}
"""The kinds that are chosen by name."""
OF_REGISTRY = frozenset({registered_model.NAME, model_version.NAME, prompt.NAME, prompt_version.NAME})
EVERYTHING = Selection(permissions=True)


@dataclass(frozen=True)
class Choice:
    """What is chosen. `experiments`, `models`, `prompts`: names or globs, empty for all, None for none at all.

    `kinds`: empty for those the names call for; else what has neither such a name nor parents is taken too.
    """

    experiments: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    prompts: tuple[str, ...] | None = None
    kinds: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[str, ...] | None:
        """The names or globs of a kind that is chosen by name."""
        named = {experiment.NAME: self.experiments, registered_model.NAME: self.models, prompt.NAME: self.prompts}
        return named[kind]


def kinds_of(choice: Choice) -> tuple[str, ...]:
    """The kinds that a choice is about."""
    if choice.kinds:
        return with_parents(choice.kinds)
    registered = [
        kind
        for kind in OF_REGISTRY
        if (choice.models if kind in {registered_model.NAME, model_version.NAME} else choice.prompts) is not None
    ]
    return with_parents((*OF_EXPERIMENTS, *registered, access_list.NAME))


def with_parents(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """These kinds and those they belong to, in the order of writing."""
    wanted = set(kinds)
    for kind in reversed(list(KINDS)):
        if kind in wanted:
            wanted.update(KINDS[kind].PARENTS)
    return tuple(kind for kind in KINDS if kind in wanted)


class Filtered:
    """The chosen part of a place. Implements `Source`.

    The heads of the place are read several times before the first object is given: what is chosen names what it was
    made of. Memory holds ids of chosen experiments, models and prompts, and of what these were made of.
    """

    def __init__(self, source: Source, choice: Choice) -> None:
        """Raises NotFoundError where a name or glob meets nothing."""
        self.address = source.address
        self.shows_all = source.shows_all
        self.keeps_version_files = source.keeps_version_files
        self._source = source
        self._choice = choice
        self._chosen = {kind: self._named(kind) for kind in NAMED}
        self._needed: set[str] = set()
        known = -1
        # Each round may find what names something further: a run its parent, a version the one it was copied from.
        while choice.models is not None or choice.prompts is not None:
            if len(self._needed) == known:
                break
            known = len(self._needed)
            for kind in reversed(list(KINDS)):
                self._learn(kind)

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """The chosen objects of a kind; the selection of the job says nothing more."""
        return (record for record in self._source.records(kind, EVERYTHING) if self._takes(record))

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        """One chosen object by id, or None."""
        found = self._source.record(kind, record_id, EVERYTHING)
        return found if found is not None and self._takes(found) else None

    def _named(self, kind: str) -> set[str]:
        patterns = self._choice.of(kind)
        if patterns is None:
            return set()
        asked = Selection(patterns, models=patterns, prompts=patterns)
        records = self._source.records(kind, EVERYTHING)
        return {record.id for record in NAMED[kind].choose(records, asked, self.address)}

    def _takes(self, record: Record) -> bool:
        if record.kind in NAMED:
            return self._takes_named(record.kind, record.id)
        if record.kind == access_list.NAME:
            return all(self._takes_named(kind, id_) for kind, id_ in record.refs.items())
        parents = KINDS[record.kind].PARENTS
        if not parents:
            return bool(self._choice.kinds)
        if all(record.refs[parent] in self._chosen[parent] for parent in parents):
            return True
        # A logged model comes along with its run, and a version with the others of its model, whose numbers it needs.
        with_ = (run.NAME,) if record.kind == logged_model.NAME else parents if record.kind in OF_REGISTRY else ()
        return not self._needed.isdisjoint({record.id, *(record.refs.get(kind, "") for kind in with_)})

    def _takes_named(self, kind: str, id_: str) -> bool:
        return id_ in self._chosen[kind] or _shared(kind, id_) in self._needed

    def _learn(self, kind: str) -> None:
        """Note what the objects name that were chosen as models or prompts, or that those were made of."""
        for record in self._source.records(kind, EVERYTHING):
            if self._takes(record) and (kind in OF_REGISTRY or _shared(kind, record.id) in self._needed):
                self._needed.update(_shared(parent, id_) for parent, id_ in record.refs.items())
                if isinstance(record, Queued):
                    self._needed.update(record.after)
                KINDS[kind].swaps_of(record, self._note)

    def _note(self, id_: str) -> None:
        self._needed.update({id_} - {""})


def _shared(kind: str, id_: str) -> str:
    """An id that no object of another kind has: experiments' ids are plain numbers."""
    return experiment.shared_id(id_) if kind == experiment.NAME else id_
