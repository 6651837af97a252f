"""The workspace's real MLflow server, asked by the emulator itself."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from starlette.responses import Response

from tests.databricks import errors
from tests.databricks.calls import Call
from tests.databricks.state import Workspace

ROOT = "dbfs:/databricks/mlflow-tracking"
# Where the open-source server and the platform put the same things below an experiment.
PLATFORM = (
    (re.compile(rf"({ROOT}/\d+)/models/(m-)".encode()), rb"\1/logged_models/\2"),
    (re.compile(rf"({ROOT}/\d+)/traces/(tr-)".encode()), rb"\1/\2"),
)
PASSED = ("content-type", "accept", "user-agent")


@dataclass
class Known:
    """What the server was asked already: the experiment of each run, logged model and trace."""

    experiments: dict[str, str] = field(default_factory=dict)
    session: requests.Session = field(default_factory=requests.Session)


def forward(call: Call, body: Mapping[str, Any] | None = None) -> requests.Response:
    """The server's answer to this request, with another JSON body if one is given."""
    address = f"{call.workspace.mlflow()}{call.path}" + (f"?{call.url_query}" if call.url_query else "")
    headers = {name: call.headers[name] for name in PASSED if name in call.headers}
    session = call.workspace.part(Known).session
    if body is not None:
        return session.request(call.method, address, json=dict(body), headers=headers, timeout=120)
    return session.request(call.method, address, data=call.body, headers=headers, timeout=120)


def answer(response: requests.Response) -> Response:
    """The server's answer as the platform's: artifact locations are those of Databricks."""
    return Response(platform(response.content), response.status_code, media_type=response.headers.get("content-type"))


def platform(content: bytes) -> bytes:
    """The server's text with the platform's artifact locations."""
    for pattern, replacement in PLATFORM:
        content = pattern.sub(replacement, content)
    return content


def ask(workspace: Workspace, method: str, path: str, **arguments: Any) -> dict[str, Any]:
    """One JSON answer of the server; its errors are raised as ApiError."""
    address = f"{workspace.mlflow()}/api/{path}"
    response = workspace.part(Known).session.request(method, address, timeout=120, **arguments)
    document: dict[str, Any] = json.loads(platform(response.content))
    if not response.ok:
        code = str(document.get("error_code", "INTERNAL_ERROR"))
        raise errors.ApiError(response.status_code, code, str(document.get("message")))
    return document


def experiment_of(workspace: Workspace, thing: str) -> str:
    """The experiment of a run, a logged model (`m-…`) or a trace (`tr-…`); raises ApiError 404."""
    known = workspace.part(Known).experiments
    if thing not in known:
        known[thing] = _experiment(workspace, thing)
    return known[thing]


def _experiment(workspace: Workspace, thing: str) -> str:
    if thing.startswith("m-"):
        return str(ask(workspace, "GET", f"2.0/mlflow/logged-models/{thing}")["model"]["info"]["experiment_id"])
    if thing.startswith("tr-"):
        found = ask(workspace, "GET", f"3.0/mlflow/traces/{thing}")["trace"]["trace_info"]
        return str(found["trace_location"]["mlflow_experiment"]["experiment_id"])
    return str(ask(workspace, "GET", "2.0/mlflow/runs/get", params={"run_id": thing})["run"]["info"]["experiment_id"])
