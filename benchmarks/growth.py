"""The growth scenario: ten times as many objects must take ten times as long, and no more memory."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from benchmarks import corpus, limit, measure, ours, traces
from benchmarks.measure import Bench
from benchmarks.row import Amount, Row
from benchmarks.wire import Wire
from demo import servers

RUNS, TRACES = "growth of runs", "growth of traces"
RUN_COUNTS, TRACE_COUNTS = (100, 1_000, 10_000), (5_000, 50_000)
SHAPE = corpus.Shape(metrics=4, steps=25, params=5, artifacts=1, artifact_bytes=1000)
SPANS = 3


def rows(bench: Bench, run_counts: Sequence[int], trace_counts: Sequence[int]) -> Iterator[Row]:
    """Each size from a source of its own."""
    for count in run_counts:
        shape = replace(SHAPE, runs=count)
        with measure.source_of(bench, f"{RUNS} {count}", shape) as source:
            yield from moves(bench, RUNS, source, shape.amount)
    for count in trace_counts:
        with source_of_traces(bench, traces.Shape(count, SPANS)) as source:
            yield from moves(bench, TRACES, source, Amount(count))


def source_of_traces(bench: Bench, shape: traces.Shape) -> AbstractContextManager[servers.LocalServer]:
    """A server that holds one trace many times over."""
    folder = servers.copy_folder(bench.template, bench.folder / f"{TRACES} {shape.traces}")
    with servers.serving(folder) as server:
        wire = Wire(servers.HOST, server.port)
        traces.write_all(wire, limit.make_experiment(wire), replace(shape, traces=1))
    traces.seed(folder, shape)
    return servers.serving(folder, bench.server_workers)


def moves(bench: Bench, scenario: str, source: servers.LocalServer, amount: Amount) -> Iterator[Row]:
    """Export, import and verify, with what is missing after the import."""
    bundle = bench.folder / f"{scenario} bundle {amount.objects}"
    tally = traces.tally if scenario == TRACES else corpus.tally
    exported = measure.run(bench, scenario, ours.export_job(source, bundle), amount)
    yield exported
    if exported.exit_code == 0:
        with measure.fresh_destination(bench, f"{scenario} destination {amount.objects}") as there:
            row = measure.run(bench, scenario, ours.import_job(there, bundle), amount)
            yield measure.judged(row, tally(source.folder), tally(there.folder))
        yield measure.run(bench, scenario, ours.verify_job(source, bundle), amount)
