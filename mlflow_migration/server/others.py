"""What a server holds besides the kinds that can be carried: counted, so that none of it is left behind unsaid."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.rest import Rest
from mlflow_migration.server.traces import NO_ROUTE, V3_TRACES, location

log = logging.getLogger(__name__)

MOST = 100
EXPERIMENTS = 100
LACKING = frozenset({400, 404, 405, 501, 503})
"""What servers without a kind, or with it switched off, answer to its listing."""


def others(rest: Rest, experiment_ids: Sequence[str]) -> list[tuple[str, str]]:
    """(kind, how many) for each further kind found of these experiments.

    One request per kind and hundred experiments; from MOST on, a count is "at least". A server that lacks a route has
    nothing of that kind; one that refuses to list it is said to.
    """
    found: dict[str, int] = {}
    refused: set[str] = set()
    parts = [
        _of_experiments(rest, list(experiment_ids[begin : begin + EXPERIMENTS]))
        for begin in range(0, len(experiment_ids), EXPERIMENTS)
    ]
    for part in parts:
        for kind, count in part.items():
            if count is None:
                refused.add(kind)
            else:
                found[kind] = found.get(kind, 0) + count
    rows = [(kind, f"at least {count}" if count >= MOST else str(count)) for kind, count in found.items() if count]
    return rows + [(kind, "the server refuses to list them") for kind in sorted(refused)]


def _of_experiments(rest: Rest, ids: list[str]) -> dict[str, int | None]:
    return {"trace": _old_traces(rest, ids)}


def _old_traces(rest: Rest, ids: list[str]) -> int | None:
    """The traces of a server before 3.4, which are not carried: it lacks the routes for reading them."""
    first = {"locations": [location(id_) for id_ in ids[:1]], "max_results": 1}
    try:
        rest.call("POST", V3_TRACES + "/search", first)
    except ServerError as error:
        if error.code == NO_ROUTE:
            query = [("experiment_ids", id_) for id_ in ids] + [("max_results", str(MOST))]
            return _count(rest, "/api/2.0/mlflow/traces", query=query)
    except ForbiddenError as error:
        # Traces of later servers are listed in their turn, which tells what is refused.
        log.info("%s", error)
    return 0


def _count(rest: Rest, path: str, body: Json | None = None, query: object = None) -> int | None:
    try:
        answer = rest.call("GET" if body is None else "POST", path, body, query=query)
    except ForbiddenError:
        return None
    except ServerError as error:
        return 0 if error.status in LACKING else None
    return sum(len(value) for value in answer.values() if isinstance(value, list))
