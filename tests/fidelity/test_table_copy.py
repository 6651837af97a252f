"""Database → database: every row of every table arrives as it is, once, whichever two databases they are."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests import every_table, rows, servers
from tests.conftest import Outcome, Seeded, ServerFactory, Tool
from tests.postgres import Postgres
from tests.rest import Api
from tests.servers import Options

Place = str


def address(path: Path) -> Place:
    return f"sqlite:///{path}"


@pytest.fixture
def full(template: Path, tmp_path: Path) -> Path:
    """A database with rows in every table."""
    path = tmp_path / "full.db"
    shutil.copy(template, path)
    every_table.fill(path)
    return path


@pytest.fixture
def copy(run_tool: Tool) -> Callable[..., Outcome]:
    """`copy-all` from one address to another."""

    def command(source: Place, destination: Place, *more: str | Path) -> Outcome:
        return run_tool("copy-all", "--src-mlflow-uri", source, "--dst-mlflow-uri", destination, *more)

    return command


Copy = Callable[..., Outcome]


def test_every_row_of_every_table_arrives_once(full: Path, tmp_path: Path, copy: Copy) -> None:
    there = address(tmp_path / "new.db")
    done = copy(address(full), there, "--json").expect(0).json
    assert rows.rows(there) == rows.rows(address(full))
    assert done["kinds"]["run"] == dict.fromkeys(done["kinds"]["run"], 0) | {"asked": 4, "done": 4}
    before = (tmp_path / "new.db").read_bytes()
    again = copy(address(full), there, "--json").expect(0).json
    assert (tmp_path / "new.db").read_bytes() == before
    assert {kind: (row["asked"], row["same"]) for kind, row in again["kinds"].items() if kind != "artifact"} == {
        kind: (row["asked"], row["asked"]) for kind, row in done["kinds"].items() if kind != "artifact"
    }


def test_what_a_server_keeps_of_its_own_work_stays_and_is_said(full: Path, tmp_path: Path, copy: Copy) -> None:
    job = "INSERT INTO jobs (id, creation_time, job_name, params, status, retry_count, last_update_time, workspace)"
    rows.execute(address(full), f"{job} VALUES ('j', 1, 'n', '{{}}', 0, 0, 1, 'default')")
    done = copy(address(full), address(tmp_path / "new.db"), "--json").expect(0).json
    assert [row["state"] for row in done["rows"] if row["kind"] == "job"] == ["skipped"]
    assert rows.select(address(tmp_path / "new.db"), "SELECT * FROM jobs") == []


@pytest.mark.slow
def test_rows_go_through_postgresql_and_back(full: Path, tmp_path: Path, copy: Copy, postgres: Postgres) -> None:
    middle, back = postgres.database(), address(tmp_path / "back.db")
    # MLflow's own column there takes 36 characters of the 64 that the id of a tie's prompt version may have.
    copy(address(full), middle).expect(0)
    expected = rows.rows(address(full))
    assert rows.rows(middle) == expected
    copy(middle, back).expect(0)
    assert rows.rows(back) == expected
    copy(address(full), middle).expect(0)
    copy(back, middle).expect(0)
    assert rows.rows(middle) == expected


def test_a_server_goes_on_where_a_copied_database_ends(
    full: Path, tmp_path: Path, copy: Copy, postgres: Postgres, make_server: ServerFactory
) -> None:
    there = postgres.database()
    # MLflow makes these only where it is told to, and a server that isn't doesn't start where there are any.
    rows.execute(address(full), "DELETE FROM sql_assessment_daily_rollups")
    rows.execute(address(full), "DELETE FROM sql_span_cost_daily_rollups")
    rows.execute(address(full), "DELETE FROM sql_trace_metric_daily_rollups")
    copy(address(full), there).expect(0)
    server = make_server(Options(database=rows.driver(there)))
    api = Api(server.url)
    assert int(api.post("experiments/create", name="next")["experiment_id"]) > max(every_table.EXPERIMENTS)
    run_id = every_table.ids(7, 0)["run_uuid"]
    run = api.get("runs/get", run_id=run_id)["run"]["info"]
    assert [(run["start_time"], run["end_time"])] == rows.select(
        address(full), "SELECT start_time, end_time FROM runs WHERE run_uuid = :run", run=run_id
    )


def test_a_number_that_a_server_has_given_already_is_not_given_again(
    full: Path, copy: Copy, postgres: Postgres
) -> None:
    there = postgres.database()
    copy(address(full), there).expect(0)
    rows.execute(there, "SELECT setval('experiments_experiment_id_seq', 9000)")
    copy(address(full), there).expect(0)
    assert rows.select(there, "SELECT nextval('experiments_experiment_id_seq')") == [(9001,)]


def test_artifacts_that_cannot_be_listed_cost_only_their_experiment(full: Path, tmp_path: Path, copy: Copy) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for experiment in every_table.EXPERIMENTS:
        rows.execute(
            address(full),
            "UPDATE runs SET artifact_uri = :uri WHERE experiment_id = :experiment",
            uri=f"{root}/{experiment}/run",
            experiment=experiment,
        )
    (root / "7").write_text("a file where a folder should be")
    rows.execute(
        address(full), "UPDATE trace_tags SET value = :uri || request_id || '/artifacts'", uri=f"{root}/7/traces/"
    )
    rows.execute(
        address(full),
        "DELETE FROM trace_tags WHERE request_id IN (SELECT request_id FROM trace_info WHERE experiment_id = 4242)",
    )
    done = copy(address(full), address(tmp_path / "new.db"), "--dst-artifact-root", tmp_path / "new", "--json")
    done.expect(1)
    arrived = rows.select(address(tmp_path / "new.db"), "SELECT experiment_id FROM experiments ORDER BY 1")
    assert (4242,) in arrived
    assert "Traceback" not in done.stderr
    assert any(row["state"] in {"failed", "unsupported"} for row in done.json["rows"]), done


def test_real_servers_content_arrives_with_its_artifacts_below_another_root(
    hostile: Seeded, tmp_path: Path, copy: Copy, run_tool: Tool
) -> None:
    here, there = address(hostile.content.database), address(tmp_path / "new.db")
    roots = ("--src-artifact-root", str(hostile.content.artifacts), "--dst-artifact-root", str(tmp_path / "artifacts"))
    copy(here, there, *roots).expect(0)
    assert rows.rows(there) == rows.rows(here)
    assert hostile.content.artifacts is not None
    assert _files(tmp_path / "artifacts") == _files(hostile.content.artifacts)
    run_tool("verify", here, there, *roots).expect(0)
    changed = next(path for path in (tmp_path / "artifacts").rglob("*") if path.is_file() and path.stat().st_size)
    changed.write_bytes(b"?" * changed.stat().st_size)
    run_tool("verify", here, there, *roots).expect(1)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_addresses_change_where_artifacts_are_copied_out_of_a_plain_root(
    make_server: ServerFactory, tmp_path: Path, copy: Copy, template: Path
) -> None:
    server = make_server(Options(template=template, serve_artifacts=False))
    api = Api(server.url)
    experiment = api.post("experiments/create", name="plain")["experiment_id"]
    run = api.post("runs/create", experiment_id=experiment)["run"]["info"]
    folder = Path(run["artifact_uri"])
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "MLmodel").write_text(f"artifact_path: {folder}/model\nrun_id: {run['run_id']}\n")
    (folder / "data.bin").write_bytes(bytes(range(256)))
    api.post("registered-models/create", name="m")
    version = {"name": "m", "source": f"{folder}/model", "run_id": run["run_id"]}
    api.post("model-versions/create", **version)
    there = tmp_path / "new.db"
    copy(address(server.database), address(there), "--dst-artifact-root", tmp_path / "new").expect(0)
    new = tmp_path / "new" / experiment / run["run_id"] / "artifacts"
    assert rows.select(address(there), "SELECT artifact_uri FROM runs") == [(str(new),)]
    assert rows.select(address(there), "SELECT source FROM model_versions") == [(f"{new}/model",)]
    assert (new / "data.bin").read_bytes() == bytes(range(256))
    assert (new / "model" / "MLmodel").read_text() == f"artifact_path: {new}/model\nrun_id: {run['run_id']}\n"
    before, bytes_before = rows.rows(address(there)), there.read_bytes()
    copy(address(server.database), address(there), "--dst-artifact-root", tmp_path / "new").expect(0)
    assert rows.rows(address(there)) == before
    assert there.read_bytes() == bytes_before


def test_what_changed_at_the_source_is_brought_up_to_date_and_nothing_else(
    full: Path, tmp_path: Path, copy: Copy
) -> None:
    here, there = address(full), address(tmp_path / "new.db")
    copy(here, there).expect(0)
    one, other = every_table.ids(7, 0)["run_uuid"], every_table.ids(7, 1)["run_uuid"]
    rows.execute(here, "INSERT INTO metrics VALUES ('new', 0.5, 1, :run, 9, 0)", run=one)
    rows.execute(here, "UPDATE tags SET value = 'changed' WHERE run_uuid = :run", run=other)
    rows.execute(here, "UPDATE model_versions SET current_stage = 'Production' WHERE version = 3")
    mine = "INSERT INTO experiment_tags (key, value, experiment_id) VALUES ('made here', 'stays', 7)"
    rows.execute(there, mine)
    done = copy(here, there, "--json").expect(0).json["kinds"]
    assert (done["run"]["updated"], done["run"]["same"], done["model_version"]["updated"]) == (2, 2, 4)
    rows.execute(here, mine)
    assert rows.rows(there) == rows.rows(here)


@pytest.fixture
def other(template: Path, tmp_path: Path) -> Path:
    """A database with an experiment of its own in a place that the full one takes, and a name it has."""
    path = tmp_path / "other.db"
    shutil.copy(template, path)
    insert = (
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, workspace)"
    )
    rows.execute(address(path), f"{insert} VALUES (7, 'mine', '/m/7', 'active', 5, 'default')")
    name = "experiments.name é'\\'4242-0".replace("\\'", "")
    rows.execute(address(path), f"{insert} VALUES (9, :name, '/m/9', 'active', 6, 'default')", name=name)
    run = "INSERT INTO runs (run_uuid, name, experiment_id, lifecycle_stage, status, source_type)"
    rows.execute(address(path), f"{run} VALUES ('mine', 'mine', 7, 'active', 'FINISHED', 'LOCAL')")
    return path


def test_a_taken_id_is_refused_before_anything_is_written(full: Path, other: Path, copy: Copy) -> None:
    before = other.read_bytes()
    ended = copy(address(full), address(other)).expect(1)
    assert "is 'mine' there" in ended.stderr
    assert "has the id 9 there" in ended.stderr
    assert "--on-conflict" in ended.stderr
    assert other.read_bytes() == before


def test_with_new_names_experiments_get_fresh_ids_and_are_known_again(full: Path, other: Path, copy: Copy) -> None:
    mine = rows.select(address(other), "SELECT * FROM runs WHERE run_uuid = 'mine'")
    copy(address(full), address(other), "--on-conflict", "new-name").expect(0)
    found = rows.select(address(other), "SELECT experiment_id, name FROM experiments ORDER BY 1")
    names = dict(rows.select(address(full), "SELECT experiment_id, name FROM experiments"))
    assert [name for _, name in found] == ["Default", "mine", names[4242], names[7], f"{names[4242]} (2)"]
    assert [id_ for id_, _ in found] == [0, 7, 9, 4243, 4244]
    tables = rows.rows(address(other))
    for table in ("runs", "logged_models", "trace_info", "spans", "scorers", "label_schemas", "issues"):
        ids = {json.loads(row)["experiment_id"] for row in tables[table]}
        assert ids == {4243, 4244} | ({7} if table == "runs" else set()), table
    ties = "SELECT destination_id FROM entity_associations WHERE destination_type = 'experiment' ORDER BY 1"
    assert rows.select(address(other), ties) == [("4243",), ("4243",), ("4244",), ("4244",)]
    assert rows.select(address(other), "SELECT * FROM runs WHERE run_uuid = 'mine'") == mine
    before = other.read_bytes()
    copy(address(full), address(other), "--on-conflict", "new-name").expect(0)
    assert other.read_bytes() == before


def test_with_skip_what_is_taken_stays_behind_with_all_that_is_in_it(full: Path, other: Path, copy: Copy) -> None:
    done = copy(address(full), address(other), "--on-conflict", "skip", "--json").expect(0).json
    assert done["kinds"]["experiment"]["skipped"] == 2
    assert rows.select(address(other), "SELECT run_uuid FROM runs") == [("mine",)]
    assert rows.select(address(other), "SELECT count(*) FROM registered_models") == [(4,)]
    assert rows.select(address(other), "SELECT * FROM endpoints") == []


def test_with_update_an_experiment_is_added_to_the_one_of_its_name(full: Path, other: Path, copy: Copy) -> None:
    copy(address(full), address(other), "--on-conflict", "update").expect(0)
    counted = "SELECT experiment_id, count(*) FROM runs GROUP BY 1 ORDER BY 1"
    assert rows.select(address(other), counted) == [(7, 1), (9, 2), (4243, 2)]
    assert rows.select(address(other), "SELECT artifact_location FROM experiments WHERE experiment_id = 9") == [
        ("/m/9",)
    ]
    before = other.read_bytes()
    copy(address(full), address(other), "--on-conflict", "update").expect(0)
    assert other.read_bytes() == before


def test_a_rehearsal_tells_what_would_be_and_writes_nothing(full: Path, other: Path, copy: Copy) -> None:
    before = other.read_bytes()
    told = copy(address(full), address(other), "--on-conflict", "new-name", "--dry-run", "--json").expect(0).json
    assert other.read_bytes() == before
    done = copy(address(full), address(other), "--on-conflict", "new-name", "--json").expect(0).json
    assert told["kinds"] == done["kinds"]


def test_a_rehearsal_needs_no_destination(full: Path, tmp_path: Path, copy: Copy) -> None:
    told = copy(address(full), address(tmp_path / "new.db"), "--dry-run", "--json").expect(0).json
    assert not (tmp_path / "new.db").exists()
    assert told["kinds"]["run"]["done"] == 4


@pytest.mark.slow
def test_a_database_in_use_is_written_only_when_that_is_meant(
    full: Path, copy: Copy, make_server: ServerFactory
) -> None:
    server = make_server()
    Api(server.url).post("experiments/create", name="theirs")
    refused = copy(address(full), address(server.database)).expect(2)
    assert "in use" in refused.stderr
    assert "--online" in refused.stderr
    copy(address(full), address(server.database), "--online").expect(0)
    name = rows.select(address(full), "SELECT name FROM experiments WHERE experiment_id = 7")[0][0]
    api = Api(server.url)
    assert api.get("experiments/get", experiment_id="7")["experiment"]["name"] == name
    assert int(api.post("experiments/create", name="next")["experiment_id"]) > 4242


def test_texts_too_long_for_postgresql_are_said_one_by_one(
    full: Path, copy: Copy, postgres: Postgres, run_tool: Tool
) -> None:
    run = every_table.ids(7, 0)["run_uuid"]
    rows.execute(address(full), "INSERT INTO params VALUES ('long', :value, :run)", value="x" * 8001, run=run)
    rows.execute(address(full), "INSERT INTO tags VALUES ('nul', :value, :run)", value="a\0b", run=run)
    there = postgres.database()
    done = copy(address(full), there, "--json").expect(1).json
    found = [(row["kind"], row["reason"]) for row in done["rows"] if row["state"] == "unsupported"]
    assert found == [
        ("tag", "value holds a NUL character, which PostgreSQL can't store"),
        ("param", "value has 8001 characters, MLflow's column there takes 8000"),
    ]
    copy(address(full), there, "--allow-loss", "param", "--allow-loss", "tag").expect(0)
    assert len(rows.select(there, "SELECT 1 FROM runs")) == 4


def test_tables_of_another_mlflow_are_refused_with_the_command_that_upgrades_them(
    full: Path, tmp_path: Path, copy: Copy
) -> None:
    there = tmp_path / "new.db"
    known = rows.select(address(full), "SELECT version_num FROM alembic_version")[0][0]
    rows.execute(address(full), "UPDATE alembic_version SET version_num = '728d730b5ebd'")
    refused = copy(address(full), address(there)).expect(2)
    assert f"mlflow db upgrade {address(full)}" in refused.stderr
    rows.execute(address(full), "UPDATE alembic_version SET version_num = 'fffffffffff1'")
    assert "newer MLflow" in copy(address(full), address(there)).expect(2).stderr
    assert not there.exists()
    with closing(sqlite3.connect(tmp_path / "else.db")) as base:
        base.execute("CREATE TABLE notes (text)")
    rows.execute(address(full), "UPDATE alembic_version SET version_num = :known", known=known)
    assert "no MLflow database" in copy(address(tmp_path / "else.db"), address(there)).expect(2).stderr
    assert "no MLflow database" in copy(address(full), address(tmp_path / "else.db")).expect(2).stderr
    assert "no such database" in copy(address(tmp_path / "gone.db"), address(there)).expect(2).stderr
    assert not there.exists()


def test_a_database_that_cannot_be_reached_is_said_without_its_password(full: Path, tmp_path: Path, copy: Copy) -> None:
    port = servers.free_port()
    away = f"postgresql://me:s3cret@127.0.0.1:{port}/mlflow"
    for words in ((away, address(tmp_path / "new.db")), (address(full), away)):
        refused = copy(*words).expect(3)
        assert f"127.0.0.1:{port}" in refused.stderr
        assert "s3cret" not in refused.stderr + refused.stdout
    assert not (tmp_path / "new.db").exists()


@pytest.mark.slow
def test_a_killed_copy_leaves_whole_experiments_and_goes_on(template: Path, tmp_path: Path, run_tool: Tool) -> None:
    source, there = tmp_path / "many.db", tmp_path / "new.db"
    shutil.copy(template, source)
    shutil.copy(template, there)
    _many(source, experiments=200, runs=5, points=100)
    # This process looks into it meanwhile, so that it counts as in use.
    words = ["copy-all", "--src-mlflow-uri", address(source), "--dst-mlflow-uri", address(there), "--online"]
    command = [sys.executable, "-m", "mlflow_migration", *words]
    run_tool.home.mkdir(parents=True, exist_ok=True)
    for _ in range(3):
        running = subprocess.Popen(command, env=run_tool.environment, stderr=subprocess.DEVNULL)
        arrived = _count(there, "experiments")
        while _count(there, "experiments") < arrived + 20 and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
        experiments = _count(there, "experiments") - 1
        assert 0 < experiments < 200
        assert (_count(there, "runs"), _count(there, "metrics")) == (experiments * 5, experiments * 500)
    run_tool(*words).expect(0)
    assert rows.rows(address(there)) == rows.rows(address(source))


def _count(path: Path, table: str) -> int:
    counts = {
        "experiments": "SELECT count(*) FROM experiments",
        "runs": "SELECT count(*) FROM runs",
        "metrics": "SELECT count(*) FROM metrics",
    }
    with closing(sqlite3.connect(path, timeout=20)) as base:
        return int(base.execute(counts[table]).fetchone()[0])


def _many(path: Path, experiments: int, runs: int, points: int) -> None:
    with closing(sqlite3.connect(path)) as base, base:
        for number in range(1, experiments + 1):
            values = (number, f"e{number}", f"/x/{number}", "active", number, "default")
            base.execute(
                "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, "
                "workspace) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            for run in range(runs):
                id_ = every_table.key("run", number, run)
                base.execute(
                    "INSERT INTO runs (run_uuid, name, experiment_id, lifecycle_stage, status, source_type) "
                    "VALUES (?, 'r', ?, 'active', 'FINISHED', 'LOCAL')",
                    (id_, number),
                )
                base.executemany(
                    "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('m', ?, ?, ?, ?, 0)",
                    [(step / 3, step, id_, step) for step in range(points)],
                )


def test_ids_are_kept_where_that_is_asked_for_or_the_destination_is_refused(
    full: Path, tmp_path: Path, copy: Copy
) -> None:
    refused = copy(address(full), "http://127.0.0.1:1", "--keep-ids").expect(2)
    assert "a server gives its own ids" in refused.stderr
    copy(address(full), address(tmp_path / "new.db"), "--keep-ids").expect(0)
