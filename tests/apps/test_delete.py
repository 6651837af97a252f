"""Deleting, stopping and starting an app; its data stays unless it is to go."""

import json

import pytest
import requests

from mlflow_migration.apps.deploy import deploy
from mlflow_migration.apps.lifecycle import by_name, delete, start, stop
from mlflow_migration.errors import ConflictError, NotFoundError
from tests.apps.deploying import NAME, VOLUME, Trial, configured, trial
from tests.databricks import access
from tests.databricks.app_samples import until
from tests.databricks.app_state import apps
from tests.databricks.fixtures import AccountFactory


@pytest.fixture
def running(databricks_account: AccountFactory) -> Trial:
    """An app that runs, with a snapshot and a stranger's file in its Volume."""
    made = trial(databricks_account().workspace("a", metastore="m1"))
    outcome = deploy(made.place(), configured(), made.options())
    assert outcome.failure is None, outcome.failure
    for name in ("snapshots/one.db.gz", "artifacts/1/model", "latest.json", "strangers.txt"):
        folder = f"{VOLUME}/{name}".rpartition("/")[0]
        for method, route in (("PUT", f"fs/directories{folder}"), ("PUT", f"fs/files{VOLUME}/{name}")):
            address = f"{made.workspace.url}/api/2.0/{route}"
            assert requests.request(method, address, data=b"x", headers=made.workspace.headers(), timeout=30).ok
    made.told.clear()
    return made


def kept(made: Trial) -> set[str]:
    """What lies in the app's folder of its Volume."""
    return {str(each["name"]) for each in made.ask(f"fs/directories{VOLUME}").json().get("contents", ())}


def secrets_of(made: Trial) -> list[str]:
    answer = made.ask("secrets/list", scope=f"mlflow-app-{NAME}")
    return [str(each["key"]) for each in answer.json().get("secrets", ())] if answer.ok else []


def test_a_deleted_app_is_gone_with_its_files_and_grants_and_its_data_stays(running: Trial) -> None:
    client_id = running.app()["service_principal_client_id"]
    outcome = delete(running.place(), configured(), running.options())
    assert outcome.failure is None and outcome.status == "deleted"
    assert running.app() == {}
    assert running.ask("workspace/get-status", path=running.source).status_code == 404
    held = access.grants(running.workspace.metastore).direct.values()
    assert not any(client_id in grants for grants in held)
    assert kept(running) == {"snapshots", "artifacts", "latest.json", "strangers.txt"}
    assert secrets_of(running) == ["kek-passphrase"]
    assert {row.what for row in outcome.rows if row.state == "told"} >= {VOLUME}


def test_it_is_stopped_before_its_rights_are_taken_so_that_it_can_write_its_last_snapshot(running: Trial) -> None:
    running.workspace.requests.clear()
    delete(running.place(), configured(), running.options())
    writes = [f"{method} {path}" for method, path in running.writes()]
    stopped = writes.index(f"POST /api/2.0/apps/{NAME}/stop")
    taken = next(number for number, each in enumerate(writes) if each.startswith("PATCH /api/2.1/unity-catalog/"))
    assert stopped < taken < writes.index(f"DELETE /api/2.0/apps/{NAME}")


def test_a_second_deletion_says_that_it_is_not_there_and_is_no_failure(running: Trial) -> None:
    delete(running.place(), by_name(NAME), running.options())
    running.workspace.requests.clear()
    again = delete(running.place(), by_name(NAME), running.options())
    assert again.failure is None and again.status == "same"
    assert "it isn't there" in again.rows[0].detail and running.writes() == []


@pytest.mark.slow
def test_data_that_is_to_go_goes_and_nobody_elses(running: Trial) -> None:
    outcome = delete(running.place(), configured(), running.options(), data=True)
    assert outcome.failure is None
    assert kept(running) == {"strangers.txt"}
    assert running.ask("secrets/list", scope=f"mlflow-app-{NAME}").status_code == 404


@pytest.mark.slow
def test_data_that_another_app_wrote_last_is_not_deleted(running: Trial) -> None:
    lease = {"number": 1, "instance": "i", "app": "other", "machine": "m", "pid": 0, "renewed": "2026-11-21T20:00:00Z"}
    address = f"{running.workspace.url}/api/2.0/fs/files{VOLUME}/leases/000001.json"
    headers = running.workspace.headers()
    assert requests.put(address, data=json.dumps({**lease, "released": True}), headers=headers, timeout=30).ok
    running.workspace.requests.clear()
    for dry in (True, False):
        with pytest.raises(ConflictError, match="holds the data of the app other"):
            delete(running.place(), configured(), running.options(dry_run=dry), data=True)
    assert running.writes() == [] and kept(running) >= {"snapshots", "artifacts", "latest.json"}


