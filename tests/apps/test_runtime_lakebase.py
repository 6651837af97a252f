"""An app on a real PostgreSQL whose password changes while requests come."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest

from tests import postgres
from tests.apps.runtime import Writer, new_run, running, tags_of
from tests.postgres import Postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that asks the role `app` for its password, and the test for none."""
    with postgres.running() as server:
        with admin(server) as base:
            row = base.execute("SHOW hba_file").fetchone()
            assert row
            rules = Path(str(row[0]))
            rules.write_text("local all app scram-sha-256\n" + rules.read_text())
            base.execute("SELECT pg_reload_conf()")
            base.execute("CREATE ROLE app LOGIN")
        yield server


def admin(server: Postgres) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(server.address("postgres"), autocommit=True)


def rotate(server: Postgres) -> str:
    """A new password for the role; the old one is good for no new connection."""
    password = secrets.token_hex(12) + ":\\x"
    with admin(server) as base:
        base.execute(f"ALTER ROLE app PASSWORD '{password}'".encode())
    return password


def cut(server: Postgres) -> int:
    """End all connections of the role, so that each has to log in again; returns how many there were."""
    with admin(server) as base:
        rows = base.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'").fetchall()
    return len(rows)


def environment(server: Postgres, tmp_path: Path) -> dict[str, str]:
    name = server.database()
    with psycopg.connect(name, autocommit=True) as base:
        base.execute("CREATE SCHEMA mlflow AUTHORIZATION app")
    host = name.rpartition("?host=")[2]
    return {
        "MLFLOW_APP_BACKEND": "lakebase",
        "MLFLOW_APP_ARTIFACTS": str(tmp_path / "artifacts"),
        "MLFLOW_APP_SCHEMA": "mlflow",
        "MLFLOW_APP_DATABASE": name.partition("@/")[2].partition("?")[0],
        "PGHOST": host,
        "PGPORT": "5432",
        "PGUSER": "app",
        "PGSSLMODE": "disable",
    }


def test_a_password_that_is_rotated_under_load_fails_no_request_once_it_has_settled(
    tmp_path: Path, server: Postgres
) -> None:
    secret = tmp_path / "password"
    secret.write_text(rotate(server))
    env = environment(server, tmp_path) | {"MLFLOW_APP_DATABASE_PASSWORD_FILE": str(secret)}
    with running(tmp_path / "app", "", env) as app:
        app.serving()
        run = new_run(app)
        for _ in range(3):
            before = (app.state / "pgpass").read_text()
            with Writer(app, run):
                time.sleep(0.5)
                secret.write_text(rotate(server))
                deadline = time.monotonic() + 20
                while (app.state / "pgpass").read_text() == before:
                    assert time.monotonic() < deadline, app.text()[-2000:]
                    time.sleep(0.05)
            assert cut(server) > 0
            time.sleep(0.5)
            # Settled: all connections are new ones now. The pool tries its dead ones before it gives them out.
            with Writer(app, run) as after:
                time.sleep(2)
            assert after.refused == []
            assert len(after.acknowledged) > 5
        assert set(after.acknowledged) <= set(tags_of(app, run))
        password, log = secret.read_text(), app.text()
        assert password not in log
        assert (app.state / "pgpass").stat().st_mode & 0o077 == 0
        for pid in (app.process.pid, *app.server_pids()):
            assert password.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert password.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert app.stop()[0] == 0


@contextlib.contextmanager
def tokens(server: Postgres, seconds: float) -> Iterator[tuple[str, list[str]]]:
    """A workspace that gives out database tokens which are good for `seconds`; yields its address and what it gave."""
    given: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/api/2.0/postgres/credentials"
            assert asked == {"endpoint": "projects/p/branches/main/endpoints/e"}
            given.append(rotate(server))
            ends = datetime.now(timezone.utc) + timedelta(seconds=seconds)
            body = json.dumps({"token": given[-1], "expire_time": ends.isoformat().replace("+00:00", "Z")}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}", given
    finally:
        http.shutdown()
        http.server_close()


@pytest.mark.slow
def test_tokens_of_lakebase_are_renewed_at_half_their_life(tmp_path: Path, server: Postgres) -> None:
    with tokens(server, seconds=6) as (workspace, given):
        env = environment(server, tmp_path) | {
            "MLFLOW_APP_LAKEBASE_PROJECT": "p",
            "MLFLOW_APP_LAKEBASE_BRANCH": "main",
            "MLFLOW_APP_LAKEBASE_ENDPOINT": "e",
            "DATABRICKS_HOST": workspace,
            "DATABRICKS_TOKEN": "x",
        }
        with running(tmp_path / "app", "", env) as app:
            app.serving()
            run, count = new_run(app), len(given)
            time.sleep(7)
            assert len(given) >= count + 2
            cut(server)
            assert tags_of(app, run)
            assert not [token for token in given if token in app.text()]
            assert app.stop()[0] == 0


def test_a_database_that_does_not_answer_is_told_on_the_status_page(tmp_path: Path, server: Postgres) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong")
    env = environment(server, tmp_path) | {"MLFLOW_APP_DATABASE_PASSWORD_FILE": str(secret)}
    rotate(server)
    with running(tmp_path / "app", "", env) as app:
        told = app.until(lambda found: found["state"] == "refused")
        assert "password authentication failed" in told["message"]
        assert app.stop()[0] == 0


def test_a_missing_driver_is_told_before_anything_begins(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['psycopg2'] = None; "
    hidden += "import runpy; runpy.run_module('mlflow_migration.apps.runtime', run_name='__main__')"
    told = {"MLFLOW_APP_BACKEND": "lakebase", "MLFLOW_APP_ARTIFACTS": str(tmp_path / "artifacts")}
    told |= {"MLFLOW_APP_STATE_DIR": str(tmp_path / "state"), "MLFLOW_APP_DATABASE_PASSWORD_FILE": "unused"}
    env = {**os.environ, **told, "PGHOST": "localhost", "PGUSER": "mlflow"}
    words = [sys.executable, "-c", hidden]
    ended = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "pip install psycopg2-binary" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "state").exists()
