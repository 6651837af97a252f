"""One-time job runs of a Databricks workspace, over the Jobs API 2.1.

Which fields a request has and which states a run goes through: databricks-sdk 0.156, `service/jobs.py`.
"""

from __future__ import annotations

from mlflow_migration.errors import NotFoundError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.rest import Rest

RUNS = "/api/2.1/jobs/runs/"
GONE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "NOT_FOUND"})
"""How a workspace answers for a run it doesn't know (Jobs 2.1 says INVALID_PARAMETER_VALUE)."""


def submit(rest: Rest, body: Json) -> int:
    """Start a run; its id. `body` holds an `idempotency_token`: by that a request that arrives twice is one run."""
    return int(rest.call("POST", RUNS + "submit", body)["run_id"])


def run_of(rest: Rest, run_id: int) -> Json:
    """A run with its `state`, `tasks` and `run_page_url`. Raises NotFoundError where there is none of that id."""
    try:
        return rest.call("GET", RUNS + "get", query={"run_id": run_id})
    except ServerError as error:
        if error.code not in GONE:
            raise
        raise NotFoundError(f"no such run of a job: {run_id}", error.why, "check the id and the workspace") from error


def output_of(rest: Rest, run_id: int) -> Json:
    """What one task gave out: `notebook_output`, `logs`, `error`, `error_trace`; each only where there is any."""
    return rest.call("GET", RUNS + "get-output", query={"run_id": run_id})


def cancel(rest: Rest, run_id: int) -> None:
    """Ask a run to stop; one that has ended stays as it is."""
    rest.call("POST", RUNS + "cancel", {"run_id": run_id})
