"""The drill with a deployed app: seeded, written to, killed, deployed again; what was lost is known exactly."""

import contextlib
import gzip
import hashlib
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.apps.deploying import VOLUME, trial
from tests.apps.dev import Team
from tests.apps.living import ADDRESS, Living, living
from tests.apps.runtime import running
from tests.apps.under_load import SLACK, Writer, lost, tags
from tests.conftest import Tool
from tests.databricks.state import Workspace

WINDOW = 1.0
SNAPSHOTS = 36
SIGTERM_SECONDS = 12.0

pytestmark = pytest.mark.slow


def volume(app: Living, path: str) -> requests.Response:
    """A GET of the Files API, by the admin."""
    workspace = app.trial.workspace
    return requests.get(f"{workspace.url}/api/2.0/fs/{path}", headers=workspace.headers(), timeout=60)


def generations(app: Living) -> list[str]:
    """Whole generations in the Volume, asked for without our code."""
    found = volume(app, f"directories{VOLUME}/snapshots").json().get("contents", ())
    names = [str(entry["name"]) for entry in found]
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def fault(app: Living, generation: str, folder: Path) -> str:
    """What is wrong with a generation: digest and SQLite's own check."""
    packed = volume(app, f"files{VOLUME}/snapshots/{generation}.db.gz").content
    manifest: dict[str, Any] = volume(app, f"files{VOLUME}/snapshots/{generation}.json").json()
    if hashlib.sha256(packed).hexdigest() != manifest["sha256"]:
        return "digest"
    file = folder / "looked-at.db"
    file.write_bytes(gzip.decompress(packed))
    with contextlib.closing(sqlite3.connect(file)) as base:
        told = str(base.execute("PRAGMA integrity_check").fetchone()[0])
    return "" if told == "ok" else told


def seeded(team: Team, workspace: Workspace, tool: Tool, seconds: float) -> Living:
    """A deployed app with the team's bundle in it."""
    app = living(trial(workspace), tool, snapshots={"seconds": seconds, "keep": 3 * SNAPSHOTS})
    app.tool("app", "seed", "--input-dir", team.bundle).expect(0)
    app.deploy()
    return app


def test_a_kill_in_the_middle_of_writes_loses_at_most_the_window_and_verify_names_exactly_what(
    team: Team, workspace: Workspace, run_tool: Tool, record_property: Any
) -> None:
    app = seeded(team, workspace, run_tool, WINDOW)
    with Writer(app, team.server, team.made.files) as writer:
        time.sleep(6 * WINDOW)
        assert app.status()["loss_seconds"] <= WINDOW + SLACK
        killed = time.time()
        app.kill()
    began = time.monotonic()
    app.deploy()
    record_property("seconds until it served again", round(time.monotonic() - began, 1))
    kept = tags(app, team.made.files)
    gone = lost(writer, kept, killed, WINDOW)
    told = app.tool("verify", team.server.url, ADDRESS, "--json")
    named = {each["field"].removeprefix("tags.") for each in told.json["differences"] if each["right"] == "absent"}
    assert named == gone and told.code == (1 if told.json["differences"] else 0)
    assert all(each["id"] == team.made.files for each in told.json["differences"])


def test_snapshots_under_load_are_all_good_and_a_second_writer_is_refused(
    team: Team, workspace: Workspace, run_tool: Tool, tmp_path: Path
) -> None:
    app = seeded(team, workspace, run_tool, 0.2)
    env = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token(), "MLFLOW_APP_NAME": "another"}
    with Writer(app, team.server, team.made.files) as writer:
        with running(tmp_path / "second", VOLUME, env) as second:
            told = second.until(lambda found: found["state"] == "refused")
            assert "a second writer is refused" in told["message"]
            assert requests.get(f"{second.url}/health", timeout=10).status_code == 503
        deadline = time.monotonic() + 180
        while len(generations(app)) <= SNAPSHOTS:
            assert time.monotonic() < deadline, generations(app)
            time.sleep(1)
    found = generations(app)
    assert {each: trouble for each in found if (trouble := fault(app, each, tmp_path))} == {}
    assert len(found) > SNAPSHOTS and set(writer.acknowledged) <= tags(app, team.made.files)


def test_sigterm_under_load_ends_in_time_and_nothing_is_lost(
    team: Team, workspace: Workspace, run_tool: Tool, record_property: Any
) -> None:
    app = seeded(team, workspace, run_tool, 3600)
    container = app.held.container
    assert container is not None
    with Writer(app, team.server, team.made.files) as writer:
        time.sleep(4)
        began = time.monotonic()
        container.process.send_signal(signal.SIGTERM)
        code, seconds = container.process.wait(30), time.monotonic() - began
    record_property("seconds until it had ended", round(seconds, 1))
    assert (code, seconds < SIGTERM_SECONDS) == (0, True)
    app.deploy()
    assert writer.acknowledged and set(writer.acknowledged) <= tags(app, team.made.files)
    app.tool("verify", team.server.url, ADDRESS).expect(0)
