"""What a guided set-up asks, and what answers mean. Asking is left to whoever has a person in front of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mlflow_migration.apps import config
from mlflow_migration.errors import UsageError

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question: the key it sets, its words, what can be answered, and what holds where nothing is."""

    key: str
    text: str
    choices: tuple[str, ...] = ()
    default: str = ""


TOPICS: Mapping[str, str] = {
    "mlflow": "MLflow's source: a version, or a branch of a fork",
    "backend": "the backend: where MLflow keeps what it knows",
    "app": "the app: compute, workers, hosts",
}
"""What can be changed of an app that is set up."""
BACKENDS: Mapping[str, str] = {
    "sqlite": "a file of the app, kept in a Volume by snapshots",
    "lakebase": "PostgreSQL of the workspace",
    "databricks": "the workspace's own tracking, models in Unity Catalog",
}
ONLY: Mapping[str, str] = {"lakebase": "lakebase", "experiment_prefix": "databricks"}
"""Keys that one backend alone has."""


def of_topic(topic: str, content: Content) -> Iterable[Question]:
    """The questions of a topic, in order; what has been answered decides what is asked next, so take one at a time."""
    if topic == "mlflow":
        text = "MLflow: a version (app versions lists them), latest, or user/branch of a fork"
        yield Question("mlflow", text, default=shown(content.get("mlflow", "latest")))
    elif topic == "backend":
        choices = "; ".join(f"{name}: {what}" for name, what in BACKENDS.items())
        default = content.get("backend", "sqlite")
        yield Question("backend", f"Backend ({choices})", tuple(BACKENDS), default)
        if content.get("backend") == "databricks":
            text = "Folder of experiments whose names are no workspace paths, such as /Shared/mlflow (empty: none)"
            yield Question("experiment_prefix", text, default=content.get("experiment_prefix", ""))
        else:
            text = "Volume for artifacts and snapshots: /Volumes/CATALOG/SCHEMA/VOLUME"
            yield Question("volume", text, default=content.get("volume", ""))
    else:
        yield Question("compute", "Compute size", ("MEDIUM", "LARGE", "XLARGE"), content.get("compute", "MEDIUM"))
        yield Question("workers", "Processes of the server", default=str(content.get("workers", 1)))
        text = "Further hosts under which it is reached, with commas (empty: none)"
        yield Question("allowed_hosts", text, default=",".join(content.get("allowed_hosts", ())))


def first(content: Content) -> Iterable[Question]:
    """What is asked for a new app, but for what is answered already."""
    name = Question("name", "Name of the app: lowercase letters, digits, hyphens", default="mlflow")
    every = (name, *of_topic("mlflow", content), *of_topic("backend", content))
    yield from (question for question in every if question.key not in content)


def assigned(content: Content, assignments: Iterable[str]) -> dict[str, Any]:
    """The values with KEY=VALUE set, in which a key may have dots; an empty value takes the key out again.

    Raises UsageError for what is no assignment, or no key of a configuration.
    """
    found: dict[str, Any] = dict(content)
    for text in assignments:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"not an assignment: {text}", hint="write KEY=VALUE, as workers=2 or snapshots.keep=48")
        found = answered(found, key.strip(), value.strip())
    return found


def answered(content: Content, key: str, text: str) -> dict[str, Any]:
    """The values with an answer in them; an empty one takes the key out. Raises UsageError where it can't be."""
    path = key.split(".", 1) if key.startswith("environment.") else key.split(".")
    if not text:
        return _with(content, path, None)
    faults: dict[str, str] = {}
    for value in _meanings(path, text):
        candidate = _with(content, path, value)
        fault = config.fault_of(candidate, path)
        if not fault:
            return candidate
        faults.setdefault(fault, fault)
    raise UsageError(f"{key} can't be {text!r}", next(iter(faults)), config.REFERENCE)


def fitted(content: Content) -> dict[str, Any]:
    """The values without keys that are another backend's: what is left behind when the backend changes."""
    return {key: value for key, value in content.items() if ONLY.get(key) in (None, content.get("backend", "sqlite"))}


def shown(value: Any) -> str:
    """A value as it is answered."""
    if isinstance(value, Mapping):
        return str(value["git"]) if set(value) == {"git"} else str(dict(value))
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def changes(before: Content, after: Content) -> dict[str, tuple[Any, Any]]:
    """Key → what it was and what it is, for those that differ; None where it isn't there."""
    keys = [*before, *(key for key in after if key not in before)]
    pairs = {key: (before.get(key), after.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _meanings(path: Sequence[str], text: str) -> Iterable[Any]:
    """What a text can stand for, the plainest first: a version such as 3.10 is a text before it is a number."""
    if path == ["mlflow"] and "/" in text:
        yield {"git": text.removeprefix("git:").strip()}
        return
    yield text
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError:
        read = text
    if read != text:
        yield read
    if isinstance(read, str):
        yield [word.strip() for word in text.split(",") if word.strip()]


def _with(content: Content, path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy with a value at a path; None takes it out, and what is empty without it."""
    found = dict(content)
    if len(path) > 1:
        inner = found.get(path[0])
        value = _with(inner if isinstance(inner, Mapping) else {}, path[1:], value) or None
    if value is None:
        found.pop(path[0], None)
    else:
        found[path[0]] = value
    return found
