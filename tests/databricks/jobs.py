"""Jobs: /api/2.x/jobs/runs/submit, get, get-output, list, cancel. Tasks are really run, by `job_tasks`.

States and messages are those of databricks-sdk's `service/jobs.py` and of what its users report.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import access, calls, catalogue, errors, job_tasks
from tests.databricks.calls import Call, Handler
from tests.databricks.job_tasks import CANCELED, SUCCESS, Outcome, Running
from tests.databricks.paging import page
from tests.databricks.state import Workspace

VERSIONS = ("2.0", "2.1", "2.2")
MOST = 25
TASK_KINDS = ("notebook_task", "python_wheel_task", "spark_python_task")
# What of a submitted task is the task itself, at the top level of the oldest form of the request.
OF_A_TASK = (*TASK_KINDS, "libraries", "new_cluster", "existing_cluster_id", "timeout_seconds", "environment_key")

Answer = Mapping[str, Any] | None


@dataclass
class TaskRun:
    """One task of a run and how far it has come."""

    id: int
    sent: dict[str, Any]
    state: str = "PENDING"
    started: int = 0
    ended: int = 0
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def key(self) -> str:
        """Its name within the run."""
        return str(self.sent["task_key"])


@dataclass
class Run:
    """A submitted run."""

    id: int
    name: str
    creator: str
    tasks: list[TaskRun]
    started: int = field(default_factory=catalogue.now)
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass
class Jobs:
    """A workspace's runs; `pending_seconds` is how long a task waits for its cluster."""

    runs: dict[int, Run] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    pending_seconds: float = 0.2


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of runs, in each version of the API."""
    table: dict[str, Handler] = {}
    for version in VERSIONS:
        root = f"/api/{version}/jobs/runs"
        table |= {
            f"POST {root}/submit": _submit,
            f"GET {root}/get": _get,
            f"GET {root}/get-output": _output,
            f"GET {root}/list": _list,
            f"POST {root}/cancel": _cancel,
        }
    return calls.routes(workspace, table)


def _submit(call: Call) -> Answer:
    sent, jobs = call.json, call.workspace.part(Jobs)
    token = str(sent.get("idempotency_token") or "")
    with call.workspace.lock:
        if token in jobs.tokens:
            return {"run_id": jobs.tokens[token]}
        run = _new_run(call, sent)
        jobs.runs[run.id] = run
        if token:
            jobs.tokens[token] = run.id
    threading.Thread(target=_carry_out, args=(call.workspace, run, jobs.pending_seconds), daemon=True).start()
    return {"run_id": run.id}


def _new_run(call: Call, sent: Mapping[str, Any]) -> Run:
    """The run a request describes; raises ApiError 400 for one that describes none."""
    tasks = sent.get("tasks")
    if tasks is None:
        tasks = [{"task_key": "main", **{key: sent[key] for key in OF_A_TASK if key in sent}}]
    if not isinstance(tasks, list) or not tasks:
        raise errors.invalid("At least one task must be specified")
    keys = [str(task.get("task_key") or "") for task in tasks]
    if "" in keys or len(set(keys)) < len(keys):
        raise errors.invalid("Each task must have a unique task_key")
    for task in tasks:
        if sum(kind in task for kind in TASK_KINDS) != 1:
            raise errors.invalid(f"Task '{task['task_key']}' must have exactly one of {', '.join(TASK_KINDS)}")
        for one in task.get("depends_on") or ():
            if one.get("task_key") not in keys[: keys.index(task["task_key"])]:
                raise errors.invalid(f"Task '{task['task_key']}' depends on unknown task '{one.get('task_key')}'")
    new_id = call.workspace.account.new_id
    limit = {"timeout_seconds": sent["timeout_seconds"]} if sent.get("timeout_seconds") else {}
    runs = [TaskRun(new_id(), {**limit, **task}) for task in tasks]
    return Run(new_id(), str(sent.get("run_name") or "Untitled"), call.principal.name, runs)


def _carry_out(workspace: Workspace, run: Run, pending_seconds: float) -> None:
    """The tasks one after another; those after a failed one they depend on don't run."""
    for task in run.tasks:
        above = {str(one["task_key"]) for one in task.sent.get("depends_on") or ()}
        failed = [one for one in run.tasks if one.key in above and one.outcome.result != SUCCESS]
        task.started = catalogue.now()
        if failed:
            task.outcome = Outcome("UPSTREAM_FAILED", "An upstream task failed.")
        elif run.cancelled.wait(pending_seconds):
            task.outcome = Outcome(CANCELED, "Run cancelled.")
        else:
            task.state = "RUNNING"
            task.outcome = job_tasks.carry_out(Running(workspace, run.creator, task.sent, run.cancelled))
        task.ended = catalogue.now()
        task.state = "INTERNAL_ERROR" if task.outcome.internal else "TERMINATED"


