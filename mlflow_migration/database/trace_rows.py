"""Traces as rows: MLflow's own classes turn infos, assessments and spans into what its store would write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlflow_migration.database.made import Made, Part, Values, made_up_id, pairs, told
from mlflow_migration.database.settled import Place, Settled
from mlflow_migration.errors import ConflictError
from mlflow_migration.records import Json, Record

TIES = Part(
    "entity_associations",
    ("source_id",),
    ("source_type", "source_id", "destination_type", "destination_id"),
    shared=True,
)
TRACE = (
    Part("trace_info", ("request_id",), ("request_id",)),
    Part("trace_tags", ("request_id",), ("request_id", "key")),
    Part("trace_request_metadata", ("request_id",), ("request_id", "key")),
    Part("spans", ("trace_id",), ("trace_id", "span_id")),
    Part("assessments", ("trace_id",), ("assessment_id",)),
    TIES,
)
RUNS, TIED, PROMPTS = "linked_runs", "tied_prompts", "mlflow.linkedPrompts"
"""What stands beside MLflow's info in a head, and the tag that names prompts where nothing else does."""
LOCATION, SPANS_LOCATION = "mlflow.artifactLocation", "mlflow.trace.spansLocation"
NAME = "mlflow.traceName"
FINALIZED = "mlflow.trace.infoFinalized"
HERE = "TRACKING_STORE"
STORED = frozenset({HERE, "ARCHIVE_REPO"})
OF_ITS_PLACE = frozenset({LOCATION, "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure"})


def trace_uri(place: Place, trace_id: str) -> str:
    return f"{place.location.rstrip('/')}/traces/{trace_id}/artifacts"


def trace(record: Record, to: Settled, uri: str | None) -> Made:
    """A trace; `uri` as for a run. Raises ConflictError where its spans are of another trace."""
    from google.protobuf.json_format import ParseDict
    from mlflow.entities import TraceInfo
    from mlflow.protos.service_pb2 import TraceInfoV3
    from mlflow.store.tracking.utils.trace_analytics import (
        PROMOTED_TRACE_METADATA_KEYS,
        analytics_columns_from_metadata,
    )

    head = {key: value for key, value in record.head.items() if key not in {RUNS, TIED}}
    place = to.place(head["trace_location"]["mlflow_experiment"]["experiment_id"])
    info = TraceInfo.from_proto(ParseDict(head, TraceInfoV3(), ignore_unknown_fields=True))
    spans = list(_spans(record, place))
    tags = to.own_tags({key: value for key, value in head.get("tags", {}).items() if key not in OF_ITS_PLACE})
    name = tags.pop(NAME, None)
    if tags.get(SPANS_LOCATION) in STORED or spans:
        tags[SPANS_LOCATION] = HERE
    tags[LOCATION] = trace_uri(place, record.id) if uri is None else uri
    metadata = dict(head.get("trace_metadata", {}))
    columns = dict.fromkeys(_promoted())
    columns.update(analytics_columns_from_metadata(metadata))
    row = {
        "request_id": record.id,
        "experiment_id": place.id,
        "timestamp_ms": info.request_time,
        "execution_time_ms": info.execution_duration,
        "status": info.state.value,
        "client_request_id": info.client_request_id,
        "request_preview": info.request_preview,
        "response_preview": info.response_preview,
        "trace_name": name,
        **columns,
    }
    owner = {"request_id": record.id}
    kept = {key: value for key, value in metadata.items() if key not in PROMOTED_TRACE_METADATA_KEYS}
    rows = {
        "trace_info": [row],
        "trace_tags": pairs(tags, owner),
        "trace_request_metadata": pairs(kept, owner),
        "spans": spans,
        "assessments": [_assessment(*each, place, info.request_time) for each in _assessed(head, info)],
        "entity_associations": list(_ties(record, to)),
    }
    return Made((record.id,), rows)


def _promoted() -> Iterator[str]:
    """The columns that MLflow fills from metadata."""
    from mlflow.store.tracking.utils.trace_analytics import COST_COLUMN_BY_KEY, TOKEN_COLUMN_BY_KEY

    yield "session_id"
    yield from TOKEN_COLUMN_BY_KEY.values()
    yield from COST_COLUMN_BY_KEY.values()


