"""An app's log, by the WebSocket at `/logz/stream` of its URL.

As Databricks' CLI reads it (databricks/cli, `libs/apps/logstream`): an OAuth token, the app's URL as Origin, the search
term as the first frame; then a JSON object (`source`, `timestamp` in seconds, `message`) or plain text for each line,
first those the platform still has, and a single NUL where there is nothing to say. It closes with 4401 or 4403 when the
token is over, or its owner may not see the log. A new connection begins with the old lines again.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from mlflow_migration.errors import AccessError, ForbiddenError
from mlflow_migration.server.address import Endpoint
from mlflow_migration.server.answers import plain, reason

if TYPE_CHECKING:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import ClientConnection

log = logging.getLogger(__name__)

PATH = "/logz/stream"
SOURCES = ("APP", "SYSTEM")
TOKEN_OVER, DENIED = 4401, 4403
ENDED_WELL = frozenset({1000, 1001})
NOTHING = "\0"
OPEN_SECONDS = 15.0
FIRST_SECONDS = 6.0
"""How long the first line may take; the platform gathers those it has."""
QUIET_SECONDS = 2.0
"""A pause that long and what the platform had kept is through."""
KEPT_SECONDS = 10.0
PING_SECONDS = 20.0
PATIENCE = 300.0
"""Seconds without one connection, and following is given up."""
FIRST_TRIES = 3
REFUSALS = 3
LONGEST_WAIT = 15.0
LONGEST_LINE = 16 * 1024 * 1024
REMEMBERED = 50_000
"""Lines by which a new connection's old ones are known."""


