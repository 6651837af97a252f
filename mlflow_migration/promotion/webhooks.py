"""MLflow's webhooks as they arrive: signature, age and repetition checked (mlflow/webhooks/delivery.py, 3.17.2).

A delivery is signed with HMAC-SHA256 over `DELIVERY-ID.TIMESTAMP.BODY`, in base64 after `v1,`. What it says is only a
hint of where to look: what is promoted is read from the server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mlflow_migration.errors import UsageError

SIGNATURE = "X-MLflow-Signature"
TIMESTAMP = "X-MLflow-Timestamp"
DELIVERY = "X-MLflow-Delivery-Id"
VERSION = "v1"
MOST_SECONDS = 300
"""How old a delivery may be, and how far ahead its clock."""
MOST_BYTES = 1024 * 1024
REMEMBERED = 10_000
WAITING = 1_000
"""Names that may wait: each is looked at once, however often it was told."""
READ_SECONDS = 10
NUMBER = re.compile(r"[0-9]{1,15}")
ENTITIES = frozenset({"model_version", "model_version_tag", "model_version_alias"})


@dataclass(frozen=True)
class Event:
    """What a delivery says: `entity.action`, and the registered model it is about."""

    word: str
    model: str


def signature(secret: bytes, delivery: str, timestamp: str, body: bytes) -> str:
    """What MLflow writes into the header of a delivery."""
    signed = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return f"{VERSION},{base64.b64encode(digest).decode()}"


class Inbox:
    """Takes deliveries and keeps the names of models they are about. Safe to share between threads."""

    def __init__(self, secret: str) -> None:
        """Raises UsageError where there is no secret: anybody could write then."""
        if not secret:
            raise UsageError("no secret of the webhook is set", hint="give the one that MLflow's webhook has")
        self._secret = secret.encode()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self.names: queue.Queue[str] = queue.Queue(WAITING)

    def take(self, headers: Mapping[str, str], body: bytes) -> HTTPStatus:
        """The status to answer. Nothing of a body is looked at before its signature is found right."""
        delivery, timestamp = headers.get(DELIVERY, ""), headers.get(TIMESTAMP, "")
        given = headers.get(SIGNATURE, "")
        expected = signature(self._secret, delivery, timestamp, body)
        if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape")):
            return HTTPStatus.UNAUTHORIZED
        sent = _number(timestamp)
        if sent is None or abs(time.time() - sent) > MOST_SECONDS:
            return HTTPStatus.UNAUTHORIZED
        if not self._is_new(delivery):
            return HTTPStatus.OK
        event = parsed(body)
        if event is None:
            return HTTPStatus.BAD_REQUEST
        if event.model:
            try:
                self.names.put_nowait(event.model)
            except queue.Full:
                # MLflow repeats a delivery that is answered so; it is to be taken then.
                with self._lock:
                    self._seen.pop(delivery, None)
                return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.OK

    def _is_new(self, delivery: str) -> bool:
        with self._lock:
            known = delivery in self._seen
            self._seen[delivery] = None
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            return not known


def parsed(body: bytes) -> Event | None:
    """What a delivery says; an Event without a model for what is about none, None for what isn't a delivery."""
    try:
        found: Any = json.loads(body)
        entity, action, data = str(found["entity"]), str(found["action"]), found["data"]
        model = str(data.get("name", "")) if entity in ENTITIES else ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Event(f"{entity}.{action}", model)


def _number(text: str) -> int | None:
    """A header's number; None for what is none, or has more digits than any that is meant."""
    return int(text) if NUMBER.fullmatch(text) else None


class Endpoint:
    """A small HTTP server that takes deliveries at every path, from `start` to `stop`."""

    def __init__(self, inbox: Inbox, host: str, port: int) -> None:
        """Raises UsageError where the address can't be listened on."""

        class Handler(BaseHTTPRequestHandler):
            timeout = READ_SECONDS
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = _number(self.headers.get("Content-Length", ""))
                if length is None or length > MOST_BYTES:
                    self.close_connection = True
                    self._answer(HTTPStatus.LENGTH_REQUIRED if length is None else HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                    return
                told = {name: self.headers.get(name, "") for name in (DELIVERY, TIMESTAMP, SIGNATURE)}
                self._answer(inbox.take(told, self.rfile.read(length)))

            def _answer(self, status: HTTPStatus) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # The base class names it so.
                """Deliveries aren't told one by one."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise UsageError(f"can't listen on {host}:{port}", error.strerror or str(error)) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhooks", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, also if any port was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
