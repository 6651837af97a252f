"""The forms of objects that come from outside: checked before anything of them is written."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Base64Bytes, BaseModel, Field

from mlflow_migration.records import Json

NUMBER = (int, float)
POINT = len(("step", "timestamp", "value"))


class _Pair(BaseModel):
    key: str
    value: str = ""


class Experiment(BaseModel):
    """The head as the REST API shows it; further fields are kept but not looked at."""

    experiment_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    lifecycle_stage: Literal["active", "deleted"] = "active"
    tags: list[_Pair] = []


class _Info(BaseModel):
    run_id: str = Field(min_length=1)
    experiment_id: str = Field(min_length=1)
    run_name: str = ""
    user_id: str = ""
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"] = "RUNNING"
    start_time: int = 0
    end_time: int | None = None
    artifact_uri: str = ""
    lifecycle_stage: Literal["active", "deleted"] = "active"


class _Metric(BaseModel):
    key: str


class _Data(BaseModel):
    metrics: list[_Metric] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


class _Dataset(BaseModel):
    name: str
    digest: str


class _Input(BaseModel):
    dataset: _Dataset
    tags: list[_Pair] = []


class _Inputs(BaseModel):
    dataset_inputs: list[_Input] = []


class Run(BaseModel):
    """The head as the REST API shows it; further fields are kept but not looked at."""

    info: _Info
    data: _Data = _Data()
    inputs: _Inputs = _Inputs()


def validate_run_row(name: str, row: Json) -> None:
    """Check a row from outside. Raises ValueError."""
    points = row.get("points")
    if set(row) != {"key", "points"} or not isinstance(row["key"], str) or not isinstance(points, list):
        raise ValueError("a line must be {key, points}")
    for point in points:
        if (
            not isinstance(point, list)
            or len(point) != POINT
            or type(point[0]) is not int
            or type(point[1]) is not int
            or not (type(point[2]) in NUMBER or point[2] == "NaN")
            or not (-(1 << 63) <= point[0] < 1 << 63 and -(1 << 63) <= point[1] < 1 << 63)
        ):
            raise ValueError(f"not a [step, timestamp, value]: {str(point)[:100]}")


class _Experiment(BaseModel):
    experiment_id: str = Field(min_length=1)


class _Location(BaseModel):
    mlflow_experiment: _Experiment


class _Assessment(BaseModel):
    assessment_id: str = Field(min_length=1)
    assessment_name: str
    metadata: dict[str, str] = {}


class Trace(BaseModel):
    """The info as the REST API shows it; further fields are kept but not looked at."""

    trace_id: str = Field(min_length=1)
    trace_location: _Location
    request_time: datetime
    state: Literal["STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"] = "STATE_UNSPECIFIED"
    request_preview: str = ""
    response_preview: str = ""
    client_request_id: str = ""
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[_Assessment] = []
    linked_runs: list[str] = []


class _Span(BaseModel):
    trace_id: Base64Bytes
    span_id: Base64Bytes
    name: str = ""
    attributes: list[Json] = []
    events: list[Json] = []
    links: list[Json] = []


def validate_span(name: str, row: Json) -> None:
    """Check a span from outside. Raises ValueError."""
    if name != "spans":
        raise ValueError("a trace has no other rows than spans")
    _Span.model_validate(row)
