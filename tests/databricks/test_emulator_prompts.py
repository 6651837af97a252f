"""Prompts in Unity Catalog in the emulator, by the real MLflow client."""

import pytest
import requests

from tests.databricks import catalogue, prompts
from tests.databricks.clients import environment, mlflow_script
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import Workspace

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow

ANN = "ann@example.com"


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    account = databricks_account()
    account.add_user(ANN)
    workspace = account.workspace("a", metastore="m1")
    catalogue.make(workspace.metastore, "main.ml")
    return workspace


def test_a_prompt_is_registered_versioned_aliased_loaded_searched_and_deleted(workspace: Workspace) -> None:
    result = mlflow_script(
        """
name = "main.ml.greeting"
mlflow.genai.register_prompt(name, "Hello {{who}}", commit_message="first", tags={"tone": "kind"})
chat = [{"role": "system", "content": "Be {{how}}"}]
mlflow.genai.register_prompt(name, chat, model_config={"model_name": "m", "temperature": 0.5})
mlflow.genai.set_prompt_alias(name, "live", 1)
client.set_prompt_tag(name, "team", "growth")
client.set_prompt_version_tag(name, 2, "checked", "yes")
first, second = mlflow.genai.load_prompt(f"prompts:/{name}@live"), mlflow.genai.load_prompt(name, version=2)
found = client.search_prompts("catalog = 'main' AND schema = 'ml'")
result = {
    "first": [first.name, first.version, first.template, first.commit_message, first.tags, first.aliases],
    "second": [second.template, second.tags, second.model_config["temperature"]],
    "prompt": client.get_prompt(name).tags,
    "found": [one.name for one in found],
    "versions": [one.version for one in client.search_prompt_versions(name)],
    "kept": refusal(client.delete_prompt, name),
}
client.delete_prompt_alias(name, "live")
client.delete_prompt_version(name, 1)
client.delete_prompt_version(name, 2)
client.delete_prompt(name)
result["gone"] = client.get_prompt(name) is None
""",
        environment(workspace),
    )
    kept = result.pop("kept")
    assert "versions" in kept
    assert result == {
        "first": ["main.ml.greeting", 1, "Hello {{who}}", "first", {"tone": "kind"}, ["live"]],
        "second": [[{"role": "system", "content": "Be {{how}}"}], {"checked": "yes"}, 0.5],
        "prompt": {"tone": "kind", "team": "growth"},
        "found": ["main.ml.greeting"],
        "versions": [2, 1],
        "gone": True,
    }


def test_a_prompts_versions_are_linked_to_runs_models_and_traces(workspace: Workspace) -> None:
    headers = dict(workspace.headers())
    for what in ("run", "model", "trace"):
        body = {"prompt_versions": [{"name": "main.ml.greeting", "version": "1"}], f"{what}_ids": ["x"]}
        url = f"{workspace.url}/api/2.0/mlflow/unity-catalog/prompt-versions/links-to-{what}s"
        assert requests.post(url, json=body, headers=headers, timeout=10).ok
    links = prompts.prompts(workspace.metastore).links
    assert links == [("main.ml.greeting", "1", what, "x") for what in ("run", "model", "trace")]


def test_prompts_need_their_schemas_privileges(workspace: Workspace) -> None:
    name = "main.ml.greeting"

    def create() -> requests.Response:
        headers = dict(workspace.headers(ANN))
        url = f"{workspace.url}/api/2.0/mlflow/unity-catalog/prompts"
        return requests.post(url, json={"name": name, "prompt": {"name": name}}, headers=headers, timeout=10)

    catalogue.grant(workspace.metastore, ANN, "main", "USE_CATALOG", "USE_SCHEMA")
    refused = create()
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "User does not have CREATE FUNCTION on Schema 'main.ml'.",
    )
    catalogue.grant(workspace.metastore, ANN, "main.ml", "CREATE_FUNCTION")
    assert create().ok
    assert prompts.prompts(workspace.metastore).held[name].entry.created_by == ANN
    assert create().json()["error_code"] == "ALREADY_EXISTS"
