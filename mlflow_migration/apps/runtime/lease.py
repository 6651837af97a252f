"""The lease: who may write snapshots. Two writers would overwrite each other's data.

Storages have no compare-and-swap, but making a file anew succeeds only once. So a lease is a numbered file
(leases/000007.json): whoever makes the next number holds it, and only the holder writes into his own. A holder who
finds a higher number was deposed.
"""

import io
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from mlflow_migration.apps.runtime.storage import MissingError, Storage, StorageError, TakenError

FOLDER = "leases"
LOOK_SECONDS = 1.0


class DeposedError(Exception):
    """Another instance has taken the lease."""


@dataclass(frozen=True)
class Lease:
    """A lease as it stands in its file. `machine` and `pid` say which process holds it, where that can be known;
    `seconds` after how long without a renewal it counts as left."""

    number: int
    instance: str
    app: str
    machine: str
    pid: int
    renewed: str
    beat: int = 0
    released: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Its file."""
        return f"{FOLDER}/{self.number:06d}.json"


def current(storage: Storage) -> Lease | None:
    """The newest lease, held or released; one whose file can't be read counts as held by nobody known."""
    for file in reversed(storage.names(FOLDER)):
        number = file.removesuffix(".json")
        if not number.isdigit():
            continue
        with suppress(MissingError):
            return read(storage, int(number))
    return None


def is_held(lease: Lease | None, seconds: float) -> bool:
    """Whether somebody holds it who has renewed it of late, or whose process lives on this machine."""
    if lease is None or lease.released or _is_dead(lease):
        return False
    return _age(lease) <= 2 * _patience(lease, seconds)


def take(storage: Storage, instance: str, app: str, seconds: float, waiting: Callable[[Lease], None]) -> Lease:
    """Take the lease; as long as another instance renews its own, tell `waiting` every second and wait.

    A lease counts as left where it was released, its process on this machine is gone, or it hasn't changed for
    `seconds`, or its own if these are more, by this machine's clock. Raises StorageError.
    """
    seen, since = None, time.monotonic()
    while True:
        found = current(storage)
        if found != seen:
            seen, since = found, time.monotonic()
        silent = time.monotonic() - since
        if found is None or not is_held(found, seconds) or silent > _patience(found, seconds):
            number = found.number + 1 if found else 1
            mine = Lease(number, instance, app, machine(), os.getpid(), _now(), seconds=seconds)
            with suppress(TakenError):
                storage.put(mine.name, _bytes(mine), anew=True)
                _tidy(storage, mine.number)
                return mine
        else:
            waiting(found)
        time.sleep(LOOK_SECONDS)


def renew(storage: Storage, mine: Lease) -> Lease:
    """Say that the holder lives; raises DeposedError where another one has taken over, StorageError."""
    check(storage, mine)
    renewed = replace(mine, beat=mine.beat + 1, renewed=_now())
    storage.put(renewed.name, _bytes(renewed))
    return renewed


def release(storage: Storage, mine: Lease) -> None:
    """Give it up, so that the next one needn't wait; raises StorageError."""
    storage.put(mine.name, _bytes(replace(mine, released=True, renewed=_now())))


def check(storage: Storage, mine: Lease) -> None:
    """Raises DeposedError where somebody else has the lease by now, StorageError."""
    found = current(storage)
    if found and found.number > mine.number:
        raise DeposedError(f"instance {found.instance} of {found.app} took over at {found.renewed}")


def machine() -> str:
    """What tells this machine, its boot and its process namespace from others: a pid means nothing elsewhere."""
    marks = [platform.node()]
    with suppress(OSError):
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(marks)


def read(storage: Storage, number: int) -> Lease:
    """One lease by its number; raises MissingError."""
    content = storage.read(f"{FOLDER}/{number:06d}.json")
    try:
        return replace(Lease(**json.loads(content)), number=number)
    except (ValueError, TypeError):
        # Folders can be left with half a file by a machine that went down: nobody can be asked about it.
        return Lease(number, "unknown", "unknown", "", 0, "")


def _patience(lease: Lease, seconds: float) -> float:
    """For how long one waits for a renewal: a holder who was told to renew his seldom is no reason to depose him."""
    return max(seconds, lease.seconds)


def _is_dead(lease: Lease) -> bool:
    if lease.machine != machine():
        return False
    if lease.pid == os.getpid():
        return True  # this process had another life, in a container that was started again
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _age(lease: Lease) -> float:
    try:
        return (datetime.now(timezone.utc) - datetime.fromisoformat(lease.renewed)).total_seconds()
    except ValueError:
        return 0.0


def _tidy(storage: Storage, number: int) -> None:
    for file in storage.names(FOLDER):
        old = file.removesuffix(".json")
        if old.isdigit() and int(old) < number - 2:
            with suppress(StorageError):
                storage.delete(f"{FOLDER}/{file}")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _bytes(lease: Lease) -> io.BytesIO:
    return io.BytesIO(json.dumps(asdict(lease), indent=1).encode())
