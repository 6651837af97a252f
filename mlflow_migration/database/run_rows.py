"""Experiments, runs and logged models as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from mlflow_migration.database.made import Guess, Made, Part, Values, made_up_id, now, number, pairs, told
from mlflow_migration.database.settled import Place, Settled
from mlflow_migration.records import Json, Record, tags_of

LARGEST = 1.7976931348623157e308
"""What MLflow stores an infinite value as."""
ACTIVE, DELETED = "active", "deleted"
STATUS = {"LOGGED_MODEL_PENDING": 1, "LOGGED_MODEL_READY": 2, "LOGGED_MODEL_UPLOAD_FAILED": 3}
"""The numbers of `mlflow.entities.LoggedModelStatus`."""
DELETED_MODEL = "deleted_but_named_by"
"""Stands in the head of a deleted model."""

EXPERIMENT = (
    Part("experiments", ("experiment_id",), ("experiment_id",)),
    Part("experiment_tags", ("experiment_id",), ("experiment_id", "key")),
)
RUN = (
    Part("runs", ("run_uuid",), ("run_uuid",)),
    Part("tags", ("run_uuid",), ("run_uuid", "key")),
    Part("params", ("run_uuid",), ("run_uuid", "key")),
    Part("datasets", ("experiment_id", "name", "digest"), ("experiment_id", "name", "digest"), shared=True),
    Part("inputs", ("destination_id",), ("source_type", "source_id", "destination_type", "destination_id")),
    Part("input_tags", ("input_uuid",), ("input_uuid", "name")),
    Part(
        "inputs",
        ("source_id",),
        ("source_type", "source_id", "destination_type", "destination_id"),
        shared=True,
        name="models",
    ),
)
METRICS = Part("metrics", ("run_uuid", "key", "timestamp"), ("run_uuid", "key", "timestamp", "step", "value", "is_nan"))
LATEST_COLUMNS = ("key", "value", "timestamp", "step")
MODEL = (
    Part("logged_models", ("model_id",), ("model_id",)),
    Part("logged_model_params", ("model_id",), ("model_id", "param_key")),
    Part("logged_model_tags", ("model_id",), ("model_id", "tag_key")),
    Part(
        "logged_model_metrics",
        ("model_id",),
        ("model_id", "metric_name", "metric_timestamp_ms", "metric_step", "run_id"),
    ),
)


def experiment(head: Json, place: Place, name: str, to: Settled) -> Made:
    """An experiment under its number and name at the database."""
    row = {
        "experiment_id": place.id,
        "name": name,
        "workspace": to.workspace,
        "artifact_location": Guess(place.location),
        "lifecycle_stage": head.get("lifecycle_stage", ACTIVE),
        "creation_time": told(head, "creation_time"),
        "last_update_time": told(head, "last_update_time"),
    }
    tags = to.own_tags(tags_of(head.get("tags")))
    return Made((place.id,), {"experiments": [row], "experiment_tags": pairs(tags, {"experiment_id": place.id})})


def run_uri(place: Place, run_id: str) -> str:
    return f"{place.location.rstrip('/')}/{run_id}/artifacts"


def model_uri(place: Place, model_id: str) -> str:
    return f"{place.location.rstrip('/')}/models/{model_id}/artifacts"


def run(record: Record, to: Settled, uri: str | None) -> Made:
    """A run; its metric points are a stream. `uri` is where its artifacts lie, None for where a new one's would."""
    info, data = record.head["info"], record.head["data"]
    place = to.place(info["experiment_id"])
    row = {
        "run_uuid": record.id,
        "name": info.get("run_name") or tags_of(data.get("tags")).get("mlflow.runName") or None,
        "source_type": Guess(info.get("source_type") or "UNKNOWN"),
        "source_name": Guess(info.get("source_name") or ""),
        "entry_point_name": Guess(info.get("entry_point_name") or ""),
        "source_version": Guess(info.get("source_version") or ""),
        # As a server writes nobody: it gives no run out in which there is NULL (3.17.2).
        "user_id": info.get("user_id") or "",
        "status": info.get("status", "RUNNING"),
        "start_time": number(info.get("start_time", 0)),
        "end_time": number(info["end_time"]) if info.get("end_time") else None,
        "lifecycle_stage": info.get("lifecycle_stage", ACTIVE),
        "artifact_uri": run_uri(place, record.id) if uri is None else uri,
        "experiment_id": place.id,
        "deleted_time": None,
    }
    if row["lifecycle_stage"] == DELETED:
        # `mlflow gc` deletes what has been deleted for a while: one whose time isn't known counts from now.
        row["deleted_time"] = number(info["deleted_time"]) if info.get("deleted_time") else Guess(now())
    owner = {"run_uuid": record.id}
    rows = {
        "runs": [row],
        "tags": pairs(to.own_tags(tags_of(data.get("tags"))), owner),
        "params": pairs(tags_of(data.get("params")), owner),
        **_inputs(record, place),
        "models": list(_models(record.id, record.head)),
    }
    return Made((record.id,), rows, partial(_points, record))


