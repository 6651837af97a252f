"""An app whose Volume is reached through the Files API: what is stored, what faults of the API do."""

import contextlib
import gzip
import io
import sqlite3
import time
from pathlib import Path

import pytest
import requests

from mlflow_migration.apps.runtime.storage import MissingError, StorageError, TakenError
from mlflow_migration.apps.runtime.volume import Volume
from tests.apps.runtime import PERSON, Writer, new_run, running, tags_of
from tests.databricks import catalogue
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import Workspace

ROOT = "/Volumes/main/ml/app/trial"
PUT = r"^(PUT|POST) /api/2\.0/fs/files"
EVERYTHING = r" /api/2\.0/fs/"


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    workspace = databricks_account().workspace("a", metastore="m1")
    catalogue.make(workspace.metastore, "main.ml")
    made = requests.post(
        f"{workspace.url}/api/2.1/unity-catalog/volumes",
        json={"catalog_name": "main", "schema_name": "ml", "name": "app", "volume_type": "MANAGED"},
        headers=workspace.headers(),
        timeout=10,
    )
    made.raise_for_status()
    return workspace


@pytest.fixture
def storage(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Volume:
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token())
    return Volume(ROOT, workspace.url, patience=2)


def listed(workspace: Workspace, folder: str) -> list[str]:
    """Names in a folder of the Volume, asked for without our code."""
    found = requests.get(
        f"{workspace.url}/api/2.0/fs/directories{ROOT}/{folder}", headers=workspace.headers(), timeout=10
    )
    return [] if found.status_code == 404 else sorted(entry["name"] for entry in found.json().get("contents", ()))


def test_a_volume_keeps_what_it_is_given(storage: Volume, workspace: Workspace) -> None:
    assert storage.names("snapshots") == []
    with pytest.raises(MissingError):
        storage.read("latest.json")
    storage.put("leases/000001.json", io.BytesIO(b"one"), anew=True)
    with pytest.raises(TakenError):
        storage.put("leases/000001.json", io.BytesIO(b"two"), anew=True)
    storage.put("leases/000001.json", io.BytesIO(b"three"))
    assert storage.read("leases/000001.json") == b"three"
    assert storage.names("leases") == listed(workspace, "leases") == ["000001.json"]
    storage.delete("leases/000001.json")
    storage.delete("leases/000001.json")
    assert listed(workspace, "leases") == []


def test_a_file_that_goes_in_parts_arrives_whole(storage: Volume, workspace: Workspace) -> None:
    content = bytes(range(256)) * 4096 * 55  # 55 MiB: the SDK sends up to 50 at once
    storage.put("snapshots/big", io.BytesIO(content))
    back = io.BytesIO()
    storage.fetch("snapshots/big", back)
    assert back.getvalue() == content


def test_a_volume_that_is_not_there_is_no_empty_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token())
    with pytest.raises(StorageError, match="not there"):
        Volume("/Volumes/main/ml/none/trial", workspace.url, patience=2).names("snapshots")


@pytest.mark.parametrize("code", [429, 503])
def test_what_is_refused_for_a_moment_is_repeated(storage: Volume, workspace: Workspace, code: int) -> None:
    workspace.faults.add(Fault(PUT, status=code, times=1, retry_after=0))
    storage.put("latest.json", io.BytesIO(b"{}"))
    assert storage.read("latest.json") == b"{}"


@pytest.mark.slow
def test_an_app_serves_on_while_its_volume_does_not_answer_and_says_how_much_would_be_lost(
    tmp_path: Path, workspace: Workspace
) -> None:
    env = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    with running(tmp_path / "app", ROOT, env) as app:
        app.serving()
        assert any("began empty" in note for note in app.status()["notes"])
        first = app.until(lambda found: found["snapshot"].get("generation"))["snapshot"]["generation"]
        workspace.faults.add(Fault(PUT, status=503, times=0))
        run = new_run(app)
        with Writer(app, run) as writer:
            told = app.until(lambda found: found["snapshot"].get("error"), 90)
            assert told["state"] == "serving"
            assert told["snapshot"]["generation"] >= first
            before = told["loss_seconds"]
            time.sleep(2)
            assert app.status()["loss_seconds"] > before > 0
            page = requests.get(f"{app.url}/mlflow-app/status", headers=PERSON, timeout=10).text
            assert "Last failure" in page
            workspace.faults.clear()
            app.until(lambda found: not found["snapshot"]["error"] and found["snapshot"]["generation"] > first, 60)
        assert writer.refused == []
        put = requests.put(
            f"{app.url}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt", data=b"hello", timeout=30
        )
        assert put.status_code == 200
        code, seconds = app.stop()
        assert (code, seconds < 12) == (0, True), app.text()[-2000:]
    assert listed(workspace, f"artifacts/0/{run}/artifacts") == ["a.txt"]
    newest = [name for name in listed(workspace, "snapshots") if name.endswith(".db.gz")][-1]
    packed = requests.get(
        f"{workspace.url}/api/2.0/fs/files{ROOT}/snapshots/{newest}", headers=workspace.headers(), timeout=30
    )
    (tmp_path / "last.db").write_bytes(gzip.decompress(packed.content))
    with contextlib.closing(sqlite3.connect(tmp_path / "last.db")) as base:
        kept = {key for (key,) in base.execute("SELECT key FROM tags WHERE run_uuid = ?", (run,))}
    assert set(writer.acknowledged) <= kept

    # A start during an outage waits for its end: nothing begins empty because nobody answers.
    workspace.faults.add(Fault(EVERYTHING, status=503, times=0))
    with running(tmp_path / "two", ROOT, env) as app:
        told = app.until(lambda found: found["state"] == "refused", 90)
        assert ROOT in told["message"]
        workspace.faults.clear()
        app.serving()
        assert set(writer.acknowledged) <= set(tags_of(app, run))


@pytest.mark.slow
def test_a_stop_while_the_volume_does_not_answer_ends_in_time_and_says_what_it_could_not_keep(
    tmp_path: Path, workspace: Workspace
) -> None:
    env = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    with running(tmp_path / "app", ROOT, env) as app:
        app.serving()
        app.until(lambda found: found["snapshot"].get("generation"))
        workspace.faults.add(Fault(PUT, status=503, times=0))
        run = new_run(app)
        code, seconds = app.stop()
        workspace.faults.clear()
        assert (code, seconds < 12) == (1, True), app.text()[-2000:]
        assert f"is only in {app.state / 'mlflow.db'}" in app.text()
    with running(tmp_path / "app", ROOT, env) as app:
        app.serving()
        assert tags_of(app, run)
