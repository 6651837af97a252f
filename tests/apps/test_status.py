"""`app status`, `app open`, `app permissions`: what the workspace and the app tell, and what it ends with."""

import pytest
import requests
from databricks.sdk.service.apps import App

from tests.apps.looking import personal, status_document, tool_of
from tests.conftest import Tool
from tests.databricks.app_proxy import NAME, proxied
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.state import ADMIN, Account, Workspace
from tests.rest import Json
from tests.servers import Server

NAMED = ("--name", NAME)
ANN = "ann@example.com"


@pytest.fixture
def tool(run_tool: Tool, account: Account, workspace: Workspace) -> Tool:
    return tool_of(run_tool, account, workspace)


@pytest.fixture
def app(workspace: Workspace, destination: Server) -> App:
    """An app with the status document of a runtime."""
    return proxied(workspace, destination, status_document())


def test_an_app_that_runs_and_is_well_is_shown_with_its_snapshot_and_what_would_be_lost(app: App, tool: Tool) -> None:
    document = tool("app", "status", *NAMED, "--json").expect(0).json
    assert document["healthy"] is True
    assert (document["state"]["state"], document["compute"]["state"]) == ("RUNNING", "ACTIVE")
    assert document["url"] == app.url
    assert document["service_principal"]["client_id"] == app.service_principal_client_id
    assert document["deployment"]["state"] == "SUCCEEDED"
    assert document["runtime"]["snapshot"]["generation"] == "G7"
    assert document["runtime"]["loss_seconds"] == 12.5
    text = tool("app", "status", *NAMED).expect(0).stdout
    for part in ("well", "G7, 9 minutes ago", "changes of the last 12 seconds", "5.0 GiB free", "sqlite", "3.17.2"):
        assert part in text, text


def test_what_a_personal_token_cannot_ask_is_told_and_does_not_count_as_well(
    app: App, run_tool: Tool, account: Account, workspace: Workspace
) -> None:
    document = personal(run_tool, workspace, account)("app", "status", *NAMED, "--json").expect(1).json
    assert document["state"]["state"] == "RUNNING"
    assert document["runtime"] is None
    assert "OAuth tokens only" in document["unknown"] and "databricks auth login" in document["unknown"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "restoring"},
        {"supervised": False},
        {"snapshot": {"generation": "G7", "error": "the disk is full"}},
        {"lease": {"error": "the disk is full"}},
        {"password": {"error": "the disk is full"}},
    ],
)
def test_a_runtime_that_does_not_serve_or_keep_what_it_takes_is_not_well(
    workspace: Workspace, destination: Server, tool: Tool, wrong: Json
) -> None:
    proxied(workspace, destination, status_document(**wrong))
    told = tool("app", "status", *NAMED).expect(1).stdout
    assert "not well" in told and ("the disk is full" in told) == ("disk" in str(wrong))


def test_a_stopped_or_crashed_app_is_not_well(app: App, workspace: Workspace, tool: Tool) -> None:
    held = apps(workspace).held[NAME]
    assert held.container
    held.container.process.kill()
    held.container.wait(10)
    crashed = tool("app", "status", *NAMED, "--json").expect(1).json
    assert crashed["runtime"] is None
    assert crashed["unknown"]
    sdk(workspace).apps.stop_and_wait(NAME)
    stopped = tool("app", "status", *NAMED, "--json").expect(1).json
    assert stopped["compute"]["state"] == "STOPPED" and "STOPPED" in stopped["unknown"]


@pytest.mark.slow
def test_an_app_that_is_not_there_ends_with_access(tool: Tool) -> None:
    for command in (
        ("status",),
        ("open", "--print"),
        ("test",),
        ("logs",),
        ("call", "/health"),
        ("permissions", "show"),
    ):
        told = tool("app", *command, "--name", "elsewhere", "--json").expect(3)
        assert "there is no app elsewhere" in told.json["error"]["message"], command


