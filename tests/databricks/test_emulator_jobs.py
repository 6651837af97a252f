"""Jobs in the emulator by the real databricks-sdk: tasks are really run, with the credentials of who submitted them."""

import base64
from datetime import timedelta

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, OperationFailed, PermissionDenied, ResourceDoesNotExist
from databricks.sdk.service.jobs import (
    NotebookTask,
    PythonWheelTask,
    Run,
    RunLifeCycleState,
    RunResultState,
    SparkPythonTask,
    SubmitTask,
    TaskDependency,
)
from databricks.sdk.service.workspace import ImportFormat, Language

from tests.databricks.clients import sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow

ANN = "ann@example.com"
PATIENCE = timedelta(seconds=90)
SCRIPT = """
import sys
from databricks.sdk import WorkspaceClient
print(WorkspaceClient().current_user.me().user_name, *sys.argv[1:])
"""


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    account = databricks_account()
    account.add_user(ANN)
    return account.workspace("a", metastore="m1")


def script(client: WorkspaceClient, text: str, path: str = f"/Users/{ADMIN}/job.py") -> SparkPythonTask:
    client.workspace.upload(path, text.encode(), format=ImportFormat.RAW, overwrite=True)
    return SparkPythonTask(python_file=path, parameters=["a", "b c"])


def notebook(client: WorkspaceClient, text: str, **parameters: str) -> NotebookTask:
    path = f"/Users/{ADMIN}/notebook"
    content = base64.b64encode(f"# Databricks notebook source\n{text}".encode()).decode()
    client.workspace.import_(
        path, content=content, format=ImportFormat.SOURCE, language=Language.PYTHON, overwrite=True
    )
    return NotebookTask(notebook_path=path, base_parameters=parameters)


def submitted(client: WorkspaceClient, *tasks: SubmitTask) -> Run:
    return client.jobs.submit(run_name="test", tasks=list(tasks)).result(timeout=PATIENCE)


def test_a_script_runs_as_who_submitted_it_and_its_output_is_kept(workspace: Workspace) -> None:
    client = sdk(workspace)
    run = submitted(client, SubmitTask(task_key="one", spark_python_task=script(client, SCRIPT)))
    assert run.state and run.state.result_state is RunResultState.SUCCESS
    assert run.tasks
    output = client.jobs.get_run_output(run.tasks[0].run_id or 0)
    assert output.logs == f"{ADMIN} a b c\n"
    with pytest.raises(InvalidParameterValue, match="output of runs with multiple tasks is not supported"):
        client.jobs.get_run_output(run.run_id or 0)


def test_a_failure_is_told_with_its_error_and_trace(workspace: Workspace) -> None:
    client = sdk(workspace)
    task = SubmitTask(task_key="one", spark_python_task=script(client, "raise ValueError('no such thing')"))
    waiting = client.jobs.submit(tasks=[task])
    run = client.jobs.get_run(waiting.run_id)
    assert run.state and run.state.life_cycle_state in (RunLifeCycleState.PENDING, RunLifeCycleState.RUNNING)
    run = waiting.result(timeout=PATIENCE)
    assert run.state and run.state.result_state is RunResultState.FAILED
    assert run.state.state_message == "Task one failed with message: Workload failed, see run output for details"
    assert run.tasks
    output = client.jobs.get_run_output(run.tasks[0].run_id or 0)
    assert output.error == "ValueError: no such thing"
    assert "Traceback" in (output.error_trace or "")


def test_a_wheels_entry_point_runs_with_its_parameters(workspace: Workspace) -> None:
    client = sdk(workspace)
    wheel = PythonWheelTask(package_name="timeit", entry_point="main", parameters=["-n", "7", "-r", "1", "pass"])
    run = submitted(client, SubmitTask(task_key="one", python_wheel_task=wheel))
    assert run.tasks
    assert "7 loops" in (client.jobs.get_run_output(run.tasks[0].run_id or 0).logs or "")


