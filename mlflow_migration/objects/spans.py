"""Spans as rows: their digest, and where two traces' spans differ.

A row is OTLP's protobuf in JSON, as the server shows it. Numbers of 64 bits may be numbers or texts, and what is unset
may be absent or empty, by the version of MLflow: both are one value here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from mlflow_migration.records import Json, Record, digest_of

NAME = "spans"
UNSET = "STATUS_CODE_UNSET"
SHOWN = 20
"""Differing fields of one trace that are told."""
NUMBERS = frozenset({"start_time_unix_nano", "end_time_unix_nano", "time_unix_nano", "int_value"})


def summary(record: Record, swaps: dict[str, str]) -> Json | list[Json]:
    """Number and digest of the spans, in order of start and id."""
    spans = ordered(record)
    return {"count": len(spans), "spans": digest_of(spans)}


def ordered(record: Record) -> list[Json]:
    """All spans in the form that two servers share, in order of start and id."""
    spans = [normal(row) for row in record.rows[NAME]()] if NAME in record.rows else []
    return sorted(spans, key=lambda span: (span.get("start_time_unix_nano", 0), span["span_id"]))


def normal(value: Any) -> Any:
    """A span, or a part of one, without what JSON leaves open; attributes by key."""
    if isinstance(value, dict):
        found: Json = {key: int(part) if key in NUMBERS else normal(part) for key, part in value.items()}
        found = {
            key: part for key, part in found.items() if key.endswith("_value") or part not in (None, "", 0, [], {})
        }
        if type(found.get("double_value")) is int:
            found["double_value"] = float(found["double_value"])
        if found.get("code") == UNSET:
            del found["code"]
        if "attributes" in found:
            found["attributes"].sort(key=lambda pair: pair.get("key", ""))
        return found
    if isinstance(value, list):
        return [normal(part) for part in value]
    return value


def trace_id_of(span: Json) -> str:
    """The id of the trace that MLflow puts a span into. Raises ValueError where it is no base64."""
    return "tr-" + base64.b64decode(span["trace_id"], validate=True).hex()


def differing(left: Record, right: Record) -> Iterator[tuple[str, str, str]]:
    """The first fields in which the spans of two traces differ."""
    ours, theirs = ({span["span_id"]: span for span in ordered(record)} for record in (left, right))
    count = 0
    for span_id in [*ours, *(span_id for span_id in theirs if span_id not in ours)]:
        one, other = ours.get(span_id), theirs.get(span_id)
        if one is None or other is None:
            there = ("absent", "present") if one is None else ("present", "absent")
            found = [(f"spans.{span_id}", *there)]
        else:
            found = list(_fields(f"spans.{span_id}.", _flat(one), _flat(other)))
        for difference in found:
            yield difference
            count += 1
            if count == SHOWN:
                return


def _flat(span: Json) -> Json:
    pairs = {f"attributes.{pair.get('key', '')}": pair.get("value") for pair in span.get("attributes", ())}
    return {**{key: value for key, value in span.items() if key != "attributes"}, **pairs}


def _fields(prefix: str, left: Json, right: Json) -> Iterator[tuple[str, str, str]]:
    for key in sorted({**left, **right}):
        one, other = left.get(key, "absent"), right.get(key, "absent")
        if one != other:
            yield prefix + key, str(one)[:120], str(other)[:120]
