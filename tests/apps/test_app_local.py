"""`app run-local` and `make app`: an app on this machine, from a checkout and from a configuration."""

import contextlib
import gzip
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import requests

from tests import postgres, servers
from tests.apps.run_local import interrupted, started
from tests.conftest import Run

ROOT = Path(__file__).resolve().parents[2]


def new_experiment(port: int, name: str) -> None:
    """An experiment by MLflow's REST API."""
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/create"
    requests.post(url, json={"name": name}, timeout=30).raise_for_status()


def experiments_at(port: int) -> set[str]:
    """The names of experiments that a server has."""
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search"
    answer = requests.post(url, json={"max_results": 100}, timeout=30)
    answer.raise_for_status()
    return {str(each["name"]) for each in answer.json()["experiments"]}


def experiments_of_newest_snapshot(volume: Path, scratch: Path) -> set[str]:
    """The names of experiments in the snapshot that a folder's pointer names; the database is whole."""
    newest = json.loads((volume / "latest.json").read_text())["generation"]
    scratch.write_bytes(gzip.decompress((volume / "snapshots" / f"{newest}.db.gz").read_bytes()))
    with contextlib.closing(sqlite3.connect(scratch)) as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {str(name) for (name,) in base.execute("SELECT name FROM experiments")}


def test_what_was_done_before_ctrl_c_is_in_the_folder_and_the_report_says_where(tmp_path: Path) -> None:
    port = servers.free_port()
    (tmp_path / "mlflow-app.yml").write_text("name: laptop\nvolume: /Volumes/main/apps/mlflow\nworkers: 2\n")
    words = ["-m", "mlflow_migration", "app", "run-local", "--config", "mlflow-app.yml", "--port", str(port), "--json"]
    with started([sys.executable, *words], tmp_path, port) as process:
        shown = requests.get(f"http://127.0.0.1:{port}/mlflow-app/status.json", timeout=10).json()
        new_experiment(port, "kept")
        code, said = interrupted(process)
    assert (shown["app"], shown["workers"]) == ("laptop", 2)
    assert experiments_of_newest_snapshot(tmp_path / "mlflow-app" / "volume", tmp_path / "x.db") == {"Default", "kept"}
    report = json.loads(said)
    assert (code, report["ok"], report["url"]) == (0, True, f"http://127.0.0.1:{port}")
    spoken = (tmp_path / "said").read_text()
    assert f"http://127.0.0.1:{port}/mlflow-app/status" in spoken
    assert "volume /Volumes/main/apps/mlflow is left alone" in spoken


@pytest.mark.slow
def test_make_app_in_a_fresh_clone_keeps_everything_from_one_start_to_the_next(tmp_path: Path) -> None:
    """The virtual environment of this checkout stands in for the one it makes, which needs the package index."""
    if not (shutil.which("make") and shutil.which("git") and (ROOT / ".git").exists()):
        pytest.skip("make app is run in a clone, and there is no make, no git or no repository here")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, tmp_path / "clone"], check=True)
    environment = Path(sys.prefix)
    port = servers.free_port()
    words: list[str | Path] = ["make", f"VENV={environment}", "-o", environment / ".ready", "app", f"PORT={port}"]
    with started(words, tmp_path / "clone", port) as process:
        new_experiment(port, "first")
        interrupted(process)
    volume = tmp_path / "clone" / "mlflow-app" / "volume"
    assert experiments_of_newest_snapshot(volume, tmp_path / "x.db") == {"Default", "first"}
    assert not (volume.parent / "state" / "mlflow.db").exists()
    with started(words, tmp_path / "clone", port) as process:
        assert experiments_at(port) == {"Default", "first"}
        interrupted(process)
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=tmp_path / "clone", capture_output=True, text=True, check=True
    )
    assert [line for line in left.stdout.splitlines() if not line.endswith(" said")] == []


@pytest.mark.slow
def test_a_postgresql_of_ones_own_is_a_backend_with_its_password_in_a_file(tmp_path: Path) -> None:
    port = servers.free_port()
    with postgres.running() as server:
        address = server.database()
        with psycopg.connect(address, autocommit=True) as base:
            base.execute("CREATE SCHEMA mlflow")
            user, name = base.info.user, base.info.dbname
        (tmp_path / "password").write_text("asked for by nobody here")
        environment = {"PGHOST": address.rpartition("?host=")[2], "PGUSER": user, "PGSSLMODE": "disable"}
        words = ["--backend", "lakebase", "--port", str(port)]
        words += ["--setting", f"MLFLOW_APP_DATABASE_PASSWORD_FILE={tmp_path / 'password'}"]
        words += ["--setting", f"MLFLOW_APP_DATABASE={name}"]
        command = [sys.executable, "-m", "mlflow_migration", "app", "run-local", *words]
        with started(command, tmp_path, port, environment) as process:
            new_experiment(port, "kept")
            code, _ = interrupted(process)
        with psycopg.connect(address) as base:
            found = {str(row[0]) for row in base.execute("SELECT name FROM mlflow.experiments")}
    assert (code, found) == (0, {"Default", "kept"})


def test_a_port_that_is_taken_is_told_before_anything_starts(run_here: Run, tmp_path: Path) -> None:
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        ended = run_here("app", "run-local", "--folder", tmp_path / "app", "--port", port).expect(2)
    assert f"port {port}" in ended.stderr and not (tmp_path / "app").exists()


def test_a_dry_run_shows_what_the_runtime_would_be_told_and_starts_nothing(run_here: Run, tmp_path: Path) -> None:
    file = tmp_path / "mlflow-app.yml"
    file.write_text(
        "name: churn\nvolume: /Volumes/main/apps/mlflow\nsnapshots: {seconds: 5}\nenvironment: {LOG_LEVEL: debug}\n"
    )
    words = ("--folder", tmp_path / "app", "--setting", "MLFLOW_APP_LEASE_SECONDS=3", "--dry-run")
    told = run_here("app", "run-local", "--config", file, *words, "--json").expect(0).json["settings"]
    assert told["MLFLOW_APP_NAME"] == "churn" and told["MLFLOW_APP_SNAPSHOT_SECONDS"] == "5"
    assert told["MLFLOW_APP_VOLUME"] == str(tmp_path / "app" / "volume")
    assert (told["LOG_LEVEL"], told["MLFLOW_APP_LEASE_SECONDS"]) == ("debug", "3")
    assert not (tmp_path / "app").exists()


def test_a_volume_of_the_workspace_is_used_where_it_is_asked_for(run_here: Run, tmp_path: Path) -> None:
    words = ("--folder", tmp_path, "--volume", "/Volumes/main/apps/mlflow", "--dry-run", "--json")
    assert run_here("app", "run-local", *words).expect(0).json["settings"]["MLFLOW_APP_VOLUME"] == words[3]


def test_a_key_that_stands_in_the_configuration_too_is_refused(run_here: Run, tmp_path: Path) -> None:
    file = tmp_path / "mlflow-app.yml"
    file.write_text("name: churn\nvolume: /Volumes/main/apps/mlflow\nbackend: sqlite\n")
    assert (
        "given twice: backend"
        in run_here("app", "run-local", "--config", file, "--backend", "lakebase").expect(2).stderr
    )


def test_a_setting_that_is_none_is_refused(run_here: Run) -> None:
    assert "MLFLOW_APP_" in run_here("app", "run-local", "--setting", "WORKERS=2").expect(2).stderr
