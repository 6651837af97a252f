"""Logged models, traces and evaluation datasets in folders of mlflow-export-import's newest commits.

The old tool wrote the attributes of MLflow's Python objects; here they become what MLflow's REST API shows. The spans
of a trace are the artifact `traces.json`, which MLflow itself made and reads again: they stay there, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_migration.bundle import legacy_runs, manifest
from mlflow_migration.bundle.legacy_files import (
    DATASET,
    EXPERIMENT,
    LOGGED_MODEL,
    RUN,
    TRACE,
    Folder,
    duration,
    moment,
    pairs,
    plain,
)
from mlflow_migration.records import Json, Record, digest_of

STATUS = {
    "UNSPECIFIED": "LOGGED_MODEL_STATUS_UNSPECIFIED",
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
}
RENAMED = {
    "artifact_location": "artifact_uri",
    "creation_time": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
}
SPANS_FILE = "traces.json"
SPANS_LOCATION = "mlflow.trace.spansLocation"
IN_DATABASE = ("TRACKING_STORE", "ARCHIVE_REPO")


KNOWN = {"inputs", "outputs", "expectations", "tags", "source", "source_id", "source_type", "created_by"}
KNOWN |= {"last_updated_by", "created_time", "last_update_time", "dataset_id", "dataset_record_id"}
"""The fields of a dataset's record (`mlflow/entities/dataset_record.py` of 3.17.2)."""


def logged_models(folder: Folder) -> Iterator[Record]:
    """The logged models. One that several runs name may be there several times: equal ones are one."""
    runs: dict[str, Path] = {}
    seen: set[str] = set()

    def make(path: Path, value: Json) -> Iterator[Record]:
        fields = plain(value, "tags", "params", "metrics", "status", "dataset_inputs", "model_uri")
        info = {RENAMED.get(key, key): part for key, part in fields.items()}
        info |= {"tags": pairs(value.get("tags")), "experiment_id": str(value["experiment_id"])}
        if value.get("status"):
            info["status"] = STATUS[value["status"]]
        metrics = [plain(each) for each in value.get("metrics") or []]
        if any(metric["value"] == 0 for metric in metrics) and not runs:
            runs.update(_runs(folder))
        whole = _with_nan(folder, metrics, runs)
        head = {"info": info, "data": {"params": pairs(value.get("params")), "metrics": whole}}
        digest = digest_of(head)
        if digest not in seen:
            seen.add(digest)
            yield _logged_model(folder, path, head)

    return folder.records("logged_model.json", make)


def _logged_model(folder: Folder, path: Path, head: Json) -> Record:
    info = head["info"]
    refs = {EXPERIMENT: info["experiment_id"]}
    if info.get("source_run_id"):
        refs[RUN] = str(info["source_run_id"])
    return Record(
        LOGGED_MODEL,
        str(info["model_id"]),
        str(info.get("name", "")),
        ("experiments", info["experiment_id"], "logged_models", str(info["model_id"])),
        head,
        refs,
        files=partial(folder.files, path),
    )


def _runs(folder: Folder) -> Iterator[tuple[str, Path]]:
    for path in folder.heads("run.json"):
        info = folder.value(path).get("info")
        if isinstance(info, dict):
            yield str(info.get("run_id", "")), path


def _with_nan(folder: Folder, metrics: list[Json], runs: dict[str, Path]) -> list[Json]:
    """The metrics with NaN where their run's history says so: MLflow stores a model's NaN as 0.0 (found on 3.17.2)."""
    zeros = {metric.get("run_id", "") for metric in metrics if metric["value"] == 0}
    values: dict[tuple[str, str, int, int], set[float | str]] = {}
    for run_id in zeros & runs.keys():
        for row in legacy_runs.points(folder, runs[run_id]):
            for step, timestamp, value in row["points"]:
                values.setdefault((run_id, row["key"], step, timestamp), set()).add(value)

    def whole(metric: Json) -> Json:
        moment_of = (metric.get("run_id", ""), metric["key"], int(metric.get("step", 0)), int(metric["timestamp"]))
        there = values.get(moment_of, set())
        is_nan = metric["value"] == 0 and "NaN" in there and 0 not in there
        return {**metric, "value": "NaN"} if is_nan or metric["value"] != metric["value"] else metric

    return [whole(metric) for metric in metrics]


def traces(folder: Folder) -> Iterator[Record]:
    """The traces, as MLflow 3 shows them, whether it or MLflow 2 gave them to the old tool."""
    return folder.records("trace.json", partial(_trace, folder))


