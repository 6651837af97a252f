"""One request as the emulator's handlers see it, and how a handler becomes a route."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.databricks import errors
from tests.databricks.state import Principal, Workspace

NOBODY = Principal("", 0, "")


@dataclass(frozen=True)
class Call:
    """A request: whose, at which workspace, with its whole body."""

    workspace: Workspace
    principal: Principal
    method: str
    path: str
    query: Mapping[str, str]
    names: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    url_query: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object ({} when empty); raises ApiError 400 for anything else."""
        if not self.body:
            return {}
        try:
            document = json.loads(self.body)
        except ValueError as error:
            raise errors.ApiError(400, "MALFORMED_REQUEST", f"Could not parse request object: {error}") from error
        if not isinstance(document, dict):
            raise errors.ApiError(400, "MALFORMED_REQUEST", "Could not parse request object: Expected an object")
        return document

    @property
    def fields(self) -> dict[str, Any]:
        """The arguments wherever they are: query and JSON body."""
        return {**self.query, **self.json}

    def need(self, name: str) -> str:
        """A text argument; raises ApiError 400 when it is missing."""
        value = self.fields.get(name)
        if value in (None, ""):
            raise errors.invalid(f"Missing required field: {name}")
        return str(value)


# A dict is answered as JSON with status 200; None as an empty object.
Handler = Callable[[Call], Response | Mapping[str, Any] | None]


def routes(workspace: Workspace, table: Mapping[str, Handler], prefix: str = "") -> list[BaseRoute]:
    """A table such as {"GET /path/{name}": handler} as routes; `prefix` goes before each path."""
    return [route(key.replace(" ", f" {prefix}", 1), workspace, handler) for key, handler in table.items()]


def route(address: str, workspace: Workspace, handler: Handler) -> Route:
    """A Starlette route for "GET /path/{name}": `handler` runs in a thread, and ApiError becomes its answer."""
    method, path = address.split(" ")

    async def endpoint(request: Request) -> Response:
        call = Call(
            workspace=workspace,
            principal=request.scope.get("principal") or NOBODY,
            method=request.method,
            path=request.scope["path"],
            query=dict(request.query_params),
            names=request.path_params,
            headers=request.headers,
            body=await request.body(),
            url_query=request.url.query,
        )
        return await run_in_threadpool(answer, call, handler)

    return Route(path, endpoint, methods=[method])


def answer(call: Call, handler: Handler) -> Response:
    """The handler's answer, or its ApiError's; either says which workspace it comes from, as MLflow's client reads."""
    try:
        result = handler(call)
    except errors.ApiError as error:
        response = errors.answer(error)
    else:
        response = result if isinstance(result, Response) else JSONResponse(dict(result or {}))
    response.headers.setdefault("x-databricks-org-id", str(call.workspace.id))
    return response


def json_answer(document: Mapping[str, Any]) -> Response:
    """A document as it is, status 200."""
    return JSONResponse(dict(document))
