"""Two reports of one server compared: what is new, what is gone, what stays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_migration.errors import DONE, INCOMPLETE, UsageError
from mlflow_migration.governance import auditing
from mlflow_migration.promotion.audit_forms import RULES, SEVERITIES
from mlflow_migration.records import Json
from mlflow_migration.report import visible

FIELDS = ("rule", "severity", "kind", "id", "name", "message", "fingerprint")


@dataclass(frozen=True)
class Trend:
    """Findings by their fate. `unsure` are those that are gone because their rule couldn't be checked any more."""

    old: Json
    new: Json
    appeared: tuple[Json, ...]
    gone: tuple[Json, ...]
    unsure: tuple[Json, ...]
    stayed: int

    def exit_code(self, fail_on: str | None) -> int:
        """Non-zero where a new finding is as grave as `fail_on`."""
        rank = SEVERITIES.index
        grave = (each for each in self.appeared if fail_on and rank(each["severity"]) >= rank(fail_on))
        return INCOMPLETE if any(grave) else DONE

    def as_json(self) -> Json:
        """The document of --json."""
        return {
            "old": {"address": self.old["address"], "at": self.old["at"], "counts": self.old["counts"]},
            "new": {"address": self.new["address"], "at": self.new["at"], "counts": self.new["counts"]},
            "appeared": list(self.appeared),
            "gone": list(self.gone),
            "unsure": list(self.unsure),
            "stayed": self.stayed,
        }

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.old['address']}  {self.old['at']} → {self.new['at']}", ""]
        for mark, found in (("+", self.appeared), ("-", self.gone), ("?", self.unsure)):
            lines += [_line(mark, finding) for finding in found]
        before = Counter(each["rule"] for each in self.old["findings"])
        after = Counter(each["rule"] for each in self.new["findings"])
        lines += ["", f"{'rule':<22}{'old':>8}{'new':>8}"]
        lines += [f"{rule:<22}{before[rule]:>8,}{after[rule]:>8,}" for rule in RULES if before[rule] or after[rule]]
        told = f"{len(self.appeared):,} new, {len(self.gone):,} gone, {self.stayed:,} stayed"
        return "\n".join([*lines, "", told + (f", {len(self.unsure):,} not checked any more" if self.unsure else "")])


def compare(old: Path, new: Path) -> Trend:
    """What changed between two reports. Raises UsageError for a file that is none, or reports of different servers."""
    before, after = _report(old), _report(new)
    if before["address"] != after["address"]:
        why = f"{before['address']} and {after['address']}"
        raise UsageError("these are reports of different servers", why, "compare two reports of one server")
    was = {each["fingerprint"]: each for each in before["findings"]}
    is_ = {each["fingerprint"]: each for each in after["findings"]}
    # What a baseline accepts since then is neither new nor gone.
    accepted = {each["fingerprint"] for each in (*before["accepted"], *after["accepted"])}
    lost = [each for key, each in was.items() if key not in is_ and key not in accepted]
    unlooked = set(after["unlooked"])
    return Trend(
        before,
        after,
        tuple(each for key, each in is_.items() if key not in was and key not in accepted),
        tuple(each for each in lost if each["rule"] not in unlooked),
        tuple(each for each in lost if each["rule"] in unlooked),
        len(was.keys() & is_.keys()),
    )


def _report(path: Path) -> Json:
    document = auditing.read(path)
    for key in ("findings", "accepted"):
        if not isinstance(document.get(key), list) or not all(_is_finding(each) for each in document[key]):
            raise UsageError(f"{path} is no report of audit run", f"its {key} can't be read")
    if not all(
        isinstance(document.get(key), kind) for key, kind in (("address", str), ("at", str), ("unlooked", dict))
    ):
        raise UsageError(f"{path} is no report of audit run", "it lacks the address, the time or what was not checked")
    return document


def _is_finding(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in FIELDS)
        and value["severity"] in SEVERITIES
    )


def _line(mark: str, finding: Json) -> str:
    return f"{mark} {finding['severity']:<6}  {finding['rule']}: {finding['kind']} {visible(finding['name'])}"
