"""A running app: who is let in, who made what, what the status page says, what happens when the server crashes."""

import contextlib
import gzip
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from mlflow_migration.apps.runtime import environment, settings
from tests.apps.runtime import PERSON, App, Writer, new_run, post, put_snapshot, running, tags_of

HOST = "trial-4711.7.azure.databricksapps.com"


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    volume = tmp_path_factory.mktemp("volume")
    put_snapshot(volume, template)
    return volume


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, volume: Path) -> Iterator[App]:
    """As the platform starts it, but for the address it listens on."""
    env = {
        "DATABRICKS_APP_NAME": "trial",
        "DATABRICKS_WORKSPACE_ID": "4711",
        "MLFLOW_APP_HOST": "127.0.0.1",
        "MLFLOW_APP_REQUIRE_IDENTITY": "true",
        "MLFLOW_APP_ALLOWED_HOSTS": "mlflow.example.org",
        "MLFLOW_APP_SNAPSHOT_SECONDS": "0.4",
        "MLFLOW_APP_KEEP": "60",
    }
    with running(tmp_path_factory.mktemp("app"), volume, env) as app:
        yield app.serving()


def search(app: App, headers: dict[str, str]) -> int:
    return requests.post(
        f"{app.url}/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 1}, headers=headers, timeout=10
    ).status_code


@pytest.mark.parametrize("host", [HOST, f"{HOST}:443", "mlflow.example.org", "10.0.3.7:8000", "localhost:8000"])
def test_the_hosts_of_the_app_are_answered(app: App, host: str) -> None:
    assert search(app, {**PERSON, "Host": host}) == 200


@pytest.mark.parametrize("host", ["evil.example.org", "trial-4711.evil.org", "other-4711.7.azure.databricksapps.com"])
def test_other_hosts_are_refused(app: App, host: str) -> None:
    assert search(app, {**PERSON, "Host": host}) == 403
    page = requests.get(f"{app.url}/mlflow-app/status", headers={**PERSON, "Host": host}, timeout=10)
    assert page.status_code == 403


@pytest.mark.parametrize(
    ("origin", "host", "code"),
    [
        (f"https://{HOST}", HOST, 200),
        ("https://mlflow.example.org", "mlflow.example.org", 200),
        ("https://evil.example.org", HOST, 403),
        ("https://evil.example.org", "evil.example.org", 403),
    ],
)
def test_only_pages_of_the_app_itself_may_change_things(app: App, origin: str, host: str, code: int) -> None:
    answer = requests.post(
        f"{app.url}/ajax-api/2.0/mlflow/runs/create",
        json={"experiment_id": "0"},
        headers={**PERSON, "Origin": origin, "Host": host},
        timeout=10,
    )
    assert answer.status_code == code


def test_a_page_behind_a_proxy_that_changes_the_host_may_change_things(app: App) -> None:
    headers = {**PERSON, "Origin": f"https://{HOST}", "Host": "10.0.3.7:8000", "X-Forwarded-Host": HOST}
    assert search(app, headers) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/static-files/index.html",
        "/api/2.0/mlflow/experiments/search",
        "/ajax-api/2.0/mlflow/experiments/search",
        "/api/2.0/mlflow-artifacts/artifacts",
        "/api/3.0/mlflow/traces/search",
        "/v1/traces",
        "/graphql",
        "/gateway/x/mlflow/invocations",
        "/get-artifact",
        "/mlflow-app/status",
        "/mlflow-app/status.json",
    ],
)
def test_nothing_but_the_look_at_its_health_is_answered_without_the_headers_of_the_platform(
    app: App, path: str
) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert requests.request(method, app.url + path, timeout=10).status_code == 403, method
    assert requests.get(f"{app.url}/health", timeout=10).status_code == 200


def test_a_service_principal_is_let_in_by_its_name(app: App) -> None:
    assert search(app, {"X-Forwarded-User": "1b2c@4711"}) == 200


def test_who_made_a_run_comes_from_the_platform_where_the_client_names_nobody(app: App) -> None:
    made = post(app, "runs/create", {"experiment_id": "0"})["run"]
    assert made["info"]["user_id"] == "ann@example.org"
    assert tags_of(app, made["info"]["run_id"])["mlflow.user"] == "ann@example.org"


def test_who_a_client_names_stays(app: App) -> None:
    tags = [{"key": "mlflow.user", "value": "bob"}]
    made = post(app, "runs/create", {"experiment_id": "0", "user_id": "bobby", "tags": tags})["run"]
    assert made["info"]["user_id"] == "bobby"
    assert tags_of(app, made["info"]["run_id"])["mlflow.user"] == "bob"
    made = post(app, "runs/create", {"experiment_id": "0", "user_id": "bobby"})["run"]
    assert tags_of(app, made["info"]["run_id"])["mlflow.user"] == "bobby"


def test_a_copy_keeps_that_nobody_was_named(app: App) -> None:
    tags = [{"key": "mlflow_migration.run_id", "value": "1234"}]
    made = post(app, "runs/create", {"experiment_id": "0", "tags": tags})["run"]
    assert "mlflow.user" not in tags_of(app, made["info"]["run_id"])


