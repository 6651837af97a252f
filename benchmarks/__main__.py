"""Run the benchmarks: `python -m benchmarks` (see `--help` for sizes)."""

import argparse
import compileall
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import corpus, databases, growth, measure, memory, models, process, results, speed, start, table, traces
from benchmarks.measure import Bench
from benchmarks.row import Row
from benchmarks.targets import HISTORIES, RUNS, SMALL
from demo import servers

Scenario = Callable[[Bench, argparse.Namespace], Iterator[Row]]
SCENARIOS: dict[str, Scenario] = {
    start.NAME: lambda bench, _: start.rows(bench),
    SMALL: lambda bench, options: speed.rows(bench, SMALL, replace(speed.SMALL, runs=options.small), options.peer_runs),
    RUNS: lambda bench, options: speed.rows(bench, RUNS, shape_of(options), options.peer_runs),
    HISTORIES: lambda bench, options: speed.rows(
        bench, HISTORIES, replace(speed.HISTORIES, runs=options.histories), options.peer_runs // 4
    ),
    traces.NAME: lambda bench, options: traces.rows(bench, traces.Shape(options.traces, options.spans)),
    models.NAME: lambda bench, options: models.rows(bench, models.Shape(options.models), options.peer_runs > 0),
    databases.NAME: lambda bench, options: databases.rows(bench, of_databases(options)),
    memory.NAME: lambda bench, options: memory.rows(bench, memory.Giant(options.memory_points, options.memory_bytes)),
    "growth": lambda bench, options: growth.rows(bench, options.growth_runs, options.growth_traces),
}
USUAL = (start.NAME, SMALL, RUNS, HISTORIES, traces.NAME, models.NAME, databases.NAME)


def main() -> int:
    """Measure, print the tables, keep the JSON; 1 when something failed or was lost by anyone but the peer."""
    options = parse()
    servers.stop_on_termination()
    # What is installed is compiled already; so is what is measured.
    for package in ("mlflow_migration", "benchmarks"):
        compileall.compile_dir(process.ROOT / package, quiet=1)
    measured: list[Row] = []
    try:
        for name in options.only:
            found = measure_one(name, options)
            # At once, so that a scenario that breaks off costs no other its rows.
            results.keep(found, options.results)
            measured += found
    except KeyboardInterrupt:
        print("interrupted: the servers are down; this is what was measured", file=sys.stderr)
    finally:
        print("\n".join(table.lines(table.HEAD, table.rows_of(measured))), end="\n\n")
        print("\n".join(table.lines(table.TARGET_HEAD, table.target_rows(measured))))
    print(f"\nwritten to {options.results}; `make docs` draws the page from it", file=sys.stderr)
    return 1 if not measured or any(row.lost and row.tool != measure.PEER for row in measured) else 0


def measure_one(name: str, options: argparse.Namespace) -> list[Row]:
    """The rows of one scenario, in a folder that is gone afterwards."""
    found = []
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-bench-", dir=options.folder) as folder:
        bench = Bench(Path(folder), options.server_workers, options.timeout)
        if name != start.NAME:
            measure.make_template(bench)
        for row in SCENARIOS[name](bench, options):
            found.append(row)
            print(f"  {row.seconds:.2f} s, lost: {row.lost or 'nothing'}", file=sys.stderr, flush=True)
    return found


def shape_of(options: argparse.Namespace) -> corpus.Shape:
    """The runs that the command line asks for."""
    counts = (options.runs, options.metrics, options.steps, options.params, options.artifacts)
    return corpus.Shape(*counts, options.artifact_bytes)


def of_databases(options: argparse.Namespace) -> corpus.Shape:
    """The same runs for the databases, without artifacts, which don't lie in a database."""
    return replace(shape_of(options), runs=options.database_runs, artifacts=0)


def parse() -> argparse.Namespace:
    """The command line."""
    usual, giant = corpus.Shape(), memory.Giant()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--only", type=names, default=USUAL, metavar="NAMES", help=f"scenarios with commas, of {', '.join(SCENARIOS)}")
    add("--runs", type=int, default=usual.runs, help="runs to move")
    add("--metrics", type=int, default=usual.metrics, help="metrics per run")
    add("--steps", type=int, default=usual.steps, help="points per metric")
    add("--params", type=int, default=usual.params, help="params per run")
    add("--artifacts", type=int, default=usual.artifacts, help="artifacts per run")
    add("--artifact-bytes", type=int, default=usual.artifact_bytes, help="size of an artifact")
    add("--small", type=int, default=speed.SMALL.runs, help="small runs to move")
    add("--histories", type=int, default=speed.HISTORIES.runs, help="runs with long histories to move")
    add("--peer-runs", type=int, default=24, help="runs that the peer moves, compared per run; 0 leaves the peer out")
    add("--traces", type=int, default=traces.Shape().traces, help="traces to move")
    add("--spans", type=int, default=traces.Shape().spans, help="spans per trace")
    add("--models", type=int, default=models.Shape().models, help="registered models, of ten versions each")
    add("--database-runs", type=int, default=2000, help="runs to move from database to database")
    add("--memory-points", type=int, default=giant.points, help="metric points of the giant run")
    add("--memory-bytes", type=int, default=giant.artifact_bytes, help="artifact size of the giant run")
    add("--growth-runs", type=sizes, default=growth.RUN_COUNTS, metavar="N,N", help="sizes of the growth of runs")
    add("--growth-traces", type=sizes, default=growth.TRACE_COUNTS, metavar="N,N", help="sizes of the growth of traces")
    add("--server-workers", type=int, default=2, help="worker processes of every server")
    add("--timeout", type=float, default=3600.0, help="seconds after which a candidate is stopped")
    add("--folder", type=Path, default=None, help="where the temporary folder goes")
    add("--results", type=Path, default=results.FILE, help="the JSON file to write")
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    """Scenarios by name. Raises ArgumentTypeError for one that isn't there."""
    found = tuple(text.split(","))
    if unknown := set(found) - set(SCENARIOS):
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(sorted(unknown))}")
    return found


def sizes(text: str) -> tuple[int, ...]:
    """Numbers with commas; "" for none."""
    return tuple(int(part) for part in text.split(",") if part)


if __name__ == "__main__":
    sys.exit(main())
