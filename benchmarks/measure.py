"""Measure one candidate's move between real servers, and look at what arrived."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import corpus, ours, peer, process
from demo import servers

LIMIT = "bare HTTP client"


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
    """One command line to measure. `watched` are the servers whose requests count."""

    action: str
    tool: str
    arguments: list[str]
    environment: dict[str, str]
    watched: tuple[servers.LocalServer, ...]


@dataclass(frozen=True)
class Row:
    """One line of the result; `lost` names what did not arrive (empty: all of it did)."""

    action: str
    tool: str
    shape: corpus.Shape
    seconds: float
    peak_bytes: int
    requests: int
    requests_told: int | None
    exit_code: int
    lost: str

    @property
    def seconds_per_run(self) -> float:
        return self.seconds / self.shape.runs


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


def run(bench: Bench, job: Job, shape: corpus.Shape) -> Row:
    """Run a job and count the requests in the logs of the servers it talks to."""
    folder = bench.folder / f"{job.tool} {job.action} {shape.runs}"
    before = requests_served(job.watched)
    usage = process.run(job.arguments, folder, bench.timeout, **job.environment)
    # The server writes the line of the last request after it has answered.
    time.sleep(0.3)
    seconds = usage.seconds
    if job.tool == LIMIT and usage.exit_code == 0:
        seconds = float(json.loads(usage.output.splitlines()[-1])["seconds"])
    told = ours.requests_told(folder) if job.tool == ours.NAME else None
    served = requests_served(job.watched) - before
    lost = "" if usage.exit_code == 0 else f"exit code {usage.exit_code}: {last_line(usage.output)}"
    return Row(job.action, job.tool, shape, seconds, usage.peak_bytes, served, told, usage.exit_code, lost)


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


def missing(expected: corpus.Tally, found: corpus.Tally) -> str:
    """What the destination lacks, such as `inputs 0 of 40`."""
    wanted, there = asdict(expected), asdict(found)
    return ", ".join(f"{name} {there[name]} of {wanted[name]}" for name in wanted if there[name] != wanted[name])


def export_job(tool: str, source: servers.LocalServer, bench: Bench, shape: corpus.Shape) -> Job:
    """The export of one candidate into its own bundle."""
    bundle = bundle_of(bench, tool, shape)
    if tool == ours.NAME:
        return Job("export", tool, ours.export_arguments(source.uri, bundle), {}, (source,))
    if tool == peer.NAME:
        return Job("export", tool, peer.export_arguments(bundle), peer.environment(source.uri), (source,))
    return Job("export", tool, limit_arguments("export", source, bench, shape), {}, (source,))


def import_job(tool: str, destination: servers.LocalServer, bench: Bench, shape: corpus.Shape) -> Job:
    """The import of what the same candidate exported."""
    bundle, uri = bundle_of(bench, tool, shape), destination.uri
    if tool == ours.NAME:
        return Job("import", tool, ours.import_arguments(uri, bundle), {}, (destination,))
    if tool == peer.NAME:
        return Job("import", tool, peer.import_arguments(bundle), peer.environment(uri), (destination,))
    return Job("import", tool, limit_arguments("import", destination, bench, shape), {}, (destination,))


def copy_job(source: servers.LocalServer, destination: servers.LocalServer) -> Job:
    """The copy from server to server, which only this tool is measured on."""
    arguments = ours.copy_arguments(source.uri, destination.uri)
    return Job("copy", ours.NAME, arguments, {}, (source, destination))


def bundle_of(bench: Bench, tool: str, shape: corpus.Shape) -> Path:
    """The folder a candidate exports into."""
    return bench.folder / f"bundle of {tool} {shape.runs}"


def limit_arguments(action: str, server: servers.LocalServer, bench: Bench, shape: corpus.Shape) -> list[str]:
    """The bare client's command line."""
    described = bench.folder / f"shape-{shape.runs}.json"
    described.write_text(json.dumps(asdict(shape)), encoding="utf-8")
    return ["-m", "benchmarks.limit", action, servers.HOST, str(server.port), str(described)]
