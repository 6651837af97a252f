"""The traces scenario: many small traces, written by a bare client (the limit) and moved by this tool.

`python -m benchmarks.traces export|import HOST PORT SHAPE.json` is the bare client, in a process of its own; it prints
the seconds on the wire. What it wrote is the source of the moves.
"""

import base64
import contextlib
import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks import corpus, limit, measure, ours
from benchmarks.measure import Bench, Job
from benchmarks.row import Amount, Row
from benchmarks.wire import Wire
from demo import servers

NAME = "traces"
PAGE = 500
TRACES_PER_REQUEST = 50
INFO = "/api/3.0/mlflow/traces"
TEXT = "What is the answer? " * 10
NANO = 1_000_000
TABLES = {
    "trace_info": "SELECT * FROM trace_info",
    "trace_tags": "SELECT * FROM trace_tags",
    "trace_request_metadata": "SELECT * FROM trace_request_metadata",
    "spans": "SELECT * FROM spans",
}
"""Where MLflow keeps a trace, the table that others point at first."""


@dataclass(frozen=True)
class Shape:
    """How many traces, and spans in each."""

    traces: int = 2000
    spans: int = 5


def rows(bench: Bench, shape: Shape) -> Iterator[Row]:
    """The bare client's import, which makes the source; its export; this tool's export, import, verify and copy."""
    amount, bundle = Amount(shape.traces), bench.folder / "bundle of traces"
    with measure.fresh_destination(bench, "source of traces") as source:
        yield measure.run(bench, NAME, limit_job(bench, "import", source, shape), amount)
        expected = tally(source.folder)
        yield measure.run(bench, NAME, limit_job(bench, "export", source, shape), amount)
        exported = measure.run(bench, NAME, ours.export_job(source, bundle), amount)
        yield exported
        if exported.exit_code == 0:
            with measure.fresh_destination(bench, "destination of traces") as there:
                row = measure.run(bench, NAME, ours.import_job(there, bundle), amount)
                yield measure.judged(row, expected, tally(there.folder))
            yield measure.run(bench, NAME, ours.verify_job(source, bundle), amount)
        with measure.fresh_destination(bench, "destination of copied traces") as there:
            row = measure.run(bench, NAME, ours.copy_job(source, there), amount)
            yield measure.judged(row, expected, tally(there.folder))


def limit_job(bench: Bench, action: str, server: servers.LocalServer, shape: Shape) -> Job:
    """The bare client's command line."""
    told = measure.described(bench, f"traces-{shape.traces}", asdict(shape))
    words = ["-m", "benchmarks.traces", action, servers.HOST, str(server.port), told]
    return Job(action, measure.LIMIT, words, (server,), timed=True)


def tally(folder: Path) -> dict[str, int]:
    """What a server's folder holds, without asking the server."""
    queries = {
        "traces": "SELECT count(*) FROM trace_info WHERE execution_time_ms = 1500",
        "spans": "SELECT count(*) FROM spans",
        "tags": "SELECT count(*) FROM trace_tags WHERE key = 'mlflow.traceName'",
        "metadata": "SELECT count(*) FROM trace_request_metadata WHERE key = 'mlflow.user'",
    }
    return corpus.counted(folder, queries)


def seed(folder: Path, shape: Shape) -> None:
    """Multiply the one trace that the database of a stopped server holds: the same rows under further ids."""
    with contextlib.closing(sqlite3.connect(servers.database_of(folder))) as database, database:
        for table, query in TABLES.items():
            found = database.execute(query)
            columns = ", ".join(f'"{column[0]}"' for column in found.description)
            one = found.fetchall()
            if any(isinstance(value, bytes) for row in one for value in row):
                raise TypeError(f"{table} holds bytes, in which an id can't be replaced")
            for index in range(1, shape.traces):
                own = [tuple(renumbered(value, index) for value in row) for row in one]
                corpus.insert(database, table, columns, own)