def _trace(folder: Folder, path: Path, value: Json) -> Iterator[Record]:
    info = value["info"]
    trace_id = trace_id_of(value)
    experiment_id = legacy_runs.experiment_of(info)
    tags = dict(info.get("tags") or {})
    if tags.get(SPANS_LOCATION) in IN_DATABASE:
        # Spans in a server's database are not among what the old tool exported.
        del tags[SPANS_LOCATION]
    head = plain({key: info.get(key) for key in ("request_preview", "response_preview", "client_request_id")})
    head |= {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}},
        "request_time": moment(info["request_time"] if "request_time" in info else info["timestamp_ms"]),
        "state": _state(str(info.get("state") or info.get("status") or "")),
        "trace_metadata": dict(info.get("trace_metadata") or info.get("request_metadata") or {}),
        "tags": tags,
        "assessments": [_assessment(each) for each in info.get("assessments") or []],
    }
    took = info.get("execution_duration", info.get("execution_time_ms"))
    if took is not None:
        head["execution_duration"] = duration(took)
    yield Record(
        TRACE,
        trace_id,
        str(tags.get("mlflow.traceName", "")),
        ("experiments", experiment_id, "traces", trace_id),
        head,
        {EXPERIMENT: experiment_id},
        {"spans": lambda: iter(())},
        partial(folder.files, path),
    )


def trace_id_of(value: Json) -> str:
    """The id of a trace, which MLflow 2 called that of a request."""
    info = value["info"]
    return str(info["trace_id"] if "trace_id" in info else info["request_id"])


def has_spans(path: Path) -> bool:
    """Whether the spans of a trace's file were exported."""
    return (path.parent / "artifacts" / SPANS_FILE).is_file()


def _state(state: str) -> str:
    return state if state in {"OK", "ERROR", "IN_PROGRESS"} else "STATE_UNSPECIFIED"


def _assessment(value: Json) -> Json:
    found = plain({key: value.get(key) for key in ("assessment_id", "trace_id", "span_id", "rationale", "overrides")})
    found["assessment_name"] = value["name"]
    found["source"] = plain(value["source"])
    found["create_time"] = moment(value["create_time_ms"])
    found["last_update_time"] = moment(value["last_update_time_ms"])
    # MLflow's object for an expectation doesn't know whether it is valid; the server's own default is that it is.
    found["valid"] = value.get("valid") is not False
    if value.get("metadata"):
        found["metadata"] = dict(value["metadata"])
    if value.get("feedback") is not None:
        found["feedback"] = _feedback(value["feedback"])
    elif value.get("issue") is not None:
        found["issue"] = plain(value["issue"])
    else:
        found["expectation"] = _expectation(value["expectation"])
    return found


def _feedback(value: Json) -> Json:
    error = value.get("error")
    return {"value": value.get("value"), **({"error": plain(error)} if error else {})}


def _expectation(value: Any) -> Json:
    """MLflow's REST API has lists and objects as text (`ExpectationValue` in `mlflow/entities/assessment.py`)."""
    if isinstance(value, (list, dict)):
        return {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": json.dumps(value)}}
    return {"value": value}


def datasets(folder: Folder) -> Iterator[Record]:
    """The evaluation datasets with their records."""
    names: dict[str, str] = {}

    def make(path: Path, value: Json) -> Iterator[Record]:
        if not names:
            names.update(legacy_runs.names(folder))
        dataset = value["evaluation_dataset"]
        tied = [str(id_) for id_ in dataset.get("experiment_ids") or []]
        head = plain(dataset, "records")
        tags = dataset.get("tags") or {}
        head |= {
            "dataset_id": str(dataset["dataset_id"]),
            "tags": tags if isinstance(tags, str) else json.dumps(tags),
            "experiment_ids": tied,
            "experiment_names": [names.get(id_, "") for id_ in tied],
        }
        dataset_id = head["dataset_id"]
        home = ("evaluation_datasets", dataset_id)
        rows = partial(_rows, folder, path)
        yield Record(DATASET, dataset_id, str(dataset["name"]), home, head, rows={"records": rows})

    return folder.records("evaluation_dataset.json", make)


def _rows(folder: Folder, path: Path) -> Iterator[Json]:
    # Read anew each time, so that the records of one dataset only are held while they are written.
    rows = folder.value(path)["evaluation_dataset"].get("records") or []
    if not all(isinstance(row, dict) for row in rows):
        raise manifest.broken(folder.name(path), ValueError("a record is no JSON object"))
    # MLflow gives a record without tags empty ones.
    yield from ({"tags": {}, **row} for row in rows)


def unknown_fields(value: Json) -> set[str]:
    """The fields of records that MLflow has no place for."""
    rows = value["evaluation_dataset"].get("records") or []
    return {key for row in rows for key in row} - KNOWN
