"""Folders that mlflow-export-import wrote import as they are; made here with the real tool, release 1.2.0."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import databases, rest, servers
from tests.conftest import Seeded, Tool, once
from tests.fidelity.test_registry import pairs, same, version
from tests.rest import Api, Json
from tests.servers import Server, Snapshot


def old_export(server: Server, module: str, *words: str | Path) -> None:
    """One command of mlflow-export-import."""
    command = [sys.executable, "-m", f"mlflow_export_import.{module}", *map(str, words)]
    env = servers.clean_environment({"MLFLOW_TRACKING_URI": server.url})
    subprocess.run(command, check=True, env=env, capture_output=True, timeout=240)


@pytest.fixture
def folder(source: Server, small: Seeded, shared_folder: Path, tmp_path: Path) -> Path:
    """Every experiment of the small corpus, as the old tool's bulk export leaves them; it is made once."""

    def export(made: Path) -> Json:
        old_export(source, "bulk.export_experiments", "--experiments", "all", "--output-dir", made)
        return {"made": True}

    once(shared_folder, "old-experiments", export)
    shutil.copytree(shared_folder / "old-experiments", tmp_path / "old")
    return tmp_path / "old"


def what_differs(source: Server, destination: Server) -> list[str]:
    """Differences, but for what the old tool leaves out: deleted runs, and dataset inputs."""
    gone = [row[0] for row in servers.select(source, "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'deleted'")]
    found = databases.compare(source, destination)
    return [text for text in found if "input" not in text and "datasets became" not in text and gone[0] not in text]


def test_a_bulk_export_of_the_old_tool_arrives_with_all_it_holds(
    source: Server, folder: Path, destination: Server, run_tool: Tool
) -> None:
    place = ("--tracking-uri", destination.url)
    report = run_tool("import-experiments", *place, "--input-dir", folder, "--json").expect(0).json
    assert report["kinds"]["run"]["done"] == 4, report
    assert what_differs(source, destination) == []
    before = databases.dump(destination)
    report = run_tool("import-experiments", *place, "--input-dir", folder, "--json").expect(0).json
    assert report["kinds"]["run"]["same"] == 4, report
    assert databases.dump(destination) == before
    run_tool("verify", folder, destination.url).expect(0)


def test_the_newer_layout_with_runs_in_a_folder_of_their_own_is_read_too(
    source: Server, folder: Path, destination: Server, run_tool: Tool
) -> None:
    for run in [path.parent for path in folder.glob("*/*/run.json")]:
        (run.parent / "runs").mkdir(exist_ok=True)
        shutil.move(run, run.parent / "runs" / run.name)
    run_tool("import-experiments", "--tracking-uri", destination.url, "--input-dir", folder).expect(0)
    assert what_differs(source, destination) == []


