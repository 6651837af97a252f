"""The notebook a run was made with: into the bundle at its revision, into another workspace, or alone."""

import base64
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Outcome, Run
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import Account, Workspace
from tests.fidelity.test_legacy import old_export
from tests.rest import Api
from tests.servers import Server
from tests.unit.test_bundle_tampering import Folder

TRAIN = "/Users/admin@example.com/wine/Train"
FIRST = "# Databricks notebook source\nprint('the first é')\n"
SECOND = "# Databricks notebook source\nprint('the second')\n"
FORMATS = "SOURCE,HTML,JUPYTER,DBC"
PATH, REVISION = "mlflow.databricks.notebookPath", "mlflow.databricks.notebookRevisionID"
ALL = ("--experiments", "all")


def call(workspace: Workspace, method: str, path: str, **sent: Any) -> dict[str, Any]:
    """One request of a plain client, as the admin."""
    answer = requests.request(method, workspace.url + path, headers=workspace.headers(), timeout=60, **sent)
    assert answer.ok, answer.text
    document = answer.json()
    assert isinstance(document, dict)
    return document


def write(workspace: Workspace, path: str, source: str) -> str:
    """Write a notebook; its revision."""
    call(workspace, "POST", "/api/2.0/workspace/mkdirs", json={"path": path.rpartition("/")[0]})
    content = base64.b64encode(source.encode()).decode()
    body = {"path": path, "format": "SOURCE", "language": "PYTHON", "content": content, "overwrite": True}
    call(workspace, "POST", "/api/2.0/workspace/import", json=body)
    time.sleep(0.005)  # Revisions are told apart by their milliseconds.
    return str(call(workspace, "GET", "/api/2.0/workspace/get-status", params={"path": path})["modified_at"])


def read(workspace: Workspace, path: str) -> str:
    """A notebook's source as it is now."""
    answer = call(workspace, "GET", "/api/2.0/workspace/export", params={"path": path, "format": "SOURCE"})
    return base64.b64decode(answer["content"]).decode()


def a_run(workspace: Workspace, name: str, tags: dict[str, str]) -> str:
    """A finished run in an experiment of its own; its id."""
    made = call(workspace, "POST", "/api/2.0/mlflow/experiments/create", json={"name": f"/Shared/{name}"})
    pairs = [{"key": key, "value": value} for key, value in tags.items()]
    body = {"experiment_id": made["experiment_id"], "start_time": 5, "run_name": name, "tags": pairs}
    run_id = call(workspace, "POST", "/api/2.0/mlflow/runs/create", json=body)["run"]["info"]["run_id"]
    call(workspace, "POST", "/api/2.0/mlflow/runs/update", json={"run_id": run_id, "status": "FINISHED", "end_time": 9})
    return str(run_id)


def run_tags(workspace: Workspace, experiment: str) -> dict[str, str]:
    """The tags of the one run of an experiment."""
    query = {"experiment_name": experiment}
    found = call(workspace, "GET", "/api/2.0/mlflow/experiments/get-by-name", params=query)["experiment"]
    body = {"experiment_ids": [found["experiment_id"]]}
    (run,) = call(workspace, "POST", "/api/2.0/mlflow/runs/search", json=body)["runs"]
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def exports(workspace: Workspace) -> int:
    """How often notebooks were asked for."""
    return sum(path == "/api/2.0/workspace/export" for _, path, _ in workspace.requests)


def writes(workspace: Workspace) -> list[str]:
    """What was sent to change something."""
    reading = ("/search", "/get", "/list")
    return [path for method, path, _ in workspace.requests if method != "GET" and not path.endswith(reading)]


@dataclass(frozen=True)
class Ends:
    """A workspace with a run whose notebook has changed since, and another workspace."""

    a: Workspace
    b: Workspace
    run: str
    revision: str


