"""Making an app of a configuration, and making it what a changed one says."""

from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from mlflow_migration.apps import deploy as deploying
from mlflow_migration.apps.deploy import deploy
from mlflow_migration.errors import UsageError
from tests.apps.deploying import NAME, VOLUME, Trial, configured, trial
from tests.databricks.app_state import apps
from tests.databricks.fixtures import AccountFactory


@pytest.fixture
def made(databricks_account: AccountFactory) -> Trial:
    return trial(databricks_account().workspace("a", metastore="m1"))


def test_a_new_app_runs_with_its_volume_its_passphrase_and_one_instance(made: Trial) -> None:
    outcome = deploy(made.place(), configured(), made.options(), False)
    assert outcome.failure is None, outcome.failure
    assert outcome.status == "created" and outcome.url == made.app()["url"]
    app = made.app()
    assert app["app_status"]["state"] == "RUNNING"
    assert app["active_deployment"]["deployment_id"] == outcome.deployment_id
    assert (app["compute_min_instances"], app["compute_max_instances"]) == (1, 1)
    volume, secret = app["resources"]
    assert volume["uc_securable"]["securable_full_name"] == "main.ml.apps"
    assert volume["uc_securable"]["permission"] == "WRITE_VOLUME"
    assert secret["secret"] == {"scope": f"mlflow-app-{NAME}", "key": "kek-passphrase", "permission": "READ"}
    environment = made.call()["environment"]
    assert environment["MLFLOW_APP_VOLUME"] == VOLUME
    assert len(environment["MLFLOW_CRYPTO_KEK_PASSPHRASE"]) >= 40


def test_nothing_secret_stands_in_files_in_what_is_told_or_in_the_outcome(made: Trial) -> None:
    outcome = deploy(made.place(), configured(), made.options())
    passphrase = made.call()["environment"]["MLFLOW_CRYPTO_KEK_PASSPHRASE"]
    content = made.ask("workspace/export", path=f"{made.source}/app.yaml", direct_download="true").text
    assert passphrase not in content
    names = {each["name"]: each for each in yaml.safe_load(content)["env"]}
    assert names["MLFLOW_CRYPTO_KEK_PASSPHRASE"] == {
        "name": "MLFLOW_CRYPTO_KEK_PASSPHRASE",
        "valueFrom": "passphrase",
    }
    assert passphrase not in "".join(made.told) + str(outcome.as_json())


def test_a_second_run_writes_nothing(made: Trial) -> None:
    deploy(made.place(), configured(), made.options(), False)
    made.workspace.requests.clear()
    again = deploy(made.place(), configured(), made.options(), False)
    assert again.failure is None and again.status == "same", again.rows
    assert made.writes() == []
    assert len(made.deployments()) == 1


def test_an_update_writes_what_differs_removes_what_is_stale_and_keeps_the_passphrase(made: Trial) -> None:
    deploy(made.place(), configured(), made.options("one", {"mlflow_ui/old.js": b"1", "mlflow_ui/kept.js": b"2"}))
    before = made.call()["environment"]["MLFLOW_CRYPTO_KEK_PASSPHRASE"]
    made.workspace.requests.clear()
    outcome = deploy(made.place(), configured(compute="LARGE"), made.options("two", {"mlflow_ui/kept.js": b"2"}), True)
    assert outcome.failure is None and outcome.status == "updated"
    assert made.files(f"{made.source}/mlflow_ui") == {"kept.js": 1}
    written = [path for _, path in made.writes() if "import-file" in path]
    assert not any(path.endswith(("kept.js", "requirements.txt")) for path in written)
    told = made.call()
    assert told["mark"] == "two" and told["environment"]["MLFLOW_CRYPTO_KEK_PASSPHRASE"] == before
    assert made.app()["compute_size"] == "LARGE"


def test_a_passphrase_that_would_be_another_one_is_refused_and_one_that_was_moved_is_taken(made: Trial) -> None:
    deploy(made.place(), configured(), made.options())
    made.workspace.requests.clear()
    moved = configured(encryption={"scope": "mine"})
    with pytest.raises(UsageError, match=f"the app's passphrase is mlflow-app-{NAME}/kek-passphrase"):
        deploy(made.place(), moved, made.options())
    assert made.writes() == []
    before = made.call()["environment"]["MLFLOW_CRYPTO_KEK_PASSPHRASE"]
    outcome = deploy(made.place(), moved, made.options(passphrase=before))
    assert outcome.failure is None, outcome.failure
    assert made.app()["resources"][1]["secret"]["scope"] == "mine"


def test_a_resource_that_changes_behind_its_name_is_deployed_again(made: Trial) -> None:
    for key in ("one", "two"):
        body = {"scope": f"mlflow-app-{NAME}", "key": key, "string_value": key}
        if key == "one":
            deploy(made.place(), configured(), made.options())
        address = f"{made.workspace.url}/api/2.0/secrets/put"
        headers = {"Authorization": f"Bearer {made.workspace.account.issue(made.client.client_id)[0]}"}
        assert requests.post(address, json=body, headers=headers, timeout=30).ok

    def bound(key: str) -> Any:
        secret = {"scope": f"mlflow-app-{NAME}", "key": key, "permission": "READ"}
        told = {"resources": [{"name": "mine", "secret": secret}], "environment": {"MLFLOW_X": {"value_from": "mine"}}}
        return configured(**told)

    deploy(made.place(), bound("one"), made.options())
    assert made.call()["environment"]["MLFLOW_X"] == "one"
    would = deploy(made.place(), bound("two"), made.options(dry_run=True))
    assert {row.step for row in would.rows if row.state == "would"} == {"app", "deployment"}
    deploy(made.place(), bound("two"), made.options())
    assert made.call()["environment"]["MLFLOW_X"] == "two"


