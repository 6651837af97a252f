"""Issues: all they say, their run, and no twins though nothing marks where one came from."""

from pathlib import Path
from typing import Any

from tests import databases, genai
from tests.conftest import Tool
from tests.genai import call
from tests.servers import Server

ALL = ("--experiments", "all", "--json")
FULL: dict[str, Any] = {
    "name": "é / name",
    "description": "line\nline '\"",
    "status": "resolved",
    "severity": "high",
    "root_causes": ["b", "a", "ü"],
    "categories": ["x"],
    "created_by": "ann",
}


def create(server: Server, experiment_id: str, **fields: Any) -> str:
    body = {"experiment_id": experiment_id, "description": "d", **fields}
    return str(call(server, "POST", "issues", json=body)["issue"]["issue_id"])


def seed(server: Server) -> dict[str, str]:
    one, two = genai.experiment(server, "one"), genai.experiment(server, "two")
    run_id = genai.run(server, one)
    full = create(server, one, **FULL, source_run_id=run_id)
    create(server, one, name="twin")
    create(server, one, name="twin", status="rejected")
    create(server, one, name="twin", source_run_id=run_id)
    create(server, two, name="twin")
    return {"one": one, "full": full, "run": run_id}


def content(server: Server) -> list[Any]:
    names = genai.names(server)
    origins = dict(genai.rows(server, "SELECT run_uuid, value FROM tags WHERE key = 'mlflow_migration.run_id'"))
    statement = (
        "SELECT experiment_id, source_run_id, name, description, status, severity, root_causes, categories, created_by "
        "FROM issues"
    )
    found = genai.rows(server, statement)
    return sorted(((names[str(row[0])], origins.get(row[1], row[1]), *row[2:]) for row in found), key=repr)


def test_issues_are_copied_and_a_second_copy_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    ids = seed(empty_source)
    genai.experiment(destination, "another, so that ids differ")
    copy = ("copy-experiments", *genai.pair(empty_source, destination), *ALL)
    nothing = databases.dump(destination)
    run_tool(*copy, "--dry-run")
    assert databases.dump(destination) == nothing
    assert run_tool(*copy).expect(0).json["kinds"]["issue"]["done"] == 5
    assert content(destination) == content(empty_source)
    after = databases.dump(destination)
    for tool in (run_tool, Tool(tmp_path / "elsewhere")):
        assert tool(*copy).expect(0).json["kinds"]["issue"]["same"] == 5
    assert databases.dump(destination) == after
    changed = {"issue_id": ids["full"], "status": "rejected", "severity": "low", "name": "renamed"}
    call(empty_source, "PATCH", f"issues/{ids['full']}", json=changed)
    run_tool("verify", empty_source.url, destination.url).expect(1)
    report = run_tool(*copy).expect(0).json["kinds"]["issue"]
    assert (report["updated"], report["same"]) == (1, 4)
    assert content(destination) == content(empty_source)


def test_issues_survive_a_bundle_and_a_deleted_experiment(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    ids = seed(empty_source)
    call(empty_source, "POST", "../../2.0/mlflow/experiments/delete", json={"experiment_id": ids["one"]})
    bundle = tmp_path / "bundle"
    run_tool("export-experiments", "--tracking-uri", empty_source.url, "--output-dir", bundle, *ALL).expect(0)
    into = ("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*into).expect(0)
    assert content(destination) == content(empty_source)
    after = databases.dump(destination)
    run_tool(*into).expect(0)
    assert databases.dump(destination) == after
    # Twins in one experiment are one group: verify sees their number and what they say, not which is which.
    verified = run_tool("verify", bundle, destination.url, "--json").json
    assert verified["kinds"]["issue"]["missing"] == verified["kinds"]["issue"]["extra"] == 0
