"""What a person is told of an object: its REST head as headings with names and values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from mlflow_migration.governance.graph import Facts
from mlflow_migration.promotion.approvals import PREFIX as APPROVAL
from mlflow_migration.records import ORIGIN, Json, tags_of

COMMITS = ("mlflow.source.git.commit", "mlflow.databricks.gitRepoCommit")
REPOSITORIES = ("mlflow.source.git.repoURL", "mlflow.gitRepoURL", "mlflow.databricks.gitRepoUrl")
BRANCHES = ("mlflow.source.git.branch", "mlflow.gitBranch", "mlflow.databricks.gitRepoReference")
NOTEBOOKS = ("mlflow.databricks.notebookPath",)
SOURCE_NAME = "mlflow.source.name"
NOTE = "mlflow.note.content"
LINKED_PROMPTS = "mlflow.linkedPrompts"
"""On runs, logged models and traces: `[{"name": …, "version": …}]`."""
PROMPT_TEXT = "mlflow.prompt.text"
LONGEST = 2_000
"""Characters of a value that are shown; the rest is told by its number."""


def moment(value: Any) -> str:
    """Milliseconds since 1970, or a text of RFC 3339, as UTC to the second; "" for none."""
    if value in (None, "", 0, "0"):
        return ""
    if isinstance(value, str) and not value.isdigit():
        return value
    try:
        return datetime.fromtimestamp(int(value) / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return str(value)


def short(text: str) -> str:
    """A value as it is shown."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"


def plain(values: Mapping[str, Any]) -> dict[str, str]:
    """The values there are, as texts."""
    return {key: short(str(value)) for key, value in values.items() if value not in (None, "", [], {})}


def first(tags: Mapping[str, str], keys: tuple[str, ...]) -> str:
    """The value of the first of some tags that is there."""
    return next((tags[key] for key in keys if tags.get(key)), "")


def of_version(head: Json, aliases: list[str]) -> Facts:
    """A model version."""
    tags = tags_of(head.get("tags"))
    about = {
        "aliases": ", ".join(sorted(aliases)),
        "stage": "" if head.get("current_stage") == "None" else head.get("current_stage"),
        "description": head.get("description"),
        "made": moment(tags.get(f"{ORIGIN}creation_timestamp") or head.get("creation_timestamp")),
        "registered here": moment(head.get("creation_timestamp")),
        "status": head.get("status"),
        "user": head.get("user_id"),
        "source": head.get("source"),
    }
    return _whole({"about": about, "tags": _own(tags), "origin": _origin(tags)})


def approvals(tags: Mapping[str, str]) -> dict[str, str]:
    """What people said of a version, by environment and person: tags that `promote approve` and `reject` set."""
    found = {}
    for key, value in tags.items():
        if key.startswith(APPROVAL):
            try:
                said = json.loads(value)
            except (ValueError, RecursionError):
                said = None
            if isinstance(said, dict):
                environment = key[len(APPROVAL) :].rpartition(".")[0]
                words = f"{said.get('verdict', '')} at {said.get('at', '')}, on {str(said.get('digest', ''))[:12]}"
                comment = f": {said['comment']}" if said.get("comment") else ""
                found[f"{said.get('by', '')} for {environment}"] = short(words + comment)
    return found


def of_prompt(head: Json, aliases: list[str]) -> Facts:
    """A prompt's version."""
    tags = tags_of(head.get("tags"))
    about = {
        "aliases": ", ".join(sorted(aliases)),
        "commit message": head.get("description"),
        "made": moment(head.get("creation_timestamp")),
        "text": tags.pop(PROMPT_TEXT, ""),
    }
    return _whole({"about": about, "tags": _own(tags), "origin": _origin(tags)})


def of_run(head: Json, experiment: str) -> Facts:
    """A run with its params and the last value of each metric."""
    info, data = head["info"], head.get("data") or {}
    tags = tags_of(data.get("tags"))
    about = {
        "experiment": experiment,
        "user": info.get("user_id") or tags.get("mlflow.user"),
        "status": info.get("status"),
        "started": moment(info.get("start_time")),
        "ended": moment(info.get("end_time")),
        "deleted": "yes" if info.get("lifecycle_stage") == "deleted" else "",
        "description": tags.get(NOTE),
    }
    metrics = {each["key"]: each.get("value") for each in data.get("metrics") or ()}
    params = tags_of(data.get("params"))
    return _whole({"about": about, "params": params, "metrics": metrics, "tags": _own(tags), "origin": _origin(tags)})


def of_logged_model(head: Json) -> Facts:
    """A logged model with its params, and its metrics by dataset."""
    info, data = head["info"], head.get("data") or {}
    tags = tags_of(info.get("tags"))
    about = {
        "model type": info.get("model_type"),
        "status": str(info.get("status", "")).removeprefix("LOGGED_MODEL_"),
        "made": moment(info.get("creation_timestamp_ms")),
        "creator": info.get("creator_id"),
        "artifacts": info.get("artifact_uri"),
    }
    metrics = {
        each["key"] + (f" on {each['dataset_name']}" if each.get("dataset_name") else ""): each.get("value")
        for each in data.get("metrics") or ()
    }
    return _whole(
        {
            "about": about,
            "params": tags_of(data.get("params")),
            "metrics": metrics,
            "tags": _own(tags),
            "origin": _origin(tags),
        }
    )


def of_dataset(entry: Json) -> Facts:
    """A run's dataset input."""
    dataset = entry.get("dataset") or {}
    about = {key: dataset.get(key) for key in ("digest", "source_type", "source", "schema", "profile")}
    return _whole({"about": about, "tags": tags_of(entry.get("tags"))})


def prompts_in(text: str) -> list[tuple[str, str]]:
    """(name, version) of each prompt that a tag of LINKED_PROMPTS names; none of a text that isn't such a list."""
    try:
        entries = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    if not isinstance(entries, list):
        return []
    return [
        (str(each["name"]), str(each["version"]))
        for each in entries
        if isinstance(each, dict) and "name" in each and "version" in each
    ]


def _own(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that a person or MLflow set, but for those that are shown elsewhere or hold whole documents."""
    hidden = (ORIGIN, "mlflow.log-model.history", "mlflow.source.git.diff", "mlflow.loggedArtifacts", "mlflow.source")
    kept = ("mlflow.source.type", *COMMITS, *BRANCHES, *REPOSITORIES)
    return {key: value for key, value in tags.items() if key in kept or not key.startswith(hidden)}


def _origin(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(ORIGIN): value
        for key, value in tags.items()
        if key.startswith(ORIGIN) and not key.startswith(APPROVAL)
    }


def _whole(parts: Mapping[str, Mapping[str, Any]]) -> Facts:
    found = {heading: plain(values) for heading, values in parts.items()}
    return {heading: values for heading, values in found.items() if values}
