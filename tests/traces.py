"""The traces of two MLflow SQLite databases, compared row by row, and content to compare: hostile traces over REST.

This judges the tool, so it shares nothing with it. Experiments are matched by name and runs by the origin tag. What no
server lets a client choose (artifact roots, generations, ids of associations) is not compared.
"""

import base64
import contextlib
import json
import math
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests import databases
from tests.databases import Row, Stored
from tests.rest import Api, Json

ELSEWHERE = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation")
"""Tags that say where a server keeps a trace."""
FLAGS = ("mlflow.trace.infoFinalized",)
"""Metadata that MLflow sets on whatever comes through start_trace."""
NOT_CHOSEN = {"db_payload_generation", "association_id", "created_time"}
TABLES = {
    "info": ("SELECT * FROM trace_info", "request_id"),
    "tag": ("SELECT * FROM trace_tags", "request_id"),
    "metadata": ("SELECT * FROM trace_request_metadata", "request_id"),
    "span": ("SELECT * FROM spans", "trace_id"),
    "assessment": ("SELECT * FROM assessments", "trace_id"),
    "tie": ("SELECT * FROM entity_associations WHERE source_type = 'trace'", "source_id"),
}


def read(place: Stored, run_ids: dict[str, str]) -> dict[str, Counter[Row]]:
    """{trace id: its rows of all tables, as (table, column, value, …)}; `run_ids` are replaced wherever they stand."""
    found: dict[str, Counter[Row]] = {}
    with contextlib.closing(sqlite3.connect(place.database)) as base:
        base.row_factory = sqlite3.Row
        names = {row["experiment_id"]: row["name"] for row in base.execute("SELECT * FROM experiments")}
        for label, (query, key) in TABLES.items():
            for row in base.execute(query):
                values = {column: value for column, value in dict(row).items() if column not in NOT_CHOSEN}
                if "experiment_id" in values:
                    values["experiment_id"] = names[values["experiment_id"]]
                if not _is_chosen(label, values):
                    continue
                text = json.dumps(_normal(values), sort_keys=True)
                for old, new in run_ids.items():
                    text = text.replace(old, new)
                found.setdefault(values[key], Counter())[label, text] += 1
        for trace_id, uri in base.execute(
            "SELECT request_id, value FROM trace_tags WHERE key = 'mlflow.artifactLocation'"
        ):
            for name, path in databases.files(_folder(place, uri)).items():
                found.setdefault(trace_id, Counter())["file", name, path.read_bytes()] += 1
    return found


def _folder(place: Stored, uri: str) -> Path:
    if place.artifacts and uri.startswith("mlflow-artifacts:/"):
        return place.artifacts / uri.removeprefix("mlflow-artifacts:/")
    return Path(uri.removeprefix("file://"))


def _is_chosen(label: str, values: dict[str, Any]) -> bool:
    key = values.get("key", "")
    if label == "tag":
        return key not in ELSEWHERE and not key.startswith("mlflow_migration.")
    return not (label == "metadata" and key in FLAGS)


def _normal(values: dict[str, Any]) -> dict[str, Any]:
    """Texts that are JSON by their value, so that spaces in them don't count; a float with its last bit."""
    made = {}
    for column, value in values.items():
        found = value
        if column in {"content", "assessment_metadata"} and value:
            found = json.loads(value)
            if column == "content":
                found["end_time_unix_nano"] = found.get("end_time_unix_nano") or None
                found["attributes"] = {name: json.loads(text) for name, text in found["attributes"].items()}
        made[column] = repr(found) if isinstance(found, float) else found
    return made


def compare(source: Stored, destination: Stored) -> list[str]:
    """Differences as sentences; none means that no trace is missing, changed or surplus at the destination."""
    with contextlib.closing(sqlite3.connect(destination.database)) as base:
        query = "SELECT value, run_uuid FROM tags WHERE key = 'mlflow_migration.run_id'"
        run_ids = dict(base.execute(query))
    left, right = read(source, run_ids), read(destination, {})
    texts = []
    for trace_id in sorted({*left, *right}):
        ours, theirs = left.get(trace_id, Counter()), right.get(trace_id, Counter())
        texts += [f"trace {trace_id} lacks {_short(row)}" for row in (ours - theirs).elements()]
        texts += [f"trace {trace_id} has surplus {_short(row)}" for row in (theirs - ours).elements()]
    return texts


