"""The shapes of MLflow's REST answers: pages, things that may be gone, and creates that may be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_migration.errors import ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.rest import Look, Rest

V2 = "/api/2.0/mlflow/"
V3 = "/api/3.0/mlflow/"
GONE = "RESOURCE_DOES_NOT_EXIST"
LACKING = frozenset({404, 405, 501})
"""What a server answers to a route it doesn't have, with no code of a thing that is missing."""


def post(rest: Rest, route: str, body: Json, look: Look | None = None) -> Json:
    """One POST; `look` as in `Rest.call`."""
    return rest.call("POST", route, body, look=look)


def get_or_none(rest: Rest, route: str, query: Mapping[str, str], field: str) -> Json | None:
    """The object in `field` of the answer, or None where the server has none."""
    try:
        found: Json = rest.call("GET", route, query=query)[field]
    except ServerError as error:
        if error.code == GONE:
            return None
        raise
    return found


def unless_gone(rest: Rest, route: str, body: Json, method: str = "POST") -> None:
    """A repeated delete or restore answers that nothing is there to change: that is its aim reached."""
    try:
        rest.call(method, route, body)
    except ServerError as error:
        if error.code != GONE:
            raise


def posted_pages(rest: Rest, route: str, body: Json, field: str) -> Iterator[Json]:
    """Every object of a search that is sent by POST, page by page."""
    while True:
        answer = rest.call("POST", route, body)
        yield from answer.get(field, [])
        token = answer.get("next_page_token")
        if not token:
            return
        body = {**body, "page_token": token}


def pages(rest: Rest, route: str, query: Mapping[str, Any] | list[tuple[str, Any]], field: str) -> Iterator[Json]:
    """Every object of a search that is sent by GET, page by page. A list of pairs repeats a parameter."""
    query = list(query.items()) if isinstance(query, Mapping) else query
    first = query
    while True:
        answer = rest.call("GET", route, query=query)
        yield from answer.get(field, [])
        token = answer.get("next_page_token")
        if not token:
            return
        query = [*first, ("page_token", token)]


def where_known(found: Iterator[Json]) -> Iterator[Json]:
    """The objects of a listing; none where the server is too old to have its route."""
    try:
        yield from found
    except ServerError as error:
        if error.status not in LACKING or error.code == GONE:
            raise
