"""Servers with MLflow's own basic-auth."""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests import servers
from tests.servers import Options, Server


@dataclass(frozen=True)
class Guarded:
    """A server with users and workspaces; `admin` is (user, password)."""

    server: Server
    accounts: Path
    admin: tuple[str, str]

    def call(self, method: str, path: str, room: str = "default", /, **body: Any) -> Any:
        """One request of the administrator in a workspace; fails the test where it is refused."""
        headers = {"X-MLFLOW-WORKSPACE": room}
        answer = requests.request(
            method, self.server.url + path, auth=self.admin, headers=headers, json=body, timeout=60
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the database of users."""
        with contextlib.closing(sqlite3.connect(self.accounts)) as base:
            return base.execute(query, values).fetchall()


def guarded(folder: Path, template: Path) -> Guarded:
    """Start a server with one user, its administrator."""
    folder.mkdir(parents=True)
    admin = ("boss", f"Boss-of-{folder.name}-12345")
    settings = folder / "auth.ini"
    # A password is checked slowly on purpose; the cache keeps these tests short.
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = {admin[0]}\nadmin_password = {admin[1]}\nauth_cache_ttl_seconds = 600\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    env = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only-for-this-test",
        "MLFLOW_ENABLE_WORKSPACES": "true",
    }
    server = servers.start(folder, Options(template=template, app_name="basic-auth", env=env))
    return Guarded(server, folder / "auth.db", admin)
