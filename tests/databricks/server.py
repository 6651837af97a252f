"""Serves a workspace: its routes behind the gate, on a thread of this process."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tests.databricks import areas, errors, files_api, identity, signed, tracking, workspace_files
from tests.databricks.gate import Gate
from tests.databricks.state import Workspace

START_SECONDS = 20
# The first route that fits answers, so what takes any path below /api/*/mlflow comes last.
AREAS: tuple[Callable[[Workspace], list[BaseRoute]], ...] = (
    identity.routes,
    signed.routes,
    files_api.routes,
    workspace_files.routes,
    *areas.AREAS,
    tracking.routes,
)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass
class Serving:
    """A workspace that answers at `workspace.url` until `stop()`."""

    workspace: Workspace
    _server: uvicorn.Server = field(repr=False)
    _thread: threading.Thread = field(repr=False)

    def stop(self) -> None:
        """Close it; requests under way are cut."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)


def application(workspace: Workspace) -> ASGIApp:
    """The workspace's ASGI application."""
    routes = [route for area in AREAS for route in area(workspace)]

    async def unknown(request: Request) -> Response:
        return errors.answer(errors.no_endpoint(request.method, request.url.path))

    fallback = Route("/{path:path}", unknown, methods=METHODS)
    # A path that is there for another method is, on the platform, no endpoint either.
    handlers = {405: lambda request, error: unknown(request)}
    return Gate(Starlette(routes=[*routes, fallback], exception_handlers=handlers), workspace)


def serve(workspace: Workspace, port: int = 0) -> Serving:
    """Start answering on 127.0.0.1 (any free port for 0) and set `workspace.url`; raises RuntimeError if it can't."""
    listener = socket.create_server(("127.0.0.1", port))
    workspace.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # Closing idle connections early would race with a client's next request.
    config = uvicorn.Config(
        application(workspace), log_level="error", access_log=False, lifespan="off", ws="none", timeout_keep_alive=75
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True, name=f"workspace-{workspace.name}")
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise RuntimeError(f"workspace {workspace.name} did not start")
        time.sleep(0.01)
    return Serving(workspace, server, thread)


@contextlib.contextmanager
def serving(workspace: Workspace, port: int = 0) -> Iterator[Serving]:
    """`serve` for the length of a block."""
    running = serve(workspace, port)
    try:
        yield running
    finally:
        running.stop()
