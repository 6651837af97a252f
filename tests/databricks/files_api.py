"""The Files API: files and directories of volumes, models and run artifacts; multipart uploads; download URLs."""

import base64
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from tests.databricks import calls, errors, signed, storage
from tests.databricks.calls import Call
from tests.databricks.state import Workspace

PAGE = 1000
EMPTY = 204


def routes(workspace: Workspace) -> list[BaseRoute]:
    """`/api/2.0/fs`."""
    files, folders = "/api/2.0/fs/files/{path:path}", "/api/2.0/fs/directories/{path:path}"
    table: dict[str, calls.Handler] = {
        f"HEAD {files}": _get,
        f"GET {files}": _get,
        f"PUT {files}": _put,
        f"DELETE {files}": _delete,
        f"POST {files}": _multipart,
        f"HEAD {folders}": _head_folder,
        f"GET {folders}": _list,
        f"PUT {folders}": _make_folder,
        f"DELETE {folders}": _delete_folder,
        "POST /api/2.0/fs/create-download-url": _download_url,
        "POST /api/2.0/fs/create-upload-url": _upload_url,
        "POST /api/2.0/fs/create-upload-part-urls": _part_urls,
        "POST /api/2.0/fs/create-resumable-upload-url": _resumable_url,
        "POST /api/2.0/fs/create-abort-upload-url": _abort_url,
    }
    return calls.routes(workspace, table)


