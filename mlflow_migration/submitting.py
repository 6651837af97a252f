"""Starting a notebook or a command of this tool as a Databricks job, and following it to its end.

from mlflow_migration.submitting import Job, follow, start

run_id = start(rest, Job(notebook="/Users/me@example.com/mlflow-migration/bulk/Export_All", params={…}))
ended = follow(rest, run_id, print)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from mlflow_migration.errors import DONE, INCOMPLETE, ForbiddenError, ServerError, UsageError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks import jobs
from mlflow_migration.server.rest import Rest

PACKAGE = "mlflow-migration"
ENTRY_POINT = "mlflow-migration-task"
"""Runs a command and returns: Databricks takes the SystemExit that ends other console scripts for a failure."""
TASK_KEY = "mlflow-migration"
ENVIRONMENT = "mlflow-migration"
ENVIRONMENT_VERSION = "2"
"""Serverless environments of this version or later have Python 3.11."""
OF_A_TASK = (
    "existing_cluster_id",
    "new_cluster",
    "libraries",
    "environment_key",
    "notebook_task",
    "python_wheel_task",
    "spark_python_task",
    "max_retries",
    "min_retry_interval_millis",
    "retry_on_timeout",
)
"""What a specification without `tasks`, as Jobs 2.0 has it, says of its one task."""
COMPUTE = ("existing_cluster_id", "new_cluster", "environment_key")
ENDED = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})
GOOD = frozenset({"SUCCESS", "SUCCESS_WITH_FAILURES"})
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0
LONGEST_TOKEN = 64


@dataclass(frozen=True)
class Job:
    """What is to be run: a `notebook` with `params`, or from a `wheel` the command `words[0]` with the words behind it.

    `specification` is the body of a `runs/submit` request, or what of it isn't said here. Without a cluster the
    task runs on serverless compute. `timeout` is in seconds, 0 for none. Jobs with the same `idempotency` text
    are one run.
    """

    notebook: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    wheel: str = ""
    words: tuple[str, ...] = ()
    cluster: str = ""
    name: str = ""
    timeout: int = 0
    specification: Mapping[str, object] = field(default_factory=dict)
    idempotency: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended. `result` is a notebook's exit value, "" for other tasks; `logs` what a task printed."""

    key: str
    run_id: int
    state: str
    result: str = ""
    result_truncated: bool = False
    logs: str = ""
    error: str = ""


