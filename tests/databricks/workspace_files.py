"""Workspace files: mkdirs, import (JSON and multipart), export, list, get-status, delete."""

import base64
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from tests.databricks import calls, errors, notebook_formats, workspace_tree
from tests.databricks.calls import Call
from tests.databricks.state import Workspace
from tests.databricks.workspace_tree import Node

# What one JSON or multipart import takes.
IMPORT_BYTES = 10 * 1024**2


def routes(workspace: Workspace) -> list[BaseRoute]:
    """`/api/2.0/workspace`."""
    root = "/api/2.0/workspace"
    table: dict[str, calls.Handler] = {
        f"POST {root}/mkdirs": _mkdirs,
        f"POST {root}/import": _import,
        "POST /api/2.0/workspace-files/import-file/{path:path}": _import_file,
        f"GET {root}/export": _export,
        f"GET {root}/list": _list,
        f"GET {root}/get-status": _status,
        f"POST {root}/delete": _delete,
    }
    return calls.routes(workspace, table)


def _mkdirs(call: Call) -> None:
    with call.workspace.lock:
        workspace_tree.make_folder(call.workspace, call.principal, workspace_tree.clean(call.fields.get("path")))


def _import(call: Call) -> None:
    kind = call.headers.get("content-type", "")
    fields = _multipart(call.body, kind) if kind.startswith("multipart/form-data") else _decoded(call.json)
    content = fields.get("content", b"")
    if not isinstance(content, bytes):
        raise errors.invalid("Missing required field: content")
    if len(content) > IMPORT_BYTES:
        message = f"File size imported is ({len(content)} bytes), exceeded max size ({IMPORT_BYTES} bytes)"
        raise errors.ApiError(400, "MAX_NOTEBOOK_SIZE_EXCEEDED", message)
    path, given = workspace_tree.clean(fields.get("path")), str(fields.get("format") or "SOURCE")
    node = _node(path, given, str(fields.get("language") or ""), content)
    _store(call, node, str(fields.get("overwrite")).lower() == "true")


def _decoded(document: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {**document, "content": base64.b64decode(str(document.get("content", "")), validate=True)}
    except ValueError as error:
        raise errors.invalid("The content is not valid base64") from error


def _multipart(body: bytes, kind: str) -> dict[str, Any]:
    """The parts of a form: text, and bytes for the one called `content`."""
    found = re.search(r'boundary="?([^";]+)"?', kind)
    if not found:
        raise errors.ApiError(400, "MALFORMED_REQUEST", "multipart/form-data without a boundary")
    fields: dict[str, Any] = {}
    for part in body.split(b"--" + found.group(1).encode())[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name:
            key, value = name.group(1).decode(), value.removesuffix(b"\r\n")
            fields[key] = value if key == "content" else value.decode()
    return fields


def _node(path: str, given: str, language: str, content: bytes) -> Node:
    """What an import makes: a notebook, or (formats AUTO and RAW) a file."""
    extension = PurePosixPath(path).suffix.removeprefix(".")
    bare = path.removesuffix(f".{extension}") if extension else path
    if given in ("JUPYTER", "HTML", "DBC"):
        language, content = notebook_formats.from_format(content, given)
        return Node(path, "NOTEBOOK", 0, language, content)
    if given == "SOURCE":
        if language not in notebook_formats.LANGUAGES:
            raise errors.invalid("Missing required field: language")
        return Node(path, "NOTEBOOK", 0, language, content)
    if given not in ("AUTO", "RAW"):
        raise errors.invalid(f"Unsupported format: {given}")
    if given == "AUTO" and extension == "ipynb":
        language, content = notebook_formats.from_format(content, "JUPYTER")
        return Node(bare, "NOTEBOOK", 0, language, content)
    if given == "AUTO" and (found := notebook_formats.language_of(content, extension)):
        return Node(bare, "NOTEBOOK", 0, found, content)
    return Node(path, "FILE", 0, content=content)


def _import_file(call: Call) -> None:
    """What the CLI's `sync` sends: always format AUTO."""
    node = _node(workspace_tree.clean("/" + call.names["path"]), "AUTO", "", call.body)
    _store(call, node, call.query.get("overwrite") == "true")


def _store(call: Call, node: Node, overwrite: bool) -> None:
    with call.workspace.lock:
        made = Node(node.path, node.type, call.workspace.account.new_id(), node.language, node.content)
        workspace_tree.put(call.workspace, call.principal, made, overwrite)


def _readable(call: Call) -> Node:
    node = workspace_tree.get(call.workspace, workspace_tree.clean(call.fields.get("path")))
    workspace_tree.require_read(call.workspace, call.principal, node)
    return node


def _export(call: Call) -> Mapping[str, Any] | Response:
    """The content as JSON in base64, or as it is with `direct_download`; of a notebook also an earlier revision.

    The platform takes a revision as `{"revision": {"revision_timestamp": …}}` in the body of the GET, and ignores a
    parameter `revision_timestamp` (mlflow-export-import, issue 113).
    """
    node, wanted = _readable(call), str(call.fields.get("format") or "SOURCE")
    name = PurePosixPath(node.path).name
    if node.type == "NOTEBOOK":
        source = workspace_tree.revision(node, _moment(call))
        wanted = "SOURCE" if wanted == "AUTO" else wanted
        content = notebook_formats.to_format(source, node.language, wanted, name)
        kind = notebook_formats.FORMATS[wanted] or notebook_formats.LANGUAGES[node.language][0]
        name = f"{name}.{kind}"
    elif node.type == "FILE" and wanted in ("AUTO", "SOURCE"):
        content, kind = node.content, "file"
    else:
        raise errors.invalid(f"Objects of type {node.type} can't be exported in format {wanted}")
    if str(call.fields.get("direct_download", "")).lower() == "true":
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="application/octet-stream", headers=headers)
    return {"content": base64.b64encode(content).decode(), "file_type": kind}


def _moment(call: Call) -> str | None:
    revision = call.fields.get("revision")
    moment = revision.get("revision_timestamp") if isinstance(revision, dict) else None
    return None if moment is None else str(moment)


def _shown(node: Node) -> dict[str, Any]:
    shown: dict[str, Any] = {"object_type": node.type, "path": node.path, "object_id": node.id}
    if node.type == "NOTEBOOK":
        shown["language"] = node.language
    if node.type in ("FILE", "NOTEBOOK"):
        shown |= {"created_at": node.created, "modified_at": node.modified}
    if node.type == "FILE":
        shown["size"] = len(node.content)
    return {**shown, "resource_id": str(node.id)}


def _status(call: Call) -> Mapping[str, Any]:
    return _shown(_readable(call))


def _list(call: Call) -> Mapping[str, Any]:
    node = _readable(call)
    if node.type != "DIRECTORY":
        return {"objects": [_shown(node)]}
    shown = [_shown(child) for child in workspace_tree.children(call.workspace, node.path)]
    return {"objects": shown} if shown else {}


def _delete(call: Call) -> None:
    path = workspace_tree.clean(call.fields.get("path"))
    with call.workspace.lock:
        node = workspace_tree.get(call.workspace, path)
        workspace_tree.require_edit(call.workspace, call.principal, path)
        if any(workspace_tree.children(call.workspace, path)) and call.fields.get("recursive") is not True:
            raise errors.ApiError(400, "DIRECTORY_NOT_EMPTY", f"Folder ({node.path}) is not empty")
        workspace_tree.remove(call.workspace, path)
