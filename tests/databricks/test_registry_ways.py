"""Registered models out of Unity Catalog and from one to another, judged by MLflow's client and plain requests."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Outcome, Tool
from tests.databricks import catalogue
from tests.databricks.clients import environment
from tests.databricks.registry_samples import Made, catalog, loads, own, plain, tags, users, versions_of, writes
from tests.databricks.state import Account, Workspace
from tests.servers import Server

PREFIX = ("--prefix", "main.ml.")
MAPPED = ("--stages-to-aliases", "Production=champion,Staging=challenger")
UC_A, UC_B = "databricks-uc://a", "databricks-uc://b"
Copy = Callable[..., Outcome]


@pytest.fixture
def filled(churn: Made, workspace: Workspace, copy_models: Copy, empty_source: Server) -> Made:
    """The model stands in the catalog of workspace a as main.ml.churn."""
    copy_models(empty_source.url, UC_A, *PREFIX, *MAPPED).expect(0)
    return churn


@pytest.fixture
def other(account: Account) -> Workspace:
    """A workspace with a metastore of its own."""
    other = account.workspace("b", metastore="m2")
    catalogue.make(other.metastore, "main.ml", "prod.ml")
    return other


def test_models_come_back_to_an_open_source_server_with_all_that_unity_catalog_could_not_hold(
    filled: Made, copy_models: Copy, destination: Server, in_catalog: Tool, empty_source: Server
) -> None:
    back = ("--rename", "model:main.ml.churn=churn")
    copy_models(UC_A, destination.url, *back).expect(0)
    second = plain(destination, "model-versions/get", name="churn", version="2")["model_version"]
    assert second["current_stage"] == "Production"
    assert users(second) == {"checked": "yes", "data.set": "2024-05"}
    model = plain(destination, "registered-models/get", name="churn")["registered_model"]
    assert users(model) == {"team": "growth", "mlflow.owner": " ann "}
    numbers = [each["version"] for each in plain(destination, "model-versions/search")["model_versions"]]
    assert sorted(numbers) == ["1", "2", "4"]
    assert loads("models:/churn@best", own(destination.url)) == [3.0, True]
    compared = in_catalog("verify", empty_source.url, destination.url, "--models", "all", "--json")
    assert compared.json["kinds"]["model_version"]["equal"] == 3, str(compared)
    # The aliases that stages were made to are there besides: nothing a person set is lost.
    assert [
        (each["field"], each["left"]) for each in compared.json["differences"] if each["kind"] == "registered_model"
    ] == [
        ("aliases.challenger", "absent"),
        ("aliases.champion", "absent"),
    ], str(compared)
    before = plain(destination, "model-versions/search")
    copy_models(UC_A, destination.url, *back).expect(0)
    assert plain(destination, "model-versions/search") == before


def test_a_version_alone_takes_its_files_to_an_open_source_server_and_loads_there(
    filled: Made, in_catalog: Tool, destination: Server
) -> None:
    words = ("--src-model", "main.ml.churn", "--src-version", "2", "--dst-model", "churn", "--allow-loss", "link")
    ends = ("--src-registry-uri", UC_A, "--dst-registry-uri", destination.url)
    for _ in range(2):
        in_catalog("copy-model-version", *words, *ends, "--copy-stages-and-aliases").expect(0)
    (head,) = plain(destination, "model-versions/search")["model_versions"]
    assert head["source"].startswith("models:/m-")
    assert loads("models:/churn@best", own(destination.url)) == [3.0, True]


def test_a_version_goes_from_one_metastore_to_another_with_what_tells_where_it_came_from(
    filled: Made, in_catalog: Tool, other: Workspace, workspace: Workspace
) -> None:
    words = ("--src-model", "main.ml.churn", "--src-version", "2", "--dst-model", "prod.ml.churn")
    ends = ("--src-registry-uri", UC_A, "--dst-registry-uri", UC_B)
    outcome = in_catalog("copy-model-version", *words, *ends, "--json").expect(1)
    assert {row["kind"] for row in outcome.json["rows"]} == {"link"}
    other.requests.clear()
    in_catalog("copy-model-version", *words, *ends, "--allow-loss", "link").expect(0)
    assert writes(other) == []
    head = catalog(other, "model-versions/get", name="prod.ml.churn", version="1")["model_version"]
    assert head["status"] == "READY"
    assert "run_id" not in head
    first = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert tags(head)["mlflow_migration_run_id"] == first["run_id"]
    assert tags(head)["mlflow_migration_added_from"].endswith("main.ml.churn/2")
    assert loads("models:/prod.ml.churn/1", environment(other)) == [3.0, True]


def test_models_go_to_another_metastore_with_their_runs_and_verify_finds_no_difference(
    filled: Made, copy_models: Copy, other: Workspace, in_catalog: Tool, workspace: Workspace
) -> None:
    copy_models(UC_A, UC_B).expect(0)
    assert versions_of(other, "main.ml.churn") == {"1": "READY", "2": "READY", "4": "READY"}
    run_id = catalog(other, "model-versions/get", name="main.ml.churn", version="2")["model_version"]["run_id"]
    theirs = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]["run_id"]
    assert run_id != theirs
    assert loads("models:/main.ml.churn@champion", environment(other)) == [3.0, True]
    compared = in_catalog("verify", UC_A, UC_B, "--json")
    assert compared.json["kinds"]["model_version"]["equal"] == 3, str(compared)
    compared.expect(0)
    path = next(other.metastore.folder.rglob("main/ml/churn/2/add.py"))
    path.write_text("changed")
    changed = in_catalog("verify", UC_A, UC_B, "--json").expect(1)
    assert any(each["field"] == "artifacts.add.py" for each in changed.json["differences"]), str(changed)


def test_models_are_copied_within_one_metastore_under_another_schema(
    filled: Made, copy_models: Copy, workspace: Workspace
) -> None:
    catalogue.make(workspace.metastore, "prod.ml")
    copy_models(UC_A, UC_A, "--rename", "model:main.ml.churn=prod.ml.churn").expect(0)
    head = catalog(workspace, "model-versions/get", name="prod.ml.churn", version="2")["model_version"]
    first = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert head["run_id"] == first["run_id"]
    assert loads("models:/prod.ml.churn@best", environment(workspace)) == [3.0, True]


@pytest.mark.slow
def test_a_model_seen_from_another_workspace_of_the_metastore_is_the_source_itself(
    filled: Made, copy_models: Copy, workspace: Workspace
) -> None:
    beside = workspace.account.workspace("c", metastore="m1")
    outcome = copy_models(UC_A, "databricks-uc://c").expect(0)
    assert outcome.json["kinds"]["registered_model"]["skipped"] == 1
    assert outcome.json["kinds"]["model_version"]["skipped"] == 3
    assert not [line for line in writes(beside) if "unity-catalog" in line or "/Models/" in line]


@pytest.mark.slow
def test_a_bundle_of_unity_catalog_holds_the_files_of_versions_and_loads_into_another_metastore(
    filled: Made, in_catalog: Tool, other: Workspace, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    in_catalog("export-models", "--models", "all", "--tracking-uri", UC_A, "--output-dir", bundle).expect(0)
    assert len(list((bundle / "models").rglob("MLmodel"))) == 3
    in_catalog("import-models", "--input-dir", bundle, "--tracking-uri", UC_B).expect(0)
    assert loads("models:/main.ml.churn@best", environment(other)) == [3.0, True]
    in_catalog("verify", bundle, UC_B).expect(0)
    other.requests.clear()
    in_catalog("import-models", "--input-dir", bundle, "--tracking-uri", UC_B).expect(0)
    assert writes(other) == []


def test_verify_compares_the_files_of_versions_where_only_one_place_keeps_them(
    filled: Made, in_catalog: Tool, empty_source: Server, workspace: Workspace
) -> None:
    words = ("verify", empty_source.url, UC_A, *PREFIX, "--json", "--allow-loss", "link", "--allow-loss", "tag")
    same = in_catalog(*words)
    assert same.json["kinds"]["model_version"]["missing"] == 0, str(same)
    told = [each for each in same.json["differences"] if each["kind"] == "model_version"]
    assert {each["field"] for each in told} == {"stage"}, str(same)
    next(workspace.metastore.folder.rglob("main/ml/churn/2/add.py")).write_text("changed")
    changed = in_catalog(*words).expect(1)
    assert any(each["field"] == "artifacts.add.py" for each in changed.json["differences"]), str(changed)


def test_the_tools_work_on_unity_catalog(filled: Made, in_catalog: Tool) -> None:
    at = ("--tracking-uri", UC_A)
    assert "main.ml.churn" in in_catalog("list-registered-models", *at).expect(0).stdout
    uri = ("--model-uri", "models:/main.ml.churn@champion")
    assert in_catalog("get-model-signature", *uri, *at, "--json").expect(0).json["signature"]["outputs"]
    listed = in_catalog("list-model-versions-without-signatures", *at, "--json").expect(0)
    assert (listed.json["versions"], listed.json["without_signature"]) == (3, [])
    called = in_catalog("http-client", "--api", "databricks", "--resource", "preview/scim/v2/Me", *at, "--json")
    assert called.expect(0).json["answer"]["userName"] == "admin@example.com"
    called = in_catalog("http-client", "--resource", "/api/2.1/unity-catalog/models", *at, "--json").expect(0)
    assert [each["full_name"] for each in called.json["answer"]["registered_models"]] == ["main.ml.churn"]


def test_models_of_unity_catalog_stand_in_a_database_as_an_open_source_server_keeps_them(
    filled: Made, copy_models: Copy, tmp_path: Path
) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    named = ("--rename", "model:main.ml.churn=churn", "--dst-artifact-root", str(tmp_path / "artifacts"))
    copy_models(UC_A, address, *named, "--allow-loss", "all")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        found = database.execute("SELECT version, current_stage, storage_location FROM model_versions ORDER BY version")
        rows = [(version, stage, "/Models/" in (location or "")) for version, stage, location in found]
        kept = dict(database.execute("SELECT key, value FROM model_version_tags WHERE version = 2").fetchall())
        aliases = database.execute("SELECT alias, version FROM registered_model_aliases ORDER BY alias").fetchall()
    assert rows == [(1, "Staging", False), (2, "Production", False), (4, "None", False)]
    assert kept["data.set"] == "2024-05"
    assert aliases == [("best", 2), ("challenger", 1), ("champion", 2)]
