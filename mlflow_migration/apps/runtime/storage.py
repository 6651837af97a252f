"""Where snapshots are kept: a folder, or a Volume of Unity Catalog (`volume.py`). Names are relative, with slashes."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

T = TypeVar("T")


class StorageError(Exception):
    """The storage couldn't be reached, or refused."""


class MissingError(StorageError):
    """There is no such file."""


class TakenError(StorageError):
    """There is such a file already, and it was to be made anew."""


class Storage(Protocol):
    """Keeps files. Every method raises StorageError where the storage can't be reached or refuses."""

    @property
    def address(self) -> str:
        """Where it is, for people."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files of a folder, sorted; none where there is no such folder."""
        ...

    def read(self, name: str) -> bytes:
        """A small file's content; raises MissingError."""
        ...

    def fetch(self, name: str, sink: BinaryIO) -> None:
        """A file's content into `sink`, as a stream; raises MissingError."""
        ...

    def put(self, name: str, source: BinaryIO, anew: bool = False) -> None:
        """Make a file of `source` (seekable), whole or not at all; `anew` raises TakenError where there is one."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file; one that is gone is no error."""
        ...


class Folder:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def address(self) -> str:
        return str(self._root)

    def names(self, folder: str) -> list[str]:
        def listed() -> list[str]:
            place = self._root / folder
            if not place.is_dir():
                return []
            return sorted(file.name for file in place.iterdir() if file.is_file() and not file.name.startswith("."))

        return self._asked(listed, folder)

    def read(self, name: str) -> bytes:
        return self._asked((self._root / name).read_bytes, name)

    def fetch(self, name: str, sink: BinaryIO) -> None:
        def copied() -> None:
            with (self._root / name).open("rb") as source:
                shutil.copyfileobj(source, sink, 1024 * 1024)

        self._asked(copied, name)

    def put(self, name: str, source: BinaryIO, anew: bool = False) -> None:
        self._asked(lambda: self._put(self._root / name, source, anew), name)

    def delete(self, name: str) -> None:
        self._asked(lambda: (self._root / name).unlink(missing_ok=True), name)

    def _put(self, target: Path, source: BinaryIO, anew: bool) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".")
        made = Path(name)
        try:
            with os.fdopen(handle, "wb") as sink:
                shutil.copyfileobj(source, sink, 1024 * 1024)
                sink.flush()
                os.fsync(sink.fileno())
            if anew:
                self._link(made, target)
            else:
                made.replace(target)
        finally:
            made.unlink(missing_ok=True)

    def _link(self, made: Path, target: Path) -> None:
        try:
            os.link(made, target)
        except FileExistsError as error:
            raise TakenError(f"{target} is there already") from error

    def _asked(self, ask: Callable[[], T], name: str) -> T:
        try:
            return ask()
        except FileNotFoundError as error:
            raise MissingError(f"{self._root / name} is not there") from error
        except OSError as error:
            raise StorageError(f"{self._root / name}: {error.strerror or error}") from error


def open_storage(address: str, host: str = "", patience: float = 30) -> Storage:
    """The storage at an address: /Volumes/... through the Files API of `host`, file:///... or a path as a folder.

    A Volume repeats what was refused for a moment (429, 503) for `patience` seconds. Raises StorageError where nobody
    can be logged in.
    """
    if address.startswith("/Volumes/"):
        from mlflow_migration.apps.runtime.volume import Volume

        return Volume(address, host, patience)
    if address.startswith("file:"):
        return Folder(Path(unquote(urlsplit(address).path)))
    return Folder(Path(address).expanduser().absolute())
