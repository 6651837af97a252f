"""Promoting a version: lock → gates → copy → verify → record → alias. Any failure leaves the previous holder in place.

Each step finds what an earlier attempt left, at the destination itself: the copy by its origin tags, the holder by its
alias, the attempt by the journal. So a promotion that was killed anywhere is completed by the same command.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from mlflow_migration.errors import ConflictError, InterruptedJobError, MigrationError
from mlflow_migration.promotion import facts, gates, journal, move, record
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.journal import Entry
from mlflow_migration.promotion.lock import Lock, Terms
from mlflow_migration.promotion.policy import asks_for_approvals
from mlflow_migration.promotion.record import Facts
from mlflow_migration.promotion.step import Asked, Manner, Step, alias_in, candidate, copied
from mlflow_migration.promotion.verdicts import Case, Verdict
from mlflow_migration.records import Json, tags_of

log = logging.getLogger(__name__)

REFUSED, SAME, FAILED = "refused", "same", "failed"
WOULD = "would"
PROMOTE, CANARY = "promote", "canary"
NO_STAGE = "None"
ARCHIVED = "Archived"


@dataclass(frozen=True)
class Outcome:
    """How a promotion ended: `state` is done, same (all was there), refused, or would (a plan). `number` is the
    version at the destination, "" while there is none; `previous` the holder of the alias before."""

    state: str
    facts: Facts
    entry: Entry | None = None

    def as_json(self) -> Json:
        """The document of `--json`."""
        found, step = self.facts, self.facts.step
        return {
            "state": self.state,
            "model": step.model,
            "from": {"environment": step.source, "server": step.src.address, "model": found.version.name},
            "to": {"environment": step.destination, "server": step.dst.address, "model": step.dst_name},
            "version": found.version.number,
            "new_version": found.number,
            "alias": found.manner.alias,
            "previous": found.previous,
            "digest": found.version.digest,
            "policy": step.policy.digest(),
            "gates": [verdict.as_json() for verdict in found.verdicts],
            "journal": {"number": self.entry.number, "run_id": self.entry.id} if self.entry else None,
        }


def case_of(found: Facts) -> Case:
    """What gates look at; each holder is read once. Of the alias that is moved it is the one before, even where an
    attempt that was cut off has moved it already: a version isn't compared with itself."""
    step = found.step
    in_use = alias_in(step.policy, step.destination)

    def load(named: str) -> Version | None:
        # The policy's alias means the version in use, whatever the environment calls it.
        alias = in_use if named == step.policy.alias else named
        if alias != found.manner.alias:
            return facts.holder(step.dst, step.dst_name, alias)
        return facts.version(step.dst, step.dst_name, found.previous) if found.previous else None

    holder: Callable[[str], Version | None] = cache(load)
    return Case(found.version, holder, step.model, step.source, step.destination, in_use, step.loaded.folder)


def looked_at(step: Step, version: Version, manner: Manner) -> tuple[Facts, bool]:
    """What is known before the gates are asked, and whether the version is promoted already, with a whole record."""
    there = copied(step, version)
    number = str(there["version"]) if there else ""
    previous = facts.aliases(step.dst, step.dst_name).get(manner.alias, "")
    found = Facts(step, version, manner, (), number, previous)
    if there is None or previous != number:
        return found, False
    if _is_whole(found, there):
        return found, True
    return replace(found, previous=_before_it_was_cut_off(found)), False


def _is_whole(found: Facts, there: Json) -> bool:
    """Whether what the journal last did with the alias was to point it at this version, with these bytes."""
    done = [entry for entry in _entries(found) if entry.said("outcome") == journal.DONE]
    return (
        bool(done)
        and done[-1].said("version") == found.number
        and tags_of(there.get("tags")).get(record.DIGEST) == found.version.digest
    )


def _entries(found: Facts) -> list[Entry]:
    """What the journal has of this alias."""
    chain = journal.find(found.step.dst, found.step.settings.journal, found.step.dst_name)
    return [each for each in chain.entries() if each.said("alias") == found.manner.alias] if chain else []


def _before_it_was_cut_off(found: Facts) -> str:
    """Who held the alias before an attempt moved it that didn't come to its end: it wrote that down first."""
    for entry in reversed(_entries(found)):
        if entry.said("outcome") == journal.DONE:
            break
        if entry.said("version") == found.number and "previous" in entry.words:
            return entry.said("previous")
    return ""


