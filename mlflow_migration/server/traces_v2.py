"""Traces of servers before 3.2, in the form of later ones.

Those give an info of their own form (`GET /api/2.0/mlflow/traces`), tags and metadata as pairs, and keep all spans in
the artifact `traces.json`, which goes as it is: MLflow's clients and its page read both forms of it (tried with 2.22.1
and 3.1.4 as sources and 3.17.2 as destination). An id is of the server's own making, 32 hex digits that aren't those
of the spans. Such a server knows no assessments, previews, ids of requests, nor traces linked to further runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from mlflow_migration.proto_times import duration_of, time_of
from mlflow_migration.records import Json, tags_of
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Rest

ROUTE = pages.V2 + "traces"
RUNNING = "IN_PROGRESS"
UNSET = "STATE_UNSPECIFIED"
STATES = frozenset({"OK", "ERROR", RUNNING})


def search(rest: Rest, experiment_ids: Sequence[str], limit: int) -> Iterator[Json]:
    """The infos of all traces of these experiments, oldest first; `limit` is the size of a page."""
    query: list[tuple[str, str]] = [("experiment_ids", id_) for id_ in experiment_ids]
    query += [("max_results", str(limit)), ("order_by", "timestamp_ms ASC")]
    for found in pages.pages(rest, ROUTE, query, "traces"):
        yield as_v3(found)


def get(rest: Rest, trace_id: str) -> Json | None:
    """One info, or None."""
    found = pages.get_or_none(rest, f"{ROUTE}/{quote(trace_id, safe='')}/info", {}, "trace_info")
    return None if found is None else as_v3(found)


def as_v3(info: Json) -> Json:
    """An info as a server of 3.17.2 shows the same trace after `mlflow db upgrade`."""
    state = str(info.get("status", ""))
    took = int(info.get("execution_time_ms", 0))
    made: Json = {
        "trace_id": info["request_id"],
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": info["experiment_id"]},
        },
        "request_time": time_of(int(info.get("timestamp_ms", 0))),
        "state": state if state in STATES else UNSET,
        "trace_metadata": tags_of(info.get("request_metadata")),
        "tags": tags_of(info.get("tags")),
    }
    # The form has no word for "not known yet": it shows 0 then.
    if took or state != RUNNING:
        made["execution_duration"] = duration_of(took)
    return made
