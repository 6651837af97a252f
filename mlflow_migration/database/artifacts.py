"""Where artifacts lie: the addresses in a database, and the storage behind them."""

from __future__ import annotations

import errno
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_migration.errors import StorageError, UsageError
from mlflow_migration.records import BLOCK, File, Loss

PROXIED = "mlflow-artifacts:"
LARGEST_MODEL_FILE = 4 * 1024 * 1024
"""An MLmodel file is a few kB of YAML; anything larger is not one, and passes as it is."""
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES})


@dataclass(frozen=True)
class Roots:
    """`base` is what the addresses of new artifacts begin with, `root` where those bytes go: the same, but where a
    server is between them. Without a `base` objects keep the addresses they have at the source."""

    base: str = ""
    root: str = ""

    def location(self, experiment_id: int, before: str) -> str:
        """Where the artifacts of a new experiment lie."""
        return f"{self.base}/{experiment_id}" if self.base else before

    def storage(self, uri: str) -> str:
        """The folder or address to write to for an artifact address. Raises StorageError where none is known."""
        if self.base and (uri == self.base or uri.startswith(self.base + "/")):
            return self.root + uri[len(self.base) :]
        if uri.startswith(PROXIED):
            raise StorageError(
                f"no way to the artifacts at {uri}", "a server's own address", "give --artifact-root ROOT"
            )
        return uri


def roots_of(default: str | None, given: str | None, files: str) -> Roots:
    """The roots of a database. `default` is where its experiment `Default` keeps artifacts, `given` --artifact-root,
    `files` what becomes of artifacts: "copy", "skip" or "reference".

    Raises UsageError where artifacts are to be copied and nothing tells where to.
    """
    root = given.rstrip("/") if given else ""
    if root and not SCHEME.match(root):
        root = str(Path(root).absolute())
    if files == "reference":
        return Roots()
    base = default.removesuffix("/0") if default and default.endswith("/0") else ""
    if base.startswith(PROXIED):
        if not root and files == "copy":
            raise UsageError(
                "it isn't known where the artifacts go",
                f"the database's own address, {default}, leads to a server",
                "give the folder or bucket behind that server as --artifact-root, or add --artifacts skip",
            )
        return Roots(base, root)
    chosen = root or base
    if not chosen and files == "copy":
        raise UsageError(
            "it isn't known where the artifacts go",
            "a database keeps only their addresses",
            "give --artifact-root (a folder, s3://…), or add --artifacts reference",
        )
    return Roots(chosen, chosen)


@dataclass
class Put:
    """What became of an object's artifacts. `changed` tells whether any was written."""

    bytes: int = 0
    changed: bool = False
    losses: list[Loss] = field(default_factory=list)


@dataclass(frozen=True)
class Storing:
    """How artifacts are written. `text` gives a text with the new addresses in it."""

    roots: Roots
    text: Callable[[str], str]
    checksum: bool = False
    rehearsal: bool = False

    def put(self, uri: str, files: Iterator[File]) -> Put:
        """Write those artifacts that aren't at `uri` yet or have another size, or other bytes under `checksum`.

        Raises StorageError where nothing can be written.
        """
        put = Put()
        store: _Folder | _Remote | None = None
        for file in files:
            if file.problem or not is_safe(file.path):
                reason = file.problem or "its name leads out of its folder"
                put.losses.append(Loss("artifact", file.path, reason, wanted=file.wanted))
                continue
            store = store or _store(self.roots.storage(uri))
            outgoing = self._readdressed(file)
            if self._is_there(store, outgoing):
                continue
            put.changed = True
            put.bytes += outgoing.size
            if not self.rehearsal:
                store.write(outgoing)
        return put

    def _is_there(self, store: _Folder | _Remote, file: File) -> bool:
        there = store.file(file.path)
        if there is None or there.size != file.size:
            return False
        return not self.checksum or there.digest() == file.digest()

    def _readdressed(self, file: File) -> File:
        """An MLmodel file with the addresses of artifacts that are in it replaced."""
        if file.open is None or file.path.rpartition("/")[2] != "MLmodel" or file.size > LARGEST_MODEL_FILE:
            return file
        with file.open() as reader:
            data = reader.read(LARGEST_MODEL_FILE + 1)
        try:
            changed = self.text(data.decode("utf-8")).encode("utf-8")
        except UnicodeDecodeError:
            return file
        return file if changed == data else File(file.path, len(changed), partial(_reading, changed))


@contextmanager
def _reading(data: bytes) -> Iterator[BinaryIO]:
    yield io.BytesIO(data)


def is_safe(path: str) -> bool:
    """Whether an artifact's name stays in its folder."""
    return not path.startswith("/") and not {"", ".", ".."} & set(path.split("/")) and "\0" not in path


def _store(storage: str) -> _Folder | _Remote:
    if storage.startswith("file:"):
        from mlflow.utils.file_utils import local_file_uri_to_path

        return _Folder(Path(local_file_uri_to_path(storage)))
    return _Remote(storage) if SCHEME.match(storage) else _Folder(Path(storage))


class _Folder:
    """Artifacts in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, path: str) -> File | None:
        there = self._folder / path
        return File(path, there.stat().st_size, partial(there.open, "rb")) if there.is_file() else None

    def write(self, file: File) -> None:
        target = self._folder / file.path
        part = target.with_name(f".{target.name[:200]}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _save(file, part)
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            if error.errno in FULL:
                raise StorageError(
                    "artifacts can't be written", f"{target}: {error.strerror}", "free space, or check its permissions"
                ) from error
            raise


class _Remote:
    """Artifacts at an address that MLflow's own repositories reach (s3://, gs://, …)."""

    def __init__(self, address: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        self._repository: Any = get_artifact_repository(address)
        self._listed: dict[str, dict[str, int]] = {}

    def file(self, path: str) -> File | None:
        folder = path.rpartition("/")[0]
        if folder not in self._listed:
            found = self._repository.list_artifacts(folder or None)
            self._listed[folder] = {each.path: each.file_size or 0 for each in found if not each.is_dir}
        if path not in self._listed[folder]:
            return None
        return File(path, self._listed[folder][path], partial(self._open, path))

    @contextmanager
    def _open(self, path: str) -> Iterator[BinaryIO]:
        with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
            with Path(self._repository.download_artifacts(path, scratch)).open("rb") as reader:
                yield reader

    def write(self, file: File) -> None:
        folder, _, name = file.path.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
            local = Path(scratch) / name
            _save(file, local)
            self._repository.log_artifact(str(local), folder or None)


def _save(file: File, path: Path) -> None:
    assert file.open is not None
    with file.open() as reader, path.open("wb") as writer:
        while block := reader.read(BLOCK):
            writer.write(block)
