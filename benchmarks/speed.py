"""The scenarios `small`, `runs` and `histories`: many runs, moved by each candidate on fresh servers."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import corpus, measure, ours, peer
from benchmarks.measure import Bench, Job
from benchmarks.row import Row
from demo import servers

SMALL = corpus.Shape(runs=500, metrics=5, steps=10, params=5, artifacts=1, artifact_bytes=1000)
"""Runs as most are: a few values and a small file."""
HISTORIES = corpus.Shape(runs=100, metrics=40, steps=100, params=50, artifacts=1, artifact_bytes=10_000)
"""Runs that log much and keep few files."""


def rows(bench: Bench, scenario: str, shape: corpus.Shape, peer_runs: int) -> Iterator[Row]:
    """The peer moves `peer_runs` runs and is compared per run; all else moves the whole corpus."""
    if peer_runs:
        fewer = replace(shape, runs=min(peer_runs, shape.runs))
        with measure.source_of(bench, f"{scenario} source of the peer", fewer) as source:
            yield from there_and_back(bench, scenario, (source, fewer), peer.NAME)
    with measure.source_of(bench, f"{scenario} source", shape) as source:
        yield from there_and_back(bench, scenario, (source, shape), measure.LIMIT)
        yield from there_and_back(bench, scenario, (source, shape), ours.NAME)
        bundle = bundle_of(bench, scenario, ours.NAME, shape)
        yield measure.run(bench, scenario, ours.verify_job(source, bundle), shape.amount)
        yield copied(bench, scenario, source, shape)


def there_and_back(
    bench: Bench, scenario: str, what: tuple[servers.LocalServer, corpus.Shape], tool: str
) -> Iterator[Row]:
    """The export by one tool, and the import of what it exported with what is missing afterwards."""
    source, shape = what
    bundle = bundle_of(bench, scenario, tool, shape)
    exported = measure.run(bench, scenario, export_job(bench, tool, (source, shape), bundle), shape.amount)
    yield exported
    if exported.exit_code:
        return
    with measure.fresh_destination(bench, f"{scenario} destination of {tool} {shape.runs}") as destination:
        job = import_job(bench, tool, (destination, shape), bundle)
        row = measure.run(bench, scenario, job, shape.amount)
        yield measure.judged(row, corpus.tally(source.folder), corpus.tally(destination.folder))


def copied(bench: Bench, scenario: str, source: servers.LocalServer, shape: corpus.Shape) -> Row:
    """The copy that only this tool has, with what is missing afterwards."""
    with measure.fresh_destination(bench, f"{scenario} destination of copy {shape.runs}") as destination:
        row = measure.run(bench, scenario, ours.copy_job(source, destination), shape.amount)
        return measure.judged(row, corpus.tally(source.folder), corpus.tally(destination.folder))


def export_job(bench: Bench, tool: str, what: tuple[servers.LocalServer, corpus.Shape], bundle: Path) -> Job:
    """The export of one candidate into its own bundle."""
    source, shape = what
    if tool == ours.NAME:
        return ours.export_job(source, bundle)
    return peer.export_job(source, bundle) if tool == peer.NAME else limit_job(bench, "export", source, shape)


def import_job(bench: Bench, tool: str, what: tuple[servers.LocalServer, corpus.Shape], bundle: Path) -> Job:
    """The import of what the same candidate exported."""
    destination, shape = what
    if tool == ours.NAME:
        return ours.import_job(destination, bundle)
    return peer.import_job(destination, bundle) if tool == peer.NAME else limit_job(bench, "import", destination, shape)


def limit_job(bench: Bench, action: str, server: servers.LocalServer, shape: corpus.Shape) -> Job:
    """The bare client's command line."""
    told = measure.described(bench, f"shape-{shape.runs}-{shape.metrics}", asdict(shape))
    words = ["-m", "benchmarks.limit", action, servers.HOST, str(server.port), told]
    return Job(action, measure.LIMIT, words, (server,), timed=True)


def bundle_of(bench: Bench, scenario: str, tool: str, shape: corpus.Shape) -> Path:
    """The folder a candidate exports into."""
    return bench.folder / f"{scenario} bundle of {tool} {shape.runs}"
