"""What goes wrong with deployments and apps: each as the platform tells it, none of it leaving a process behind."""

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, OperationFailed
from databricks.sdk.service.apps import (
    App,
    AppDeployment,
    AppDeploymentState,
    AppHealthCheck,
    ApplicationState,
)
from databricks.sdk.service.workspace import ImportFormat

from tests.databricks import unity_catalog
from tests.databricks.app_samples import SERVER, SOURCE, Code, bearer, deployed, get, until, upload
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import Workspace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Starts a server in a session of its own, tells its number, and ends at SIGTERM as a good app does.
PARENT = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "app.py"], start_new_session=True)
print("child", child.pid, flush=True)
def leave(number, frame):
    print("leaving", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
while True:
    time.sleep(0.1)
"""
# Takes SIGTERM and goes on.
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, lambda number, frame: print('no', flush=True))\n" + SERVER


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    return databricks_account().workspace("a", metastore="m1")


@pytest.fixture
def client(workspace: Workspace) -> WorkspaceClient:
    """A client of the workspace, which has the app `little` without a deployment."""
    client = sdk(workspace)
    client.apps.create_and_wait(App(name="little"))
    return client


def failure(client: WorkspaceClient, made: AppDeployment | None = None) -> str:
    """Why a deployment failed."""
    with pytest.raises(OperationFailed) as failed:
        client.apps.deploy_and_wait("little", made or AppDeployment(source_code_path=SOURCE))
    return str(failed.value)


def state(client: WorkspaceClient) -> ApplicationState | None:
    status = client.apps.get("little").app_status
    return status.state if status else None


def logged(workspace: Workspace) -> list[str]:
    return [line.message for line in apps(workspace).held["little"].lines]


def alive(pid: int) -> bool:
    """Whether there is such a process that hasn't ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_file_of_more_than_ten_megabytes_fails_the_deployment(workspace: Workspace, client: WorkspaceClient) -> None:
    upload(client, Code())
    address = f"{workspace.url}/api/2.0/workspace-files/import-file/{SOURCE.lstrip('/')}/big.bin?overwrite=true"
    assert requests.post(address, data=bytes(12 * 1024**2), headers=workspace.headers(), timeout=60).ok
    assert "big.bin is 12582912 bytes, larger than the maximum allowed file size of 10485760" in failure(client)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"requirements.txt": "no-such-package==1.0"}, "No matching distribution found for no-such-package==1.0"),
        ({"requirements.txt": "click==0.1"}, "No matching distribution found for click==0.1"),
        ({"requirements.txt": "./missing-1.0-py3-none-any.whl"}, "the file does not exist"),
        ({"requirements.txt": "click=>8"}, "Invalid requirement"),
        ({"app.yaml": "command: python app.py"}, "command must be a list of strings"),
        ({"app.yaml": "env: [{name: X, value: 1}]"}, "the value of env X is not a string"),
        (
            {"app.yaml": "env: [{name: X, valueFrom: nothing}]"},
            "Error resolving resource nothing specified in app.yaml",
        ),
        ({"app.yaml": "command: [no-such-command]"}, "no-such-command"),
        ({"app.py": "raise SystemExit(3)"}, "app exited with code 3"),
    ],
)
def test_source_code_that_cannot_run_fails_the_deployment(
    client: WorkspaceClient, files: dict[str, str], message: str
) -> None:
    upload(client, Code({"app.py": SERVER, **files}))
    assert message in failure(client)
    assert state(client) is not ApplicationState.RUNNING


def test_requirements_that_can_be_had_are_taken(workspace: Workspace, client: WorkspaceClient) -> None:
    apps(workspace).index["mlflow"] = {"3.9.0"}
    wanted = "--extra-index-url https://index.example.com\nmlflow==3.9.0\nclick>=8  # the command line\n\n# done\n"
    deployed(client, Code({"app.py": SERVER, "requirements.txt": wanted}))
    assert "Requirement mlflow==3.9.0 can be installed" in logged(workspace)


def test_a_failed_build_leaves_the_last_deployment_running(workspace: Workspace, client: WorkspaceClient) -> None:
    app = deployed(client, Code())
    upload(client, Code({"app.py": SERVER, "requirements.txt": "no-such-package==1.0"}))
    failure(client)
    assert state(client) is ApplicationState.RUNNING
    assert get(workspace, app).ok
    after = client.apps.get("little")
    assert after.active_deployment == app.active_deployment and after.pending_deployment is None


def test_a_health_check_that_is_not_answered_fails_the_deployment(client: WorkspaceClient) -> None:
    upload(client, Code({"app.py": "import time\ntime.sleep(60)"}))
    check = AppDeployment.from_dict(
        {"source_code_path": SOURCE, "health_check": {"path": "/health", "timeout": "1.5s"}}
    )
    assert isinstance(check.health_check, AppHealthCheck)
    assert "Health check of /health was not answered" in failure(client, check)
    assert state(client) is ApplicationState.CRASHED


def test_a_test_can_order_a_failure_a_cancellation_and_a_crash_after_success(
    workspace: Workspace, client: WorkspaceClient
) -> None:
    upload(client, Code())
    apps(workspace).order("FAILED", "quota exceeded")
    assert "quota exceeded" in failure(client)
    apps(workspace).order("CANCELLED")
    waiting = client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    with pytest.raises(TimeoutError):
        waiting.result(timeout=timedelta(seconds=3))
    ended = client.apps.get_deployment("little", waiting.deployment_id)
    assert ended.status and ended.status.state is AppDeploymentState.CANCELLED
    apps(workspace).order("CRASHED")
    ended = client.apps.deploy_and_wait("little", AppDeployment(source_code_path=SOURCE))
    assert ended.status and ended.status.state is AppDeploymentState.SUCCEEDED
    until(lambda: state(client), lambda one: one is ApplicationState.CRASHED)
    app = client.apps.get("little")
    assert app.active_deployment and app.active_deployment.deployment_id == ended.deployment_id


