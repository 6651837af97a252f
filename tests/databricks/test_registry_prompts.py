"""Prompts between open-source servers and Unity Catalog, judged by MLflow's own client."""

import secrets
from typing import Any

import pytest

from tests.conftest import Outcome, Tool
from tests.databricks.clients import environment, mlflow_script
from tests.databricks.registry_samples import own, writes
from tests.databricks.state import Workspace
from tests.servers import Server

MAKE = """
mlflow.genai.register_prompt(name="greeting", template="Hello {{name}}", commit_message="first", tags={"tone": "kind"})
mlflow.genai.register_prompt(
    name="greeting",
    template=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}],
    commit_message="a chat",
    tags={"tone.level": "2"},
)
mlflow.genai.set_prompt_alias("greeting", "live", 2)
client.set_prompt_tag("greeting", "team", "growth")
result = True
"""
READ = """
first = mlflow.genai.load_prompt("prompts:/{name}/1")
live = mlflow.genai.load_prompt("prompts:/{name}@live")
team = client.get_prompt("{name}").tags
result = [first.template, first.commit_message, first.tags, live.template, live.version, team]
"""
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}]
NAMES = ("--rename", "prompt:greeting=main.ml.greeting")


@pytest.fixture
def prompts(empty_source: Server) -> Server:
    assert mlflow_script(MAKE, own(empty_source.url))
    return empty_source


def read(name: str, env: dict[str, str]) -> list[Any]:
    """Templates, messages and tags of a person, by the real client."""
    first, message, tags, live, version, of_prompt = mlflow_script(READ.replace("{name}", name), env)
    plain = [{key: value for key, value in each.items() if "mlflow" not in key} for each in (tags, of_prompt)]
    return [first, message, plain[0], live, version, plain[1]]


def copied(tool: Tool, source: str, target: str, *options: str) -> Outcome:
    """By a bundle: how the import ended."""
    bundle = tool.home / f"bundle-{secrets.token_hex(4)}"
    tool("export-prompts", "--prompts", "all", "--tracking-uri", source, "--output-dir", bundle).expect(0)
    return tool(
        "import-prompts", "--input-dir", bundle, "--tracking-uri", target, "--json", "--allow-loss", "link", *options
    )


def test_prompts_go_into_unity_catalog_and_back_with_texts_chats_aliases_and_tags(
    prompts: Server, in_catalog: Tool, workspace: Workspace, destination: Server
) -> None:
    copied(in_catalog, prompts.url, "databricks-uc://a", *NAMES).expect(0)
    wanted = read("greeting", own(prompts.url))
    assert wanted[:5] == ["Hello {{name}}", "first", {"tone": "kind"}, CHAT, 2]
    assert wanted[5] == {"team": "growth", "tone": "kind", "tone.level": "2"}
    # Unity Catalog takes no dot in a tag's key: that one waits in a tag of the tool's own.
    assert read("main.ml.greeting", environment(workspace)) == [*wanted[:5], {"team": "growth", "tone": "kind"}]
    workspace.requests.clear()
    copied(in_catalog, prompts.url, "databricks-uc://a", *NAMES).expect(0)
    assert writes(workspace) == []
    back = ("--rename", "prompt:main.ml.greeting=greeting")
    copied(in_catalog, "databricks-uc://a", destination.url, *back).expect(0)
    assert read("greeting", own(destination.url)) == wanted
    in_catalog("verify", prompts.url, destination.url, "--prompts", "all", "--allow-loss", "link").expect(0)


def test_a_prompt_without_three_levels_is_refused_before_anything_is_written(
    prompts: Server, in_catalog: Tool, workspace: Workspace
) -> None:
    refused = copied(in_catalog, prompts.url, "databricks-uc://a").expect(2)
    assert "--rename 'prompt:greeting=main.ml.name'" in refused.stderr
    assert writes(workspace) == []


def test_prompts_have_no_place_in_a_workspaces_own_registry_and_each_is_told(
    prompts: Server, in_catalog: Tool, workspace: Workspace
) -> None:
    outcome = copied(in_catalog, prompts.url, "databricks://a").expect(1)
    assert {(row["kind"], row["state"]) for row in outcome.json["rows"]} >= {("prompt", "unsupported")}
    assert "databricks-uc" in outcome.json["rows"][0]["reason"]
