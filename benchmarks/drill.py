"""The drill of docs/how-to/app-disaster-recovery.md, timed: `python -m benchmarks.drill --runs 1000,10000`.

A server's content becomes a bundle, the bundle an app's first snapshot; the app starts, takes a snapshot of a change,
ends, starts on a machine that has nothing, and goes back to the snapshot before. Snapshots lie in a folder: with a
Volume the times of its uploads and downloads come on top.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks import corpus, measure, process
from benchmarks.measure import Bench
from demo import servers

START_SECONDS = 300
SNAPSHOT_SECONDS = 5
Times = dict[str, float]


@dataclass(frozen=True)
class App:
    """An app on this machine."""

    url: str
    process: "subprocess.Popen[bytes]"

    def until(self, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until its status meets a condition. Raises RuntimeError where it doesn't."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(requests.RequestException):
                found = dict(requests.get(f"{self.url}/mlflow-app/status.json", timeout=30).json())
                if met(found):
                    return found
            time.sleep(0.1)
        raise RuntimeError(f"{self.url}: not in {START_SECONDS} seconds")


@contextlib.contextmanager
def app(folder: Path, volume: Path) -> Iterator[App]:
    """An app with its snapshots in `volume`, not waited for; it is ended afterwards."""
    port = servers.free_port()
    words = ["app", "run-local", "--folder", str(folder), "--volume", str(volume), "--port", str(port)]
    every = ["--setting", f"MLFLOW_APP_SNAPSHOT_SECONDS={SNAPSHOT_SECONDS}"]
    folder.mkdir(parents=True)
    environment = servers.clean_environment() | {"PYTHONPATH": str(process.ROOT)}
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "mlflow_migration", *words, *every],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield App(f"http://127.0.0.1:{port}", started)
    finally:
        started.terminate()
        started.wait(30)


def drill(bench: Bench, runs: int) -> Times:
    """The seconds of each step for so many runs."""
    folder = bench.folder / f"drill {runs}"
    bundle, volume = folder / "bundle", folder / "volume"
    times: Times = {}
    with measure.source_of(bench, f"source {runs}", corpus.Shape(runs, 8, 10, 20, 1, 1000)) as source:
        times["bundle of a server"] = run(folder, "export-all", "--tracking-uri", source.uri, "--output-dir", bundle)
    data = ("--volume", volume)
    times["app seed"] = run(folder, "app", "seed", "--input-dir", bundle, *data)
    times["start to serving"], times["snapshot of a change"], times["SIGTERM to the end"] = life(folder / "one", volume)
    times["start on a machine that has nothing"], _, _ = life(folder / "two", volume)
    times["app restore"] = run(folder, "app", "restore", "--generation", "previous", *data)
    times["app snapshot --to a bundle"] = run(folder, "app", "snapshot", "--to", folder / "backup", *data)
    newest = json.loads((volume / "latest.json").read_text())["generation"]
    manifest = json.loads((volume / "snapshots" / f"{newest}.json").read_text())
    times["MB of the database"] = manifest["database_size"] / 1e6
    times["MB of a snapshot"] = manifest["size"] / 1e6
    return times


def life(folder: Path, volume: Path) -> tuple[float, float, float]:
    """Start, one change, end: seconds to serving, of the snapshot that holds the change, to the end."""
    began = time.monotonic()
    with app(folder, volume) as started:
        started.until(lambda status: bool(status["state"] == "serving"))
        serving = time.monotonic() - began
        before = started.until(lambda status: bool(status["snapshot"].get("generation")))["snapshot"]["generation"]
        change = f"{started.url}/api/2.0/mlflow/experiments/create"
        requests.post(change, json={"name": folder.name}, timeout=30).raise_for_status()
        made = started.until(lambda status: bool(status["snapshot"]["generation"] != before))["snapshot"]
        ends = time.monotonic()
    return serving, float(made["seconds"]), time.monotonic() - ends


def run(folder: Path, *words: str | Path) -> float:
    """The seconds a command takes. Raises RuntimeError where it fails."""
    usage = process.run(["-m", "mlflow_migration", *map(str, words)], folder, START_SECONDS * 10)
    if usage.exit_code:
        raise RuntimeError(f"{words[0]} {words[1]}: exit code {usage.exit_code}\n{usage.output[-2000:]}")
    return usage.seconds


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drill", description=__doc__)
    parser.add_argument("--runs", default="1000,10000", help="numbers of runs, with commas")
    counts = [int(word) for word in parser.parse_args().runs.split(",")]
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-drill-") as folder:
        bench = Bench(Path(folder))
        measure.make_template(bench)
        columns = [drill(bench, runs) for runs in counts]
    print("| seconds | " + " | ".join(f"{runs:,} runs" for runs in counts) + " |")
    print("| --- |" + " ---: |" * len(counts))
    for step in columns[0]:
        print(f"| {step} | " + " | ".join(f"{times[step]:.1f}" for times in columns) + " |")


if __name__ == "__main__":
    main()