def test_traces_models_and_versions_say_who_made_them(app: App) -> None:
    info = {
        "trace_id": "tr-0123456789abcdef0123456789abcdef",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    made = requests.post(
        f"{app.url}/api/3.0/mlflow/traces", json={"trace": {"trace_info": info}}, headers=PERSON, timeout=30
    ).json()
    assert made["trace"]["trace_info"]["trace_metadata"]["mlflow.user"] == "ann@example.org"
    logged = post(app, "logged-models", {"experiment_id": "0", "name": "m"})["model"]
    assert {"key": "mlflow.user", "value": "ann@example.org"} in logged["info"]["tags"]
    model = post(app, "registered-models/create", {"name": "churn"})["registered_model"]
    assert model["tags"] == [{"key": "mlflow.user", "value": "ann@example.org"}]
    version = post(app, "model-versions/create", {"name": "churn", "source": "s3://elsewhere/model"})["model_version"]
    assert version["tags"] == [{"key": "mlflow.user", "value": "ann@example.org"}]


def test_a_body_that_is_no_json_is_left_to_mlflow(app: App) -> None:
    headers = {**PERSON, "Content-Type": "application/json"}
    answer = requests.post(f"{app.url}/api/2.0/mlflow/runs/create", data=b"{no", headers=headers, timeout=10)
    assert answer.status_code == 400


def test_the_log_says_who_changed_what(app: App) -> None:
    post(app, "experiments/create", {"name": "told"}, **{"X-Forwarded-Email": "eve@example.org"})
    assert "eve@example.org: POST /api/2.0/mlflow/experiments/create: 200" in app.text()


def test_artifacts_go_through_the_app_into_the_volume(app: App, volume: Path) -> None:
    put = requests.put(
        f"{app.url}/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/a.txt", data=b"hello", headers=PERSON, timeout=10
    )
    assert put.status_code == 200
    assert (volume / "artifacts" / "0" / "x" / "artifacts" / "a.txt").read_bytes() == b"hello"


def test_the_status_page_shows_the_loss_window(app: App) -> None:
    page = requests.get(f"{app.url}/mlflow-app/status", headers=PERSON, timeout=10)
    assert page.headers["content-type"].startswith("text/html")
    for word in ("serving", "sqlite", "Last snapshot", "In no snapshot yet", "Passed over"):
        assert (word in page.text) == (word != "Passed over")
    found = app.status()
    assert found["restored"]["generation"] == "20260101T000000.000Z-00000000"
    assert found["snapshot_seconds"] == 0.4
    assert found["loss_seconds"] < 30


@pytest.mark.slow
def test_thirty_six_snapshots_under_load_all_pass_the_integrity_check(app: App, volume: Path, tmp_path: Path) -> None:
    seen = {file.stem for file in (volume / "snapshots").glob("*.json")}
    deadline = time.monotonic() + 120
    with Writer(app, new_run(app)) as writer:
        while len(made := {file.stem for file in (volume / "snapshots").glob("*.json")} - seen) < 36:
            assert time.monotonic() < deadline, f"{len(made)} snapshots\n{app.text()[-2000:]}"
            time.sleep(0.2)
    assert len(writer.acknowledged) > 36
    assert writer.refused == []
    for generation in sorted(made):
        unpacked = tmp_path / "one.db"
        unpacked.write_bytes(gzip.decompress((volume / "snapshots" / f"{generation}.db.gz").read_bytes()))
        with contextlib.closing(sqlite3.connect(unpacked)) as base:
            assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)], generation


def test_a_crashed_server_is_started_again_and_keeps_its_data(app: App) -> None:
    run = new_run(app)
    for pid in app.server_pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    found = app.until(lambda status: status["restarts"] == 1 and status["state"] == "serving")
    assert "SIGKILL" in found["last_exit"]
    assert "starting it again in 1 s" in app.text()
    assert tags_of(app, run)["mlflow.user"] == "ann@example.org"


def test_a_stop_under_load_takes_under_twelve_seconds_and_loses_nothing(app: App, volume: Path, tmp_path: Path) -> None:
    run, pids = new_run(app), app.server_pids()
    with Writer(app, run) as writer:
        time.sleep(2)
        code, seconds = app.stop()
    assert code == 0, app.text()[-2000:]
    assert seconds < 12
    assert len(writer.acknowledged) > 10
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{app.url}/health", timeout=2)
    newest = sorted((volume / "snapshots").glob("*.db.gz"))[-1]
    (tmp_path / "last.db").write_bytes(gzip.decompress(newest.read_bytes()))
    with contextlib.closing(sqlite3.connect(tmp_path / "last.db")) as base:
        kept = {key for (key,) in base.execute("SELECT key FROM tags WHERE run_uuid = ?", (run,))}
    assert set(writer.acknowledged) <= kept


def test_a_folder_that_is_named_from_here_is_the_same_for_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = settings.read({"MLFLOW_APP_VOLUME": "kept/"})
    served = environment.of_server(replace(told, state=tmp_path / "state"), {}, "sqlite:///x.db")
    assert (told.volume, served["MLFLOW_ARTIFACTS_DESTINATION"]) == (f"{tmp_path}/kept", f"{tmp_path}/kept/artifacts")
    volume = settings.read({"MLFLOW_APP_VOLUME": "/Volumes/main/ml/app/"})
    assert (volume.volume, volume.artifacts) == ("/Volumes/main/ml/app", "dbfs:/Volumes/main/ml/app/artifacts")
    assert settings.read({"MLFLOW_APP_VOLUME": "x", "MLFLOW_APP_ARTIFACTS": "s3://b/a"}).artifacts == "s3://b/a"
