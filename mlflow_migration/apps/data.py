"""Where an app on SQLite keeps its data, and how that is opened, held and read from outside of the app."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.runtime import beginning, generations, lease, snapshots
from mlflow_migration.apps.runtime.generations import Manifest, ManifestError
from mlflow_migration.apps.runtime.lease import DeposedError, Lease
from mlflow_migration.apps.runtime.snapshots import SnapshotError
from mlflow_migration.apps.runtime.storage import MissingError, Storage, open_storage
from mlflow_migration.apps.runtime.storage import StorageError as UnreachableError
from mlflow_migration.apps.volume import Volume, VolumeArtifacts
from mlflow_migration.database import artifacts as database_artifacts
from mlflow_migration.database.connect import Connected, open_database
from mlflow_migration.errors import (
    AccessError,
    ConflictError,
    DamagedError,
    MigrationError,
    NotFoundError,
    StorageError,
    UsageError,
)
from mlflow_migration.records import File
from mlflow_migration.server.address import DATABRICKS_UC, is_databricks
from mlflow_migration.server.databricks.address import profile_of
from mlflow_migration.server.databricks.app import AppAddress
from mlflow_migration.server.rest import Rest

LEASE_SECONDS = 30.0
"""How long a silent writer may be gone for: the runtime's own default."""
VOLUMES = "/Volumes/"
STOP = "stop the app first: mlflow-migration app stop, or Ctrl-C where it runs locally"


@dataclass(frozen=True)
class Where:
    """Where an app keeps its data: snapshots in `volume`, artifacts at `artifacts`, an address as MLflow's server
    takes it. `name` is the app's; `mlflow` the version it is pinned to, "" where that isn't known."""

    name: str
    volume: str
    artifacts: str
    mlflow: str = ""


@dataclass(frozen=True)
class Data:
    """An app's data, opened. `address` is where it lies, for people, reports and the origin of bundles."""

    where: Where
    address: str
    storage: Storage
    artifacts: str | database_artifacts.Storage


def where(config: AppConfig) -> Where:
    """Where the app of a configuration keeps its data. Raises UsageError where its backend isn't `sqlite`."""
    if config.backend != "sqlite":
        raise UsageError(
            f"the app keeps its database elsewhere: backend {config.backend}",
            "snapshots are for backend sqlite",
            "use the database's own backups, or app snapshot --live",
        )
    pinned = config.mlflow if isinstance(config.mlflow, str) and config.mlflow != "latest" else ""
    return replace(placed(config.name, config.volume, config.artifacts), mlflow=pinned)


def placed(name: str, volume: str, artifacts: str) -> Where:
    """The same of single values; artifacts are beside the snapshots where nothing is said, as the runtime has it."""
    volume = volume.rstrip("/")
    usual = f"dbfs:{volume}/artifacts" if volume.startswith(VOLUMES) else f"{volume}/artifacts"
    return Where(name, volume, artifacts.rstrip("/") or usual)


def opened(place: Where, connect: Callable[[], Rest]) -> Data:
    """Open it; `connect` logs in to the workspace, and is asked only where a Volume is in it.

    Raises UsageError where a Volume isn't there, AccessError where the workspace can't be reached.
    """
    folder = place.artifacts.removeprefix("dbfs:")
    in_volume, rest = folder.startswith(VOLUMES), None
    if place.volume.startswith(VOLUMES) or in_volume:
        rest = connect()
    with told():
        storage: Storage
        if rest is not None and place.volume.startswith(VOLUMES):
            storage, address = Volume(rest, place.volume), f"{rest.address}{place.volume}"
        else:
            storage = open_storage(place.volume)
            address = storage.address
    if rest is not None and in_volume:
        return Data(place, address, storage, VolumeArtifacts(rest, folder))
    return Data(place, address, storage, place.artifacts)


def make_folder(data: Data) -> None:
    """Make the folder of artifacts, where they are in one of this machine's: it is there even if nothing goes in."""
    folder = database_artifacts.folder_of(data.artifacts) if isinstance(data.artifacts, str) else None
    if folder is not None:
        with told():
            folder.mkdir(parents=True, exist_ok=True)


def workspace(uri: str) -> str:
    """A workspace's address as it was typed. Raises UsageError where it is none."""
    if not is_databricks(uri) and not uri.startswith("@"):
        raise UsageError(f"not a workspace: {uri}", hint="write it like databricks://PROFILE")
    return uri


def live_address(config: AppConfig, uri: str) -> str:
    """The place that holds what an app shows: the app itself, or with backend `databricks` its workspace.

    An app in front of a workspace answers as a plain MLflow server does, and refuses what Unity Catalog refuses; the
    workspace's own address is asked with Unity Catalog's rules in mind. Raises UsageError where it is none.
    """
    if workspace(uri).startswith("@"):
        raise UsageError(f"an app isn't reached by {uri}", hint="write the workspace like databricks://PROFILE")
    profile = profile_of(uri)
    if config.backend == "databricks":
        return f"{DATABRICKS_UC}://{profile}" if profile else DATABRICKS_UC
    return AppAddress(config.name, profile).uri


