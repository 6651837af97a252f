"""A destination that has things of its own, and a source whose names and states change."""

from pathlib import Path
from typing import Any

from tests import databases, rest, servers
from tests.conftest import Seeded, Tool
from tests.rest import Api
from tests.seeding import Seed, noise
from tests.servers import Server


def copy_all(run_tool: Tool, source: Server, destination: Server, *more: str) -> tuple[int, dict[str, Any]]:
    """Copy everything; the exit code and the report."""
    places = ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", destination.url)
    outcome = run_tool("copy-experiments", *places, "--experiments", "all", "--json", *more)
    return outcome.code, outcome.json


def tags_of(server: Server, name: str) -> dict[str, str]:
    query = "SELECT key, value FROM experiment_tags JOIN experiments USING (experiment_id) WHERE name = ?"
    return dict(servers.select(server, query, name))


def test_an_experiment_renamed_at_the_source_is_renamed_and_not_made_again(
    source: Server, small: Seeded, destination: Server, run_tool: Tool
) -> None:
    assert copy_all(run_tool, source, destination)[0] == 0
    api = Api(source.url)
    api.post("experiments/update", experiment_id=small.corpus.experiments["one"], new_name="one, renamed")
    code, report = copy_all(run_tool, source, destination)
    assert code == 0
    assert report["kinds"]["run"]["same"] == 5
    assert databases.compare(source, destination) == []


def test_an_experiment_of_the_destinations_own_is_added_to_and_never_overwritten_or_claimed(
    source: Server, destination: Server, run_tool: Tool
) -> None:
    api = Api(destination.url)
    api.post("experiments/create", name="one", tags=[{"key": "team", "value": "blue"}])
    for _ in range(2):
        code, report = copy_all(run_tool, source, destination)
        assert code == 1
        assert [(row["kind"], row["state"]) for row in report["rows"]] == [("tag", "unsupported")]
        found = tags_of(destination, "one")
        assert found["team"] == "blue"
        assert found["mlflow.note.content"] == "first"
        assert "mlflow_migration.experiment_id" not in found
    assert servers.select(destination, "SELECT COUNT(*) FROM runs") == [(5,)]
    assert copy_all(run_tool, source, destination, "--allow-loss", "tag")[0] == 0
    check = run_tool("verify", source.url, destination.url, "--allow-loss", "tag", "--json")
    assert check.code == 0, check.stdout


def test_a_deleted_experiment_of_the_destinations_own_is_left_in_the_trash(
    source: Server, destination: Server, run_tool: Tool
) -> None:
    api = Api(destination.url)
    made = api.post("experiments/create", name="one")["experiment_id"]
    api.post("experiments/delete", experiment_id=made)
    code, report = copy_all(run_tool, source, destination)
    assert code == 1
    failed = [row for row in report["rows"] if row["state"] == "failed"]
    assert {row["kind"] for row in failed} == {"experiment", "run"}
    assert len(failed) == 1 + 3
    stage = "SELECT lifecycle_stage FROM experiments WHERE name = 'one'"
    assert servers.select(destination, stage) == [("deleted",)]
    assert report["kinds"]["run"]["done"] == 2


def test_restoring_an_experiment_restores_none_of_the_destinations_own_deleted_runs(
    source: Server, small: Seeded, destination: Server, run_tool: Tool
) -> None:
    there, one = Api(source.url), small.corpus.experiments["one"]
    assert copy_all(run_tool, source, destination)[0] == 0
    here = Api(destination.url)
    twin = rest.experiment(here, "one")["experiment_id"]
    own = here.post("runs/create", experiment_id=twin, start_time=1)["run"]["info"]["run_id"]
    here.post("runs/delete", run_id=own)
    there.post("experiments/delete", experiment_id=one)
    assert copy_all(run_tool, source, destination)[0] == 0
    stage = "SELECT lifecycle_stage FROM experiments WHERE name = 'one'"
    assert servers.select(destination, stage) == [("deleted",)]
    there.post("experiments/restore", experiment_id=one)
    assert copy_all(run_tool, source, destination)[0] == 0
    stages = dict(servers.select(destination, "SELECT run_uuid, lifecycle_stage FROM runs"))
    assert stages.pop(own) == "deleted"
    at_source = servers.select(source, "SELECT lifecycle_stage FROM runs")
    assert sorted(stages.values()) == sorted(stage for (stage,) in at_source)