def _short(row: Row) -> str:
    return re.sub(r"\s+", " ", repr(row))[:600]


def _bytes(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def _value(value: Any) -> Json:
    """A value as OTLP/JSON has it."""
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    if value is None:
        return {}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, float) and math.isnan(value):
        return {"doubleValue": "NaN"}
    return {kinds[type(value)]: str(value) if type(value) is int else value}


def _attributes(values: Json) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def span(trace: str, number: int, **fields: Any) -> Json:
    """A span in OTLP/JSON of the trace with that hex id; `attributes` as plain values."""
    made = {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "name": f"span {number}",
        "startTimeUnixNano": str(1_700_000_000_123_456_789 + number),
        "endTimeUnixNano": str(1_700_000_001_987_654_321 + number),
        "status": {"code": 1},
    }
    fields["attributes"] = _attributes(fields.get("attributes", {}))
    return {key: value for key, value in {**made, **fields}.items() if value is not None}


def log_spans(api: Api, experiment_id: str, *spans: Json) -> None:
    """Send spans over OTLP."""
    body = {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}
    api.call("POST", "/v1/traces", json=body, headers={"x-mlflow-experiment-id": experiment_id})


def start(api: Api, experiment_id: str, trace_id: str, **fields: Any) -> Json:
    """Send a trace's info; returns it as the server has it then."""
    info = {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}},
        "request_time": "2023-11-14T22:13:20.123Z",
        "execution_duration": "1.864s",
        "state": "OK",
        **fields,
    }
    answer = api.call("POST", "/api/3.0/mlflow/traces", json={"trace": {"trace_info": info}})
    found: Json = answer.json()["trace"]["trace_info"]
    return found


def assess(api: Api, trace_id: str, **fields: Any) -> None:
    """Add one assessment."""
    path = f"/api/3.0/mlflow/traces/{quote(trace_id, safe='')}/assessments"
    api.call("POST", path, json={"assessment": {"trace_id": trace_id, **fields}})


def put_file(api: Api, info: Json, path: str, content: bytes) -> None:
    """Write below a trace's artifact location."""
    root = info["tags"]["mlflow.artifactLocation"].removeprefix("mlflow-artifacts:/")
    api.call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{root}/{path}')}", data=content)


JUDGE = {"source_type": "LLM_JUDGE", "source_id": "judge/ü"}
HUMAN = {"source_type": "HUMAN", "source_id": "she@example.com"}
WHEN = "2024-02-03T04:05:06.789Z"
IMAGE = "0a0b0c0d-0000-4000-8000-000000000001"
AWKWARD = {
    "mlflow.spanInputs": {"question": "wie spät? 🕑", "nested": [1, 2.5, None, {"deep": [[]]}]},
    "mlflow.spanOutputs": ["a", {"b": float("nan")}],
    "mlflow.chat.tokenUsage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    "mlflow.llm.cost": {"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.30000000000000004},
    "mlflow.llm.model": "gpt-x",
    "mlflow.llm.provider": "acme",
    "big": (1 << 63) - 1,
    "small": -(1 << 63),
    "float": 1.0,
    "tiny": 5e-324,
    "nan": float("nan"),
    "no": False,
    "none": None,
    "empty": "",
    "json": '{"a":1}',
    "number as text": "12",
    "line\nbreak": "\u2028 tab\t",
}


