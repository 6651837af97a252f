"""Where the artifacts of new objects go: their addresses in a database, and the bytes behind those."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from mlflow_migration.database.artifacts import Artifacts, Storage
from mlflow_migration.errors import ConflictError, UsageError
from mlflow_migration.places import Root
from mlflow_migration.records import File, Loss

PROXIED = "mlflow-artifacts:"
LARGEST_MODEL_FILE = 4 * 1024 * 1024
"""An MLmodel file is a few kB of YAML; anything larger is not one, and passes as it is."""


@dataclass(frozen=True)
class Roots:
    """`base` is what the addresses of new artifacts begin with, `root` the storage behind a server's own addresses.
    Without a `base` objects keep the addresses they have at the source. With `kept` what is there is never overwritten:
    something else, an older copy of the database, may still name it."""

    base: str = ""
    root: str | Storage = ""
    kept: bool = False

    def location(self, experiment_id: int, before: str) -> str:
        """Where the artifacts of a new experiment lie."""
        return f"{self.base}/{experiment_id}" if self.base else before


def roots_of(default: str | None, given: str | None, files: str) -> Roots:
    """The roots of a database. `default` is where its experiment `Default` keeps artifacts, `given` --artifact-root,
    `files` what becomes of artifacts: "copy", "skip" or "reference".

    Raises UsageError where artifacts are to be copied and nothing tells where to.
    """
    root = given.rstrip("/") if given else ""
    if root and len(urlsplit(root).scheme) <= 1:
        root = str(Path(root).absolute())
    if files == "reference":
        return Roots()
    base = default.removesuffix("/0") if default and default.endswith("/0") else ""
    if base.startswith(PROXIED):
        if not root and files == "copy":
            raise UsageError(
                "it isn't known where the artifacts go",
                f"the database's own address, {default}, leads to a server",
                "give the folder or bucket behind that server as artifact root, or add --artifacts skip",
            )
        return Roots(base, root)
    chosen = root or base
    if not chosen and files == "copy":
        raise UsageError(
            "it isn't known where the artifacts go",
            "a database keeps only their addresses",
            "give a folder or an address like s3://bucket as --artifact-root or --dst-artifact-root, or add "
            "--artifacts reference",
        )
    return Roots(chosen, root)


@dataclass
class Put:
    """What became of an object's artifacts. `changed` tells whether any was written."""

    bytes: int = 0
    changed: bool = False
    losses: list[Loss] = field(default_factory=list)


class Storing:
    """Writes artifacts. `text` gives a text with the new addresses in it."""

    def __init__(self, roots: Roots, text: Callable[[str], str], checksum: bool, rehearsal: bool) -> None:
        self._artifacts = Artifacts(roots.root, writing=True)
        self._kept = roots.kept
        self._text = text
        self._checksum = checksum
        self._rehearsal = rehearsal

    def put(self, root: Root, files: Iterator[File]) -> Put:
        """Write those artifacts that aren't there yet or have another size, or other bytes under `checksum`.

        Raises ConflictError where one has, and those that are there are to be kept.
        """
        put = Put()
        there: dict[str, File] | None = None
        for file in files:
            if file.problem or not _is_safe(file.path):
                reason = file.problem or "its name leads out of its folder"
                put.losses.append(Loss("artifact", file.path, reason, wanted=file.wanted))
                continue
            if there is None:
                there = {each.path: each for each in self._artifacts.files(root) if not each.problem}
            outgoing = self._readdressed(file)
            if self._is_same(there.get(file.path), outgoing):
                continue
            if self._kept and file.path in there:
                raise ConflictError(f"another artifact is there: {file.path}", f"at {root.uri}")
            put.changed = True
            put.bytes += outgoing.size
            if not self._rehearsal:
                self._artifacts.put_file(root, file.path, outgoing)
        return put

    def _is_same(self, there: File | None, file: File) -> bool:
        if there is None or there.size != file.size:
            return False
        return not self._checksum or there.digest() == file.digest()

    def _readdressed(self, file: File) -> File:
        """An MLmodel file with the addresses of artifacts that are in it replaced."""
        if file.open is None or file.path.rpartition("/")[2] != "MLmodel" or file.size > LARGEST_MODEL_FILE:
            return file
        with file.open() as reader:
            data = reader.read(LARGEST_MODEL_FILE + 1)
        try:
            changed = self._text(data.decode("utf-8")).encode("utf-8")
        except UnicodeDecodeError:
            return file
        return file if changed == data else File(file.path, len(changed), partial(_reading, changed))


@contextmanager
def _reading(data: bytes) -> Iterator[BinaryIO]:
    yield io.BytesIO(data)


def _is_safe(path: str) -> bool:
    """Whether an artifact's name stays in its folder."""
    return not path.startswith("/") and not {"", ".", ".."} & set(path.split("/")) and "\0" not in path
