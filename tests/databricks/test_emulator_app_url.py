"""An app's URL: who is let in, what the app is told of the caller, and the stream of its log."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.apps import App, AppAccessControlRequest, AppDeployment, AppPermissionLevel

from tests.databricks.app_samples import SERVER, SOURCE, Code, as_app, bearer, deployed, get, until, upload
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace

pytestmark = pytest.mark.slow

ANN = "ann@example.com"


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    account = databricks_account()
    account.add_user(ANN)
    return account.workspace("a", metastore="m1")


@pytest.fixture
def app(workspace: Workspace) -> App:
    """A deployed app that answers."""
    app = deployed(sdk(workspace), Code())
    assert get(workspace, app).ok
    return app


def test_a_deployed_app_runs_its_command_with_the_platforms_environment(workspace: Workspace) -> None:
    command = ("python", "app.py", "--port", "$DATABRICKS_APP_PORT", "$HOME")
    app = deployed(sdk(workspace), Code(command=command, env=({"name": "COLOUR", "value": "green"},)))
    assert app.app_status and app.app_status.state and app.app_status.state.value == "RUNNING"
    told = get(workspace, app, "/some/where?x=1%2F2").json()
    seen = told["environment"]
    assert told["path"] == "/some/where?x=1%2F2"
    assert told["argv"] == ["--port", seen["DATABRICKS_APP_PORT"], "$HOME"]
    assert seen["COLOUR"] == "green"
    assert seen["DATABRICKS_APP_NAME"] == "little"
    assert seen["DATABRICKS_HOST"] == workspace.url
    assert seen["DATABRICKS_WORKSPACE_ID"] == str(workspace.id)
    assert seen["DATABRICKS_CLIENT_ID"] == app.service_principal_client_id
    assert seen["DATABRICKS_CLIENT_SECRET"]
    assert "DATABRICKS_TOKEN" not in seen and not [name for name in seen if name.startswith("MLFLOW_")]


def test_only_oauth_tokens_that_are_not_over_are_let_in(workspace: Workspace, app: App) -> None:
    address = app.url or ""
    kept = bearer(workspace)
    assert requests.get(address, headers=kept, timeout=30).status_code == 200
    assert requests.get(address, headers=workspace.headers(), timeout=30).status_code == 401
    assert requests.get(address, timeout=30).status_code == 401
    workspace.account.expire_tokens()
    assert requests.get(address, headers=kept, timeout=30).status_code == 401


def test_the_app_sees_who_asks_and_no_credentials(workspace: Workspace, app: App) -> None:
    headers = {**bearer(workspace), "X-Forwarded-Email": "forged@example.com", "X-Mine": "1"}
    seen = requests.get(app.url or "", headers=headers, timeout=30).json()["headers"]
    assert seen["X-Forwarded-Email"] == seen["X-Forwarded-Preferred-Username"] == ADMIN
    assert seen["X-Forwarded-User"].endswith(f"@{workspace.id}")
    assert seen["Host"] == seen["X-Forwarded-Host"] == (app.url or "").removeprefix("http://")
    assert seen["X-Mine"] == "1" and seen["X-Request-Id"] and seen["X-Real-Ip"]
    assert not {"Authorization", "Cookie", "X-Forwarded-Access-Token"} & {*seen}


def test_a_service_principal_is_told_by_its_application_id_and_the_apps_own_needs_leave(
    workspace: Workspace, app: App
) -> None:
    own = as_app(workspace, app)
    assert requests.get(app.url or "", headers=own.config.authenticate(), timeout=30).status_code == 403
    name = app.service_principal_client_id or ""
    entry = AppAccessControlRequest(service_principal_name=name, permission_level=AppPermissionLevel.CAN_USE)
    sdk(workspace).apps.update_permissions("little", access_control_list=[entry])
    answer = requests.get(app.url or "", headers=own.config.authenticate(), timeout=30)
    assert answer.json()["headers"]["X-Forwarded-Email"] == name


def test_the_callers_token_is_passed_on_with_user_authorization_only(workspace: Workspace, app: App) -> None:
    sdk(workspace).apps.update("little", App(name="little", user_api_scopes=["sql"]))
    seen = requests.get(app.url or "", headers=(sent := bearer(workspace)), timeout=30).json()["headers"]
    assert f"Bearer {seen['X-Forwarded-Access-Token']}" == sent["Authorization"]


def test_a_large_body_goes_there_and_back(workspace: Workspace, app: App) -> None:
    body = bytes(range(256)) * 4 * 1024 * 20
    answer = requests.post(app.url or "", data=body, headers=bearer(workspace), timeout=60)
    assert answer.status_code == 201 and answer.content == body


def test_the_host_the_app_sees_can_be_that_of_the_platform(workspace: Workspace, app: App) -> None:
    apps(workspace).host = "little-1.aws.databricksapps.com"
    assert get(workspace, app).json()["headers"]["Host"] == "little-1.aws.databricksapps.com"


@pytest.mark.slow
def test_mlflow_answers_to_the_apps_host_only_where_it_is_allowed(workspace: Workspace) -> None:
    client = sdk(workspace)
    app = client.apps.create_and_wait(App(name="little"))
    host = (app.url or "").removeprefix("http://")
    # `python -m mlflow` and no script, whose first line names a Python that may have moved.
    words = ["python", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "$DATABRICKS_APP_PORT"]
    words += ["--workers", "1", "--backend-store-uri", "sqlite:///mlflow.db"]
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    for allowed, status in (([], 403), (["--allowed-hosts", host], 200)):
        upload(client, Code({}, tuple(words + allowed)))
        check = {"source_code_path": SOURCE, "health_check": {"path": "/health", "timeout": "120s"}}
        client.apps.deploy_and_wait("little", AppDeployment.from_dict(check))
        assert get(workspace, app, path).status_code == status


async def read(url: str, headers: Mapping[str, str], search: str, until_line: str = "") -> tuple[list[str], int | None]:
    """The frames of the log's stream until one has that text or it is closed, and the code it was closed with."""
    frames: list[str] = []
    address = f"{url.replace('http', 'ws', 1)}/logz/stream"
    given = {"Origin": url, **headers}
    async with aiohttp.ClientSession() as session, session.ws_connect(address, headers=given) as socket:
        with contextlib.suppress(ConnectionError):
            await socket.send_str(search)
        async for message in socket:
            frames.append(str(message.data))
            if until_line and until_line in frames[-1]:
                break
        return frames, socket.close_code


