"""An object as rows of MLflow's tables: plain values, parents before children."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mlflow_migration.records import Json, Loss

Values = dict[str, Any]
_NAMES = uuid.UUID("6f1c9d0e-6c3b-4f0e-9b7e-2f0d6f3b5a11")


@dataclass(frozen=True)
class Guess:
    """A value the record doesn't tell: taken where a row is made, while a row that is there keeps its own."""

    value: Any


@dataclass(frozen=True)
class Part:
    """A table that holds a part of an object.

    `owner` are the columns by which the rows of some objects are looked up, and `same` those by which a row is known as
    the same one (its primary key where that isn't known beforehand). A `shared` row may be there before its object.
    """

    table: str
    owner: tuple[str, ...]
    same: tuple[str, ...]
    shared: bool = False
    name: str = ""

    @property
    def key(self) -> str:
        """What its rows stand under in `Made.rows`."""
        return self.name or self.table


@dataclass
class Made:
    """The rows of one object by part, `key` being the values of the first part's `same`.

    `points` are further rows, too many to be held: of the table that stands with them. `said` is why it isn't written
    at all, if it isn't.
    """

    key: tuple[Any, ...]
    rows: dict[str, list[Values]]
    points: Callable[[], Iterator[Values]] | None = None
    losses: list[Loss] = field(default_factory=list)
    said: str = ""


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def told(head: Json, key: str) -> Any:
    """A time or text of a head, or the present time where the head doesn't tell it."""
    value = head.get(key)
    return Guess(now()) if value in (None, "") else number(value)


def number(value: Any) -> Any:
    """A number that JSON may show as a text."""
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def made_up_id(*parts: object, prefix: str = "") -> Guess:
    """An id for what REST doesn't show one of: the same for the same thing, so that a second job makes no other."""
    return Guess(prefix + uuid.uuid5(_NAMES, "\0".join(map(str, parts))).hex)


def milliseconds(text: str) -> int:
    """Milliseconds since 1970 of a time as protobuf's JSON writes it."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def pairs(found: Mapping[str, str], owner: Values, columns: tuple[str, str] = ("key", "value")) -> list[Values]:
    """Tags or params as rows."""
    return [{**owner, columns[0]: key, columns[1]: value} for key, value in found.items()]
