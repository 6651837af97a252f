"""What goes wrong while an app is made: one clear message each, nothing half-made left, the exit code by the table."""

import threading
import time
from dataclasses import replace

import pytest

from mlflow_migration.apps.deploy import Outcome, deploy
from mlflow_migration.apps.preflight import Making
from mlflow_migration.apps.render import Packages, render
from mlflow_migration.errors import AccessError, ForbiddenError, MigrationError, UsageError
from tests.apps.deploying import NAME, Trial, configured, trial
from tests.databricks.app_samples import until
from tests.databricks.app_state import apps
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory


@pytest.fixture
def made(databricks_account: AccountFactory) -> Trial:
    return trial(databricks_account().workspace("a", metastore="m1"))


@pytest.fixture
def running(made: Trial) -> Trial:
    """An app that runs, with the mark `one`."""
    outcome = deploy(made.place(), configured(), made.options())
    assert outcome.failure is None, outcome.failure
    made.told.clear()
    return made


def failure(outcome: Outcome, code: int = 1) -> str:
    """What an outcome says went wrong."""
    assert isinstance(outcome.failure, MigrationError), outcome.rows
    assert outcome.exit_code == code
    return str(outcome.failure)


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_deployment_that_fails_leaves_the_one_before_it_running_with_its_files(running: Trial, state: str) -> None:
    before, files = running.app()["active_deployment"]["deployment_id"], running.files()
    apps(running.workspace).order(state, "quota exceeded")
    outcome = deploy(running.place(), configured(compute="LARGE"), running.options("two", {"new.txt": b"new"}))
    told = failure(outcome)
    assert f"{state}: quota exceeded" in told and f"the deployment before it, {before}, runs still" in told
    assert outcome.status == "rolled back" and outcome.failure and "app logs" in outcome.failure.hint
    app = running.app()
    assert app["active_deployment"]["deployment_id"] == before and app["app_status"]["state"] == "RUNNING"
    assert app["compute_size"] == "MEDIUM"
    assert running.files() == files and running.call()["mark"] == "one"
    # What was put back counts as deployed.
    running.workspace.requests.clear()
    assert deploy(running.place(), configured(), running.options()).status == "same"
    assert running.writes() == []


def test_an_app_that_crashes_after_its_deployment_succeeded_is_brought_back(running: Trial) -> None:
    apps(running.workspace).order("CRASHED")
    outcome = deploy(running.place(), configured(), running.options("two"))
    told = failure(outcome)
    assert "CRASHED" in told and "the app runs as before" in told
    assert outcome.status == "rolled back"
    assert running.call()["mark"] == "one"
    running.workspace.requests.clear()
    assert deploy(running.place(), configured(), running.options()).status == "same"


def test_files_that_never_ran_are_not_what_is_gone_back_to(running: Trial) -> None:
    apps(running.workspace).order("FAILED")
    deploy(running.place(), configured(), running.options("two", rollback=False))
    apps(running.workspace).order("CRASHED")
    outcome = deploy(running.place(), configured(), running.options("three"))
    assert outcome.status == "rolled back" and running.call()["mark"] == "one"
    assert deploy(running.place(), configured(), running.options("four")).failure is None
    assert running.call()["mark"] == "four"


def test_without_rollback_a_failed_deployment_stays_as_it_is(running: Trial) -> None:
    apps(running.workspace).order("CRASHED")
    outcome = deploy(running.place(), configured(), running.options("two", rollback=False))
    assert "it stays as it is" in failure(outcome) and outcome.status == "failed"
    assert running.app()["app_status"]["state"] == "CRASHED"


def test_an_app_that_runs_and_never_answers_as_mlflow_does_counts_as_failed(running: Trial) -> None:
    deaf = b"import time\ntime.sleep(600)\n"
    outcome = deploy(running.place(), configured(), running.options("two", {"server.py": deaf}, seconds=4.0))
    assert "the start of app tracking takes longer than 4 s" in failure(outcome)


