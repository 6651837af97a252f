"""The server at an app's URL: it lets OAuth tokens in, tells the app who asks, and streams the app's log.

It listens on another loopback address than 127.0.0.1 where the system has one (Linux has), so that an app that only
answers to "localhost" refuses it as it would refuse its address on the platform. Not forwarded: WebSockets.
"""

import asyncio
import contextlib
import socket
import threading
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import yarl
from aiohttp import web
from multidict import CIMultiDict

from tests.databricks import access, acl, app_logs, errors
from tests.databricks.app_state import App, Apps
from tests.databricks.state import Principal, Workspace

ADDRESSES = ("127.0.0.2", "127.0.0.1")
# What belongs to one connection, or that the front itself says.
DROPPED = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization", "host")
PRIVATE = ("authorization", "cookie", "x-forwarded-", "x-real-ip", "x-request-id")
ANSWER_SECONDS = 300
Result = TypeVar("Result")


@dataclass
class Front:
    """A listening front; `url` is the app's."""

    url: str
    _loop: asyncio.AbstractEventLoop
    _runner: web.AppRunner
    _thread: threading.Thread

    def stop(self) -> None:
        """Close it; requests under way are cut."""
        if not self._thread.is_alive():
            return
        _in(self._loop, self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def start(workspace: Workspace, name: str) -> Front:
    """Listen for the app of that name on any free port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True, name=f"front of {name}")
    thread.start()
    listener = _listener()
    address, port = listener.getsockname()
    runner = _in(loop, _serve(workspace, name, listener))
    return Front(f"http://{address}:{port}", loop, runner, thread)


def _listener() -> socket.socket:
    for address in ADDRESSES[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_server((address, 0))
    return socket.create_server((ADDRESSES[-1], 0))


def _in(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run_coroutine_threadsafe(work, loop).result(30)


async def _serve(workspace: Workspace, name: str, listener: socket.socket) -> web.AppRunner:
    async def session(application: web.Application) -> Any:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as held:
            application[SESSION] = held
            yield

    application = web.Application(client_max_size=0)
    application[PLACE] = (workspace, name)
    application.cleanup_ctx.append(session)
    application.router.add_get("/logz/stream", _logs)
    application.router.add_route("*", "/{path:.*}", _request)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner


SESSION = web.AppKey("session", aiohttp.ClientSession)
PLACE: web.AppKey[tuple[Workspace, str]] = web.AppKey("place", tuple)


def caller(workspace: Workspace, headers: Mapping[str, str]) -> Principal:
    """Who asks, by an OAuth token; raises ApiError 401 for a personal access token, an expired or no token."""
    kind, _, token = headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or token not in workspace.account.issued:
        raise errors.ApiError(401, "UNAUTHENTICATED", "This app takes OAuth access tokens only.")
    try:
        return access.identify(workspace, {"authorization": f"{kind} {token}"})
    except errors.ApiError as error:
        raise errors.ApiError(401, "UNAUTHENTICATED", error.message) from error


async def _request(request: web.Request) -> web.StreamResponse:
    workspace, name = request.app[PLACE]
    app = workspace.part(Apps).held.get(name)
    try:
        principal = caller(workspace, request.headers)
        acl.require(workspace, principal, "CAN_USE", ("apps", name))
    except errors.ApiError as error:
        return _refusal(error.status, error.message)
    fault = workspace.faults.next(request.method, f"app://{name}{request.path}", principal.name)
    if fault and fault.delay:
        await asyncio.sleep(fault.delay)
    if fault and fault.status:
        return web.json_response(dict(fault.answer), status=fault.status, headers=fault.headers)
    if not app or not app.container or not app.container.alive:
        return _refusal(503, "App Not Available: the app you are trying to reach is not running.")
    return await _forward(request, app, _headers(request, workspace, principal))


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _headers(request: web.Request, workspace: Workspace, principal: Principal) -> "CIMultiDict[str]":
    """What the app sees: the caller's headers without credentials, and who it is in the platform's."""
    app = workspace.part(Apps).held[request.app[PLACE][1]]
    kept = CIMultiDict(
        (key, value) for key, value in request.headers.items() if not key.lower().startswith((*DROPPED, *PRIVATE))
    )
    kept["Host"] = workspace.part(Apps).host or request.host
    kept["X-Forwarded-Host"] = workspace.part(Apps).host or request.host
    kept["X-Forwarded-Proto"] = request.scheme
    kept["X-Forwarded-User"] = f"{principal.id}@{workspace.id}"
    # Of a service principal both are its application id.
    kept["X-Forwarded-Email"] = kept["X-Forwarded-Preferred-Username"] = principal.name
    kept["X-Real-Ip"] = request.remote or ""
    kept["X-Request-Id"] = str(uuid.uuid4())
    if app.sent.get("user_api_scopes"):
        kept["X-Forwarded-Access-Token"] = request.headers["Authorization"].partition(" ")[2]
    return kept


async def _forward(request: web.Request, app: App, headers: "CIMultiDict[str]") -> web.StreamResponse:
    address = yarl.URL(f"http://127.0.0.1:{app.port}{request.raw_path}", encoded=True)
    body = request.content if request.body_exists else None
    asked = request.app[SESSION].request(
        request.method, address, headers=headers, data=body, allow_redirects=False, skip_auto_headers=("User-Agent",)
    )
    try:
        answer = await asked
    except aiohttp.ClientConnectorError:
        return _refusal(502, "App Not Available: the app does not listen on its port.")
    except aiohttp.ClientConnectionError:
        return _refusal(502, "The app closed the connection.")
    passed = [(key, value) for key, value in answer.headers.items() if key.lower() not in DROPPED]
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=CIMultiDict(passed))
    async with answer:
        await response.prepare(request)
        try:
            async for part in answer.content.iter_any():
                await response.write(part)
        except aiohttp.ClientError:
            # The app went in the middle of its answer, and so does the connection.
            if request.transport:
                request.transport.abort()
            return response
        await response.write_eof()
    return response


async def _logs(request: web.Request) -> web.StreamResponse:
    workspace, name = request.app[PLACE]
    return await app_logs.stream(request, workspace, name)