class _Nothing:
    """Artifacts of an app that has none yet: its folder isn't there. Implements the database's `Storage`."""

    def entries(self, folder: str) -> Iterator[database_artifacts.Entry]:
        return iter(())

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        raise NotFoundError(f"no such artifact: {path}")

    def put(self, path: str, file: File) -> None:
        raise UsageError("these artifacts are only read")


def artifacts_of(data: Data) -> str | database_artifacts.Storage:
    """What is behind the database's addresses of artifacts, to be read."""
    folder = database_artifacts.folder_of(data.artifacts) if isinstance(data.artifacts, str) else None
    return data.artifacts if folder is None or folder.is_dir() else _Nothing()


class Held:
    """The lease of an app's data, held by this process: a thread renews it."""

    def __init__(self, storage: Storage, mine: Lease) -> None:
        self._storage = storage
        self._mine = mine
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self.instance = mine.instance
        self.number = mine.number

    def check(self) -> None:
        """Raise ConflictError where somebody else has taken over since."""
        with told():
            lease.check(self._storage, self._mine)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Give it up; raises ConflictError where somebody else has it by now."""
        self._closed.set()
        self._thread.join(LEASE_SECONDS)
        with told():
            lease.check(self._storage, self._mine)
            lease.release(self._storage, self._mine)

    def _renew(self) -> None:
        while not self._closed.wait(LEASE_SECONDS / 3):
            try:
                self._mine = lease.renew(self._storage, self._mine)
            except DeposedError:
                return  # `check` tells, before anything is written that counts
            except UnreachableError:
                continue  # the next beat may arrive; whoever writes meanwhile hears of it


@contextmanager
def held(data: Data) -> Iterator[Held]:
    """Hold the data for the length of a block, so that no app writes to it.

    Raises ConflictError where an app has it: one that is silent for the lease's time counts as gone.
    """
    first: list[Lease] = []

    def waiting(found: Lease) -> None:
        first.append(found)
        if found != first[0]:
            raise ConflictError(
                f"an app writes to {data.address}",
                f"instance {found.instance} of {found.app} was seen at {found.renewed}",
                STOP,
            )

    with told():
        mine = lease.take(data.storage, secrets.token_hex(4), data.where.name, LEASE_SECONDS, waiting)
    holding = Held(data.storage, mine)
    holding.begin()
    try:
        yield holding
    except BaseException:
        with suppress(MigrationError):  # what went wrong first is what is told; the lease ends by its time
            holding.end()
        raise
    holding.end()


def newest(data: Data) -> str:
    """The generation that counts, as the runtime's start goes by it; empty where there is none.

    Raises DamagedError where there are only pieces of some.
    """
    with told():
        found = generations.listed(data.storage)
        try:
            pointed = generations.pointed(data.storage)
        except ManifestError:
            pointed = ""
        if pointed in found:
            return pointed
        if not found and (pointed or data.storage.names(generations.FOLDER)):
            raise DamagedError(
                f"{data.address} has snapshots, and none is whole",
                f"{generations.FOLDER}/ has files without a manifest, or latest.json names what isn't there",
                "look at them: mlflow-migration app restore --list",
            )
        return generations.candidates(found, pointed)[0] if found else ""


def fetched(data: Data, generation: str, database: Path) -> Manifest:
    """Put a generation at `database`, its digest and integrity checked; raises DamagedError where it isn't good."""
    with told():
        return snapshots.fetch(data.storage, generation, database)


def as_database(data: Data, manifest: Manifest, file: Path) -> Connected:
    """A fetched generation, brought to the installed MLflow's tables where they are older.

    Raises UsageError where they are of a newer MLflow.
    """
    with told():
        if manifest.mlflow != snapshots.mlflow_version():
            beginning.upgrade(f"sqlite:///{file}")
    return open_database(f"sqlite:///{file}")


@contextmanager
def told() -> Iterator[None]:
    """The runtime's errors as this tool's."""
    try:
        yield
    except MissingError as error:
        raise NotFoundError("a file of the app's data isn't there", str(error)) from error
    except UnreachableError as error:
        raise AccessError("the app's data can't be reached", str(error), "check the address and your rights") from error
    except DeposedError as error:
        raise ConflictError("an app took over", str(error), STOP) from error
    except (SnapshotError, ManifestError) as error:
        raise DamagedError("a snapshot is broken", str(error), "app restore --list shows the others") from error
    except beginning.UpgradeError as error:
        raise UsageError("the snapshot can't be brought to the installed MLflow", str(error)) from error
    except (sqlite3.Error, OSError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise StorageError("a local file can't be read or written", why, "make room, or set TMPDIR") from error
