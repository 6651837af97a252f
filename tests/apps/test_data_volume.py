"""An app's data in a Volume: seeded, restored and taken with the credentials of a profile, through the Files API."""

import json
from pathlib import Path

import pytest
import requests

from tests.apps import dev
from tests.apps.dev import Team
from tests.apps.runtime import running
from tests.conftest import Tool
from tests.databricks import unity_catalog
from tests.databricks.faults import Fault
from tests.databricks.state import Account, Workspace

ROOT = "/Volumes/main/ml/app/trial"
FILES = r" /api/2\.0/fs/"


@pytest.fixture
def place(workspace: Workspace) -> Workspace:
    """A workspace with a Volume."""
    unity_catalog.make_volume(workspace.metastore, "main.ml.app")
    return workspace


@pytest.fixture
def tool(run_tool: Tool, account: Account) -> Tool:
    """The tool of a person with profiles and nothing else."""
    return Tool(run_tool.home, {**run_tool.env, **account.environment()})


def data(workspace: Workspace, *words: str) -> tuple[str, ...]:
    """The options that name the app's data."""
    return ("--volume", ROOT, "--workspace", f"databricks://{workspace.profile}", "--json", *words)


def read(workspace: Workspace, name: str) -> requests.Response:
    """A file of the Volume, asked for without our code."""
    return requests.get(f"{workspace.url}/api/2.0/fs/files{ROOT}/{name}", headers=workspace.headers(), timeout=30)


def writes(workspace: Workspace) -> list[str]:
    """What changed something in the Volume since the requests were last cleared."""
    return [path for method, path, _ in workspace.requests if method in {"PUT", "DELETE"} and "/fs/" in path]


@pytest.mark.slow
def test_a_bundle_seeds_an_app_in_a_volume_and_nothing_is_written_twice(
    team: Team, place: Workspace, tool: Tool, tmp_path: Path
) -> None:
    seeded = tool("app", "seed", "--input-dir", team.bundle, *data(place)).expect(0).json
    assert seeded["verified"]["ok"] and not seeded["rows"]
    assert read(place, "latest.json").json()["generation"] == seeded["generation"]
    plot = f"artifacts/{team.made.experiment}/{team.made.files}/artifacts/plots/loss.txt"
    assert read(place, plot).text == "a plot, in words"
    place.requests.clear()
    again = tool("app", "seed", "--input-dir", team.bundle, *data(place)).expect(0).json
    assert (writes(place), again["generation"]) == ([], seeded["generation"])
    env = {"DATABRICKS_HOST": place.url, "DATABRICKS_TOKEN": place.token()}
    with running(tmp_path / "app", ROOT, env) as app:
        app.serving()
        found = dev.asked(dev.environment(app.url))
    assert found["files"] == dev.FILES and found["runs"] == sorted([*team.made.runs, team.made.files])


def test_a_seeded_volume_goes_back_and_becomes_a_bundle_again(
    team: Team, place: Workspace, tool: Tool, tmp_path: Path
) -> None:
    first = tool("app", "seed", "--input-dir", team.bundle, *data(place)).expect(0).json["generation"]
    pointer = json.loads(read(place, "latest.json").text)
    tool("app", "snapshot", "--to", tmp_path / "backup", *data(place)).expect(0)
    tool("diff", team.bundle, tmp_path / "backup").expect(0)
    listed = tool("app", "restore", "--list", "--check", *data(place)).expect(0).json["generations"]
    assert [(each["generation"], each["counts"], each["proven"]) for each in listed] == [(first, True, True)]
    place.requests.clear()
    assert not tool("app", "restore", "--generation", first, *data(place)).expect(0).json["changed"]
    assert (writes(place), json.loads(read(place, "latest.json").text)) == ([], pointer)


def test_a_volume_that_is_not_there_is_told_before_anything_is_written(
    team: Team, workspace: Workspace, tool: Tool
) -> None:
    refused = tool("app", "seed", "--input-dir", team.bundle, *data(workspace)).expect(2).json
    assert "no such Volume: /Volumes/main/ml/app" in refused["error"]["message"]
    assert writes(workspace) == []


def test_what_is_refused_for_a_moment_is_repeated(team: Team, place: Workspace, tool: Tool) -> None:
    for status in (429, 503):
        place.faults.add(Fault(rf"^PUT{FILES}", status=status, times=2, retry_after=0))
    assert tool("app", "seed", "--input-dir", team.bundle, *data(place)).expect(0).json["verified"]["ok"]


def test_a_right_that_is_missing_is_one_clear_message_and_nothing_counts(
    team: Team, place: Workspace, tool: Tool
) -> None:
    place.faults.add(Fault(rf"^PUT{FILES}files{ROOT}/", status=403, times=0))
    refused = tool("app", "seed", "--input-dir", team.bundle, *data(place)).expect(3).json
    assert "the app's data can't be reached" in refused["error"]["message"]
    assert "doesn't allow it" in refused["error"]["message"]
    place.faults.clear()
    assert read(place, "latest.json").status_code == 404
