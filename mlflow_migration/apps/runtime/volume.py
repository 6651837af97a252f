"""A Volume through the Files API: apps have no /Volumes folder, whatever is bound to them."""

import io
import shutil
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import NotFound, ResourceConflict
from databricks.sdk.errors.base import DatabricksError

from mlflow_migration.apps.runtime.storage import MissingError, StorageError, TakenError

T = TypeVar("T")
REQUEST_SECONDS = 30


class Volume:
    """A folder of a Volume. Big files go in parts, and 429, 503 and cut connections are repeated: the SDK does both."""

    def __init__(self, root: str, host: str = "", patience: float = 30) -> None:
        self._root = root.rstrip("/")
        self._folders: set[str] = set()
        seconds = min(REQUEST_SECONDS, patience)
        try:
            config = Config(
                host=host or None, retry_timeout_seconds=max(1, int(patience)), http_timeout_seconds=seconds
            )
            config.files_ext_network_transfer_inactivity_timeout_seconds = seconds
            self._files = WorkspaceClient(config=config).files
        except (ValueError, DatabricksError, requests.RequestException) as error:
            raise StorageError(f"can't log in for {self._root}: {_first_line(error)}") from error

    @property
    def address(self) -> str:
        return self._root

    def names(self, folder: str) -> list[str]:
        try:
            found = self._asked(lambda: list(self._files.list_directory_contents(f"{self._root}/{folder}")), folder)
        except MissingError:
            # A Volume that isn't there mustn't look like one in which nothing is.
            self._asked(lambda: self._files.get_directory_metadata(_volume_of(self._root)), folder)
            return []
        return sorted(entry.name or "" for entry in found if not entry.is_directory)

    def read(self, name: str) -> bytes:
        content = io.BytesIO()
        self.fetch(name, content)
        return content.getvalue()

    def fetch(self, name: str, sink: BinaryIO) -> None:
        def copied() -> None:
            source = self._files.download(f"{self._root}/{name}").contents
            if source is None:
                raise StorageError(f"{self._root}/{name}: the Files API sent no content")
            with source:
                shutil.copyfileobj(source, sink, 1024 * 1024)

        self._asked(copied, name)

    def put(self, name: str, source: BinaryIO, anew: bool = False) -> None:
        folder = f"{self._root}/{name}".rpartition("/")[0]
        if folder not in self._folders:
            self._asked(lambda: self._files.create_directory(folder), name)
            self._folders.add(folder)
        self._asked(lambda: self._files.upload(f"{self._root}/{name}", source, overwrite=not anew), name)

    def delete(self, name: str) -> None:
        try:
            self._asked(lambda: self._files.delete(f"{self._root}/{name}"), name)
        except MissingError:
            return

    def _asked(self, ask: Callable[[], T], name: str) -> T:
        try:
            return ask()
        except NotFound as error:
            raise MissingError(f"{self._root}/{name} is not there: {_first_line(error)}") from error
        except ResourceConflict as error:
            raise TakenError(f"{self._root}/{name} is there already") from error
        # The SDK logs in at the first request: ValueError is what it raises where that fails.
        except (DatabricksError, requests.RequestException, OSError, ValueError) as error:
            raise StorageError(f"{self._root}/{name}: {_first_line(error)}") from error


def _volume_of(path: str) -> str:
    """/Volumes/CATALOG/SCHEMA/VOLUME of a path below it."""
    return "/".join(path.split("/")[:5])


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
