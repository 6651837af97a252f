"""Artifacts by the addresses that a database holds: local folders, a server's own artifact root, and any storage that
MLflow has a client for. What stands in a database is never trusted as a path."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow_migration.errors import NotFoundError, ServerError, UsageError
from mlflow_migration.places import Root
from mlflow_migration.records import File

BLOCK = 1 << 20
OPTION = "--artifact-root"
NO_ROOT = f"the server's own artifact root holds it: {OPTION} says where that is (its --artifacts-destination)"
UNREACHABLE = "artifacts can't be reached"
ABOVE = 3
"""Folders between an object's artifacts and the root of all: …/<experiment>/<run>/artifacts."""


@dataclass(frozen=True)
class Entry:
    """What lies directly in a folder."""

    name: str
    is_folder: bool
    size: int
    problem: str = ""


class Storage(Protocol):
    """What is behind a server's own artifact addresses where MLflow's clients don't lead there with the credentials of
    this job. Paths go from its root, with slashes. Every method raises MigrationError."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """What lies in a folder; nothing where there is no such folder."""
        ...

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """The bytes of a file."""
        ...

    def put(self, path: str, file: File) -> None:
        """Write a file: it is there whole or not at all, and one that is there is overwritten."""
        ...


@dataclass(frozen=True)
class _Within:
    """A folder of a storage."""

    storage: Storage
    folder: str

    def path(self, below: str) -> str:
        return f"{self.folder}/{below}".strip("/")


class Artifacts:
    """Reads and writes the artifacts of a database. `root` is what its server has as `--artifacts-destination`: an
    address, or what leads there.

    Raises UsageError where `root` is a local folder that isn't there, unless it is to be written to.
    """

    def __init__(self, root: str | Storage = "", writing: bool = False) -> None:
        self._root = root
        if isinstance(root, str) and root and not writing and _is_local(root) and not _local(root).is_dir():
            raise UsageError(
                f"no such folder: {root}", hint=f"{OPTION} is what the server has as --artifacts-destination"
            )

    def problem(self, root: Root) -> str:
        """Why the artifacts of an object can't be looked for; "" where they can."""
        try:
            place = self._place(root.uri)
        except ServerError as error:
            return error.why
        if isinstance(place, Path) and _is_elsewhere(place):
            return f"its folder is not on this machine: {place}"
        return ""

    def files(self, root: Root) -> Iterator[File]:
        """Every artifact of an object, depth first; one file with a problem where they can't be looked for."""
        if problem := self.problem(root):
            yield File("/", 0, problem=problem)
            return
        place = self._place(root.uri)
        folders = [""]
        while folders:
            folder = folders.pop()
            for entry in sorted(_listed(place, folder), key=lambda each: each.name):
                path = f"{folder}/{entry.name}".lstrip("/")
                if entry.problem:
                    yield File(path, entry.size, problem=entry.problem)
                elif entry.is_folder:
                    folders.append(path)
                else:
                    yield File(path, entry.size, partial(self.open_file, root, path))

    def folders(self, uri: str) -> set[str]:
        """The names of what lies directly below an address. Raises ServerError where it can't be listed."""
        return {entry.name for entry in _listed(self._place(uri), "")}

    @contextmanager
    def open_file(self, root: Root, path: str) -> Iterator[BinaryIO]:
        """The bytes of one artifact. Raises NotFoundError where there is none, ServerError where it can't be read."""
        place = self._place(root.uri)
        _check(path)
        if isinstance(place, _Within):
            with place.storage.open(place.path(path)) as reader:
                yield reader
            return
        with ExitStack() as stack:
            with _told(path, root.uri):
                if isinstance(place, Path):
                    found = place.joinpath(*path.split("/"))
                else:
                    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlflow-migration-"))
                    found = Path(place.download_artifacts(path, folder))
                reader = stack.enter_context(found.open("rb"))
            yield reader

    def put_file(self, root: Root, path: str, file: File) -> None:
        """Write one artifact; it is there whole or not at all, and one that is there is overwritten."""
        if file.open is None:
            raise ServerError("an artifact can't be read", file.problem, 0, "")
        place = self._place(root.uri)
        _check(path)
        if isinstance(place, _Within):
            place.storage.put(place.path(path), file)
            return
        with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as folder, _told(path, root.uri):
            if isinstance(place, Path):
                target = place.joinpath(*path.split("/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                half = target.with_name(f".mlflow-migration-{os.getpid()}-{threading.get_ident()}.part")
                _copy(file.open, half)
                half.replace(target)
            else:
                local = Path(folder) / PurePosixPath(path).name
                _copy(file.open, local)
                parent = str(PurePosixPath(path).parent)
                place.log_artifact(str(local), None if parent == "." else parent)

    def _place(self, uri: str) -> Any:
        """A folder as a Path, or MLflow's client of a storage. Raises ServerError where there is neither."""
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts" and not parts.netloc:
            if not self._root:
                raise ServerError(UNREACHABLE, NO_ROOT, 0, "")
            below = [part for part in parts.path.split("/") if part]
            if not set(below).isdisjoint({".", ".."}):
                raise ServerError(UNREACHABLE, f"the address is refused as unsafe: {uri}", 0, "")
            if not isinstance(self._root, str):
                return _Within(self._root, "/".join(below))
            if _is_local(self._root):
                return _local(self._root).joinpath(*below)
            return _client("/".join([self._root.rstrip("/"), *below]))
        if not uri:
            raise ServerError(UNREACHABLE, "the database doesn't say where it lies", 0, "")
        return _local(uri) if _is_local(uri) else _client(uri)


def _copy(source: Callable[[], AbstractContextManager[BinaryIO]], target: Path) -> None:
    with source() as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, BLOCK)


def folder_of(uri: str) -> Path | None:
    """The folder that an address names, None where it names a storage."""
    return _local(uri) if uri and _is_local(uri) else None


def _is_local(uri: str) -> bool:
    # A drive of Windows looks like a scheme of one letter.
    return len(urlsplit(uri).scheme) <= 1 or urlsplit(uri).scheme == "file"


def _local(uri: str) -> Path:
    return Path(url2pathname(urlsplit(uri).path)) if urlsplit(uri).scheme == "file" else Path(uri)


def _client(uri: str) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        return get_artifact_repository(uri)
    except (MlflowException, ImportError) as error:
        raise ServerError(UNREACHABLE, f"MLflow has no client for {uri}: {error}", 0, "") from error


def _is_elsewhere(folder: Path) -> bool:
    """Whether a folder that isn't there belongs to another machine: what should be above it isn't there either."""
    if folder.is_dir():
        return False
    above = [parent for parent in folder.parents if parent != parent.parent][: ABOVE + 1]
    return not any(parent.is_dir() for parent in above)


def _check(path: str) -> None:
    """Raises ServerError for a path that leads out of its object."""
    if path.startswith("/") or not set(path.split("/")).isdisjoint({"", ".", ".."}):
        raise ServerError("an artifact's name is refused as unsafe", path, 0, "")


def _listed(place: Any, folder: str) -> Iterator[Entry]:
    if isinstance(place, Path):
        yield from _scanned(place, folder)
        return
    if isinstance(place, _Within):
        yield from place.storage.entries(place.path(folder))
        return
    with _told(folder, str(getattr(place, "artifact_uri", ""))):
        found = place.list_artifacts(folder or None)
    for info in found:
        yield Entry(PurePosixPath(info.path).name, bool(info.is_dir), int(info.file_size or 0))


def _scanned(place: Path, folder: str) -> Iterator[Entry]:
    here = place.joinpath(*folder.split("/")) if folder else place
    if not here.is_dir():
        return
    with _told(folder, str(place)):
        for each in os.scandir(here):
            yield _entry(each, here)


def _entry(each: os.DirEntry[str], here: Path) -> Entry:
    try:
        each.name.encode()
    except UnicodeEncodeError:
        return Entry(each.name.encode("utf-8", "replace").decode(), False, 0, "its name is not UTF-8")
    if each.is_dir():
        above = each.is_symlink() and here.resolve().is_relative_to(Path(each.path).resolve())
        return Entry(each.name, True, 0, "it is a link to a folder it lies in" if above else "")
    if not each.is_file():
        return Entry(each.name, False, 0, "it is no file, or a link to nothing")
    return Entry(each.name, False, each.stat().st_size)


@contextmanager
def _told(path: str, where: str) -> Iterator[None]:
    """What goes wrong at a disk or a storage, as an error of this tool."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"no such artifact: {path}", f"at {where}") from error
    except (OSError, MlflowException) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error.message)
        raise ServerError(f"the artifact {path} at {where} can't be read or written", why, 0, "") from error
