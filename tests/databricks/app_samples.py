"""Apps for tests: little ones in plain Python, put into the workspace and deployed by the real SDK."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import requests
import yaml
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.service.apps import App, AppDeployment
from databricks.sdk.service.workspace import ImportFormat

from tests.databricks.clients import RETRY_SECONDS
from tests.databricks.state import ADMIN, Workspace

Told = TypeVar("Told")
PATIENCE = timedelta(seconds=120)
SOURCE = f"/Workspace/Users/{ADMIN}/app"
# Tells its environment, the request's headers and its working folder; writes what it is told to its disk.
SERVER = """
import http.server, json, os, pathlib, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(7)
        if self.path == "/half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            os._exit(7)
        if self.path.startswith("/keep/"):
            pathlib.Path("kept").write_text(self.path)
        told = {"environment": dict(os.environ), "headers": dict(self.headers), "argv": sys.argv[1:], "path": self.path}
        told["files"] = sorted(str(one) for one in pathlib.Path(".").iterdir())
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("serving", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["DATABRICKS_APP_PORT"])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class Code:
    """An app's source code: its files and, unless that is among them, its `app.yaml`."""

    files: Mapping[str, str | bytes] = field(default_factory=lambda: {"app.py": SERVER})
    command: tuple[str, ...] = ("python", "app.py")
    env: tuple[Mapping[str, str], ...] = ()

    @property
    def all(self) -> dict[str, bytes]:
        """Every file's content."""
        told = yaml.safe_dump({"command": [*self.command], "env": [dict(one) for one in self.env]})
        return {"app.yaml": told.encode()} | {
            name: text.encode() if isinstance(text, str) else text for name, text in self.files.items()
        }


def upload(client: WorkspaceClient, code: Code, path: str = SOURCE) -> None:
    """Put the code into the workspace."""
    client.workspace.mkdirs(path)
    for name, content in code.all.items():
        client.workspace.upload(f"{path}/{name}", content, format=ImportFormat.RAW, overwrite=True)


def deployed(client: WorkspaceClient, code: Code, app: App | None = None) -> App:
    """The app, made if it isn't there, after one more deployment of the code."""
    wanted = app or App(name="little")
    upload(client, code)
    if wanted.name not in [one.name for one in client.apps.list()]:
        client.apps.create_and_wait(wanted, timeout=PATIENCE)
    client.apps.deploy_and_wait(wanted.name, AppDeployment(source_code_path=SOURCE), timeout=PATIENCE)
    return client.apps.get(wanted.name)


def bearer(workspace: Workspace, principal: str = ADMIN) -> dict[str, str]:
    """What a plain HTTP client sends with a new OAuth token."""
    return {"Authorization": f"Bearer {workspace.account.issue(principal)[0]}"}


def get(workspace: Workspace, app: App, path: str = "/", principal: str = ADMIN) -> requests.Response:
    """The app's answer to that principal, asked for until it listens."""
    return until(
        lambda: requests.get(f"{app.url}{path}", headers=bearer(workspace, principal), timeout=30),
        lambda answer: "does not listen" not in answer.text,
    )


def until(ask: Callable[[], Told], good: Callable[[Told], bool], seconds: float = 60) -> Told:
    """What `ask` tells as soon as it is good; fails the test when it never is."""
    deadline = time.monotonic() + seconds
    while True:
        told = ask()
        if good(told):
            return told
        assert time.monotonic() < deadline, f"still {told}"
        time.sleep(0.1)


def as_app(workspace: Workspace, app: App) -> WorkspaceClient:
    """A client with the credentials of the app's service principal."""
    client = workspace.account.clients[app.service_principal_client_id or ""]
    return WorkspaceClient(
        config=Config(
            host=workspace.url,
            client_id=client.client_id,
            client_secret=client.client_secret,
            retry_timeout_seconds=RETRY_SECONDS,
        )
    )
