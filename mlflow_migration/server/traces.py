"""Traces over REST: infos by the page, spans by the batch, and what makes a trace at a destination.

A span is a row in the JSON form of OTLP's protobuf as `traces/batchGet` shows it, ids in base64.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import quote

from mlflow_migration.errors import ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import File, Files, Json, Rows
from mlflow_migration.server import artifacts, pages, traces_v2
from mlflow_migration.server.rest import Rest

V3_TRACES = pages.V3 + "traces"
OTLP = "/v1/traces"
SPANS = "/ajax-api/2.0/mlflow/get-trace-artifact"
EXPERIMENTS = 100
INFOS = 500
"""Most traces of a page of a search (MLflow refuses more)."""
BATCH_TRACES = 50
BATCH_BYTES = 4_000_000
RUNS_AT_ONCE = 8
RUNS_AHEAD = 200
"""Runs whose traces are searched side by side, as far as the server's pace lets them, and in one go."""
NO_ROUTE = "ENDPOINT_NOT_FOUND"
LOCATION = "mlflow.artifactLocation"
SOURCE_RUN = "mlflow.sourceRun"
SPANS_LOCATION = "mlflow.trace.spansLocation"
STORED = frozenset({"TRACKING_STORE", "ARCHIVE_REPO"})
"""Where batchGet finds spans; one trace elsewhere in a batch makes a 500 of the whole answer (found on 3.17.2)."""
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
ARCHIVE_FILE = "traces.pb"
SPANS_FILE = "traces.json"
HIDDEN = "spans sent over OTLP are in this server's database, and MLflow 3.4 and 3.5 give them by no route"
ATTACHMENT = re.compile(r"mlflow-attachment://([0-9A-Za-z-]+)")


