"""What goes along when a server's answer leads to another host."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mlflow_migration.server.address import Credentials
from mlflow_migration.server.rest import Rest

BEARER = "dapi0123"


@contextmanager
def answering(seen: list[dict[str, str]], location: str = "") -> Iterator[str]:
    """A server that leads to `location`, or answers itself; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            moved = location and not location.endswith(self.path)
            self.send_response(307 if moved else 200)
            if moved:
                self.send_header("Location", location)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Nothing: the test looks at what was asked."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_another_host_gets_nothing_that_was_meant_for_the_first() -> None:
    here: list[dict[str, str]] = []
    there: list[dict[str, str]] = []
    with answering(there) as other, answering(here, other + "/elsewhere") as first:
        rest = Rest(first, Credentials(token=BEARER, workspace="finance"), workers=1, patience=5)
        assert rest.call("GET", "/api/2.0/mlflow/runs/get") == {}
        rest.close()
    assert here[0]["authorization"] == f"Bearer {BEARER}"
    assert here[0]["x-mlflow-workspace"] == "finance"
    assert there[0].keys() <= {"accept", "accept-encoding", "connection", "host", "user-agent"}, there


def test_the_same_host_gets_everything_again() -> None:
    seen: list[dict[str, str]] = []
    with answering(seen, "/new") as first:
        rest = Rest(first, Credentials(token=BEARER), workers=1, patience=5)
        assert rest.call("GET", "/old") == {}
        rest.close()
    assert [each["authorization"] for each in seen] == [f"Bearer {BEARER}"] * 2
