"""Going back to a version that was in use before: no copy, no gates, an alias moved and a reason noted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version as version_of

from mlflow_migration.calls import Live
from mlflow_migration.errors import ConflictError, MigrationError, NotFoundError, UsageError
from mlflow_migration.promotion import approvals, facts, history, journal, record
from mlflow_migration.promotion.flow import FAILED, move_alias, set_stages
from mlflow_migration.promotion.journal import Chain, Entry
from mlflow_migration.promotion.lock import Lock, Terms
from mlflow_migration.promotion.policy import Loaded
from mlflow_migration.promotion.step import Manner, Step
from mlflow_migration.records import Json

NOTHING = "none"


@dataclass(frozen=True)
class Back:
    """How far: to a version, or so many versions back. With `verify` its files are compared with its record first."""

    version: str = ""
    steps: int = 1
    verify: bool = False


@dataclass(frozen=True)
class RolledBack:
    """What was done, or under a dry run would be: the alias from one version to another."""

    model: str
    environment: str
    alias: str
    previous: str
    version: str
    entry: Entry | None = None

    def as_json(self) -> Json:
        found = {key: value for key, value in vars(self).items() if key != "entry"}
        return {**found, "journal": {"number": self.entry.number, "run_id": self.entry.id} if self.entry else None}


def place(loaded: Loaded, model: str, environment: str, live: Live) -> Step:
    """One environment, as both ends of a step that copies nothing."""
    loaded.policy.known(environment)
    return Step(loaded, model, environment, environment, live, live)


def rehearse(step: Step, back: Back, manner: Manner) -> RolledBack:
    """What a rollback would do. Raises what `rollback` does."""
    chain = journal.find(step.dst, step.settings.journal, step.dst_name)
    if chain is None:
        raise NotFoundError(f"nothing was ever promoted as {step.dst_name}", f"at {step.dst.address}")
    return _cut_off(step, chain, "", back, manner) or _target(step, back, manner, "")


def rollback(step: Step, back: Back, manner: Manner) -> RolledBack:
    """Point the alias at an earlier version. One that was cut off is completed, not done twice.

    Raises UsageError where there is nothing to go back to, ConflictError where another promotion is at work, the alias
    was moved by others, or the version's bytes have changed.
    """
    wanted = rehearse(step, back, manner)
    chain = journal.chain(step.dst, step.settings.journal, step.dst_name)
    said = {"kind": journal.ROLLBACK, "by": manner.by, "alias": manner.alias}
    said |= {
        "from": step.destination,
        "to": step.destination,
        "note": manner.reason,
        "logical": step.model,
        "policy": step.policy.digest(),
    }
    name = f"rollback {step.model} in {step.destination}"
    entry = journal.begin(step.dst, chain, name, {**said, "asked": back.version})
    lock = Lock(step.dst, chain, entry, Terms(step.policy.lease_seconds, manner.break_lock))
    ended = False
    try:
        lock.take()
        wanted = _cut_off(step, chain, lock.entry.id, back, manner) or _target(step, back, manner, lock.entry.id)
        words = {"version": wanted.version, "previous": wanted.previous}
        journal.say(step.dst, lock.entry, words)
        lock.check()
        move_alias(step, manner.alias, (wanted.previous, wanted.version))
        if wanted.previous:
            step.dst.registry.set_alias(step.dst_name, step.policy.previous, wanted.previous)
        set_stages(step, wanted.version, wanted.previous)
        lock.release()
        record.put(step.dst, lock.entry, _document(step, wanted, manner, lock.entry))
        text = f"**rollback** of {step.dst_name} in {step.destination}: {wanted.previous} → {wanted.version or 'none'}"
        record.noted(lock.entry, step.dst, f"{text}\n\n{manner.reason}")
        journal.end(step.dst, lock.entry, journal.FINISHED, {"outcome": journal.DONE, "reason": manner.reason})
        ended = True
    except MigrationError as error:
        ended = True
        lock.release()
        journal.end(step.dst, lock.entry, journal.FAILED, {"outcome": FAILED, "reason": str(error)})
        raise
    finally:
        lock.release()
        if not ended:
            journal.end(step.dst, lock.entry, journal.FAILED, {"outcome": FAILED, "reason": "it broke off"})
    return replace(wanted, entry=lock.entry)


def _target(step: Step, back: Back, manner: Manner, own: str) -> RolledBack:
    """From where to where, by the journal."""
    happened = history.events(step.dst, step.policy, step.destination, step.model)
    now = facts.aliases(step.dst, step.dst_name).get(manner.alias, "")
    version = "" if back.version == NOTHING else back.version
    if not back.version:
        versions = history.stack([each for each in happened if each.run_id != own], manner.alias)
        if not versions or versions[-1] != now:
            why = (
                f"the journal has {versions[-1] if versions else 'nothing'}, the alias points at {now or 'no version'}"
            )
            raise ConflictError(
                f"{manner.alias!r} of {step.dst_name} was moved by others", why, "say which: --to-version"
            )
        if len(versions) <= back.steps or not versions[-1 - back.steps]:
            before = ", ".join(each for each in versions[:-1] if each) or "nothing"
            raise UsageError(
                f"{step.dst_name} can't go back so far in {step.destination}",
                f"before {now} there was: {before}",
                "--to-version none leaves it without a version in use",
            )
        version = versions[-1 - back.steps]
    if version:
        _check(step, version, back)
    return RolledBack(step.model, step.destination, manner.alias, now, version)


def _check(step: Step, number: str, back: Back) -> None:
    """Raise where the version isn't there, or, if that is asked for, isn't what it was."""
    version = facts.version(step.dst, step.dst_name, number)
    recorded = version.tags.get(record.DIGEST, "")
    if back.verify and recorded and version.digest != recorded:
        why = f"recorded {recorded[:12]}, found {version.digest[:12]}"
        raise ConflictError(f"the bytes of {version.id} have changed since it was promoted", why)


def _cut_off(step: Step, chain: Chain, own: str, back: Back, manner: Manner) -> RolledBack | None:
    """The same rollback, whose process was killed when it had moved the alias already."""
    now = facts.aliases(step.dst, step.dst_name).get(manner.alias, "")
    for entry in reversed(chain.entries()):
        if entry.id == own:
            continue
        if entry.said("kind") != journal.ROLLBACK or not (entry.is_open or entry.said("outcome") == journal.ABANDONED):
            return None
        same = entry.said("asked") == back.version and entry.said("alias") == manner.alias
        if same and "previous" in entry.words and entry.said("version") == now:
            return RolledBack(step.model, step.destination, manner.alias, entry.said("previous"), now)
    return None


def _document(step: Step, found: RolledBack, manner: Manner, entry: Entry) -> Json:
    return {
        "format": record.FORMAT,
        "tool": f"mlflow-migration {version_of('mlflow-migration')}",
        "number": entry.number,
        "kind": journal.ROLLBACK,
        "outcome": journal.DONE,
        "reason": manner.reason,
        "at": approvals.now(),
        "by": manner.by,
        "model": step.model,
        "to": {
            "environment": step.destination,
            "server": step.dst.address,
            "model": step.dst_name,
            "version": found.version,
            "alias": found.alias,
            "previous": found.previous,
        },
        "policy": step.policy.digest(),
    }