class Traces:
    """The traces of one server. Implements `TraceCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._batches = True
        self._many = True
        self._old = False
        self._folders: dict[str, set[str]] = {}
        self._hidden: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Whole infos, assessments with them; none where the server knows no traces.

        A filter asks for traces linked to a run, or with spans in the database. A server before 3.2 has none of these.
        """
        for begin in range(0, len(experiment_ids), EXPERIMENTS):
            ids = experiment_ids[begin : begin + EXPERIMENTS]
            yield from self._search(ids, filter_, limit or INFOS)
            if self._old and not filter_:
                yield from pages.where_known(traces_v2.search(self._rest, ids, limit or INFOS))

    def _search(self, ids: Sequence[str], filter_: str, most: int) -> Iterator[Json]:
        """Nothing from a server without this route, which is known as old from then on."""
        if self._old:
            return
        body: Json = {
            "locations": [location(id_) for id_ in ids],
            "max_results": most,
            "order_by": ["timestamp_ms ASC"],
        }
        if filter_:
            body["filter"] = filter_
        try:
            yield from pages.posted_pages(self._rest, V3_TRACES + "/search", body, "traces")
        except ServerError as error:
            if error.status not in pages.LACKING or error.code == pages.GONE:
                raise
            self._old = True

    def tied_to(self, experiment_ids: Sequence[str], prompt_version: str) -> Iterator[tuple[str, str]]:
        """(request time, id) of the traces that are tied to a prompt version, in the order of `search`.

        Raises ServerError (400) before 3.10, and for a name that no filter can hold.
        """
        quoted = next((quote + prompt_version + quote for quote in ("'", '"') if quote not in prompt_version), "''")
        body: Json = {"locations": [location(id_) for id_ in experiment_ids], "max_results": INFOS}
        body.update({"order_by": ["timestamp_ms ASC"], "filter": f"prompt = {quoted}"})
        while True:
            answer = self._rest.call("POST", V3_TRACES + "/search", body)
            # Many of these searches may be open at once: of each only this little is kept.
            found = [(info.get("request_time", ""), info["trace_id"]) for info in answer.get("traces", [])]
            token = answer.get("next_page_token")
            del answer
            yield from found
            if not token:
                return
            body["page_token"] = token

    def get(self, trace_id: str) -> Json | None:
        if not self._old:
            try:
                found = pages.get_or_none(self._rest, _path(trace_id), {}, "trace")
            except ServerError as error:
                if error.code != NO_ROUTE:
                    raise
                self._old = True
            else:
                return None if found is None else found["trace_info"]
        return traces_v2.get(self._rest, trace_id)

    def get_many(self, trace_ids: Sequence[str]) -> Mapping[str, Json] | None:
        """The infos of those that are there, by id, in one request. None where the server can't give several at once:
        MLflow 3.17 can, 3.10 can't."""
        if not self._many:
            return None
        try:
            answer = self._rest.call("POST", V3_TRACES + "/batchGetInfos", {"trace_ids": list(trace_ids)})
        except ServerError as error:
            if error.status not in pages.LACKING:
                raise
            self._many = False
            return None
        return {info["trace_id"]: info for info in answer.get("trace_infos", [])}

    def linked(self, experiment_ids: Sequence[str], run_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(run, trace) of every trace that one of these runs is linked to without having made it, several runs at once.

        MLflow takes one run in a search: it refuses `run_id IN (…)` (3.17.2).
        """

        def search(run_id: str) -> list[tuple[str, str]]:
            found = self.search(experiment_ids, f"attributes.run_id = '{run_id}'")
            others = (info for info in found if info.get("trace_metadata", {}).get(SOURCE_RUN) != run_id)
            return [(run_id, info["trace_id"]) for info in others]

        runs = iter(run_ids)
        with ThreadPoolExecutor(RUNS_AT_ONCE, thread_name_prefix="links") as pool:
            while some := list(islice(runs, RUNS_AHEAD)):
                for found in pool.map(search, some):
                    yield from found

    def with_spans(self, infos: Iterable[Json]) -> Iterator[tuple[Json, Rows, Files]]:
        """Each info with its lazy spans and artifacts, in the order given."""
        for group in _groups(infos):
            batch = _Batch(self, group)
            for info in group:
                yield info, partial(batch.rows, info), partial(self._files, info, batch)

    def log_spans(self, experiment_id: str, spans: list[Json], tags: Mapping[str, str]) -> None:
        """Write spans over OTLP; repeated calls overwrite them. `tags` become the trace's with the same request:
        MLflow makes tags of the attributes of OTLP's resource."""
        # Imported here: protobuf takes a while to load, and most commands don't write traces.
        from google.protobuf.json_format import ParseDict
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        resource = {"attributes": [{"key": key, "value": {"string_value": value}} for key, value in tags.items()]}
        body = {"resource_spans": [{"resource": resource, "scope_spans": [{"spans": spans}]}]}
        data = ParseDict(body, ExportTraceServiceRequest()).SerializeToString()
        headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment_id}
        self._rest.send(OTLP, data, headers)

    def start(self, info: Json) -> Json:
        """Write an info; one that is there is overwritten, tags and metadata added. The info as it is then."""
        found: Json = self._rest.call("POST", V3_TRACES, {"trace": {"trace_info": info}})["trace"]["trace_info"]
        return found

    def set_tag(self, trace_id: str, key: str, value: str) -> None:
        self._rest.call("PATCH", _path(trace_id, "/tags"), {"key": key, "value": value})

    def delete_tag(self, trace_id: str, key: str) -> None:
        pages.unless_gone(self._rest, _path(trace_id, "/tags"), {"key": key}, "DELETE")

    def create_assessment(self, trace_id: str, assessment: Json) -> None:
        """Add an assessment with its id; one that it overrides becomes invalid."""

        def look() -> Json | None:
            info = self.get(trace_id) or {}
            ids = [each["assessment_id"] for each in info.get("assessments", [])]
            return {} if assessment["assessment_id"] in ids else None

        self._rest.call("POST", _path(trace_id, "/assessments"), {"assessment": assessment}, look=look)

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None:
        pages.unless_gone(self._rest, _path(trace_id, f"/assessments/{quote(assessment_id, safe='')}"), {}, "DELETE")

    def link_to_run(self, trace_id: str, run_id: str) -> None:
        self._rest.call("POST", pages.V2 + "traces/link-to-run", {"trace_ids": [trace_id], "run_id": run_id})

    def link_prompts(self, trace_id: str, versions: list[Json]) -> None:
        """Tie a trace to prompt versions, `{"name": …, "version": …}`. Raises ServerError before 3.10."""
        self._rest.call("POST", pages.V2 + "traces/link-prompts", {"trace_id": trace_id, "prompt_versions": versions})

    def stored_spans(self, infos: Sequence[Json]) -> dict[str, list[Json]]:
        """The spans of traces that are stored in the server's database or archive, by trace id.

        A batch leaves out traces in progress, of which not all spans have come yet; one trace that can't be read fails
        it as a whole. Those it doesn't give are to be asked for one by one.
        """
        stored = [info["trace_id"] for info in infos if is_stored(info)]
        return self._batch(stored) if stored and self._batches else {}

    def _batch(self, ids: list[str]) -> dict[str, list[Json]]:
        query = [("trace_ids", trace_id) for trace_id in ids]
        try:
            answer = self._rest.call("GET", V3_TRACES + "/batchGet", query=query)
        except ServerError as error:
            if error.code in {NO_ROUTE, pages.GONE}:
                # Before 3.10: "batchGet" is taken for a trace's id.
                self._batches = False
            elif error.status:
                return {}
            else:
                raise
            return {}
        return {each["trace_info"]["trace_id"]: each.get("spans", []) for each in answer.get("traces", [])}

    def single_spans(self, trace_id: str) -> list[Json]:
        if self._batches:
            query = {"trace_id": trace_id, "allow_partial": "true"}
            trace = pages.get_or_none(self._rest, V3_TRACES + "/get", query, "trace") or {}
            found: list[Json] = trace.get("spans", [])
            return found
        return [as_otlp(span) for span in self._rest.call("GET", SPANS, query={"request_id": trace_id})["spans"]]

    def _files(self, info: Json, batch: _Batch) -> Iterator[File]:
        """The artifacts of a trace: attachments, and the spans of one whose spans are not in the database."""
        uri = info.get("tags", {}).get(LOCATION, "")
        if not artifacts.is_proxied(uri):
            yield from self._unlisted(info, batch)
        elif info["trace_id"] in self._with_files(uri):
            archived = info["tags"].get(SPANS_LOCATION) == "ARCHIVE_REPO"
            for file in artifacts.list_files(self._rest, Root("trace", info["trace_id"], uri)):
                if not (archived and file.path == ARCHIVE_FILE):
                    yield file
        elif self._hides_spans(info):
            yield File(SPANS_FILE, 0, problem=HIDDEN)

    def _hides_spans(self, info: Json) -> bool:
        """Whether spans of a trace without an artifact are in the database of a server that never gives them."""
        if self._old or is_stored(info):
            return False
        experiment_id = info["trace_location"]["mlflow_experiment"]["experiment_id"]
        with self._lock:
            if experiment_id not in self._hidden:
                found = self._with_spans_in_database(experiment_id)
                self._hidden[experiment_id] = {each["trace_id"] for each in found if not is_stored(each)}
            return info["trace_id"] in self._hidden[experiment_id]

    def _with_spans_in_database(self, experiment_id: str) -> Iterator[Json]:
        try:
            yield from self.search([experiment_id], "span.name LIKE '%'")
        except ServerError as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            # Before 3.4 a server keeps no spans in its database, and doesn't understand the filter.

    def _unlisted(self, info: Json, batch: _Batch) -> Iterator[File]:
        """The artifacts of a trace outside the proxy: no route lists them, but those that MLflow knows can be read."""
        query = {"request_id": info["trace_id"]}
        text = json.dumps(list(batch.rows(info)))
        if not is_stored(info):
            data = self._artifact(query)
            if data:
                yield _in_memory(SPANS_FILE, data)
            elif self._hides_spans(info):
                yield File(SPANS_FILE, 0, problem=HIDDEN)
            text = data.decode("utf-8", "replace")
        for name in sorted(set(ATTACHMENT.findall(text))):
            data = self._artifact({**query, "path": name})
            path = f"attachments/{name}"
            yield _in_memory(path, data) if data else File(path, 0, problem="the server can't give this attachment")

    def _artifact(self, query: Json) -> bytes:
        """The bytes of a trace's artifact; none where there is no such one."""
        try:
            with closing(self._rest.open(SPANS, query)) as response:
                return bytes(response.content)
        except ServerError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return b""
            raise

    def _with_files(self, uri: str) -> set[str]:
        """The traces that have a folder of artifacts, by one listing for all of an experiment."""
        parent = uri.rpartition("/")[0].rpartition("/")[0]
        with self._lock:
            if parent not in self._folders:
                self._folders[parent] = set(artifacts.list_folder(self._rest, parent))
            return self._folders[parent]


