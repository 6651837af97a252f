"""Metric histories in the fewest requests: a hundred runs and one key at a time, whole and in bounded memory.

`metrics/get-history-bulk` answers exactly up to 25,000 rows, ordered by run, time, step and value (found on 3.17.2). A
fuller answer is cut: its last run, and those behind it, are asked for again; a series longer than that is paged.
A row is `{"key": k, "points": [[step, timestamp in ms, value], ...]}` with at most CHUNK points, keys in order;
NaN is the text "NaN".
"""

from __future__ import annotations

import logging
import math
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import groupby
from operator import itemgetter

from mlflow_migration.errors import ServerError
from mlflow_migration.records import Json, Rows
from mlflow_migration.server.rest import Rest

log = logging.getLogger(__name__)

BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
SINGLE = "/api/2.0/mlflow/metrics/get-history"
BULK_RUNS = 100
BULK_ROWS = 25_000
EXPECTED_ROWS = 20_000
"""A request is planned for so many rows, so that a guess that is a little short still fits."""
BATCH_POINTS = 300_000
"""Points of one batch of runs held in memory (24 bytes each); what exceeds it is paged from the server when needed."""
CHUNK = 1000


@dataclass
class _Series:
    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def extend(self, rows: Sequence[Json]) -> None:
        self.steps.extend([int(row.get("step", 0)) for row in rows])
        self.times.extend([int(row["timestamp"]) for row in rows])
        self.values.extend([float(row["value"]) for row in rows])

    def rows(self, key: str) -> Iterator[Json]:
        for start in range(0, len(self.steps), CHUNK):
            part = slice(start, start + CHUNK)
            points = zip(self.steps[part], self.times[part], self.values[part], strict=True)
            yield {"key": key, "points": [[s, t, "NaN" if math.isnan(v) else v] for s, t, v in points]}


class _Batch:
    """The histories of up to a hundred runs, fetched key by key when the first of them is read."""

    def __init__(self, rest: Rest, runs: Sequence[Json]) -> None:
        self._rest = rest
        self._holders: dict[str, list[str]] = {}
        for run in runs:
            for key in metric_keys(run):
                self._holders.setdefault(key, []).append(run["info"]["run_id"])
        self._keys = sorted(self._holders)
        self._locks = {key: threading.Lock() for key in self._keys}
        self._series: dict[str, dict[str, _Series]] = {}
        self._points = 0
        self._readers = 0

    def rows(self, run: Json) -> Iterator[Json]:
        self._fetch_all()
        run_id = run["info"]["run_id"]
        for key in metric_keys(run):
            series = self._series.get(key, {}).get(run_id)
            if series is None:
                yield from page_history(self._rest, run_id, key)
            else:
                yield from series.rows(key)

    def _fetch_all(self) -> None:
        # Readers of one batch begin at different keys, so that they fetch side by side and not the same key in a queue.
        self._readers += 1
        begin = self._readers % len(self._keys) if self._keys else 0
        turn = self._keys[begin:] + self._keys[:begin]
        for blocking in (False, True):
            for key in turn:
                if key in self._series or not self._locks[key].acquire(blocking=blocking):
                    continue
                try:
                    if key not in self._series:
                        self._series[key] = self._fetch_or_leave(key) if self._points < BATCH_POINTS else {}
                finally:
                    self._locks[key].release()

    def _fetch_or_leave(self, key: str) -> dict[str, _Series]:
        """A request that fails for a hundred runs may fail for one of them only: then each is asked for alone."""
        try:
            return self._fetch(key)
        except ServerError as error:
            log.warning("histories of %r can't be read together: %s", key, error)
            return {}

    def _fetch(self, key: str) -> dict[str, _Series]:
        whole: dict[str, _Series] = {}
        wanted = list(self._holders[key])
        while wanted:
            query = [("run_id", run_id) for run_id in wanted]
            query += [("metric_key", key), ("max_results", str(BULK_ROWS))]
            rows = self._rest.call("GET", BULK, query=query).get("metrics", [])
            found: dict[str, _Series] = {}
            for run_id, group in groupby(rows, key=itemgetter("run_id")):
                found.setdefault(run_id, _Series()).extend(list(group))
            if len(rows) < BULK_ROWS:
                whole.update({run_id: found.get(run_id, _Series()) for run_id in wanted})
                break
            # Cut: only the runs before the last one are whole. A run that fills an answer alone is paged later.
            last = rows[-1]["run_id"]
            cut = found.pop(last)
            whole.update(found)
            alone = len(cut.steps) == len(rows)
            wanted = [run_id for run_id in wanted if run_id not in whole and not (alone and run_id == last)]
        self._points += sum(len(series.steps) for series in whole.values())
        return whole


