"""Registered models in and out of a workspace's own registry, judged by MLflow's client and plain requests."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Outcome, Tool
from tests.databricks.clients import environment
from tests.databricks.registry_samples import (
    Made,
    catalog,
    loads,
    own,
    plain,
    registry,
    tags,
    users,
    versions_of,
    writes,
)
from tests.databricks.state import Workspace
from tests.databricks.workspace_models import FAILED
from tests.databricks.workspace_models import registry as copies_of
from tests.servers import Server

PREFIX = ("--prefix", "main.ml.")
STAGES = ("--aliases-to-stages", "best=Production")
OWN, CATALOG = "databricks://a", "databricks-uc://a"
Copy = Callable[..., Outcome]


@pytest.fixture
def filled(churn: Made, workspace: Workspace, copy_models: Copy, empty_source: Server) -> Made:
    """The model stands in the registry of workspace a as churn."""
    copy_models(empty_source.url, OWN, *STAGES).expect(0)
    return churn


def heads(workspace: Workspace, name: str = "churn") -> dict[str, dict[str, Any]]:
    found = registry(workspace, "model-versions/search", filter=f"name = '{name}'")["model_versions"]
    return {each["version"]: each for each in found}


def test_models_arrive_with_their_stages_and_files_and_a_second_run_writes_nothing(
    filled: Made, copy_models: Copy, workspace: Workspace, empty_source: Server
) -> None:
    found = heads(workspace)
    assert {number: head["status"] for number, head in found.items()} == {"1": "READY", "2": "READY", "4": "READY"}
    assert {number: head["current_stage"] for number, head in found.items()} == {
        "1": "Staging",
        "2": "Production",
        "4": "None",
    }
    assert users(found["2"]) == {"checked": "yes", "data.set": "2024-05"}
    model = registry(workspace, "registered-models/get", name="churn")["registered_model"]
    assert tags(model)["mlflow_migration.alias.best"] == "2"
    assert loads("models:/churn/Production", environment(workspace, registry="databricks")) == [3.0, True]
    workspace.requests.clear()
    copy_models(empty_source.url, OWN, *STAGES).expect(0)
    assert writes(workspace) == []


def test_a_version_whose_files_never_came_is_no_success_when_the_command_is_typed_again(
    filled: Made, copy_models: Copy, workspace: Workspace, empty_source: Server
) -> None:
    copy = copies_of(workspace).copies["churn", "2"]
    copy.status, copy.message = FAILED, "Failed registration: the storage was away"
    again = copy_models(empty_source.url, OWN, *STAGES).expect(1)
    (row,) = again.json["rows"]
    assert (row["kind"], row["id"], row["state"]) == ("model_version", "churn/2", "failed")
    assert "did not become ready: Failed registration: the storage was away" in row["reason"]


def test_an_alias_without_a_stage_for_it_is_a_row_and_kept_in_a_tag(
    churn: Made, copy_models: Copy, workspace: Workspace, empty_source: Server
) -> None:
    outcome = copy_models(empty_source.url, OWN).expect(1)
    (row,) = outcome.json["rows"]
    assert (row["kind"], row["id"]) == ("link", "churn")
    assert "--aliases-to-stages best=STAGE" in row["reason"]


def test_models_come_back_to_an_open_source_server_with_their_aliases(
    filled: Made, copy_models: Copy, destination: Server
) -> None:
    copy_models(OWN, destination.url).expect(0)
    model = plain(destination, "registered-models/get", name="churn")["registered_model"]
    assert [(each["alias"], each["version"]) for each in model["aliases"]] == [("best", "2")]
    assert loads("models:/churn@best", own(destination.url)) == [3.0, True]


@pytest.mark.slow
def test_models_move_from_the_workspaces_registry_into_unity_catalog(
    filled: Made, copy_models: Copy, workspace: Workspace, in_catalog: Tool
) -> None:
    mapped = ("--stages-to-aliases", "Production=champion,Staging=challenger")
    copy_models(OWN, CATALOG, *PREFIX, *mapped).expect(0)
    assert versions_of(workspace, "main.ml.churn") == {"1": "READY", "2": "READY", "4": "READY"}
    head = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert head["run_id"] == heads(workspace)["2"]["run_id"]
    assert loads("models:/main.ml.churn@champion", environment(workspace)) == [3.0, True]
    workspace.requests.clear()
    copy_models(OWN, CATALOG, *PREFIX, *mapped).expect(0)
    assert not [line for line in writes(workspace) if "unity-catalog" in line or "/Models/" in line]
    compared = in_catalog("verify", OWN, CATALOG, *PREFIX, "--models", "all", "--json", "--allow-loss", "tag")
    told = {(each["kind"], each["field"]) for each in compared.json["differences"] if each["kind"] == "model_version"}
    assert told <= {("model_version", "stage")}, str(compared)


@pytest.mark.slow
def test_models_move_from_unity_catalog_into_the_workspaces_registry(
    churn: Made, copy_models: Copy, workspace: Workspace, empty_source: Server
) -> None:
    mapped = ("--stages-to-aliases", "Production=champion,Staging=challenger")
    copy_models(empty_source.url, CATALOG, *PREFIX, *mapped).expect(0)
    refused = copy_models(CATALOG, OWN).expect(2)
    assert "takes no dots" in refused.stderr
    named = ("--rename", "model:main.ml.churn=churn", "--aliases-to-stages", "champion=Production,challenger=Staging")
    outcome = copy_models(CATALOG, OWN, *named).expect(1)
    assert [(row["kind"], row["name"]) for row in outcome.json["rows"]] == [
        ("link", "registered_model main.ml.churn alias best")
    ]
    assert {number: head["current_stage"] for number, head in heads(workspace).items()} == {
        "1": "Staging",
        "2": "Production",
        "4": "None",
    }
    assert loads("models:/churn/Production", environment(workspace, registry="databricks")) == [3.0, True]


def test_a_version_alone_takes_its_files_from_workspace_to_workspace(
    filled: Made, in_catalog: Tool, workspace: Workspace
) -> None:
    other = workspace.account.workspace("b", metastore="m2")
    words = ("--src-model", "churn", "--src-version", "2", "--dst-model", "churn_copy", "--allow-loss", "link")
    ends = ("--src-registry-uri", OWN, "--dst-registry-uri", "databricks://b")
    for _ in range(2):
        in_catalog("copy-model-version", *words, *ends).expect(0)
    assert list(heads(other, "churn_copy")) == ["1"]
    assert loads("models:/churn_copy/1", environment(other, registry="databricks")) == [3.0, True]


def test_the_tools_work_on_the_workspaces_registry(filled: Made, in_catalog: Tool) -> None:
    at = ("--tracking-uri", OWN)
    assert "churn" in in_catalog("list-registered-models", *at).expect(0).stdout
    uri = ("--model-uri", "models:/churn/Production")
    assert in_catalog("get-model-signature", *uri, *at, "--json").expect(0).json["signature"]["outputs"]
    listed = in_catalog("list-model-versions-without-signatures", *at, "--json").expect(0)
    assert (listed.json["versions"], listed.json["without_signature"]) == (3, [])
