"""Apps by the real databricks-sdk: made, deployed, called, stopped and deleted."""

import pytest
import requests
from databricks.sdk.service.apps import App, AppDeployment

from tests.databricks.app_samples import SOURCE, Code, bearer, deployed, get, until, upload
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    return databricks_account().workspace("a", metastore="m1")


def test_a_deployed_app_runs_its_command_with_the_platforms_environment(workspace: Workspace) -> None:
    client = sdk(workspace)
    command = ("python", "app.py", "--port", "$DATABRICKS_APP_PORT", "$HOME")
    app = deployed(client, Code(command=command, env=({"name": "COLOUR", "value": "green"},)))
    assert app.app_status and app.app_status.state and app.app_status.state.value == "RUNNING"
    told = get(workspace, app, "/some/where?x=1").json()
    seen = told["environment"]
    assert told["path"] == "/some/where?x=1"
    assert told["argv"] == ["--port", seen["DATABRICKS_APP_PORT"], "$HOME"]
    assert seen["COLOUR"] == "green"
    assert seen["DATABRICKS_APP_NAME"] == "little"
    assert seen["DATABRICKS_HOST"] == workspace.url
    assert seen["DATABRICKS_CLIENT_ID"] == app.service_principal_client_id
    assert "DATABRICKS_TOKEN" not in seen
    assert told["headers"]["X-Forwarded-Email"] == ADMIN
    assert "Authorization" not in told["headers"]


def test_an_app_refuses_personal_tokens_and_expired_ones(workspace: Workspace) -> None:
    app = deployed(sdk(workspace), Code())
    address = app.url or ""
    assert requests.get(address, headers=workspace.headers(), timeout=30).status_code == 401
    assert requests.get(address, timeout=30).status_code == 401
    kept = bearer(workspace)
    assert until(lambda: requests.get(address, headers=kept, timeout=30), lambda one: one.status_code == 200)
    workspace.account.expire_tokens()
    assert requests.get(address, headers=kept, timeout=30).status_code == 401


def test_a_deleted_app_is_visible_for_a_while_and_keeps_its_name(workspace: Workspace) -> None:
    client = sdk(workspace)
    client.apps.create_and_wait(App(name="little"))
    client.apps.delete("little")
    answer = requests.get(f"{workspace.url}/api/2.0/apps/little", headers=workspace.headers(), timeout=30)
    assert answer.json()["compute_status"]["state"] == "DELETING"
    for method, path, status in (("DELETE", "/little", 400), ("POST", "", 409)):
        again = requests.request(
            method,
            f"{workspace.url}/api/2.0/apps{path}",
            json={"name": "little"},
            headers=workspace.headers(),
            timeout=30,
        )
        assert again.status_code == status, again.text
    until(
        lambda: requests.get(f"{workspace.url}/api/2.0/apps/little", headers=workspace.headers(), timeout=30),
        lambda one: one.status_code == 404,
    )
    client.apps.create_and_wait(App(name="little"))


def test_a_second_deployment_meanwhile_is_refused(workspace: Workspace) -> None:
    client = sdk(workspace)
    apps(workspace).build_seconds = 2
    upload(client, Code())
    client.apps.create_and_wait(App(name="little"))
    waiting = client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    with pytest.raises(Exception, match="active deployment in progress"):
        client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    assert waiting.result().status
