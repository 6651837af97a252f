"""The tables of the policy's page: from the JSON schema that pydantic makes of its forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlflow_migration.governance.findings import RULE_TEXTS
from mlflow_migration.promotion.audit_forms import RULES
from mlflow_migration.promotion.policy import schema

Schema = dict[str, Any]


def rows(form: str, text: str = "") -> list[tuple[str, str, str]]:
    """Key, meaning and default of a form's keys; of the whole for "". `text` is a schema other than the policy's."""
    whole: Schema = json.loads(text or schema())
    found = whole["$defs"][form] if form else whole
    return [(f"`{key}`", value.get("description", ""), _default(key, value, found)) for key, value in _keys(found)]


def gates() -> str:
    """A heading for each gate, what it wants in a sentence, and its keys."""
    whole: Schema = json.loads(schema())
    parts = []
    for form in whole["$defs"].values():
        if "gate" not in form["properties"]:
            continue
        parts.append(f"### {form['properties']['gate']['const']}\n\n{form['description']}\n")
        own = [(key, value) for key, value in _keys(form) if key not in {"gate", "name"}]
        if own:
            lines = ["| key | meaning | default |", "| --- | --- | --- |"]
            lines += [f"| `{key}` | {value['description']} | {_default(key, value, form)} |" for key, value in own]
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def audit_rules() -> list[tuple[str, str, str, str]]:
    """Rule, its severity, what a finding of it means, and what to do."""
    return [(f"`{rule}`", severity, *RULE_TEXTS[rule]) for rule, severity in RULES.items()]


def fenced(text: str = "") -> str:
    """A whole JSON schema: the policy's, or `text`."""
    return f"```json\n{(text or schema()).strip()}\n```\n"


def _keys(form: Schema) -> Iterator[tuple[str, Schema]]:
    yield from form["properties"].items()


def _default(key: str, value: Schema, form: Schema) -> str:
    if key in form.get("required", []):
        return "required"
    default = value.get("default")
    return f"`{json.dumps(default)}`" if default not in (None, "", [], {}) else ""
