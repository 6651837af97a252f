"""A loopback HTTP proxy in front of a real MLflow server that can be told to misbehave.

    with Proxy("http://127.0.0.1:5000") as proxy:
        proxy.add(cut_after(), on("POST", "runs/create"))  # the first such request fails, the others pass
        proxy.add(status(429, retry_after="1"), times=3)   # the next three requests, whatever they are
        ...
        assert proxy.count("POST", "runs/create") == 2

Bodies are held in memory: the proxy is for tests with small data.
"""

import contextlib
import http.client
import json
import re
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "expect", "upgrade", "te"}
_PREFIX = re.compile(r"^/(ajax-)?api/\d\.\d/(mlflow/)?")
_NAMED_BY_PATH = re.compile(r"^(mlflow-artifacts/(?:artifacts|mpu/\w+|presigned)|logged-models|traces)/.*")


@dataclass(frozen=True)
class Request:
    """One request as the proxy saw it; `started` is a reading of `time.monotonic`, in seconds."""

    number: int
    method: str
    target: str
    body: bytes
    headers: list[tuple[str, str]] = field(repr=False)
    started: float

    @property
    def route(self) -> str:
        """The path below the API prefix, without query and names: `runs/create`, `mlflow-artifacts/artifacts`."""
        return _NAMED_BY_PATH.sub(r"\1", _PREFIX.sub("", self.target.partition("?")[0]))


@dataclass(frozen=True)
class Answer:
    """What the server, or a fault in its place, answers."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Exchange:
    """One request on its way: what a fault can do with it."""

    def __init__(self, handler: "_Handler", request: Request) -> None:
        self._handler = handler
        self.request = request

    def forward(self) -> Answer:
        """Let the server do the work and return its answer."""
        return self._handler.ask_server(self.request)

    def send(self, answer: Answer, pieces: int = 1, seconds: float = 0.0) -> None:
        """Send the answer, its body in `pieces` spread over `seconds`."""
        head = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}"]
        head += [f"{name}: {value}" for name, value in answer.headers if name.lower() not in _HOP_BY_HOP]
        head.append(f"Content-Length: {self._length(answer)}")
        wire = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        body = b"" if self.request.method == "HEAD" else answer.body
        size = max(1, -(-len(body) // pieces))
        self._handler.wfile.write(wire + (body if pieces == 1 else b""))
        for start in range(0, len(body) if pieces > 1 else 0, size):
            time.sleep(seconds / pieces)
            self._handler.wfile.write(body[start : start + size])

    def cut(self, answer: Answer | None = None) -> None:
        """Drop the connection: at once, or in the middle of the body of `answer`."""
        if answer is not None:
            head = f"HTTP/1.1 {answer.status} OK\r\nContent-Length: {max(2, len(answer.body))}\r\n\r\n"
            self._handler.wfile.write(head.encode() + answer.body[: len(answer.body) // 2])
        self._handler.close_connection = True
        with contextlib.suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)

    def _length(self, answer: Answer) -> str:
        told = [value for name, value in answer.headers if name.lower() == "content-length"]
        return told[0] if self.request.method == "HEAD" and told else str(len(answer.body))


Fault = Callable[[Exchange], None]
Matches = Callable[[Request], bool]


def on(method: str = "", route: str = "", body: str = "") -> "Matches":
    """Which requests: `route` and `body` are regular expressions, searched in path and query, and in the body."""

    def matches(request: Request) -> bool:
        text = request.body.decode("utf-8", "replace")
        path = _PREFIX.sub("", request.target)
        return method in ("", request.method) and bool(re.search(route, path) and re.search(body, text))

    return matches


def status(code: int, error: str = "TEMPORARILY_UNAVAILABLE", message: str = "fault", retry_after: str = "") -> Fault:
    """Answer `code` with MLflow's error document, without asking the server. `retry_after` goes out as it is."""
    headers = [("Content-Type", "application/json"), *([("Retry-After", retry_after)] if retry_after else [])]
    body = json.dumps({"error_code": error, "message": message}).encode()
    return lambda exchange: exchange.send(Answer(code, headers, body))


def busy_until(seconds: float) -> Fault:
    """429 with a Retry-After that is an HTTP date `seconds` from now (the format knows whole seconds only)."""

    def fault(exchange: Exchange) -> None:
        when = formatdate(time.time() + seconds, usegmt=True)
        status(429, "REQUEST_LIMIT_EXCEEDED", "slow down", when)(exchange)

    return fault


def locked() -> Fault:
    """What MLflow answers when SQLite is locked by another writer."""
    return status(503, "TEMPORARILY_UNAVAILABLE", "(sqlite3.OperationalError) database is locked")


def cut_before() -> Fault:
    """Drop the connection before the server hears of the request."""
    return lambda exchange: exchange.cut()


