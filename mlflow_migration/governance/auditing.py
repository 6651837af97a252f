"""An audit of one server by all rules, and the forms its report is given in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_migration.errors import UsageError
from mlflow_migration.governance import made_by, page, rules_runs, rules_server, rules_versions, sarif
from mlflow_migration.governance.environments import Environments
from mlflow_migration.governance.findings import FORMAT, RULE_TEXTS, Report, ordered
from mlflow_migration.governance.looking import Looking, counted
from mlflow_migration.promotion.audit_forms import Audit
from mlflow_migration.records import Json
from mlflow_migration.report import visible

STAGES = (
    (rules_runs.OF_RUNS, rules_runs.look),
    (rules_versions.OF_VERSIONS, rules_versions.look),
    (rules_server.OF_TRACES, rules_server.look_at_traces),
    (rules_server.OF_USERS, rules_server.look_at_permissions),
)
SHOWN = 20
"""Findings of one rule that a terminal shows; the other formats have all of them."""
COLUMNS = ("severity", "rule", "object", "what is wrong")
LARGEST = 256 * 1024 * 1024


def run(environments: Environments, name: str, settings: Audit, workers: int = 8) -> Report:
    """Look at one of the environments by every rule that is on. Raises AccessError where the server goes away."""
    now = int(time.time() * 1000)
    looking = Looking(environments, name, settings, now, workers)
    for rules, look in STAGES:
        looking.check(rules, partial(look, looking))
    at = datetime.fromtimestamp(now / 1000, timezone.utc).isoformat(timespec="seconds")
    address = environments.open[name].address
    return Report(address, at, ordered(looking.findings), dict(looking.looked), dict(looking.unlooked))


def table(report: Report) -> str:
    """The report for a terminal: SHOWN findings of each rule, how many there are, and what couldn't be checked."""
    lines = [f"{report.address}, {report.at}", ""]
    shown: dict[str, int] = {}
    for finding in report.findings:
        shown[finding.rule] = shown.get(finding.rule, 0) + 1
        if shown[finding.rule] <= SHOWN:
            lines.append(f"{finding.severity:<6}  {finding.rule}: {finding.kind} {visible(finding.name)}")
            lines.append(f"        {visible(finding.message)}" + (f"  {finding.link}" if finding.link else ""))
        if shown[finding.rule] == 1:
            lines.append(f"        to do: {finding.remedy}")
    for rule, number in shown.items():
        if number > SHOWN:
            lines.append(f"        {rule}: {number - SHOWN:,} more; --format json has all")
    lines += [f"not checked: {rule}: {visible(why)}" for rule, why in report.unlooked.items()]
    counts = ", ".join(f"{number:,} {severity}" for severity, number in report.counts().items())
    looked = ", ".join(counted(number, kind) for kind, number in report.looked.items())
    lines += ["", f"findings: {counts}; looked at {looked or 'nothing'}"]
    if report.accepted or report.settled:
        lines.append(f"baseline: {len(report.accepted):,} accepted, {len(report.settled):,} of it are settled")
    return "\n".join(lines)


def _page(report: Report) -> str:
    rules = [
        {"name": rule, "text": RULE_TEXTS[rule][0], "remedy": RULE_TEXTS[rule][1], "findings": found}
        for rule in dict.fromkeys(finding.rule for finding in report.findings)
        if (found := [finding for finding in report.findings if finding.rule == rule])
    ]
    return page.render(
        "audit.html",
        f"Audit of {report.address}",
        report=report,
        rules=rules,
        counts=report.counts(),
        when=made_by.line(),
    )


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "table": table,
    "json": lambda report: json.dumps(report.as_json(), indent=1, ensure_ascii=False),
    "sarif": lambda report: json.dumps(sarif.document(report), indent=1, ensure_ascii=False),
    "html": _page,
}
"""How a report is given."""


def accepted(path: Path) -> tuple[str, ...]:
    """The fingerprints of a baseline's file, which is a report or what `baseline` wrote. Raises UsageError."""
    document = read(path)
    entries = document.get("accepted", []) if "findings" not in document else document["findings"]
    return tuple(_fingerprints(entries, path))


def _fingerprints(entries: Any, path: Path) -> Iterator[str]:
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("fingerprint"), str):
            raise UsageError(f"not a baseline: {path}", "an entry has no fingerprint", "--write-baseline writes one")
        yield entry["fingerprint"]


def baseline(report: Report) -> str:
    """A baseline's file that accepts everything in a report. `reason` is for people to fill in."""
    found = [
        {
            "fingerprint": each.fingerprint,
            "rule": each.rule,
            "kind": each.kind,
            "name": each.name,
            "message": each.message,
            "reason": "",
        }
        for each in (*report.findings, *report.accepted)
    ]
    document = {"format": FORMAT, "address": report.address, "at": report.at, "accepted": found}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> Json:
    """A report's or baseline's document. Raises UsageError for a file that is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} is too large", f"more than {LARGEST} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't read {path}", error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON", str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError(f"{path} is no report of audit run", hint="audit run --format json --output FILE writes one")
    return document