@pytest.mark.slow
def test_the_app_is_named_by_its_configuration_or_by_name_and_not_both(app: App, tool: Tool) -> None:
    tool.home.mkdir(parents=True, exist_ok=True)
    (tool.home / "mlflow-app.yml").write_text(f"name: {NAME}\nvolume: /Volumes/main/ml/app\n")
    assert tool("app", "open", "--print").expect(0).stdout.strip() == f"{app.url}/"
    assert tool("app", "open", "--print", "--page", "status").expect(0).stdout.strip() == f"{app.url}/mlflow-app/status"
    tool("app", "open", "--print", "--config", "mlflow-app.yml", *NAMED).expect(2)
    (tool.home / "mlflow-app.yml").unlink()
    tool("app", "open", "--print").expect(2)
    tool("app", "open", "--print", "--name", "Not A Name").expect(2)
    tool("app", "open", "--print", *NAMED, "--workspace", "http://127.0.0.1:1").expect(2)


def levels(workspace: Workspace) -> dict[str, str]:
    """Who has what on the app itself, as the workspace says."""
    answer = requests.get(
        f"{workspace.url}/api/2.0/permissions/apps/{NAME}", headers=workspace.headers(), timeout=30
    ).json()
    names = ("user_name", "group_name", "service_principal_name")
    return {
        next(row[name] for name in names if row.get(name)): each["permission_level"]
        for row in answer["access_control_list"]
        for each in row["all_permissions"]
        if not each["inherited"]
    }


@pytest.mark.slow
def test_permissions_are_granted_once_and_revoked(app: App, account: Account, workspace: Workspace, tool: Tool) -> None:
    account.add_user(ANN)
    account.add_group("data", ANN)
    grant = ("app", "permissions", "grant", *NAMED, "--json", f"{ANN}=CAN_USE", "group:data=CAN_MANAGE")
    before = levels(workspace)
    assert len(tool(*grant, "--dry-run").expect(0).json["granted"]) == 2
    assert levels(workspace) == before
    tool(*grant).expect(0)
    assert levels(workspace) == {**before, ANN: "CAN_USE", "data": "CAN_MANAGE"}
    workspace.requests.clear()
    assert tool(*grant).expect(0).json["granted"] == []
    assert {method for method, path, _ in workspace.requests if "permissions" in path} == {"GET"}
    tool("app", "permissions", "grant", *NAMED, f"{ANN}=CAN_MANAGE").expect(0)
    assert levels(workspace)[ANN] == "CAN_MANAGE"
    shown = tool("app", "permissions", "show", *NAMED).expect(0).stdout
    assert ANN in shown and "CAN_MANAGE" in shown
    tool("app", "permissions", "revoke", *NAMED, ANN, "data", "--dry-run").expect(0)
    assert ANN in levels(workspace)
    tool("app", "permissions", "revoke", *NAMED, ANN, "data").expect(0)
    assert levels(workspace) == before
    assert "nothing to do" in tool("app", "permissions", "revoke", *NAMED, ANN).expect(0).stdout


@pytest.mark.slow
def test_who_made_an_app_can_leave_it_to_the_admins_whose_level_is_not_the_apps_own(
    app: App, workspace: Workspace, tool: Tool
) -> None:
    tool("app", "permissions", "revoke", *NAMED, ADMIN, "admins").expect(0)
    assert ADMIN not in levels(workspace)
    shown = tool("app", "permissions", "show", *NAMED, "--json").expect(0).stdout
    assert "admins" in shown and "CAN_MANAGE" in shown


@pytest.mark.slow
@pytest.mark.parametrize("words", [("grant", ANN), ("grant", f"{ANN}=CAN_EDIT"), ("revoke", f"{ANN}=CAN_USE")])
def test_a_level_that_is_none_or_missing_is_a_usage_error(tool: Tool, words: tuple[str, str]) -> None:
    tool("app", "permissions", words[0], *NAMED, words[1]).expect(2)


@pytest.mark.slow
def test_a_principal_that_nobody_knows_is_told(app: App, tool: Tool) -> None:
    told = tool("app", "permissions", "grant", *NAMED, "ghost@example.com=CAN_USE").expect(1)
    assert "ghost@example.com" in told.stderr