@pytest.mark.slow
def test_a_first_deployment_that_failed_names_what_was_made_and_the_same_command_goes_on(made: Trial) -> None:
    apps(made.workspace).order("FAILED", "quota exceeded")
    outcome = deploy(made.place(), configured(), made.options(), False)
    told = failure(outcome)
    assert "quota exceeded" in told and "no deployment before it" in told
    assert f"made so far: passphrase mlflow-app-{NAME}/kek-passphrase, app {NAME}" in told
    assert outcome.failure and f"app delete --name {NAME}" in outcome.failure.hint
    again = deploy(made.place(), configured(), made.options(), False)
    assert again.failure is None and made.call()["mark"] == "one"


@pytest.mark.slow
def test_a_first_deployment_that_failed_is_removed_where_that_is_asked_for(made: Trial) -> None:
    apps(made.workspace).order("FAILED")
    outcome = deploy(made.place(), configured(), made.options(clean=True), False)
    assert "what had been made is removed" in failure(outcome)
    assert made.app() == {} and made.ask("workspace/get-status", path=made.source).status_code == 404
    assert made.ask("secrets/list", scope=f"mlflow-app-{NAME}").status_code == 404


@pytest.mark.slow
def test_an_app_that_is_being_deleted_is_waited_for(running: Trial) -> None:
    apps(running.workspace).delete_seconds = 1.5
    running.place().rest.call("DELETE", f"/api/2.0/apps/{NAME}")
    outcome = deploy(running.place(), configured(), running.options("two"), False)
    assert outcome.failure is None, outcome.failure
    assert any("being deleted" in line for line in running.told)
    assert running.call()["mark"] == "two"


@pytest.mark.slow
def test_a_deployment_of_somebody_else_is_waited_for(running: Trial) -> None:
    apps(running.workspace).order("SUCCEEDED", wait=1.5)
    body = {"source_code_path": running.source, "mode": "SNAPSHOT"}
    running.place().rest.call("POST", f"/api/2.0/apps/{NAME}/deployments", body)
    outcome = deploy(running.place(), configured(), running.options("two"))
    assert outcome.failure is None, outcome.failure
    assert running.call()["mark"] == "two"


@pytest.mark.slow
def test_a_missing_right_on_the_volume_is_told_with_the_statement_before_anything_is_made(made: Trial) -> None:
    account = made.workspace.account
    account.add_user("ben@example.com")
    with pytest.raises(ForbiddenError) as raised:
        deploy(made.with_token("ben@example.com"), configured(), made.options(), False)
    error = raised.value
    assert error.exit_code == 3 and "can't be given the Volume main.ml.apps" in error.what
    assert "GRANT MANAGE ON VOLUME `main`.`ml`.`apps` TO `ben@example.com`;" in error.hint
    # Who may look at the Volume and not give it is told the same.
    for type_, name, right in (("catalog", "main", "USE_CATALOG"), ("schema", "main.ml", "USE_SCHEMA")):
        change = {"changes": [{"principal": "ben@example.com", "add": [right]}]}
        made.place().rest.call("PATCH", f"/api/2.1/unity-catalog/permissions/{type_}/{name}", change)
    made.workspace.requests.clear()
    with pytest.raises(ForbiddenError, match="can't be given the Volume"):
        deploy(made.with_token("ben@example.com"), configured(), made.options(), False)
    assert made.writes() == []


@pytest.mark.slow
def test_a_volume_that_is_not_there_is_named_for_a_new_app_and_for_one_that_runs(running: Trial) -> None:
    config = configured(volume="/Volumes/main/ml/nowhere")
    with pytest.raises(UsageError, match=r"no such volume main\.ml\.nowhere"):
        deploy(running.place(), config, running.options(), True)
    with pytest.raises(UsageError, match=r"no such volume main\.ml\.nowhere"):
        deploy(running.place(), config.model_copy(update={"name": "another"}), running.options(), False)


@pytest.mark.slow
def test_who_may_not_manage_an_app_is_told_so(running: Trial) -> None:
    running.workspace.account.add_user("ben@example.com")
    running.workspace.requests.clear()
    with pytest.raises(ForbiddenError, match=r"doesn't allow it|CAN_MANAGE") as raised:
        deploy(running.with_token("ben@example.com"), configured(), running.options("two"), True)
    assert raised.value.exit_code == 3
    assert running.writes() == []