def verdicts(found: Facts) -> list[Verdict]:
    """What every gate of the policy says; a protected environment asks for approvals, whatever its rules."""
    step = found.step
    asked = step.policy.gates(step.model, step.destination)
    verdicts = gates.decide(asked, case_of(found))
    if step.settings.protected and not asks_for_approvals(asked):
        reason = f"{step.destination} is protected, and no rule of the policy asks for approvals"
        verdicts.append(Verdict("protected", "protected", False, "a gate that asks for approvals", "none", reason))
    return verdicts


def plan(step: Step, wanted: Asked, manner: Manner) -> Outcome:
    """What a promotion would do, and what each gate says. Reads only."""
    found, whole = looked_at(step, candidate(step, wanted), manner)
    if whole:
        return Outcome(SAME, found)
    found = replace(found, verdicts=verdicts(found))
    return Outcome(WOULD if all(each.passed for each in found.verdicts) else REFUSED, found)


def promote(step: Step, wanted: Asked, manner: Manner) -> Outcome:
    """Promote a version; a second run of a finished promotion, or of one refused for the same reasons, writes nothing.

    Raises ConflictError where another promotion is at work or the alias was moved meanwhile, MigrationError where the
    version can't be copied whole, and whatever a place raises: then the previous holder is still in place.
    """
    version = candidate(step, wanted)
    known = written_already(step, version, manner)
    if known is not None:
        return known
    chain = journal.chain(step.dst, step.settings.journal, step.dst_name)
    found = Facts(step, version, manner)
    kind = CANARY if manner.alias == step.policy.challenger else PROMOTE
    name = f"{kind} {step.model} {version.number} of {step.source} → {step.destination}"
    entry = journal.begin(step.dst, chain, name, record.began(found, kind))
    lock = Lock(step.dst, chain, entry, Terms(step.policy.lease_seconds, manner.break_lock))
    return Attempt(found, lock).run()


def written_already(step: Step, version: Version, manner: Manner) -> Outcome | None:
    """What the journal says already of this very promotion: done, or refused by the same gates."""
    found, whole = looked_at(step, version, manner)
    chain = journal.find(step.dst, step.settings.journal, step.dst_name)
    last = chain.last() if chain else None
    if last is not None and last.lacks_its_end:
        # Whoever said how it ended was killed before the very last write.
        journal.settle(step.dst, last, "")
    if whole:
        return Outcome(SAME, found)
    if last is None or last.said("outcome") != REFUSED or last.said("source_version") != version.id:
        return None
    before = record.get(step.dst, last)
    if before is None or before["policy"] != step.policy.digest() or before["from"]["digest"] != version.digest:
        return None
    now = verdicts(found)
    if _reasons(before["gates"]) != _reasons([each.as_json() for each in now]):
        return None
    return Outcome(REFUSED, replace(found, verdicts=now), last)


def _reasons(found: list[Json]) -> list[tuple[str, bool]]:
    """What of verdicts tells two attempts apart: times and ages change all the time."""
    return [(each["name"], each["passed"]) for each in found]


