"""Exports on Spark: one bundle, equal to that of a plain export, whatever becomes of single tasks."""

import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlflow_migration.bundle import layout
from mlflow_migration.errors import AccessError, MigrationError, NotFoundError, UsageError
from mlflow_migration.objects import OF_EXPERIMENTS
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.live import Server as Live
from mlflow_migration.server.rest import Rest
from mlflow_migration.spark import How, Selection, engine, export_with_spark, shared
from tests import bundles, servers, traces
from tests.conftest import Seeded, Tool
from tests.fidelity import test_registry
from tests.rest import Api
from tests.servers import Server

# A session takes half a minute to begin.
pytestmark = pytest.mark.slow

EXPERIMENTS = Selection(kinds=OF_EXPERIMENTS)
ALL = Selection(max_file=4096)
LARGEST = ("--max-artifact-size", "4k")
"""Smaller than the artifacts, so that there are rows that tell of it."""
RUNS_OF_ITS_OWN = 10
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """Spark on this machine: two tasks at once, each tried three times."""
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        # What the workers inherit.
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        quiet = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.log.level": "OFF"}
        builder = SparkSession.builder.master("local[2,3]").appName("tests")
        for key, value in quiet.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
    yield session
    session.stop()


def fill(server: Server, experiments: int) -> None:
    """Experiments with a run each, with params, metrics and an artifact."""
    api = Api(server.url)
    for number in range(experiments):
        id_ = api.post("experiments/create", name=f"experiment {number}")["experiment_id"]
        body = {"experiment_id": id_, "start_time": number, "run_name": "a run", "user_id": "ann"}
        run_id = api.post("runs/create", **body)["run"]["info"]["run_id"]
        points = [{"key": key, "value": step / 3, "timestamp": step, "step": step} for key in "ab" for step in range(9)]
        pairs = [{"key": f"key {n}", "value": str(n)} for n in (3, 1, 2)]
        api.post("runs/log-batch", run_id=run_id, metrics=points, tags=pairs, params=pairs)
        folder = server.artifacts / id_ / run_id / "artifacts" / "model"
        folder.mkdir(parents=True)
        (folder / "data.bin").write_bytes(bytes(range(256)) * 20)
    api.close()


@pytest.fixture(scope="module")
def full(small: Seeded, server_pool: Callable[[str], Server]) -> Server:
    """A server with experiments, runs, traces and models; the tests here only read it."""
    server = server_pool("source")
    servers.reset(server, small.content)
    api = Api(server.url)
    traces.seed(api)
    api.close()
    test_registry.seed(server)
    fill(server, RUNS_OF_ITS_OWN)
    return server


