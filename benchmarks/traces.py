"""The traces scenario: many small traces, written by a bare client (the limit) and moved by this tool.

`python -m benchmarks.traces HOST PORT SHAPE.json` is the bare client, in a process of its own; it prints the seconds on
the wire. What it wrote is the source of the moves.
"""

import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import corpus, limit, measure, ours
from benchmarks.measure import Bench, Job, Row
from benchmarks.wire import Wire
from demo import servers

TRACES_PER_REQUEST = 50
INFO = "/api/3.0/mlflow/traces"
TEXT = "What is the answer? " * 10
NANO = 1_000_000


@dataclass(frozen=True)
class Shape:
    """How many traces, and spans in each."""

    traces: int = 1000
    spans: int = 5

    @property
    def shown(self) -> corpus.Shape:
        """In the words of the result table, where a trace is a run."""
        return corpus.Shape(self.traces, 0, 0, 0, 0, 0)


def rows(bench: Bench, shape: Shape) -> Iterator[Row]:
    """The bare client's import; export, import and copy by this tool."""
    with measure.fresh_destination(bench, "source of traces") as source:
        described = bench.folder / "traces.json"
        described.write_text(json.dumps(asdict(shape)), encoding="utf-8")
        words = ["-m", "benchmarks.traces", servers.HOST, str(source.port), str(described)]
        yield measured(bench, shape, Job("import", measure.LIMIT, words, {}, (source,)))
        expected = tally(source.folder)
        exported = measured(bench, shape, measure.export_job(ours.NAME, source, bench, shape.shown))
        yield exported
        if exported.exit_code == 0:
            with measure.fresh_destination(bench, "destination of traces") as there:
                row = measured(bench, shape, measure.import_job(ours.NAME, there, bench, shape.shown))
                yield judged(row, expected, tally(there.folder))
        with measure.fresh_destination(bench, "destination of copied traces") as there:
            row = measured(bench, shape, measure.copy_job(source, there))
            yield judged(row, expected, tally(there.folder))


def measured(bench: Bench, shape: Shape, job: Job) -> Row:
    """Run a job."""
    print(f"{job.tool}: {job.action} of {shape.traces} traces …", file=sys.stderr, flush=True)
    return measure.run(bench, job, shape.shown)


def tally(folder: Path) -> dict[str, int]:
    """What a server's folder holds, without asking the server."""
    database = sqlite3.connect(servers.database_of(folder))
    queries = {
        "traces": "SELECT count(*) FROM trace_info WHERE execution_time_ms = 1500",
        "spans": "SELECT count(*) FROM spans",
        "tags": "SELECT count(*) FROM trace_tags WHERE key = 'mlflow.traceName'",
        "metadata": "SELECT count(*) FROM trace_request_metadata WHERE key = 'mlflow.user'",
    }
    found = {name: int(database.execute(query).fetchone()[0]) for name, query in queries.items()}
    database.close()
    return found


def judged(row: Row, expected: dict[str, int], found: dict[str, int]) -> Row:
    """A fast move that loses something is not a fast move: say what it lost."""
    lacks = [f"{name} {found[name]} of {count}" for name, count in expected.items() if found[name] != count]
    return replace(row, lost="; ".join([*([row.lost] if row.lost else []), *lacks]))


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


def main(host: str, port: str, shape_file: str) -> None:
    """Write the traces and print the seconds as JSON."""
    wire = Wire(host, int(port))
    shape = Shape(**json.loads(Path(shape_file).read_text(encoding="utf-8")))
    print(json.dumps({"seconds": write_all(wire, limit.make_experiment(wire), shape)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
