"""What stands in front of MLflow's application, in its process: who asks, the status page, the end with the supervisor.

It is the application of `mlflow server --app-name mlflow-migration`, MLflow's documented way in. Every route goes
through it, those of FastAPI and of Flask, streams and websockets; a proxy of our own would have to carry all of these.
"""

import asyncio
import fcntl
import fnmatch
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow_migration.apps.runtime import naming, page, status

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("uvicorn.error")
# Answered to everybody: the platform's own look at whether the app lives carries no headers.
OPEN_PATHS = ("/health", "/version")
# Who the platform says is asking. A service principal has no e-mail address.
IDENTITY_HEADERS = ("x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-user")
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
READING = re.compile(r"/(search|get-history|get-history-bulk|list|query|batch-?get|[a-z-]*search)$", re.IGNORECASE)


@dataclass(frozen=True)
class Rules:
    """What the gate goes by."""

    require_identity: bool
    allowed_hosts: tuple[str, ...]
    status_file: Path
    experiment_prefix: str = ""
    user_tag: str = naming.USER


@dataclass(frozen=True)
class Asking:
    """A request, as far as the gate looks at it."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def identity(self) -> str:
        """Who asks; empty where the platform doesn't say."""
        return next((self.headers[name] for name in IDENTITY_HEADERS if self.headers.get(name)), "")


class Gate:
    """The ASGI application in front of MLflow's."""

    def __init__(self, app: "ASGIApp", rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asking = Asking(scope.get("method", "GET"), scope["path"], _headers(scope))
        if asking.path in OPEN_PATHS:
            await self._app(scope, receive, send)
        elif self._rules.require_identity and not asking.identity:
            await _refuse(scope, send, "This app answers only requests that come through its platform, signed in.")
        elif asking.path in (page.PATH, f"{page.PATH}.json"):
            await self._show(asking, scope, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._pass(asking, scope, receive, send)

    async def _show(self, asking: Asking, scope: "Scope", send: "Send") -> None:
        if scope["type"] != "http" or not self._knows(asking.headers.get("host", "")):
            await _refuse(scope, send, "Invalid Host header.")
            return
        document = await asyncio.to_thread(status.load, self._rules.status_file)
        if asking.path == page.PATH:
            await _answer(send, 200, page.render(document), "text/html; charset=utf-8")
        else:
            await _answer(send, 200, json.dumps(document, indent=1), "application/json")

    async def _pass(self, asking: Asking, scope: "Scope", receive: "Receive", send: "Send") -> None:
        scope = {**scope, "headers": list(scope["headers"])}
        if self._is_own_page(asking):
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"origin"]
        if self._rules.experiment_prefix and asking.path.endswith("/experiments/get-by-name"):
            query = naming.prefixed_query(scope["query_string"].decode("latin-1"), self._rules.experiment_prefix)
            scope["query_string"] = query.encode("latin-1")
        if naming.is_named(asking.path, self._rules.experiment_prefix) and asking.method == "POST" and _is_json(asking):
            body = await _whole(receive)
            if body is None:
                return  # the client went away
            named = naming.named(
                asking.path, body, asking.identity, self._rules.experiment_prefix, self._rules.user_tag
            )
            headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")]
            scope["headers"] = [*headers, (b"content-length", str(len(named)).encode())]
            receive = _again(named, receive)
        if asking.identity and asking.method in CHANGING and not READING.search(asking.path):
            send = _telling(asking, send)
        await self._app(scope, receive, send)

    def _is_own_page(self, asking: Asking) -> bool:
        """Whether a request comes from a page of this very app: MLflow knows only origins it was told in full.

        The platform may show the app another Host than the browser's; X-Forwarded-Host is the browser's then.
        """
        origin = asking.headers.get("origin")
        if not origin:
            return False
        host = urlsplit(origin).netloc
        own = (asking.headers.get("host", ""), asking.headers.get("x-forwarded-host", ""))
        return bool(host) and host in own and self._knows(host)

    def _knows(self, host: str) -> bool:
        return any(fnmatch.fnmatch(host, allowed) if "*" in allowed else host == allowed for allowed in self._hosts)

    @property
    def _hosts(self) -> tuple[str, ...]:
        return self._rules.allowed_hosts


def create_app() -> "ASGIApp":
    """MLflow's application behind the gate, by the environment that the supervisor made; for `mlflow server`."""
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app

    if ui := os.environ.get("MLFLOW_APP_UI"):
        pages.static_folder = ui
    state = Path(os.environ["MLFLOW_APP_STATE_DIR"])
    _end_with_supervisor(state / "supervisor.lock")
    in_workspace = os.environ.get("MLFLOW_APP_BACKEND") == "databricks"
    rules = Rules(
        require_identity=os.environ.get("MLFLOW_APP_REQUIRE_IDENTITY") == "true",
        allowed_hosts=tuple(os.environ.get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(",")),
        status_file=state / "status.json",
        experiment_prefix=os.environ.get("MLFLOW_APP_EXPERIMENT_PREFIX", ""),
        user_tag=naming.USER_IN_WORKSPACE if in_workspace else naming.USER,
    )
    return Gate(app, rules)


def _end_with_supervisor(lock: Path) -> None:
    """End the server's whole process group once nobody looks after it: what it wrote then would be in no snapshot.

    The supervisor holds the lock for as long as it lives, however it ends.
    """

    def wait() -> None:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        os.killpg(os.getpgrp(), signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor-watch", daemon=True).start()


def _headers(scope: "Scope") -> dict[str, str]:
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}


def _is_json(asking: Asking) -> bool:
    kind = asking.headers.get("content-type", "").lower()
    # MLflow's own server takes a body for JSON too where no type is named.
    return (not kind or "json" in kind) and not asking.headers.get("content-encoding")


async def _whole(receive: "Receive") -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: "Receive") -> "Receive":
    """A `receive` that gives a body that was read already, and then what comes after it."""
    first: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return first.pop() if first else await receive()

    return replay


def _telling(asking: Asking, send: "Send") -> "Send":
    """A `send` that logs who changed what."""

    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            who, what = _printable(asking.identity), _printable(asking.path)
            logger.info("%s: %s %s: %s", who, asking.method, what, message["status"])
        await send(message)

    return told


def _printable(text: str) -> str:
    """Without line breaks and the like, which would forge lines of the log."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


async def _refuse(scope: "Scope", send: "Send", why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})
    else:
        await _answer(send, 403, why, "text/plain; charset=utf-8")


async def _answer(send: "Send", code: int, text: str, kind: str) -> None:
    body = text.encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"SAMEORIGIN"),
    ]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