def _failure(status: int, code: str, message: str, reason: str) -> errors.ApiError:
    """An error with the reason clients tell such errors apart by."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "filesystem.databricks.com",
    }
    return errors.ApiError(status, code, message, details=(info,))


def _no_file(path: str) -> errors.ApiError:
    return _failure(404, "NOT_FOUND", f"The file being accessed is not found: {path}", "FILES_API_FILE_NOT_FOUND")


def _no_folder(path: str) -> errors.ApiError:
    message = f"The directory being accessed is not found: {path}"
    return _failure(404, "NOT_FOUND", message, "FILES_API_DIRECTORY_IS_NOT_FOUND")


def _named(call: Call, write: bool) -> storage.Place:
    return storage.place(call, call.names["path"], write)


def _get(call: Call) -> Response:
    place = _named(call, write=False)
    if not place.disk.is_file():
        raise _no_file(place.path)
    return signed.read(call, place.disk)


def _put(call: Call) -> Response:
    place = _named(call, write=True)
    _free(place, call.query.get("overwrite") == "true")
    signed.write(place.disk, call.body)
    return Response(status_code=EMPTY)


def _free(place: storage.Place, overwrite: bool) -> None:
    """Raise ApiError unless a file may be written there."""
    if place.disk.is_dir():
        raise _failure(400, "INVALID_PARAMETER_VALUE", f"{place.path} is a directory", "FILES_API_FILE_IS_DIRECTORY")
    if place.disk.exists() and not overwrite:
        raise _failure(
            409,
            "ALREADY_EXISTS",
            f"The file being created already exists: {place.path}",
            "FILES_API_FILE_ALREADY_EXISTS",
        )
    for above in place.disk.parents:
        if above.is_file():
            raise _failure(
                400, "INVALID_PARAMETER_VALUE", f"{above.name} is not a directory", "FILES_API_PATH_IS_NOT_A_DIRECTORY"
            )
        if above.is_dir():
            break


def _delete(call: Call) -> Response:
    place = _named(call, write=True)
    if not place.disk.is_file():
        raise _no_file(place.path)
    place.disk.unlink()
    return Response(status_code=EMPTY)


def _multipart(call: Call) -> Mapping[str, Any] | Response:
    """`action=initiate-upload` and `action=complete-upload`."""
    place, action = _named(call, write=True), call.query.get("action")
    if action == "initiate-upload":
        overwrite = call.query.get("overwrite") == "true"
        _free(place, overwrite)
        token = signed.begin(call.workspace, place.disk, overwrite)
        kind = "resumable_upload" if call.workspace.cloud == "GCP" else "multipart_upload"
        return {kind: {"session_token": token}}
    if action != "complete-upload":
        raise errors.invalid(f"Unknown action: {action}")
    token = call.query.get("session_token", "")
    upload = _upload(call, token)
    if upload.disk != place.disk:
        raise errors.invalid("The session token is of another file")
    _free(place, upload.overwrite)
    etags = {int(part["part_number"]): str(part["etag"]) for part in call.json.get("parts", [])}
    if wrong := signed.complete(call.workspace, token, etags):
        raise errors.invalid(wrong)
    return Response(status_code=200)


def _upload(call: Call, token: str) -> signed.Upload:
    upload = signed.upload_of(call.workspace, token)
    if not upload:
        raise errors.ApiError(404, "NOT_FOUND", "The upload session is not found; it may be completed or aborted")
    return upload


def _part_urls(call: Call) -> Mapping[str, Any]:
    place, token = storage.place(call, call.need("path"), write=True), call.need("session_token")
    if _upload(call, token).disk != place.disk:
        raise errors.invalid("The session token is of another file")
    first, count = int(call.need("start_part_number")), int(call.need("count"))
    if first < 1 or count < 1:
        raise errors.invalid("start_part_number and count begin at 1")
    urls = [
        {**signed.sign(call.workspace, "part", place.disk, token, number).json, "part_number": number}
        for number in range(first, first + count)
    ]
    return {"upload_part_urls": urls}


def _resumable_url(call: Call) -> Mapping[str, Any]:
    place, token = storage.place(call, call.need("path"), write=True), call.need("session_token")
    if _upload(call, token).disk != place.disk:
        raise errors.invalid("The session token is of another file")
    return {"resumable_upload_url": signed.sign(call.workspace, "resumable", place.disk, token).json}


def _abort_url(call: Call) -> Mapping[str, Any]:
    place, token = storage.place(call, call.need("path"), write=True), call.need("session_token")
    return {"abort_upload_url": signed.sign(call.workspace, "abort", place.disk, token).json}


def _download_url(call: Call) -> Mapping[str, Any]:
    place = storage.place(call, call.need("path"), write=False)
    if not place.disk.is_file():
        raise _no_file(place.path)
    return signed.sign(call.workspace, "read", place.disk).json


def _upload_url(call: Call) -> Mapping[str, Any]:
    place = storage.place(call, call.need("path"), write=True)
    return signed.sign(call.workspace, "write", place.disk).json


def _head_folder(call: Call) -> Response:
    place = _named(call, write=False)
    if not place.disk.is_dir():
        raise _no_folder(place.path)
    return Response(status_code=200)


def _list(call: Call) -> Mapping[str, Any]:
    """One page; the page's token (in the query, or as older MLflow sends it in the body) is the last name seen."""
    place = _named(call, write=False)
    if not place.disk.is_dir():
        raise _no_folder(place.path)
    after = base64.urlsafe_b64decode(str(call.fields.get("page_token") or "")).decode()
    size = min(int(call.fields.get("page_size") or PAGE), PAGE)
    names = sorted(child.name for child in place.disk.iterdir() if not child.name.endswith(".half"))
    names = [name for name in names if name > after]
    answer: dict[str, Any] = {"contents": [_entry(place.path, place.disk / name) for name in names[:size]]}
    if len(names) > size:
        answer["next_page_token"] = base64.urlsafe_b64encode(names[size - 1].encode()).decode()
    return answer


def _entry(folder: str, disk: Path) -> dict[str, Any]:
    status = disk.stat()
    shown: dict[str, Any] = {"path": f"{folder}/{disk.name}", "name": disk.name, "is_directory": disk.is_dir()}
    if not shown["is_directory"]:
        shown["file_size"] = status.st_size
    return {**shown, "last_modified": int(status.st_mtime * 1000)}


def _make_folder(call: Call) -> Response:
    place = _named(call, write=True)
    if place.disk.is_file():
        raise _failure(409, "ALREADY_EXISTS", f"{place.path} is a file", "FILES_API_DIRECTORY_ALREADY_EXISTS")
    place.disk.mkdir(parents=True, exist_ok=True)
    return Response(status_code=EMPTY)


def _delete_folder(call: Call) -> Response:
    place = _named(call, write=True)
    if not place.disk.is_dir():
        raise _no_folder(place.path)
    if any(os.scandir(place.disk)):
        message = "The directory being accessed is not empty"
        raise _failure(400, "INVALID_PARAMETER_VALUE", message, "FILES_API_DIRECTORY_IS_NOT_EMPTY")
    shutil.rmtree(place.disk)
    return Response(status_code=EMPTY)