@pytest.fixture
def ends(databricks_account: AccountFactory, monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Two workspaces, found by their profiles."""
    account: Account = databricks_account()
    a, b = account.workspace("a"), account.workspace("b", metastore="other")
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    revision = write(a, TRAIN, FIRST)
    write(a, TRAIN, SECOND)
    return Ends(a, b, a_run(a, "wine", {PATH: TRAIN, REVISION: revision}), revision)


Export = Callable[..., Outcome]


@pytest.fixture
def export(ends: Ends, run_here: Run, tmp_path: Path) -> Export:
    """Export all experiments of the first workspace with notebooks."""

    def do(*words: str) -> Outcome:
        place = ("--tracking-uri", "databricks://a", "--output-dir", tmp_path / "b")
        return run_here("export-experiments", *ALL, *place, "--notebook-formats", FORMATS, "--json", *words)

    return do


def notebooks_in(folder: Path) -> dict[str, bytes]:
    """Name → content of the notebooks in a bundle."""
    return {path.name: path.read_bytes() for path in folder.rglob("notebooks/*") if path.is_file()}


def test_a_run_is_exported_with_its_notebook_at_its_revision_in_every_format(
    ends: Ends, export: Export, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    found = notebooks_in(tmp_path / "b")
    assert set(found) == {f"Train@{ends.revision}.{ending}" for ending in ("source", "html", "ipynb", "dbc")}
    assert found[f"Train@{ends.revision}.source"].decode().strip() == FIRST.strip()
    assert "the second" not in json.dumps(json.loads(found[f"Train@{ends.revision}.ipynb"]))
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=tmp_path / "b", check=True)
    run_here("verify", tmp_path / "b").expect(0)
    run_here("verify", "databricks://a", tmp_path / "b").expect(0)


def test_a_second_export_fetches_no_notebook_and_changes_nothing(ends: Ends, export: Export, tmp_path: Path) -> None:
    export().expect(0)
    asked, files = exports(ends.a), {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")}
    again = export().expect(0).json
    assert again["kinds"]["run"]["same"] == 1
    assert exports(ends.a) == asked
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")} == files


def test_an_export_without_notebooks_keeps_those_that_are_in_the_bundle(
    ends: Ends, export: Export, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    before = notebooks_in(tmp_path / "b")
    call(ends.a, "POST", "/api/2.0/mlflow/runs/set-tag", json={"run_id": ends.run, "key": "more", "value": "1"})
    place = ("--tracking-uri", "databricks://a", "--output-dir", tmp_path / "b")
    report = run_here("export-experiments", *ALL, *place, "--json").expect(0).json
    assert report["kinds"]["run"]["updated"] == 1
    assert notebooks_in(tmp_path / "b") == before
    run_here("verify", tmp_path / "b").expect(0)


def test_a_notebook_that_is_gone_is_a_row_and_the_run_arrives(ends: Ends, export: Export, tmp_path: Path) -> None:
    call(ends.a, "POST", "/api/2.0/workspace/delete", json={"path": TRAIN})
    told = export().expect(1).json
    assert told["kinds"]["run"]["done"] == 1
    rows = [row for row in told["rows"] if row["kind"] == "notebook"]
    assert len(rows) == 4 and {row["state"] for row in rows} == {"unsupported"}
    assert all("no such notebook" in row["reason"] and TRAIN in row["reason"] for row in rows)
    assert notebooks_in(tmp_path / "b") == {}
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")}
    assert export("--allow-loss", "notebook").expect(0).json["kinds"]["run"]["same"] == 1
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")} == files


def test_a_notebook_that_comes_back_is_added_by_the_next_export(ends: Ends, export: Export, tmp_path: Path) -> None:
    ends.a.faults.add(Fault("GET /api/2.0/workspace/export", status=403, times=0))
    told = export().expect(1).json
    assert {row["reason"] for row in told["rows"]} == {f"{ends.a.url} doesn't allow it: ordered fault 403"}
    ends.a.faults.clear()
    assert export().expect(0).json["kinds"]["run"]["updated"] == 1
    assert len(notebooks_in(tmp_path / "b")) == 4


def test_a_rehearsal_fetches_no_notebook(ends: Ends, export: Export, tmp_path: Path) -> None:
    export("--dry-run").expect(0)
    assert exports(ends.a) == 0 and not (tmp_path / "b").exists()


def test_a_notebook_without_a_revision_is_taken_as_it_is_now(ends: Ends, run_here: Run, tmp_path: Path) -> None:
    run_id = a_run(ends.a, "late", {PATH: TRAIN})
    place = ("--tracking-uri", "databricks://a", "--output-dir", tmp_path / "r")
    run_here("export-run", "--run-id", run_id, *place, "--notebook-formats", "source").expect(0)
    assert {name: content.decode().strip() for name, content in notebooks_in(tmp_path / "r").items()} == {
        "Train.source": SECOND.strip()
    }


def test_a_format_that_is_none_is_refused_before_anybody_is_asked(ends: Ends, run_here: Run, tmp_path: Path) -> None:
    ends.a.requests.clear()
    for command in (
        ("export-run", "--run-id", ends.run, "--output-dir", tmp_path / "r"),
        ("export-all", "--output-dir", tmp_path / "r"),
        ("download-notebook", "--notebook", TRAIN, "--output-dir", tmp_path / "r"),
    ):
        words = ("--notebook-formats", "SOURCE,PDF", "--tracking-uri", "databricks://a")
        told = run_here(*command, *words).expect(2)
        assert "not a notebook format: PDF" in told.stderr
    assert not (tmp_path / "r").exists()
    assert not [path for _, path, _ in ends.a.requests if "workspace" in path]


def test_an_import_puts_notebooks_into_the_other_workspace_once(
    ends: Ends, export: Export, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    words = ("--input-dir", tmp_path / "b", "--tracking-uri", "databricks://b", "--dst-notebook-dir", "/Shared/of runs")
    run_here("import-experiments", *words, "--dry-run").expect(0)
    assert writes(ends.b) == []
    report = run_here("import-experiments", *words, "--json").expect(0).json
    assert report["kinds"]["run"]["done"] == 1
    there = f"/Shared/of runs{TRAIN}@{ends.revision}"
    assert "the first é" in read(ends.b, there) and "the second" not in read(ends.b, there)
    tags = run_tags(ends.b, "/Shared/wine")
    assert tags["mlflow_migration.notebook"] == there
    assert (tags[PATH], tags[REVISION]) == (TRAIN, ends.revision)
    ends.b.requests.clear()
    assert run_here("import-experiments", *words, "--json").expect(0).json["kinds"]["run"]["same"] == 1
    assert writes(ends.b) == []
    run_here("verify", "databricks://a", "databricks://b", *ALL).expect(0)


def test_notebooks_follow_runs_that_were_imported_without_them(
    ends: Ends, export: Export, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    words = ("--input-dir", tmp_path / "b", "--tracking-uri", "databricks://b")
    run_here("import-experiments", *words).expect(0)
    assert "mlflow_migration.notebook" not in run_tags(ends.b, "/Shared/wine")
    told = run_here("import-experiments", *words, "--dst-notebook-dir", "/Shared/n", "--json").expect(0).json
    assert told["kinds"]["run"]["updated"] == 1
    assert run_tags(ends.b, "/Shared/wine")["mlflow_migration.notebook"] == f"/Shared/n{TRAIN}@{ends.revision}"


def test_a_workspace_that_refuses_a_notebook_takes_the_run(
    ends: Ends, export: Export, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    ends.b.faults.add(Fault("POST /api/2.0/workspace/import", status=403, times=0))
    words = ("--input-dir", tmp_path / "b", "--tracking-uri", "databricks://b", "--dst-notebook-dir", "/Shared/n")
    told = run_here("import-experiments", *words, "--json").expect(1).json
    assert told["kinds"]["run"]["done"] == 1 and told["kinds"]["notebook"]["unsupported"] == 1
    assert "mlflow_migration.notebook" not in run_tags(ends.b, "/Shared/wine")
    ends.b.faults.clear()
    assert run_here("import-experiments", *words, "--json").expect(0).json["kinds"]["run"]["updated"] == 1


def test_a_bundle_without_notebooks_says_so_where_a_folder_is_given(ends: Ends, run_here: Run, tmp_path: Path) -> None:
    place = ("--tracking-uri", "databricks://a", "--output-dir", tmp_path / "r")
    run_here("export-run", "--run-id", ends.run, *place).expect(0)
    words = ("--input-dir", tmp_path / "r", "--experiment-name", "/Shared/x", "--tracking-uri", "databricks://b")
    told = run_here("import-run", *words, "--dst-notebook-dir", "/Shared/n", "--json").expect(0).json
    assert [(row["kind"], row["state"]) for row in told["rows"]] == [("notebook", "skipped")]


def test_only_a_workspace_takes_notebooks_and_only_into_a_folder(
    ends: Ends, export: Export, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    words = ("import-experiments", "--input-dir", tmp_path / "b", "--dst-notebook-dir")
    assert "only a Databricks" in run_here(*words, "/Shared", "--tracking-uri", destination.url).expect(2).stderr
    database = f"sqlite:///{tmp_path / 'm.db'}"
    assert "only a Databricks" in run_here(*words, "/Shared", "--tracking-uri", database).expect(2).stderr
    assert not (tmp_path / "m.db").exists()
    assert "not a folder" in run_here(*words, "Shared", "--tracking-uri", "databricks://b").expect(2).stderr


def test_at_an_open_source_server_the_notebook_of_a_run_is_told_missing(
    empty_source: Server, run_here: Run, tmp_path: Path
) -> None:
    api = Api(empty_source.url)
    tags = [{"key": PATH, "value": TRAIN}, {"key": REVISION, "value": "1"}]
    made = api.post("runs/create", experiment_id="0", start_time=1, tags=tags)["run"]["info"]["run_id"]
    api.post("runs/create", experiment_id="0", start_time=1)
    words = ("--tracking-uri", empty_source.url, "--output-dir", tmp_path / "b", "--notebook-formats", "SOURCE")
    told = run_here("export-experiments", *ALL, *words, "--json").expect(1).json
    assert [(row["kind"], row["id"]) for row in told["rows"]] == [("notebook", made)]
    assert told["kinds"]["run"]["done"] == 2


def test_notebooks_go_along_when_a_bundle_is_made_of_bundles(
    ends: Ends, export: Export, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    run_here("filter-export", *ALL, "--input-dir", tmp_path / "b", "--output-dir", tmp_path / "f").expect(0)
    shards = [tmp_path / "1", tmp_path / "2"]
    for number, shard in enumerate(shards, 1):
        place = ("--tracking-uri", "databricks://a", "--output-dir", shard, "--shard", f"{number}/2")
        run_here("export-experiments", *ALL, *place, "--notebook-formats", FORMATS).expect(0)
    run_here("bundle", "merge", *shards, "--output-dir", tmp_path / "m").expect(0)
    found = notebooks_in(tmp_path / "b")
    assert notebooks_in(tmp_path / "f") == found
    # Fetched again for the shards: an archive says when it was made.
    again = notebooks_in(tmp_path / "m")
    assert again.keys() == found.keys()
    assert all(again[name] == found[name] for name in found if not name.endswith(".dbc"))
    run_here("verify", tmp_path / "m").expect(0)


@pytest.mark.parametrize("name", ["../../../evil.source", "a/../b.source", "", "x.source"])
def test_a_bundle_whose_notebooks_lead_elsewhere_is_broken(
    name: str, ends: Ends, export: Export, run_here: Run, tmp_path: Path
) -> None:
    export().expect(0)
    (head,) = (tmp_path / "b").rglob("run.json")
    value = json.loads(head.read_text())
    entry = next(entry for entry in value["info"]["files"] if "notebook" in entry)
    entry["notebook"] = name
    head.write_text(json.dumps(value))
    Folder(tmp_path / "b").seal()
    assert "is broken" in run_here("verify", tmp_path / "b").expect(4).stderr


def test_a_notebook_is_downloaded_now_or_at_a_revision(ends: Ends, run_here: Run, tmp_path: Path) -> None:
    words = ("download-notebook", "--tracking-uri", "databricks://a", "--output-dir", tmp_path / "n", "--notebook")
    told = run_here(*words, TRAIN, "--json").expect(0).json
    assert [each["format"] for each in told["files"]] == ["SOURCE"]
    assert "the second" in (tmp_path / "n" / "Train.source").read_text()
    run_here(*words, TRAIN, "--revision", ends.revision, "--notebook-formats", FORMATS).expect(0)
    assert "the first é" in (tmp_path / "n" / f"Train@{ends.revision}.source").read_text()
    assert len(list((tmp_path / "n").iterdir())) == 5


def test_a_notebook_that_is_not_there_is_told(ends: Ends, run_here: Run, tmp_path: Path) -> None:
    words = ("download-notebook", "--tracking-uri", "databricks://a", "--output-dir", tmp_path / "n")
    told = run_here(*words, "--notebook", "/Shared/nothing", "--json").expect(1)
    assert told.json["failed"][0]["format"] == "SOURCE" and "no such notebook" in told.stderr
    ends.a.faults.add(Fault("GET /api/2.0/workspace/export", status=403))
    assert "doesn't allow it" in run_here(*words, "--notebook", TRAIN).expect(3).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--notebook", "Train"), "not a path in a workspace"),
        (("--notebook", TRAIN, "--revision", "yesterday"), "not a revision"),
        (("--notebook", TRAIN, "--notebook-formats", " , "), "no format was given"),
        (("--notebook", TRAIN, "--tracking-uri", "OSS"), "only a Databricks workspace has notebooks"),
    ],
)
def test_a_download_that_makes_no_sense_is_refused(
    words: tuple[str, ...], said: str, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    given = [destination.url if word == "OSS" else word for word in words]
    told = run_here("download-notebook", "--output-dir", tmp_path / "n", *given).expect(2)
    assert said in told.stderr


def test_notebooks_in_a_folder_of_mlflow_export_import_go_into_a_workspace_too(
    ends: Ends, empty_source: Server, run_here: Run, tmp_path: Path
) -> None:
    tags = [{"key": PATH, "value": TRAIN}, {"key": REVISION, "value": ends.revision}]
    made = Api(empty_source.url).post("runs/create", experiment_id="0", start_time=1, tags=tags)["run"]["info"]
    old_export(empty_source, "run.export_run", "--run-id", made["run_id"], "--output-dir", tmp_path / "old")
    # What it writes beside, at a workspace: release 1.2.0, `run/export_run.py` and `notebook/download_notebook.py`.
    folder = tmp_path / "old" / "artifacts" / "notebooks"
    folder.mkdir(parents=True)
    (folder / "Train.source").write_text(SECOND)
    (folder / "manifest.json").write_text("{}")
    words = ("--input-dir", tmp_path / "old", "--experiment-name", "/Shared/wine", "--tracking-uri", "databricks://b")
    run_here("import-run", *words, "--dst-notebook-dir", "/Shared/n").expect(0)
    # It gets the newest one, whatever the run says: so the name ends in what it holds, not in the revision.
    there = run_tags(ends.b, "/Shared/wine")["mlflow_migration.notebook"]
    assert there.startswith(f"/Shared/n{TRAIN}@") and ends.revision not in there
    assert read(ends.b, there).strip() == SECOND.strip()
