"""What the journals of MLflow tell: what was in use when, who changed it, what was refused, and how things stand.

Times are those that the machines which promoted wrote down; the order within an environment is the journal's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from mlflow_migration.calls import Live, Readable
from mlflow_migration.promotion import facts, journal, record
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.journal import Entry
from mlflow_migration.promotion.policy import Policy
from mlflow_migration.promotion.step import alias_in
from mlflow_migration.records import Json

DIGITS = 12


@dataclass(frozen=True)
class Event:
    """One entry of a journal. `began` and `ended` are ms since 1970, `ended` 0 while it runs."""

    environment: str
    number: int
    kind: str
    outcome: str
    model: str
    version: str
    previous: str
    alias: str
    source: str
    source_version: str
    by: str
    reason: str
    refused: str
    digest: str
    run_id: str
    began: int
    ended: int

    def as_json(self) -> Json:
        return {**asdict(self), "began": iso(self.began), "ended": iso(self.ended) if self.ended else None}


def iso(ms: int) -> str:
    """ms since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="milliseconds")


def events(live: Readable, policy: Policy, environment: str, model: str) -> list[Event]:
    """The journal of a model in an environment, in its order; empty where nothing was ever promoted there."""
    chain = journal.find(live, policy.known(environment).journal, policy.name_in(environment, model))
    return [_event(entry, environment) for entry in chain.entries()] if chain else []


def _event(entry: Entry, environment: str) -> Event:
    said = entry.said
    refused, outcome = said("refused"), said("outcome") or ("running" if entry.is_open else "broke off")
    where = (said("from"), said("source_version"))
    why = said("reason") or said("note")
    changed = (said("version"), said("previous"), said("alias"))
    times = (entry.started, int(entry.run["info"].get("end_time") or 0))
    name = entry.tags.get(journal.MODEL, "")
    head = (environment, entry.number, said("kind"), outcome, name)
    return Event(*head, *changed, *where, said("by"), why, refused, said("digest"), entry.id, *times)


def holders(found: Sequence[Event], alias: str) -> Iterator[tuple[int, str]]:
    """When which version came into use: (ms since 1970, number; "" for none), by what was done in the journal."""
    for each in found:
        if each.outcome == journal.DONE and each.alias == alias:
            yield each.ended, each.version


def held_at(found: Sequence[Event], alias: str, moment: int) -> str:
    """The version in use at a moment (ms since 1970); "" for none, or where the journal begins later."""
    return next((version for ended, version in reversed(list(holders(found, alias))) if ended <= moment), "")


def stack(found: Sequence[Event], alias: str) -> list[str]:
    """The versions one can go back to, the one in use last: a rollback takes away what came after its version."""
    versions: list[str] = []
    for each in found:
        if each.outcome != journal.DONE or each.alias != alias:
            continue
        if not versions or versions[-1] != each.previous:
            # What was in use before was set by somebody else, not by a promotion.
            versions.append(each.previous)
        if each.kind == journal.ROLLBACK and each.version in versions:
            del versions[versions.index(each.version) + 1 :]
        elif versions[-1] != each.version:
            versions.append(each.version)
    return versions


@dataclass(frozen=True)
class Standing:
    """How a model stands in one environment. `equal` tells whether its bytes are those of the version in use one
    environment before: "yes", "no", or "" where that isn't known; `drift` what doesn't agree with the journal."""

    model: str
    environment: str
    name: str
    version: str
    challenger: str
    previous: str
    since: int
    by: str
    digest: str
    equal: str
    drift: str

    def as_json(self) -> Json:
        return {**asdict(self), "since": iso(self.since) if self.since else None}


def status(policy: Policy, model: str, lives: dict[str, Live], read_bytes: bool) -> list[Standing]:
    """How a model stands in each environment of the path. With `read_bytes` digests are made of the files as they are,
    else taken from the records of promotions."""
    found: list[Standing] = []
    before: Version | None = None
    for environment in policy.path:
        live, name = lives[environment], policy.name_in(environment, model)
        here = facts.aliases(live, name)
        number = here.get(alias_in(policy, environment), "")
        version = facts.version(live, name, number) if number else None
        happened = events(live, policy, environment, model)
        alias = alias_in(policy, environment)
        done = [each for each in happened if each.outcome == journal.DONE and each.alias == alias]
        last = done[-1] if done else None
        recorded = version.tags.get(record.DIGEST, "") if version else ""
        digest = version.digest if version and read_bytes else recorded
        drift = _drift(version, last, (recorded, digest))
        since = (
            last.ended
            if last and last.version == number
            else int(version.head.get("creation_timestamp") or 0)
            if version
            else 0
        )
        who = last.by if last and last.version == number else ""
        aliases = (number, here.get(policy.challenger, ""), here.get(policy.previous, ""))
        equal = _equal(version, before, last, read_bytes)
        found.append(Standing(model, environment, name, *aliases, since, who, digest, equal, drift))
        before = version
    return found


def _drift(version: Version | None, last: Event | None, digests: tuple[str, str]) -> str:
    recorded, digest = digests
    number = version.number if version else ""
    if last is not None and last.version != number:
        return f"the journal has {last.version or 'none'}, the alias points at {number or 'none'}"
    if recorded and digest and recorded != digest:
        return f"its bytes are {digest[:DIGITS]}, its record says {recorded[:DIGITS]}"
    return ""


def _equal(version: Version | None, before: Version | None, last: Event | None, read_bytes: bool) -> str:
    if version is None or before is None:
        return ""
    if read_bytes:
        return "yes" if version.digest == before.digest else "no"
    known = before.tags.get(record.DIGEST, "")
    recorded = version.tags.get(record.DIGEST, "")
    if known and recorded:
        return "yes" if known == recorded else "no"
    return "yes" if last and last.version == version.number and last.source_version == before.id else ""


def models(policy: Policy, lives: dict[str, Live]) -> list[str]:
    """The models that the journals know, by the policy's names."""
    found = set()
    for environment, live in lives.items():
        experiment = live.get_experiment_by_name(policy.known(environment).journal)
        for head in live.search_runs([experiment["experiment_id"]]) if experiment else ():
            found.add(Entry(head, 0).said("logical"))
    return sorted(found - {""})