class Histories:
    """Gives each run the lazy rows of its history, by whichever route the server has."""

    def __init__(self, rest: Rest, bulk: bool | None = None) -> None:
        """`bulk`: whether the server has the route for many runs, None to ask it."""
        self._rest = rest
        self._bulk = bulk

    def attach(self, runs: Iterable[Json]) -> Iterator[tuple[Json, Rows]]:
        """Each run with its rows, in the order given."""
        for group in _groups(runs):
            if self._has_bulk(group):
                batch = _Batch(self._rest, group)
                for run in group:
                    yield run, partial(batch.rows, run)
            else:
                for run in group:
                    yield run, partial(self._single, run)

    def _has_bulk(self, group: Sequence[Json]) -> bool:
        if self._bulk is None:
            run = next((run for run in group if metric_keys(run)), None)
            if run is None:
                return True
            query = [("run_id", run["info"]["run_id"]), ("metric_key", metric_keys(run)[0]), ("max_results", "1")]
            try:
                self._rest.call("GET", BULK, query=query)
                self._bulk = True
            except ServerError as error:
                if error.status != HTTPStatus.NOT_FOUND or error.code != "ENDPOINT_NOT_FOUND":
                    raise
                self._bulk = False
        return self._bulk

    def _single(self, run: Json) -> Iterator[Json]:
        for key in metric_keys(run):
            yield from page_history(self._rest, run["info"]["run_id"], key)


def page_history(rest: Rest, run_id: str, key: str) -> Iterator[Json]:
    """One series, page by page. Servers before 3.4 know no pages here and answer all at once."""
    token = ""
    while True:
        query = {"run_id": run_id, "metric_key": key, "max_results": str(BULK_ROWS)}
        if token:
            query["page_token"] = token
        answer = rest.call("GET", SINGLE, query=query)
        series = _Series()
        series.extend(answer.get("metrics", []))
        yield from series.rows(key)
        token = answer.get("next_page_token", "")
        if not token:
            return


def metric_keys(run: Json) -> list[str]:
    """The metric keys of a run's head, in order."""
    return sorted(metric["key"] for metric in run["data"].get("metrics", []))


def _groups(runs: Iterable[Json]) -> Iterator[list[Json]]:
    """Runs in order, in groups whose histories are expected to fit one request per key and the memory of a batch."""
    group: list[Json] = []
    rows: dict[str, int] = {}
    for run in runs:
        expected = {metric["key"]: _expected(metric) for metric in run["data"].get("metrics", [])}
        fuller = {key: rows.get(key, 0) + count for key, count in expected.items()}
        total = sum(rows.values()) + sum(expected.values())
        if group and (
            len(group) == BULK_RUNS or total > BATCH_POINTS or max(fuller.values(), default=0) > EXPECTED_ROWS
        ):
            yield group
            group, rows, fuller = [], {}, expected
        group.append(run)
        rows.update(fuller)
    if group:
        yield group


def _expected(metric: Json) -> int:
    """A guess at a series' length from its latest step; steps that count something else (epochs of time) are capped."""
    return max(1, min(int(metric.get("step", 0)) + 1, BULK_ROWS))