def lines(frames: list[str]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames if frame != "\0"]


def test_the_log_tells_the_apps_own_lines_and_the_platforms(workspace: Workspace, app: App) -> None:
    frames, _ = asyncio.run(read(app.url or "", bearer(workspace), "", "serving"))
    found = lines(frames)
    assert [one["source"] for one in found if one["message"] == "serving"] == ["APP"]
    assert any(one["source"] == "SYSTEM" and "Starting app" in one["message"] for one in found)
    assert all(isinstance(one["timestamp"], float) for one in found)


def test_a_search_term_leaves_out_what_has_it_not_and_silence_is_kept_alive(workspace: Workspace, app: App) -> None:
    apps(workspace).keep_alive_seconds = 0.3
    frames, _ = asyncio.run(read(app.url or "", bearer(workspace), "SERV", "\0"))
    assert [one["message"] for one in lines(frames)] == ["serving"]


def test_the_stream_closes_with_4401_when_the_token_is_over_or_none(workspace: Workspace, app: App) -> None:
    apps(workspace).keep_alive_seconds = 0.2

    async def expiring() -> int | None:
        reading = asyncio.ensure_future(read(app.url or "", bearer(workspace), ""))
        await asyncio.sleep(1)
        workspace.account.expire_tokens()
        return (await reading)[1]

    assert asyncio.run(expiring()) == 4401
    assert asyncio.run(read(app.url or "", workspace.headers(), ""))[1] == 4401
    assert asyncio.run(read(app.url or "", bearer(workspace, ANN), ""))[1] == 4403


def test_the_stream_wants_the_apps_url_as_origin(workspace: Workspace, app: App) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        asyncio.run(read(app.url or "", {**bearer(workspace), "Origin": "https://evil.example.com"}, ""))


def test_what_the_app_says_later_follows(workspace: Workspace) -> None:
    client: WorkspaceClient = sdk(workspace)
    talking = "import threading, time\ndef talk():\n    time.sleep(4)\n    print('later', flush=True)\n"
    talking += "threading.Thread(target=talk, daemon=True).start()\n"
    app = deployed(client, Code({"app.py": talking + SERVER}))
    frames, _ = asyncio.run(asyncio.wait_for(read(app.url or "", bearer(workspace), "", "later"), 60))
    assert lines(frames)[-1]["message"] == "later"
    until(lambda: get(workspace, app), lambda answer: answer.ok)