def seed(api: Api) -> dict[str, str]:
    """Traces of every form in the experiments "traces" and "gone" (deleted). {label: trace id}."""
    experiment = api.post("experiments/create", name="traces")["experiment_id"]
    gone = api.post("experiments/create", name="gone")["experiment_id"]
    runs = [api.post("runs/create", experiment_id=experiment, start_time=1)["run"]["info"]["run_id"] for _ in range(2)]
    whole, child, image, away = "1" * 32, "2" * 32, "3" * 32, "4" * 32
    # MLflow reads the ids of links as base64, where OTLP/JSON has hex (3.17.2).
    other = {"traceId": _bytes(child), "spanId": b64(0xAA), "attributes": _attributes({"why": "see", "n": 3})}
    event = {"name": "exception", "timeUnixNano": "1700000000500000001", "attributes": _attributes({"x": [1, "é"]})}
    log_spans(
        api,
        experiment,
        span(whole, 1, attributes={**AWKWARD, "mlflow.spanType": "AGENT"}, events=[event, event], links=[other]),
        span(whole, 2, parentSpanId=f"{1:016x}", status={"code": 2, "message": "bad\nluck"}, name=""),
        span(whole, 3, parentSpanId=f"{2:016x}", status={}),
    )
    judged = {"mlflow.assessment.sourceRunId": runs[0], "k": "v"}
    times = {"create_time": WHEN, "last_update_time": "2024-02-04T04:05:06.001Z"}
    start(
        api,
        experiment,
        f"tr-{whole}",
        client_request_id="client é",
        request_preview="wie spät?",
        response_preview="",
        tags={"mlflow.traceName": "näme", "team": "ünï", "empty": "", "mlflow.user": "me"},
        trace_metadata={
            "mlflow.sourceRun": runs[0],
            "mlflow.trace.session": "session 1",
            "mlflow.trace.user": "u",
            "mlflow.trace.tokenUsage": '{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}',
            "mlflow.trace.cost": '{"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.30000000000000004}',
            "own": "meta",
        },
        assessments=[
            {"assessment_id": "a-1", "assessment_name": "good", "source": JUDGE, "feedback": {"value": 0.5}, **times}
            | {"rationale": "because ü", "metadata": judged, "span_id": f"{2:016x}"},
            {"assessment_id": "a-2", "assessment_name": "want", "source": HUMAN, "expectation": {"value": {"x": [1]}}}
            | times,
            {"assessment_id": "a-3", "assessment_name": "bad", "source": JUDGE, **times}
            | {"feedback": {"error": {"error_code": "E", "error_message": "no", "stack_trace": "at"}}},
        ],
    )
    api.post("traces/link-to-run", trace_ids=[f"tr-{whole}"], run_id=runs[1])
    log_spans(api, experiment, span(child, 0xAA, parentSpanId=f"{0xBB:016x}", attributes={"half": True}))
    start(api, experiment, f"tr-{child}", state="IN_PROGRESS", execution_duration=None)
    attached = f"mlflow-attachment://{IMAGE}?content_type=image%2Fpng&trace_id=tr-{image}&size=4"
    log_spans(api, experiment, span(image, 5, attributes={"mlflow.spanOutputs": attached}))
    versions = [{"name": "greet", "version": "3"}]
    info = start(api, experiment, f"tr-{image}", tags={"mlflow.linkedPrompts": json.dumps(versions)}, state="ERROR")
    put_file(api, info, f"attachments/{IMAGE}", b"\x00PNG")
    api.post("traces/link-prompts", trace_id=f"tr-{image}", prompt_versions=versions)
    # As MLflow's clients before 3.0 made them: an id of their own, and the spans in an artifact.
    info = start(api, experiment, "req 1 é", tags={"old": "yes"})
    put_file(api, info, "traces.json", json.dumps({"spans": [{"name": "old ü"}]}, ensure_ascii=False).encode())
    start(api, experiment, "tr-" + "5" * 32, state="IN_PROGRESS")
    log_spans(api, gone, span(away, 1))
    start(api, gone, f"tr-{away}")
    ids = {"whole": f"tr-{whole}", "child": f"tr-{child}", "image": f"tr-{image}", "own id": "req 1 é"}
    feedback = {"assessment_name": "verdict", "source": HUMAN}
    for number in range(3):
        body = {"assessment_id": f"o-{number}", "feedback": {"value": number}, **feedback}
        body["create_time"] = body["last_update_time"] = f"2024-02-03T04:05:0{number}Z"
        assess(api, ids["image"], **body, **({"overrides": f"o-{number - 1}"} if number else {}))
    api.post("experiments/delete", experiment_id=gone)
    return {**ids, "run": runs[0], "experiment": experiment}


def b64_of(text: str) -> str:
    """An id of hex as protobuf's JSON has it."""
    return _bytes(text)


def b64(number: int) -> str:
    """A span's id as `verify` names it."""
    return _bytes(f"{number:016x}")


def tags(place: Stored, trace_id: str) -> dict[str, str]:
    """The tags of one trace, those of the tool too."""
    with contextlib.closing(sqlite3.connect(place.database)) as base:
        return dict(base.execute("SELECT key, value FROM trace_tags WHERE request_id = ?", [trace_id]))
