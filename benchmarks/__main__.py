"""Run the benchmark: `python -m benchmarks` (see `--help` for sizes)."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import corpus, measure, memory, ours, speed, table, traces
from benchmarks.measure import Bench, Row
from demo import servers


def main() -> int:
    """Measure, print the table, keep the JSON; 1 when this tool failed, lost something or held too much memory."""
    options = parse()
    servers.stop_on_termination()
    shape = corpus.Shape(
        options.runs, options.metrics, options.steps, options.params, options.artifacts, options.artifact_bytes
    )
    measured: list[Row] = []
    try:
        with tempfile.TemporaryDirectory(prefix="mlflow-migration-bench-", dir=options.folder) as folder:
            bench = Bench(Path(folder), options.server_workers, options.timeout)
            measure.make_template(bench)
            for row in rows(bench, shape, options):
                measured.append(row)
                print(f"  {row.seconds:.1f} s, lost: {row.lost or 'nothing'}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted: the servers are down; this is what was measured", file=sys.stderr)
    print("\n".join(table.lines(measured)))
    table.write(measured, options.results)
    print(f"\nwritten to {options.results}", file=sys.stderr)
    bad = [
        row for row in measured if row.tool == ours.NAME and (row.lost or (options.memory and memory.too_large(row)))
    ]
    return 1 if bad or not measured else 0


def rows(bench: Bench, shape: corpus.Shape, options: argparse.Namespace) -> Iterator[Row]:
    """The chosen scenario."""
    if options.memory:
        return memory.rows(bench, memory.Giant(options.memory_points, options.memory_bytes))
    if options.traces:
        return traces.rows(bench, traces.Shape(options.traces, options.spans))
    return speed.rows(bench, shape, options.peer_runs, options.only.split(","))


def parse() -> argparse.Namespace:
    """The command line."""
    usual, giant = corpus.Shape(), memory.Giant()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--runs", type=int, default=usual.runs, help="runs to move")
    add("--metrics", type=int, default=usual.metrics, help="metrics per run")
    add("--steps", type=int, default=usual.steps, help="points per metric")
    add("--params", type=int, default=usual.params, help="params per run")
    add("--artifacts", type=int, default=usual.artifacts, help="artifacts per run")
    add("--artifact-bytes", type=int, default=usual.artifact_bytes, help="size of an artifact")
    add("--peer-runs", type=int, default=40, help="runs that mlflow-export-import moves; it is compared per run")
    add("--only", default="limit,peer,ours", help="which candidates to measure")
    add("--memory", action="store_true", help="measure the memory scenario instead: one giant run")
    add("--memory-points", type=int, default=giant.points, help="metric points of the giant run")
    add("--memory-bytes", type=int, default=giant.artifact_bytes, help="artifact size of the giant run")
    add(
        "--traces",
        type=int,
        default=0,
        help="measure the traces scenario instead: so many traces; the table calls each a run",
    )
    add("--spans", type=int, default=traces.Shape().spans, help="spans per trace")
    add("--server-workers", type=int, default=2, help="worker processes of every server")
    add("--timeout", type=float, default=3600.0, help="seconds after which a candidate is stopped")
    add("--folder", type=Path, default=None, help="where the temporary folder goes")
    add("--results", type=Path, default=Path("benchmarks/results.json"), help="the JSON file to write")
    options = parser.parse_args()
    unknown = set(options.only.split(",")) - set(speed.TOOLS)
    if unknown:
        parser.error(f"--only knows {', '.join(speed.TOOLS)}, not {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
