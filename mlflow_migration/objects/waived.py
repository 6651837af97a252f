"""Which fields of objects may differ after losses that a person allows."""

from __future__ import annotations

from collections.abc import Iterable

FIELDS = {
    **{kind: f"{kind}s." for kind in ("param", "tag", "metric", "artifact", "assessment", "permission")},
    "input": "inputs",
    "metadata": "metadata.",
    "name": "run_name",
}
"""The fields in which a loss of that kind shows."""
LINKS = ("tags.mlflow.parentRunId", "tags.mlflow.rootRunId", "tags._mlflow_experiment_ids", "source", "run_id")
UNHELD = {"link": ("aliases.",), "tag": ("stage",)}
"""Fields of models and versions that some registries don't have, by the kind of the loss."""


def covers(allowed: Iterable[str], field: str) -> bool:
    """Whether one of the kinds of losses allowed shows in a field."""
    for kind in allowed:
        if kind == "link" and field in LINKS:
            return True
        if field.startswith(UNHELD.get(kind, ())) or (kind in FIELDS and field.startswith(FIELDS[kind])):
            return True
    return False
