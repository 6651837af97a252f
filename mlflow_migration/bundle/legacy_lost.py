"""What the export of an old folder has lost, as far as the folder tells, and what its lists say it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_migration.bundle import legacy_genai
from mlflow_migration.bundle.legacy_files import (
    COPIES,
    DATASET,
    EXPERIMENT,
    LOGGED_MODEL,
    MODEL,
    PROMPT,
    PROMPT_VERSION,
    RUN,
    TRACE,
    VERSION,
    Folder,
)
from mlflow_migration.records import Json
from mlflow_migration.report import Row

TOOL = "mlflow-export-import"
FAILED = f"{TOOL} could not export it, or not whole"
EMPTY = f"{TOOL} left an empty file: it failed while it wrote it"
NO_SPANS = f"{TOOL} exported no spans of it: they were in the server's database"
OF_PROMPTS = (
    f"{TOOL} exports none: aliases, descriptions, prompts' own tags, response formats, model settings. "
    "Set by hand what there was"
)
COPY = f"{TOOL}'s copy of a version's model files: the version is made of its run's or logged model's files"
PERMISSIONS = "permissions in such a folder are not read"


@dataclass(frozen=True)
class Lost:
    """`row` says what, `kind` is that of the object it belongs to, `experiment` the id of its experiment, if any."""

    kind: str
    row: Row
    experiment: str = ""


@dataclass(frozen=True)
class Promised:
    """An object that a list names. What is listed as a model may have been read as a prompt."""

    kind: str
    id: str
    file: str

    @property
    def may_be(self) -> set[tuple[str, str]]:
        return {(kind, self.id) for kind in ((MODEL, PROMPT) if self.kind == MODEL else (self.kind,))}


def promised(folder: Folder) -> Iterator[Promised]:
    """Every object that a list in the folder names as exported."""
    for path in folder.heads("experiment.json"):
        value = folder.value(path)
        for kind, key in ((RUN, "runs"), (LOGGED_MODEL, "logged_models")):
            yield from (Promised(kind, id_, folder.name(path)) for id_ in _texts(value.get(key)))
    for path in folder.heads("models.json"):
        yield from (Promised(MODEL, name, folder.name(path)) for name in _texts(folder.value(path).get("models")))
    for kind, key in ((LOGGED_MODEL, "logged_models"), (TRACE, "traces")):
        for path in folder.heads(f"{key}.json"):
            head = folder.head(path)
            # These lists hold what failed too.
            failed = set(_texts(head["info"].get(f"failed_{key}")))
            for entry in _dicts(head["mlflow"].get("experiments")):
                yield from (
                    Promised(kind, id_, folder.name(path)) for id_ in _texts(entry.get(key)) if id_ not in failed
                )


def lost(folder: Folder) -> Iterator[Lost]:
    """Everything that the export lost, each once, as it is to be reported."""
    seen = set()
    for each in _lost(folder):
        what = (each.row.kind, each.row.id, each.row.name if each.row.id == "*" else "")
        if what not in seen:
            seen.add(what)
            yield each


def _lost(folder: Folder) -> Iterator[Lost]:
    yield from _failed(folder)
    yield from _summaries(folder)
    for kind, path in folder.empty():
        yield Lost(kind, Row(kind, path.parent.name, folder.name(path), "unsupported", EMPTY))
    for path in folder.heads("trace.json"):
        value = folder.value(path)
        if value.get("data") and not legacy_genai.has_spans(path):
            id_ = legacy_genai.trace_id_of(value)
            yield Lost(TRACE, Row("artifact", id_, f"trace {id_} spans", "unsupported", NO_SPANS))
    for path in folder.heads("evaluation_dataset.json"):
        for key in sorted(legacy_genai.unknown_fields(folder.value(path))):
            name = f"evaluation_dataset {path.parent.name} {key} of records"
            yield Lost(DATASET, Row("metadata", path.parent.name, name, "unsupported", "MLflow has no such field"))
    if next(folder.heads("prompt.json"), None) is not None:
        yield Lost(PROMPT, Row("link", "*", "what belongs to prompts", "unsupported", OF_PROMPTS))
    for path in _copies(folder.root):
        yield Lost(VERSION, Row("artifact", "*", folder.name(path), "skipped", COPY))


def _failed(folder: Folder) -> Iterator[Lost]:
    for path in folder.heads("experiment.json"):
        head = folder.head(path)
        value = head["mlflow"].get("experiment") or head["mlflow"]
        id_, name = str(value.get("experiment_id", "")), str(value.get("name", ""))
        for run_id in _texts(head["info"].get("failed_runs")):
            yield Lost(RUN, Row(RUN, run_id, run_id, "unsupported", FAILED), id_)
        if head["mlflow"].get("permissions"):
            yield Lost(EXPERIMENT, Row("permission", id_, f"experiment {name}", "skipped", PERMISSIONS), id_)
    for path in folder.heads("model.json"):
        head = folder.head(path)
        model = head["mlflow"].get("registered_model") or {}
        name = str(model.get("name", ""))
        for each in _dicts(head["info"].get("failed_versions")):
            id_ = f"{name}/{each.get('version')}"
            reason = str(each.get("message") or each.get("error") or FAILED)
            yield Lost(VERSION, Row(VERSION, id_, id_, "unsupported", f"{TOOL} could not export it: {reason[:300]}"))
        if model.get("permissions"):
            yield Lost(MODEL, Row("permission", name, f"registered_model {name}", "skipped", PERMISSIONS))


def _summaries(folder: Folder) -> Iterator[Lost]:
    """What the lists of a bulk export say failed, by name or only by number."""
    for kind, key in ((MODEL, "models"), (LOGGED_MODEL, "logged_models"), (TRACE, "traces")):
        for path in folder.heads(f"{key}.json"):
            for id_ in _texts(folder.head(path)["info"].get(f"failed_{key}")):
                yield Lost(kind, Row(kind, id_, id_, "unsupported", FAILED))
    for kind, key in ((PROMPT_VERSION, "prompts"), (DATASET, "evaluation_datasets")):
        for path in folder.heads(f"{key}_summary.json"):
            count = folder.value(path).get("failed_exports")
            if isinstance(count, int) and count > 0:
                yield Lost(kind, Row(kind, "*", f"{count} of them", "unsupported", FAILED))
    here = {path.parent for path in folder.heads("experiment.json")}
    for path in folder.heads("experiments.json"):
        for entry in _dicts(folder.value(path).get("experiments")):
            id_ = str(entry.get("id", ""))
            if path.parent / id_ not in here:
                name = str(entry.get("name", id_))
                yield Lost(EXPERIMENT, Row(EXPERIMENT, id_, name, "unsupported", f"{folder.name(path)} names it alone"))


def _copies(root: Path) -> Iterator[Path]:
    """Folders with the old tool's copies of model files; artifacts are not looked into."""
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        if entry.is_dir() and not entry.is_symlink() and entry.name != "artifacts":
            yield from [entry] if entry.name.startswith(COPIES) else _copies(entry)


def _texts(values: Any) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []


def _dicts(values: Any) -> Iterator[Json]:
    return (value for value in (values if isinstance(values, list) else ()) if isinstance(value, dict))
