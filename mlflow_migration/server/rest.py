"""One HTTP session per server: the only place that sends requests, and the only one that repeats them."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, get_netrc_auth

from mlflow_migration.errors import AccessError, ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.address import DEFAULT_WORKSPACE, Credentials, Endpoint, printable, resolve
from mlflow_migration.server.answers import TransientError, error_in, plain, reason, retry_after, storage_error_in
from mlflow_migration.server.pace import Pace

log = logging.getLogger(__name__)

OVERLOADED = frozenset({429, 503})
OUTAGE = frozenset({429, 502, 503, 504})
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
DISABLED = "FEATURE_DISABLED"
"""Comes as a 500 from a server that can't do a thing at all: asking again is of no use."""
NOT_LOGGED_IN = "403"
"""What Databricks answers, as a 403, to a token it doesn't take; a right that lacks is PERMISSION_DENIED."""
CONNECT_SECONDS = 10
READ_SECONDS = 300
PATIENCE = 120.0
FIRST_CONTACT = 5.0
TRIES_500 = 4
"""MLflow answers 500 also for what never succeeds (INVALID_STATE, INTERNAL_ERROR), so it gets few tries."""

FIRST_WRITERS = 2
HEADERS_SECONDS = 60.0
OUTAGES = 3
"""So many requests given up with none answered between them, and the server counts as down."""

SEND_BLOCK = 1 << 17
FOR_ANYBODY = frozenset({"accept", "accept-encoding", "range", "user-agent"})
"""Headers that another host may see."""

QUICKACK = getattr(socket, "TCP_QUICKACK", None)

Look = Callable[[], "Json | None"]


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: Any = None
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False

    def writes(self) -> bool:
        """Whether it changes something: MLflow's searches are sent by POST too."""
        return self.method != "GET" and not self.path.endswith(("/search", "/batchGetInfos", "/create-download-url"))

    @property
    def outside(self) -> str:
        """The host of a signed address, which gets no credentials; "" for a path of the server's own."""
        return urlsplit(self.path).netloc if self.path.startswith(("http://", "https://")) else ""


def _acknowledge(connection: Any) -> None:
    # A server without TCP_NODELAY holds its last segment until the one before is acknowledged, and the kernel delays
    # that by 40 ms unless told before each read: a `mlflow server` with several workers answers 9 times faster so.
    if QUICKACK is not None and isinstance(connection.sock, socket.socket):
        connection.sock.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)


class _Http(urllib3.connection.HTTPConnection):
    def getresponse(self) -> Any:
        _acknowledge(self)
        return super().getresponse()


