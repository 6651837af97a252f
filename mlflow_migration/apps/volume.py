"""A Volume as the deploying side reaches it: by the credentials of an address, which may name a profile.

The runtime has a Volume of its own (`runtime/volume.py`), with the credentials of the app it runs in.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, TypeVar
from urllib.parse import quote

from mlflow_migration.apps.runtime.storage import MissingError, TakenError
from mlflow_migration.apps.runtime.storage import StorageError as UnreachableError
from mlflow_migration.database.artifacts import Entry
from mlflow_migration.errors import MigrationError, ServerError, UsageError
from mlflow_migration.records import File
from mlflow_migration.server.databricks import files
from mlflow_migration.server.rest import Rest

T = TypeVar("T")
BLOCK = 1 << 20
PARTS = 4
"""Catalog, schema and volume behind /Volumes."""


class Volume:
    """A folder of a Volume. Implements the runtime's `Storage`: errors are the runtime's."""

    def __init__(self, rest: Rest, root: str) -> None:
        """Raises UsageError where there is no such Volume, or nobody may know of it; what `Rest` raises."""
        self._rest = rest
        self._root = root.rstrip("/")
        _check(rest, self._root)

    @property
    def address(self) -> str:
        return self._root

    def names(self, folder: str) -> list[str]:
        """Names of the files of a folder, sorted; none where there is no such folder."""
        found = self._asked(lambda: [*files.walk(self._rest, f"{self._root}/{folder}", levels=1)], folder)
        return sorted(file.path for file in found if not file.path.endswith("/"))

    def read(self, name: str) -> bytes:
        content = io.BytesIO()
        self.fetch(name, content)
        return content.getvalue()

    def fetch(self, name: str, sink: BinaryIO) -> None:
        def copied() -> None:
            with files.open_file(self._rest, f"{self._root}/{name}") as source:
                shutil.copyfileobj(source, sink, BLOCK)

        self._asked(copied, name)

    def put(self, name: str, source: BinaryIO, anew: bool = False) -> None:
        path = f"{self._root}/{name}"
        size = source.seek(0, io.SEEK_END)
        file = File(name, size, partial(_from_start, source))
        if anew:
            body, route = partial(files.body_of, file), f"{files.FILES}{quote(path)}?overwrite=false"
            self._asked(lambda: self._rest.upload("PUT", route, body, size), name)
        else:
            self._asked(lambda: files.put_file(self._rest, path, file), name)

    def delete(self, name: str) -> None:
        try:
            self._asked(lambda: self._rest.call("DELETE", files.FILES + quote(f"{self._root}/{name}")), name)
        except MissingError:
            return

    def _asked(self, ask: Callable[[], T], name: str) -> T:
        try:
            return ask()
        except ServerError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise MissingError(f"{self._root}/{name} is not there: {error.why}") from error
            if error.status == HTTPStatus.CONFLICT:
                raise TakenError(f"{self._root}/{name} is there already") from error
            raise UnreachableError(f"{self._root}/{name}: {error}") from error
        except MigrationError as error:
            raise UnreachableError(f"{self._root}/{name}: {error}") from error


class VolumeArtifacts:
    """The artifacts below a folder of a Volume, as streams. Implements the database's `Storage`."""

    def __init__(self, rest: Rest, root: str) -> None:
        """Raises as `Volume` does."""
        self._rest = rest
        self._root = root.rstrip("/")
        _check(rest, self._root)

    def entries(self, folder: str) -> Iterator[Entry]:
        for file in files.walk(self._rest, self._path(folder), levels=1):
            yield Entry(file.path.rstrip("/"), file.path.endswith("/"), file.size)

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        return files.open_file(self._rest, self._path(path))

    def put(self, path: str, file: File) -> None:
        files.put_file(self._rest, self._path(path), file)

    def _path(self, below: str) -> str:
        return f"{self._root}/{below}".rstrip("/")


def _check(rest: Rest, root: str) -> None:
    """Raise UsageError where a Volume isn't there: a folder in it that isn't is one in which nothing is yet."""
    volume = "/".join(root.split("/")[: 1 + PARTS])
    try:
        rest.call("GET", files.DIRECTORIES + quote(volume))
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        hint = "make the Volume, or have READ VOLUME and WRITE VOLUME on it given to you"
        raise UsageError(f"no such Volume: {volume}", error.why, hint) from error


@contextmanager
def _from_start(source: BinaryIO) -> Iterator[BinaryIO]:
    """What is sent, for one more try; it stays open."""
    source.seek(0)
    yield source
