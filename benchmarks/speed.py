"""The speed scenario: many ordinary runs, moved by each candidate on fresh servers."""

import sys
from collections.abc import Iterator
from dataclasses import replace

from benchmarks import corpus, measure, ours, peer
from benchmarks.measure import Bench, Row
from demo import servers

TOOLS = {"limit": measure.LIMIT, "peer": peer.NAME, "ours": ours.NAME}


def rows(bench: Bench, shape: corpus.Shape, peer_runs: int, wanted: list[str]) -> Iterator[Row]:
    """Measure the wanted candidates; the peer moves `peer_runs` runs and is compared per run."""
    if "peer" in wanted:
        yield from moves(bench, replace(shape, runs=min(peer_runs, shape.runs)), [peer.NAME])
    others = [TOOLS[word] for word in wanted if word != "peer"]
    if others:
        yield from moves(bench, shape, others)


def moves(bench: Bench, shape: corpus.Shape, tools: list[str]) -> Iterator[Row]:
    """Export and import by each tool, and the copy that only this one has, from one source."""
    name = f"source of {' and '.join(tools)}"
    with measure.source_of(bench, name, shape) as source:
        expected = corpus.tally(source.folder)
        for tool in tools:
            tell(tool, "export", shape)
            exported = measure.run(bench, measure.export_job(tool, source, bench, shape), shape)
            yield exported
            if exported.exit_code == 0:
                yield arrival(bench, shape, tool, expected)
        if ours.NAME in tools:
            yield copied(bench, shape, source, expected)


def arrival(bench: Bench, shape: corpus.Shape, tool: str, expected: corpus.Tally) -> Row:
    """The import, with what is missing afterwards."""
    tell(tool, "import", shape)
    with measure.fresh_destination(bench, f"destination of {tool} {shape.runs}") as destination:
        row = measure.run(bench, measure.import_job(tool, destination, bench, shape), shape)
    return judged(row, expected, corpus.tally(destination.folder))


def copied(bench: Bench, shape: corpus.Shape, source: servers.LocalServer, expected: corpus.Tally) -> Row:
    """The copy, with what is missing afterwards."""
    tell(ours.NAME, "copy", shape)
    with measure.fresh_destination(bench, f"destination of copy {shape.runs}") as destination:
        row = measure.run(bench, measure.copy_job(source, destination), shape)
    return judged(row, expected, corpus.tally(destination.folder))


def judged(row: Row, expected: corpus.Tally, found: corpus.Tally) -> Row:
    """A fast move that loses something is not a fast move: say what it lost."""
    return replace(row, lost="; ".join(part for part in (row.lost, measure.missing(expected, found)) if part))


def tell(tool: str, action: str, shape: corpus.Shape) -> None:
    """Say what is being measured now."""
    print(f"{tool}: {action} of {shape.runs} runs …", file=sys.stderr, flush=True)
