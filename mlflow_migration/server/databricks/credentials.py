"""Artifacts by signed addresses of MLflow's own on Databricks, where the Files API refuses, and for traces always.

`artifacts/credentials-for-read|write` and its like for logged models and traces answer with one signed address for each
path and the cloud it belongs to; each cloud wants its own requests (mlflow 3.17.2, `databricks_artifact_repo.py` and
`azure/client.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import BinaryIO, cast
from urllib.parse import quote

import requests

from mlflow_migration.errors import MigrationError, ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import File, Json
from mlflow_migration.server import pages
from mlflow_migration.server.artifacts import Download
from mlflow_migration.server.databricks.files import block_id, headers_of, parts_of, put_signed, send_signed
from mlflow_migration.server.rest import Rest

log = logging.getLogger(__name__)

LIST = pages.V2 + "artifacts/list"
ARTIFACTS = pages.V2 + "artifacts/"
MODELS = pages.V2 + "logged-models/"
TRACES = pages.V2 + "traces/"
AZURE, AZURE_LAKE = "AZURE_SAS_URI", "AZURE_ADLS_GEN2_SAS_URI"
MULTIPART_FROM = 500 * 1024 * 1024
"""From this size on MLflow sends a run's file to S3 in parts (MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE)."""
PART = 10 * 1024 * 1024
MOST_PARTS = 9000
BLOCK = 64 * 1024 * 1024
"""Azure takes at most 50,000 blocks of 100 MiB."""
BLOCK_HEADERS = frozenset({"x-ms-date", "x-ms-version", "x-ms-lease-id", "x-ms-client-request-id"})
"""What a block may be sent with; whatever else is signed belongs to the file as a whole."""


def list_folder(rest: Rest, root: Root, folder: str) -> dict[str, Json]:
    """What lies directly in a folder of a run's or logged model's artifacts, by its path from the root."""
    if root.kind == "logged_model":
        route, query = f"{MODELS}{root.id}/artifacts/directories", {"artifact_directory_path": folder}
    else:
        route, query = LIST, {"run_id": root.id, "path": folder}
    query = {key: value for key, value in query.items() if value}
    entries = {str(each["path"]): each for each in pages.pages(rest, route, query, "files")}
    # A file that is asked for as a folder is answered by itself.
    entries.pop(folder, None)
    return entries


@contextmanager
def open_file(rest: Rest, root: Root, path: str) -> Iterator[BinaryIO]:
    """The bytes of an artifact. Raises ServerError where there is none."""

    def opened(offset: int) -> requests.Response:
        found = _credential(rest, root, path, "read")
        return rest.open(found["url"], None, offset, headers_of(found))

    with closing(Download(opened)) as download:
        yield cast("BinaryIO", download)


def put_file(rest: Rest, root: Root, path: str, file: File) -> None:
    """Write an artifact, over one that is there. Raises ServerError, ForbiddenError."""

    renew = partial(_credential, rest, root, path, "write")
    found = renew()
    ask = _FirstThen(found, renew)
    if found["type"] == AZURE:
        _to_azure(rest, ask, file)
    elif found["type"] == AZURE_LAKE:
        _to_azure_lake(rest, ask, file)
    elif root.kind == "run" and file.size > MULTIPART_FROM and found["type"] == "AWS_PRESIGNED_URL":
        _to_s3_in_parts(rest, root, path, file)
    else:
        put_signed(rest, ask, file)


class _FirstThen:
    """A signed address: the one that is there, and a new one whenever it is asked again."""

    def __init__(self, first: Json, renew: Callable[[], Json]) -> None:
        self._first: Json | None = first
        self._renew = renew

    def __call__(self) -> Json:
        found, self._first = self._first, None
        return self._renew() if found is None else found


def _credential(rest: Rest, root: Root, path: str, mode: str) -> Json:
    """`{"url", "headers", "type"}` of one artifact; `mode` is "read" or "write"."""
    way = "download" if mode == "read" else "upload"
    if root.kind == "trace":
        query = {"path": path} if path != "traces.json" else {}
        route = f"{TRACES}{quote(root.id, safe='')}/credentials-for-data-{way}"
        info = rest.call("GET", route, query=query)["credential_info"]
    elif root.kind == "logged_model":
        answer = rest.call("POST", f"{MODELS}{root.id}/artifacts/credentials-for-{way}", {"paths": [path]})
        info = _only(answer.get("credentials"), path)["credential_info"]
    else:
        answer = rest.call("POST", f"{ARTIFACTS}credentials-for-{mode}", {"run_id": root.id, "path": [path]})
        info = _only(answer.get("credential_infos"), path)
    return {"url": str(info["signed_uri"]), "headers": info.get("headers"), "type": str(info.get("type", ""))}