class Attempt:
    """One promotion from its lock to its end. `found` grows as it goes on, so that its record tells how far it came."""

    def __init__(self, found: Facts, lock: Lock) -> None:
        self._found = found
        self._lock = lock
        self._ended = False

    def run(self) -> Outcome:
        try:
            self._lock.take()
            return self._locked()
        except MigrationError as error:
            self._failed(str(error))
            raise
        finally:
            self._lock.release()
            if not self._ended:
                # A fault of this tool, or the second Ctrl-C: the lock is freed all the same.
                self._failed("it broke off")

    def _locked(self) -> Outcome:
        step, manner = self._found.step, self._found.manner
        # Read again: what stood there before the lock was taken may have changed.
        version = facts.version(step.src, self._found.version.name, self._found.version.number)
        self._found, _ = looked_at(step, version, manner)
        self._found = replace(self._found, verdicts=verdicts(self._found))
        refused = [each for each in self._found.verdicts if not each.passed]
        if refused:
            reason = "; ".join(f"{each.name}: {each.reason}" for each in refused)
            return self._end(REFUSED, reason, journal.FAILED)
        self._lock.check()
        self._stop_if_asked()
        number, _ = move.copy(step, version, manner)
        self._verify(number)
        self._stop_if_asked()
        self._note()
        self._move(number)
        return self._end(journal.DONE, "", journal.FINISHED)

    def _stop_if_asked(self) -> None:
        if self._found.manner.stop.is_set():
            raise InterruptedJobError("interrupted", hint="type the same command again: it goes on where it stopped")

    def _verify(self, number: str) -> None:
        """The copy's bytes are those that the gates looked at and people approved."""
        step, version = self._found.step, self._found.version
        there = facts.version(step.dst, step.dst_name, number)
        self._found = replace(self._found, number=number, destination_digest=there.digest)
        if version.digest != there.digest:
            differing = sorted({path for path, _ in set(version.sums) ^ set(there.sums)})
            raise ConflictError(
                f"the files of {there.id} at {step.destination} are not those that passed the gates",
                f"different: {', '.join(differing[:5])}",
                f"if they changed at the source, make a new version; else delete {there.id} at {step.dst.address}",
            )

    def _note(self) -> None:
        """Say at the entry what is about to happen, and at the version where it comes from."""
        found, step = self._found, self._found.step
        told = {"version": found.number, "previous": found.previous, "digest": found.version.digest}
        journal.say(step.dst, self._lock.entry, told)
        here = facts.version(step.dst, step.dst_name, found.number).tags
        for key, value in record.tags(found, self._lock.entry):
            if here.get(key) != value:
                step.dst.registry.set_version_tag(step.dst_name, found.number, (key, value))

    def _move(self, number: str) -> None:
        """Point the alias at the version, if nobody else has moved it since the gates compared with its holder."""
        found, step = self._found, self._found.step
        self._lock.check()
        move_alias(step, found.manner.alias, (found.previous, number))
        if found.manner.alias == step.policy.challenger:
            return
        here = facts.aliases(step.dst, step.dst_name)
        if here.get(step.policy.challenger) == number:
            step.dst.registry.delete_alias(step.dst_name, step.policy.challenger)
        if found.previous and found.previous != number and here.get(step.policy.previous) != found.previous:
            step.dst.registry.set_alias(step.dst_name, step.policy.previous, found.previous)
        set_stages(step, number, found.previous)

    def _end(self, outcome: str, reason: str, status: str) -> Outcome:
        """Write the record, and last of all the end of the entry, which frees the lock."""
        step, entry = self._found.step, self._lock.entry
        self._lock.release()
        record.put(step.dst, entry, record.document(self._found, entry, outcome, reason))
        record.noted(entry, step.dst, record.note(self._found, outcome, reason))
        journal.end(step.dst, entry, status, record.said(self._found, outcome, reason))
        self._ended = True
        return Outcome(outcome, self._found, entry)

    def _failed(self, reason: str) -> None:
        """Close the entry of an attempt that came to nothing. Where even that can't be written the lease ends it."""
        self._ended = True
        self._lock.release()
        said = {"outcome": FAILED, "reason": reason, "version": self._found.number}
        try:
            journal.end(self._found.step.dst, self._lock.entry, journal.FAILED, said)
        except MigrationError as error:
            # What the attempt failed of is what the person has to hear.
            log.warning("the journal's entry could not be closed: %s", error)


def move_alias(step: Step, alias: str, change: tuple[str, str]) -> None:
    """Move an alias from one version to another. Raises ConflictError, having changed nothing, where it points at
    neither, and where it doesn't stay."""
    expected, number = change
    now = facts.aliases(step.dst, step.dst_name).get(alias, "")
    if now == number:
        return
    if now != expected:
        raise ConflictError(
            f"the alias {alias!r} of {step.dst_name} was moved meanwhile",
            f"it was at {expected or 'no version'}, and is at {now or 'no version'} now",
            "look who moved it; then type the command again, and the gates compare with the new holder",
        )
    if number:
        step.dst.registry.set_alias(step.dst_name, alias, number)
    else:
        step.dst.registry.delete_alias(step.dst_name, alias)
    after = facts.aliases(step.dst, step.dst_name).get(alias, "")
    if after != number:
        raise ConflictError(
            f"the alias {alias!r} of {step.dst_name} was moved at the same moment", f"it is at {after} now"
        )


def set_stages(step: Step, number: str, previous: str) -> None:
    """For servers that use stages: the version's, and that of the holder before."""
    settings = step.settings
    if not settings.stage:
        return
    wanted = [(number, settings.stage)] if number else []
    if settings.archive_previous and previous and previous != number:
        wanted.append((previous, ARCHIVED))
    for each, stage in wanted:
        head = step.dst.registry.get_version(step.dst_name, each)
        if head is not None and (head.get("current_stage") or NO_STAGE) != stage:
            step.dst.registry.set_stage(step.dst_name, each, stage)
