"""Approvals: tags of the version at the source, each with who, when, and on which bytes.

One tag says `approved` or `rejected` under the name of the approval task, which is what a Databricks deployment job
reads (a version's tag called as the task, value approved). Beside it each person has a tag of their own, which is what
counts here: the plain one doesn't tell who set it, nor for which bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from mlflow_migration.calls import Live
from mlflow_migration.errors import UsageError
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.gate_forms import AnyGate, Approvals
from mlflow_migration.promotion.verdicts import Case, Verdict
from mlflow_migration.records import ORIGIN, Json

APPROVED, REJECTED = "approved", "rejected"
PREFIX = ORIGIN + "approval."
DIGITS = 12


@dataclass(frozen=True)
class Opinion:
    """What one person said of a version, for one environment. `at` is ISO 8601 in UTC, by that person's clock."""

    by: str
    verdict: str
    at: str
    digest: str
    comment: str = ""

    def as_json(self) -> Json:
        return asdict(self)


def tag_of(environment: str, person: str) -> str:
    """The key of a person's tag: names of people may hold what keys can't."""
    return f"{PREFIX}{environment}.{hashlib.sha256(person.encode()).hexdigest()[:16]}"


def opinions(version: Version, environment: str) -> list[Opinion]:
    """What people said of a version for an environment, oldest first. A tag that says something else is none."""
    found = [
        opinion
        for key, value in version.tags.items()
        if key.startswith(f"{PREFIX}{environment}.")
        for opinion in _parsed(value)
        if key == tag_of(environment, opinion.by)
    ]
    return sorted(found, key=lambda each: each.at)


def _parsed(text: str) -> Iterator[Opinion]:
    try:
        value = json.loads(text)
        yield Opinion(**{key: str(value.get(key, "")) for key in Opinion.__dataclass_fields__})
    except (ValueError, AttributeError, RecursionError):
        return


def approvals(gate: Approvals, case: Case, name: str) -> Verdict:
    """Enough of the people named approved these bytes, and none of them rejected them."""
    version, to = case.version, case.destination
    digest, authors = version.digest, version.authors()
    wanted = f"{gate.needed} of {', '.join(gate.people)}, no author, on {digest[:DIGITS]}"
    counted, against, notes = [], [], []
    for each in opinions(version, to):
        if each.by not in gate.people:
            notes.append(f"{each.by} is not named by the policy")
        elif each.digest != digest:
            notes.append(
                f"the {_noun(each)} of {each.by} is void: it was for {each.digest[:DIGITS]}, the bytes have changed"
            )
        elif each.verdict == REJECTED:
            against.append(f"{each.by} rejected it{f': {each.comment}' if each.comment else ''}")
        elif each.by in authors:
            notes.append(f"{each.by} is an author")
        elif each.verdict == APPROVED:
            counted.append(each.by)
    passed = not against and len(counted) >= gate.needed
    plain = version.tags.get(tag_name(gate, to), "")
    if not passed and plain.lower() == APPROVED and not counted and not notes:
        notes.append(f"tag {tag_name(gate, to)!r} says {plain}, but not who did, nor for which bytes")
    if not passed and not against:
        notes.append(f"{gate.needed - len(counted)} more to approve: mlflow-migration promote approve")
    found = ", ".join(counted) or "none"
    return Verdict(gate.gate, name, passed, wanted, found, "" if passed else "; ".join([*against, *notes]))


def _noun(opinion: Opinion) -> str:
    return "approval" if opinion.verdict == APPROVED else "rejection"


def tag_name(gate: Approvals, environment: str) -> str:
    """The tag that a deployment job reads."""
    return gate.tag.replace("{environment}", environment)


def given(live: Live, version: Version, gates: tuple[AnyGate, ...], opinion: Opinion, environment: str) -> bool:
    """Note what a person says; whether anything was written, for the same opinion on the same bytes is noted once.

    Raises UsageError where no gate asks this person, or they made what they approve.
    """
    asking = [gate for gate in gates if isinstance(gate, Approvals)]
    if not any(opinion.by in gate.people for gate in asking):
        named = sorted({person for gate in asking for person in gate.people})
        why = f"the policy names {', '.join(named)}" if named else "no gate asks for approvals"
        raise UsageError(f"{opinion.by!r} has no say in what goes to {environment!r}", why)
    if opinion.verdict == APPROVED and opinion.by in version.authors():
        raise UsageError(f"{opinion.by!r} made version {version.id}", "nobody approves their own work")
    known = next((each for each in opinions(version, environment) if each.by == opinion.by), None)
    wrote = known is None or (known.verdict, known.digest) != (opinion.verdict, opinion.digest)
    if wrote:
        text = json.dumps(opinion.as_json(), ensure_ascii=False, sort_keys=True)
        live.registry.set_version_tag(version.name, version.number, (tag_of(environment, opinion.by), text))
    return wrote


def set_plain(live: Live, case: Case, gates: tuple[AnyGate, ...]) -> None:
    """Have the tags that deployment jobs read say what the gates find: approved, rejected, or pending."""
    for gate in gates:
        if not isinstance(gate, Approvals):
            continue
        verdict = approvals(gate, case, "")
        said = [each for each in opinions(case.version, case.destination) if each.by in gate.people]
        rejected = any(each.verdict == REJECTED and each.digest == case.version.digest for each in said)
        value = REJECTED if rejected else APPROVED if verdict.passed else "pending"
        key = tag_name(gate, case.destination)
        if case.version.tags.get(key) != value:
            live.registry.set_version_tag(case.version.name, case.version.number, (key, value))


def now() -> str:
    """This moment, ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
