"""Folders, files and notebooks of a workspace (`/api/2.0/workspace/`), by the routes and forms databricks-sdk uses."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

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


def list_folder(rest: Rest, path: str) -> Iterator[Json]:
    """What lies directly in a folder; nothing where there is no such folder."""
    try:
        yield from rest.call("GET", WORKSPACE + "list", query={"path": path}).get("objects", [])
    except ServerError as error:
        if error.code != GONE:
            raise


def export(rest: Rest, path: str, format_: str, **more: Any) -> bytes:
    """A notebook or file in a format (SOURCE, HTML, JUPYTER, DBC, AUTO …). Raises ServerError where there is none."""
    query = {"path": path, "format": format_, **more}
    return base64.b64decode(rest.call("GET", WORKSPACE + "export", query=query)["content"])


def import_(rest: Rest, path: str, content: bytes, format_: str, **more: Any) -> None:
    """Write a notebook or file, over one that is there."""
    text = base64.b64encode(content).decode()
    body = {"path": path, "format": format_, "content": text, "overwrite": True, **more}
    rest.call("POST", WORKSPACE + "import", body)


def parent_of(path: str) -> str:
    return str(PurePosixPath(path).parent)
