"""What is lost when an app, its supervisor or its storage goes away, and that it is never lost quietly."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.apps.runtime import FIRST, App, Writer, launch, new_run, put_snapshot, running, tags_of

WINDOW = 2.0


@pytest.fixture
def volume(tmp_path: Path, template: Path) -> Path:
    volume = tmp_path / "volume"
    put_snapshot(volume, template)
    return volume


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def is_there(pid: int) -> bool:
    """Whether a process lives; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_kill_in_the_middle_of_writes_loses_at_most_the_stated_window(tmp_path: Path, volume: Path) -> None:
    with running(tmp_path / "one", volume, {"MLFLOW_APP_SNAPSHOT_SECONDS": str(WINDOW)}) as app:
        app.serving()
        run = new_run(app)
        with Writer(app, run) as writer:
            time.sleep(4 * WINDOW)
            told = app.status()
            killed = time.time()
            app.kill()
    assert told["loss_seconds"] <= WINDOW + 2
    # Another machine: nothing of the first one's folder.
    with running(tmp_path / "two", volume) as app:
        app.serving()
        kept = set(tags_of(app, run))
        found = app.status()
    assert found["restored"]["generation"] > told["restored"]["generation"]
    lost = {key: at for key, at in writer.acknowledged.items() if key not in kept}
    assert all(killed - at <= WINDOW + 2 for at in lost.values()), lost
    assert len(lost) < len(writer.acknowledged)


@pytest.mark.slow
def test_a_server_whose_supervisor_was_killed_ends_and_a_restart_on_its_machine_loses_nothing(
    tmp_path: Path, volume: Path
) -> None:
    env = {"MLFLOW_APP_SNAPSHOT_SECONDS": "3600"}
    with running(tmp_path / "app", volume, env) as app:
        app.serving()
        run, pids = new_run(app), app.server_pids()
        with Writer(app, run) as writer:
            time.sleep(2)
            os.kill(app.process.pid, signal.SIGKILL)
            app.process.wait()
            deadline = time.monotonic() + 15
            while any(is_there(pid) for pid in pids):
                assert time.monotonic() < deadline, "the server goes on without its supervisor"
                time.sleep(0.1)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{app.url}/health", timeout=2)
    with running(tmp_path / "app", volume, env) as app:
        app.serving()
        assert set(writer.acknowledged) <= set(tags_of(app, run))
        assert any("found on this machine" in note for note in app.status()["notes"])
        code, _ = app.stop()
    assert code == 0
    assert len(list((volume / "snapshots").glob("*.json"))) > 1


@pytest.mark.slow
def test_a_second_writer_is_refused_until_the_first_one_ends(
    tmp_path: Path, volume: Path, stack: contextlib.ExitStack
) -> None:
    with running(tmp_path / "one", volume) as first:
        # It holds the lease before its server is up.
        first.until(lambda found: found.get("lease"))
        second = stack.enter_context(running(tmp_path / "two", volume))
        first.serving()
        instance = first.status()["instance"]
        told = second.until(lambda found: found["state"] == "refused")
        assert f"instance {instance} of trial" in told["message"]
        health = requests.get(f"{second.url}/health", timeout=5)
        assert health.status_code == 503
        assert "second writer is refused" in health.text
        run = new_run(first)
        time.sleep(4)  # longer than a lease lasts
        assert second.status()["state"] == "refused"
        assert first.stop()[0] == 0
        second.serving()
        assert "mlflow.user" in tags_of(second, run)


@pytest.mark.slow
def test_an_instance_that_another_one_took_over_from_ends_and_sets_its_data_aside(tmp_path: Path, volume: Path) -> None:
    with running(tmp_path / "app", volume, {"MLFLOW_APP_SNAPSHOT_SECONDS": "3600"}) as app:
        app.serving()
        new_run(app)
        newest = sorted((volume / "leases").glob("*.json"))[-1]
        other = json.loads(newest.read_text()) | {"number": 99, "instance": "beefbeef", "pid": 0, "machine": "other"}
        (volume / "leases" / "000099.json").write_text(json.dumps(other))
        assert app.process.wait(30) == 1
    assert "beefbeef of trial took over" in app.text()
    assert len(list((volume / "set-aside").iterdir())) == 1
    assert json.loads((volume / "latest.json").read_text())["generation"].startswith("20260101")


