"""Generations: what a snapshot is called, what stands beside it, which is the newest, which may go.

snapshots/20261121T193000.123Z-1a2b3c4d.db.gz    the database, gzipped
snapshots/20261121T193000.123Z-1a2b3c4d.json     its manifest, written after it
latest.json                                      the generation that counts, written last
"""

import io
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from mlflow_migration.apps.runtime.storage import MissingError, Storage

FOLDER = "snapshots"
POINTER = "latest.json"
FORMAT = 1
_NAME = re.compile(r"^(\d{8}T\d{6}\.\d{3}Z)-([0-9a-z]+)$")
_STAMP = "%Y%m%dT%H%M%S.%f"
# A database whose manifest is missing was cut off while it was written; one this young may still be on its way.
CUT_OFF_AFTER = timedelta(hours=1)


class ManifestError(Exception):
    """A manifest or pointer that can't be read as one."""


@dataclass(frozen=True)
class Manifest:
    """What is known of a snapshot. `sha256` and `size` are those of the stored file, `database_size` of what is in it.

    `checked` says that PRAGMA integrity_check passed before it was stored; `changes_until` is when the copy was made.
    """

    generation: str
    file: str
    sha256: str
    size: int
    database_size: int
    time: str
    mlflow: str
    revision: str
    instance: str
    app: str
    lease: int
    checked: bool
    format: int = FORMAT


def name(instance: str, after: str = "", now: datetime | None = None) -> str:
    """A generation's name that sorts behind `after`, even where the clock was set back."""
    moment = now or datetime.now(timezone.utc)
    if after and (last := time_of(after)) >= moment.replace(microsecond=moment.microsecond // 1000 * 1000):
        moment = last + timedelta(milliseconds=1)
    return f"{moment.strftime(_STAMP)[:-3]}Z-{instance}"


def time_of(generation: str) -> datetime:
    """When a generation was made; raises ManifestError where the name isn't one."""
    found = _NAME.match(generation)
    with suppress(ValueError):  # no such day, or hour
        if found:
            return datetime.strptime(found[1][:-1], _STAMP).replace(tzinfo=timezone.utc)
    raise ManifestError(f"{generation!r} is not the name of a generation")


def is_name(text: str) -> bool:
    """Whether a generation can be called so: other files in the folder are none of ours."""
    try:
        time_of(text)
    except ManifestError:
        return False
    return True


def listed(storage: Storage) -> list[str]:
    """Generations with a manifest, oldest first."""
    names = (file.removesuffix(".json") for file in storage.names(FOLDER) if file.endswith(".json"))
    return sorted(filter(is_name, names))


def manifest(storage: Storage, generation: str) -> Manifest:
    """A generation's manifest; raises ManifestError where it can't be read, MissingError where there is none."""
    document = _json(storage.read(f"{FOLDER}/{generation}.json"), f"the manifest of {generation}")
    if document.get("format") != FORMAT:
        raise ManifestError(f"the manifest of {generation} has format {document.get('format')}, not {FORMAT}")
    try:
        found = Manifest(**document)
    except TypeError as error:
        raise ManifestError(f"the manifest of {generation} lacks or has more than its fields") from error
    if found.generation != generation or found.file != f"{generation}.db.gz":
        raise ManifestError(f"the manifest of {generation} is that of {found.generation}")
    return found


def put_manifest(storage: Storage, made: Manifest) -> None:
    """Say what was stored; from now on the generation counts as whole."""
    storage.put(f"{FOLDER}/{made.generation}.json", _bytes(asdict(made)))


def pointed(storage: Storage) -> str:
    """The generation that counts; empty where there is none yet. Raises ManifestError where the pointer is broken."""
    try:
        content = storage.read(POINTER)
    except MissingError:
        return ""
    generation = _json(content, "the pointer latest.json").get("generation")
    if not isinstance(generation, str) or not is_name(generation):
        raise ManifestError("the pointer latest.json names no generation")
    return generation


def point(storage: Storage, generation: str) -> None:
    """Make a generation the one that counts."""
    storage.put(POINTER, _bytes({"generation": generation, "format": FORMAT}))


def candidates(generations: Iterable[str], newest: str) -> list[str]:
    """In which order to try them: the pointed one, those before it, those after it; the newer ones first.

    One that was restored on purpose is older than others, so that what is newer than the pointer comes last.
    """
    ordered = sorted(generations, reverse=True)
    if newest not in ordered:
        return ordered
    return [item for item in ordered if item <= newest] + [item for item in ordered if item > newest]


def superfluous(generations: Iterable[str], newest: int, days: int, kept: Iterable[str] = ()) -> list[str]:
    """Generations that may go: all but the `newest`, the last ones of the last `days` days, and `kept`.

    On each day the last one of every instance stays: what an app ended with before an older one was restored, or a
    bundle put in its place, is on no way to what came after it.
    """
    ordered = sorted(generations, reverse=True)
    stay = set(ordered[:newest]) | set(kept)
    last_days = sorted({generation[:8] for generation in ordered}, reverse=True)[:days]
    seen: set[tuple[str, str]] = set()
    for generation in ordered:
        day, instance = generation[:8], generation.rpartition("-")[2]
        if day in last_days and (day, instance) not in seen:
            seen.add((day, instance))
            stay.add(generation)
    return sorted(item for item in ordered if item not in stay)


def prune(storage: Storage, newest: int, days: int, kept: Iterable[str] = ()) -> list[str]:
    """Remove what is superfluous, and databases that were cut off on their way; returns the generations removed."""
    whole = listed(storage)
    gone = superfluous(whole, newest, days, kept)
    for generation in gone:
        # The manifest first: a manifest without its database would look like a broken snapshot.
        storage.delete(f"{FOLDER}/{generation}.json")
        storage.delete(f"{FOLDER}/{generation}.db.gz")
    now = datetime.now(timezone.utc)
    for file in storage.names(FOLDER):
        generation = file.removesuffix(".db.gz")
        if file == generation or generation in whole or not is_name(generation):
            continue
        if now - time_of(generation) > CUT_OFF_AFTER:
            storage.delete(f"{FOLDER}/{file}")
    return gone


def _json(content: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ManifestError(f"{what} is no JSON") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{what} is no JSON object")
    return document


def _bytes(document: dict[str, Any]) -> io.BytesIO:
    return io.BytesIO(json.dumps(document, indent=1).encode())
