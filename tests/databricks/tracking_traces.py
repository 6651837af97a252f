"""Traces: their data as files behind signed URLs, and the search that runs as an operation one asks about."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.databricks import backend, errors, tracking_artifacts
from tests.databricks.calls import Call


@dataclass
class Searches:
    """Searches under way by name; each answers `done` after `polls` questions. `supported` False: only version 3."""

    polls: int = 0
    supported: bool = True
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)


def _credentials(verb: str) -> Callable[[Call], Mapping[str, Any]]:
    def answer(call: Call) -> Mapping[str, Any]:
        folder = tracking_artifacts.trace_folder(call.workspace, call.names["trace"])
        disk = tracking_artifacts.below(folder, call.fields.get("path") or "traces.json")
        return {"credential_info": tracking_artifacts.credential(call, verb, disk)}

    return answer


def _search(call: Call) -> Mapping[str, Any]:
    """Answers as `POST /api/3.0/mlflow/traces/search` does, as an operation."""
    searches = call.workspace.part(Searches)
    if not searches.supported:
        raise errors.invalid("MLflow experiment locations not yet supported")
    if any(location.get("type") != "MLFLOW_EXPERIMENT" for location in call.json.get("locations", [])):
        raise errors.invalid("Only experiments hold traces in this workspace")
    taken = ("locations", "filter", "max_results", "order_by", "page_token")
    asked = {key: call.json[key] for key in taken if key in call.json}
    found = backend.ask(call.workspace, "POST", "3.0/mlflow/traces/search", json=asked)
    response = {"trace_infos": found.get("traces", [])}
    if token := found.get("next_page_token"):
        response["next_page_token"] = token
    name = uuid.uuid4().hex
    searches.answers[name] = (searches.polls, response)
    return _operation(call, name)


def _operation(call: Call, name: str) -> Mapping[str, Any]:
    searches = call.workspace.part(Searches)
    if name not in searches.answers:
        raise errors.missing(f"Operation {name} does not exist.")
    left, response = searches.answers[name]
    if left:
        searches.answers[name] = (left - 1, response)
        return {"name": name, "done": False}
    return {"name": name, "done": True, "response": response}


def _poll(call: Call) -> Mapping[str, Any]:
    return _operation(call, call.names["name"])


_DATA = "/api/2.0/mlflow/traces/{trace}/credentials-for-data"
TABLE: dict[str, Callable[[Call], Mapping[str, Any]]] = {
    f"GET {_DATA}-upload": _credentials("write"),
    f"GET {_DATA}-download": _credentials("read"),
    "POST /api/4.0/mlflow/traces/search-long-running": _search,
    "GET /api/4.0/mlflow/traces/search/operations/{name}": _poll,
}
