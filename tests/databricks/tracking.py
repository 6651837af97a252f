"""Tracking: a reverse proxy to a real MLflow server that keeps to what the platform has, allows and adds.

Routes of the open-source server that the platform lacks answer ENDPOINT_NOT_FOUND; registries are other modules'.
"""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from tests.databricks import access, acl, backend, calls, errors, experiments, tracking_artifacts, tracking_traces
from tests.databricks.calls import Call
from tests.databricks.state import Workspace

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
# What of the open-source server's API is also the platform's ("2.0/runs/get"), beside what has a handler of its own.
PLATFORM = re.compile(
    r"2\.0/experiments/(get|get-by-name|search|update|delete|restore|set-experiment-tag|delete-experiment-tag)"
    r"|2\.0/runs/(create|get|update|delete|restore|search|log-metric|log-parameter|log-batch|log-model|log-inputs|outputs"
    r"|set-tag|delete-tag)"
    r"|2\.0/metrics/get-history"
    r"|2\.0/logged-models(/search|/m-[^/]+(/tags(/[^/]+)?|/params)?)?"
    r"|2\.0/traces/(delete-traces|link-to-run|[^/]+/(tags|info))"
    r"|3\.0/traces(/search|/delete-traces|/link-to-run|/tr-[^/]+(/tags|/assessments(/[^/]+)?)?)?"
)
READS = re.compile(r"/search$|/get(-by-name|-history)?$|/info$")
MANAGES = re.compile(r"experiments/(delete|restore)$")
# The platform sets these itself; whoever sets them is told off (mlflow-export-import's issue 12 and its list).
RUN_TAGS = ("mlflow.user", "mlflow.rootRunId")
REQUEST_BYTES = 1024**2


def routes(workspace: Workspace) -> list[BaseRoute]:
    """Everything below /api/*/mlflow that no other module has."""
    table: dict[str, calls.Handler] = {
        "POST /api/2.0/mlflow/experiments/create": experiments.create,
        "POST /api/2.0/mlflow/experiments/update": _checked(experiments.update),
        "POST /api/2.0/mlflow/experiments/delete": _checked(experiments.delete),
        "POST /api/2.0/mlflow/experiments/restore": _checked(experiments.restore),
        "POST /api/2.0/mlflow/experiments/search": experiments.search,
        "GET /api/2.0/mlflow/experiments/search": experiments.search,
        "GET /api/2.0/mlflow/experiments/get-by-name": _checked(experiments.by_name),
        "POST /api/2.0/mlflow/experiments/set-experiment-tag": _checked(experiments.set_tag),
        "POST /api/2.0/mlflow/runs/create": _checked(_create_run),
        "POST /api/2.0/mlflow/runs/set-tag": _checked(_set_run_tag),
        "POST /api/2.0/mlflow/runs/log-batch": _checked(_log_batch),
        **{address: _checked(handler) for address, handler in tracking_artifacts.TABLE.items()},
        **{address: _checked(handler) for address, handler in tracking_traces.TABLE.items()},
        **{f"{method} /api/{{version}}/mlflow/{{rest:path}}": _checked(_pass) for method in METHODS},
    }
    return calls.routes(workspace, table)


def _checked(handler: calls.Handler) -> calls.Handler:
    """The handler, for callers whose permissions on the experiments concerned suffice."""

    def checked(call: Call) -> Response | Mapping[str, Any] | None:
        if not access.is_admin(call.workspace, call.principal):
            wanted = _level(call)
            for experiment in _experiments(call):
                acl.require(call.workspace, call.principal, wanted, ("experiments", experiment))
        return handler(call)

    return checked


def _level(call: Call) -> str:
    """The permission a request needs."""
    if MANAGES.search(call.path):
        return "CAN_MANAGE"
    return "CAN_READ" if call.method == "GET" or READS.search(call.path) else "CAN_EDIT"


def _experiments(call: Call) -> set[str]:
    """The experiments a request is about, by their ids or by those of runs, logged models and traces."""
    query: dict[str, list[str]] = urllib.parse.parse_qs(call.url_query)
    body = call.json
    found = {
        *query.get("experiment_id", []),
        *query.get("experiment_ids", []),
        *map(str, body.get("experiment_ids", [])),
    }
    if one := body.get("experiment_id"):
        found.add(str(one))
    info = body.get("trace", {}).get("trace_info", {})
    for location in (*body.get("locations", []), info.get("trace_location", {})):
        found.add(str(location.get("mlflow_experiment", {}).get("experiment_id", "")))
    things = {
        *query.get("run_id", []),
        *query.get("run_uuid", []),
        str(body.get("run_id") or body.get("run_uuid") or ""),
    }
    things |= set(re.findall(r"/(m-[^/]+|tr-[^/]+)", call.path))
    found |= {backend.experiment_of(call.workspace, thing) for thing in things - {""}}
    return found - {""}


def _pass(call: Call) -> Response:
    if not PLATFORM.fullmatch(f"{call.names['version']}/{call.names['rest']}"):
        raise errors.no_endpoint(call.method, call.path)
    return backend.answer(backend.forward(call))


def _create_run(call: Call) -> Response:
    """The user is the caller, whoever the request names; the root is the run itself or its parent's."""
    body = call.json
    tags = {str(tag["key"]): str(tag.get("value", "")) for tag in body.get("tags", [])}
    if "mlflow.rootRunId" in tags:
        raise _kept("mlflow.rootRunId")
    tags["mlflow.user"] = call.principal.name
    if parent := tags.get("mlflow.parentRunId"):
        tags["mlflow.rootRunId"] = _root(call.workspace, parent)
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    response = backend.forward(call, {**body, "user_id": call.principal.name, "tags": listed})
    if response.ok and not parent:
        run_id = response.json()["run"]["info"]["run_id"]
        tag = {"run_id": run_id, "key": "mlflow.rootRunId", "value": run_id}
        backend.ask(call.workspace, "POST", "2.0/mlflow/runs/set-tag", json=tag)
        run = backend.ask(call.workspace, "GET", "2.0/mlflow/runs/get", params={"run_id": run_id})
        return calls.json_answer(run)
    return backend.answer(response)


def _root(workspace: Workspace, parent: str) -> str:
    run = backend.ask(workspace, "GET", "2.0/mlflow/runs/get", params={"run_id": parent})["run"]
    tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
    return str(tags.get("mlflow.rootRunId", parent))


def _kept(name: str) -> errors.ApiError:
    return errors.invalid(f"Cannot update tag '{name}'")


def _set_run_tag(call: Call) -> Response:
    if call.json.get("key") in RUN_TAGS:
        raise _kept(call.json["key"])
    return backend.answer(backend.forward(call))


def _log_batch(call: Call) -> Response:
    if len(call.body) > REQUEST_BYTES:
        raise errors.invalid(f"Request size {len(call.body)} exceeds the limit of {REQUEST_BYTES} bytes")
    for tag in call.json.get("tags", []):
        if tag.get("key") in RUN_TAGS:
            raise _kept(tag["key"])
    return backend.answer(backend.forward(call))
