"""What answers while there is no server yet: the status page, and to all else why not."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mlflow_migration.apps.runtime import page
from mlflow_migration.apps.runtime.gate import IDENTITY_HEADERS
from mlflow_migration.apps.runtime.settings import Settings, SettingsError
from mlflow_migration.apps.runtime.status import Status


@contextmanager
def answering(settings: Settings, state: Status) -> Iterator[None]:
    """Answer on the app's port for the length of the block: 503 for all but the status page, /health too.

    Raises SettingsError where the port is taken.
    """
    try:
        server = ThreadingHTTPServer((settings.host, settings.port), _handler(settings, state))
    except OSError as error:
        raise SettingsError(f"can't listen on {settings.host}:{settings.port}: {error.strerror or error}") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True, name="waiting")
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _handler(settings: Settings, state: Status) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # What was sent along is left unread, so the connection can't be used again.
            self.close_connection = True
            document = state.document()
            if settings.require_identity and not _signed_in(self.headers) and self.path != "/health":
                self._answer(403, "This app answers only requests that come through its platform, signed in.")
            elif self.path == f"{page.PATH}.json":
                self._answer(200, json.dumps(document, indent=1), "application/json")
            elif self.path == page.PATH:
                self._answer(200, page.render(document), "text/html; charset=utf-8")
            else:
                self._answer(503, f"{document.get('state')}: {document.get('message') or 'MLflow is starting'}\n")

        do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing: whoever waits asks every second."""

        def _answer(self, code: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            if code == HTTPStatus.SERVICE_UNAVAILABLE:
                self.send_header("Retry-After", "5")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _signed_in(headers: Message) -> bool:
    return any(headers.get(name) for name in IDENTITY_HEADERS)
