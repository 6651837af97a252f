"""Metric points: their digest, what a server can hold of them, and which ones are missing.

A row is `{"key": k, "points": [[step, timestamp in ms, value], ...]}`; a value is a float, or one of the texts "NaN",
"Infinity" and "-Infinity" (the latter from databases alone: MLflow keeps the largest number in their place).
Within a key, points come ordered by (timestamp, step, value), as MLflow gives them.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from itertools import groupby
from typing import Any

from mlflow_migration.records import Json, Loss, Record

MODULUS = 1 << 128
LONGEST_KEY = 250
SHOWN = 3
"""Differing points named for each series."""
_KEY = re.compile(r"[/\w.\- :]*")
_PACK = struct.Struct("<dqq").pack

Point = tuple[int, int, Any]


class Digest:
    """The digest of a multiset of points: equal for equal points, whatever the order of keys and rows."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, row: Json) -> None:
        key = blake2b(row["key"].encode("utf-8", "surrogatepass"), digest_size=32).digest()
        total = 0
        for step, timestamp, value in row["points"]:
            # Adding 0.0 makes -0.0 and 0.0 one value, which MLflow's tables can't tell apart.
            data = _PACK(float(value) + 0.0, step, timestamp)
            total += int.from_bytes(blake2b(data, digest_size=16, key=key).digest(), "little")
        self._sum = (self._sum + total) % MODULUS
        self.count += len(row["points"])

    def value(self) -> str:
        return f"{self._sum:032x}"


def bad_key(key: str) -> str:
    """Why MLflow refuses this metric, param or tag key when it is logged; "" when it doesn't (utils/validation.py)."""
    if len(key) > LONGEST_KEY:
        return f"the key is longer than {LONGEST_KEY} characters"
    if not _KEY.fullmatch(key):
        return "the key has characters MLflow refuses"
    if posixpath.normpath(key) != key or key.startswith(("..", "/")) or key == ".":
        return "the key is not a clean relative path"
    return ""


class Outgoing:
    """The points of one run on their way: digests all of them, keeps back what a server can't hold, and says so."""

    def __init__(self, rows: Iterator[Json]) -> None:
        self._rows = rows
        self.digest = Digest()
        self._refused: Counter[tuple[str, str]] = Counter()

    def __iter__(self) -> Iterator[Json]:
        for row in self._rows:
            self.digest.add(row)
            reason = bad_key(row["key"])
            points = [] if reason else [point for point in row["points"] if point[1] >= 0]
            if len(points) < len(row["points"]):
                self._refused[row["key"], reason or "MLflow refuses negative timestamps"] += len(row["points"]) - len(
                    points
                )
            if points:
                yield {"key": row["key"], "points": points}

    def drain(self) -> None:
        """Read to the end, for the digest and the losses alone."""
        for _ in self:
            pass

    def losses(self) -> list[Loss]:
        return [
            Loss("metric", key, f"{count} points: {reason}" if count > 1 else reason)
            for (key, reason), count in self._refused.items()
        ]


def metrics_of(row: Json) -> list[Json]:
    """A row as `log-batch` wants it."""
    key = row["key"]
    return [
        {"key": key, "value": value, "timestamp": timestamp, "step": step} for step, timestamp, value in row["points"]
    ]


def missing(wanted: Iterator[Json], present: dict[str, Iterator[Json]]) -> Iterator[Json]:
    """The rows of `wanted` that `present` (one stream per key) lacks, streamed side by side."""
    for key, rows in groupby(wanted, key=lambda row: str(row["key"])):
        points = [point for point, here, there in paired(rows, present.get(key, iter(()))) for _ in range(here - there)]
        if points:
            yield {"key": key, "points": points}


def paired(left: Iterator[Json], right: Iterator[Json]) -> Iterator[tuple[Point, int, int]]:
    """Each distinct point of two series of one key, with how often it stands left and right, in order of time."""
    ours, theirs = _moments(left), _moments(right)
    mine, other = next(ours, None), next(theirs, None)
    while mine is not None or other is not None:
        if other is None or (mine is not None and mine[0] < other[0]):
            here: Counter[Any] = mine[1] if mine else Counter()
            there: Counter[Any] = Counter()
            mine = next(ours, None)
        elif mine is None or other[0] < mine[0]:
            here, there = Counter(), other[1]
            other = next(theirs, None)
        else:
            here, there = mine[1], other[1]
            mine, other = next(ours, None), next(theirs, None)
        for point in {**here, **there}:
            yield point, here[point], there[point]


def _moments(rows: Iterator[Json]) -> Iterator[tuple[tuple[int, int], Counter[Any]]]:
    """Points grouped by (timestamp, step): within one moment servers may order NaN and 0 either way."""
    points = (point for row in rows for point in row["points"])
    for moment, group in groupby(points, key=lambda point: (point[1], point[0])):
        yield (
            moment,
            Counter((step, time, value if isinstance(value, str) else value + 0.0) for step, time, value in group),
        )


def rows_summary(record: Record, swaps: dict[str, str]) -> Json:
    """One digest over every point of a run."""
    digest = Digest()
    for row in record.rows["metrics"]():
        digest.add(row)
    return {"points": digest.count, "digest": digest.value()}


def differing_rows(left: Record, right: Record) -> Iterator[tuple[str, str, str]]:
    """The first points of each series that only one of two runs has."""
    sides = [groupby(record.rows["metrics"](), key=lambda row: str(row["key"])) for record in (left, right)]
    for key, ours, theirs in _by_key(*sides):
        shown = 0
        for point, here, there in paired(ours, theirs):
            if here != there and shown < SHOWN:
                shown += 1
                text = f"step {point[0]}, time {point[1]}: {point[2]!r}"
                yield f"metrics.{key}", text if here else "absent", text if there else "absent"


def _by_key(left: Any, right: Any) -> Iterator[tuple[str, Iterator[Json], Iterator[Json]]]:
    ours, theirs = next(left, None), next(right, None)
    while ours is not None or theirs is not None:
        if ours is not None and (theirs is None or ours[0] < theirs[0]):
            yield ours[0], ours[1], iter(())
            ours = next(left, None)
        elif theirs is not None and (ours is None or theirs[0] < ours[0]):
            yield theirs[0], iter(()), theirs[1]
            theirs = next(right, None)
        elif ours is not None and theirs is not None:
            yield ours[0], ours[1], theirs[1]
            ours, theirs = next(left, None), next(right, None)