@pytest.mark.slow
def test_a_file_of_twelve_megabytes_is_refused_before_anything_is_made(made: Trial) -> None:
    packages = Packages("3.17.2", ("./big.whl",), {"big.whl": bytes(12 * 1024**2)})
    making = Making(lambda config: packages, render, lambda config: "")
    with pytest.raises(UsageError) as raised:
        deploy(made.place(), configured(), replace(made.options(), making=making), False)
    assert raised.value.exit_code == 2
    assert "big.whl: 12582912 bytes; 10485760 at most" in str(raised.value)
    assert made.writes() == []


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_workspace_is_asked_again(made: Trial, status: int) -> None:
    for path in ("POST /api/2.0/apps$", "POST /api/2.0/apps/tracking/deployments", "GET /api/2.0/apps/tracking$"):
        made.workspace.faults.add(Fault(path, status, times=2, retry_after=0.05))
    outcome = deploy(made.place(), configured(), made.options(), False)
    assert outcome.failure is None, outcome.failure
    assert len(made.deployments()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", ["POST /api/2.0/apps$", "POST /api/2.0/apps/tracking/deployments"])
def test_a_request_whose_answer_was_lost_makes_nothing_twice(made: Trial, path: str) -> None:
    made.workspace.faults.add(Fault(path, 503, performed=True, retry_after=0.05))
    outcome = deploy(made.place(), configured(), made.options(), False)
    assert outcome.failure is None, outcome.failure
    assert len(made.deployments()) == 1


@pytest.mark.slow
def test_a_workspace_that_stays_busy_is_given_up_with_what_was_made(made: Trial) -> None:
    made.workspace.faults.add(Fault("POST /api/2.0/apps/tracking/deployments", 503, times=0, retry_after=0.05))
    outcome = deploy(made.place(patience=1), configured(), made.options(), False)
    assert "answered 503 each time" in failure(outcome) and "made so far" in failure(outcome)


@pytest.mark.slow
def test_tokens_that_end_in_the_middle_are_renewed(running: Trial) -> None:
    ending = threading.Event()

    def end() -> None:
        while not ending.wait(0.3):
            running.workspace.account.expire_tokens()

    thread = threading.Thread(target=end)
    thread.start()
    try:
        outcome = deploy(running.place(), configured(), running.options("two"))
    finally:
        ending.set()
        thread.join()
    assert outcome.failure is None, outcome.failure


@pytest.mark.slow
def test_an_app_that_is_deleted_while_it_is_deployed_is_one_clear_failure(running: Trial) -> None:
    apps(running.workspace).order("SUCCEEDED", wait=3)

    def remove() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not running.app().get("pending_deployment"):
            time.sleep(0.05)
        running.place().rest.call("DELETE", f"/api/2.0/apps/{NAME}")

    thread = threading.Thread(target=remove)
    thread.start()
    outcome = deploy(running.place(), configured(), running.options("two"))
    thread.join()
    assert "CANCELLED" in failure(outcome)
    until(running.app, lambda app: not app)


@pytest.mark.slow
def test_a_workspace_that_is_not_there_ends_it_with_code_3(made: Trial) -> None:
    made.workspace.faults.add(Fault("GET /api/2.0/preview/scim/v2/Me", 401, times=0))
    with pytest.raises(AccessError) as raised:
        deploy(made.place(patience=1), configured(), made.options(), False)
    assert raised.value.exit_code == 3


@pytest.mark.slow
def test_a_right_that_the_app_has_lost_is_granted_again(running: Trial) -> None:
    client_id = running.app()["service_principal_client_id"]
    path = "/api/2.1/unity-catalog/permissions/volume/main.ml.apps"
    change = {"changes": [{"principal": client_id, "remove": ["READ_VOLUME"]}]}
    running.place().rest.call("PATCH", path, change)
    outcome = deploy(running.place(), configured(), running.options())
    assert outcome.failure is None and outcome.status == "updated"
    assignments = running.place().rest.call("GET", path)["privilege_assignments"]
    held = next(row["privileges"] for row in assignments if row["principal"] == client_id)
    assert set(held) == {"READ_VOLUME", "WRITE_VOLUME"}
    assert len(running.deployments()) == 1
