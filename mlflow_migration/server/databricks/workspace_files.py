"""What lies where in a workspace (`/api/2.0/workspace/`), by the routes and forms databricks-sdk uses."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import PurePosixPath

from mlflow_migration.errors import ConflictError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.rest import Rest

WORKSPACE = "/api/2.0/workspace/"
TAKEN = frozenset({"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"})
OTHER_FOLDER = "add that user to the workspace, or give what goes there another name with --rename OLD=/Shared/NEW"
GONE = "RESOURCE_DOES_NOT_EXIST"


def mkdirs(rest: Rest, path: str) -> None:
    """Make a folder and all above it; one that is there stays. Raises ConflictError where something else is there, or
    it lies in the home folder of somebody the workspace doesn't have."""
    try:
        rest.call("POST", WORKSPACE + "mkdirs", {"path": path})
    except ServerError as error:
        if error.status == HTTPStatus.BAD_REQUEST or error.code in TAKEN:
            raise ConflictError(f"no folder can be made at {path}", error.why, OTHER_FOLDER) from error
        raise


def status(rest: Rest, path: str) -> Json | None:
    """What is at a path: `path`, `object_type` (NOTEBOOK, DIRECTORY, FILE, MLFLOW_EXPERIMENT …), `object_id`; None
    where nothing is."""
    try:
        return rest.call("GET", WORKSPACE + "get-status", query={"path": path})
    except ServerError as error:
        if error.code == GONE:
            return None
        raise


def parent_of(path: str) -> str:
    return str(PurePosixPath(path).parent)