def _inputs(record: Record, place: Place) -> dict[str, list[Values]]:
    """The datasets a run took in, known in an experiment by name and digest."""
    found: dict[str, list[Values]] = {"datasets": [], "inputs": [], "input_tags": []}
    for entry in (record.head.get("inputs") or {}).get("dataset_inputs", ()):
        dataset = entry["dataset"]
        known = (place.id, dataset["name"], dataset["digest"])
        dataset_id = made_up_id("dataset", *known)
        input_id = made_up_id("input", record.id, *known)
        found["datasets"].append(
            {
                "dataset_uuid": dataset_id,
                "experiment_id": place.id,
                "name": dataset["name"],
                "digest": dataset["digest"],
                # Another dataset of that name and digest stays, as MLflow keeps the first one.
                "dataset_source_type": Guess(dataset.get("source_type", "")),
                "dataset_source": Guess(dataset.get("source", "")),
                "dataset_schema": Guess(dataset.get("schema")),
                "dataset_profile": Guess(dataset.get("profile")),
            }
        )
        found["inputs"].append(
            {
                "input_uuid": input_id,
                "source_type": "DATASET",
                "source_id": dataset_id.value,
                "destination_type": "RUN",
                "destination_id": record.id,
                "step": 0,
            }
        )
        tags = tags_of(entry.get("tags"))
        found["input_tags"] += pairs(tags, {"input_uuid": input_id.value}, ("name", "value"))
    return found


def _models(run_id: str, head: Json) -> Iterator[Values]:
    """The models a run took in and gave out."""
    for entry in (head.get("inputs") or {}).get("model_inputs", ()):
        yield _edge(run_id, "INPUT", entry["model_id"], 0)
    for entry in (head.get("outputs") or {}).get("model_outputs", ()):
        yield _edge(run_id, "OUTPUT", entry["model_id"], int(entry.get("step", 0)))


def _edge(run_id: str, way: str, model_id: str, step: int) -> Values:
    return {
        "input_uuid": made_up_id("edge", run_id, way, model_id),
        "source_type": f"RUN_{way}",
        "source_id": run_id,
        "destination_type": f"MODEL_{way}",
        "destination_id": model_id,
        "step": step,
    }


def _points(record: Record) -> Iterator[Values]:
    """The metric points of a run; `rows` come in chunks of one key."""
    for chunk in record.rows["metrics"]() if "metrics" in record.rows else ():
        for step, timestamp, value in chunk["points"]:
            stored, is_nan = stored_value(value)
            yield {
                "key": chunk["key"],
                "value": stored,
                "timestamp": timestamp,
                "run_uuid": record.id,
                "step": step,
                "is_nan": is_nan,
            }


def stored_value(value: Any) -> tuple[float, bool]:
    """A value as MLflow stores it, and whether it is NaN (`_get_metric_value_details` of its store)."""
    found = float(value)
    if math.isnan(found):
        return 0.0, True
    return (math.copysign(LARGEST, found), False) if math.isinf(found) else (found, False)


class Latest:
    """The last point of each key, in MLflow's order: by step, then time, then value."""

    def __init__(self) -> None:
        self.rows: dict[str, Values] = {}

    def seen(self, points: Iterator[Values]) -> Iterator[Values]:
        """The same points, noted as they come by."""
        for point in points:
            last = self.rows.get(point["key"])
            if last is None or rank(point) > rank(last):
                self.rows[point["key"]] = point
            yield point


def rank(point: Values) -> tuple[int, int, float]:
    """What MLflow compares points by."""
    return point["step"], point["timestamp"], point["value"]


def model(record: Record, to: Settled, uri: str | None) -> Made:
    """A logged model; `uri` as for a run."""
    info, data = record.head["info"], record.head.get("data") or {}
    place = to.place(info["experiment_id"])
    owner = {"model_id": record.id, "experiment_id": place.id}
    row = {
        **owner,
        "name": info.get("name", ""),
        "artifact_location": model_uri(place, record.id) if uri is None else uri,
        "creation_timestamp_ms": told(info, "creation_timestamp_ms"),
        "last_updated_timestamp_ms": told(info, "last_updated_timestamp_ms"),
        "status": STATUS.get(info.get("status", ""), 0),
        "lifecycle_stage": DELETED if DELETED_MODEL in record.head else info.get("lifecycle_stage", ACTIVE),
        "model_type": info.get("model_type") or "",
        "source_run_id": info.get("source_run_id") or None,
        "status_message": info.get("status_message") or None,
    }
    tags = to.own_tags(tags_of(info.get("tags")))
    rows: dict[str, list[Values]] = {
        "logged_models": [row],
        "logged_model_params": pairs(tags_of(data.get("params")), owner, ("param_key", "param_value")),
        "logged_model_tags": pairs(tags, owner, ("tag_key", "tag_value")),
        "logged_model_metrics": [_model_metric(metric, owner) for metric in data.get("metrics", ())],
    }
    return Made((record.id,), rows)


def _model_metric(metric: Json, owner: Values) -> Values:
    # NaN of a logged model is 0 at MLflow itself, which has no column for it.
    value, is_nan = stored_value(metric["value"])
    return {
        **owner,
        "metric_name": metric["key"],
        "metric_timestamp_ms": number(metric.get("timestamp", 0)),
        "metric_step": number(metric.get("step", 0)),
        "metric_value": 0.0 if is_nan else value,
        "run_id": metric.get("run_id", ""),
        "dataset_uuid": Guess(None),
        "dataset_name": metric.get("dataset_name") or None,
        "dataset_digest": metric.get("dataset_digest") or None,
    }
