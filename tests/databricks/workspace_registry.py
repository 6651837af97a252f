"""The workspace's model registry: /api/2.0/mlflow/registered-models and model-versions, with stages, without aliases.

What the open-source server does alike (names, stages, tags, filters, pages) is asked of the workspace's real MLflow
server; here is what the platform adds: permissions, files that are copied, internal ids, and a search's filter that
has to be given.
"""

import json
from collections.abc import Mapping
from typing import Any

import requests
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from tests.databricks import acl, backend, calls, errors, tracking_artifacts, workspace_models
from tests.databricks.calls import Call, Handler
from tests.databricks.state import Workspace

PREFIX = "/api/2.0/mlflow"
KIND = "registered-models"
# The level a request needs on the model it names.
PASSED: Mapping[str, str] = {
    "GET registered-models/get": "CAN_READ",
    "GET registered-models/get-latest-versions": "CAN_READ",
    "POST registered-models/get-latest-versions": "CAN_READ",
    "PATCH registered-models/update": "CAN_EDIT",
    "POST registered-models/set-tag": "CAN_EDIT",
    "DELETE registered-models/delete-tag": "CAN_EDIT",
    "GET model-versions/get": "CAN_READ",
    "PATCH model-versions/update": "CAN_EDIT",
    "POST model-versions/set-tag": "CAN_EDIT",
    "DELETE model-versions/delete-tag": "CAN_EDIT",
}
OF_STAGES = {"production": "CAN_MANAGE_PRODUCTION_VERSIONS"}


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The registry's routes. The open-source server's aliases are not among them: they fall to ENDPOINT_NOT_FOUND."""
    table: dict[str, Handler] = {
        "POST registered-models/create": _create_model,
        "POST registered-models/rename": _rename_model,
        "DELETE registered-models/delete": _delete_model,
        "GET registered-models/search": _search_models,
        "POST model-versions/create": _create_version,
        "POST model-versions/transition-stage": _transition,
        "DELETE model-versions/delete": _delete_version,
        "GET model-versions/search": _search_versions,
        "GET model-versions/get-download-uri": _download_uri,
        "GET model-versions/list-artifacts": _list_files,
        "GET model-versions/get-signed-download-uri": _signed_uri,
        "GET databricks/registered-models/get": _databricks_model,
        "POST databricks/model-versions/transition-stage": _databricks_transition,
        **{address: _passing(level) for address, level in PASSED.items()},
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _passing(level: str) -> Handler:
    def passed(call: Call) -> Response:
        _require(call, level)
        return _answer(call, backend.forward(call))

    return passed


def _require(call: Call, level: str, name: str = "") -> None:
    """Raise ApiError 403 unless the caller has that level on the model; the server tells of one that isn't there."""
    number = workspace_models.registry(call.workspace).ids.get(name or call.need("name"))
    if number is not None:
        acl.require(call.workspace, call.principal, level, (KIND, number))


def _answer(call: Call, response: requests.Response) -> Response:
    """The server's answer with what the platform adds to each model and version in it."""
    document = json.loads(backend.platform(response.content))
    _complete(call.workspace, document)
    return JSONResponse(document, response.status_code)


def _complete(workspace: Workspace, document: Any) -> None:
    if isinstance(document, list):
        for one in document:
            _complete(workspace, one)
    if not isinstance(document, dict):
        return
    held = workspace_models.registry(workspace)
    key = (str(document.get("name")), str(document.get("version")))
    if copy := held.copies.get(key):
        document |= {"user_id": copy.creator, "status": copy.status}
        if copy.message:
            document["status_message"] = copy.message
    elif "version" not in document and document.get("name") in held.creators:
        document["user_id"] = held.creators[document["name"]]
    for one in document.values():
        _complete(workspace, one)


def _create_model(call: Call) -> Response:
    response = backend.forward(call)
    if response.ok:
        number = workspace_models.add_model(call.workspace, call.need("name"), call.principal.name)
        call.workspace.part(acl.Acls).give(KIND, number, call.principal.name, "CAN_MANAGE")
    return _answer(call, response)


def _rename_model(call: Call) -> Response:
    _require(call, "CAN_MANAGE")
    response = backend.forward(call)
    if response.ok:
        workspace_models.rename_model(call.workspace, call.need("name"), call.need("new_name"))
    return _answer(call, response)


