"""An app in front of the workspace's own tracking."""

from pathlib import Path

import pytest
import requests

from tests.apps.runtime import PERSON, post, running
from tests.databricks import catalogue
from tests.databricks.fixtures import AccountFactory

REFUSED = (
    ("GET", "2.0/mlflow/registered-models/search?filter=&max_results=25&order_by=name+ASC"),
    ("GET", "2.0/mlflow/registered-models/search?filter=tags.%60mlflow.prompt.is_prompt%60+%3D+%27true%27"),
    ("GET", "2.0/mlflow/model-versions/search?filter=name%3D%27main.ml.churn%27&order_by=creation_timestamp+DESC"),
    ("POST", "3.0/mlflow/traces/metrics"),
    ("GET", "3.0/mlflow/scorers/list?experiment_id=1"),
    ("GET", "3.0/mlflow/gateway/endpoints/list"),
    ("GET", "3.0/mlflow/mcp-servers?max_results=25"),
)


@pytest.mark.slow
def test_what_is_made_through_the_app_is_in_the_workspace(tmp_path: Path, databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a", metastore="m1")
    catalogue.make(workspace.metastore, "main.ml")
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
        assert {"key": "mlflow_app_user", "value": "ann@example.org"} in run["data"]["tags"]
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
        model = post(app, "registered-models/create", {"name": "main.ml.churn"})["registered_model"]
        assert {"key": "mlflow_app_user", "value": "ann@example.org"} in model["tags"]
        # What MLflow's own pages ask for, and the page says won't work.
        for method, path in REFUSED:
            answer = requests.request(
                method, f"{app.url}/ajax-api/{path}", json={} if method == "POST" else None, headers=PERSON, timeout=30
            )
            assert answer.status_code >= 400, path
        assert app.stop()[0] == 0
    there = requests.get(
        f"{workspace.url}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": "/Shared/churn"},
        headers=workspace.headers(),
        timeout=30,
    ).json()
    assert there["experiment"]["experiment_id"] == made
