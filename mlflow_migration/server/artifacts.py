"""Artifacts of a live server: listed, read and written as streams, whatever their size and name."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote, urlsplit

import requests
import urllib3

from mlflow_migration.errors import ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import File, Json
from mlflow_migration.server.rest import Rest

LIST = "/api/2.0/mlflow/artifacts/list"
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
PROXY_LIST = "/api/2.0/mlflow-artifacts/artifacts"
GET = "/get-artifact"
MODELS = "/api/2.0/mlflow/logged-models/"
MODEL_FILES = "/ajax-api/2.0/mlflow/logged-models/"
VERSION_FILES = "/model-versions/get-artifact"
UPLOAD = "/ajax-api/2.0/mlflow/upload-artifact"
UPLOAD_MOST = 10 * 1024 * 1024
"""The most bytes `upload-artifact` takes (MLflow's handler refuses more)."""
REOPENINGS = 5
DELETE = "\x7f"
BLOCK = 1 << 20
MISTAKEN = frozenset("?;")


class Download(io.RawIOBase):
    """A body that goes on where it broke off: a cut connection is opened again at the byte reached."""

    def __init__(self, open_at: Callable[[int], requests.Response]) -> None:
        super().__init__()
        self._open_at = open_at
        self._at = 0
        self._reopened = 0
        self._response = open_at(0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        while True:
            try:
                data: bytes = self._response.raw.read(size if size >= 0 else None)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                self._reopen(error)
                continue
            self._at += len(data)
            return data

    def close(self) -> None:
        if not self.closed:
            self._response.close()
        super().close()

    def _reopen(self, error: Exception) -> None:
        self._response.close()
        self._reopened += 1
        if self._reopened > REOPENINGS:
            raise ServerError("a download broke off again and again", str(error), 0, "") from error
        self._response = self._open_at(self._at)
        if self._response.status_code == HTTPStatus.PARTIAL_CONTENT:
            return
        # A server without ranges begins anew: what has been read already is read past.
        left = self._at
        while left:
            skipped = len(self._response.raw.read(min(left, BLOCK)))
            if not skipped:
                raise ServerError("an artifact shrank while it was read", f"to less than {self._at} bytes", 0, "")
            left -= skipped


class Body:
    """An upload's bytes with their number, as requests wants them for a streamed body with a length."""

    def __init__(self, reader: BinaryIO, size: int) -> None:
        self._reader = reader
        self._size = size
        self._sent = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(BLOCK):
            yield data

    def read(self, size: int = -1) -> bytes:
        data = self._reader.read(size)
        self._sent += len(data)
        if not data and self._sent != self._size:
            raise ServerError("an artifact changed while it was read", f"{self._sent} of {self._size} bytes", 0, "")
        return data


def is_proxied(uri: str) -> bool:
    """Whether artifacts below `uri` go through the tracking server's own artifact proxy."""
    parts = urlsplit(uri)
    return parts.scheme == "mlflow-artifacts" and not parts.netloc


def unholdable(path: str) -> str:
    """Why an MLflow server can't take or give an artifact of this name; "" when it can.

    MLflow decodes `%xx` in a path until nothing is left to decode (`validate_path_is_safe`), so that a literal `%20`
    reaches another file, and refuses `#`; tried on 3.17.2, by every route.
    """
    if "#" in path:
        return "MLflow refuses '#' in an artifact's name"
    if unquote(path) != path:
        return "MLflow decodes %xx in an artifact's name, so this name would reach another file"
    if any(ord(char) < ord(" ") or char == DELETE for char in path):
        return "MLflow rewrites control characters in an artifact's name"
    if ".." in path.split("/") or path.startswith("file:"):
        return "MLflow refuses this artifact name as unsafe"
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute():
        return "MLflow refuses absolute artifact names"
    return ""


def list_files(rest: Rest, root: Root) -> Iterator[File]:
    """Every artifact of a run, depth first, one request per folder. Empty folders don't exist in MLflow."""
    return (file for file in walk(rest, root) if file.problem or not file.path.endswith("/"))


def walk(rest: Rest, root: Root, folder: str = "", levels: int = sys.maxsize) -> Iterator[File]:
    """Files, and folders as paths that end in "/", so many levels down from a folder; one request per folder."""
    folders = [(folder, levels)]
    while folders:
        folder, left = folders.pop()
        entries = _listed(rest, root, folder)
        if entries is None:
            yield File(f"{folder}/", 0, problem="MLflow can't list a folder of this name")
            continue
        for path, entry in sorted(entries.items()):
            is_folder = bool(entry.get("is_dir"))
            problem = unholdable(path)
            size = int(entry.get("file_size", 0))
            if problem or is_folder:
                yield File(path + ("/" if is_folder else ""), size, problem=problem)
            else:
                yield File(path, size, partial(open_file, rest, root, path))
            if is_folder and not problem and left > 1:
                folders.append((path, left - 1))


def list_folder(rest: Rest, uri: str) -> list[str]:
    """The names of what lies directly in a folder that goes through the artifact proxy; none where it isn't there."""
    found = rest.call("GET", PROXY_LIST, query={"path": _below(uri, "")}).get("files", [])
    return [str(entry["path"]) for entry in found]


def _listed(rest: Rest, root: Root, folder: str) -> dict[str, Json] | None:
    """What lies directly in a folder, by its path from the root; None where the server lists something else.

    The proxy's own listing doesn't read the run from the database, which takes most of the time of the other one. But
    it gives bare names, so that folders it may take for others ("?" and ";" are) are left to the one that tells.
    """
    if is_proxied(root.uri) and not MISTAKEN & set(folder):
        found = rest.call("GET", PROXY_LIST, query={"path": _below(root.uri, folder)}).get("files", [])
        return {f"{folder}/{entry['path']}".lstrip("/"): entry for entry in found}
    if root.kind == "logged_model":
        route, query = f"{MODELS}{root.id}/artifacts/directories", {"artifact_directory_path": folder}
    else:
        route, query = LIST, {"run_id": root.id, "path": folder}
    query = {key: value for key, value in query.items() if value}
    entries = {str(entry["path"]): entry for entry in rest.call("GET", route, query=query).get("files", [])}
    # Some names (of spaces, "?" or ";" alone) MLflow takes for another folder, and lists that one, or nothing.
    if folder and not all(path.startswith(f"{folder}/") for path in entries or [""]):
        return None
    return entries


@contextmanager
def open_file(rest: Rest, root: Root, path: str) -> Iterator[BinaryIO]:
    """The bytes of one artifact. Raises ServerError where there is none."""
    if is_proxied(root.uri):
        open_at = partial(rest.open, PROXY + _proxied(root.uri, path), None)
    else:
        open_at = partial(rest.open, *_mediated(root, path))
    with closing(Download(open_at)) as download:
        yield cast("BinaryIO", download)


def _mediated(root: Root, path: str) -> tuple[str, dict[str, str]]:
    """Route and query that give an artifact the server reads from wherever it lies."""
    if root.kind == "logged_model":
        return f"{MODEL_FILES}{root.id}/artifacts/files", {"artifact_file_path": path}
    if root.kind == "model_version":
        name, _, version = root.id.rpartition("/")
        return VERSION_FILES, {"name": name, "version": version, "path": path}
    return GET, {"run_id": root.id, "path": path}


def put_file(rest: Rest, root: Root, path: str, file: File) -> None:
    """Write one artifact; repeated calls overwrite it with the same bytes."""

    @contextmanager
    def body() -> Iterator[Body]:
        if file.open is None:
            raise ServerError("an artifact can't be read", file.problem, 0, "")
        with file.open() as reader:
            yield Body(reader, file.size)

    if is_proxied(root.uri):
        rest.upload("PUT", PROXY + _proxied(root.uri, path), body, file.size)
    elif file.size <= UPLOAD_MOST and root.kind == "run":
        query = f"?run_uuid={quote(root.id, safe='')}&path={quote(path, safe='')}"
        rest.upload("POST", UPLOAD + query, body, file.size)
    else:
        put_direct(root, path, file)


def put_direct(root: Root, path: str, file: File) -> None:
    """Large files of servers that don't proxy artifacts go to their storage directly, by MLflow's own client for it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    scheme = urlsplit(root.uri).scheme
    above = 3 if root.kind == "trace" else 1
    if scheme in {"", "file"} and not Path(urlsplit(root.uri).path).parents[above].is_dir():
        raise ServerError(
            "the artifact root is a folder of the server's own machine",
            f"over its upload route MLflow takes {UPLOAD_MOST} bytes of a run at most; start it with --serve-artifacts",
            0,
            "",
        )
    repository = get_artifact_repository(root.uri)
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as folder:
        local = Path(folder) / PurePosixPath(path).name
        if file.open is None:
            raise ServerError("an artifact can't be read", file.problem, 0, "")
        with file.open() as reader, local.open("wb") as writer:
            shutil.copyfileobj(reader, writer, BLOCK)
        parent = str(PurePosixPath(path).parent)
        repository.log_artifact(str(local), None if parent == "." else parent)


def _proxied(uri: str, path: str) -> str:
    return quote(_below(uri, path), safe="/")


def _below(uri: str, path: str) -> str:
    """A path below an artifact root, as the proxy counts it."""
    return f"{urlsplit(uri).path.strip('/')}/{path}".rstrip("/")
