"""Experiments are objects of the workspace's tree: their names are paths there, and the platform adds tags."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from starlette.responses import Response

from tests.databricks import access, acl, backend, calls, errors, workspace_tree
from tests.databricks.calls import Call
from tests.databricks.workspace_tree import Node

PLATFORM_TAGS = ("mlflow.ownerId", "mlflow.ownerEmail", "mlflow.experimentType", "mlflow.experiment.sourceName")
EXAMPLE = "'/Users/<some-username>/my-experiment'"


@dataclass
class Trash:
    """Deleted experiments by id: a deleted one's name is free again, and restoring takes it back."""

    nodes: dict[str, Node] = field(default_factory=dict)


def create(call: Call) -> Response:
    """An experiment at a path whose folder is there and that is free."""
    path = _path(call.json.get("name"))
    with call.workspace.lock:
        _free(call, path)
        _vacate(call, path)
        given = [tag for tag in call.json.get("tags", []) if tag.get("key") not in PLATFORM_TAGS]
        tags = [*given, *({"key": key, "value": value} for key, value in _tags(call, path).items())]
        response = backend.forward(call, {**call.json, "name": path, "tags": tags})
        if response.ok:
            node = Node(path, "MLFLOW_EXPERIMENT", int(response.json()["experiment_id"]))
            workspace_tree.put(call.workspace, call.principal, node, overwrite=False)
    return backend.answer(response)


def _path(name: object) -> str:
    if not isinstance(name, str) or not name.startswith("/"):
        expected = f"An experiment name must be an absolute path within the Databricks workspace, e.g. {EXAMPLE}."
        raise errors.invalid(f"Got an invalid experiment name '{name}'. {expected}")
    return workspace_tree.clean(name)


def _free(call: Call, path: str) -> None:
    """Raise ApiError unless the path's folder is there and nothing is at the path."""
    nodes = workspace_tree.tree(call.workspace)
    folder = workspace_tree.parent(path)
    if folder not in nodes or nodes[folder].type != "DIRECTORY":
        raise errors.missing(f"Parent directory {folder} does not exist.")
    if path in nodes:
        raise errors.taken(f"Node named '{PurePosixPath(path).name}' already exists")
    workspace_tree.require_edit(call.workspace, call.principal, path)


def _tags(call: Call, path: str) -> Mapping[str, str]:
    owner = call.principal
    return dict(zip(PLATFORM_TAGS, (str(owner.id), owner.name, "MLFLOW_EXPERIMENT", path), strict=True))


def update(call: Call) -> Response:
    """Rename: the object moves in the tree."""
    experiment, new = call.need("experiment_id"), _path(call.json.get("new_name"))
    with call.workspace.lock:
        node = workspace_tree.by_id(call.workspace, int(experiment))
        _free(call, new)
        _vacate(call, new)
        response = backend.forward(call, {**call.json, "new_name": new})
        if response.ok and node:
            workspace_tree.move(call.workspace, node, new)
    return backend.answer(response)


def delete(call: Call) -> Response:
    """Into the trash: the path is free again."""
    with call.workspace.lock:
        response = backend.forward(call)
        node = workspace_tree.by_id(call.workspace, int(call.need("experiment_id")))
        if response.ok and node:
            workspace_tree.remove(call.workspace, node.path)
            call.workspace.part(Trash).nodes[str(node.id)] = node
    return backend.answer(response)


def restore(call: Call) -> Response:
    """Back from the trash, to its old path."""
    experiment = call.need("experiment_id")
    with call.workspace.lock:
        node = call.workspace.part(Trash).nodes.get(experiment)
        if node:
            _free(call, node.path)
        response = backend.forward(call)
        if response.ok and node:
            workspace_tree.put(call.workspace, call.principal, node, overwrite=False)
            _change(call, "update", experiment_id=experiment, new_name=node.path)
            del call.workspace.part(Trash).nodes[experiment]
    return backend.answer(response)


def _vacate(call: Call, path: str) -> None:
    """The server behind keeps the names of deleted experiments taken; give such a one another."""
    for experiment, node in call.workspace.part(Trash).nodes.items():
        if node.path == path:
            _change(call, "restore", experiment_id=experiment)
            _change(call, "update", experiment_id=experiment, new_name=f"{path} (deleted {experiment})")
            _change(call, "delete", experiment_id=experiment)


def _change(call: Call, verb: str, **arguments: str) -> None:
    backend.ask(call.workspace, "POST", f"2.0/mlflow/experiments/{verb}", json=arguments)


def search(call: Call) -> Response:
    """A page of the server's, without the experiments the caller may not see."""
    response = backend.forward(call)
    if not response.ok or access.is_admin(call.workspace, call.principal):
        return backend.answer(response)
    page = response.json()
    page["experiments"] = [one for one in page.get("experiments", []) if _seen(call, str(one["experiment_id"]))]
    return calls.json_answer(page)


def _seen(call: Call, experiment: str) -> bool:
    return acl.level(call.workspace, call.principal, "experiments", experiment) != "NO_PERMISSIONS"


def by_name(call: Call) -> Response:
    """The experiment at a path; a path the caller may not see is refused."""
    name = call.query.get("experiment_name", "")
    _path(name)
    response = backend.forward(call)
    if response.ok:
        experiment = str(response.json()["experiment"]["experiment_id"])
        acl.require(call.workspace, call.principal, "CAN_READ", ("experiments", experiment))
    return backend.answer(response)


def set_tag(call: Call) -> Response:
    """A tag that isn't the platform's own."""
    if call.json.get("key") in PLATFORM_TAGS:
        raise errors.invalid(f"Cannot update tag '{call.json['key']}'")
    return backend.answer(backend.forward(call))
