"""Which prompt versions traces are tied to: a tag may say so where there is no tie, and a tie needs no tag.

Only a search by prompt version tells (`prompt = 'name/3'`, MLflow 3.10). Its answers come in the order in which all
traces are listed, so that one request for each version, and each page of it, is enough, and none of it is kept.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mlflow_migration.calls import Readable
from mlflow_migration.errors import ServerError
from mlflow_migration.objects.trace_head import TIES, prompts
from mlflow_migration.records import Json

REFUSED = frozenset({400, 404, 405, 501})


@dataclass(order=True)
class _Next:
    """The next trace that one prompt version is tied to."""

    time: str
    trace_id: str
    version: str
    others: Iterator[tuple[str, str]] = field(compare=False)


class PromptTies:
    """Gives the traces of some experiments their ties, as they come by in the order of their listing."""

    def __init__(self, source: Readable, experiment_ids: Sequence[str]) -> None:
        self._source = source
        self._experiment_ids = experiment_ids
        self._asked: set[str] = set()
        self._unknown: set[str] = set()
        self._next: list[_Next] = []

    def attach(self, infos: Iterator[Json]) -> Iterator[Json]:
        """The infos of all traces there, with the ties of each where they aren't those its tag tells."""
        for version in _versions(self._source):
            self._ask(version)
        for info in infos:
            told = _told(info)
            for version in told:
                self._ask(version)
            yield _with_ties(info, self._tied(info) | (told & self._unknown))

    def attach_to(self, infos: Sequence[Json]) -> Iterator[Json]:
        """The infos of some traces, likewise: all that are tied to a version are gone through for them."""
        tied: dict[str, set[str]] = {info["trace_id"]: set() for info in infos}
        for version in sorted(set(_versions(self._source)).union(*map(_told, infos))):
            self._ask(version)
            while self._next:
                found = heapq.heappop(self._next)
                tied.get(found.trace_id, set()).add(version)
                self._advance(version, found.others)
        for info in infos:
            yield _with_ties(info, tied[info["trace_id"]] | (_told(info) & self._unknown))

    def _ask(self, version: str) -> None:
        if version in self._asked:
            return
        self._asked.add(version)
        try:
            self._advance(version, self._source.traces.tied_to(self._experiment_ids, version))
        except ServerError as error:
            if error.status not in REFUSED:
                raise
            # A server before 3.10, or a name that no filter can hold: the tag is believed.
            self._unknown.add(version)

    def _advance(self, version: str, others: Iterator[tuple[str, str]]) -> None:
        found = next(others, None)
        if found is not None:
            heapq.heappush(self._next, _Next(_sortable(found[0]), found[1], version, others))

    def _tied(self, info: Json) -> set[str]:
        """The versions a trace is tied to. Those of earlier times have come by."""
        now = _sortable(info.get("request_time", ""))
        tied: set[str] = set()
        waiting = []
        while self._next and self._next[0].time <= now:
            first = heapq.heappop(self._next)
            if first.time == now and first.trace_id != info["trace_id"]:
                waiting.append(first)
                continue
            if first.time == now:
                tied.add(first.version)
            self._advance(first.version, first.others)
        for each in waiting:
            heapq.heappush(self._next, each)
        return tied


def _sortable(time: str) -> str:
    """A request time (RFC 3339 with or without a fraction of a second, in UTC) as a text in the order of time."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<9}"


def _versions(source: Readable) -> Iterator[str]:
    return (f"{head['name']}/{head['version']}" for head in source.registry.search_versions(prompts=True))


def _told(info: Json) -> set[str]:
    return {f"{each['name']}/{each['version']}" for each in prompts(info)}


def _with_ties(info: Json, tied: set[str]) -> Json:
    return info if tied == _told(info) else {**info, TIES: [_version(each) for each in sorted(tied)]}


def _version(id_: str) -> Json:
    name, _, version = id_.rpartition("/")
    return {"name": name, "version": version}