def test_a_notebook_that_is_not_there_is_an_internal_error(workspace: Workspace) -> None:
    client = sdk(workspace)
    task = SubmitTask(task_key="one", notebook_task=NotebookTask(notebook_path="/Shared/nothing"))
    with pytest.raises(OperationFailed, match="INTERNAL_ERROR"):
        submitted(client, task)
    (listed,) = client.jobs.list_runs()
    run = client.jobs.get_run(listed.run_id or 0)
    assert run.state and run.state.life_cycle_state is RunLifeCycleState.INTERNAL_ERROR
    assert 'Unable to access the notebook "/Shared/nothing"' in (run.state.state_message or "")


def test_a_notebook_returns_what_it_exits_with(workspace: Workspace) -> None:
    client = sdk(workspace)
    text = 'dbutils.widgets.text("name", "nobody")\ndbutils.notebook.exit("hello " + dbutils.widgets.get("name"))\n'
    run = submitted(client, SubmitTask(task_key="one", notebook_task=notebook(client, text, name="Ann")))
    assert run.tasks
    output = client.jobs.get_run_output(run.tasks[0].run_id or 0)
    assert output.notebook_output and output.notebook_output.result == "hello Ann"


def test_a_notebook_that_raises_fails_with_its_error(workspace: Workspace) -> None:
    client = sdk(workspace)
    run = submitted(client, SubmitTask(task_key="one", notebook_task=notebook(client, "raise KeyError('x')\n")))
    assert run.state and run.state.result_state is RunResultState.FAILED
    assert run.tasks
    assert "KeyError" in (client.jobs.get_run_output(run.tasks[0].run_id or 0).error or "")


def test_what_depends_on_a_failed_task_does_not_run(workspace: Workspace) -> None:
    client = sdk(workspace)
    bad = SubmitTask(task_key="bad", spark_python_task=script(client, "raise SystemExit(3)"))
    after = SubmitTask(
        task_key="after", spark_python_task=script(client, SCRIPT, "/Shared/b.py"), depends_on=[TaskDependency("bad")]
    )
    run = submitted(client, bad, after)
    assert run.tasks
    results = {task.task_key: task.state.result_state for task in run.tasks if task.state}
    assert results == {"bad": RunResultState.FAILED, "after": RunResultState.UPSTREAM_FAILED}


def test_a_run_is_cancelled_and_one_too_slow_is_stopped(workspace: Workspace) -> None:
    client = sdk(workspace)
    slow = script(client, "import time\ntime.sleep(60)")
    waiting = client.jobs.submit(tasks=[SubmitTask(task_key="one", spark_python_task=slow)])
    client.jobs.cancel_run(waiting.run_id)
    run = waiting.result(timeout=PATIENCE)
    assert run.state and run.state.result_state is RunResultState.CANCELED
    run = submitted(client, SubmitTask(task_key="one", spark_python_task=slow, timeout_seconds=1))
    assert run.state and run.state.result_state is RunResultState.TIMEDOUT


def test_a_token_makes_a_repeated_request_the_same_run(workspace: Workspace) -> None:
    client = sdk(workspace)
    task = SubmitTask(task_key="one", spark_python_task=script(client, SCRIPT))
    first, again = (client.jobs.submit(tasks=[task], idempotency_token=name) for name in ("t1", "t1"))
    assert first.bind() == again.bind()
    first.result(timeout=PATIENCE)
    assert len(list(client.jobs.list_runs())) == 1


def test_runs_of_others_and_nonsense_are_refused(workspace: Workspace) -> None:
    client = sdk(workspace)
    run = submitted(client, SubmitTask(task_key="one", spark_python_task=script(client, SCRIPT)))
    with pytest.raises(PermissionDenied):
        sdk(workspace, ANN).jobs.get_run(run.run_id or 0)
    # The platform answers 400; databricks-sdk knows these words and makes them this error.
    with pytest.raises(ResourceDoesNotExist, match="Run 17 does not exist"):
        client.jobs.get_run(17)
    with pytest.raises(InvalidParameterValue, match="must have exactly one of"):
        client.jobs.submit(tasks=[SubmitTask(task_key="one")])
    with pytest.raises(InvalidParameterValue, match="At least one task"):
        client.jobs.submit(tasks=[])
