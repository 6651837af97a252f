"""What tests of looking at an app share: an app that is an MLflow server, and the tool of whoever may manage it."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import Tool
from tests.databricks.app_proxy import oauth
from tests.databricks.state import Account, Workspace


def tool_of(run_tool: Tool, account: Account, workspace: Workspace, *groups: str) -> Tool:
    """The tool of a service principal, logged in by OAuth."""
    return Tool(run_tool.home, {**run_tool.env, **oauth(account, workspace, *groups)})


def personal(run_tool: Tool, workspace: Workspace, account: Account) -> Tool:
    """The tool of the admin, by a personal token."""
    env = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    env["DATABRICKS_CONFIG_FILE"] = str(account.config_file.with_name("none"))
    return Tool(run_tool.home, {**run_tool.env, **env})


def status_document(**changed: Any) -> str:
    """The status document of a runtime on SQLite, written this moment."""
    now = datetime.now(timezone.utc)
    document: Mapping[str, Any] = {
        "app": "mlflow",
        "backend": "sqlite",
        "state": "serving",
        "message": "",
        "mlflow": "3.17.2",
        "package": "0.1.0",
        "restarts": 0,
        "supervised": True,
        "loss_seconds": 12.5,
        "snapshot_seconds": 30.0,
        "snapshot": {"generation": "G7", "time": (now - timedelta(minutes=9)).isoformat(), "age_seconds": 540.0},
        "database": {"bytes": 1048576, "free_bytes": 5 * 1024**3},
        "notes": ["a note"],
    }
    return json.dumps({**document, **changed})


class Relay:
    """A port that passes everything on to an address, until it is cut: no goodbye, as a cable that is pulled."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[socket.socket] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._address)
                self._pairs += [near, far]
                self.connections += 1
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()

    def cut(self) -> None:
        """End every connection there is."""
        for each in self._pairs:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._pairs.clear()

    def close(self) -> None:
        """And take no more."""
        self._listener.close()
        self.cut()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relayed(url: str) -> Iterator[Relay]:
    """A relay before what listens at a URL."""
    parts = urlsplit(url)
    relay = Relay((parts.hostname or "", parts.port or 80))
    try:
        yield relay
    finally:
        relay.close()