@pytest.fixture(scope="module")
def plain(full: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it by a plain export."""
    folder = tmp_path_factory.mktemp("plain-") / "plain"
    Tool(tmp_path_factory.mktemp("home-"))("export-all", *LARGEST, "--tracking-uri", full.url, "--output-dir", folder)
    return folder


def connected(url: str) -> Live:
    """What a task opens."""
    live = Live(Rest(url, Credentials(), 4, 20.0))
    live.connect()
    return live


@dataclass(frozen=True)
class Dying:
    """Opens a server for whose sake the worker process is killed in the midst of some task's work, so many times."""

    url: str
    folder: Path
    times: int

    def __call__(self) -> Live:
        return _Mortal(self)


class _Mortal(Live):
    def __init__(self, dying: Dying) -> None:
        super().__init__(Rest(dying.url, Credentials(), 4, 20.0))
        self.connect()
        self.dying = dying

    def files(self, root: Any) -> Any:
        for number in range(self.dying.times):
            with contextlib.suppress(FileExistsError):
                (self.dying.folder / f"death {number}").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return super().files(root)


def test_an_export_on_spark_equals_a_plain_one_though_a_worker_is_killed(
    session: Any, full: Server, plain: Path, tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    dying = Dying(full.url, deaths, 1)
    exported = export_with_spark(dying, str(tmp_path / "spark"), ALL, How(shards=3, session=session))
    assert len(list(deaths.iterdir())) == 1
    assert bundles.differences(plain, tmp_path / "spark") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deaths", "spark"]
    info = json.loads((plain / "manifest.json").read_text("utf-8"))["info"]
    assert exported.report.kinds == info["counts"]
    done = exported.counts.where("kind = 'run'").groupBy().sum("done").collect()[0][0]
    assert done == info["counts"]["run"]["done"]
    assert {row["shard"] for row in exported.counts.collect()} == {1, 2, 3}
    lines = (plain / "failures.jsonl").read_text("utf-8").splitlines()
    fields = ("kind", "id", "name", "state", "reason")
    rows = [{field: row[field] for field in fields} for row in exported.failures.collect()]
    assert len(lines) >= RUNS_OF_ITS_OWN
    assert sorted(rows, key=str) == sorted(map(json.loads, lines), key=str)


def test_a_job_that_broke_off_goes_on_with_the_shards_that_are_done(
    session: Any, full: Server, plain: Path, tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    how, target = How(shards=5, workers=1, session=session), str(tmp_path / "spark")
    with pytest.raises(MigrationError, match="Spark gave a shard up"):
        export_with_spark(Dying(full.url, deaths, 99), target, ALL, how)
    assert not (tmp_path / "spark" / layout.MANIFEST).exists()
    there = {path.parent for path in (tmp_path / "spark.parts").glob("*/*/manifest.json")}
    first = export_with_spark(full.url, target, ALL, how)
    assert bundles.differences(plain, tmp_path / "spark") == []
    whole = export_with_spark(full.url, str(tmp_path / "other"), ALL, how)
    if there:
        assert first.report.requests["source"] < whole.report.requests["source"]


def test_a_job_that_broke_off_while_objects_were_moved_goes_on(
    session: Any, full: Server, plain: Path, tmp_path: Path
) -> None:
    target = shared.folder(str(tmp_path / "spark"))
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / layout.MARK).touch()
    (tmp_path / "spark" / "models").write_text("in the way of the second collection")
    with pytest.raises(MigrationError):
        export_with_spark(full.url, str(tmp_path / "spark"), ALL, How(shards=3, session=session))
    assert target.beside(engine.ENDING).has(engine.CHOSEN)
    (tmp_path / "spark" / "models").unlink()
    export_with_spark(full.url, str(tmp_path / "spark"), ALL, How(shards=9, session=session))
    assert bundles.differences(plain, tmp_path / "spark") == []


def test_an_address_of_fsspec_is_written_whole_file_by_whole_file(
    session: Any, full: Server, plain: Path, tmp_path: Path
) -> None:
    address = f"file://{tmp_path}/spark"
    export_with_spark(full.url, address, ALL, How(shards=3, session=session))
    assert bundles.differences(plain, tmp_path / "spark") == []


def test_a_rehearsal_counts_and_writes_nothing(session: Any, full: Server, plain: Path, tmp_path: Path) -> None:
    how = How(shards=3, dry_run=True, session=session)
    report = export_with_spark(full.url, str(tmp_path / "spark"), ALL, how).report
    assert report.kinds == json.loads((plain / "manifest.json").read_text("utf-8"))["info"]["counts"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_task_is_refused_ends_the_job_with_its_own_error(session: Any, full: Server, tmp_path: Path) -> None:
    first = tmp_path / "first"
    opened = partial(_once, full.url, first)
    with pytest.raises(AccessError, match="shard"):
        export_with_spark(opened, str(tmp_path / "spark"), EXPERIMENTS, How(shards=2, session=session))


def _once(url: str, seen: Path) -> Live:
    if seen.exists():
        raise AccessError("nobody is there", url, "start it")
    seen.touch()
    return connected(url)


def test_a_name_that_is_not_there_is_told_before_anything_is_begun(session: Any, full: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such experiment"):
        asked = Selection(experiments=("nobody's",), kinds=OF_EXPERIMENTS)
        export_with_spark(full.url, str(tmp_path / "spark"), asked, How(session=session))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["file", "bundle", "job"])
def test_a_folder_that_holds_something_else_is_refused(
    what: str, session: Any, full: Server, plain: Path, tmp_path: Path
) -> None:
    target = tmp_path / "spark"
    target.mkdir()
    (target / (layout.MANIFEST if what == "bundle" else layout.MARK if what == "job" else "file")).write_text("{}")
    if what == "job":
        (tmp_path / "spark.parts").mkdir()
        (tmp_path / "spark.parts" / "job.json").write_text(json.dumps({"job": {"source": "other"}, "shards": 2}))
    with pytest.raises(UsageError):
        export_with_spark(full.url, str(target), EXPERIMENTS, How(session=session))
    assert len(list(target.iterdir())) == 1


@pytest.mark.parametrize(
    ("source", "output"),
    [("http://ann:secret@localhost:5000", "bundle"), ("http://localhost:5000", "s3://key:secret@bucket/x")],
)
def test_credentials_in_an_address_are_refused(source: str, output: str, session: Any) -> None:
    with pytest.raises(UsageError, match="holds credentials") as caught:
        export_with_spark(source, output, EXPERIMENTS, How(session=session))
    assert "secret" not in str(caught.value)


def test_the_command_runs_on_spark(full: Server, plain: Path, run_tool: Tool, tmp_path: Path) -> None:
    submit = "--master local[2] --conf spark.ui.enabled=false --conf spark.driver.bindAddress=127.0.0.1 pyspark-shell"
    env = {"PYSPARK_SUBMIT_ARGS": submit, "PYTHONPATH": str(ROOT)}
    place = ("--tracking-uri", full.url, "--output-dir", tmp_path / "spark")
    outcome = run_tool("export-all", *LARGEST, *place, "--engine", "spark", "--json", env=env)
    info = json.loads((plain / "manifest.json").read_text("utf-8"))["info"]
    assert outcome.json["kinds"] == info["counts"]
    assert bundles.differences(plain, tmp_path / "spark") == []
    run_tool("verify", tmp_path / "spark").expect(0)


def test_two_hundred_experiments_on_spark_equal_a_plain_export(
    session: Any, small: Seeded, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    fill(destination, 200)
    with contextlib.closing(sqlite3.connect(destination.database)) as base:
        assert base.execute("SELECT count(*) FROM experiments").fetchone() == (201,)
    export = ("export-experiments", "--experiments", "all", "--tracking-uri", destination.url)
    run_tool(*export, "--output-dir", tmp_path / "plain").expect(0)
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    dying = Dying(destination.url, deaths, 3)
    exported = export_with_spark(
        dying, str(tmp_path / "spark"), EXPERIMENTS, How(session=session), "export-experiments"
    )
    assert len(list(deaths.iterdir())) == 3
    assert bundles.differences(tmp_path / "plain", tmp_path / "spark") == []
    assert exported.report.kinds["experiment"]["done"] == 201
    assert exported.failures.count() == 0
    run_tool("verify", destination.url, tmp_path / "spark").expect(0)
