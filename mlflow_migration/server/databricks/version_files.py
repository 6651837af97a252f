"""The files that Databricks' registries keep with each version of a model.

Unity Catalog gives and takes them by the Files API, or by signed addresses where a metastore has them in its default
storage; a workspace's registry gives them by signed addresses and takes none. Both as MLflow's own client does
(`databricks_sdk_models_artifact_repo.py`, `presigned_url_artifact_repo.py`, `databricks_models_artifact_repo.py`).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Protocol, cast

import requests

from mlflow_migration.errors import ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import File, Json
from mlflow_migration.server import pages
from mlflow_migration.server.artifacts import Download
from mlflow_migration.server.databricks import files
from mlflow_migration.server.databricks.files import body_of, headers_of
from mlflow_migration.server.databricks.unity_catalog import UC
from mlflow_migration.server.parts import FileCalls
from mlflow_migration.server.rest import Rest

VERSION = "model_version"
ENABLED = UC + "registered-models:is-databricks-sdk-models-artifact-repository-enabled"
CREDENTIALS = UC + "model-versions/generate-temporary-credentials"
READ, WRITE = "MODEL_VERSION_OPERATION_READ", "MODEL_VERSION_OPERATION_READ_WRITE"
DEFAULT_STORAGE = "DEFAULT_STORAGE"
CUSTOMER_HOSTED = (
    "they lie in the customer's own cloud storage, for which the workspace gives credentials of the cloud "
)
CUSTOMER_HOSTED += "alone: ask for the Files API of models to be enabled"
LIST = pages.V2 + "model-versions/list-artifacts"
SIGNED = pages.V2 + "model-versions/get-signed-download-uri"


class _OfVersions(Protocol):
    """One registry's files, by the name of a model and the number of its version."""

    def walk(self, name: str, version: str, folder: str, levels: int) -> Iterator[File]: ...

    def open(self, name: str, version: str, path: str) -> AbstractContextManager[BinaryIO]: ...

    def put(self, name: str, version: str, path: str, file: File) -> None: ...


class VersionFiles:
    """The artifacts of a workspace with those of the versions in its registry. Implements `FileCalls`."""

    def __init__(self, others: FileCalls, versions: _OfVersions) -> None:
        self._others = others
        self._versions = versions

    def files(self, root: Root) -> Iterator[File]:
        if root.kind != VERSION:
            return self._others.files(root)
        return (file for file in self.walk(root, "", sys.maxsize) if file.problem or not file.path.endswith("/"))

    def walk(self, root: Root, folder: str, levels: int) -> Iterator[File]:
        if root.kind != VERSION:
            return self._others.walk(root, folder, levels)
        return self._versions.walk(*_of(root), folder, levels)

    def open_file(self, root: Root, path: str) -> AbstractContextManager[BinaryIO]:
        if root.kind != VERSION:
            return self._others.open_file(root, path)
        return self._versions.open(*_of(root), path)

    def put_file(self, root: Root, path: str, file: File) -> None:
        if root.kind != VERSION:
            self._others.put_file(root, path, file)
        else:
            self._versions.put(*_of(root), path, file)

    def cannot_hold(self, path: str) -> str:
        return self._others.cannot_hold(path)


def _of(root: Root) -> tuple[str, str]:
    name, _, version = root.id.rpartition("/")
    return name, version