def _only(found: list[Json] | None, path: str) -> Json:
    if not found:
        raise ServerError("the workspace gives no signed address", path, 0, "")
    return found[0]


def _with(address: Callable[[], Json], query: str, headers: Callable[[str], bool]) -> Json:
    """A signed address with more parameters, and those of its headers that the request may have."""
    found = address()
    joint = "&" if "?" in found["url"] else "?"
    kept = {name: value for name, value in headers_of(found).items() if headers(name.lower())}
    return {"url": found["url"] + joint + query, "headers": kept}


def _to_azure(rest: Rest, ask: Callable[[], Json], file: File) -> None:
    ids = []
    for number, data in enumerate(parts_of(file, BLOCK)):
        ids.append(block_id(number))
        query = f"comp=block&blockid={quote(ids[-1], safe='')}"
        send_signed(rest, "PUT", partial(_with, ask, query, _of_a_block), data)
    listed = "".join(f"<Uncommitted>{each}</Uncommitted>" for each in ids)
    text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
    send_signed(rest, "PUT", partial(_with, ask, "comp=blocklist", _of_azure), text.encode())


def _to_azure_lake(rest: Rest, ask: Callable[[], Json], file: File) -> None:
    send_signed(rest, "PUT", partial(_with, ask, "resource=file", _of_azure), b"")
    at = 0
    for data in parts_of(file, BLOCK):
        send_signed(rest, "PATCH", partial(_with, ask, f"action=append&position={at}", _of_azure), data)
        at += len(data)
    send_signed(rest, "PATCH", partial(_with, ask, f"action=flush&position={at}", _of_azure), b"")


def _of_azure(name: str) -> bool:
    return name.startswith("x-ms-") and name != "x-ms-blob-type"


def _of_a_block(name: str) -> bool:
    return name in BLOCK_HEADERS or name.startswith("x-ms-encryption-")


def _to_s3_in_parts(rest: Rest, root: Root, path: str, file: File) -> None:
    size = max(PART, -(-file.size // MOST_PARTS))
    body = {"run_id": root.id, "path": path, "num_parts": -(-file.size // size)}
    begun = rest.call("POST", ARTIFACTS + "create-multipart-upload", body)
    upload = str(begun["upload_id"])
    whole = False
    try:
        etags = []
        for number, data in enumerate(parts_of(file, size), start=1):
            first = begun["upload_credential_infos"][number - 1]
            ask = _Renewing(rest, first, {"run_id": root.id, "path": path, "upload_id": upload, "part_number": number})
            etags.append({"part_number": number, "etag": send_signed(rest, "PUT", ask, data).get("ETag", "")})
        done = {"run_id": root.id, "path": path, "upload_id": upload, "part_etags": etags}
        rest.call("POST", ARTIFACTS + "complete-multipart-upload", done)
        whole = True
    finally:
        if not whole:
            _abort(rest, begun["abort_credential_info"])


class _Renewing:
    """A part's signed address: the one that came with the upload, and a new one whenever it is asked again."""

    def __init__(self, rest: Rest, first: Json, query: Json) -> None:
        self._rest = rest
        self._first: Json | None = first
        self._query = query

    def __call__(self) -> Json:
        found, self._first = self._first, None
        if found is None:
            route = ARTIFACTS + "get-presigned-upload-part-url"
            found = self._rest.call("GET", route, query=self._query)["upload_credential_info"]
        return {"url": found["signed_uri"], "headers": found.get("headers")}


def _abort(rest: Rest, credential: Json) -> None:
    found = {"url": credential["signed_uri"], "headers": credential.get("headers")}
    try:
        send_signed(rest, "DELETE", lambda: found, b"")
    except MigrationError as error:
        # What failed before is what is told; parts without an end cost their owner storage until they expire.
        log.warning("parts of an upload are left behind: %s", error)