@pytest.mark.slow
def test_a_folder_of_artifacts_that_others_use_too_loses_experiments_alone(running: Trial) -> None:
    shared = "/Volumes/main/ml/apps"
    for name in ("7/run/artifacts/model.bin", "strangers/report.txt"):
        address = f"{running.workspace.url}/api/2.0/fs"
        folder = f"{shared}/{name}".rpartition("/")[0]
        for route in (f"directories{folder}", f"files{shared}/{name}"):
            assert requests.put(f"{address}/{route}", data=b"x", headers=running.workspace.headers(), timeout=30).ok
    config = configured(artifacts=f"dbfs:{shared}/")
    outcome = delete(running.place(), config, running.options(), data=True)
    assert outcome.failure is None, outcome.failure
    left = {str(each["name"]) for each in running.ask(f"fs/directories{shared}").json()["contents"]}
    assert left == {"strangers", "tracking"}
    assert kept(running) == {"strangers.txt"}
    assert any("2 others stay" in row.detail for row in outcome.rows if row.step == "data")


@pytest.mark.slow
def test_an_app_that_is_being_deleted_already_is_waited_for(running: Trial) -> None:
    apps(running.workspace).delete_seconds = 1.5
    running.place().rest.call("DELETE", f"/api/2.0/apps/{NAME}")
    outcome = delete(running.place(), by_name(NAME), running.options())
    assert outcome.failure is None and running.app() == {}


@pytest.mark.slow
def test_an_app_that_was_made_again_has_its_data_and_its_passphrase(running: Trial) -> None:
    before = running.call()["environment"]["MLFLOW_CRYPTO_KEK_PASSPHRASE"]
    delete(running.place(), configured(), running.options())
    assert deploy(running.place(), configured(), running.options(), False).failure is None
    assert running.call()["environment"]["MLFLOW_CRYPTO_KEK_PASSPHRASE"] == before


@pytest.mark.slow
def test_a_rehearsed_deletion_writes_nothing(running: Trial) -> None:
    running.workspace.requests.clear()
    outcome = delete(running.place(), configured(), running.options(dry_run=True), data=True)
    assert outcome.status == "would" and running.writes() == []


@pytest.mark.slow
def test_an_app_is_stopped_and_started_and_twice_is_once(running: Trial) -> None:
    assert stop(running.place(), NAME, running.options()).status == "stopped"
    assert running.app()["compute_status"]["state"] == "STOPPED"
    assert stop(running.place(), NAME, running.options()).status == "same"
    outcome = start(running.place(), NAME, running.options())
    assert outcome.failure is None and outcome.status == "started"
    assert running.call()["mark"] == "one"
    assert start(running.place(), NAME, running.options()).status == "same"
    # The platform has deployed its copy of the same files: nothing is left to do.
    for _ in range(2):
        running.workspace.requests.clear()
        assert deploy(running.place(), configured(), running.options()).status == "same"
        assert running.writes() == []
        stop(running.place(), NAME, running.options())
        assert start(running.place(), NAME, running.options()).failure is None


@pytest.mark.slow
def test_an_app_that_is_not_there_is_neither_started_nor_stopped(running: Trial) -> None:
    for change in (start, stop):
        with pytest.raises(NotFoundError, match="there is no app other"):
            change(running.place(), "other", running.options())


@pytest.mark.slow
def test_a_start_whose_app_crashes_is_a_failure(running: Trial) -> None:
    stop(running.place(), NAME, running.options())
    apps(running.workspace).order("CRASHED")
    outcome = start(running.place(), NAME, running.options())
    assert outcome.failure and outcome.exit_code == 1 and "CRASHED" in str(outcome.failure)
    until(running.app, lambda app: not app.get("pending_deployment"))


@pytest.mark.slow
def test_starting_an_app_that_has_crashed_is_no_success(running: Trial) -> None:
    container = apps(running.workspace).held[NAME].container
    assert container
    container.kill()
    until(running.app, lambda app: app["app_status"]["state"] == "CRASHED")
    outcome = start(running.place(), NAME, running.options())
    assert outcome.exit_code == 1 and outcome.failure and "app deploy --force" in outcome.failure.hint
