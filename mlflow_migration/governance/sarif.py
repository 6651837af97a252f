"""An audit's report as SARIF 2.1.0, which code hosts and their review pages read.

A finding is about an object of a server, not a line of a file: its place is the object's page in MLflow, its logical
location names kind and id. Severities are told as `level`, and as GitHub's `security-severity`.
"""

from __future__ import annotations

from urllib.parse import quote

from mlflow_migration.governance.findings import RULE_TEXTS, Finding, Report
from mlflow_migration.governance.made_by import NAME, tool_version
from mlflow_migration.promotion.audit_forms import RULES
from mlflow_migration.records import Json

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://pypi.org/project/mlflow-migration/"
LEVELS = {"high": "error", "medium": "warning", "low": "note"}
SCORES = {"high": "8.0", "medium": "5.0", "low": "2.0"}
FINGERPRINT = "mlflowMigration/v1"


def document(report: Report) -> Json:
    """The report as a SARIF log of one run. Findings a baseline accepts are suppressed results."""
    order = {rule: number for number, rule in enumerate(RULES)}
    results = [_result(finding, order, accepted=False) for finding in report.findings]
    results += [_result(finding, order, accepted=True) for finding in report.accepted]
    notes = [
        {"level": "error", "message": {"text": f"{rule} was not checked: {why}"}, "associatedRule": {"id": rule}}
        for rule, why in report.unlooked.items()
    ]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": NAME,
                        "version": tool_version(),
                        "informationUri": HOME,
                        "rules": [_rule(rule) for rule in RULES],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": not report.unlooked,
                        "endTimeUtc": report.at.replace("+00:00", "Z"),
                        "toolExecutionNotifications": notes,
                    }
                ],
                "properties": {"address": report.address, "looked": dict(report.looked)},
                "results": results,
            }
        ],
    }


def _rule(rule: str) -> Json:
    text, remedy = RULE_TEXTS[rule]
    return {
        "id": rule,
        "name": "".join(word.capitalize() for word in rule.split("-")),
        "shortDescription": {"text": text},
        "fullDescription": {"text": f"{text}."},
        "help": {"text": remedy},
        "defaultConfiguration": {"level": LEVELS[RULES[rule]]},
        "properties": {"security-severity": SCORES[RULES[rule]], "tags": ["mlflow", "governance"]},
    }


def _result(finding: Finding, order: dict[str, int], accepted: bool) -> Json:
    where = finding.link or f"mlflow:{quote(finding.kind)}/{quote(finding.id, safe='')}"
    found: Json = {
        "ruleId": finding.rule,
        "ruleIndex": order[finding.rule],
        "level": LEVELS[finding.severity],
        "message": {"text": f"{finding.kind} {finding.name}: {finding.message}. {finding.remedy}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": where}},
                "logicalLocations": [
                    {"name": finding.name, "kind": "object", "fullyQualifiedName": f"{finding.kind}/{finding.id}"}
                ],
            }
        ],
        "partialFingerprints": {FINGERPRINT: finding.fingerprint},
        "properties": {"severity": finding.severity},
    }
    if finding.link:
        found["hostedViewerUri"] = finding.link
    if accepted:
        found["suppressions"] = [{"kind": "external", "justification": "accepted by the baseline"}]
    return found
