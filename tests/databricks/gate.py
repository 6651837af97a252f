"""What every request passes first: who asks, the list of requests, and the faults a test ordered."""

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.databricks import access, errors
from tests.databricks.faults import Fault
from tests.databricks.state import Workspace

# Nobody shows a credential here: they are how one gets it, or carry a signature in their URL.
OPEN = ("/.well-known/", "/oidc/", "/signed/", "/id-token", "/aad/")


class Gate:
    """The outermost layer of a workspace's application."""

    def __init__(self, app: ASGIApp, workspace: Workspace) -> None:
        self.app = app
        self.workspace = workspace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        refusal: errors.ApiError | None = None
        principal = None
        if not path.startswith(OPEN):
            headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
            try:
                principal = access.identify(self.workspace, headers)
            except errors.ApiError as error:
                refusal = error
        name = principal.name if principal else ""
        self.workspace.requests.append((method, path, name))
        scope["principal"] = principal
        fault = self.workspace.faults.next(method, path, name)
        if fault and fault.delay:
            await asyncio.sleep(fault.delay)
        if refusal:
            await _drain(receive)
            await errors.answer(refusal)(scope, receive, send)
        elif fault and fault.cut is not None:
            await self.app(scope, receive, _cutting(send, fault.cut))
        elif fault and fault.status:
            await self._fail(fault, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.performed:
            await self.app(scope, receive, _nowhere)
        else:
            await _drain(receive)
        await JSONResponse(dict(fault.answer), fault.status, fault.headers)(scope, receive, send)


async def _drain(receive: Receive) -> None:
    """Read the whole request: a client still sending would see a reset in place of the answer."""
    while (await receive()).get("more_body"):
        pass


async def _nowhere(message: Message) -> None:
    """The answer nobody gets."""


def _cutting(send: Send, length: int) -> Send:
    """A `send` that passes `length` bytes of the body on and drops the rest; uvicorn then closes the connection.

    The header still says how long the whole is, so that the client knows.
    """
    left = length

    async def limited(message: Message) -> None:
        nonlocal left
        if message["type"] != "http.response.body":
            await send(message)
            return
        part = message.get("body", b"")[:left]
        left -= len(part)
        if part:
            await send({"type": "http.response.body", "body": part, "more_body": True})

    return limited