class _Batch:
    """The spans of some traces, fetched when the first of them is read."""

    def __init__(self, traces: Traces, infos: Sequence[Json]) -> None:
        self._traces = traces
        self._infos = infos
        self._lock = threading.Lock()
        self._spans: dict[str, list[Json]] | None = None

    def rows(self, info: Json) -> Iterator[Json]:
        if not is_stored(info):
            return iter(())
        with self._lock:
            if self._spans is None:
                self._spans = self._traces.stored_spans(self._infos)
        trace_id = info["trace_id"]
        if trace_id not in self._spans:
            self._spans[trace_id] = self._traces.single_spans(trace_id)
        return iter(self._spans[trace_id])


def _in_memory(path: str, data: bytes) -> File:
    return File(path, len(data), lambda: closing(io.BytesIO(data)))


def location(experiment_id: str) -> Json:
    """Where a trace is, as an info and a search say it."""
    return {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}


def is_stored(info: Json) -> bool:
    """Whether a trace's spans are in the server's database or archive, and not in an artifact."""
    return info.get("tags", {}).get(SPANS_LOCATION) in STORED


def _path(trace_id: str, rest: str = "") -> str:
    return f"{V3_TRACES}/{quote(trace_id, safe='')}{rest}"


def _groups(infos: Iterable[Json]) -> Iterator[list[Json]]:
    """Infos in order, in groups whose spans fit one request and the memory of a batch."""
    group: list[Json] = []
    total = 0
    for info in infos:
        text = info.get("trace_metadata", {}).get("mlflow.trace.sizeBytes", "")
        size = int(text) if text.isdigit() else 0
        if group and (len(group) == BATCH_TRACES or total + size > BATCH_BYTES):
            yield group
            group, total = [], 0
        group.append(info)
        total += size
    if group:
        yield group


