"""Artifacts of a workspace's runs, logged models and traces, by whichever way they can be had.

The Files API is asked first. Where it refuses an experiment's folder, that experiment's artifacts go by signed
addresses, as MLflow's own client does (`databricks_tracking_artifact_repo.py`).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import BinaryIO
from urllib.parse import urlsplit

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import File
from mlflow_migration.server import artifacts
from mlflow_migration.server.databricks import credentials, elsewhere, files
from mlflow_migration.server.rest import Rest

log = logging.getLogger(__name__)

TRACKING = re.compile(r"databricks/mlflow-tracking/([^/]+)/(logged_models/)?([^/]+)(/.*)?$")
INTERNAL = "/WorkspaceInternal/Mlflow/Artifacts"
TRACE = "tr-"
REFUSALS = frozenset({400, 403, 404, 405, 409, 415, 500, 501})


class WorkspaceArtifacts:
    """The artifacts of one workspace. Implements `FileCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._refused: set[str] = set()

    def files(self, root: Root) -> Iterator[File]:
        return (file for file in self.walk(root, "", sys.maxsize) if file.problem or not file.path.endswith("/"))

    def walk(self, root: Root, folder: str, levels: int) -> Iterator[File]:
        """Files, and folders as paths that end in "/"; a file that can't be had has its problem."""
        if elsewhere.lies_elsewhere(root.uri):
            return elsewhere.walk(root, folder, levels)
        base = files_path(root.uri)
        if base is None or self._is_refused(base):
            return self._walk_signed(root, folder, levels)
        return self._walk(root, base, (folder, levels))

    def _walk(self, root: Root, base: str, begin: tuple[str, int]) -> Iterator[File]:
        found = files.walk(self._rest, base, *begin)
        try:
            first = next(found, None)
        except (ServerError, ForbiddenError) as error:
            self._refuse(base, error)
            yield from self._walk_signed(root, *begin)
            return
        for file in chain([] if first is None else [first], found):
            opened = partial(self._open, root, (base, file.path), file.size)
            yield file if file.open is None else replace(file, open=opened)

    def _walk_signed(self, root: Root, folder: str, levels: int) -> Iterator[File]:
        folders = [(folder, levels)]
        while folders:
            at, left = folders.pop()
            for path, entry in sorted(credentials.list_folder(self._rest, root, at).items()):
                if entry.get("is_dir"):
                    yield File(path + "/", 0)
                    if left > 1:
                        folders.append((path, left - 1))
                else:
                    size = int(entry.get("file_size", 0))
                    yield File(path, size, partial(credentials.open_file, self._rest, root, path))

    def open_file(self, root: Root, path: str) -> AbstractContextManager[BinaryIO]:
        if elsewhere.lies_elsewhere(root.uri):
            return elsewhere.open_file(root, path)
        base = files_path(root.uri)
        if base is None or self._is_refused(base):
            return credentials.open_file(self._rest, root, path)
        return self._open(root, (base, path), 0)

    @contextmanager
    def _open(self, root: Root, where: tuple[str, str], size: int) -> Iterator[BinaryIO]:
        base, path = where
        with ExitStack() as stack:
            try:
                reader = stack.enter_context(files.open_file(self._rest, f"{base}/{path}", size))
            except (ServerError, ForbiddenError) as error:
                if isinstance(error, ServerError) and error.code in files.MISSING:
                    raise
                self._refuse(base, error)
                reader = stack.enter_context(credentials.open_file(self._rest, root, path))
            yield reader

    def put_file(self, root: Root, path: str, file: File) -> None:
        """Write one artifact, over one that is there. Raises ServerError, ForbiddenError."""
        if elsewhere.lies_elsewhere(root.uri):
            artifacts.put_direct(root, path, file)
            return
        base = files_path(root.uri)
        if base is not None and not self._is_refused(base):
            try:
                files.put_file(self._rest, f"{base}/{path}", file)
                return
            except (ServerError, ForbiddenError) as error:
                self._refuse(base, error)
        credentials.put_file(self._rest, root, path, file)

    def cannot_hold(self, path: str) -> str:
        """Why a workspace can't hold an artifact of that name; "" when it can."""
        return artifacts.unholdable(path)

    def _is_refused(self, base: str) -> bool:
        return _owner(base) in self._refused

    def _refuse(self, base: str, error: ServerError | ForbiddenError) -> None:
        """Remember that a folder isn't given by the Files API; raises the error where there is no other way."""
        status = error.status if isinstance(error, ServerError) else HTTPStatus.FORBIDDEN
        if not base.startswith(INTERNAL) or status not in REFUSALS:
            raise error
        log.info("the Files API refuses %s: %s", _owner(base), error)
        self._refused.add(_owner(base))


def files_path(uri: str) -> str | None:
    """Where an artifact root lies for the Files API; None where it doesn't reach.

    `dbfs:/databricks/mlflow-tracking/EXPERIMENT/RUN/artifacts`, the same with `logged_models/ID`, and
    `dbfs:/Volumes/…`. Traces go by signed addresses only.
    """
    parts = urlsplit(uri)
    if parts.scheme != "dbfs":
        return None
    path = parts.path.rstrip("/")
    if path.startswith("/Volumes/"):
        return path
    found = TRACKING.search(path.lstrip("/"))
    if found is None or (found.group(3).startswith(TRACE) and not found.group(2)):
        return None
    kind = "LoggedModels" if found.group(2) else "Runs"
    return f"{INTERNAL}/{found.group(1)}/{kind}/{found.group(3)}{found.group(4) or ''}"


def _owner(base: str) -> str:
    """The experiment of a path: what the workspace gives or refuses as one."""
    return "/".join(base.split("/")[:5])
