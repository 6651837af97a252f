"""An app in front of the workspace's own tracking."""

from pathlib import Path

import pytest
import requests

from tests.apps.runtime import PERSON, post, running
from tests.databricks.fixtures import AccountFactory


@pytest.mark.slow
def test_what_is_made_through_the_app_is_in_the_workspace(tmp_path: Path, databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a", metastore="m1")
    env = {
        "MLFLOW_APP_BACKEND": "databricks",
        "MLFLOW_APP_EXPERIMENT_PREFIX": "/Shared",
        "DATABRICKS_HOST": workspace.url,
        "DATABRICKS_TOKEN": workspace.token(),
    }
    with running(tmp_path / "app", "", env) as app:
        app.serving()
        made = post(app, "experiments/create", {"name": "churn"})["experiment_id"]
        run = post(app, "runs/create", {"experiment_id": made, "start_time": 1})["run"]
        # The workspace says itself whom it let in: the app.
        assert {"key": "mlflow_app.user", "value": "ann@example.org"} in run["data"]["tags"]
        found = requests.get(
            f"{app.url}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": "churn"},
            headers=PERSON,
            timeout=30,
        ).json()
        assert found["experiment"]["experiment_id"] == made
        notes = " ".join(app.status()["notes"])
        assert "Models page" in notes
        page = requests.get(f"{app.url}/mlflow-app/status", headers=PERSON, timeout=10).text
        assert "Models page" in page
        assert app.stop()[0] == 0
    there = requests.get(
        f"{workspace.url}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": "/Shared/churn"},
        headers=workspace.headers(),
        timeout=30,
    ).json()
    assert there["experiment"]["experiment_id"] == made
