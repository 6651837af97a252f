"""Measure one candidate's move between real servers."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import corpus, process
from benchmarks.row import Amount, Row
from demo import servers

LIMIT, PEER = "bare HTTP client", "mlflow-export-import"


@dataclass(frozen=True)
class Bench:
    """Where and how everything is measured."""

    folder: Path
    server_workers: int = 2
    timeout: float = 3600.0

    @property
    def template(self) -> Path:
        return self.folder / "template"


@dataclass(frozen=True)
class Job:
    """One command line to measure. `watched` are the servers whose requests count.

    A job that is `timed` from inside prints `{"seconds": …}` as its last line.
    """

    action: str
    tool: str
    arguments: list[str]
    watched: tuple[servers.LocalServer, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    timed: bool = False


def make_template(bench: Bench) -> None:
    """An empty server folder with its tables made, to be copied before every measurement."""
    with servers.serving(bench.template):
        pass


@contextlib.contextmanager
def source_of(bench: Bench, name: str, shape: corpus.Shape) -> Iterator[servers.LocalServer]:
    """A server that holds the corpus."""
    folder = servers.copy_folder(bench.template, bench.folder / name)
    corpus.seed(folder, shape)
    with servers.serving(folder, bench.server_workers) as server:
        yield server


@contextlib.contextmanager
def fresh_destination(bench: Bench, name: str) -> Iterator[servers.LocalServer]:
    """A server that holds nothing yet."""
    folder = servers.copy_folder(bench.template, bench.folder / name)
    with servers.serving(folder, bench.server_workers) as server:
        yield server


def run(bench: Bench, scenario: str, job: Job, amount: Amount) -> Row:
    """Run a job and count the requests in the logs of the servers it talks to."""
    print(f"{scenario}: {job.action} of {amount.objects:,} by {job.tool} …", file=sys.stderr, flush=True)
    folder = bench.folder / f"{scenario} {job.tool} {job.action} {amount.objects}"
    before = requests_served(job.watched)
    usage = process.run(job.arguments, folder, bench.timeout, **job.environment)
    # The server writes the line of the last request after it has answered.
    time.sleep(0.3)
    seconds = usage.seconds
    if job.timed and usage.exit_code == 0:
        seconds = float(json.loads(usage.output.splitlines()[-1])["seconds"])
    row = Row(scenario, job.action, job.tool, amount, seconds)
    row = replace(row, cpu_seconds=usage.cpu_seconds, peak_bytes=usage.peak_bytes, exit_code=usage.exit_code)
    lost = "" if usage.exit_code == 0 else f"exit code {usage.exit_code}: {last_line(usage.output)}"
    return replace(row, requests=requests_served(job.watched) - before, lost=lost)


def last_line(output: str) -> str:
    """The last thing a program said."""
    lines = output.strip().splitlines()
    return lines[-1] if lines else "no output"


def requests_served(watched: tuple[servers.LocalServer, ...]) -> int:
    """Lines of the access logs."""
    total = 0
    for server in watched:
        with server.log.open(encoding="utf-8", errors="replace") as lines:
            total += sum(' HTTP/1.1" ' in line and "/health " not in line for line in lines)
    return total


def judged(row: Row, expected: dict[str, int], found: dict[str, int]) -> Row:
    """A fast move that loses something is not a fast move: say what it lost, such as `inputs 0 of 40`."""
    lacks = [f"{name} {found[name]} of {count}" for name, count in expected.items() if found[name] != count]
    return replace(row, lost="; ".join([*([row.lost] if row.lost else []), *lacks]))


def described(bench: Bench, name: str, shape: Mapping[str, int]) -> str:
    """The path of a JSON file that tells the bare client how much there is."""
    path = bench.folder / f"{name}.json"
    path.write_text(json.dumps(shape), encoding="utf-8")
    return str(path)
