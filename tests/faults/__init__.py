"""What happens when the network, the process, the disk or the user fails.

Here: the corpus these tests move, a stage with a proxy before each server, and the tool as a process to be killed.
"""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from mlflow_migration.cli.main import main
from tests import servers
from tests.conftest import Outcome, Seeded, ServerPool, Tool, once
from tests.databases import compare
from tests.faults.proxy import Proxy
from tests.rest import Api, Json
from tests.seeding import T0, Corpus, Seed, log_dataset, log_metric, log_params, noise
from tests.servers import Server, Snapshot

EXPERIMENTS = ("alpha", "beta é")
RUNS_EACH = 9
RUNS = len(EXPERIMENTS) * RUNS_EACH
KEYS = ("loss", "acc é")
FILES_EACH = 2
BIGGEST_FILE = 300_000

Words = tuple[str | Path, ...]


def seed_plain(server: Server) -> Corpus:
    """Two experiments of nine runs each, all alike but a child, a deleted one, a running one and a larger file."""
    seed = Seed(Api(server.url), server)
    for name in EXPERIMENTS:
        seed.experiment(name, name, {"team": "red"})
        for index in range(RUNS_EACH):
            _run(seed, name, index)
    seed.api.close()
    return seed.corpus


def _run(seed: Seed, experiment: str, index: int) -> None:
    label = f"{experiment} {index}"
    parent = {"mlflow.parentRunId": seed.corpus.runs[f"{experiment} 0"]} if index == 1 else {}
    run_id = seed.run(label, experiment, {"note": f"run {index} é", **parent}, start_time=T0 + index)
    log_params(seed.api, run_id, {"index": str(index), "rate": "0.1"})
    for key in KEYS:
        log_metric(seed.api, run_id, key, [(step, T0 + step, step / (index + 1)) for step in range(20)])
    log_dataset(seed.api, run_id, f"data {index % 3}", {"mlflow.data.context": "training"})
    seed.file(run_id, "model/weights.bin", noise(BIGGEST_FILE if label == "alpha 5" else 30_000, label))
    seed.file(run_id, "notes é.txt", label.encode())
    if index != 2:
        seed.end(run_id)
    if index == 3:
        seed.delete(run_id)


