"""From a team's server into an app on SQLite: a bundle becomes its first snapshot, ids kept."""

import contextlib
import gzip
import hashlib
import json
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
import requests

from mlflow_migration.apps import data
from mlflow_migration.apps import seed as seeding
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import InterruptedJobError
from tests import everything
from tests.apps import dev
from tests.apps.dev import Team
from tests.apps.runtime import FIRST, new_run, put_snapshot, running
from tests.conftest import Outcome, Tool
from tests.servers import Server


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "volume"


def seed(tool: Tool, bundle: Path, volume: Path, *words: str) -> Outcome:
    return tool("app", "seed", "--input-dir", bundle, "--volume", volume, "--json", *words)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def pointed(volume: Path) -> str:
    return str(json.loads((volume / "latest.json").read_text())["generation"])


def test_a_seeded_app_has_every_id_and_gives_out_every_file_and_model(
    team: Team, volume: Path, run_tool: Tool, tmp_path: Path
) -> None:
    seeded = seed(run_tool, team.bundle, volume).expect(0).json
    assert seeded["verified"]["ok"] and not seeded["rows"]
    assert pointed(volume) == seeded["generation"]
    with running(tmp_path / "app", volume) as app:
        app.serving()
        run_tool("diff", team.server.url, app.url).expect(0)
        found = dev.asked(dev.environment(app.url))
    assert found == dev.asked(dev.environment(team.server.url)) | {"uri": found["uri"]}
    assert found["uri"] == f"mlflow-artifacts:/{team.made.experiment}/{team.made.files}/artifacts"
    assert found["files"] == dev.FILES and found["runs"] == sorted([*team.made.runs, team.made.files])


def test_a_second_seed_writes_nothing(team: Team, volume: Path, run_tool: Tool) -> None:
    first = seed(run_tool, team.bundle, volume).expect(0).json
    before = digests(volume)
    second = seed(run_tool, team.bundle, volume, "--replace").expect(0).json
    assert digests(volume) == before
    assert second["generation"] == second["before"] == first["generation"]
    ended = {state for counts in second["kinds"].values() for state, count in counts.items() if count}
    assert ended == {"asked", "same"}


def test_a_rehearsal_says_what_would_go_and_leaves_no_file(team: Team, volume: Path, run_tool: Tool) -> None:
    told = seed(run_tool, team.bundle, volume, "--dry-run").expect(0).json
    assert told["dry_run"] and told["kinds"]["run"]["done"] == len(team.made.runs) + 1
    assert told["kinds"]["run"]["bytes"] > max(dev.FILES.values())
    assert not volume.exists()


@pytest.mark.slow
def test_what_an_app_holds_already_is_only_replaced_on_demand_and_stays_as_a_generation(
    team: Team, volume: Path, template: Path, run_tool: Tool
) -> None:
    put_snapshot(volume, template)
    before = digests(volume)
    refused = seed(run_tool, team.bundle, volume).expect(1).json
    assert FIRST in refused["error"]["message"] and "--replace" in refused["error"]["hint"]
    assert digests(volume) == before
    seeded = seed(run_tool, team.bundle, volume, "--replace").expect(0).json
    assert seeded["before"] == FIRST and pointed(volume) == seeded["generation"] > FIRST
    kept = {name: digest for name, digest in digests(volume).items() if FIRST in name}
    assert kept == {name: digest for name, digest in before.items() if FIRST in name}


@pytest.mark.slow
def test_the_data_of_a_running_app_is_refused(team: Team, volume: Path, run_tool: Tool, tmp_path: Path) -> None:
    with running(tmp_path / "app", volume) as app:
        app.serving()
        refused = seed(run_tool, team.bundle, volume, "--replace").expect(1).json
        assert "an app writes to" in refused["error"]["message"] and "stop the app" in refused["error"]["hint"]
        assert new_run(app)
    assert not (volume / "artifacts" / team.made.experiment).exists()