def test_a_resource_that_is_no_longer_configured_is_taken_away(made: Trial) -> None:
    secret = {"name": "mine", "secret": {"scope": f"mlflow-app-{NAME}", "key": "kek-passphrase", "permission": "READ"}}
    deploy(made.place(), configured(resources=[secret], environment={"X": {"value_from": "mine"}}), made.options())
    assert [each["name"] for each in made.app()["resources"]] == ["volume", "passphrase", "mine"]
    deploy(made.place(), configured(), made.options())
    assert [each["name"] for each in made.app()["resources"]] == ["volume", "passphrase"]


def test_a_stopped_app_is_started_before_it_is_deployed(made: Trial) -> None:
    deploy(made.place(), configured(), made.options())
    held = apps(made.workspace).held[NAME]
    held.compute = ("STOPPED", "App compute is stopped.")
    outcome = deploy(made.place(), configured(), made.options("two"))
    assert outcome.failure is None, outcome.failure
    assert made.call()["mark"] == "two"


def test_a_dry_run_writes_nothing_and_says_what_would_be_done(made: Trial) -> None:
    outcome = deploy(made.place(), configured(), made.options(dry_run=True), False)
    assert outcome.status == "would" and outcome.failure is None
    assert {row.step for row in outcome.rows if row.state == "would"} == {"passphrase", "app", "upload", "deployment"}
    assert made.writes() == [] and made.app() == {}


@pytest.mark.slow
def test_a_personal_token_deploys_and_says_that_no_call_was_made(made: Trial) -> None:
    outcome = deploy(made.with_token(), configured(), made.options())
    assert outcome.failure is None
    row = next(row for row in outcome.rows if row.step == "health")
    assert row.state == "told" and "not checked by a call" in row.detail and "OAuth" in row.detail


@pytest.mark.slow
def test_who_is_named_in_permissions_gets_them_and_nobody_loses_any(made: Trial) -> None:
    made.workspace.account.add_user("ann@example.com")
    made.workspace.account.add_group("team")
    wanted: list[dict[str, Any]] = [{"user": "ann@example.com"}, {"group": "team", "level": "CAN_MANAGE"}]
    deploy(made.place(), configured(), made.options())
    made.workspace.requests.clear()
    would = deploy(made.place(), configured(permissions=wanted), made.options(dry_run=True))
    assert would.status == "would" and [row.step for row in would.rows if row.state == "would"] == ["permissions"]
    assert made.writes() == []
    deploy(made.place(), configured(permissions=wanted), made.options())
    listed = made.ask(f"permissions/apps/{NAME}").json()["access_control_list"]
    given = {
        each.get("user_name") or each.get("group_name") or each.get("service_principal_name"): {
            level["permission_level"] for level in each["all_permissions"]
        }
        for each in listed
    }
    assert given["ann@example.com"] == {"CAN_USE"} and given["team"] == {"CAN_MANAGE"}
    assert given[made.client.client_id] == {"CAN_MANAGE"}


@pytest.mark.slow
def test_create_refuses_an_app_that_is_there_and_update_one_that_is_not(made: Trial) -> None:
    with pytest.raises(UsageError, match="there is no app tracking"):
        deploy(made.place(), configured(), made.options(), True)
    deploy(made.with_token(), configured(), made.options())
    with pytest.raises(UsageError, match="there is an app tracking already"):
        deploy(made.place(), configured(), made.options(), False)


@pytest.mark.slow
def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_begun(made: Trial, tmp_path: Path) -> None:
    config = configured(
        volume="/Volumes/main/ml/nowhere/x",
        workspace_path="/Workspace/Users/nobody@example.com/app",
        permissions=[{"user": "nobody@example.com"}],
        resources=[{"name": "volume", "app": {"name": "other", "permission": "CAN_USE"}}],
    )
    with pytest.raises(UsageError) as raised:
        deploy(made.place(), config, made.options("one", {"big.bin": bytes(3)}), False)
    told = str(raised.value)
    assert "4 things are wrong" in told
    for word in ("main.ml.nowhere", "/Workspace/Users/nobody@example.com", "there is no user", "volume is there twice"):
        assert word in told
    assert made.writes() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [{"volume": "/srv/mlflow"}, {"volume": "file:///Volumes/main/ml/apps"}, {"artifacts": "/srv/artifacts"}],
)
def test_what_would_be_kept_on_the_apps_own_disk_is_refused(made: Trial, place: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="an app's disk goes with every deployment"):
        deploy(made.place(), configured(**place), made.options(), False)
    assert made.writes() == []


@pytest.mark.slow
def test_a_folder_with_other_files_is_refused_and_stays_as_it_is(made: Trial) -> None:
    deploy(made.place(), configured(), made.options())
    address = f"{made.workspace.url}/api/2.0/workspace-files/import-file{made.source}/mine.txt"
    assert requests.post(address, data=b"mine", headers=made.workspace.headers(), timeout=30).ok
    with pytest.raises(UsageError, match=r"other files, which would be deployed too: mine\.txt"):
        deploy(made.place(), configured(), made.options("two"))
    assert "mine.txt" in made.files()


@pytest.mark.slow
def test_the_defaults_of_a_deployment_are_the_real_files() -> None:
    options = deploying.Options()
    assert options.rollback and options.making.render.__name__ == "render"
