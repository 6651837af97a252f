"""What a server holds besides the kinds that can be carried: counted, so that none of it is left behind unsaid."""

from __future__ import annotations

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.rest import Rest

SERVER_KINDS = {
    "gateway_endpoint": "/api/3.0/mlflow/gateway/endpoints/list",
    "gateway_model_definition": "/api/3.0/mlflow/gateway/model-definitions/list",
    "gateway_secret": "/api/3.0/mlflow/gateway/secrets/list",
    "mcp_server": "/api/3.0/mlflow/mcp-servers",
}
"""Kinds of a whole server that aren't carried yet, by the routes that list them."""
MOST = 100
LACKING = frozenset({400, 404, 405, 501, 503})
"""What servers without a kind, or with it switched off, answer to its listing."""


def others(rest: Rest, whole_server: bool) -> list[tuple[str, str]]:
    """(kind, how many) for each further kind found; none of them belongs to experiments alone.

    One request per kind; from MOST on, a count is "at least". A server that lacks a route has nothing of that kind; one
    that refuses to list it is said to.
    """
    found: dict[str, int] = {}
    refused: set[str] = set()
    for kind, count in (_of_server(rest) if whole_server else {}).items():
        if count is None:
            refused.add(kind)
        else:
            found[kind] = count
    rows = [(kind, f"at least {count}" if count >= MOST else str(count)) for kind, count in found.items() if count]
    return rows + [(kind, "the server refuses to list them") for kind in sorted(refused)]


def _of_server(rest: Rest) -> dict[str, int | None]:
    return {kind: _count(rest, route) for kind, route in SERVER_KINDS.items()}


def _count(rest: Rest, path: str, body: Json | None = None, query: object = None) -> int | None:
    try:
        answer = rest.call("GET" if body is None else "POST", path, body, query=query)
    except ForbiddenError:
        return None
    except ServerError as error:
        return 0 if error.status in LACKING else None
    return sum(len(value) for value in answer.values() if isinstance(value, list))