@pytest.mark.slow
def test_a_seed_that_was_cut_off_counts_for_nothing_and_goes_on_when_it_is_typed_again(
    team: Team, volume: Path, run_tool: Tool, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(team.bundle, broken)
    blocker = volume / "artifacts" / team.made.experiment / team.made.files / "artifacts" / "plots"
    blocker.parent.mkdir(parents=True)
    blocker.write_text("a file where a folder has to be")
    refused = seed(run_tool, broken, volume).expect(1).json
    assert "nothing was seeded" in refused["error"]["message"]
    assert [row["id"] for row in refused["rows"] if row["state"] == "failed"] == [team.made.files]
    assert not (volume / "latest.json").exists() and not (volume / "snapshots").exists()
    blocker.unlink()
    assert seed(run_tool, broken, volume).expect(0).json["verified"]["ok"]


@pytest.mark.slow
def test_another_file_under_an_artifacts_address_is_kept_and_told(team: Team, volume: Path, run_tool: Tool) -> None:
    taken = volume / "artifacts" / team.made.experiment / team.made.files / "artifacts" / "plots" / "loss.txt"
    taken.parent.mkdir(parents=True)
    taken.write_text("a plot, in worbs")  # as many bytes
    refused = seed(run_tool, team.bundle, volume).expect(1).json
    assert any("another artifact is there: plots/loss.txt" in row["reason"] for row in refused["rows"])
    assert taken.read_text() == "a plot, in worbs" and not (volume / "latest.json").exists()


@pytest.mark.slow
def test_a_bundle_that_was_changed_is_refused_before_anything_is_written(
    team: Team, volume: Path, run_tool: Tool, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(team.bundle, changed)
    next(changed.rglob("loss.txt")).write_text("a plot, in other words")
    assert seed(run_tool, changed, volume).expect(4)
    assert not volume.exists()


@pytest.mark.slow
def test_names_files_and_values_that_nobody_expects_arrive_in_an_app_as_they_are(
    hostile_bundle: tuple[Path, Outcome], volume: Path, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = hostile_bundle[0]
    told = seed(run_tool, bundle, volume)
    assert told.json["verified"]["ok"], told
    with running(tmp_path / "app", volume) as app:
        app.serving()
        run_tool("verify", bundle, app.url).expect(0)


@pytest.mark.slow
def test_objects_of_every_kind_arrive_in_an_app_or_are_told(
    empty_source: Server, volume: Path, run_tool: Tool, tmp_path: Path
) -> None:
    everything.seed(empty_source)
    bundle = tmp_path / "bundle"
    run_tool("export-all", "--output-dir", bundle, "--tracking-uri", empty_source.url, "--allow-loss", "all")
    told = seed(run_tool, bundle, volume).expect(1).json
    lost = {row["kind"] for row in told["rows"]}
    # MLflow never gives out a secret; what can't be without one stays behind with it.
    assert lost == {
        "secret",
        "link",
        "gateway_secret",
        "gateway_model_definition",
        "gateway_endpoint",
        "gateway_budget",
        "gateway_guardrail",
    }
    assert {each["kind"] for each in told["verified"]["differences"]} == (lost - {"secret", "link"}) | {"scorer"}
    with running(tmp_path / "app", volume) as app:
        app.serving()
        found = run_tool("verify", bundle, app.url, "--json").json
    assert [(each["kind"], each["id"]) for each in found["differences"]] == [
        (each["kind"], each["id"]) for each in told["verified"]["differences"]
    ]


@pytest.mark.slow
def test_a_run_of_nobody_has_the_empty_name_that_servers_write(
    empty_source: Server, volume: Path, run_tool: Tool, tmp_path: Path
) -> None:
    body = {"experiment_id": "0", "start_time": 1}
    requests.post(f"{empty_source.url}/api/2.0/mlflow/runs/create", json=body, timeout=30).raise_for_status()
    run_tool("export-all", "--output-dir", tmp_path / "bundle", "--tracking-uri", empty_source.url).expect(0)
    generation = seed(run_tool, tmp_path / "bundle", volume).expect(0).json["generation"]
    database = tmp_path / "seeded.db"
    database.write_bytes(gzip.decompress((volume / "snapshots" / f"{generation}.db.gz").read_bytes()))
    with contextlib.closing(sqlite3.connect(database)) as base:
        # A server answers 500 for all runs of an experiment in which one has NULL.
        assert base.execute("SELECT user_id FROM runs").fetchall() == [("",)]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["its file is garbage", "it has no manifest"])
def test_damaged_snapshots_are_refused_and_don_t_keep_a_backup_from_being_put_back(
    damage: str, team: Team, volume: Path, template: Path, run_tool: Tool
) -> None:
    file = put_snapshot(volume, template)
    file.write_bytes(b"not what was stored")
    if damage == "it has no manifest":
        (volume / "snapshots" / f"{FIRST}.json").unlink()
    before = digests(volume)
    refused = seed(run_tool, team.bundle, volume).expect(1).json
    assert "restore --list" in refused["error"]["hint"] and digests(volume) == before
    seeded = seed(run_tool, team.bundle, volume, "--replace").expect(0).json
    assert seeded["verified"]["ok"] and pointed(volume) == seeded["generation"]
    assert file.read_bytes() == b"not what was stored"


class _Pressing(Progress):
    """Ctrl-C as soon as the database is compared with the bundle."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__(quiet=True)
        self._stop = stop

    def advance(self, kind: str, size: int = 0, number: int = 1) -> None:
        if kind.startswith(("left ", "right ")):
            self._stop.set()


@pytest.mark.slow
def test_ctrl_c_while_the_two_are_compared_leaves_the_app_without_data(team: Team, volume: Path) -> None:
    stop = threading.Event()
    place = data.opened(data.placed("mlflow", str(volume), ""), lambda: pytest.fail("no workspace is in it"))
    done = seeding.seed(place, seeding.Asked(team.bundle), seeding.Working(_Pressing(stop), stop))
    assert stop.is_set() and isinstance(done.report.error, InterruptedJobError) and not done.generation
    assert not (volume / "latest.json").exists() and not (volume / "snapshots").exists()