def _delete_model(call: Call) -> Response:
    """A model with a version in Staging or Production is kept, which the open-source server doesn't mind."""
    _require(call, "CAN_MANAGE")
    name = call.need("name")
    condition = {"filter": f"name='{name}'"}
    found = backend.ask(call.workspace, "GET", "2.0/mlflow/model-versions/search", params=condition)
    if any(one.get("current_stage") in ("Staging", "Production") for one in found.get("model_versions", [])):
        raise errors.ApiError(
            400,
            "INVALID_STATE",
            f"Registered Model {name} has versions in Staging or Production: archive or delete them first",
        )
    response = backend.forward(call)
    if response.ok:
        workspace_models.remove_model(call.workspace, name)
    return _answer(call, response)


def _search_models(call: Call) -> Response:
    return _seen(call, backend.forward(call), "registered_models")


def _search_versions(call: Call) -> Response:
    if not call.query.get("filter"):
        raise errors.invalid("Missing filter: please specify a filter parameter in the format `name = 'model_name'`.")
    return _seen(call, backend.forward(call), "model_versions")


def _seen(call: Call, response: requests.Response, field: str) -> Response:
    """A list without the models the caller may not read."""
    document = json.loads(backend.platform(response.content))
    ids = workspace_models.registry(call.workspace).ids
    if field in document:
        document[field] = [
            one
            for one in document[field]
            if acl.level(call.workspace, call.principal, KIND, ids.get(one["name"], "")) != "NO_PERMISSIONS"
        ]
    _complete(call.workspace, document)
    return JSONResponse(document, response.status_code)


def _create_version(call: Call) -> Response:
    _require(call, "CAN_EDIT")
    response = backend.forward(call)
    if response.ok:
        key = (call.need("name"), str(response.json()["model_version"]["version"]))
        workspace_models.add_version(call.workspace, key, call.need("source"), call.principal.name)
    return _answer(call, response)


def _transition(call: Call) -> Response:
    _require(call, OF_STAGES.get(call.need("stage").lower(), "CAN_MANAGE_STAGING_VERSIONS"))
    return _answer(call, backend.forward(call))


def _databricks_transition(call: Call) -> Response:
    """databricks-sdk's own path; `comment` is the platform's."""
    _require(call, OF_STAGES.get(call.need("stage").lower(), "CAN_MANAGE_STAGING_VERSIONS"))
    body = {key: value for key, value in call.json.items() if key != "comment"}
    found = backend.ask(call.workspace, "POST", "2.0/mlflow/model-versions/transition-stage", json=body)
    _complete(call.workspace, found)
    return JSONResponse({"model_version_databricks": found["model_version"]})


def _delete_version(call: Call) -> Response:
    """A version in Staging or Production is kept."""
    _require(call, "CAN_MANAGE")
    name, version = call.need("name"), call.need("version")
    wanted = {"name": name, "version": version}
    found = backend.ask(call.workspace, "GET", "2.0/mlflow/model-versions/get", params=wanted)["model_version"]
    if found.get("current_stage") in ("Staging", "Production"):
        raise errors.ApiError(
            400, "INVALID_STATE", f"Model version {name}/{version} is in {found['current_stage']}: archive it first"
        )
    response = backend.forward(call)
    if response.ok:
        workspace_models.remove_version(call.workspace, name, version)
    return _answer(call, response)


def _download_uri(call: Call) -> Mapping[str, Any]:
    _require(call, "CAN_READ")
    key = (call.need("name"), call.need("version"))
    workspace_models.files(call.workspace, *key)
    return {"artifact_uri": workspace_models.registry(call.workspace).copies[key].location}


def _list_files(call: Call) -> Mapping[str, Any]:
    _require(call, "CAN_READ")
    folder = workspace_models.files(call.workspace, call.need("name"), call.need("version"))
    return tracking_artifacts.listing(folder, call, call.query.get("path", ""))


def _signed_uri(call: Call) -> Mapping[str, Any]:
    _require(call, "CAN_READ")
    folder = workspace_models.files(call.workspace, call.need("name"), call.need("version"))
    file = tracking_artifacts.below(folder, call.need("path"))
    if not file.is_file():
        raise errors.missing(f"No such artifact: {call.need('path')}")
    return tracking_artifacts.credential(call, "read", file)


def _databricks_model(call: Call) -> Mapping[str, Any]:
    """The model with its internal id and what the caller may do with it."""
    _require(call, "CAN_READ")
    name = call.need("name")
    wanted = {"name": name}
    found = backend.ask(call.workspace, "GET", "2.0/mlflow/registered-models/get", params=wanted)["registered_model"]
    number = workspace_models.registry(call.workspace).ids[name]
    _complete(call.workspace, found)
    level = acl.level(call.workspace, call.principal, KIND, number)
    return {"registered_model_databricks": {**found, "id": number, "permission_level": level}}