@dataclass(frozen=True)
class Ended:
    """How a run ended, or where it stands when nobody waits for it any more (`ended` False)."""

    run_id: int
    ended: bool
    state: str
    message: str
    page: str
    seconds: float
    tasks: tuple[TaskEnd, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where Databricks calls the run a success, as it does where the last of its tasks succeeded; else 1."""
        return DONE if self.ended and self.state in GOOD else INCOMPLETE

    def as_json(self) -> Json:
        """The run as plain values."""
        return asdict(self)


def start(rest: Rest, job: Job) -> int:
    """Start a job; the id of its run. The same job always means the same run. Raises UsageError where the job says
    too little or too much, AccessError and ServerError where the workspace refuses it."""
    return jobs.submit(rest, body_of(job))


def body_of(job: Job) -> Json:
    """The `runs/submit` request of a job. Raises UsageError where it says too little or too much."""
    if not 0 < len(job.idempotency) <= LONGEST_TOKEN:
        raise UsageError(
            f"an idempotency token has 1 to {LONGEST_TOKEN} characters", f"this one has {len(job.idempotency)}"
        )
    given = dict(job.specification)
    own = _task_of(job)
    if "tasks" in given and (own or job.cluster):
        raise UsageError("the specification says what to run, and so do the options", hint="leave out one of the two")
    if "tasks" not in given:
        said = {key: given.pop(key) for key in OF_A_TASK if key in given}
        if own and {"notebook_task", "python_wheel_task", "spark_python_task"} & said.keys():
            raise UsageError(
                "the specification says what to run, and so do the options", hint="leave out one of the two"
            )
        given = _with_task({**said, **own}, job, given)
    if job.name:
        given["run_name"] = job.name
    given.setdefault("run_name", TASK_KEY)
    if job.timeout:
        given["timeout_seconds"] = job.timeout
    return {**given, "idempotency_token": job.idempotency}


def _task_of(job: Job) -> Json:
    """The part of a task that says what is run; {} where the specification says it."""
    if job.notebook and (job.wheel or job.words):
        raise UsageError("a job runs a notebook or a wheel's command, not both", hint="leave out one of the two")
    if job.notebook:
        if not job.notebook.startswith("/"):
            raise UsageError(f"not a path in a workspace: {job.notebook}", hint="it begins with /, and has no .py")
        return {"notebook_task": {"notebook_path": job.notebook, "base_parameters": dict(job.params)}}
    if job.params:
        raise UsageError("parameters go with a notebook", hint="give --notebook")
    if bool(job.wheel) != bool(job.words):
        raise UsageError("a wheel goes with the command to run from it", hint="give --wheel and --entry-point")
    if not job.wheel:
        return {}
    return {"python_wheel_task": {"package_name": PACKAGE, "entry_point": ENTRY_POINT, "parameters": list(job.words)}}


def _with_task(task: Json, job: Job, given: Json) -> Json:
    if not any(key.endswith("_task") for key in task):
        raise UsageError("nothing to run", hint="give --notebook, --wheel with --entry-point, or --config with a task")
    if job.cluster:
        task = {key: value for key, value in task.items() if key not in COMPUTE}
        task["existing_cluster_id"] = job.cluster
    libraries = [{"whl": job.wheel}] if job.wheel else []
    if libraries and ("existing_cluster_id" in task or "new_cluster" in task):
        task["libraries"] = [*task.get("libraries", []), *libraries]
    elif libraries and "environment_key" not in task:
        # Serverless compute takes libraries by an environment.
        spec = {"environment_version": ENVIRONMENT_VERSION, "dependencies": [job.wheel]}
        given = {**given, "environments": [{"environment_key": ENVIRONMENT, "spec": spec}]}
        task["environment_key"] = ENVIRONMENT
    return {**given, "tasks": [{"task_key": TASK_KEY, **task}]}


def follow(rest: Rest, run_id: int, tell: Callable[[str], object], patience: float = float("inf")) -> Ended:
    """Wait for a run to end, for `patience` seconds at most; `tell` is given a line at each change of a state.

    Raises NotFoundError where there is no such run, AccessError where the workspace can't be reached any more.
    """
    begun, wait, known = time.monotonic(), FIRST_WAIT, ""
    while True:
        run = jobs.run_of(rest, run_id)
        shown = _state_line(run)
        if shown != known:
            page = f" {run['run_page_url']}" if not known and run.get("run_page_url") else ""
            tell(f"run {run_id}: {shown}{page}")
            known, wait = shown, FIRST_WAIT
        left = patience - (time.monotonic() - begun)
        is_over = str(run.get("state", {}).get("life_cycle_state")) in ENDED
        if is_over or left <= 0:
            return _ended(rest, run, is_over, time.monotonic() - begun)
        time.sleep(max(0.0, min(wait, left)))
        wait = min(wait * 1.5, LONGEST_WAIT)


def cancel(rest: Rest, run_id: int) -> None:
    """Ask a run to stop. Raises NotFoundError where there is no such run."""
    jobs.run_of(rest, run_id)
    jobs.cancel(rest, run_id)


def _state_line(run: Json) -> str:
    tasks = [f"{task.get('task_key')} {_state_of(task)}" for task in run.get("tasks", [])]
    return " · ".join([_state_of(run), *(tasks if len(tasks) > 1 else [])])


def _state_of(run: Json) -> str:
    state = run.get("state", {})
    return str(state.get("result_state") or state.get("life_cycle_state") or "PENDING")


def _ended(rest: Rest, run: Json, is_over: bool, seconds: float) -> Ended:
    tasks = tuple(_task_end(rest, task) for task in run.get("tasks", [])) if is_over else ()
    message = str(run.get("state", {}).get("state_message") or "")
    page = str(run.get("run_page_url") or "")
    return Ended(int(run["run_id"]), is_over, _state_of(run), message, page, round(seconds, 3), tasks)


def _task_end(rest: Rest, task: Json) -> TaskEnd:
    key, run_id, state = str(task.get("task_key")), int(task["run_id"]), _state_of(task)
    try:
        output = jobs.output_of(rest, run_id)
    except (ServerError, ForbiddenError) as error:
        # A task that never began has none, or it isn't shown; how it ended is known all the same.
        return TaskEnd(key, run_id, state, error=str(error))
    notebook = output.get("notebook_output") or {}
    return TaskEnd(
        key,
        run_id,
        state,
        result=str(notebook.get("result") or ""),
        result_truncated=bool(notebook.get("truncated")),
        logs=str(output.get("logs") or ""),
        error=str(output.get("error") or ""),
    )
