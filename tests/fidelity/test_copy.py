"""Server to server without a folder between: nothing is lost, nothing comes twice."""

from pathlib import Path

import pytest

from tests import databases, rest, servers
from tests.conftest import Seeded, ServerFactory, Tool
from tests.fidelity.test_export_import import arrived, original
from tests.rest import Api
from tests.servers import Options, Server


def between(left: Server, right: Server) -> tuple[str, ...]:
    """The options that name both ends."""
    return ("--src-mlflow-uri", left.url, "--dst-mlflow-uri", right.url)


def test_a_whole_server_is_copied_and_a_second_copy_adds_nothing(
    server_a: Server, hostile: Seeded, destination: Server, run_tool: Tool
) -> None:
    copy = ("copy-experiments", *between(server_a, destination), "--experiments", "all", "--json")
    report = run_tool(*copy).expect(0).json
    assert databases.compare(server_a, destination) == []
    assert report["rows"] == []
    for kind, count in hostile.corpus.counts.items():
        assert report["kinds"][kind]["asked"] == count
    before = databases.dump(destination)
    again = run_tool(*copy).expect(0).json
    assert again["kinds"]["run"]["same"] == hostile.corpus.counts["run"]
    assert databases.dump(destination) == before


def test_a_copy_without_the_ledger_adds_nothing(
    source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    copy = ("copy-experiments", *between(source, destination), "--experiments", "all", "--json")
    run_tool(*copy).expect(0)
    before = databases.dump(destination)
    report = Tool(tmp_path / "another home")(*copy).expect(0).json
    assert report["kinds"]["run"]["same"] == 5
    assert databases.dump(destination) == before


def test_the_source_is_only_read(source: Server, destination: Server, run_tool: Tool) -> None:
    before = databases.dump(source)
    run_tool("copy-experiments", *between(source, destination), "--experiments", "all").expect(0)
    assert databases.dump(source) == before


def test_one_run_is_copied(source: Server, small: Seeded, destination: Server, run_tool: Tool) -> None:
    run_id = small.corpus.runs["parent"]
    copy = ("copy-run", *between(source, destination), "--run-id", run_id, "--experiment-name", "elsewhere")
    run_tool(*copy).expect(0)
    assert arrived(destination, "elsewhere") == {run_id: original(source, run_id)}
    before = databases.dump(destination)
    run_tool(*copy).expect(0)
    assert databases.dump(destination) == before


def test_a_child_copied_before_its_parent_finds_it_later(
    source: Server, small: Seeded, destination: Server, run_tool: Tool
) -> None:
    for label in ("child", "parent"):
        command = ("copy-run", *between(source, destination), "--run-id", small.corpus.runs[label])
        outcome = run_tool(*command, "--experiment-name", "one", "--json")
        if label == "child":
            assert {row["kind"] for row in outcome.expect(1).json["rows"]} == {"link"}
            run_tool(*command, "--experiment-name", "one", "--allow-loss", "link").expect(0)
    run_tool("copy-experiments", *between(source, destination), "--experiments", "all").expect(0)
    assert databases.compare(source, destination) == []


def test_one_experiment_is_copied_under_another_name(source: Server, destination: Server, run_tool: Tool) -> None:
    places = between(source, destination)
    run_tool("copy-experiment", *places, "--experiment", "one", "--experiment-name", "uno").expect(0)
    assert databases.compare(source, destination, {"one": "uno"}) == []
    run_tool("copy-experiment", *places, "--experiment", "two/é").expect(0)
    assert databases.compare(source, destination, {"one": "uno", "two/é": "two/é"}) == []


def test_experiments_are_chosen_by_list_glob_and_file(
    source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text("two/é\n", encoding="utf-8")
    for chosen, names in ((str(listed), ["two/é"]), ("on*", ["one"]), ("one,two/é", ["one", "two/é"])):
        api = Api(destination.url)
        # A run of the one experiment is the parent of a run in the other, which may not be there yet.
        run_tool(
            "copy-experiments", *between(source, destination), "--experiments", chosen, "--allow-loss", "link"
        ).expect(0)
        there = {experiment["name"] for experiment in rest.experiments(api)}
        api.close()
        assert set(names) <= there
    assert databases.compare(source, destination, {"one": "one", "two/é": "two/é"}) == []


def test_what_is_at_the_destination_already_is_left_alone(
    source: Server, small: Seeded, destination: Server, run_tool: Tool
) -> None:
    api = Api(destination.url)
    number = api.post("experiments/create", name="one", tags=[{"key": "team", "value": "theirs"}])["experiment_id"]
    body = {"experiment_id": number, "start_time": 5, "run_name": "parent", "tags": [{"key": "k", "value": "theirs"}]}
    theirs = api.post("runs/create", **body)["run"]["info"]["run_id"]
    gone = api.post("runs/create", **body)["run"]["info"]["run_id"]
    api.post("runs/delete", run_id=gone)
    before = rest.portrait(api, api.get("runs/get", run_id=theirs)["run"])
    outcome = run_tool("copy-experiments", *between(source, destination), "--experiments", "all", "--json")
    (row,) = outcome.expect(1).json["rows"]
    assert "team" in row["name"]
    assert {"key": "team", "value": "theirs"} in rest.experiment(api, "one")["tags"]
    assert rest.portrait(api, api.get("runs/get", run_id=theirs)["run"]) == before
    assert api.get("runs/get", run_id=gone)["run"]["info"]["lifecycle_stage"] == "deleted"
    origins = [run["data"]["tags"] for run in rest.runs(api, number) if run["info"]["run_id"] not in (theirs, gone)]
    assert len(origins) == 3
    api.close()
    differences = [text for text in databases.compare(source, destination) if "surplus, its origin is None" not in text]
    assert [text for text in differences if not text.startswith("experiment 'one'")] == []


@pytest.mark.slow
def test_servers_without_an_artifact_proxy_are_copied_from_and_to(
    source: Server, destination: Server, make_server: ServerFactory, run_tool: Tool, template: Path
) -> None:
    direct = make_server(Options(template=template, serve_artifacts=False))
    # The prepared database says that artifacts of Default go through the proxy; this server has none.
    servers.execute(direct, "UPDATE experiments SET artifact_location = ?", f"{direct.artifacts}/0")
    run_tool("copy-experiments", *between(source, direct), "--experiments", "all").expect(0)
    assert databases.compare(source, direct) == []
    run_tool("copy-experiments", *between(direct, destination), "--experiments", "all").expect(0)
    assert databases.compare(direct, destination) == []
