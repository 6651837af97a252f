"""The main road by the commands that a person types: from a team's server into an app, a bad day, a backup, the end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apps.deploying import NAME, VOLUME, own_wheel, trial
from tests.apps.dev import Team
from tests.apps.living import ADDRESS, Living, signed_in, states
from tests.apps.under_load import SLACK, Writer, lost, tags
from tests.conftest import Tool
from tests.databricks.app_samples import until
from tests.databricks.state import Workspace

WINDOW = 1.0

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Story:
    """Who takes part: the team, its app, a folder for backups, and who notes what was measured."""

    team: Team
    app: Living
    folder: Path
    measured: Callable[[str, object], None]

    def absent(self, place: str | Path) -> set[str]:
        """The tags that `verify` names as absent in a place; fails the test where it says that anything else is
        missing or differs."""
        told = self.app.tool("verify", self.team.server.url, place, "--json").expect(1).json
        found = [each for each in told["differences"] if each["sign"] != "+"]
        assert all((each["id"], each["right"]) == (self.team.made.files, "absent") for each in found), found
        return {each["field"].removeprefix("tags.") for each in found}


def moved_in(story: Story) -> str:
    """Set up, seeded, made, compared and asked; the generation that was seeded."""
    app, tool, bundle = story.app, story.app.tool, story.team.bundle
    told = ("--name", NAME, "--volume", VOLUME, "--mlflow", "3.17.2", "--wheel", own_wheel(story.folder))
    tool("app", "init", *told, "--set", f"snapshots.seconds={WINDOW}", "--set", "snapshots.keep=1000").expect(0)
    written = yaml.safe_load((tool.home / "mlflow-app.yml").read_text())
    assert (written["name"], written["snapshots"]) == (NAME, {"seconds": WINDOW, "keep": 1000})
    tool("app", "seed", "--input-dir", bundle, "--dry-run").expect(0)
    seeded = tool("app", "seed", "--input-dir", bundle, "--json").expect(0).json
    assert seeded["verified"]["ok"] and states(seeded) == {"done", "updated"}
    assert app.trial.app() == {}
    assert tool("app", "create", "--poll", "0.1", "--json").expect(0).json["status"] == "created"
    tool("verify", bundle, ADDRESS).expect(0)
    steps = tool("app", "test", "--write", "--json").expect(0).json["steps"]
    assert steps and all(step["ok"] for step in steps)
    again = tool("app", "seed", "--input-dir", bundle, "--json").expect(0).json
    assert again["generation"] == again["before"] and states(again) == {"same"}
    return str(seeded["generation"])


def killed_in_the_middle_of_writes(story: Story) -> set[str]:
    """The writes that were lost: `verify` names each of them, and none is older than the window."""
    app, tool, run = story.app, story.app.tool, story.team.made.files
    with Writer(app, story.team.server, run) as writer:
        time.sleep(4 * WINDOW)
        assert tool("app", "status", "--json").expect(0).json["runtime"]["loss_seconds"] <= WINDOW + SLACK
        # Not right after a snapshot: then nothing would be lost.
        until(app.status, lambda found: found["loss_seconds"] > WINDOW / 3)
        killed = time.time()
        app.kill()
    until(lambda: tool("app", "status"), lambda outcome: outcome.code == 1)
    began = time.monotonic()
    assert tool("app", "deploy", "--force", "--poll", "0.1", "--json").expect(0).json["status"] == "updated"
    story.measured("seconds until it served again", round(time.monotonic() - began, 1))
    gone = lost(writer, tags(app, run), killed, WINDOW)
    story.measured("writes lost", f"{len(gone)} of {len(writer.acknowledged)}")
    assert gone, "the app was killed when nothing was unsaved"
    assert story.absent(ADDRESS) == gone
    return gone


def backed_up_and_gone_back(story: Story, generation: str, gone: set[str]) -> None:
    """A bundle of what the app holds, and the app as it was on its first day."""
    tool, backup = story.app.tool, story.folder / "backup"
    tool("app", "stop").expect(0)
    tool("app", "snapshot", "--to", backup).expect(0)
    tool("verify", backup).expect(0)
    assert story.absent(backup) == gone
    tool("app", "restore", "--generation", generation).expect(0)
    tool("app", "start").expect(0)
    assert tags(story.app, story.team.made.files) == set()
    tool("verify", story.team.bundle, ADDRESS).expect(0)
    tool("verify", backup, ADDRESS).expect(1)


def deleted_and_its_data_kept(story: Story) -> None:
    """The app is gone, and what it held is still to be had."""
    made, tool, last = story.app.trial, story.app.tool, story.folder / "last"
    tool("app", "delete").expect(2)
    assert made.app()["name"] == NAME
    tool("app", "delete", "--yes", "--poll", "0.1").expect(0)
    assert made.app() == {} and made.files() == {}
    left = {each["name"] for each in made.ask(f"fs/directories{VOLUME}").json()["contents"]}
    assert left >= {"snapshots", "artifacts", "latest.json"}
    tool("app", "snapshot", "--to", last).expect(0)
    tool("verify", story.team.bundle, last).expect(0)


def test_a_team_moves_into_an_app_survives_its_kill_goes_back_in_time_and_leaves(
    team: Team, workspace: Workspace, run_tool: Tool, tmp_path: Path, record_property: Any
) -> None:
    made = trial(workspace)
    story = Story(team, Living(made, signed_in(made, run_tool), {}), tmp_path, record_property)
    generation = moved_in(story)
    gone = killed_in_the_middle_of_writes(story)
    backed_up_and_gone_back(story, generation, gone)
    deleted_and_its_data_kept(story)


def test_an_app_that_was_made_empty_is_stopped_to_be_seeded(
    team: Team, workspace: Workspace, run_tool: Tool, tmp_path: Path
) -> None:
    made = trial(workspace)
    tool = signed_in(made, run_tool)
    told = ("--name", NAME, "--volume", VOLUME, "--mlflow", "3.17.2", "--wheel", own_wheel(tmp_path))
    tool("app", "init", *told).expect(0)
    tool("app", "create", "--poll", "0.1").expect(0)
    words = ("app", "seed", "--input-dir", team.bundle)
    assert "stop the app" in tool(*words, "--replace").expect(1).stderr
    tool("app", "stop").expect(0)
    assert "--replace" in tool(*words).expect(1).stderr
    tool(*words, "--replace").expect(0)
    tool("app", "start").expect(0)
    tool("verify", team.bundle, ADDRESS).expect(0)