@dataclass(frozen=True)
class Line:
    """One line of the log. `time` is in seconds since 1970, None where the line says none."""

    message: str
    source: str = ""
    time: float | None = None

    @property
    def moment(self) -> str:
        """Its time in UTC, "" where it has none."""
        if self.time is None:
            return ""
        return datetime.fromtimestamp(self.time, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Wanted:
    """What of a log is wanted. `tail`: that many of the lines there are, 0 for all; `seconds`: how long to follow it,
    None for as long as it goes on; without `follow` it ends with the lines there are."""

    search: str = ""
    sources: frozenset[str] = frozenset()
    tail: int = 200
    follow: bool = False
    seconds: float | None = None


@dataclass
class _Memory:
    """Lines that were given out, so that none is given out twice."""

    given: Counter[Line] = field(default_factory=Counter)
    order: deque[Line] = field(default_factory=deque)

    def add(self, line: Line) -> None:
        self.given[line] += 1
        self.order.append(line)
        if len(self.order) > REMEMBERED:
            oldest = self.order.popleft()
            self.given[oldest] -= 1
            if not self.given[oldest]:
                del self.given[oldest]


class _OverError(Exception):
    """A connection is over. `code` is the one it was closed with, or the HTTP status it was refused with."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def lines(endpoint: Endpoint, wanted: Wanted, ask: Callable[[], None]) -> Iterator[Line]:
    """The lines of an app's log, each once, over as many connections as it takes.

    `ask()` is called before a new connection is made; it raises where the app is gone or stopped. Raises AccessError
    where the log can't be had, ForbiddenError where this login may not see it.
    """
    stream = _Stream(endpoint, wanted)
    while not stream.over():
        try:
            yield from stream.connection()
            if not wanted.follow:
                return
        except _OverError as error:
            stream.failed(error)
        if not stream.over():
            ask()
            stream.wait()


class _Stream:
    """One reading of a log, over its connections."""

    def __init__(self, endpoint: Endpoint, wanted: Wanted) -> None:
        self._endpoint = endpoint
        self._wanted = wanted
        self._memory = _Memory()
        self._until = None if wanted.seconds is None else time.monotonic() + wanted.seconds
        self._last_good = time.monotonic()
        self._failures = 0
        self._refused = 0
        self._was_connected = False
        self._began = False

    def over(self) -> bool:
        """Whether it was to last until now."""
        return self._until is not None and time.monotonic() >= self._until

    def wait(self) -> None:
        """Before the next connection: longer after each that failed."""
        seconds = min(LONGEST_WAIT, 0.5 * 2 ** min(self._failures, 10))
        if self._until is not None:
            seconds = min(seconds, max(0.0, self._until - time.monotonic()))
        time.sleep(seconds)

    def failed(self, error: _OverError) -> None:
        """A connection failed, or was closed. Raises AccessError, ForbiddenError where another one is of no use."""
        log.info("the log of %s broke off: %s", self._endpoint.address, error)
        if error.code in {TOKEN_OVER, DENIED, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            self._renew(error)
            return
        self._failures += 1
        follows = self._wanted.follow and self._was_connected
        given_up = time.monotonic() - self._last_good > PATIENCE if follows else self._failures >= FIRST_TRIES
        if given_up:
            raise AccessError(
                f"the log of {self._endpoint.address} can't be read", str(error), "mlflow-migration app status"
            )

    def _renew(self, error: _OverError) -> None:
        """A new token; a refusal of the second new one in a row counts."""
        self._refused += 1
        if self._refused < REFUSALS and self._endpoint.renew is not None:
            self._endpoint.renew()
            return
        if error.code in {DENIED, HTTPStatus.FORBIDDEN}:
            raise ForbiddenError(
                f"{self._endpoint.address} doesn't show its log to you",
                str(error),
                "whoever manages the app grants CAN_MANAGE: mlflow-migration app permissions grant",
            )
        raise AccessError(f"{self._endpoint.address} refuses these credentials", str(error), self._endpoint.hint)

    def connection(self) -> Iterator[Line]:
        """The lines of one connection that weren't given out before. Raises _OverError when it breaks off."""
        with _connected(self._endpoint) as socket:
            self._was_connected, self._last_good = True, time.monotonic()
            _send(socket, self._wanted.search)
            yield from self._kept(socket)
            self._began = True
            while self._wanted.follow and not self.over():
                line = self._next(socket, QUIET_SECONDS)
                if line is not None:
                    self._memory.add(line)
                    yield line

    def _kept(self, socket: ClientConnection) -> Iterator[Line]:
        """The lines that the platform still has: the last ones at first, later those that are new."""
        # What is cut off before it is through was given to nobody: the next connection brings it again.
        found: list[Line] = []
        here: Counter[Line] = Counter()
        begun, patience = time.monotonic(), FIRST_SECONDS
        # An app that never pauses says new things all the time.
        while not self.over() and time.monotonic() - begun < KEPT_SECONDS:
            frame = self._kept_frame(socket, patience)
            if frame is None:
                break
            patience = QUIET_SECONDS
            line = parsed(frame)
            if self._is_wanted(line):
                here[line] += 1
                if here[line] > self._memory.given[line]:
                    found.append(line)
        self._refused = self._failures = 0
        if not self._began and self._wanted.tail:
            for line in found[: -self._wanted.tail]:
                self._memory.add(line)
            found = found[-self._wanted.tail :]
        for line in found:
            self._memory.add(line)
            yield line

    def _kept_frame(self, socket: ClientConnection, seconds: float) -> str | None:
        try:
            frame = _frame(socket, self._limit(seconds))
        except _OverError as error:
            if error.code not in ENDED_WELL:
                raise
            return None
        if frame is not None:
            # Whoever is told something is let in: the token may end soon after.
            self._refused = 0
        return None if frame == NOTHING else frame

    def _next(self, socket: ClientConnection, seconds: float) -> Line | None:
        frame = _frame(socket, self._limit(seconds))
        self._last_good = time.monotonic()
        if frame is None or frame == NOTHING:
            return None
        line = parsed(frame)
        return line if self._is_wanted(line) else None

    def _is_wanted(self, line: Line) -> bool:
        return not self._wanted.sources or line.source in self._wanted.sources

    def _limit(self, seconds: float) -> float:
        return seconds if self._until is None else max(0.01, min(seconds, self._until - time.monotonic()))


def parsed(frame: str) -> Line:
    """A frame as a line: a JSON object, or the text itself."""
    try:
        found = json.loads(frame)
        if isinstance(found, dict) and "message" in found:
            return Line(
                str(found["message"]).rstrip("\r\n"),
                str(found.get("source") or "").upper(),
                _time(found.get("timestamp")),
            )
    except (ValueError, RecursionError):
        log.debug("a line of plain text")
    return Line(frame.rstrip("\r\n"))


def _time(found: object) -> float | None:
    """Seconds since 1970, None for what is no moment."""
    if not isinstance(found, (int, float)):
        return None
    try:
        datetime.fromtimestamp(found, timezone.utc)
        return float(found)
    except (ValueError, OverflowError, OSError):
        return None


def _connected(endpoint: Endpoint) -> ClientConnection:
    # Only who reads a log waits for the library to load.
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect
    from websockets.typing import Origin

    scheme, host = urlsplit(endpoint.host).scheme, urlsplit(endpoint.host).netloc
    headers = endpoint.headers()
    agent = headers.pop("User-Agent", "mlflow-migration")
    secure = scheme == "https"
    try:
        return connect(
            f"{'wss' if secure else 'ws'}://{host}{PATH}",
            ssl=_tls(endpoint) if secure else None,
            origin=Origin(endpoint.host),
            additional_headers={"Authorization": headers["Authorization"]},
            user_agent_header=agent,
            open_timeout=OPEN_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS * 2,
            close_timeout=2,
            max_size=LONGEST_LINE,
        )
    except InvalidStatus as error:
        body = plain((error.response.body or b"").decode("utf-8", "replace"))
        status = error.response.status_code
        # Whoever isn't logged in is led to where people log in.
        code = HTTPStatus.UNAUTHORIZED if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST else status
        raise _OverError(code, f"it answered {status}: {body}") from error
    except (InvalidHandshake, OSError, TimeoutError) as error:
        raise _OverError(0, plain(reason(error))) from error


def _send(socket: ClientConnection, text: str) -> None:
    from websockets.exceptions import ConnectionClosed

    try:
        socket.send(text)
    except ConnectionClosed as error:
        raise _closed(error) from error


def _frame(socket: ClientConnection, seconds: float) -> str | None:
    """The next frame, None where none came for so long. Raises _OverError."""
    from websockets.exceptions import ConnectionClosed

    try:
        found = socket.recv(timeout=seconds)
    except TimeoutError:
        return None
    except ConnectionClosed as error:
        raise _closed(error) from error
    return found if isinstance(found, str) else found.decode("utf-8", "replace")


def _closed(error: ConnectionClosed) -> _OverError:
    closing = error.rcvd
    if closing is None:
        return _OverError(0, "the connection was cut")
    return _OverError(closing.code, f"it was closed with {closing.code} {plain(closing.reason)}".strip())


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    """The same trust as of all other requests: the configuration's, the environment's, or that of certifi."""
    settings = requests.Session().merge_environment_settings(endpoint.host, {}, None, endpoint.verify, endpoint.cert)
    verify, cert = settings["verify"], settings["cert"]
    trusted = Path(verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH)
    folder, file = (trusted, None) if trusted.is_dir() else (None, trusted)
    context = ssl.create_default_context(capath=folder, cafile=file)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    return context
