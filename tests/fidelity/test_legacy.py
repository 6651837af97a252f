"""Folders that mlflow-export-import wrote import as they are; made here with the real tool, release 1.2.0."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import databases, servers
from tests.conftest import Seeded, Tool
from tests.servers import Server


def old_export(server: Server, module: str, *words: str | Path) -> None:
    """One command of mlflow-export-import."""
    command = [sys.executable, "-m", f"mlflow_export_import.{module}", *map(str, words)]
    env = servers.clean_environment({"MLFLOW_TRACKING_URI": server.url})
    subprocess.run(command, check=True, env=env, capture_output=True, timeout=240)


@pytest.fixture
def folder(source: Server, small: Seeded, tmp_path: Path) -> Path:
    """Every experiment of the small corpus, as the old tool's bulk export leaves them."""
    old_export(source, "bulk.export_experiments", "--experiments", "all", "--output-dir", tmp_path / "old")
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


def test_what_an_old_folder_holds_besides_is_named(folder: Path, destination: Server, run_tool: Tool) -> None:
    (folder / "models" / "wine").mkdir(parents=True)
    (folder / "models" / "wine" / "model.json").write_text(json.dumps({"mlflow": {}}))
    place = ("--tracking-uri", destination.url, "--input-dir", folder)
    report = run_tool("import-experiments", *place, "--json").expect(1).json
    assert [(row["kind"], row["state"]) for row in report["rows"]] == [("registered_model", "unsupported")]
    run_tool("import-experiments", *place, "--allow-loss", "registered_model").expect(0)


def _change(path: Path, field: str, value: str) -> None:
    head = json.loads(path.read_text())
    head["mlflow"]["info"][field] = value
    path.write_text(json.dumps(head))
