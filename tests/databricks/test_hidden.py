"""What Unity Catalog lists and doesn't give costs only itself, and is told: by requests as a user with few rights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from mlflow_migration.server.address import Credentials
from mlflow_migration.server.live import Server
from mlflow_migration.server.rest import Rest
from tests.conftest import Outcome, Tool
from tests.databricks import catalogue
from tests.databricks.state import Account, Workspace

ANN = "ann@example.com"
UC = "/api/2.0/mlflow/unity-catalog/"
Exported = Callable[..., Outcome]


def post(workspace: Workspace, route: str, **body: object) -> None:
    answer = requests.post(workspace.url + UC + route, json=body, headers=workspace.headers(), timeout=30)
    answer.raise_for_status()


def make_model(workspace: Workspace, name: str) -> None:
    post(workspace, "registered-models/create", name=name)


def make_prompt(workspace: Workspace, name: str) -> None:
    post(workspace, "prompts", name=name, prompt={"name": name})
    version = {"name": name, "template": '"Hello"'}
    post(workspace, f"prompts/{name}/versions", name=name, prompt_version=version)


@pytest.fixture
def few_rights(workspace: Workspace, account: Account) -> Workspace:
    """A workspace where Ann reads main.ml, and sees no more of `secret` than its name."""
    account.add_user(ANN)
    metastore = workspace.metastore
    catalogue.make(metastore, "secret.vault")
    catalogue.grant(metastore, ANN, "main", "USE_CATALOG", "BROWSE")
    catalogue.grant(metastore, ANN, "main.ml", "USE_SCHEMA")
    catalogue.grant(metastore, ANN, "secret", "BROWSE")
    return workspace


@pytest.fixture
def exported(few_rights: Workspace, run_tool: Tool, tmp_path: Path) -> Exported:
    """An export as Ann."""

    def run(kind: str, names: str = "all") -> Outcome:
        env = {"DATABRICKS_HOST": few_rights.url, "DATABRICKS_TOKEN": few_rights.token(ANN)}
        words = ("--tracking-uri", "databricks-uc", "--output-dir", tmp_path / "bundle", "--json")
        return run_tool(f"export-{kind}", f"--{kind}", names, *words, env=env)

    return run


def failed(outcome: Outcome) -> list[dict[str, Any]]:
    return [row for row in outcome.json["rows"] if row["state"] == "failed"]


def folders(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir() if each.is_dir())


def test_a_model_that_is_listed_and_may_not_be_read_costs_only_itself(
    few_rights: Workspace, exported: Exported, tmp_path: Path
) -> None:
    for name in ("main.ml.churn", "main.ml.mine", "main.ml.wine"):
        make_model(few_rights, name)
    for name in ("main.ml.churn", "main.ml.wine"):
        catalogue.grant(few_rights.metastore, ANN, name, "EXECUTE")
    outcome = exported("models").expect(1)
    (row,) = failed(outcome)
    assert (row["kind"], row["name"]) == ("registered_model", "main.ml.mine")
    assert f"GRANT EXECUTE ON FUNCTION `main`.`ml`.`mine` TO `{ANN}`" in row["reason"]
    assert folders(tmp_path / "bundle" / "models") == ["main.ml.churn", "main.ml.wine"]


def test_a_catalog_whose_schemas_may_not_be_listed_costs_only_its_own_prompts(
    few_rights: Workspace, exported: Exported, tmp_path: Path
) -> None:
    for name in ("main.ml.greeting", "main.ml.hidden"):
        make_prompt(few_rights, name)
    catalogue.grant(few_rights.metastore, ANN, "main.ml.greeting", "EXECUTE")
    outcome = exported("prompts").expect(1)
    rows = {row["name"]: row["reason"] for row in failed(outcome)}
    assert rows.keys() == {"main.ml.hidden", "secret.*"}
    assert "GRANT USE CATALOG ON CATALOG `secret`" in rows["secret.*"]
    assert folders(tmp_path / "bundle" / "prompts") == ["main.ml.greeting"]


def test_a_glob_asks_for_what_a_refused_catalog_may_hold_only_where_it_may_reach_into_it(
    few_rights: Workspace, exported: Exported, tmp_path: Path
) -> None:
    make_prompt(few_rights, "main.ml.greeting")
    catalogue.grant(few_rights.metastore, ANN, "main.ml.greeting", "EXECUTE")
    assert failed(exported("prompts", "main.*").expect(0)) == []
    assert [row["name"] for row in failed(exported("prompts", "*.greeting").expect(1))] == ["secret.*"]


def test_prompts_of_a_schema_called_like_a_catalog_of_the_platform_are_exported(
    few_rights: Workspace, run_tool: Tool, tmp_path: Path
) -> None:
    catalogue.make(few_rights.metastore, "main.samples", "main.system")
    for name in ("main.samples.a", "main.system.b"):
        make_prompt(few_rights, name)
    env = {"DATABRICKS_HOST": few_rights.url, "DATABRICKS_TOKEN": few_rights.token()}
    words = ("--prompts", "all", "--tracking-uri", "databricks-uc", "--output-dir", tmp_path / "bundle")
    run_tool("export-prompts", *words, env=env).expect(0)
    assert folders(tmp_path / "bundle" / "prompts") == ["main.samples.a", "main.system.b"]


def test_what_a_name_is_needs_no_earlier_look_at_it(few_rights: Workspace) -> None:
    make_model(few_rights, "main.ml.wine")
    make_prompt(few_rights, "main.ml.greeting")
    login = {"DATABRICKS_HOST": few_rights.url, "DATABRICKS_TOKEN": few_rights.token()}
    server = Server(Rest("databricks-uc", Credentials(databricks=(login,)), workers=2, patience=5))
    server.connect()
    server.registry.set_model_tag("main.ml.greeting", "team", "growth")
    server.registry.set_model_tag("main.ml.wine", "team", "cellar")
    for route, field, tag in (
        ("prompts/main.ml.greeting", "", "growth"),
        ("registered-models/get?name=main.ml.wine", "registered_model", "cellar"),
    ):
        answer = requests.get(few_rights.url + UC + route, headers=few_rights.headers(), timeout=30).json()
        found = answer[field] if field else answer
        assert found["tags"] == [{"key": "team", "value": tag}]
    server.close()
