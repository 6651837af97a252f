"""run-submit: a notebook or a command of this tool as a job, followed to its end."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlflow_migration import submitting
from mlflow_migration.errors import UsageError
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.rest import Rest
from tests.conftest import Run, Tool
from tests.databricks import jobs
from tests.databricks.faults import Fault
from tests.databricks.fixtures import AccountFactory
from tests.databricks.notebook_cases import FOLDER
from tests.databricks.state import Account, Workspace
from tests.databricks.test_run_notebooks import call, write
from tests.servers import Server

HEADER = "# Databricks notebook source\n"
CELL = "\n# COMMAND ----------\n\n"
ECHO = (
    HEADER
    + 'dbutils.widgets.text("word", "none")'
    + CELL
    + 'dbutils.notebook.exit("said " + dbutils.widgets.get("word"))\n'
)
FAILS = HEADER + 'raise ValueError("no luck")\n'
SLEEPS = HEADER + "import time\n\ntime.sleep(60)\n"
ONCE = "tonight"
AT = ("--tracking-uri", "databricks://a")


@pytest.fixture
def account(databricks_account: AccountFactory, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account with one workspace, found by its profile."""
    account = databricks_account()
    account.workspace("a")
    for name, value in account.environment().items():
        monkeypatch.setenv(name, value)
    return account


@pytest.fixture
def workspace(account: Account) -> Workspace:
    """A workspace with three notebooks."""
    workspace = account.workspace("a")
    for name, source in (("Echo", ECHO), ("Fails", FAILS), ("Sleeps", SLEEPS)):
        write(workspace, f"/Shared/{name}", source)
    return workspace


def runs(workspace: Workspace) -> list[dict[str, Any]]:
    """The runs of jobs, as the workspace lists them."""
    found = call(workspace, "GET", "/api/2.1/jobs/runs/list").get("runs", [])
    assert isinstance(found, list)
    return found


def test_a_notebook_runs_as_a_job_and_its_exit_value_comes_back(workspace: Workspace, run_here: Run) -> None:
    told = run_here("run-submit", *AT, "--notebook", "/Shared/Echo", "--param", "word=hello=you").expect(0)
    assert told.stdout == "said hello=you\n"
    lines = [line for line in told.stderr.splitlines() if line.startswith("run ")]
    assert workspace.url in lines[0] and lines[-1].endswith("SUCCESS")
    assert [run["run_name"] for run in runs(workspace)] == ["mlflow-migration"]


@pytest.mark.slow
def test_a_notebook_of_this_project_exports_from_within_the_workspace(
    workspace: Workspace, run_here: Run, tmp_path: Path
) -> None:
    call(workspace, "POST", "/api/2.0/mlflow/experiments/create", json={"name": "/Shared/wine"})
    write(workspace, "/Shared/tools/Export_Experiment", (FOLDER / "single/Export_Experiment.py").read_text())
    words = ("--param", "experiment=/Shared/wine", "--param", f"output-dir={tmp_path / 'b'}", "--json")
    told = run_here("run-submit", *AT, "--notebook", "/Shared/tools/Export_Experiment", *words).expect(0).json
    (task,) = told["run"]["tasks"]
    report = json.loads(task["result"])
    assert report["command"] == "export-experiment" and report["kinds"]["experiment"]["done"] == 1
    run_here("verify", tmp_path / "b").expect(0)


def test_a_command_runs_from_the_wheel_and_its_report_is_the_log(
    workspace: Workspace, run_here: Run, tmp_path: Path
) -> None:
    call(workspace, "POST", "/api/2.0/mlflow/experiments/create", json={"name": "/Shared/wine"})
    wheel = ("--wheel", "/Volumes/main/tools/wheels/mlflow_migration-0.1.0-py3-none-any.whl")
    words = ("--entry-point", "export-experiments", "--args", f"--experiments all --output-dir '{tmp_path / 'a b'}'")
    told = run_here("run-submit", *AT, *wheel, *words, "--json").expect(0).json
    lines = told["run"]["tasks"][0]["logs"].splitlines()
    report = next(json.loads(line) for line in lines if line.startswith("{"))
    assert report["kinds"]["experiment"]["done"] == 1
    run_here("verify", tmp_path / "a b").expect(0)
    failing = ("--entry-point", "verify", "--args", str(tmp_path / "nowhere"))
    assert "nowhere" in run_here("run-submit", *AT, *wheel, *failing).expect(1).stdout


