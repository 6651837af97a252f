"""Snapshots of an SQLite database: copy it while it is written to, store the copy, get the newest good one back."""

import contextlib
import gzip
import hashlib
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from mlflow_migration.apps.runtime import generations
from mlflow_migration.apps.runtime.generations import Manifest, ManifestError
from mlflow_migration.apps.runtime.storage import MissingError, Storage, StorageError

CHUNK = 1024 * 1024


class SnapshotError(Exception):
    """A snapshot couldn't be made, or is not what it should be."""


class NoGoodSnapshotError(SnapshotError):
    """There are snapshots, and none of them can be used."""


@dataclass(frozen=True)
class Stamp:
    """Who makes a snapshot."""

    instance: str
    app: str
    lease: int = 0


@dataclass(frozen=True)
class Restored:
    """What came of a restore: the snapshot that is used now (None in an empty storage) and those that could not be."""

    manifest: Manifest | None
    passed_over: tuple[str, ...]


def copy(database: Path, target: Path) -> None:
    """Copy a database that others write to, at one moment of its life, by SQLite's online backup."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{_quoted(database)}?mode=rw", uri=True, timeout=60)) as source,
        contextlib.closing(sqlite3.connect(target)) as sink,
    ):
        source.backup(sink)
        # Else whoever opens the copy would find the header of a file with a log beside it.
        sink.execute("PRAGMA journal_mode=DELETE")


def broken(database: Path) -> str:
    """What PRAGMA integrity_check says of a database, empty where all is well."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{_quoted(database)}?mode=ro", uri=True)) as base:
            lines = [str(row[0]) for row in base.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        return str(error)
    return "" if lines == ["ok"] else "; ".join(lines)


def store(storage: Storage, database: Path, stamp: Stamp, checked: bool, after: str = "") -> Manifest:
    """Store a database nobody writes to (see `copy`) as a new generation, database and manifest, not yet pointed to.

    `after` is the generation the new name has to sort behind. Raises StorageError; SnapshotError where there is no
    room for the compressed file.
    """
    generation = generations.name(stamp.instance, after)
    with _gzipped(database) as (packed, digest, size):
        storage.put(f"{generations.FOLDER}/{generation}.db.gz", packed)
    made = Manifest(
        generation=generation,
        file=f"{generation}.db.gz",
        sha256=digest,
        size=size,
        database_size=database.stat().st_size,
        time=generations.time_of(generation).isoformat(timespec="milliseconds"),
        mlflow=mlflow_version(),
        revision=revision(database),
        instance=stamp.instance,
        app=stamp.app,
        lease=stamp.lease,
        checked=checked,
    )
    generations.put_manifest(storage, made)
    return made


def restore(storage: Storage, database: Path, start_empty: bool, say: Callable[[str], None]) -> Restored:
    """Put the newest good snapshot at `database`, or nothing where the storage has none yet.

    Older ones are tried where the newest is broken, and `say` is told. Raises NoGoodSnapshotError where there are
    snapshots and none is good (unless `start_empty`), StorageError where the storage doesn't answer: an outage is no
    reason to begin empty.
    """
    found = generations.listed(storage)
    passed: list[str] = []
    try:
        newest = generations.pointed(storage)
    except ManifestError as error:
        newest = ""
        passed.append(str(error))
        say(f"{error}; going by the names of the snapshots")
    if newest and newest not in found:
        passed.append(f"{newest}: its manifest is missing")
        say(f"snapshot {newest}, the newest by latest.json, has no manifest")
    for generation in generations.candidates(found, newest):
        try:
            return Restored(fetch(storage, generation, database), tuple(passed))
        except (ManifestError, SnapshotError, MissingError) as error:
            passed.append(f"{generation}: {error}")
            say(f"snapshot {generation} can't be used: {error}")
    strays = [file for file in storage.names(generations.FOLDER) if file.endswith(".db.gz")]
    if start_empty or not (found or passed or strays):
        return Restored(None, tuple(passed))
    if not passed:
        passed.append(f"{strays[-1]}: its manifest is missing")
    raise NoGoodSnapshotError(
        f"{storage.address} has snapshots and none of them can be used: {'; '.join(passed)}. Nothing is started, so "
        "that they aren't taken for superfluous. MLFLOW_APP_START_EMPTY=true begins with an empty database."
    )


def fetch(storage: Storage, generation: str, database: Path) -> Manifest:
    """Put one snapshot at `database`, checked; raises SnapshotError, ManifestError or StorageError."""
    known = generations.manifest(storage, generation)
    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=database.parent, prefix=".restore-") as folder:
        packed, unpacked = Path(folder) / "packed", Path(folder) / "unpacked"
        try:
            with packed.open("wb") as sink:
                storage.fetch(f"{generations.FOLDER}/{known.file}", sink)
            if (digest := _digest(packed)) != known.sha256:
                raise SnapshotError(f"its digest is {digest[:12]}…, the manifest says {known.sha256[:12]}…")
            with gzip.open(packed, "rb") as source, unpacked.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SnapshotError(f"can't be unpacked: {error}") from error
        except OSError as error:
            raise StorageError(f"no room to restore into {database.parent}: {error.strerror or error}") from error
        if trouble := broken(unpacked):
            raise SnapshotError(f"integrity_check: {trouble}")
        for beside in ("-wal", "-shm", "-journal"):
            database.with_name(database.name + beside).unlink(missing_ok=True)
        unpacked.replace(database)
    return known


def revision(database: Path) -> str:
    """The alembic revision of an MLflow database, empty where it has none."""
    with contextlib.closing(sqlite3.connect(f"file:{_quoted(database)}?mode=ro", uri=True)) as base:
        try:
            row = base.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return ""
    return str(row[0]) if row else ""


def mlflow_version() -> str:
    """The version of the MLflow that is installed, empty where there is none."""
    return version_of("mlflow", "mlflow-skinny")


def version_of(*packages: str) -> str:
    """The version of the first of these packages that is installed; empty where the code runs from a folder."""
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return ""


@contextlib.contextmanager
def _gzipped(database: Path) -> Iterator[tuple[BinaryIO, str, int]]:
    """The database compressed, as an open file beside it, with its digest and size."""
    with tempfile.TemporaryFile(dir=database.parent) as packed:
        try:
            with database.open("rb") as source, gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as sink:
                shutil.copyfileobj(source, sink, CHUNK)
            size = packed.tell()
            packed.seek(0)
            digest = hashlib.sha256()
            while block := packed.read(CHUNK):
                digest.update(block)
        except OSError as error:
            raise SnapshotError(f"no room for a snapshot in {database.parent}: {error.strerror or error}") from error
        packed.seek(0)
        yield packed, digest.hexdigest(), size


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _quoted(database: Path) -> str:
    return str(database).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