class CatalogFiles:
    """Those of Unity Catalog."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._by_files_api: bool | None = None
        self._modes: dict[tuple[str, str, str], str] = {}

    def walk(self, name: str, version: str, folder: str, levels: int) -> Iterator[File]:
        """Files, and folders as paths that end in "/". Files that can't be had are one with its problem."""
        found = files.walk(self._rest, _base(name, version), folder, levels)
        if self._direct():
            # Each knows its size, by which a large one is read from the storage itself.
            yield from found
            return
        if self._mode(name, version, READ) != DEFAULT_STORAGE:
            yield File("MLmodel", 0, problem=CUSTOMER_HOSTED)
            return
        for file in found:
            yield file if file.open is None else replace(file, open=partial(self.open, name, version, file.path))

    def open(self, name: str, version: str, path: str) -> AbstractContextManager[BinaryIO]:
        """The bytes of one. Raises ServerError where there is none, or it can't be had."""
        whole = f"{_base(name, version)}/{path}"
        if self._direct():
            return files.open_file(self._rest, whole)
        if self._mode(name, version, READ) != DEFAULT_STORAGE:
            raise ServerError(f"the files of {name}/{version} can't be read", CUSTOMER_HOSTED, 0, "")
        return _download(partial(self._signed, whole))

    def put(self, name: str, version: str, path: str, file: File) -> None:
        """Write one of a version that isn't whole yet. Raises ServerError, ForbiddenError."""
        whole = f"{_base(name, version)}/{path}"
        if self._direct():
            files.put_file(self._rest, whole, file)
            return
        if self._mode(name, version, WRITE) != DEFAULT_STORAGE:
            raise ServerError(f"the files of {name}/{version} can't be written", CUSTOMER_HOSTED, 0, "")
        found = self._rest.call("POST", files.FS + "create-upload-url", {"path": whole})
        self._rest.upload("PUT", str(found["url"]), partial(body_of, file), file.size, headers_of(found))

    def _direct(self) -> bool:
        """Whether the Files API has the models of this metastore; asked once."""
        with self._lock:
            if self._by_files_api is None:
                answer = self._rest.call("GET", ENABLED)
                self._by_files_api = bool(answer.get("is_databricks_sdk_models_artifact_repository_enabled"))
            return self._by_files_api

    def _mode(self, name: str, version: str, operation: str) -> str:
        """How the storage of a version is to be reached. The credentials are asked for to learn it, and not kept."""
        key = (name, version, operation)
        if key not in self._modes:
            body = {"name": name, "version": version, "operation": operation}
            found = self._rest.call("POST", CREDENTIALS, body).get("credentials", {})
            self._modes[key] = str(found.get("storage_mode", ""))
        return self._modes[key]

    def _signed(self, path: str, offset: int) -> requests.Response:
        found = self._rest.call("POST", files.FS + "create-download-url", {"path": path})
        return self._rest.open(str(found["url"]), None, offset, headers_of(found))


class WorkspaceFiles:
    """Those of a workspace's own registry."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def walk(self, name: str, version: str, folder: str, levels: int) -> Iterator[File]:
        """Files, and folders as paths that end in "/"."""
        folders = [(folder, levels)]
        while folders:
            at, left = folders.pop()
            query = {"name": name, "version": version, "path": at}
            found = {str(each["path"]): each for each in pages.pages(self._rest, LIST, query, "files")}
            # A file that is asked for as a folder is answered by itself.
            found.pop(at, None)
            for path, entry in sorted(found.items()):
                if entry.get("is_dir"):
                    yield File(path + "/", 0)
                    if left > 1:
                        folders.append((path, left - 1))
                else:
                    yield File(path, int(entry.get("file_size", 0)), partial(self.open, name, version, path))

    def open(self, name: str, version: str, path: str) -> AbstractContextManager[BinaryIO]:
        """The bytes of one. Raises ServerError where there is none."""
        return _download(partial(self._signed, {"name": name, "version": version, "path": path}))

    def put(self, name: str, version: str, path: str, file: File) -> None:
        """Raises ServerError: the workspace copies a version's files itself, and takes none."""
        why = f"{path}: give it to the run or logged model that the version was made of, and register that anew"
        raise ServerError(f"the files of {name}/{version} can't be changed", why, 0, "")

    def _signed(self, query: Json, offset: int) -> requests.Response:
        found = self._rest.call("GET", SIGNED, query=query)
        return self._rest.open(str(found["signed_uri"]), None, offset, headers_of(found))


@contextmanager
def _download(open_at: partial[requests.Response]) -> Iterator[BinaryIO]:
    with closing(Download(open_at)) as download:
        yield cast("BinaryIO", download)


def _base(name: str, version: str) -> str:
    return f"/Models/{name.replace('.', '/')}/{version}"