def test_a_notebook_that_fails_ends_the_command_with_its_reason(workspace: Workspace, run_here: Run) -> None:
    told = run_here("run-submit", *AT, "--notebook", "/Shared/Fails").expect(1)
    assert "FAILED" in told.stdout and "ValueError: no luck" in told.stdout
    document = run_here("run-submit", *AT, "--notebook", "/Shared/nothing", "--json").expect(1).json
    assert document["ok"] is False and document["exit_code"] == 1 and document["run"]["ended"] is True
    assert "/Shared/nothing" in document["run"]["tasks"][0]["error"]


@pytest.mark.parametrize("ending", ["json", "yml"])
def test_a_job_is_taken_from_a_file_also_in_the_form_of_jobs_2_0(
    ending: str, workspace: Workspace, run_here: Run, tmp_path: Path
) -> None:
    tasks = [
        {"task_key": "one", "notebook_task": {"notebook_path": "/Shared/Echo", "base_parameters": {"word": "1"}}},
        {"task_key": "two", "notebook_task": {"notebook_path": "/Shared/Echo"}, "depends_on": [{"task_key": "one"}]},
    ]
    file = tmp_path / f"job.{ending}"
    file.write_text(json.dumps({"run_name": "both", "tasks": tasks}))  # JSON is YAML too.
    told = run_here("run-submit", *AT, "--spec-file", file, "--json").expect(0).json
    assert [task["result"] for task in told["run"]["tasks"]] == ["said 1", "said none"]
    old = {"run_name": "old", "new_cluster": {"num_workers": 1}, "notebook_task": {"notebook_path": "/Shared/Echo"}}
    file.write_text(json.dumps(old))
    assert run_here("run-submit", *AT, "--spec-file", file).expect(0).stdout == "said none\n"
    assert [run["run_name"] for run in runs(workspace)] == ["old", "both"]


def test_one_token_is_one_run_however_often_the_request_arrives(workspace: Workspace, run_here: Run) -> None:
    words = ("--notebook", "/Shared/Echo", "--idempotency-token", "tonight", "--json")
    first = run_here("run-submit", *AT, *words).expect(0).json["run"]["run_id"]
    assert run_here("run-submit", *AT, *words).expect(0).json["run"]["run_id"] == first
    # The workspace does it, and its answer is lost.
    workspace.faults.add(Fault("POST /api/2.1/jobs/runs/submit", status=503, performed=True, retry_after=0))
    run_here("run-submit", *AT, "--notebook", "/Shared/Echo").expect(0)
    assert len(runs(workspace)) == 2


def test_busy_answers_while_following_are_waited_for(workspace: Workspace, run_here: Run) -> None:
    workspace.faults.add(Fault("GET /api/2.1/jobs/runs/get$", status=429, times=2, retry_after=0.1))
    assert run_here("run-submit", *AT, "--notebook", "/Shared/Echo").expect(0).stdout == "said none\n"


def test_a_run_is_left_to_itself_followed_later_and_cancelled(workspace: Workspace, run_here: Run) -> None:
    told = run_here("run-submit", *AT, "--notebook", "/Shared/Sleeps", "--no-wait", "--json").expect(0).json["run"]
    run_id = str(told["run_id"])
    waiting = run_here("run-submit", *AT, "--follow", run_id, "--timeout", "1").expect(1)
    assert f"--follow {run_id}" in waiting.stdout
    run_here("run-submit", *AT, "--cancel", run_id).expect(0)
    ended = run_here("run-submit", *AT, "--follow", run_id, "--json").expect(1).json["run"]
    assert ended["ended"] and ended["state"] == "CANCELED"


def test_a_job_that_takes_too_long_is_stopped_by_the_workspace(workspace: Workspace, run_here: Run) -> None:
    told = run_here("run-submit", *AT, "--notebook", "/Shared/Sleeps", "--timeout", "1").expect(1)
    assert "TIMEDOUT" in told.stdout