def test_one_run_of_the_old_tool_is_imported_under_a_name(
    source: Server, small: Seeded, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    run_id = small.corpus.runs["running"]
    old_export(source, "run.export_run", "--run-id", run_id, "--output-dir", tmp_path / "run")
    place = ("--tracking-uri", destination.url)
    run_tool("import-run", *place, "--input-dir", tmp_path / "run", "--experiment-name", "brought").expect(0)
    query = (
        "SELECT r.name, r.status, r.start_time, count(m.key) FROM runs r JOIN experiments e USING (experiment_id)"
        " JOIN metrics m USING (run_uuid) WHERE e.name = 'brought' GROUP BY 1, 2, 3"
    )
    expected = "SELECT name, status, start_time, 2 FROM runs WHERE run_uuid = ?"
    assert servers.select(destination, query) == servers.select(source, expected, run_id)


@pytest.mark.parametrize(
    ("wound", "message"),
    [
        (lambda path: path.write_text("{"), "is broken"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "link"),
        (lambda path: _change(path, "run_id", "../../evil"), "run"),
        (lambda path: _change(path, "start_time", "yesterday"), "start_time"),
    ],
    ids=["cut off", "missing", "a link", "another id", "no number"],
)
def test_a_hurt_folder_is_refused_before_anything_is_written(
    folder: Path, destination: Server, run_tool: Tool, wound: "object", message: str
) -> None:
    assert callable(wound)
    wound(sorted(folder.glob("*/*/run.json"))[0])
    before = databases.dump(destination)
    outcome = run_tool("import-experiments", "--tracking-uri", destination.url, "--input-dir", folder).expect(4)
    assert message in outcome.stderr
    assert databases.dump(destination) == before


WINE = "wine é x.y"


def seed_registry(server: Server) -> str:
    """Models of every form that the old tool can export; the id of the run they were made of."""
    api = Api(server.url)
    api.post("experiments/create", name="takes a number, so that ids differ at both ends")
    experiment = api.post("experiments/create", name="with models")["experiment_id"]
    run = api.post("runs/create", experiment_id=experiment, start_time=7, run_name="trainer")["run"]["info"]
    run_id = str(run["run_id"])
    rest.upload(api, run["artifact_uri"], "model/MLmodel", b"artifact_path: model\n")
    tags = pairs(team="ml", empty="", é="ü" * 4000)
    api.post("registered-models/create", name=WINE, description="a\nb", tags=tags)
    for number in range(1, 4):
        place = run["artifact_uri"] + "/model"
        version(api, WINE, place, run_id=run_id, description=f"no. {number}", tags=pairs(n=str(number)))
    version(api, WINE, f"runs:/{run_id}/model", run_id=run_id, run_link="http://old:5000/#/runs/1")
    version(api, WINE, "s3://bucket/models/x", run_id=run_id)
    for gap in ("1", "3"):
        api.call("DELETE", rest.API + "model-versions/delete", json={"name": WINE, "version": gap})
    stage = {"version": "2", "stage": "Production", "archive_existing_versions": False}
    api.post("model-versions/transition-stage", name=WINE, **stage)
    for alias, of in (("champion", "5"), ("old", "2")):
        api.post("registered-models/alias", name=WINE, alias=alias, version=of)
    api.post("registered-models/create", name="a copy", tags=pairs(copied="yes"))
    version(api, "a copy", f"models:/{WINE}/4")
    api.post("registered-models/create", name="no versions")
    api.close()
    return run_id


@pytest.fixture
def registry(shared_folder: Path, template: Path, empty_source: Server, tmp_path: Path) -> Path:
    """A registry as the old tool's export of everything leaves it, in `all`, and one model's, in `one`; made once."""

    def fill(made: Path) -> Json:
        run_id = seed_registry(empty_source)
        servers.photograph(empty_source, made)
        old_export(empty_source, "bulk.export_all", "--output-dir", made / "all")
        old_export(empty_source, "model.export_model", "--model", WINE, "--output-dir", made / "one")
        return {"run": run_id}

    once(shared_folder, "old-registry", fill)
    made = shared_folder / "old-registry"
    servers.reset(empty_source, Snapshot(made / "mlflow.db", made / "artifacts"))
    for name in ("all", "one"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def test_registered_models_of_a_whole_export_arrive_with_versions_stages_and_aliases(
    registry: Path, empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    load = ("import-all", "--tracking-uri", destination.url, "--input-dir", registry / "all", "--json")
    report = run_tool(*load).expect(0).json
    assert report["rows"] == []
    same(empty_source, destination)
    before = databases.dump(destination)
    again = run_tool(*load).expect(0).json
    assert again["kinds"]["registered_model"]["same"] == 3
    assert again["kinds"]["model_version"]["same"] == 4
    assert databases.dump(destination) == before
    result = run_tool("verify", registry / "all", destination.url, "--json").expect(0).json
    assert result["kinds"]["model_version"]["equal"] == 4


def test_one_model_of_the_old_tool_arrives_in_the_experiment_of_its_run(
    registry: Path, empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    head = registry / "one" / "model.json"
    content = json.loads(head.read_text())
    lost = {"version": "7", "run_id": "f" * 32, "error": "no such run"}
    content["info"]["failed_versions"].append(lost)
    content["mlflow"]["registered_model"]["aliases"].append({"alias": "gone", "version": "7"})
    head.write_text(json.dumps(content))
    load = ("import-all", "--tracking-uri", destination.url, "--input-dir", registry / "one", "--json")
    report = run_tool(*load).expect(1).json
    assert sorted((row["kind"], row["name"], row["state"]) for row in report["rows"]) == [
        ("link", f"registered_model {WINE} alias gone", "unsupported"),
        ("model_version", f"{WINE}/7", "unsupported"),
    ]
    query = "SELECT name, version, current_stage, run_id FROM model_versions WHERE current_stage != 'Deleted_Internal'"
    found = "SELECT e.name, r.name, r.run_uuid FROM runs r JOIN experiments e USING (experiment_id)"
    [(experiment, run, run_id)] = servers.select(destination, found)
    assert (experiment, run) == ("with models", "trainer")
    expected = [(WINE, 2, "Production", run_id), (WINE, 4, "None", run_id), (WINE, 5, "None", run_id)]
    assert sorted(servers.select(destination, query)) == expected


def test_models_are_left_alone_where_only_experiments_are_asked_for(
    registry: Path, destination: Server, run_tool: Tool
) -> None:
    load = ("import-experiments", "--tracking-uri", destination.url, "--input-dir", registry / "all", "--json")
    assert run_tool(*load).expect(0).json["kinds"].keys() == {"experiment", "run"}
    assert servers.select(destination, "SELECT * FROM registered_models") == []


def _change(path: Path, field: str, value: str) -> None:
    head = json.loads(path.read_text())
    head["mlflow"]["info"][field] = value
    path.write_text(json.dumps(head))