def test_same_sized_changes_of_artifacts_are_found_by_their_bytes_where_asked(
    source: Server, small: Seeded, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    export = ("export-experiments", "--tracking-uri", source.url, "--experiments", "all", "--output-dir", str(bundle))
    assert copy_all(run_tool, source, destination)[0] == 0
    run_tool(*export).expect(0)
    Seed(Api(source.url), source, small.corpus).file(small.corpus.runs["parent"], "plain.bin", noise(5000, "other"))
    assert copy_all(run_tool, source, destination, "--checksum")[1]["kinds"]["run"]["updated"] == 1
    assert databases.compare(source, destination) == []
    assert copy_all(run_tool, source, destination, "--checksum")[1]["kinds"]["run"]["updated"] == 0
    run_tool(*export, "--checksum").expect(0)
    run_tool("verify", source.url, str(bundle)).expect(0)


def test_lineage_tags_tell_where_an_object_came_from_and_are_no_difference(
    source: Server, small: Seeded, destination: Server, run_tool: Tool
) -> None:
    assert copy_all(run_tool, source, destination, "--import-source-tags", "True")[0] == 0
    parent = small.corpus.runs["parent"]
    query = "SELECT t.key, t.value FROM tags t JOIN tags o USING (run_uuid) WHERE o.key = ? AND o.value = ?"
    tags = dict(servers.select(destination, query, "mlflow_migration.run_id", parent))
    assert tags["mlflow_exim.run_info.run_id"] == parent
    assert tags["mlflow_exim.run_info.status"] == "FINISHED"
    assert tags["mlflow_exim.mlflow_tag.note.content"] == "about it"
    assert tags_of(destination, "one")["mlflow_exim.field.experiment_id"] == small.corpus.experiments["one"]
    run_tool("verify", source.url, destination.url).expect(0)


def test_artifacts_are_left_out_where_asked_and_come_later(source: Server, destination: Server, run_tool: Tool) -> None:
    code, report = copy_all(run_tool, source, destination, "--max-artifact-size", "1k")
    assert code == 0
    assert [(row["kind"], row["state"]) for row in report["rows"]] == [("artifact", "skipped")]
    assert "plain.bin" in report["rows"][0]["name"]
    assert len(databases.compare(source, destination)) == 1
    assert copy_all(run_tool, source, destination)[1]["kinds"]["run"]["updated"] == 1
    assert databases.compare(source, destination) == []


def test_one_bundle_imports_under_two_names_and_each_only_once(
    source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    run_tool(
        "export-experiments", "--tracking-uri", source.url, "--experiments", "one", "--output-dir", str(bundle)
    ).expect(0)
    target = ("--tracking-uri", destination.url, "--input-dir", str(bundle))
    for name in ("copy 1", "copy 2", "copy 1"):
        run_tool("import-experiment", *target, "--experiment-name", name).expect(0)
    query = "SELECT e.name, COUNT(*) FROM runs JOIN experiments e USING (experiment_id) GROUP BY e.name ORDER BY e.name"
    assert servers.select(destination, query) == [("copy 1", 3), ("copy 2", 3)]


def test_a_copy_of_a_copy_that_comes_home_finds_its_originals(
    source: Server, destination: Server, run_tool: Tool
) -> None:
    assert copy_all(run_tool, source, destination)[0] == 0
    before = databases.dump(source)
    code, report = copy_all(run_tool, destination, source)
    assert code == 0, report["rows"]
    assert report["kinds"]["run"]["skipped"] == 5
    runs = "SELECT COUNT(*) FROM runs"
    assert servers.select(source, runs) == [(5,)]
    assert databases.dump(source)["runs"] == before["runs"]
