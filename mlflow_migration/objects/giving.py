"""Giving principals what they had on an experiment or model of the source, on the destination's own one.

Only added to: what the destination has stays, and who has another level there keeps it, unless this job gave it. Who
isn't known there is told and left out, and so is whoever the person mapped to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from mlflow_migration.calls import Live, access_lists
from mlflow_migration.calls.access_lists import AccessList, AccessListCalls, Entry
from mlflow_migration.errors import LeftOutError, MigrationError, NotFoundError, ServerError
from mlflow_migration.objects import experiment, kind, registered_model, registry
from mlflow_migration.places import UNITY_CATALOG, WORKSPACE, Ids, Writing
from mlflow_migration.records import Loss, Record

SECURABLES = (experiment.NAME, registered_model.NAME)
"""What has an access list."""
NOBODY = "left out by --principals"
UNKNOWN = "the destination knows no such principal: add it there, or say by --principals who it is there"
REFUSED = frozenset({400, 404})
"""What is answered where one of several principals isn't known: nothing is given to any of them then."""


@dataclass(frozen=True)
class Thing:
    """An experiment or registered model of the source, and its id or name at the destination, "" where a rehearsal
    would make it."""

    kind: str
    source_id: str
    there: str


def thing_at(sink: Live, securable: str, source_id: str, ids: Ids, job: Writing) -> Thing:
    """The destination's thing. Raises NotFoundError where it did not arrive, LeftOutError where it wasn't to."""
    if securable == experiment.NAME:
        named = Record(experiment.NAME, source_id, source_id, (), {}, {experiment.NAME: source_id})
        return Thing(securable, source_id, kind.experiment_at(ids, named))
    if job.adding is not None:
        raise LeftOutError("versions are added to the destination's own model, which keeps its permissions")
    if registry.refusal(registry.MODELS, source_id, ids) == registry.LEFT_OUT:
        raise LeftOutError("its registered model is left out", f"registered model {source_id!r}")
    found = ids.get(registered_model.NAME, source_id)
    if found is None and job.dry_run:
        name = registry.name_at(registry.MODELS, source_id, sink, ids, job)
        return Thing(securable, source_id, name if sink.registry.get_model(name) else "")
    if found is None:
        raise NotFoundError("its registered model did not arrive", f"registered model {source_id!r}")
    return Thing(securable, source_id, found)


@dataclass(frozen=True)
class Given:
    """How many principals got something, whether some of them had less from this job before, and what couldn't go."""

    changed: int
    raised: bool
    losses: tuple[Loss, ...]


def give(sink: Live, thing: Thing, given: AccessList, ids: Ids, job: Writing) -> Given:
    """Give what a list of the source says. Raises ForbiddenError where these credentials may not."""
    return _Giving(sink, thing, ids, job).give(given)


class _Giving:
    def __init__(self, sink: Live, thing: Thing, ids: Ids, job: Writing) -> None:
        if sink.access_lists is None:
            raise TypeError("only a place with access lists is given to here")
        self._lists: AccessListCalls = sink.access_lists
        self._thing, self._ids, self._job = thing, ids, job
        self._losses: list[Loss] = []
        models = thing.kind == registered_model.NAME
        self._dialect = self._lists.dialect_of_models if models else WORKSPACE
        self._add = self._lists.add_to_model if models else self._lists.add_to_experiment
        self._read = self._lists.of_model if models else self._lists.of_experiment

    def give(self, given: AccessList) -> Given:
        there: dict[str, Entry] = {}
        if self._thing.there:
            found = self._read(self._thing.there)
            if found is None:
                raise NotFoundError(f"{self._thing.kind} {self._thing.there} isn't at the destination")
            there = {access_lists.folded(entry.principal): entry for entry in found.entries}
        new = []
        raised = False
        for wanted in self._of_each(given):
            missing = self._missing(wanted, there.get(access_lists.folded(wanted.principal)))
            if missing is not None:
                new.append(missing)
                raised = raised or access_lists.folded(wanted.principal) in there
        if self._job.dry_run or not new:
            return Given(len(new), raised, tuple(self._losses))
        return Given(self._send(new), raised, tuple(self._losses))

    def _of_each(self, given: AccessList) -> list[Entry]:
        """What each principal of the destination is to have: two of the source may be one there."""
        found: dict[str, Entry] = {}
        for wanted in filter(None, (self._wanted(entry, given.dialect) for entry in given.entries)):
            key = access_lists.folded(wanted.principal)
            other = found.setdefault(key, wanted)
            if self._dialect == UNITY_CATALOG:
                found[key] = replace(wanted, levels=tuple(sorted({*wanted.levels, *other.levels})))
            elif access_lists.is_more(wanted.levels, other.levels, self._dialect):
                found[key] = wanted
        return list(found.values())

    def _wanted(self, entry: Entry, dialect: str) -> Entry | None:
        """What an entry says, of the destination's principal and in the destination's words."""
        name = self._job.principals.get(entry.principal, entry.principal)
        if not name:
            self._losses.append(Loss("permission", entry.principal, NOBODY, wanted=False))
            return None
        look = partial(self._lists.known, name, entry.type if name == entry.principal else "")
        known = self._ids.once(f"principal {name}", look)
        if known is None:
            self._losses.append(Loss("permission", name, UNKNOWN))
            return None
        found = access_lists.translated(entry.levels, dialect, self._dialect)
        if found.lacking:
            words = "Unity Catalog" if self._dialect == UNITY_CATALOG else "the workspace"
            reason = f"{words} has no word for all of {', '.join(entry.levels)}: {', '.join(found.lacking)}"
            self._losses.append(Loss("permission", name, reason))
        return Entry(*known, found.levels) if found.levels else None

    def _missing(self, wanted: Entry, there: Entry | None) -> Entry | None:
        """What the principal lacks; None where that is nothing, or is left so."""
        if there is None or not there.levels:
            return wanted
        if not access_lists.is_more(wanted.levels, there.levels, self._dialect):
            return None
        if self._dialect == UNITY_CATALOG:
            # Each privilege is granted for itself.
            return Entry(wanted.type, wanted.principal, tuple(sorted({*wanted.levels} - {*there.levels})))
        if self._ids.earlier(self._claims, wanted.principal) == ", ".join(there.levels):
            return wanted
        reason = f"it has {', '.join(there.levels)} there already, which stays: the source's is {wanted.levels[0]}"
        self._losses.append(Loss("permission", wanted.principal, reason))
        return None

    def _send(self, new: Sequence[Entry]) -> int:
        """How many got it: one request for all, and one for each where that is refused for one of them."""
        error = self._tried(new)
        if error is None:
            return len(new)
        if len(new) == 1:
            self._losses.append(Loss("permission", new[0].principal, str(error)))
            return 0
        return sum(self._send([entry]) for entry in new)

    def _tried(self, new: Sequence[Entry]) -> MigrationError | None:
        try:
            self._add(self._thing.there, new)
        except ServerError as error:
            if error.status not in REFUSED:
                raise
            return error
        for entry in new:
            self._ids.put(self._claims, entry.principal, ", ".join(entry.levels))
        return None

    @property
    def _claims(self) -> str:
        """Under which the ledger keeps what this job gave."""
        return f"given on {self._thing.kind} {self._thing.there}"
