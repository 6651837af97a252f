"""The spans of a trace as Databricks keeps them: `traces.json`, an artifact, in the form of MLflow's `Span.to_dict`.

Attributes are JSON texts there; here a span is a row in the JSON form of OTLP's protobuf, as everywhere in this tool.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

from mlflow_migration.errors import ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.traces import as_otlp

UNSET = "STATUS_CODE_UNSET"
HEX_SPAN = 16
"""Characters of a span's id in hexadecimal; in base64 it has 12."""


def rows_of(data: bytes) -> list[Json]:
    """The spans of a `traces.json`, of whatever version of MLflow. Raises ServerError where it is none."""
    try:
        spans = json.loads(data)["spans"]
        return [as_otlp(span) if _is_current(span) else _older(span) for span in spans]
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(
            "the spans of a trace can't be read", f"traces.json: {type(error).__name__}", 0, ""
        ) from error


def file_of(rows: Iterable[Json]) -> bytes:
    """A `traces.json` of these spans."""
    return json.dumps({"spans": [_as_dict(row) for row in rows]}, separators=(",", ":")).encode()


def _is_current(span: Json) -> bool:
    """Whether ids are in base64: before MLflow 3 a span had a `context`, and 3.5 wrote ids as it shows them."""
    return "context" not in span and len(span["span_id"]) < HEX_SPAN


def _older(span: Json) -> Json:
    # Imported here: protobuf and MLflow's entities take a while to load, and few traces are so old.
    from google.protobuf.json_format import MessageToDict
    from mlflow.entities import Span

    found: Json = MessageToDict(Span.from_dict(span).to_otel_proto(), preserving_proto_field_name=True)
    return found


def _as_dict(row: Json) -> Json:
    status = row.get("status") or {}
    return {
        "trace_id": row["trace_id"],
        "span_id": row["span_id"],
        "parent_span_id": row.get("parent_span_id") or None,
        "name": row.get("name", ""),
        "start_time_unix_nano": int(row.get("start_time_unix_nano") or 0),
        "end_time_unix_nano": int(row["end_time_unix_nano"]) if row.get("end_time_unix_nano") else None,
        "events": [
            {
                "name": event.get("name", ""),
                "time_unix_nano": int(event.get("time_unix_nano") or 0),
                "attributes": _values(event.get("attributes")),
            }
            for event in row.get("events") or ()
        ],
        "status": {"code": status.get("code") or UNSET, "message": status.get("message", "")},
        "attributes": {
            key: json.dumps(value, ensure_ascii=False) for key, value in _values(row.get("attributes")).items()
        },
        "links": [
            {
                "trace_id": "tr-" + base64.b64decode(link["trace_id"]).hex(),
                "span_id": base64.b64decode(link["span_id"]).hex(),
                "attributes": _values(link.get("attributes")) or None,
            }
            for link in row.get("links") or ()
        ],
    }


def _values(pairs: list[Json] | None) -> Json:
    return {pair["key"]: _value(pair.get("value") or {}) for pair in pairs or ()}


def _value(any_value: Json) -> Any:
    """The value of OTLP's AnyValue; 64-bit integers may be texts, and what isn't finite is one."""
    name: str
    found: Any
    name, found = next(iter(any_value.items()), ("", None))
    if name == "int_value":
        return int(found)
    if name == "double_value":
        return float(found)
    if name == "array_value":
        return [_value(each) for each in (found or {}).get("values") or ()]
    if name == "kvlist_value":
        return _values((found or {}).get("values"))
    return found
