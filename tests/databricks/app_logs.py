"""An app's log as a WebSocket, /logz/stream: as the `databricks apps logs` command reads it.

The first frame a client sends is its search term, which may be empty. Lines come as JSON objects `source` (APP or
SYSTEM), `timestamp` in seconds, `message`; a single NUL keeps the connection alive. Closing with 4401 says the token
is over (or isn't an OAuth token), with 4403 that its principal may not see the log.
"""

import asyncio
import json
import time

from aiohttp import WSCloseCode, WSMsgType, web

from tests.databricks import access, acl, errors
from tests.databricks.app_state import Apps, Line
from tests.databricks.state import Workspace

TOKEN_OVER, DENIED = 4401, 4403
FIRST_FRAME_SECONDS = 10
POLL_SECONDS = 0.1
KEEP_ALIVE = "\0"


async def stream(request: web.Request, workspace: Workspace, name: str) -> web.StreamResponse:
    """Serve one reader until it goes, its token ends, or the app is gone."""
    if request.headers.get("Origin", "") != f"http://{request.host}":
        return web.json_response({"error": "Origin is not the app's URL"}, status=403)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    if code := _refusal(request, workspace, name):
        await socket.close(code=code, message=b"refresh the token" if code == TOKEN_OVER else b"not allowed")
        return socket
    try:
        first = await socket.receive(FIRST_FRAME_SECONDS)
    except TimeoutError:
        await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"no search term")
        return socket
    if first.type is not WSMsgType.TEXT:
        await socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
        return socket
    # Reading notices when the other end closes.
    reader = asyncio.ensure_future(_until_closed(socket))
    try:
        await _send(request, socket, (workspace, name), str(first.data))
    except ConnectionError:
        await socket.close()
    finally:
        reader.cancel()
    return socket


async def _until_closed(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


async def _send(request: web.Request, socket: web.WebSocketResponse, place: tuple[Workspace, str], search: str) -> None:
    workspace, name = place
    sent, silent_since = -1, time.monotonic()
    while not socket.closed:
        app = workspace.part(Apps).held.get(name)
        if not app:
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the app is deleted")
            return
        for line in app.log_after(sent):
            sent = line.number
            if search.casefold() in line.message.casefold():
                await socket.send_str(_shown(line))
                silent_since = time.monotonic()
        if time.monotonic() - silent_since > workspace.part(Apps).keep_alive_seconds:
            await socket.send_str(KEEP_ALIVE)
            silent_since = time.monotonic()
        if code := _refusal(request, workspace, name):
            await socket.close(code=code)
            return
        await asyncio.sleep(POLL_SECONDS)


def _shown(line: Line) -> str:
    return json.dumps({"source": line.source, "timestamp": line.timestamp, "message": line.message})


def _refusal(request: web.Request, workspace: Workspace, name: str) -> int:
    """The code to close with, 0 for who may read: managers of the app, by an OAuth token that isn't over."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or token not in workspace.account.issued:
        return TOKEN_OVER
    try:
        principal = access.identify(workspace, {"authorization": f"{kind} {token}"})
    except errors.ApiError:
        return TOKEN_OVER
    try:
        acl.require(workspace, principal, "CAN_MANAGE", ("apps", name))
    except errors.ApiError:
        return DENIED
    return 0
