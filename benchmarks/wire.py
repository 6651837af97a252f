"""The barest HTTP client that still keeps connections alive: the floor every other client stands on."""

import http.client
import json
import socket
import threading
from collections.abc import Mapping
from typing import Any

QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class Wire:
    """One kept connection per thread to one server."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.mine = threading.local()

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of the answer; `OSError` with the server's words when it is not a 2xx."""
        connection = self.connection()
        connection.request(method, path, body, headers or ({"Content-Type": "application/json"} if body else {}))
        # A server with several workers waits for the acknowledgement (Nagle), which Linux delays by 40 ms unless told.
        if QUICKACK is not None and connection.sock is not None:
            connection.sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
        response = connection.getresponse()
        answer = response.read()
        if not 200 <= response.status < 300:
            raise OSError(f"{method} {path}: {response.status} {answer[:200]!r}")
        return answer

    def json(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The answer as JSON."""
        return json.loads(self.send(method, path, body))

    def connection(self) -> http.client.HTTPConnection:
        """This thread's connection."""
        if not hasattr(self.mine, "connection"):
            self.mine.connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        found: http.client.HTTPConnection = self.mine.connection
        return found
