"""`app test` and `app call`: an app as a client finds it, by OAuth."""

import json
from pathlib import Path

import pytest
from databricks.sdk.service.apps import App

from tests.apps.looking import personal, tool_of
from tests.conftest import Tool
from tests.databricks.app_proxy import NAME, proxied
from tests.databricks.app_samples import Code, deployed
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.faults import Fault
from tests.databricks.state import Account, Workspace
from tests.rest import Api, Json
from tests.servers import Server

NAMED = ("--name", NAME)
PROBE = "mlflow-migration-app-test"
SECRETS = ("dapi", "dose", "eyJ")


@pytest.fixture
def tool(run_tool: Tool, account: Account, workspace: Workspace) -> Tool:
    return tool_of(run_tool, account, workspace)


@pytest.fixture
def app(workspace: Workspace, destination: Server) -> App:
    return proxied(workspace, destination)


def experiments(server: Server) -> list[Json]:
    """Those of the test, in every state."""
    answer = Api(server.url).post("experiments/search", max_results=100, view_type="ALL")
    return [each for each in answer["experiments"] if each["name"] == PROBE]


def test_a_test_that_only_reads_changes_nothing(app: App, tool: Tool, destination: Server) -> None:
    document = tool("app", "test", *NAMED, "--json").expect(0).json
    steps = document["steps"]
    assert [each["name"] for each in steps] == ["health", "version", "page", "experiments/search"]
    assert all(each["ok"] and each["seconds"] > 0 for each in steps)
    assert experiments(destination) == []


def test_a_test_that_writes_reads_back_what_it_wrote_and_leaves_one_experiment_in_the_trash(
    app: App, tool: Tool, destination: Server
) -> None:
    for _ in range(2):
        document = tool("app", "test", *NAMED, "--write", "--json").expect(0).json
        names = [each["name"] for each in document["steps"]]
        assert names[4:] == [
            "experiment is made",
            "run is made",
            "metric comes back",
            "artifact comes back",
            "all is deleted",
        ]
        (found,) = experiments(destination)
        assert found["lifecycle_stage"] == "deleted"
    assert len([*destination.artifacts.rglob("answer.txt")]) == 2


def test_a_step_that_fails_is_told_and_what_was_made_is_deleted(
    app: App, tool: Tool, workspace: Workspace, destination: Server
) -> None:
    workspace.faults.add(
        Fault(f"POST app://{NAME}.*log-batch", 400, times=0, body={"error_code": "X", "message": "no"})
    )
    outcome = tool("app", "test", *NAMED, "--write", "--json").expect(1).json
    failed = [each["name"] for each in outcome["steps"] if not each["ok"]]
    assert failed == ["metric comes back"]
    assert experiments(destination)[0]["lifecycle_stage"] == "deleted"


@pytest.mark.slow
def test_an_app_that_is_no_mlflow_fails_its_test(workspace: Workspace, tool: Tool) -> None:
    deployed(sdk(workspace), Code(), App(name=NAME))
    steps = {each["name"]: each["ok"] for each in tool("app", "test", *NAMED, "--json").expect(1).json["steps"]}
    assert steps["page"] is False


@pytest.mark.slow
def test_a_personal_token_is_refused_and_a_stopped_app_fails(
    app: App, run_tool: Tool, account: Account, workspace: Workspace, tool: Tool
) -> None:
    told = personal(run_tool, workspace, account)("app", "test", *NAMED, "--json").expect(3)
    assert "OAuth" in told.json["error"]["message"]
    held = apps(workspace).held[NAME]
    assert held.container
    held.container.process.kill()
    held.container.wait(10)
    steps = tool("app", "test", *NAMED, "--json").expect(1).json["steps"]
    assert steps[0]["ok"] is False


@pytest.mark.slow
def test_a_call_prints_what_the_app_answers(app: App, tool: Tool, tmp_path: Path) -> None:
    assert tool("app", "call", "/health", *NAMED).expect(0).stdout == "OK"
    made = tool("app", "call", "experiments/create", "POST", '{"name": "churn"}', *NAMED).expect(0)
    (tmp_path / "body.json").write_text(json.dumps({"max_results": 5, "filter": "name = 'churn'"}))
    found = tool("app", "call", "experiments/search", *NAMED, "--data", f"@{tmp_path}/body.json", "--json").expect(0)
    assert found.json["status"] == 200
    assert found.json["method"] == "POST"
    listed = found.json["answer"]["experiments"]
    assert [each["experiment_id"] for each in listed] == [made.json["experiment_id"]]
    assert not [secret for secret in SECRETS if secret in found.stdout + found.stderr + made.stdout]


@pytest.mark.slow
def test_a_call_ends_by_the_status_of_its_answer(
    app: App, tool: Tool, run_tool: Tool, account: Account, workspace: Workspace
) -> None:
    absent = tool("app", "call", "/api/2.0/mlflow/experiments/get?experiment_id=77", *NAMED).expect(1)
    assert "77" in absent.stderr
    tool_of(run_tool, account, workspace, "users")("app", "call", "/health", *NAMED).expect(3)
    assert "would send: POST experiments/create" in tool(
        "app", "call", "experiments/create", *NAMED, "--data", '{"name": "x"}', "--dry-run"
    ).expect(0).stdout  # fmt: skip
    for wrong in (
        ("https://example.com/x",),
        ("/health", "BREW"),
        ("experiments/create", "POST", "{name"),
        ("experiments/create", "POST", "{}", "--data", "{}"),
        ("experiments/create", "POST", "@/no/such/file"),
    ):
        tool("app", "call", *NAMED, *wrong).expect(2)


@pytest.mark.slow
def test_a_call_whose_token_has_ended_is_sent_once_more_and_one_that_failed_is_not(
    app: App, tool: Tool, workspace: Workspace, destination: Server
) -> None:
    workspace.faults.add(Fault(f"POST app://{NAME}", 401, times=1))
    tool("app", "call", "experiments/create", *NAMED, "--data", '{"name": "a"}').expect(0)
    workspace.faults.clear()
    workspace.faults.add(Fault(f"POST app://{NAME}", 503, times=1))
    tool("app", "call", "experiments/create", *NAMED, "--data", '{"name": "b"}').expect(1)
    names = {each["name"] for each in Api(destination.url).post("experiments/search", max_results=9)["experiments"]}
    assert names == {"Default", "a"}