def renumbered(value: object, index: int) -> object:
    """A value of the first trace's rows as trace number `index` has it."""
    if not isinstance(value, str):
        return value
    first, own = (number.to_bytes(16, "big") for number in (1, index + 1))
    encoded, own_encoded = (base64.b64encode(each).decode() for each in (first, own))
    return value.replace(first.hex(), own.hex()).replace(encoded, own_encoded)


def read_all(wire: Wire) -> None:
    """Every page of infos, and the spans of 50 traces in a request, side by side."""
    body: dict[str, Any] = {"max_results": PAGE, "order_by": ["timestamp_ms ASC"]}
    body["locations"] = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "1"}}]
    token, first, pending = "", True, []
    with ThreadPoolExecutor(limit.EXPORT_THREADS) as pool:
        while first or token:
            sent = json.dumps(body | ({"page_token": token} if token else {})).encode()
            page = wire.json("POST", f"{INFO}/search", sent)
            token, first = page.get("next_page_token", ""), False
            ids = [("trace_ids", info["trace_id"]) for info in page.get("traces", [])]
            for begin in range(0, len(ids), TRACES_PER_REQUEST):
                query = urlencode(ids[begin : begin + TRACES_PER_REQUEST])
                pending.append(pool.submit(wire.send, "GET", f"{INFO}/batchGet?{query}"))
        for task in pending:
            task.result()


def write_all(wire: Wire, experiment: str, shape: Shape) -> float:
    """Send every trace, serialised before the clock starts: spans of many in a request, then each info."""
    groups = [
        range(begin, min(begin + TRACES_PER_REQUEST, shape.traces))
        for begin in range(0, shape.traces, TRACES_PER_REQUEST)
    ]
    prepared = [(spans_of(group, shape), [info_of(index, experiment) for index in group]) for group in groups]
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment}

    def write(group: tuple[bytes, list[bytes]]) -> None:
        wire.send("POST", "/v1/traces", group[0], headers)
        for info in group[1]:
            wire.send("POST", INFO, info)

    def work() -> None:
        with ThreadPoolExecutor(limit.IMPORT_THREADS) as pool:
            for _ in pool.map(write, prepared):
                pass

    return limit.timed(work)


def spans_of(group: range, shape: Shape) -> bytes:
    """An OTLP request with the spans of some traces: a root and its children."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for index in group:
        for number in range(shape.spans):
            begin = (corpus.START_MS + index) * NANO + number
            span = spans.add(name=f"step {number}", start_time_unix_nano=begin, end_time_unix_nano=begin + NANO)
            span.trace_id, span.span_id = (index + 1).to_bytes(16, "big"), (number + 1).to_bytes(8, "big")
            if number:
                span.parent_span_id = (1).to_bytes(8, "big")
            span.attributes.add(key="mlflow.spanInputs").value.string_value = json.dumps({"question": TEXT})
            span.attributes.add(key="number").value.int_value = index
    return bytes(request.SerializeToString())


def info_of(index: int, experiment: str) -> bytes:
    """The info of a trace as MLflow's client sends it."""
    info = {
        "trace_id": f"tr-{index + 1:032x}",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20.123Z",
        "execution_duration": "1.5s",
        "state": "OK",
        "request_preview": TEXT,
        "trace_metadata": {"mlflow.user": "bench", "mlflow.source.name": "train.py"},
        "tags": {"mlflow.traceName": f"trace {index}"},
    }
    return json.dumps({"trace": {"trace_info": info}}).encode()


def main(action: str, host: str, port: str, shape_file: str) -> None:
    """Read or write the traces and print the seconds as JSON."""
    wire = Wire(host, int(port))
    shape = Shape(**json.loads(Path(shape_file).read_text(encoding="utf-8")))
    if action == "export":
        seconds = limit.timed(lambda: read_all(wire))
    else:
        seconds = write_all(wire, limit.make_experiment(wire), shape)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