def as_otlp(span: Json) -> Json:
    """A span as servers without batchGet show it (attributes as JSON texts) in the form of the others."""
    made = {key: value for key, value in span.items() if value not in (None, [], "")}
    made["attributes"] = [{"key": key, "value": _any(json.loads(text))} for key, text in span["attributes"].items()]
    made["events"] = [{**event, "attributes": _pairs(event.get("attributes"))} for event in span.get("events", ())]
    made["links"] = [
        {
            "trace_id": base64.b64encode(bytes.fromhex(each["trace_id"].removeprefix("tr-"))).decode(),
            "span_id": base64.b64encode(bytes.fromhex(each["span_id"])).decode(),
            "attributes": _pairs(each.get("attributes")),
        }
        for each in span.get("links", ())
    ]
    return made


def _pairs(values: Json | None) -> list[Json]:
    return [{"key": key, "value": _any(value)} for key, value in (values or {}).items()]


def _any(value: Any) -> Json:
    """A value as OTLP's AnyValue; ints as texts, which JSON keeps exact in every reader."""
    found: Json = {"string_value": str(value)}
    if value is None:
        found = {}
    elif isinstance(value, bool):
        found = {"bool_value": value}
    elif isinstance(value, int):
        found = {"int_value": str(value)}
    elif isinstance(value, float):
        found = {"double_value": value if math.isfinite(value) else NOT_FINITE[str(value)]}
    elif isinstance(value, list):
        found = {"array_value": {"values": [_any(each) for each in value]}}
    elif isinstance(value, dict):
        found = {"kvlist_value": {"values": _pairs(value)}}
    return found