def cut_after() -> Fault:
    """Let the server do the work, then drop the connection before the client hears of it."""

    def fault(exchange: Exchange) -> None:
        exchange.forward()
        exchange.cut()

    return fault


def cut_body() -> Fault:
    """Drop the connection in the middle of the answer's body."""
    return lambda exchange: exchange.cut(exchange.forward())


def trickle(seconds: float, pieces: int = 10) -> Fault:
    """Send the answer's body in small pieces."""
    return lambda exchange: exchange.send(exchange.forward(), pieces, seconds)


def slow(seconds: float) -> Fault:
    """Wait, then pass the request on."""

    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.send(exchange.forward())

    return fault


def twice() -> Fault:
    """Deliver the request two times, as a proxy that retries by itself does; the client hears the first answer."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.forward()
        exchange.send(answer)

    return fault


@dataclass
class _Rule:
    fault: Fault
    matches: Matches
    skip: int
    left: int | None


class Proxy:
    """Forwards everything to `target` until a rule says otherwise. Thread-safe; use as a context manager.

    `seen` are all requests since the last `clear`, `struck` how many of them met a fault.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.seen: list[Request] = []
        self.most_in_flight = 0
        self.struck = 0
        self._in_flight = 0
        self._rules: list[_Rule] = []
        self._changed = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The address to give to the client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, fault: Fault, which: Matches | None = None, times: int | None = 1, skip: int = 0) -> None:
        """Apply `fault` to `times` requests (None: all) after the first `skip` that match."""
        with self._changed:
            self._rules.append(_Rule(fault, which or on(), skip, times))

    def clear(self) -> None:
        """Forget all rules and all requests seen."""
        with self._changed:
            self._rules.clear()
            self.seen.clear()
            self.most_in_flight = self.struck = 0

    def counts(self) -> Counter[tuple[str, str]]:
        """Requests by (method, route)."""
        with self._changed:
            return Counter((request.method, request.route) for request in self.seen)

    def count(self, method: str = "", route: str = "") -> int:
        """Requests seen whose method is `method` and whose route matches the regular expression `route`."""
        return sum(n for (verb, path), n in self.counts().items() if method in ("", verb) and re.search(route, path))

    def wait_for(self, number: int, method: str = "", route: str = "", *, seconds: float = 60) -> bool:
        """Wait until `number` such requests have come in; False when they have not after `seconds`."""
        ends = time.monotonic() + seconds
        while self.count(method, route) < number:
            with self._changed:
                self._changed.wait(0.05)
            if time.monotonic() > ends:
                return False
        return True

    def wait_idle(self, seconds: float = 30) -> None:
        """Wait until no request is on its way: a killed client leaves some behind."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0, seconds)

    @contextlib.contextmanager
    def handling(self, handler: "_Handler", body: bytes) -> Iterator[tuple[Request, Fault | None]]:
        """Book a request that came in; gives it and the fault to apply."""
        with self._changed:
            headers = list(handler.headers.items())
            request = Request(len(self.seen), handler.command, handler.path, body, headers, time.monotonic())
            self.seen.append(request)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            fault = self._fault(request)
            self._changed.notify_all()
        try:
            yield request, fault
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def _fault(self, request: Request) -> Fault | None:
        for rule in self._rules:
            if rule.left != 0 and rule.matches(request):
                if rule.skip:
                    rule.skip -= 1
                    continue
                rule.left = None if rule.left is None else rule.left - 1
                self.struck += 1
                return rule.fault
        return None


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        self._upstream: http.client.HTTPConnection | None = None
        self._used = 0.0
        with contextlib.suppress(OSError):
            super().handle()
        if self._upstream is not None:
            self._upstream.close()

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""

    def handle_any(self) -> None:
        body = self._body()
        with self.server.proxy.handling(self, body) as (request, fault):
            exchange = Exchange(self, request)
            if fault is None:
                exchange.send(exchange.forward())
            else:
                fault(exchange)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any

    def ask_server(self, request: Request) -> Answer:
        upstream = self._connection()
        headers = {name: value for name, value in request.headers if name.lower() not in _HOP_BY_HOP}
        upstream.request(request.method, request.target, request.body or None, headers)
        if hasattr(socket, "TCP_QUICKACK") and upstream.sock is not None:
            # Without it a server that does not set TCP_NODELAY costs 44 ms per request.
            upstream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        response = upstream.getresponse()
        answer = Answer(response.status, response.getheaders(), response.read())
        self._used = time.monotonic()
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        # The server closes a connection idle for 5 s; a request must never meet that moment, or it would have to
        # be sent again and might be done twice.
        if self._upstream is None or time.monotonic() - self._used > 2:
            if self._upstream is not None:
                self._upstream.close()
            target = self.server.proxy.target
            self._upstream = http.client.HTTPConnection(target.hostname or "", target.port, timeout=120)
        return self._upstream

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body
