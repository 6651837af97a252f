"""Seeding and taking a bundle through an app's own API: an app that is an MLflow server at once stands for it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Tool
from tests.databricks.app_proxy import NAME, oauth, proxied
from tests.databricks.state import Account, Workspace
from tests.servers import Server, select


@pytest.fixture
def tool(run_tool: Tool, account: Account, workspace: Workspace, destination: Server) -> Tool:
    """The tool of whoever may use the app, in a folder with its configuration."""
    assert proxied(workspace, destination).url
    run_tool.home.mkdir(parents=True, exist_ok=True)
    told = {"name": NAME, "backend": "lakebase", "volume": "/Volumes/main/ml/app"}
    (run_tool.home / "mlflow-app.yml").write_text(yaml.safe_dump(told))
    return Tool(run_tool.home, {**run_tool.env, **oauth(account, workspace)})


@pytest.fixture
def bundle(source: Server, run_tool: Tool, tmp_path: Path) -> Path:
    run_tool("export-all", "--tracking-uri", source.url, "--output-dir", tmp_path / "bundle").expect(0)
    return tmp_path / "bundle"


def ended(document: dict[str, Any]) -> dict[str, int]:
    """How many objects ended how."""
    counts: dict[str, int] = {}
    for kind in document["kinds"].values():
        for state, count in kind.items():
            counts[state] = counts.get(state, 0) + count
    return counts


def test_what_is_seeded_through_the_api_is_verified_and_a_second_time_nothing_is_written(
    source: Server, destination: Server, bundle: Path, tool: Tool
) -> None:
    words = ("app", "seed", "--input-dir", bundle, "--json")
    rehearsed = tool(*words, "--dry-run").expect(0).json["steps"]
    assert list(rehearsed) == ["import-all"]
    assert select(destination, "SELECT count(*) FROM runs") == [(0,)]
    first = tool(*words).expect(0).json
    assert first["command"] == "app seed" and first["steps"]["verify"]["ok"]
    here, there = (select(server, "SELECT count(*) FROM runs") for server in (source, destination))
    assert here == there
    changed = select(destination, "SELECT count(*), sum(length(value)) FROM tags")
    again = ended(tool(*words).expect(0).json["steps"]["import-all"])
    assert (again["done"], again["updated"], again["same"]) == (0, 0, again["asked"])
    assert select(destination, "SELECT count(*), sum(length(value)) FROM tags") == changed


@pytest.mark.slow
def test_a_backup_of_a_running_app_is_what_it_holds(
    destination: Server, bundle: Path, tool: Tool, tmp_path: Path
) -> None:
    seeded, reported = tmp_path / "seeded.json", tmp_path / "taken.json"
    tool("app", "seed", "--input-dir", bundle, "--report", seeded).expect(0)
    assert json.loads(seeded.read_text())["kinds"]["run"]["done"] > 0
    taken = tool("app", "snapshot", "--to", tmp_path / "taken", "--report", reported, "--json").expect(0).json
    assert json.loads(reported.read_text())["kinds"] == taken["steps"]["export-all"]["kinds"]
    assert taken["steps"]["export-all"]["kinds"]["run"]["done"] > 0
    tool("diff", tmp_path / "taken", destination.url).expect(0)


@pytest.mark.slow
def test_what_belongs_to_another_backend_is_wrong_usage_and_nothing_is_written(
    destination: Server, bundle: Path, tool: Tool, tmp_path: Path
) -> None:
    tool("app", "seed", "--input-dir", bundle, "--replace").expect(2)
    tool("app", "restore", "--list").expect(2)
    tool("app", "seed", "--input-dir", bundle, "--workspace", "http://localhost:5000").expect(2)
    tool("app", "snapshot", "--to", tmp_path / "x", "--live", "--generation", "g").expect(2)
    volume = tmp_path / "volume"
    named = ("--name", "other", "--config", "none.yml", "--volume", volume)
    tool("app", "seed", "--input-dir", bundle, *named).expect(2)
    tool("app", "seed", "--input-dir", bundle, "--volume", volume, "--prefix", "x-").expect(2)
    assert select(destination, "SELECT count(*) FROM runs") == [(0,)] and not volume.exists()
