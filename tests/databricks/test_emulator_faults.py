"""Faults come exactly as ordered."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests import servers
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    return databricks_account().workspace("a")


def me(workspace: Workspace) -> requests.Response:
    address = f"{workspace.url}/api/2.0/preview/scim/v2/Me"
    return requests.get(address, headers=workspace.headers(), timeout=30)


def mkdirs(workspace: Workspace, path: str) -> requests.Response:
    address = f"{workspace.url}/api/2.0/workspace/mkdirs"
    return requests.post(address, json={"path": path}, headers=workspace.headers(), timeout=30)


def there(workspace: Workspace, path: str) -> bool:
    address = f"{workspace.url}/api/2.0/workspace/get-status?path={path}"
    return requests.get(address, headers=workspace.headers(), timeout=30).ok


def test_so_many_requests_fail_after_so_many_passed(workspace: Workspace) -> None:
    workspace.faults.add(Fault("scim/v2/Me$", 429, times=2, after=1, retry_after=0.5))
    answers = [me(workspace) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "0.5"
    assert answers[1].json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"


def test_a_slow_answer_is_late_and_right(workspace: Workspace) -> None:
    workspace.faults.add(Fault("Me$", 0, delay=0.5))
    begin = time.monotonic()
    assert me(workspace).status_code == 200
    assert time.monotonic() - begin >= 0.5


@pytest.mark.parametrize("performed", [False, True])
def test_a_failed_request_may_have_been_carried_out(workspace: Workspace, performed: bool) -> None:
    workspace.faults.add(Fault("POST .*mkdirs", 503, performed=performed))
    assert mkdirs(workspace, "/Shared/x").status_code == 503
    assert there(workspace, "/Shared/x") is performed


@pytest.mark.parametrize("cut", [0, 20])
def test_a_cut_connection_gives_less_than_was_promised(workspace: Workspace, cut: int) -> None:
    workspace.faults.add(Fault("Me$", cut=cut))
    with pytest.raises(requests.RequestException):
        me(workspace)
    assert me(workspace).ok


def test_a_fault_of_one_principal_spares_the_others(workspace: Workspace) -> None:
    workspace.account.add_user("eve@example.com")
    workspace.faults.add(Fault("Me$", 403, times=0, principal="eve@example.com"))
    address = f"{workspace.url}/api/2.0/preview/scim/v2/Me"
    answers = [
        requests.get(address, headers=workspace.headers(name), timeout=30).status_code
        for name in ("eve@example.com", "admin@example.com")
    ]
    assert answers == [403, 200]


def test_every_request_is_on_the_list_with_who_asked(workspace: Workspace) -> None:
    me(workspace)
    requests.get(f"{workspace.url}/.well-known/databricks-config", timeout=30)
    assert workspace.requests == [
        ("GET", "/api/2.0/preview/scim/v2/Me", "admin@example.com"),
        ("GET", "/.well-known/databricks-config", ""),
    ]


@pytest.mark.slow
def test_a_workspace_started_by_hand_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.databricks.workspace", "--volume", "main:main.default.files"]
    environment = servers.clean_environment({"TMPDIR": str(tmp_path)})
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as process:
        lines = iter(process.stdout or [])
        told: dict[str, str] = {}
        while "MLFLOW_TRACKING_URI" not in told:
            word, _, value = next(lines).strip().removeprefix("export ").partition("=")
            told[word] = value
        headers = {"Authorization": f"Bearer {told['DATABRICKS_TOKEN']}"}
        address = f"{told['DATABRICKS_HOST']}/api/2.0/fs/directories/Volumes/main/default/files"
        assert requests.put(address, headers=headers, timeout=30).status_code == 204
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []
