"""Going back to an older generation of an app's database, and which ones there are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from mlflow_migration.apps import data as app_data
from mlflow_migration.apps.data import Data
from mlflow_migration.apps.runtime import generations
from mlflow_migration.apps.runtime.generations import Manifest, ManifestError
from mlflow_migration.errors import ConflictError, MigrationError, UsageError
from mlflow_migration.records import Json

PREVIOUS = "previous"
"""Stands for the generation before the one that counts."""


@dataclass(frozen=True)
class Generation:
    """One of an app's snapshots. `age` is in seconds, sizes in bytes; `counts` says that the app begins with it.

    `problem` says what is wrong with it, "" where nothing is known to be; `proven` that digest and integrity were
    looked at just now.
    """

    generation: str
    time: str
    age: float
    size: int = 0
    database_size: int = 0
    mlflow: str = ""
    app: str = ""
    counts: bool = False
    proven: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Restored:
    """What came of it: `changed` is False where that generation counted already, or nothing was to be written."""

    before: str
    generation: str
    changed: bool
    dry_run: bool
    mlflow: str
    time: str

    def as_json(self) -> Json:
        return asdict(self)


def listed(data: Data, check: bool = False) -> list[Generation]:
    """All generations, the newest first; with `check` each is fetched, and its digest and integrity are looked at."""
    with app_data.told():
        whole = generations.listed(data.storage)
        files = {name for name in data.storage.names(generations.FOLDER) if name.endswith(".db.gz")}
    counting = _counting(data, whole)
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
        found = [_looked_at(data, each, files, Path(scratch) if check else None) for each in whole]
    found += [_stray(file.removesuffix(".db.gz")) for file in files if file.removesuffix(".db.gz") not in whole]
    marked = (Generation(**{**asdict(each), "counts": each.generation == counting}) for each in found)
    return sorted(marked, key=lambda each: each.generation, reverse=True)


def restore(data: Data, generation: str, dry_run: bool = False) -> Restored:
    """Make an older generation the one that counts; all the others stay. It is fetched and checked before.

    Raises UsageError for a generation that isn't there, MigrationError where it is broken, ConflictError where an app
    has the data.
    """
    with app_data.told():
        whole = generations.listed(data.storage)
    before = _counting(data, whole)
    wanted = _chosen(whole, before, generation)
    if dry_run:
        return _restored(before, _proven(data, wanted), False, True)
    if wanted == _pointed(data):
        return _restored(before, _proven(data, wanted), False, False)
    with app_data.held(data) as holding:
        if _counting(data, whole) != before:
            raise ConflictError(f"an app wrote to {data.address} meanwhile", hint=app_data.STOP)
        manifest = _proven(data, wanted)
        holding.check()
        with app_data.told():
            generations.point(data.storage, wanted)
    return _restored(before, manifest, True, False)


def _chosen(whole: list[str], counting: str, asked: str) -> str:
    hint = "mlflow-migration app restore --list shows which there are"
    if asked == PREVIOUS:
        older = [each for each in whole if each < counting]
        if not older:
            raise UsageError("there is no generation before the one that counts", counting or "there is none", hint)
        return older[-1]
    if asked not in whole:
        raise UsageError(f"no such generation: {asked}", f"{len(whole)} are there", hint)
    return asked


def _proven(data: Data, generation: str) -> Manifest:
    """Its manifest, once its digest and integrity have been looked at."""
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
        return app_data.fetched(data, generation, Path(scratch) / "mlflow.db")


def _restored(before: str, manifest: Manifest, changed: bool, dry_run: bool) -> Restored:
    return Restored(before, manifest.generation, changed, dry_run, manifest.mlflow, manifest.time)


def _counting(data: Data, whole: list[str]) -> str:
    """The generation the app would begin with, if it is good."""
    return next(iter(generations.candidates(whole, _pointed(data))), "")


def _pointed(data: Data) -> str:
    with app_data.told(), suppress(ManifestError):
        return generations.pointed(data.storage)
    return ""


def _looked_at(data: Data, generation: str, files: set[str], scratch: Path | None) -> Generation:
    try:
        with app_data.told():
            found = generations.manifest(data.storage, generation)
        if found.file not in files:
            return _unusable(generation, "its database is missing")
        if scratch is not None:
            app_data.fetched(data, generation, scratch / "mlflow.db")
    except MigrationError as error:
        return _unusable(generation, error.why or error.what)
    age = _age(generation)
    sizes = (found.size, found.database_size)
    return Generation(generation, found.time, age, *sizes, found.mlflow, found.app, proven=scratch is not None)


def _unusable(generation: str, problem: str) -> Generation:
    time = generations.time_of(generation).isoformat(timespec="milliseconds")
    return Generation(generation, time, _age(generation), problem=problem)


def _stray(name: str) -> Generation:
    problem = "it has no manifest: its upload was cut off, or goes on"
    try:
        return _unusable(name, problem)
    except ManifestError:
        return Generation(name, "", 0.0, problem=problem)


def _age(generation: str) -> float:
    return (datetime.now(timezone.utc) - generations.time_of(generation)).total_seconds()


def lines(found: list[Generation]) -> Iterator[list[str]]:
    """A row for people for each: what counts is marked."""
    for each in found:
        state = each.problem or ("good" if each.proven else "")
        mark = "*" if each.counts else ""
        yield [mark, each.generation, _shown_age(each.age), f"{each.size:,}", each.mlflow, each.app, state]


HEAD = ("", "generation", "age", "bytes", "mlflow", "app", "state")
"""What the columns of `lines` are."""


def _shown_age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
