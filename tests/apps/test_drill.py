"""The drill with a deployed app: seeded, written to, killed, deployed again; what was lost is known exactly."""

import contextlib
import gzip
import hashlib
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.apps.deploying import VOLUME, trial
from tests.apps.dev import Team
from tests.apps.living import ADDRESS, Living, living
from tests.apps.runtime import running
from tests.conftest import Tool
from tests.databricks.state import Workspace
from tests.servers import Server

WINDOW = 1.0
SLACK = 2.0
"""A snapshot takes its time, and a change that comes while it is made waits for the next one."""
SNAPSHOTS = 36
SIGTERM_SECONDS = 12.0

pytestmark = pytest.mark.slow


class Writer:
    """Sets tags of one run without a pause, in the app and, once the app has acknowledged one, at the team's server."""

    def __init__(self, app: Living, team: Server, run: str) -> None:
        self._app, self._team, self._run = app, team, run
        self._url, self._headers = app.url, app.headers()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.acknowledged: dict[str, float] = {}

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(60)

    def _write(self) -> None:
        number = 0
        while not self._closed.is_set():
            number += 1
            key = f"drill.{number:06d}"
            body = {"run_id": self._run, "key": key, "value": "x" * 200}
            try:
                answer = requests.post(
                    f"{self._url}/api/2.0/mlflow/runs/set-tag", json=body, headers=self._headers, timeout=30
                )
            except requests.RequestException:
                answer = None
            if answer is None or not answer.ok:
                time.sleep(0.05)
                continue
            self.acknowledged[key] = time.time()
            requests.post(f"{self._team.url}/api/2.0/mlflow/runs/set-tag", json=body, timeout=30).raise_for_status()


def tags(app: Living, run: str) -> set[str]:
    """The drill's tags of a run, as the app tells them."""
    found = requests.get(
        f"{app.url}/api/2.0/mlflow/runs/get", params={"run_id": run}, headers=app.headers(), timeout=30
    )
    found.raise_for_status()
    return {tag["key"] for tag in found.json()["run"]["data"]["tags"] if tag["key"].startswith("drill.")}


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
    lost = set(writer.acknowledged) - kept
    # The last one may have been written without its answer having arrived.
    assert len(kept - set(writer.acknowledged)) <= 1
    assert all(killed - writer.acknowledged[key] <= WINDOW + SLACK for key in lost), lost
    told = app.tool("verify", team.server.url, ADDRESS, "--json")
    named = {each["field"].removeprefix("tags.") for each in told.json["differences"] if each["right"] == "absent"}
    assert named == lost and told.code == (1 if told.json["differences"] else 0)
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
