"""Fixtures every test may use: real servers, prepared content, and the tool as a subprocess.

Each pytest-xdist worker has at most three long-lived servers, started when first asked for:
`server_a` (the hostile corpus, never written to), `source` and `destination` (reset before each test).
"""

import dataclasses
import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from mlflow_migration.cli.main import main
from tests import forked, seeding, servers
from tests.postgres import Postgres
from tests.postgres import running as running_postgres
from tests.rest import Json
from tests.seeding import Corpus
from tests.servers import Options, Server, Snapshot

pytest_plugins = ["tests.databricks.fixtures"]


@dataclass(frozen=True)
class Outcome:
    """How a command of the tool ended."""

    command: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Json:
        """The one JSON document on stdout; fails the test when stdout is anything else."""
        try:
            document = json.loads(self.stdout)
        except ValueError as error:
            raise AssertionError(f"stdout is not one JSON document: {error}\n{self}") from error
        assert isinstance(document, dict)
        return document

    def expect(self, code: int) -> "Outcome":
        """This outcome, after asserting its exit code."""
        assert self.code == code, str(self)
        return self

    def __str__(self) -> str:
        shown = f"{' '.join(self.command)}\nexit code {self.code}"
        return f"{shown}\n--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-4000:]}"


@dataclass(frozen=True)
class Tool:
    """The tool with a home and a state folder of its own, each command in a process of its own."""

    home: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What the command sees: nothing of the caller's MLflow or home."""
        own = {"HOME": self.home, "XDG_STATE_HOME": self.home / "state", "XDG_CONFIG_HOME": self.home / "config"}
        own["MLFLOW_MIGRATION_STATE_DIR"] = self.home / "ledgers"
        return servers.clean_environment({key: str(path) for key, path in own.items()} | dict(self.env))

    def __call__(self, *args: str | Path, env: Mapping[str, str] | None = None, timeout: float = 240) -> Outcome:
        """Run one command to its end."""
        self.home.mkdir(parents=True, exist_ok=True)
        words = [*map(str, args)]
        done = forked.run(words, self.home, self.environment | dict(env or {}), timeout)
        return Outcome(("-m", "mlflow_migration", *words), done.returncode, done.stdout, done.stderr)

    def module(
        self, name: str, *args: str | Path, env: Mapping[str, str] | None = None, timeout: float = 240
    ) -> Outcome:
        """Run `python -m name` to its end, by a new interpreter."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", name, *map(str, args)]
        done = subprocess.run(
            command,
            cwd=self.home,
            env=self.environment | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )
        return Outcome(tuple(command[1:]), done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Seeded:
    """Content made once, and what it is."""

    content: Snapshot
    corpus: Corpus


class ServerFactory(Protocol):
    """Starts a server of its own for one test; it is stopped afterwards."""

    def __call__(self, options: Options | None = None) -> Server:
        """Start with `options`; the empty template is used unless they name one."""


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One folder for all workers of this session."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


def once(folder: Path, name: str, make: Callable[[Path], Json]) -> Json:
    """What `make(folder/name)` returned, made by whichever worker comes first."""
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = folder / f"{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(make(folder / name)))
        made: Json = json.loads(kept.read_text())
        return made


@pytest.fixture(scope="session")
def template(shared_folder: Path) -> Path:
    """An empty MLflow database."""
    return Path(once(shared_folder, "template.db", lambda path: {"path": str(servers.make_template(path))})["path"])


@pytest.fixture(scope="session")
def server_pool(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Servers of this worker by name, started when first asked for."""
    running: dict[str, Server] = {}

    def named(name: str) -> Server:
        if name not in running:
            running[name] = servers.start(tmp_path_factory.mktemp(f"server-{name}-"), Options(template=template))
        return running[name]

    yield named
    for server in running.values():
        servers.stop(server)


ServerPool = Callable[[str], Server]


def _seeded(folder: Path, name: str, server: Server, make: Callable[[Server], Corpus]) -> Seeded:
    def fill(target: Path) -> Json:
        corpus = make(server)
        servers.photograph(server, target)
        return dataclasses.asdict(corpus)

    corpus = Corpus(**once(folder, name, fill))
    return Seeded(Snapshot(folder / name / "mlflow.db", folder / name / "artifacts"), corpus)


@pytest.fixture(scope="session")
def hostile(shared_folder: Path, template: Path, server_pool: ServerPool) -> Seeded:
    """The hostile corpus as a snapshot."""
    server = server_pool("a")
    servers.reset(server, Snapshot(template))
    return _seeded(shared_folder, "hostile", server, seeding.seed_hostile)


@pytest.fixture(scope="session")
def small(shared_folder: Path, template: Path, server_pool: ServerPool) -> Seeded:
    """The small corpus as a snapshot."""
    server = server_pool("source")
    servers.reset(server, Snapshot(template))
    return _seeded(shared_folder, "small", server, seeding.seed_small)


@pytest.fixture(scope="session")
def server_a(hostile: Seeded, server_pool: ServerPool) -> Server:
    """A server that holds the hostile corpus; tests only read it."""
    server = server_pool("a")
    servers.reset(server, hostile.content)
    return server


@pytest.fixture
def source(small: Seeded, server_pool: ServerPool) -> Server:
    """A server that holds the small corpus and may be changed."""
    server = server_pool("source")
    servers.reset(server, small.content)
    return server


@pytest.fixture
def empty_source(template: Path, server_pool: ServerPool) -> Server:
    """The same server as `source`, empty: take one or the other."""
    server = server_pool("source")
    servers.reset(server, Snapshot(template))
    return server


@pytest.fixture
def destination(template: Path, server_pool: ServerPool) -> Server:
    """An empty server."""
    server = server_pool("destination")
    servers.reset(server, Snapshot(template))
    return server


@pytest.fixture
def make_server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Starts servers with options of their own (about five seconds each)."""
    running: list[Server] = []

    def make(options: Options | None = None) -> Server:
        running.append(servers.start(tmp_path_factory.mktemp("own-"), options or Options(template=template)))
        return running[-1]

    yield make
    for server in running:
        servers.stop(server)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server without databases of MLflow's."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def run_tool(tmp_path: Path) -> Tool:
    """The tool with a fresh home; its ledger lasts as long as the test."""
    return Tool(tmp_path / "home")


Run = Callable[..., Outcome]


@pytest.fixture
def run_here(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The tool in this process, which starts at once: for tests of many commands."""
    monkeypatch.setenv("MLFLOW_MIGRATION_STATE_DIR", str(tmp_path / "ledgers"))

    def command(*words: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main([*map(str, words)])
        shown = capsys.readouterr()
        return Outcome(tuple(map(str, words)), int(ended.value.code or 0), shown.out, shown.err)

    return command


@pytest.fixture(scope="session")
def hostile_bundle(server_a: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The hostile corpus exported once, and how that command ended; tests only read the folder."""
    folder = tmp_path_factory.mktemp("hostile-bundle-") / "bundle"
    tool = Tool(tmp_path_factory.mktemp("hostile-home-"))
    place = ("--tracking-uri", server_a.url)
    return folder, tool("export-experiments", *place, "--experiments", "all", "--output-dir", folder, "--json")
