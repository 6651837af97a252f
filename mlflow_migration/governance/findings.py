"""What an audit finds, and the report of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from mlflow_migration.errors import DONE, INCOMPLETE
from mlflow_migration.promotion.audit_forms import SEVERITIES
from mlflow_migration.records import Json, digest_of

FORMAT = 1
"""Of the JSON document: `audit trend` reads it."""
RULE_TEXTS: Mapping[str, tuple[str, str]] = {
    "experiment-of-one": (
        "An experiment belongs to one person or notebook",
        "Give each use case one experiment; tell person, branch and notebook by tags of the runs.",
    ),
    "naming": (
        "A name doesn't follow the pattern, or says nothing",
        "Rename it, or change audit.names of the policy.",
    ),
    "run-metadata": (
        "A finished run lacks what every run has to tell",
        "Log it in the training code, for all runs; audit.runs of the policy says what is asked for.",
    ),
    "run-stuck": ("A run is still running after a long time", "End it as FAILED or KILLED, and look why its job died."),
    "version-description": (
        "A version has no description",
        "Say what it is for and why it is trusted, in the version's description.",
    ),
    "version-signature": (
        "A version has no signature",
        "Log the model with an input example, or add one by set-model-signature.",
    ),
    "version-evidence": (
        "No evaluation of a version is recorded",
        "Evaluate it (mlflow.evaluate with the model's id), or log metrics at its run.",
    ),
    "version-owner": ("A version has no owner", "Set the tag owner at the version or its model."),
    "version-unused": (
        "Nobody uses a version",
        "Delete it, or give it an alias: the registry is for serious candidates.",
    ),
    "origin-untraceable": (
        "Where a version in use comes from can't be traced",
        "Promote a version whose run is there, and keep the runs of versions in use.",
    ),
    "bytes-differ": (
        "A version's files are not those that were promoted",
        "Roll back, and find out who changed the files.",
    ),
    "traces-unreviewed": (
        "Traces have no assessment",
        "Review them, or set up a scorer for the experiment.",
    ),
    "champion-stale": ("A version in use was made long ago", "Retrain it, or evaluate it anew on recent data."),
    "permissions-wide": (
        "Somebody may do more than the policy allows",
        "Give permissions by experiment and model, to roles; see audit.widest and audit.admins of the policy.",
    ),
}
"""Rule → what a finding of it means, and what to do."""


@dataclass(frozen=True)
class Finding:
    """One thing that breaks a rule. `kind`, `id` and `name` are the object's; `message` says what is wrong with it."""

    rule: str
    severity: str
    kind: str
    id: str
    name: str
    message: str
    link: str = ""

    @property
    def fingerprint(self) -> str:
        """The same in every audit of the server: numbers and ages in the message aren't in it."""
        return digest_of([self.rule, self.kind, self.id])[:32]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return RULE_TEXTS[self.rule][1]

    def as_json(self) -> Json:
        """The finding in reports."""
        return {**asdict(self), "fingerprint": self.fingerprint, "remedy": self.remedy}


@dataclass(frozen=True)
class Report:
    """An audit of one server. `looked` counts objects by kind; `unlooked` is rule → why it couldn't be checked;
    `accepted` are findings that a baseline takes as known, `settled` what it holds and isn't there any more."""

    address: str
    at: str
    findings: tuple[Finding, ...]
    looked: Mapping[str, int] = field(default_factory=dict)
    unlooked: Mapping[str, str] = field(default_factory=dict)
    accepted: tuple[Finding, ...] = ()
    settled: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Severity → findings."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in reversed(SEVERITIES)}

    def exit_code(self, fail_on: str | None) -> int:
        """Non-zero where a finding is as grave as `fail_on`, or a rule couldn't be checked."""
        if self.unlooked:
            return INCOMPLETE
        return INCOMPLETE if fail_on and any(is_as_grave(each, fail_on) for each in self.findings) else DONE

    def as_json(self) -> Json:
        """The document of `--format json`."""
        return {
            "format": FORMAT,
            "address": self.address,
            "at": self.at,
            "counts": self.counts(),
            "findings": [finding.as_json() for finding in self.findings],
            "looked": dict(self.looked),
            "unlooked": dict(self.unlooked),
            "accepted": [finding.as_json() for finding in self.accepted],
            "settled": list(self.settled),
        }


def is_as_grave(finding: Finding, severity: str) -> bool:
    """Whether a finding is of this severity or worse."""
    return SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then by rule and name."""
    ranks = {severity: rank for rank, severity in enumerate(reversed(SEVERITIES))}
    return tuple(sorted(findings, key=lambda each: (ranks[each.severity], each.rule, each.kind, each.name, each.id)))


def without(report: Report, accepted: Iterable[str]) -> Report:
    """The report less the findings whose fingerprints are accepted."""
    known = set(accepted)
    return replace(
        report,
        findings=tuple(each for each in report.findings if each.fingerprint not in known),
        accepted=tuple(each for each in report.findings if each.fingerprint in known),
        settled=tuple(sorted(known - {each.fingerprint for each in report.findings})),
    )
