"""Evaluation datasets: every record with its source and people, tags, experiments; nothing twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import databases, genai, servers
from tests.conftest import Tool
from tests.genai import call
from tests.servers import Server

ALL = ("--experiments", "all", "--json")


def create(server: Server, name: str, experiments: list[str], tags: dict[str, str]) -> str:
    body = {"name": name, "experiment_ids": experiments, "tags": json.dumps(tags)}
    return str(call(server, "POST", "datasets/create", json=body)["dataset"]["dataset_id"])


def add(server: Server, dataset_id: str, *records: dict[str, Any]) -> None:
    call(server, "POST", f"datasets/{dataset_id}/records", json={"records": json.dumps(records)})


def seed(server: Server) -> dict[str, str]:
    """Two datasets of one name, one without records or experiments; awkward records."""
    one, two = genai.experiment(server, "one"), genai.experiment(server, "two/é")
    run_id = genai.run(server, one)
    first = create(server, "same name", [one, two], {"k": "é\n'\"", "mlflow.user": "ann"})
    add(server, first, {"inputs": {"q": "later"}, "outputs": {"a": 1}, "tags": {"mlflow.user": "bob"}})
    add(
        server,
        first,
        {"inputs": {"q": float("nan"), "deep": {"é": [1, None, True]}}, "outputs": "a text"},
        {"inputs": {}, "outputs": None, "expectations": {"e": 1e300, "big": 2**60}},
        {"inputs": {"q": "trace"}, "source": {"source_type": "TRACE", "source_data": {"trace_id": "tr-" + "a" * 32}}},
        {"inputs": {"q": "run"}, "source": {"source_type": "CODE", "source_data": {"source_id": run_id, "n": 1}}},
        *({"inputs": {"n": number}, "outputs": number, "tags": {"t": ""}} for number in range(520)),
    )
    # Somebody else changes what bob made, and the dataset's own tag.
    add(server, first, {"inputs": {"q": "later"}, "outputs": [1, "x"], "tags": {"mlflow.user": "carl", "more": "1"}})
    call(server, "PATCH", f"datasets/{first}/tags", json={"tags": json.dumps({"mlflow.user": "dora"})})
    second = create(server, "same name", [], {})
    mixed = create(server, "mixed", [two], {"mlflow.user": "x" * 200})
    add(server, mixed, {"inputs": {"q": 0}, "outputs": {"a": 1}})
    add(server, mixed, {"inputs": {"q": 1}, "outputs": "b"})
    call(server, "DELETE", f"datasets/{mixed}/tags/mlflow.user")
    add(server, mixed, {"inputs": {"q": 0}, "outputs": "a"}, {"inputs": {"q": 2}, "outputs": {"a": 2}})
    return {"first": first, "second": second, "one": one, "two": two, "run": run_id}


def content(server: Server) -> list[Any]:
    """Everything of every dataset that must arrive, in a fixed order, straight from the tables."""
    found = []
    names = genai.names(server)
    origins = dict(genai.rows(server, "SELECT run_uuid, value FROM tags WHERE key = 'mlflow_migration.run_id'"))
    for id_, name, made_by in genai.rows(server, "SELECT dataset_id, name, created_by FROM evaluation_datasets"):
        tags = genai.rows(
            server,
            "SELECT key, value FROM evaluation_dataset_tags WHERE dataset_id = ? "
            "AND key NOT LIKE 'mlflow_migration.%' ORDER BY key",
            id_,
        )
        tied = genai.rows(server, "SELECT destination_id FROM entity_associations WHERE source_id = ?", id_)
        records = genai.rows(
            server,
            "SELECT inputs, outputs, expectations, tags, source, source_id, source_type, created_by, last_updated_by, "
            "input_hash FROM evaluation_dataset_records WHERE dataset_id = ?",
            id_,
        )
        seen = sorted(repr(tuple(_seen(value, origins) for value in record)) for record in records)
        found.append((name, made_by, tags, sorted(names[row[0]] for row in tied), seen))
    return sorted(found, key=repr)


def _seen(value: Any, origins: dict[str, str]) -> Any:
    for there, came_from in origins.items():
        value = value.replace(there, came_from) if isinstance(value, str) else value
    try:
        return json.dumps(json.loads(value), sort_keys=True) if isinstance(value, str) else value
    except ValueError:
        return value


def test_datasets_are_copied_and_a_second_copy_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    seed(empty_source)
    before = databases.dump(empty_source)
    copy = ("copy-all", *genai.pair(empty_source, destination), *ALL)
    nothing = databases.dump(destination)
    run_tool(*copy, "--dry-run")
    assert databases.dump(destination) == nothing
    report = run_tool(*copy).expect(0).json
    assert report["kinds"]["evaluation_dataset"]["done"] == 3
    assert content(destination) == content(empty_source)
    assert sum(len(found[4]) for found in content(destination)) == 528
    assert databases.dump(empty_source) == before
    # What was made first still comes first.
    listing = "SELECT inputs FROM evaluation_dataset_records JOIN evaluation_datasets d USING (dataset_id) "
    listing += "WHERE d.name = 'same name' ORDER BY evaluation_dataset_records.created_time LIMIT 1"
    assert genai.rows(destination, listing) == genai.rows(empty_source, listing)
    after = databases.dump(destination)
    for tool in (run_tool, Tool(tmp_path / "elsewhere")):
        again = tool(*copy).expect(0).json
        assert again["kinds"]["evaluation_dataset"]["same"] == 3
    assert databases.dump(destination) == after
    verified = run_tool("verify", empty_source.url, destination.url, "--json").expect(0).json
    assert verified["kinds"]["evaluation_dataset"]["equal"] == 3


def test_datasets_survive_a_bundle(empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path) -> None:
    seed(empty_source)
    bundle = tmp_path / "bundle"
    run_tool("export-all", "--tracking-uri", empty_source.url, "--output-dir", bundle, *ALL).expect(0)
    again = ("export-all", "--tracking-uri", empty_source.url, "--output-dir", bundle, *ALL)
    assert run_tool(*again).expect(0).json["kinds"]["evaluation_dataset"]["same"] == 3
    into = ("import-all", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*into).expect(0)
    assert content(destination) == content(empty_source)
    after = databases.dump(destination)
    run_tool(*into).expect(0)
    assert databases.dump(destination) == after
    run_tool("verify", bundle, destination.url).expect(0)
    run_tool("verify", empty_source.url, bundle).expect(0)


@pytest.mark.slow
def test_a_changed_dataset_is_brought_up_to_date(empty_source: Server, destination: Server, run_tool: Tool) -> None:
    ids = seed(empty_source)
    copy = ("copy-all", *genai.pair(empty_source, destination), *ALL)
    run_tool(*copy).expect(0)
    add(empty_source, ids["first"], {"inputs": {"n": 3}, "outputs": "changed", "expectations": {"new": [1]}})
    add(empty_source, ids["second"], {"inputs": {"n": 3}})
    statement = "UPDATE evaluation_dataset_records SET tags = '{}' WHERE input_hash IN (SELECT input_hash "
    statement += "FROM evaluation_dataset_records WHERE inputs = '{\"n\": 5}')"
    servers.execute(empty_source, statement)
    call(empty_source, "POST", f"datasets/{ids['second']}/add-experiments", json={"experiment_ids": [ids["two"]]})
    call(empty_source, "PATCH", f"datasets/{ids['second']}/tags", json={"tags": json.dumps({"late": "1"})})
    assert run_tool("verify", empty_source.url, destination.url, "--json").expect(1).json["differences"]
    report = run_tool(*copy).expect(0).json
    assert report["kinds"]["evaluation_dataset"]["updated"] == 2
    assert content(destination) == content(empty_source)
    run_tool("verify", empty_source.url, destination.url).expect(0)


def test_only_datasets_of_the_chosen_experiments_go_and_a_missing_experiment_is_told(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    seed(empty_source)
    one = ("copy-all", *genai.pair(empty_source, destination), "--experiments", "one", "--json")
    report = run_tool(*one).expect(1).json
    assert [(row["kind"], row["state"]) for row in report["rows"]] == [("link", "unsupported")]
    assert report["kinds"]["evaluation_dataset"]["done"] == 1
    after = databases.dump(destination)
    assert run_tool(*one).expect(1).json["kinds"]["evaluation_dataset"]["same"] == 1
    assert databases.dump(destination) == after
    run_tool("copy-all", *genai.pair(empty_source, destination), *ALL).expect(0)
    assert content(destination) == content(empty_source)
    bundle = tmp_path / "bundle"
    run_tool("export-all", "--tracking-uri", empty_source.url, "--output-dir", bundle, *ALL).expect(0)
    into = ("import-all", "--tracking-uri", destination.url, "--input-dir", bundle, "--experiments", "one")
    assert run_tool(*into, "--json").expect(0).json["kinds"]["evaluation_dataset"]["asked"] == 1


def test_a_copy_of_a_copy_meets_the_original(empty_source: Server, destination: Server, run_tool: Tool) -> None:
    seed(empty_source)
    run_tool("copy-all", *genai.pair(empty_source, destination), *ALL).expect(0)
    before = genai.rows(empty_source, "SELECT COUNT(*) FROM evaluation_datasets")
    run_tool("copy-all", *genai.pair(destination, empty_source), *ALL)
    assert genai.rows(empty_source, "SELECT COUNT(*) FROM evaluation_datasets") == before


def test_a_half_made_dataset_is_completed(empty_source: Server, destination: Server, run_tool: Tool) -> None:
    seed(empty_source)
    copy = ("copy-all", *genai.pair(empty_source, destination), *ALL)
    run_tool(*copy).expect(0)
    servers.execute(destination, "DELETE FROM evaluation_dataset_tags WHERE key = 'mlflow_migration.complete'")
    servers.execute(destination, "DELETE FROM evaluation_dataset_tags WHERE key = 'k'")
    servers.execute(destination, "DELETE FROM evaluation_dataset_records WHERE inputs LIKE '%1%'")
    servers.execute(destination, "DELETE FROM entity_associations")
    assert run_tool(*copy).expect(0).json["kinds"]["evaluation_dataset"]["done"] == 3
    assert content(destination) == content(empty_source)