def _run_of(call: Call) -> tuple[Run, TaskRun | None]:
    """The run of an id, and the task when the id is a task's; raises ApiError 400 or 403."""
    number = call.need("run_id")
    for run in call.workspace.part(Jobs).runs.values():
        for task in (None, *run.tasks):
            if str((task or run).id) == number:
                _require_own(call, run)
                return run, task
    # The jobs API answers 400 where others answer 404.
    raise errors.invalid(f"Run {number} does not exist.")


def _require_own(call: Call, run: Run) -> None:
    if run.creator != call.principal.name and not access.is_admin(call.workspace, call.principal):
        raise errors.denied(f"User {call.principal.name} does not have View permissions on run {run.id}")


def _get(call: Call) -> Answer:
    run, task = _run_of(call)
    return _shown_task(call.workspace, run, task) if task else _shown(call.workspace, run)


def _list(call: Call) -> Answer:
    seen = [
        run
        for run in sorted(call.workspace.part(Jobs).runs.values(), key=lambda one: -one.id)
        if run.creator == call.principal.name or access.is_admin(call.workspace, call.principal)
    ]
    found, following = page(call, seen, MOST)
    runs = [{key: value for key, value in _shown(call.workspace, run).items() if key != "tasks"} for run in found]
    return {"runs": runs, "has_more": bool(following), **following}


def _output(call: Call) -> Answer:
    run, task = _run_of(call)
    if task is None:
        raise errors.invalid(
            "Retrieving the output of runs with multiple tasks is not supported. Please retrieve the output of each"
            " individual task run instead."
        )
    body: dict[str, Any] = {"metadata": _shown_task(call.workspace, run, task)}
    outcome = task.outcome
    if "notebook_task" in task.sent:
        body["notebook_output"] = {"result": outcome.value, "truncated": False} if outcome.value is not None else {}
    else:
        body |= {"logs": outcome.logs, "logs_truncated": False}
    if outcome.error:
        body |= {"error": outcome.error, "error_trace": outcome.trace}
    return body


def _cancel(call: Call) -> Answer:
    run, _ = _run_of(call)
    run.cancelled.set()
    return None


def _state_of(run: Run) -> tuple[str, Outcome]:
    """The run's own state, which follows from its tasks'."""
    states = [task.state for task in run.tasks]
    if any(state in ("PENDING", "RUNNING") for state in states):
        if run.cancelled.is_set():
            return "TERMINATING", Outcome()
        return ("PENDING" if set(states) == {"PENDING"} else "RUNNING"), Outcome()
    for task in run.tasks:
        if task.outcome.result != SUCCESS:
            message = f"Task {task.key} failed with message: {task.outcome.message}"
            result = CANCELED if task.outcome.result == CANCELED else task.outcome.result
            return task.state, Outcome(result, message, internal=task.outcome.internal)
    return "TERMINATED", Outcome(SUCCESS)


def _state(life_cycle: str, outcome: Outcome) -> dict[str, Any]:
    state: dict[str, Any] = {"life_cycle_state": life_cycle, "state_message": outcome.message}
    if outcome.result:
        state["result_state"] = outcome.result
    state["user_cancelled_or_timedout"] = outcome.result in (CANCELED, "TIMEDOUT")
    body: dict[str, Any] = {"state": state, "status": {"state": life_cycle}}
    if outcome.result:
        code = SUCCESS if outcome.result == SUCCESS else "RUN_EXECUTION_ERROR"
        kind = SUCCESS if outcome.result == SUCCESS else "CLIENT_ERROR"
        details = {"code": code, "type": kind, "message": outcome.message}
        body["status"] = {"state": "TERMINATED", "termination_details": details}
    return body


def _shown(workspace: Workspace, run: Run) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "job_id": run.id,
        "run_name": run.name,
        "creator_user_name": run.creator,
        "run_type": "SUBMIT_RUN",
        "start_time": run.started,
        "end_time": max((task.ended for task in run.tasks), default=0) if _finished(run) else 0,
        "run_page_url": _address(workspace, run.id),
        "tasks": [_shown_task(workspace, run, task) for task in run.tasks],
        **_state(*_state_of(run)),
    }


def _shown_task(workspace: Workspace, run: Run, task: TaskRun) -> dict[str, Any]:
    return {
        **task.sent,
        "run_id": task.id,
        "job_run_id": run.id,
        "start_time": task.started,
        "end_time": task.ended,
        "run_page_url": _address(workspace, task.id),
        **_state(task.state, task.outcome),
    }


def _finished(run: Run) -> bool:
    return all(task.state not in ("PENDING", "RUNNING") for task in run.tasks)


def _address(workspace: Workspace, number: int) -> str:
    return f"{workspace.url}/?o={workspace.id}#job/{number}/run/{number}"


def wait(workspace: Workspace, seconds: float = 60) -> None:
    """For tests: until no run is under way; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not all(map(_finished, workspace.part(Jobs).runs.values())):
        if time.monotonic() > deadline:
            raise TimeoutError("a run is still under way")
        time.sleep(0.05)
