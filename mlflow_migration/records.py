"""What moves: one MLflow object as plain values and lazy streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

Json = dict[str, Any]
Rows = Callable[[], Iterator[Json]]
Identity = tuple[tuple[str, ...], str]
"""An object's home and id."""

BLOCK = 1 << 20

ORIGIN = "mlflow_migration."
"""Prefix of the tags this tool adds to an object at a destination."""

LINEAGE = "mlflow_exim."
"""Prefix of the optional lineage tags (`--import-source-tags`), as mlflow-export-import's users know them."""


@dataclass(frozen=True)
class File:
    """One artifact. `path` is relative to its object, with `/`; `size` is in bytes.

    `open` gives a binary reader. Where the place can't give the bytes, `problem` says why and `open` is None;
    `wanted` is False where the person asked to leave it out. `sha256` is known only where the place keeps it.
    """

    path: str
    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]] | None = None
    problem: str = ""
    sha256: str = ""
    wanted: bool = True

    def digest(self) -> str:
        """SHA-256 of the bytes, in hex, read unless the place knows it; raises ValueError where they can't be read."""
        if self.sha256:
            return self.sha256
        if self.open is None:
            raise ValueError(f"{self.path} can't be read: {self.problem}")
        digest = hashlib.sha256()
        with self.open() as reader:
            while block := reader.read(BLOCK):
                digest.update(block)
        return digest.hexdigest()


Files = Callable[[], Iterator[File]]


@dataclass(frozen=True)
class Broken:
    """What a place holds and can't give: an object, or a part of one. `kind`, `id`, `name`, `state` and `reason` are
    those of a row of a report; `of` is the kind of the object, `experiment` the id of its experiment, if any."""

    kind: str
    id: str
    name: str
    state: str
    reason: str
    of: str
    experiment: str = ""


def no_files() -> Iterator[File]:
    return iter(())


@dataclass(frozen=True)
class Record:
    """One object on its way: small `head` (JSON as the REST API shows it), lazy `rows` and `files`.

    `home` is the logical folder of the object, its parts unquoted; `refs` are the ids it needs at the other end.
    `notebooks` are what a run was made with: they come along, but are no part of it, and nothing is compared by them.
    Their sizes are known once they are fetched.
    `whole` is there where the head takes requests of its own, which a listing leaves to `completed`: an object that
    can't be read then costs no other one.
    """

    kind: str
    id: str
    name: str
    home: tuple[str, ...]
    head: Json
    refs: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)
    files: Files = no_files
    notebooks: Files = no_files
    whole: Callable[[], Record] | None = None


def completed(record: Record) -> Record:
    """The record with its head whole."""
    return record if record.whole is None else record.whole()


@dataclass(frozen=True)
class Loss:
    """A part of an object that can't go, and why.

    `kind` is "param", "tag", "metric", "artifact", "input", "link", "name", "notebook", "permission" or "secret".

    `wanted` is False where the person asked to leave it out.
    """

    kind: str
    name: str
    reason: str
    wanted: bool = True


@dataclass(frozen=True)
class Written:
    """What became of a record at a destination.

    `state` is "done" (new), "updated", "same", "skipped", or "unsupported" where the destination has no place for it;
    `link` is what remains for the second pass, if anything.
    """

    id: str
    state: str
    digest: str = ""
    reason: str = ""
    losses: tuple[Loss, ...] = ()
    link: Json | None = None
    bytes: int = 0


def canonical(value: Any) -> bytes:
    """JSON bytes, equal exactly when the values are: sorted keys, no spaces, UTF-8 (lone surrogates kept)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def digest_of(value: Any) -> str:
    """SHA-256 of `canonical(value)` in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def tags_of(pairs: list[Json] | None) -> dict[str, str]:
    """`[{"key": k, "value": v}]` as a dict; an absent value is ""."""
    return {pair["key"]: pair.get("value", "") for pair in pairs or ()}


def pairs_of(tags: Mapping[str, str]) -> list[Json]:
    """The inverse of `tags_of`."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def without_origin(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags a person or MLflow set: those of this tool left out."""
    return {key: value for key, value in tags.items() if not key.startswith(ORIGIN)}
