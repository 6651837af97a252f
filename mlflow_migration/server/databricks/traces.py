"""Traces of a workspace: infos by MLflow's REST routes, spans in an artifact of each.

Databricks takes spans over OTLP into tables of Unity Catalog only; those of an experiment are in `traces.json`, read
and written by signed addresses, as attachments are (mlflow 3.17.2, `databricks_rest_store.py`). No route lists a
trace's artifacts, or gives the spans of several traces at once.
"""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from http import HTTPStatus

from mlflow_migration.errors import ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import ORIGIN, File, Files, Json, Rows
from mlflow_migration.server import pages
from mlflow_migration.server.databricks import credentials, spans
from mlflow_migration.server.rest import Rest
from mlflow_migration.server.traces import (
    ATTACHMENT,
    INFOS,
    SPANS_FILE,
    SPANS_LOCATION,
    V3_TRACES,
    Traces,
    location,
)

SOURCE = ORIGIN + "source"
COMPLETE = ORIGIN + "complete"
"""On a trace that is there whole."""
IN_ROWS = ORIGIN + "spans"
"""On a trace that came from elsewhere, with its spans in a database there: they are to be in one again."""
TRACKING_STORE = "TRACKING_STORE"
EXPERIMENTS = 100
GONE = frozenset({HTTPStatus.NOT_FOUND})


class WorkspaceTraces(Traces):
    """The traces of one workspace. Implements `TraceCalls`."""

    def __init__(self, rest: Rest) -> None:
        super().__init__(rest)
        self._waiting: dict[str, list[Json]] = {}
        self._waiting_lock = threading.Lock()

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Whole infos, assessments with them."""
        for begin in range(0, len(experiment_ids), EXPERIMENTS):
            body: Json = {
                "locations": [location(id_) for id_ in experiment_ids[begin : begin + EXPERIMENTS]],
                "max_results": limit or INFOS,
                "order_by": ["timestamp_ms ASC"],
            }
            if filter_:
                body["filter"] = filter_
            yield from map(_shown, pages.posted_pages(self._rest, V3_TRACES + "/search", body, "traces"))

    def get(self, trace_id: str) -> Json | None:
        found = super().get(trace_id)
        return None if found is None else _shown(found)

    def get_many(self, trace_ids: Sequence[str]) -> Mapping[str, Json] | None:
        """None: no route gives several at once."""
        return None

    def tied_to(self, experiment_ids: Sequence[str], prompt_version: str) -> Iterator[tuple[str, str]]:
        """Raises ServerError: a trace's own tag is all that tells."""
        raise ServerError("Databricks can't search traces by prompt", prompt_version, HTTPStatus.NOT_IMPLEMENTED, "")

    def with_spans(self, infos: Iterable[Json]) -> Iterator[tuple[Json, Rows, Files]]:
        """Each info with its lazy spans and artifacts, in the order given."""
        for info in infos:
            yield info, partial(self._rows, info), partial(self._files_of, info)

    def log_spans(self, experiment_id: str, spans: list[Json], tags: Mapping[str, str]) -> None:
        """Keep the spans of whole traces for their `start`: they are written as one artifact of each, which belongs to
        an info that is there. Repeated calls replace them."""
        whole: dict[str, list[Json]] = {}
        for row in spans:
            whole.setdefault(_trace_id(row), []).append(row)
        with self._waiting_lock:
            self._waiting.update(whole)

    def start(self, info: Json) -> Json:
        """Write an info, then the spans that wait for it, and only then that the trace is whole. The info as it is
        then."""
        trace_id = info["trace_id"]
        with self._waiting_lock:
            rows = self._waiting.pop(trace_id, None)
        if rows is None:
            return _shown(super().start(info))
        tags = {**info.get("tags", {}), IN_ROWS: "rows"}
        digest = tags.pop(COMPLETE, None)
        found = super().start({**info, "tags": tags})
        data = spans.file_of(rows)
        credentials.put_file(self._rest, _root(trace_id), SPANS_FILE, _in_memory(SPANS_FILE, data))
        if digest is not None:
            self.set_tag(trace_id, COMPLETE, digest)
            found = {**found, "tags": {**found.get("tags", {}), COMPLETE: digest}}
        return _shown(found)

    def _rows(self, info: Json) -> Iterator[Json]:
        if SPANS_LOCATION not in info.get("tags", {}):
            return iter(())
        data = self._data(info["trace_id"], SPANS_FILE)
        return iter(spans.rows_of(data) if data else ())

    def _files_of(self, info: Json) -> Iterator[File]:
        """Attachments, which the spans name; and the spans themselves where they were an artifact before."""
        trace_id = info["trace_id"]
        data = self._data(trace_id, SPANS_FILE)
        if data and SPANS_LOCATION not in info.get("tags", {}):
            yield _in_memory(SPANS_FILE, data)
        for name in sorted(set(ATTACHMENT.findall(data.decode("utf-8", "replace")))):
            path = f"attachments/{name}"
            content = self._data(trace_id, path)
            yield _in_memory(path, content) if content else File(path, 0, problem="the workspace can't give it")

    def _data(self, trace_id: str, path: str) -> bytes:
        """The bytes of a trace's artifact; none where there is no such one."""
        try:
            with credentials.open_file(self._rest, _root(trace_id), path) as reader:
                return reader.read()
        except ServerError as error:
            if error.status in GONE:
                return b""
            raise


def _shown(info: Json) -> Json:
    """An info that says where its spans are to go: a trace of the workspace's own, and one that had them in a database
    where it came from, has them as rows."""
    tags = info.get("tags", {})
    if SOURCE in tags and IN_ROWS not in tags:
        return info
    # The mark is this module's own: a writer would take it away as a tag that the source lacks.
    others = {key: value for key, value in tags.items() if key != IN_ROWS}
    return {**info, "tags": {**others, SPANS_LOCATION: TRACKING_STORE}}


def _root(trace_id: str) -> Root:
    return Root("trace", trace_id, "")


def _trace_id(span: Json) -> str:
    return "tr-" + base64.b64decode(span["trace_id"]).hex()


def _in_memory(path: str, data: bytes) -> File:
    return File(path, len(data), lambda: closing(io.BytesIO(data)))
