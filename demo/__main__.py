"""Run the demo: `python -m demo`, or `python -m demo --keep` to look at both servers afterwards."""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from demo import servers

SURE = ("experiment", "run")
"""Kinds that the demo data is sure to hold."""


@dataclass
class Transcript:
    """The shell session a reader could type: each command is printed, run with its output shown, and its end kept."""

    folder: Path
    failures: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        click.secho(f"\n# {text}", fg="cyan", bold=True)

    def run(self, shown: Sequence[str], command: Sequence[str], **environment: str) -> bool:
        """Run `command`, showing it as `shown`; a non-zero end is remembered and makes the demo fail."""
        settings = "".join(f"{name}={value} " for name, value in environment.items())
        click.secho(f"$ {settings}{shlex.join(shown)}", bold=True)
        own = {"MLFLOW_MIGRATION_STATE_DIR": str(self.folder / "state"), "PYTHONUNBUFFERED": "1"}
        ended = subprocess.run(
            command, cwd=self.folder, env=servers.clean_environment(**own, **environment), check=False
        )
        if ended.returncode:
            self.failures.append(f"exit code {ended.returncode}: {shlex.join(shown)}")
        return ended.returncode == 0

    def tool(self, *arguments: str) -> bool:
        """One command of the tool, as its user types it."""
        return self.run(["mlflow-migration", *arguments], [sys.executable, "-m", "mlflow_migration", *arguments])


def main() -> int:
    """Parse the options, keep everything in one temporary folder, and give 0 only when nothing was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Migrate MLflow's demo data between two servers."
    )
    parser.add_argument("--keep", action="store_true", help="leave both servers up until Ctrl-C")
    keep: bool = parser.parse_args().keep
    servers.stop_on_termination()
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-demo-") as folder:
        transcript = Transcript(Path(folder))
        try:
            with two_servers(transcript) as (source, destination):
                show(transcript, source, destination)
                if keep:
                    wait_for_ctrl_c(source, destination)
                else:
                    click.echo("(both stop now; `make demo KEEP=1` leaves them up to look at)")
        except KeyboardInterrupt:
            click.secho("\nstopped; both servers are down and nothing is left behind", err=True)
            return 130
        except RuntimeError as error:
            transcript.failures.append(str(error))
        return verdict(transcript)


@contextlib.contextmanager
def two_servers(transcript: Transcript) -> Iterator[tuple[servers.LocalServer, servers.LocalServer]]:
    """Both servers, started side by side because each takes some seconds to make its database."""
    transcript.say("two local MLflow servers, each with its own SQLite database and artifact folder")
    with contextlib.ExitStack() as stack:
        pair = []
        for name in ("source", "destination"):
            server = servers.launch(transcript.folder / name)
            stack.callback(servers.stop, server)
            pair.append(server)
        for server in pair:
            servers.wait_until_ready(server)
            click.echo(f"{server.folder.name:<12} {server.uri}")
        yield pair[0], pair[1]


def show(transcript: Transcript, source: servers.LocalServer, destination: servers.LocalServer) -> None:
    """Fill the source, carry everything over, and prove it; stops at the first step that the next one needs."""
    a, b = source.uri, destination.uri
    transcript.say("MLflow's own demo data: traces, prompts, judges, evaluations, … (half a minute)")
    mlflow_demo = ["mlflow", "demo", "--tracking-uri", a, "--no-browser"]
    filled = transcript.run(mlflow_demo, [sys.executable, "-m", *mlflow_demo])
    transcript.say("training runs: curves over epochs, nested runs, plots, datasets, models")
    training = str(Path(__file__).with_name("train.py").resolve())
    filled &= transcript.run(["python", "demo/train.py"], [sys.executable, training], MLFLOW_TRACKING_URI=a)
    if not filled:
        return
    transcript.say("export everything the first server holds")
    every = ("--output-dir", "bundle", "--tracking-uri", a)
    exported = transcript.tool("export-all", *every, "--allow-loss", "all", "--report", "export.json")
    lost = list(not_carried(transcript.folder / "export.json"))
    warn_of_kinds_not_carried(lost)
    if not exported:
        return
    transcript.say("is the bundle whole?")
    transcript.tool("verify", "bundle")
    transcript.say("import it into the second server")
    into = ("--input-dir", "bundle", "--tracking-uri", b)
    transcript.tool("import-all", *into, "--allow-loss", "all", "--report", "import.json")
    for name in ("export.json", "import.json"):
        transcript.failures += unfinished(transcript.folder / name)
    transcript.say("compare the two servers, value by value")
    transcript.tool("verify", a, b)
    transcript.say("both servers in the browser")
    click.echo(f"source       {a}\ndestination  {b}")


def not_carried(report: Path) -> Iterator[dict[str, Any]]:
    """The rows of a report that name a kind the tool does not carry yet."""
    return (row for row in read(report).get("rows", []) if row["state"] == "unsupported")


def unfinished(report: Path) -> list[str]:
    """What a report says is neither done nor there already; kinds not carried yet are told separately."""
    document = read(report)
    if not document:
        return [f"no report in {report.name}"]
    rows = [row for row in document["rows"] if row["state"] == "failed"]
    found = [f"{report.name}: {row['kind']} {row['name']} failed: {row['reason']}" for row in rows]
    counts = document["kinds"]
    found += [f"{report.name}: no {kind} at all" for kind in SURE if kind not in counts]
    for kind, count in counts.items():
        ended = count["done"] + count["same"] + count["updated"] + count["unsupported"]
        if count["asked"] != ended:
            found.append(f"{report.name}: not every {kind} arrived: {json.dumps(count)}")
    return found


def warn_of_kinds_not_carried(rows: list[dict[str, Any]]) -> None:
    """Say loudly what `--allow-loss all` left behind."""
    if not rows:
        return
    click.secho("\nNOT CARRIED: --allow-loss all lets these stay behind", fg="yellow", bold=True)
    for row in rows:
        click.secho(f"  {row['kind']:<24} {row['reason']}", fg="yellow")


def read(report: Path) -> dict[str, Any]:
    """A JSON report; empty when the command ended before it wrote one."""
    if not report.exists():
        return {}
    document: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return document


def wait_for_ctrl_c(source: servers.LocalServer, destination: servers.LocalServer) -> None:
    """Hold both servers until the user has seen enough."""
    click.secho("\nboth servers stay up: press Ctrl-C here to stop them and remove everything", bold=True)
    click.echo(f"(from another terminal: kill {os.getpid()}; server pids {source.pid} and {destination.pid})")
    # Ctrl-C is the normal end of waiting, not an interruption of the demo.
    with contextlib.suppress(KeyboardInterrupt):
        while source.process.poll() is None and destination.process.poll() is None:
            time.sleep(0.5)


def verdict(transcript: Transcript) -> int:
    """Print how it ended; 1 when any step failed."""
    if transcript.failures:
        click.secho("\ndemo FAILED", fg="red", bold=True, err=True)
        for failure in transcript.failures:
            click.secho(f"  {failure}", fg="red", err=True)
        return 1
    click.secho("\ndemo done: all that is carried arrived, and verify finds both servers equal", fg="green", bold=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