class _Https(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> Any:
        _acknowledge(self)
        return super().getresponse()


class _HttpPool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _Https


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, blocksize=SEND_BLOCK)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class _Session(requests.Session):
    """Follows an answer that leads to another host without what is meant for this one alone: requests itself takes
    away no more than Authorization, and tokens of Azure and Google have headers of their own."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        before, after = urlsplit(str(response.request.url)), urlsplit(str(prepared_request.url))
        if before.netloc == after.netloc and after.scheme in {before.scheme, "https"}:
            return
        for name in [name for name in prepared_request.headers if name.lower() not in FOR_ANYBODY]:
            del prepared_request.headers[name]


class Rest:
    """The session of one server. Safe to share between threads."""

    def __init__(
        self,
        uri: str,
        credentials: Credentials,
        workers: int,
        patience: float = PATIENCE,
        endpoint: Endpoint | None = None,
    ) -> None:
        self.patience = patience
        self._silence = patience
        self.requests = 0
        self._reading = Pace(most=workers, begin=workers, seeks=False)
        self._writing = Pace(most=workers, begin=FIRST_WRITERS, seeks=True)
        self._endpoint = resolve(uri, credentials) if endpoint is None else endpoint
        self.dialect = self._endpoint.dialect
        self.login = self._endpoint.login
        self.folder = self._endpoint.folder
        self.workspace_id = self._endpoint.workspace_id
        self.typed = printable(uri)
        self.address = self._endpoint.address or self.typed
        self.workspace = self._endpoint.workspace if self._endpoint.workspace != DEFAULT_WORKSPACE else ""
        if self.workspace:
            # Names are unique within a workspace only, so that it is part of where a thing came from.
            self.address += f"#{self.workspace}"
            self.typed += f"#{self.workspace}"
        self._session = self._open_session(workers)
        self._headers: dict[str, str] = {}
        self._headers_until = 0.0
        self._given_up = 0
        self._lock = threading.Lock()

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """At the first contact a person waits: a server that isn't there is said so soon."""
        self._silence = FIRST_CONTACT
        try:
            yield
        finally:
            self._silence = self.patience

    def close(self) -> None:
        self._session.close()

    def call(
        self, method: str, path: str, body: Json | None = None, *, query: Any = None, look: Look | None = None
    ) -> Json:
        """One API call, answered by JSON.

        `body` is sent as JSON; `query` are URL parameters. A call that makes something new gives `look`: before it is
        repeated, `look()` is asked whether the first request arrived after all, and its answer, if any, is taken.
        Raises ServerError (MLflow's answer), ForbiddenError (403), AccessError (no server, 401, not MLflow).
        """
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}

        def once() -> Json:
            with self._send(_Request(method, path, query, data, headers)) as response:
                return self._json(response)

        answer: Json = self._repeat(once, look)
        return answer

    def once(self, method: str, path: str, body: Json | None = None, *, query: Any = None) -> Json:
        """As `call`, but sent only once: for what isn't known to be harmless when it arrives twice."""
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        return self._json(self._exchange(_Request(method, path, query, data, headers)))

    def upload(
        self, method: str, path: str, body: Callable[[], Any], size: int, headers: Mapping[str, str] | None = None
    ) -> Mapping[str, str]:
        """Send a body of `size` bytes; the headers of the answer. `body()` opens it anew for each try, as a context
        manager. `path` may be a signed address of another host, which is sent `headers` and no credentials."""
        sent = {"Content-Type": "application/octet-stream"} if headers is None else headers

        def once() -> Mapping[str, str]:
            with body() as data, self._send(_Request(method, path, None, data if size else b"", sent)) as response:
                return response.headers

        answer: Mapping[str, str] = self._repeat(once, None)
        return answer

    def send(self, path: str, data: bytes, headers: Mapping[str, str]) -> None:
        """POST a body of another form than JSON, with headers of its own; the answer's body is not looked at."""

        def once() -> None:
            with self._send(_Request("POST", path, None, data, headers)):
                pass

        self._repeat(once, None)

    def exchange(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> requests.Response:
        """One request as it is given, and its whole answer; sent again only where its token had ended.

        Raises ServerError, ForbiddenError, AccessError, as `call`.
        """
        return self._exchange(_Request(method, path, None, data, headers))

    def _exchange(self, request: _Request) -> requests.Response:
        try:
            try:
                with self._send(request) as response:
                    return response
            except TransientError as error:
                if error.status != HTTPStatus.UNAUTHORIZED:
                    raise
            # A token that had expired: the request was refused, and never reached what it asks for.
            with self._send(request) as response:
                return response
        except TransientError as error:
            if error.status in {0, HTTPStatus.UNAUTHORIZED}:
                raise self._give_up(error) from error
            raise ServerError(f"{self.address} answered {error.status}", str(error), error.status, "") from error

    def open(
        self, path: str, query: Any = None, offset: int = 0, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """GET a body to be read by the caller, from `offset` bytes on where the server can (status 206). `path` may be
        a signed address of another host, which is sent `headers` and no credentials."""
        headers = {"Accept-Encoding": "identity", **(headers or {})}
        if offset:
            headers["Range"] = f"bytes={offset}-"

        def once() -> requests.Response:
            with self._send(_Request("GET", path, query, None, headers, keep=True)) as response:
                return response

        answer: requests.Response = self._repeat(once, None)
        return answer

    def text(self, path: str) -> str:
        """The body of a GET, decoded as UTF-8."""

        def once() -> str:
            with self._send(_Request("GET", path)) as response:
                return response.content.decode("utf-8", "replace")

        return str(self._repeat(once, None))

    @contextmanager
    def _send(self, request: _Request) -> Iterator[requests.Response]:
        """One request, never repeated. The response is closed afterwards unless it is to be kept."""
        with (self._writing if request.writes() else self._reading).turn():
            self.requests += 1
            settings: dict[str, Any] = {**self._transport, "stream": request.keep}
            if request.outside:
                settings.update({"proxies": get_environ_proxies(request.path), "cert": None})
            follows = request.method == "GET" and bool(request.outside or not self._endpoint.stays)
            try:
                response = self._session.send(
                    self._prepare(request),
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                    allow_redirects=follows,
                    **settings,
                )
                self._check(response, request.outside)
            except requests.exceptions.InvalidURL as error:
                raise self._unreachable(str(error)) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                if request.outside:
                    raise TransientError(0, reason(error, named=False), outside=request.outside) from None
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise self._unreachable(reason(error)) from error
                raise TransientError(0, reason(error)) from error
            try:
                yield response
            finally:
                if not request.keep:
                    response.close()

    def _prepare(self, request: _Request) -> requests.PreparedRequest:
        # Without the session's merging of settings, which are the same for each request.
        prepared = requests.PreparedRequest()
        if request.outside:
            prepared.prepare(request.method, request.path, headers=dict(request.headers), data=request.data)
            return prepared
        prepared.prepare(
            request.method,
            self._endpoint.host + request.path,
            headers={**self._session.headers, **self._auth_headers(), **request.headers},
            params=request.query,
            data=request.data,
            auth=self._session.auth,
        )
        return prepared

    def _open_session(self, workers: int) -> requests.Session:
        session = _Session()
        adapter = _Adapter(pool_connections=2, pool_maxsize=workers + 2, max_retries=0)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        host = self._endpoint.host
        # The environment (proxies, netrc, CA bundle) is read once and not again for each request.
        session.proxies.update(get_environ_proxies(host))
        session.auth = self._endpoint.auth or (None if self._auth_once() else get_netrc_auth(host))
        self._transport = session.merge_environment_settings(host, {}, None, self._endpoint.verify, self._endpoint.cert)
        session.trust_env = False
        return session

    def _auth_once(self) -> bool:
        return "Authorization" in self._endpoint.headers()

    def _auth_headers(self) -> dict[str, str]:
        with self._lock:
            # What renews its token looks at it each time.
            if time.monotonic() >= self._headers_until or self._endpoint.renew is not None:
                self._headers = self._endpoint.headers()
                self._headers_until = time.monotonic() + HEADERS_SECONDS
            return self._headers

    def _renewed(self, response: requests.Response) -> bool:
        """Whether there is another token than the one that was refused. Whoever comes first renews it."""
        if self._endpoint.renew is None:
            return False
        sent = response.request.headers.get("Authorization")
        with self._lock:
            if self._endpoint.headers().get("Authorization") == sent:
                self._endpoint.renew()
            return self._endpoint.headers().get("Authorization") != sent

    def _repeat(self, once: Callable[[], Any], look: Look | None) -> Any:
        # Nearly every request succeeds at once: only one that doesn't pays for the machinery of repeating.
        try:
            answer = once()
        except TransientError as error:
            answer = self._again(error, once, look)
        self._given_up = 0
        return answer

    def _again(self, first: TransientError, once: Callable[[], Any], look: Look | None) -> Any:
        """Repeat what failed once with `first`, which counts as the first attempt."""

        def attempt() -> Any:
            if retrying.statistics["attempt_number"] == 1:
                raise first
            found = look() if look is not None else None
            return once() if found is None else found

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=self._enough,
            wait=_wait,
            before_sleep=self._hold,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except TransientError as error:
            raise self._give_up(error) from error

    def _enough(self, state: tenacity.RetryCallState) -> bool:
        error = _error_of(state)
        if error.status == HTTPStatus.UNAUTHORIZED:
            return state.attempt_number > 1
        if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return state.attempt_number >= TRIES_500
        # Only a server that doesn't answer at all is given up soon; one that answers "busy" is there.
        patience = self.patience if error.status else min(self.patience, self._silence)
        return (state.seconds_since_start or 0.0) >= patience

    def _hold(self, state: tenacity.RetryCallState) -> None:
        error = _error_of(state)
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.info("%s: %s; again in %.1f s", self.address, error, seconds)
        if error.status in OVERLOADED or "database is locked" in str(error):
            for pace in (self._reading, self._writing):
                pace.slow_down(seconds if error.retry_after is not None else 0.0)

    def _give_up(self, error: TransientError) -> Exception:
        if error.outside:
            return ServerError(f"{error.outside} answered {error.status or 'nothing'}", str(error), error.status, "")
        if error.status == 0:
            return self._unreachable(str(error))
        if error.status == HTTPStatus.UNAUTHORIZED:
            return self._refused(str(error))
        self._given_up += error.status in OUTAGE
        if self._given_up >= OUTAGES:
            return AccessError(
                f"{self.address} keeps answering {error.status}",
                str(error),
                "when the server is well again, type the same command: it goes on where it stopped",
            )
        return ServerError(f"{self.address} answered {error.status} each time", str(error), error.status, "")

    def _unreachable(self, reason: str) -> AccessError:
        return AccessError(
            f"can't reach {self.address}",
            plain(reason),
            f"mlflow-migration doctor {self.typed}, once it is running",
        )

    def _refused(self, message: str) -> AccessError:
        return AccessError(f"{self.address} refuses these credentials", message, self._endpoint.hint)

    def _check(self, response: requests.Response, outside: str) -> None:
        status = response.status_code
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return
        try:
            code, message = storage_error_in(response) if outside else error_in(response)
        finally:
            response.close()
        if status in TRANSIENT and code != DISABLED:
            raise TransientError(status, message, retry_after(response), outside)
        if outside:
            raise ServerError(f"{outside} answered {status}", message, status, code)
        if self._endpoint.stays and response.is_redirect:
            status, message = HTTPStatus.UNAUTHORIZED, "it answers that one has to log in"
        if status == HTTPStatus.UNAUTHORIZED or (self.dialect and code == NOT_LOGGED_IN):
            if self._renewed(response):
                raise TransientError(HTTPStatus.UNAUTHORIZED, message, 0.0)
            raise self._refused(message)
        if status == HTTPStatus.FORBIDDEN:
            raise ForbiddenError(f"{self.address} doesn't allow it", message, "ask for the right, then run it again")
        raise ServerError(f"{self.address} answered {status}", message, status, code)

    def _json(self, response: requests.Response) -> Json:
        try:
            answer = json.loads(response.content.decode("utf-8")) if response.content else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise AccessError(
                f"{self.address} isn't an MLflow server",
                f"{response.request.method} {response.request.path_url} was not answered by JSON",
                "check the address: it is the one `mlflow ui` opens, without a page's path",
            )
        return answer


def _error_of(state: tenacity.RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, TransientError):
        raise TypeError("only transient errors are repeated")
    return error


def _wait(state: tenacity.RetryCallState) -> float:
    error = _error_of(state)
    if error.retry_after is not None:
        return error.retry_after
    return tenacity.wait_exponential(multiplier=0.5, max=20)(state) + tenacity.wait_random(0, 0.5)(state)
