"""`inventory` counts what is on a server: its numbers are those of the server's own tables and disk."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import genai, servers
from tests.conftest import Run, Seeded, ServerPool
from tests.governance.scene import Scene
from tests.rest import Api, Json
from tests.servers import Server


def inventory(run_here: Run, server: Server, *words: str | Path) -> Any:
    """The inventory of a server."""
    return run_here("inventory", "--tracking-uri", server.url, *words)


def one(server: Server, query: str) -> Any:
    """The one value of a query."""
    return servers.select(server, query)[0][0]


def files(folder: Path) -> dict[str, int]:
    """Path → size of everything below a folder."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_counts_are_those_of_the_tables(run_here: Run, both: Scene) -> None:
    server = both.dev
    genai.call(server, "POST", "datasets/create", json={"name": "questions", "experiment_ids": [both.made.experiment]})
    document = inventory(run_here, server, "--json").expect(0).json
    counts = {kind: found["all"] for kind, found in document["counts"].items()}
    prompts = "SELECT count(*) FROM registered_model_tags WHERE key = 'mlflow.prompt.is_prompt'"
    versions = "SELECT count(*) FROM model_version_tags WHERE key = 'mlflow.prompt.is_prompt'"
    assert counts == {
        "experiment": one(server, "SELECT count(*) FROM experiments"),
        "registered model": one(server, "SELECT count(*) FROM registered_models") - one(server, prompts),
        "prompt": one(server, prompts),
        "model version": one(server, "SELECT count(*) FROM model_versions") - one(server, versions),
        "prompt version": one(server, versions),
        "run": one(server, "SELECT count(*) FROM runs"),
        "param": one(server, "SELECT count(*) FROM params"),
        "metric": one(server, "SELECT count(*) FROM latest_metrics"),
        "tag": one(server, "SELECT count(*) FROM tags"),
        "logged model": one(server, "SELECT count(*) FROM logged_models"),
        "trace": one(server, "SELECT count(*) FROM trace_info"),
        "evaluation dataset": one(server, "SELECT count(*) FROM evaluation_datasets"),
    }
    assert counts["logged model"] == 1 and counts["prompt"] == 1 and counts["run"] == 3


def test_deleted_runs_and_experiments_count_as_such(run_here: Run, source: Server) -> None:
    api = Api(source.url)
    experiment = api.get("experiments/get-by-name", experiment_name="two/é")["experiment"]["experiment_id"]
    api.post("experiments/delete", experiment_id=experiment)
    document = inventory(run_here, source, "--json").expect(0).json
    states = Counter(row[0] for row in servers.select(source, "SELECT lifecycle_stage FROM runs"))
    found = document["counts"]["run"]
    assert (found["active"], found["deleted"]) == (states["active"], states["deleted"])
    assert states["deleted"] > 1
    assert document["counts"]["experiment"]["deleted"] == 1
    for status, number in Counter(row[0] for row in servers.select(source, "SELECT status FROM runs")).items():
        assert found[status] == number


def test_sizes_and_the_biggest_artifacts_are_those_on_disk(run_here: Run, source: Server) -> None:
    document = inventory(run_here, source, "--json", "--biggest", "1").expect(0).json
    there = files(source.artifacts)
    assert document["sizes"]["run artifacts"] == sum(there.values())
    assert document["files"]["run artifacts"] == len(there)
    (biggest,) = document["biggest"]
    path, size = max(there.items(), key=lambda each: each[1])
    assert biggest["size"] == size == 5000
    assert path.endswith(f"{biggest['id']}/artifacts/{biggest['path']}")
    assert biggest["link"].startswith(source.url)


def test_months_and_owners_add_up_to_the_whole(run_here: Run, source: Server) -> None:
    api = Api(source.url)
    body = {"experiment_id": "0", "run_name": "later", "user_id": "eve", "start_time": 1_700_000_000_000}
    api.post("runs/create", **body)
    document: Json = inventory(run_here, source, "--json").expect(0).json
    months = (
        "SELECT strftime('%Y-%m', start_time / 1000, 'unixepoch'), count(*) FROM runs WHERE start_time > 0 GROUP BY 1"
    )
    known = {month: number for month, number in servers.select(source, months)}
    grown = {month: found["runs"] for month, found in document["months"].items() if "runs" in found}
    assert {month: number for month, number in grown.items() if month != "unknown"} == known
    assert sum(grown.values()) == document["counts"]["run"]["all"]
    people = dict(servers.select(source, "SELECT user_id, count(*) FROM runs GROUP BY 1"))
    assert {name: found["runs"] for name, found in document["owners"].items() if "runs" in found} == people
    assert sum(found.get("bytes", 0) for found in document["owners"].values()) == sum(document["sizes"].values())
    assert sum(found.get("bytes", 0) for found in document["months"].values()) == sum(document["sizes"].values())


def test_without_sizes_no_artifact_is_looked_at(run_here: Run, source: Server) -> None:
    document = inventory(run_here, source, "--no-sizes", "--json").expect(0).json
    assert document["sizes"] == {"traces": 0} or document["sizes"] == {}
    assert document["biggest"] == []
    assert document["counts"]["run"]["all"] == one(source, "SELECT count(*) FROM runs")


@pytest.fixture
def awkward(hostile: Seeded, server_pool: ServerPool) -> Server:
    """A server with everything awkward that names can hold."""
    server = server_pool("source")
    servers.reset(server, hostile.content)
    return server


def test_what_cannot_be_listed_is_named_and_the_rest_is_counted(run_here: Run, awkward: Server, tmp_path: Path) -> None:
    page = tmp_path / "inventory.html"
    outcome = inventory(run_here, awkward, "--json")
    document = outcome.json
    assert outcome.code == (1 if document["unlisted"] else 0)
    assert document["counts"]["run"]["all"] == one(awkward, "SELECT count(*) FROM runs")
    listed = document["sizes"]["run artifacts"]
    there = sum(files(awkward.artifacts).values())
    assert listed == there if not document["unlisted"] else listed <= there
    inventory(run_here, awkward, "--format", "html", "--output", page)
    assert "<svg" in page.read_text("utf-8")


def test_the_table_shows_the_numbers_for_a_person(run_here: Run, source: Server) -> None:
    shown = inventory(run_here, source).expect(0).stdout
    assert "by month" in shown and "biggest artifacts" in shown and "5.0 kB" in shown
