"""The real runtime as a deployed app, one for each backend: it is told everything it needs, and MLflow answers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.deploy import Outcome, deploy
from mlflow_migration.apps.lifecycle import delete
from mlflow_migration.apps.preflight import Making
from mlflow_migration.apps.render import Packages, render
from tests.apps.deploying import NAME, VOLUME, Trial, configured, trial
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN

REAL = Making(lambda config: Packages("3.17.2", ("mlflow==3.17.2",)), render, lambda config: "")


@pytest.fixture
def made(databricks_account: AccountFactory) -> Trial:
    return trial(databricks_account().workspace("a", metastore="m1"))


def deployed(made: Trial, config: AppConfig) -> Outcome:
    outcome = deploy(made.place(), config, replace(made.options(), making=REAL, seconds=180.0, first=0.5))
    lines = "\n".join(str(row) for row in outcome.rows)
    assert outcome.failure is None, f"{outcome.failure}\n{lines}"
    return outcome


def caller(made: Trial) -> Callable[..., requests.Response]:
    """What calls the app as the workspace's admin."""
    headers = {"Authorization": f"Bearer {made.workspace.account.issue(ADMIN)[0]}"}

    def call(method: str, path: str, **more: object) -> requests.Response:
        url = f"{made.app()['url']}{path}"
        answer = requests.request(method, url, headers=headers, timeout=60, json=more or None)
        answer.raise_for_status()
        return answer

    return call


@pytest.mark.slow
def test_with_sqlite_what_was_written_is_there_again_after_the_app_was_deleted_and_made_anew(made: Trial) -> None:
    config = configured(snapshots={"seconds": 1})
    deployed(made, config)
    call = caller(made)
    number = call("POST", "/api/2.0/mlflow/experiments/create", name="churn").json()["experiment_id"]
    status = call("GET", "/mlflow-app/status.json").json()
    assert status["state"] == "serving"
    assert delete(made.place(), config, made.options()).failure is None
    snapshots = made.ask(f"fs/directories{VOLUME}/snapshots").json()["contents"]
    assert len(snapshots) >= 2
    deployed(made, config)
    found = call("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=churn").json()["experiment"]
    assert found["experiment_id"] == number


@pytest.mark.slow
def test_with_lakebase_mlflow_makes_its_tables_in_the_schema_as_the_apps_own_role(made: Trial) -> None:
    deployed(made, configured(backend="lakebase"))
    call = caller(made)
    call("POST", "/api/2.0/mlflow/experiments/create", name="churn")
    names = [each["name"] for each in made.app()["resources"]]
    assert names == ["volume", "passphrase", "database"]
    again = deploy(made.place(), configured(backend="lakebase"), replace(made.options(), making=REAL))
    assert again.status == "same" and again.failure is None


@pytest.mark.slow
def test_with_databricks_the_app_may_edit_the_folder_of_the_experiments(made: Trial) -> None:
    config = configured(backend="databricks", volume=None, experiment_prefix="/Shared/mlflow")
    outcome = deployed(made, config)
    made_by_app = caller(made)("POST", "/api/2.0/mlflow/experiments/create", name="churn").json()["experiment_id"]
    there = made.ask("mlflow/experiments/get-by-name", experiment_name="/Shared/mlflow/churn").json()
    assert there["experiment"]["experiment_id"] == made_by_app
    told = [row.detail for row in outcome.rows if row.state == "told" and row.step == "rights"]
    assert told and "USE CATALOG" in told[0]
    assert outcome.app_name == NAME