def test_snapshots_that_cannot_be_read_are_a_reason_not_to_start(tmp_path: Path, volume: Path) -> None:
    for file in (volume / "snapshots").glob("*.db.gz"):
        file.write_bytes(b"not gzip")
    with running(tmp_path / "app", volume) as app:
        told = app.until(lambda found: found["state"] == "refused")
        assert "none of them can be used" in told["message"]
        assert "MLFLOW_APP_START_EMPTY=true" in told["message"]
        page = requests.get(f"{app.url}/mlflow-app/status", timeout=5)
        assert "none of them can be used" in page.text
        assert requests.get(f"{app.url}/api/2.0/mlflow/experiments/search", timeout=5).status_code == 503
        assert "none of them can be used" in app.text()
        code, seconds = app.stop()
        assert (code, seconds < 5) == (0, True)
    assert len(list((volume / "snapshots").glob("*.db.gz"))) == 1


@pytest.mark.slow
def test_a_supervisor_is_alone_in_its_folder(tmp_path: Path, volume: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(tmp_path / "app", volume))
        first.until(lambda found: found["state"] in ("starting", "restoring", "serving"))
        second: App = launch(tmp_path / "app", volume)
        assert second.process.wait(30) == 2
    assert "another instance works in" in second.text()


def test_all_that_is_wrong_with_the_settings_is_told_at_once(tmp_path: Path) -> None:
    app = launch(tmp_path / "app", "", {"MLFLOW_APP_WORKERS": "none", "MLFLOW_APP_KEEP": "0"})
    assert app.process.wait(60) == 2
    for words in ("MLFLOW_APP_VOLUME is needed", "MLFLOW_APP_WORKERS is 'none'", "MLFLOW_APP_KEEP is 0"):
        assert words in app.text()


def damaged(volume: Path, **told: str) -> None:
    """Change what the manifest of the first snapshot says."""
    about = volume / "snapshots" / f"{FIRST}.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | told))


@pytest.mark.slow
def test_a_snapshot_of_another_mlflow_is_upgraded_before_the_start(tmp_path: Path, volume: Path) -> None:
    damaged(volume, mlflow="3.10.0")
    with running(tmp_path / "app", volume) as app:
        found = app.serving().until(lambda found: found["snapshot"]["generation"] != FIRST)
        assert found["restored"]["generation"] == FIRST
        assert new_run(app)


@pytest.mark.slow
def test_an_upgrade_that_fails_is_told_and_leaves_the_snapshot_as_it_is(
    tmp_path: Path, volume: Path, template: Path
) -> None:
    unknown = tmp_path / "unknown.db"
    shutil.copy(template, unknown)
    with contextlib.closing(sqlite3.connect(unknown)) as base, base:
        base.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    put_snapshot(volume, unknown)
    damaged(volume, mlflow="99.0")
    with running(tmp_path / "app", volume) as app:
        told = app.until(lambda found: found["state"] == "refused")
        assert "mlflow db upgrade" in told["message"]
        assert "ffffffffffff" in told["message"]
        assert app.stop()[0] == 0
    assert len(list((volume / "snapshots").iterdir())) == 2
    assert not list((tmp_path / "app" / "state").glob("mlflow-left-*"))


def test_a_port_that_is_taken_is_told(tmp_path: Path, volume: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        app = launch(tmp_path / "app", volume, {"DATABRICKS_APP_PORT": str(port)})
        assert app.process.wait(60) == 2
    assert f"can't listen on 127.0.0.1:{port}" in app.text()
