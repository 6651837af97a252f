"""Metric histories straight from their table: those of many runs by one question, long ones page by page.

A row is `{"key": k, "points": [[step, timestamp in ms, value], ...]}` with at most CHUNK points, keys in order, points
by time, step and value as a server gives them; NaN is the text "NaN".
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from mlflow_migration.database.reading import Reading, chunks
from mlflow_migration.database.runs import number
from mlflow_migration.records import Json, Rows

RUNS = 100
BATCH_POINTS = 300_000
"""Points of one batch of runs held in memory (25 bytes each); longer histories are paged when they are needed."""
PAGE = 50_000
CHUNK = 1000


class _Series:
    """The points of one metric of one run, packed."""

    def __init__(self) -> None:
        self._steps: array[int] = array("q")
        self._times: array[int] = array("q")
        self._values: array[float] = array("d")

    def add(self, row: Any) -> None:
        self._steps.append(row.step)
        self._times.append(row.timestamp)
        self._values.append(float("nan") if row.is_nan else row.value)

    def rows(self, key: str) -> Iterator[Json]:
        for start in range(0, len(self._steps), CHUNK):
            part = slice(start, start + CHUNK)
            points = zip(self._steps[part], self._times[part], self._values[part], strict=True)
            yield {"key": key, "points": [[step, time, number(value)] for step, time, value in points]}


class Histories:
    """Gives each run the lazy rows of its history."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._table = reading.tables["metrics"]

    def attach(self, runs: Iterable[Json]) -> Iterator[tuple[Json, Rows]]:
        """Each run with its rows, in the order given."""
        for group in chunks(runs, RUNS):
            batch = _Batch(self, self._short([run["info"]["run_id"] for run in group]))
            for run in group:
                yield run, partial(batch.rows, run["info"]["run_id"])

    def _short(self, run_ids: Sequence[str]) -> list[str]:
        """The runs whose histories fit the memory of a batch together."""
        c = self._table.c
        counted = sa.select(c.run_uuid, sa.func.count()).where(c.run_uuid.in_(run_ids)).group_by(c.run_uuid)
        left, found = BATCH_POINTS, []
        for run_id, count in self._reading.rows(counted):
            if count <= left:
                left -= count
                found.append(run_id)
        return found

    def fetch(self, run_ids: Sequence[str]) -> dict[str, dict[str, _Series]]:
        """The histories of some runs, by run and key."""
        c = self._table.c
        statement = (
            sa.select(c.run_uuid, c.key, c.step, c.timestamp, c.value, c.is_nan)
            .where(c.run_uuid.in_(run_ids))
            .order_by(c.run_uuid, c.key, c.timestamp, c.step, c.value)
        )
        found: dict[str, dict[str, _Series]] = {run_id: {} for run_id in run_ids}
        if not run_ids:
            return found
        with self._reading.failures(), self._reading.connected.reading() as connection:
            for row in connection.execute(statement).yield_per(PAGE):
                found[row.run_uuid].setdefault(row.key, _Series()).add(row)
        return found

    def keys(self, run_id: str) -> list[str]:
        """The keys of a run's metrics, in order."""
        c = self._table.c
        return sorted(row[0] for row in self._reading.rows(sa.select(c.key).where(c.run_uuid == run_id).distinct()))

    def page(self, run_id: str, key: str) -> Iterator[Json]:
        """One series, page by page."""
        c = self._table.c
        order = (c.timestamp, c.step, c.value, c.is_nan)
        statement = sa.select(*order).where(c.run_uuid == run_id, c.key == key).order_by(*order).limit(PAGE)
        behind: sa.Select[Any] = statement
        while rows := self._reading.rows(behind):
            series = _Series()
            for row in rows:
                series.add(row)
            yield from series.rows(key)
            if len(rows) < PAGE:
                return
            behind = statement.where(_behind(order, tuple(rows[-1])))


def _behind(columns: Sequence[sa.ColumnElement[Any]], last: Sequence[Any]) -> sa.ColumnElement[bool]:
    """What comes behind a row in the order of its columns, said so that an index of the first of them helps."""
    either = []
    for place, column in enumerate(columns):
        equal = [other == value for other, value in zip(columns[:place], last, strict=False)]
        either.append(sa.and_(*equal, _more(column, last[place])))
    return sa.and_(columns[0] >= last[0], sa.or_(*either))


def _more(column: sa.ColumnElement[Any], value: Any) -> sa.ColumnElement[bool]:
    if isinstance(value, bool):
        # Not every database compares truth values.
        return sa.false() if value else column.is_(True)
    return sa.and_(column > value)


class _Batch:
    """The histories of up to a hundred runs, fetched together when the first of them is read."""

    def __init__(self, histories: Histories, run_ids: Sequence[str]) -> None:
        self._histories = histories
        self._run_ids = run_ids
        self._lock = threading.Lock()
        self._found: dict[str, dict[str, _Series]] | None = None

    def rows(self, run_id: str) -> Iterator[Json]:
        with self._lock:
            if self._found is None:
                self._found = self._histories.fetch(self._run_ids)
        if run_id in self._found:
            for key, series in sorted(self._found[run_id].items()):
                yield from series.rows(key)
            return
        for key in self._histories.keys(run_id):
            yield from self._histories.page(run_id, key)