def _assessed(head: Json, info: Any) -> Iterator[tuple[Json, Any]]:
    """Each assessment as REST shows it, and as MLflow's class of it."""
    yield from zip(head.get("assessments", ()), info.assessments, strict=True)


def _assessment(shown: Json, entity: Any, place: Place, time: int) -> Values:
    from mlflow.store.tracking.dbmodels.models import SqlAssessments

    made = SqlAssessments.from_mlflow_entity(entity)
    row = {column.name: getattr(made, column.name) for column in SqlAssessments.__table__.columns}
    row.update(experiment_id=place.id, trace_timestamp_ms=time)
    # MLflow's own class drops these two.
    row["overrides"] = shown.get("overrides") or None
    row["valid"] = shown.get("valid", True)
    return row


def _spans(record: Record, place: Place) -> Iterator[Values]:
    """Spans as MLflow's store makes them of what comes over OTLP (`log_spans` of its SQL store, 3.17.2)."""
    from google.protobuf.json_format import ParseDict
    from mlflow.entities.span import Span
    from mlflow.tracing.otel.translation import translate_span_when_storing
    from mlflow.tracing.utils import TraceJSONEncoder
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtelSpan

    for shown in record.rows["spans"]() if "spans" in record.rows else ():
        span = Span.from_otel_proto(ParseDict(shown, OtelSpan()))
        if span.trace_id != record.id:
            raise ConflictError("its spans are of another trace", span.trace_id)
        content = translate_span_when_storing(span)
        yield {
            "trace_id": span.trace_id,
            "experiment_id": place.id,
            "span_id": span.span_id,
            "parent_span_id": span.parent_id,
            "name": span.name,
            "type": span.span_type,
            "status": span.status.status_code,
            "start_time_unix_nano": span.start_time_ns,
            "end_time_unix_nano": span.end_time_ns,
            "content": json.dumps(content, cls=TraceJSONEncoder, ensure_ascii=False),
            **_of_model(content.get("attributes") or {}),
        }


def _of_model(attributes: Json) -> Values:
    """What a span says of its model and its cost."""
    from mlflow.store.tracking.utils.trace_analytics import bounded_model_dimension, finite_float_or_none
    from mlflow.tracing.constant import SpanAttributeKey

    cost = _parsed(attributes.get(SpanAttributeKey.LLM_COST))
    costs = cost if isinstance(cost, dict) else {}
    found: Values = {key: finite_float_or_none(costs.get(key)) for key in ("input_cost", "output_cost", "total_cost")}
    found["model_name"] = bounded_model_dimension(_parsed(attributes.get(SpanAttributeKey.MODEL)))
    found["model_provider"] = bounded_model_dimension(_parsed(attributes.get(SpanAttributeKey.MODEL_PROVIDER)))
    return found


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _ties(record: Record, to: Settled) -> Iterator[Values]:
    """The further runs and the prompt versions a trace is tied to."""
    for run_id in record.head.get(RUNS, ()):
        yield tie(("trace", record.id), ("run", run_id))
    for each in _prompts(record.head):
        name = to.name("prompt", str(each["name"]))
        yield tie(("trace", record.id), ("prompt_version", f"{name}/{each['version']}"))


def _prompts(head: Json) -> list[Json]:
    if TIED in head:
        found: list[Json] = head[TIED]
        return found
    listed = _parsed(head.get("tags", {}).get(PROMPTS, "[]"))
    return [
        each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict) and {"name", "version"} <= each.keys() and str(each["version"]).isdigit()
    ]


def tie(one: tuple[str, str], other: tuple[str, str]) -> Values:
    """A row that ties two objects, each given by type and id."""
    return {
        "association_id": made_up_id("tie", *one, *other),
        "source_type": one[0],
        "source_id": one[1],
        "destination_type": other[0],
        "destination_id": other[1],
        "created_time": told({}, ""),
    }