# A process that a shell started in the background ignores SIGINT, and so do its children.
INTERRUPTIBLE = """
import signal
from mlflow_migration.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(
    account: Account, workspace: Workspace, run_tool: Tool
) -> None:
    run_tool.home.mkdir(parents=True)
    command = [sys.executable, "-c", INTERRUPTIBLE, "run-submit", *AT, "--notebook", "/Shared/Sleeps"]
    process = subprocess.Popen(
        command, env=run_tool.environment | account.environment(), stderr=subprocess.PIPE, text=True, cwd=run_tool.home
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(30) == 130, rest
    run_id = line.split()[1].rstrip(":")
    assert f"run-submit --follow {run_id}" in rest and f"--cancel {run_id}" in rest
    state = call(workspace, "GET", "/api/2.1/jobs/runs/get", params={"run_id": run_id})["state"]
    assert state["life_cycle_state"] in {"PENDING", "RUNNING"}
    call(workspace, "POST", "/api/2.1/jobs/runs/cancel", json={"run_id": run_id})
    jobs.wait(workspace)


BAD = [
    ((), "nothing to run"),
    (("--notebook", "Shared/Echo"), "not a path in a workspace"),
    (("--notebook", "/Shared/Echo", "--wheel", "/Volumes/x.whl", "--entry-point", "verify"), "not both"),
    (("--notebook", "/Shared/Echo", "--param", "word"), "not a parameter"),
    (("--notebook", "/Shared/Echo", "--param", "=x"), "not a parameter"),
    (("--param", "word=1"), "parameters go with a notebook"),
    (("--wheel", "/Volumes/x.whl"), "give --wheel and --entry-point"),
    (("--entry-point", "verify"), "give --wheel and --entry-point"),
    (("--wheel", "/Volumes/x.whl", "--entry-point", "rm"), "no such command"),
    (("--wheel", "/Volumes/x.whl", "--args", "-rf"), "give --entry-point"),
    (("--notebook", "/Shared/Echo", "--idempotency-token", "x" * 65), "1 to 64 characters"),
    (("--notebook", "/Shared/Echo", "--idempotency-token", ""), "1 to 64 characters"),
    (("--notebook", "/Shared/Echo", "--timeout", "0"), "--timeout"),
    (("--notebook", "/Shared/Echo", "--profile", "a"), "both name the workspace"),
    (("--spec-file", "nowhere.yml"), "can't read"),
    (("--follow", "0"), "--follow"),
    (("--wheel", "/Volumes/x.whl", "--entry-point", "verify", "--args", "'open"), "--args"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words)[:40] for words, _ in BAD])
def test_a_job_that_makes_no_sense_is_refused_before_anybody_is_asked(
    words: tuple[str, ...], said: str, workspace: Workspace, run_here: Run
) -> None:
    workspace.requests.clear()
    assert said in run_here("run-submit", *AT, *words).expect(2).stderr
    assert not any("jobs" in path for _, path, _ in workspace.requests)


@pytest.mark.parametrize("text", ["[1]", "a: [", "1: 2", "", "\0"])
def test_a_file_that_holds_no_job_is_refused(text: str, workspace: Workspace, run_here: Run, tmp_path: Path) -> None:
    (tmp_path / "job.yml").write_text(text)
    told = run_here("run-submit", *AT, "--spec-file", tmp_path / "job.yml").expect(2)
    assert "job.yml" in told.stderr


def test_a_file_and_options_that_both_say_what_to_run_are_refused(
    workspace: Workspace, run_here: Run, tmp_path: Path
) -> None:
    both: tuple[dict[str, Any], ...] = ({"tasks": []}, {"notebook_task": {"notebook_path": "/Shared/Echo"}})
    for job in both:
        (tmp_path / "job.yml").write_text(json.dumps(job))
        words = ("--spec-file", tmp_path / "job.yml", "--notebook", "/Shared/Echo")
        assert "leave out one" in run_here("run-submit", *AT, *words).expect(2).stderr


def test_what_the_workspace_refuses_is_told(account: Account, workspace: Workspace, run_here: Run) -> None:
    assert "no such run" in run_here("run-submit", *AT, "--follow", "12345").expect(1).stderr
    assert "no such run" in run_here("run-submit", *AT, "--cancel", "12345").expect(1).stderr
    workspace.faults.add(Fault("POST /api/2.1/jobs/runs/submit", status=403))
    assert "doesn't allow it" in run_here("run-submit", *AT, "--notebook", "/Shared/Echo").expect(3).stderr


def test_a_workspace_that_stops_answering_leaves_the_job_to_be_followed_later(
    workspace: Workspace, run_here: Run
) -> None:
    workspace.faults.add(Fault("GET /api/2.1/jobs/runs/get$", status=503, times=0, retry_after=0.1))
    told = run_here("run-submit", *AT, "--notebook", "/Shared/Echo", "--patience", "1").expect(3)
    (run,) = runs(workspace)
    assert f"run-submit --follow {run['run_id']}" in told.stderr


def test_a_task_whose_output_is_not_to_be_seen_ends_as_it_ended(workspace: Workspace, run_here: Run) -> None:
    workspace.faults.add(Fault("GET /api/2.1/jobs/runs/get-output", status=403, times=0))
    told = run_here("run-submit", *AT, "--notebook", "/Shared/Echo", "--json").expect(0).json
    assert told["run"]["state"] == "SUCCESS" and "doesn't allow it" in told["run"]["tasks"][0]["error"]


def test_only_a_workspace_runs_jobs(destination: Server, run_here: Run) -> None:
    words = ("--notebook", "/Shared/Echo", "--tracking-uri")
    assert "only a Databricks workspace" in run_here("run-submit", *words, destination.url).expect(2).stderr
    run_here("run-submit", *words, "http://127.0.0.1:9").expect(3)


def test_what_a_job_asks_of_the_workspace_fits_its_compute() -> None:
    wheel = submitting.Job(wheel="/Volumes/x.whl", words=("verify", "b"), idempotency=ONCE, timeout=9)
    task = {"package_name": "mlflow-migration", "entry_point": "mlflow-migration-task", "parameters": ["verify", "b"]}
    serverless = submitting.body_of(wheel)
    assert serverless["timeout_seconds"] == 9 and serverless["idempotency_token"] == ONCE
    assert serverless["tasks"][0]["python_wheel_task"] == task
    (environment,) = serverless["environments"]
    assert environment["spec"]["dependencies"] == ["/Volumes/x.whl"]
    assert serverless["tasks"][0]["environment_key"] == environment["environment_key"]
    more = {"new_cluster": {"num_workers": 0}, "libraries": [{"pypi": {"package": "x"}}], "queue": {"enabled": True}}
    clustered = submitting.body_of(submitting.Job(wheel="/Volumes/x.whl", words=("verify",), specification=more))
    assert clustered["tasks"][0]["libraries"] == [{"pypi": {"package": "x"}}, {"whl": "/Volumes/x.whl"}]
    assert clustered["queue"] == {"enabled": True} and "environments" not in clustered
    own = submitting.body_of(submitting.Job(notebook="/a", cluster="0617", specification=more))
    assert own["tasks"][0]["existing_cluster_id"] == "0617" and "new_cluster" not in own["tasks"][0]
    with pytest.raises(UsageError, match="nothing to run"):
        submitting.body_of(submitting.Job(specification={"run_name": "x"}))


def test_a_program_starts_and_follows_a_job(account: Account, workspace: Workspace) -> None:
    rest, lines = Rest("databricks://a", Credentials(), 2), list[str]()
    job = submitting.Job(notebook="/Shared/Echo", params={"word": "x"}, name="mine")
    ended = submitting.follow(rest, submitting.start(rest, job), lines.append)
    assert (ended.exit_code, ended.tasks[0].result, ended.page) == (0, "said x", runs(workspace)[0]["run_page_url"])
    assert lines and runs(workspace)[0]["run_name"] == "mine"
    rest.close()


def test_the_notebook_that_submits_jobs_gives_what_the_job_gave(
    account: Account, workspace: Workspace, tmp_path: Path
) -> None:
    from tests.databricks.test_notebooks import ran, run

    report = ran("scripts/Run_Submit", tracking_uri="databricks://a", notebook="/Shared/Echo", param="word=a; b=c")
    assert report["run"]["tasks"][0]["result"] == "said a"
    ended = run("scripts/Run_Submit", tracking_uri="databricks://a", notebook="/Shared/Fails")
    assert ended.exit is None and "no luck" in (ended.error or "") and "no luck" in ended.shown[0]


def test_the_notebook_that_downloads_notebooks(account: Account, workspace: Workspace, tmp_path: Path) -> None:
    from tests.databricks.test_notebooks import ran

    place = {"tracking_uri": "databricks://a", "output_dir": str(tmp_path)}
    ran("tools/Download_Notebook", notebook="/Shared/Echo", notebook_formats="SOURCE,HTML", **place)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["Echo.html", "Echo.source"]