def test_an_app_that_ends_by_itself_is_crashed_and_stays_so(workspace: Workspace, client: WorkspaceClient) -> None:
    app = deployed(client, Code())
    get(workspace, app)
    assert get(workspace, app, "/die").status_code in (502, 503)
    until(lambda: state(client), lambda one: one is ApplicationState.CRASHED)
    assert get(workspace, app).status_code == 503
    assert "App exited with code 7" in logged(workspace)


def test_an_answer_cut_by_a_crash_is_cut_for_the_caller_too(workspace: Workspace, client: WorkspaceClient) -> None:
    app = deployed(client, Code())
    assert get(workspace, app).ok
    with pytest.raises(requests.RequestException):
        requests.get(f"{app.url}/half", headers=bearer(workspace), timeout=30)


def test_a_stop_cancels_a_deployment_under_way(workspace: Workspace, client: WorkspaceClient) -> None:
    upload(client, Code())
    apps(workspace).build_seconds = 30
    waiting = client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    with pytest.raises(BadRequest, match="there is an active deployment in progress"):
        client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    client.apps.stop_and_wait("little")
    ended = client.apps.get_deployment("little", waiting.deployment_id)
    assert ended.status and ended.status.state is AppDeploymentState.CANCELLED


def test_sigterm_reaches_the_command_and_all_it_started_ends_with_it(
    workspace: Workspace, client: WorkspaceClient
) -> None:
    app = deployed(client, Code({"app.py": SERVER, "parent.py": PARENT}, command=("python", "parent.py")))
    assert get(workspace, app).ok
    child = int(next(line for line in logged(workspace) if line.startswith("child ")).split()[1])
    assert alive(child)
    client.apps.stop_and_wait("little")
    assert "leaving" in logged(workspace)
    assert not alive(child)
    assert not [*(workspace.folder / "apps").glob("little/*")]


def test_an_app_that_ignores_sigterm_is_killed_in_the_end(workspace: Workspace, client: WorkspaceClient) -> None:
    apps(workspace).stop_seconds = 1.5
    app = deployed(client, Code({"app.py": STUBBORN}))
    assert get(workspace, app).ok
    begin = time.monotonic()
    client.apps.stop_and_wait("little")
    assert time.monotonic() - begin >= 1.5
    assert logged(workspace)[-2:] == ["no", "App stopped with exit code -9"]


def test_both_processes_run_for_a_moment_where_deployments_overlap(
    workspace: Workspace, client: WorkspaceClient
) -> None:
    apps(workspace).overlap, apps(workspace).settle_seconds = True, 3
    deployed(client, Code())
    first = apps(workspace).held["little"].container
    waiting = client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    second = until(lambda: apps(workspace).held["little"].container, lambda one: one is not first)
    assert first and second and first.alive and second.alive
    waiting.result()
    assert not first.alive and second.alive


def test_ordered_faults_reach_the_api_and_the_apps_url(workspace: Workspace, client: WorkspaceClient) -> None:
    app = deployed(client, Code())
    assert get(workspace, app).ok
    workspace.faults.add(Fault("GET /api/2.0/apps/little$", 429, times=2, retry_after=0.1))
    assert client.apps.get("little").name == "little"
    workspace.faults.add(Fault("GET app://little/slow", 503, times=1))
    assert [get(workspace, app, "/slow").status_code for _ in range(2)] == [503, 200]


def test_an_app_without_its_volume_is_told_so_by_the_files_api(workspace: Workspace, client: WorkspaceClient) -> None:
    unity_catalog.make_volume(workspace.metastore, "main.ml.files")
    code = """
import os
from databricks.sdk import WorkspaceClient
try:
    WorkspaceClient().files.download("/Volumes/main/ml/files/x")
except Exception as error:
    print(type(error).__name__, flush=True)
    raise SystemExit(1)
"""
    upload(client, Code({"app.py": code}))
    apps(workspace).settle_seconds = 60
    assert "app exited with code 1" in failure(client)
    assert "PermissionDenied" in logged(workspace)


def test_a_notebook_in_the_source_is_a_python_file_there(workspace: Workspace, client: WorkspaceClient) -> None:
    upload(client, Code())
    source = b"# Databricks notebook source\nprint(1)"
    client.workspace.upload(f"{SOURCE}/extra.py", source, format=ImportFormat.AUTO)
    client.apps.deploy_and_wait("little", AppDeployment(source_code_path=SOURCE))
    assert "extra.py" in get(workspace, client.apps.get("little")).json()["files"]


def test_an_app_ends_with_the_tests_that_started_it(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from tests.databricks.app_container import Start, start
folder = Path(sys.argv[1])
environment = {"HOME": str(folder / "home"), "PATH": os.environ["PATH"]}
started = start(Start(folder, folder, ["sleep", "300"], environment, print, print))
print(started.process.pid, flush=True)
os._exit(9)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 9
    until(lambda: alive(int(done.stdout)), lambda still: not still)


def test_a_new_account_leaves_no_process_of_the_last(
    workspace: Workspace, client: WorkspaceClient, databricks_account: AccountFactory
) -> None:
    deployed(client, Code())
    container = apps(workspace).held["little"].container
    assert container and alive(container.process.pid)
    workspace.account.reset()
    assert not alive(container.process.pid)
    assert not [*(workspace.folder / "apps").glob("little/*")]