@dataclass
class Running:
    """The tool, started as a process group of its own."""

    command: tuple[str, ...]
    process: "subprocess.Popen[str]"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal as a terminal does: to the whole group."""
        os.killpg(self.process.pid, number)

    def end(self, seconds: float = 120) -> Outcome:
        """Wait for its end; kill it, and fail the test, when it takes longer."""
        late = False
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            late = True
            self.signal(signal.SIGKILL)
            out, err = self.process.communicate()
        outcome = Outcome(self.command, self.process.returncode, out, err)
        assert not late, f"still running after {seconds} s\n{outcome}"
        return outcome


def start(tool: Tool, *words: str | Path, under: Words = ()) -> Running:
    """The tool in a process group of its own; `under` goes before it."""
    tool.home.mkdir(parents=True, exist_ok=True)
    command = [*map(str, under), sys.executable, "-m", "mlflow_migration", *map(str, words)]
    process = subprocess.Popen(
        command,
        cwd=tool.home,
        env=tool.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    return Running(tuple(command), process)


@dataclass(frozen=True)
class Setting:
    """What a stage is built of: the fixtures of the same names."""

    folder: Path
    template: Path
    pool: ServerPool

    def plain(self) -> Seeded:
        """The corpus, made once for all workers."""
        name, source = "plain", self.pool("source")

        def fill(target: Path) -> Json:
            servers.reset(source, Snapshot(self.template))
            corpus = seed_plain(source)
            servers.photograph(source, target)
            return dataclasses.asdict(corpus)

        corpus = Corpus(**once(self.folder, name, fill))
        return Seeded(Snapshot(self.folder / name / "mlflow.db", self.folder / name / "artifacts"), corpus)


@dataclass(frozen=True)
class Stage:
    """A full source and an empty destination, each behind a proxy, and the tool."""

    setting: Setting
    corpus: Corpus
    src: Proxy
    dst: Proxy
    tool: Tool

    @property
    def source(self) -> Server:
        """The server that holds the corpus."""
        return self.setting.pool("source")

    @property
    def destination(self) -> Server:
        """The server that was empty at the beginning of the test."""
        return self.setting.pool("destination")

    @property
    def bundle(self) -> Path:
        """Where `export` writes and `load` reads."""
        return self.tool.home / "bundle"

    @property
    def copy(self) -> Words:
        """Copy everything, through both proxies."""
        places = ("--src-mlflow-uri", self.src.url, "--dst-mlflow-uri", self.dst.url)
        return ("copy-experiments", "--experiments", "all", *places)

    @property
    def export(self) -> Words:
        """Export everything through the source's proxy."""
        places = ("--output-dir", self.bundle, "--tracking-uri", self.src.url)
        return ("export-experiments", "--experiments", "all", *places)

    @property
    def load(self) -> Words:
        """Import the bundle through the destination's proxy."""
        return ("import-experiments", "--input-dir", self.bundle, "--tracking-uri", self.dst.url)

    def put_bundle(self) -> None:
        """Put a finished bundle of the corpus where `load` reads it."""

        def make(target: Path) -> Json:
            place = ("--tracking-uri", self.source.url)
            self.tool("export-experiments", "--experiments", "all", "--output-dir", target, *place).expect(0)
            return {}

        once(self.setting.folder, "plain-bundle", make)
        shutil.copytree(self.setting.folder / "plain-bundle", self.bundle)

    def start(self, *words: str | Path, under: Words = ()) -> Running:
        """Start a command and come back at once; `under` goes before it, such as ("prlimit", "--fsize=1000")."""
        return start(self.tool, *words, under=under)

    def arrived(self) -> None:
        """The destination holds everything the source holds, once, and nothing else."""
        assert compare(self.source, self.destination) == []

    def exported(self) -> None:
        """The bundle is whole by its own checksums and by those of coreutils, and equal to the source."""
        self.tool("verify", self.bundle).expect(0)
        command = ["sha256sum", "-c", "--quiet", "SHA256SUMS"]
        checked = subprocess.run(command, cwd=self.bundle, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        ids = [json.loads(head.read_text("utf-8"))["mlflow"] for head in self.bundle.rglob("run.json")]
        assert len(ids) == RUNS
        self.tool("verify", self.source.url, self.bundle).expect(0)


@contextlib.contextmanager
def staged(setting: Setting, tool: Tool) -> Iterator[Stage]:
    """Fill the source, empty the destination and put a proxy before each."""
    plain = setting.plain()
    tool.home.mkdir(parents=True, exist_ok=True)
    servers.reset(setting.pool("source"), plain.content)
    servers.reset(setting.pool("destination"), Snapshot(setting.template))
    with Proxy(setting.pool("source").url) as src, Proxy(setting.pool("destination").url) as dst:
        yield Stage(setting, plain.corpus, src, dst, tool)


def run_names(server: Server, active: bool = False) -> list[str]:
    """The name of every row of `runs`, or of those not in the trash, from the database itself."""
    query = "SELECT name FROM runs WHERE lifecycle_stage = 'active' OR NOT ? ORDER BY 1"
    with contextlib.closing(sqlite3.connect(server.database)) as connection:
        return [name for (name,) in connection.execute(query, [active])]


def here(tool: Tool, *words: str | Path) -> Outcome:
    """Run a command in this process: what `Tool` does, without the second that a start takes. Not for threads."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    tool.home.mkdir(parents=True, exist_ok=True)
    os.chdir(tool.home)
    code: object = 0
    try:
        with (
            mock.patch.dict(os.environ, tool.environment, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main.main([str(word) for word in words])
    except SystemExit as end:
        code = end.code
    finally:
        os.chdir(before)
    assert isinstance(code, int)
    return Outcome(tuple(map(str, words)), code, out.getvalue(), err.getvalue())
