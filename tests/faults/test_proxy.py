"""The fault proxy does what it says, against a small server that counts what reaches it."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .proxy import (
    Answer,
    Proxy,
    Request,
    busy_until,
    cut_after,
    cut_before,
    cut_body,
    locked,
    on,
    slow,
    status,
    trickle,
    twice,
)


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    heard: list[bytes]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.heard.append(body)
        text = b"echo:" + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Header", "kept")
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET = do_PUT = answer

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def heard() -> list[bytes]:
    """The bodies that reached the server."""
    return []


@pytest.fixture
def proxy(heard: list[bytes]) -> Iterator[Proxy]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Echo", (_Echo,), {"heard": heard}))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    with Proxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
        yield proxy
    server.shutdown()
    server.server_close()


def ask(
    proxy: Proxy, method: str = "POST", path: str = "/api/2.0/mlflow/runs/create", body: bytes = b"0123456789"
) -> Answer:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return Answer(response.status, response.getheaders(), response.read())
    finally:
        connection.close()


def test_without_rules_everything_passes(proxy: Proxy, heard: list[bytes]) -> None:
    answer = ask(proxy)
    assert (answer.status, answer.body, heard) == (200, b"echo:0123456789", [b"0123456789"])
    assert ("X-Header", "kept") in answer.headers


def test_a_chunked_body_passes(proxy: Proxy, heard: list[bytes]) -> None:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    connection.request(
        "PUT", "/x", iter([b"ab", b"", b"c" * 70_000]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert connection.getresponse().read() == b"echo:ab" + b"c" * 70_000
    connection.close()
    assert heard == [b"ab" + b"c" * 70_000]


def test_a_connection_serves_many_requests(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    started = time.monotonic()
    for number in range(50):
        connection.request("POST", "/x", str(number))
        assert connection.getresponse().read() == f"echo:{number}".encode()
    connection.close()
    assert time.monotonic() - started < 1.5


def test_busy_answers_carry_retry_after_and_never_reach_the_server(proxy: Proxy, heard: list[bytes]) -> None:
    proxy.add(status(429, retry_after="2"), on("POST", "runs/create"))
    proxy.add(busy_until(5), on("POST", "runs/create"))
    first, second, third = ask(proxy), ask(proxy), ask(proxy)
    assert (first.status, second.status, third.status) == (429, 429, 200)
    assert dict(first.headers)["Retry-After"] == "2"
    wait = parsedate_to_datetime(dict(second.headers)["Retry-After"]).timestamp() - time.time()
    assert 3 < wait <= 5
    assert len(heard) == 1


def test_a_locked_database_is_a_503_with_mlflows_document(proxy: Proxy) -> None:
    proxy.add(locked())
    answer = ask(proxy)
    assert answer.status == 503
    assert json.loads(answer.body)["error_code"] == "TEMPORARILY_UNAVAILABLE"


def test_a_cut_before_the_server_leaves_nothing_there(proxy: Proxy, heard: list[bytes]) -> None:
    proxy.add(cut_before())
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy)
    assert heard == []


def test_a_cut_after_the_server_hides_that_the_work_is_done(proxy: Proxy, heard: list[bytes]) -> None:
    proxy.add(cut_after())
    with pytest.raises(http.client.RemoteDisconnected):
        ask(proxy)
    assert heard == [b"0123456789"]


def test_a_cut_in_the_body_gives_half_of_it(proxy: Proxy) -> None:
    proxy.add(cut_body())
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(proxy)
    assert caught.value.partial == b"echo:01"


def test_a_trickle_is_whole_but_late(proxy: Proxy) -> None:
    proxy.add(trickle(0.4, pieces=4))
    started = time.monotonic()
    assert ask(proxy).body == b"echo:0123456789"
    assert time.monotonic() - started >= 0.4


def test_a_request_delivered_twice_is_done_twice_and_answered_once(proxy: Proxy, heard: list[bytes]) -> None:
    proxy.add(twice())
    assert ask(proxy).status == 200
    assert len(heard) == 2
    assert proxy.count() == 1


def test_rules_select_by_method_route_body_and_count(proxy: Proxy) -> None:
    proxy.add(status(500), on("POST", "runs/create", "^0"), skip=1, times=2)
    proxy.add(status(501), on(route=r"history\?run_id=abc"), times=None)
    proxy.add(status(502), on(body='"name": "x"'))
    proxy.add(status(504), lambda request: request.method == "PUT")
    assert [ask(proxy).status for _ in range(4)] == [200, 500, 500, 200]
    histories = [ask(proxy, path=f"/api/2.0/mlflow/metrics/history?run_id={run}") for run in ("abc", "d", "abc")]
    assert [answer.status for answer in histories] == [501, 200, 501]
    assert ask(proxy, body=b'{"name": "x"}').status == 502
    assert ask(proxy, "PUT").status == 504


def test_requests_are_counted_by_route_without_names(proxy: Proxy) -> None:
    ask(proxy, "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id=1")
    ask(proxy, "PUT", "/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/a.txt")
    ask(proxy, "PUT", "/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/b.txt")
    assert proxy.counts() == {("GET", "metrics/get-history-bulk"): 1, ("PUT", "mlflow-artifacts/artifacts"): 2}
    assert proxy.count("PUT") == 2
    proxy.clear()
    assert proxy.count() == 0


def test_the_most_requests_in_flight_are_counted(proxy: Proxy) -> None:
    proxy.add(slow(0.3), times=None)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, proxy) for _ in range(4)]
        assert proxy.wait_for(4, "POST", seconds=5)
        assert [one.result().status for one in asked] == [200] * 4
    proxy.wait_idle()
    assert proxy.most_in_flight == 4
    assert not proxy.wait_for(5, seconds=0.1)


def test_a_dead_server_cuts_the_connection() -> None:
    with Proxy("http://127.0.0.1:9") as proxy, pytest.raises(http.client.RemoteDisconnected):
        ask(proxy)


def test_a_route_has_no_prefix() -> None:
    def route(target: str) -> str:
        return Request(0, "GET", target, b"", [], 0.0).route

    assert route("/api/3.0/mlflow/server-info") == "server-info"
    assert route("/api/2.0/mlflow/logged-models/m-1") == "logged-models"
    assert route("/version?x=1") == "/version"
