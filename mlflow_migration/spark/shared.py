"""The folder that driver and executors share: a path that all of them mount, or an address that fsspec knows."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow_migration.bundle import layout, merge
from mlflow_migration.errors import BundleError, StorageError, UsageError

MOUNTS = ("/Volumes/", "/dbfs/")
"""Folders of Databricks that take whole files only: nothing can be added to a file there."""
AT_ONCE = 500
"""Files handed to fsspec in one call: it moves some of them side by side."""
NO_RENAME = frozenset({errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EINVAL})
"""What a file system answers that can't rename a folder."""


@dataclass(frozen=True)
class Folder:
    """A folder that every machine reaches. `path` is what the file system calls it."""

    address: str
    fs: Any
    path: str

    @property
    def local(self) -> Path | None:
        """The folder as a path that a program can write to in place; None where whole files are brought there."""
        in_place = "://" not in self.address and not self.address.startswith(MOUNTS)
        return Path(self.path) if in_place else None

    @property
    def renames(self) -> bool:
        """Whether its files are those of this machine's file system."""
        return "://" not in self.address

    def child(self, name: str) -> Folder:
        """A folder in it."""
        return Folder(f"{self.address}/{name}", self.fs, f"{self.path}/{name}")

    def beside(self, ending: str) -> Folder:
        """A folder of the same name with an ending."""
        return Folder(self.address + ending, self.fs, self.path + ending)

    def has(self, name: str) -> bool:
        """Whether a file or folder of that name is in it, now."""
        self.fs.invalidate_cache()
        return bool(self.fs.exists(f"{self.path}/{name}"))

    def names(self) -> list[str]:
        """The files and folders right in it; none where it isn't there."""
        self.fs.invalidate_cache()
        if not self.fs.exists(self.path):
            return []
        return sorted(found.rstrip("/").rpartition("/")[2] for found in self.fs.ls(self.path, detail=False))

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        found: bytes = self.fs.cat_file(f"{self.path}/{name}")
        return found

    def write(self, name: str, data: bytes) -> None:
        """A file of these bytes, in place of one that is there."""
        if self.renames:
            self.fs.makedirs(self.path, exist_ok=True)
        self.fs.pipe_file(f"{self.path}/{name}", data)

    def remove(self, name: str = "") -> None:
        """Take away a file in it, or all of it."""
        path = f"{self.path}/{name}" if name else self.path
        self.fs.invalidate_cache()
        if self.fs.exists(path):
            self.fs.rm(path, recursive=not name)

    def put(self, root: Path, names: Sequence[str]) -> None:
        """Bring files below `root`, given relative to it, to the same places here."""
        for begin in range(0, len(names), AT_ONCE):
            some = names[begin : begin + AT_ONCE]
            self.fs.put([str(root / name) for name in some], [f"{self.path}/{name}" for name in some])

    def get(self, names: Sequence[str], root: Path) -> None:
        """Bring files here to the same places below `root`."""
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            self.fs.get_file(f"{self.path}/{name}", str(root / name))


def folder(address: str) -> Folder:
    """The shared folder of an address. Raises UsageError for one that fsspec can't open, or with a secret in it."""
    parts = urlsplit(address) if "://" in address else None
    if parts is not None and (parts.username or parts.password or parts.query):
        raise UsageError(
            "the output folder's address holds credentials",
            "Spark would write them into its plans and logs",
            "leave them out: executors find theirs as fsspec does (environment, instance profile, ~/.config/fsspec)",
        )
    try:
        import fsspec
    except ImportError as error:
        raise UsageError("--engine spark needs fsspec", hint="pip install 'mlflow-migration[spark]'") from error
    plain = parts is None or parts.scheme in {"file", "local"}
    try:
        fs, path = fsspec.core.url_to_fs(address.rstrip("/"), **({"auto_mkdir": True} if plain else {}))
    except (ImportError, ValueError) as error:
        raise UsageError(f"can't open {address}", str(error), "install fsspec's package for it, as s3fs") from error
    if parts is None:
        address = str(Path(address).absolute())
    return Folder(address.rstrip("/"), fs, str(path).rstrip("/"))


@contextmanager
def written(place: Folder) -> Iterator[Path]:
    """A folder to write a bundle into, and what `place` then holds: the manifest last. Nothing after an error.

    It is `place` itself where programs can write there, else one of this machine's for temporary files.
    """
    if place.local is not None:
        whole = False
        try:
            yield place.local
            whole = True
        finally:
            if not whole:
                shutil.rmtree(place.local, ignore_errors=True)
        return
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch, storage(place):
        root = Path(scratch) / "bundle"
        yield root
        names = [name for name, _ in layout.walk(root)]
        place.put(root, [name for name in names if name != layout.MANIFEST])
        place.put(root, [name for name in names if name == layout.MANIFEST])


def publish(attempt: Folder, target: Folder) -> None:
    """Move a shard's objects to where the whole bundle has them; what speaks of the shard as a whole stays.

    Doing it again, after an end half-way, does the rest. Raises BundleError where something of the name is there.
    """
    with storage(target):
        if attempt.renames:
            _rename(Path(attempt.path), Path(target.path))
        else:
            _move(attempt, target)


def _rename(attempt: Path, target: Path) -> None:
    for collection in sorted(path for path in attempt.iterdir() if path.is_dir()):
        (target / collection.name).mkdir(parents=True, exist_ok=True)
        for thing in sorted(path for path in collection.iterdir() if path.is_dir()):
            there = target / collection.name / thing.name
            try:
                thing.rename(there)
            except FileNotFoundError:
                # A twin of this task was faster.
                if not there.is_dir():
                    raise
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise BundleError(f"{there} is there already", f"shard {attempt}", "give a new folder") from error
                if error.errno not in NO_RENAME:
                    raise
                _copy(thing, there)


def _copy(thing: Path, there: Path) -> None:
    for name, path in list(layout.walk(thing)):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there / name)
    shutil.rmtree(thing)


def _move(attempt: Folder, target: Folder) -> None:
    attempt.fs.invalidate_cache()
    found = [str(path)[len(attempt.path) + 1 :] for path in attempt.fs.find(attempt.path)]
    names = [name for name in found if not merge.is_of_all(name)]
    for begin in range(0, len(names), AT_ONCE):
        some = names[begin : begin + AT_ONCE]
        sources = [f"{attempt.path}/{name}" for name in some]
        attempt.fs.copy(sources, [f"{target.path}/{name}" for name in some], on_error="raise")
        attempt.fs.rm(sources)


def about(attempt: Folder, scratch: Path) -> Path:
    """A local folder with what speaks of a shard as a whole: its manifest, sums, failures and lists."""
    if attempt.renames:
        return Path(attempt.path)
    root = scratch / attempt.path.replace("/", "_")
    names = attempt.names()
    wanted = [name for name in (layout.MANIFEST, layout.SUMS, layout.FAILURES) if name in names]
    wanted += [f"{name}/{name}.json" for name in names if attempt.has(f"{name}/{name}.json")]
    attempt.get(wanted, root)
    return root


@contextmanager
def storage(place: Folder) -> Iterator[None]:
    """Turn what a file system answers into an error that says where."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "free some space, or make more shards with --shards" if error.errno in _FULL else "check the folder"
        raise StorageError("can't write the bundle", f"{place.address}: {reason}", hint) from error


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
