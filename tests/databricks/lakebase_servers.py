"""The PostgreSQL servers behind Lakebase: one takes seconds to start, so it is emptied and used again."""

import threading
import urllib.parse
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from tests import postgres
from tests.databricks.lakebase_login import PORT


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL that trusts whoever reaches its socket; `address` is its superuser's."""

    address: str

    @property
    def socket(self) -> Path:
        """Where it listens."""
        folder = urllib.parse.parse_qs(urllib.parse.urlsplit(self.address).query)["host"][0]
        return Path(folder) / f".s.PGSQL.{PORT}"


@dataclass
class Servers:
    """All of an account, those nobody uses in `free`; they outlive a reset."""

    free: list[Server] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self) -> Server:
        """An empty one; raises RuntimeError when PostgreSQL doesn't start."""
        with self._lock:
            if self.free:
                return self.free.pop()
            return Server(self._open.enter_context(postgres.running()).address("postgres"))

    def give_back(self, server: Server) -> None:
        """Empty one for its next use."""
        with psycopg.connect(server.address, autocommit=True) as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
            )
            for (name,) in found.fetchall():
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            _end_connections(connection)
            # Without their databases roles own nothing but what was granted in this one.
            found = connection.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres'")
            for (name,) in found.fetchall():
                connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
        self.free.append(server)

    def close(self) -> None:
        """Stop them all."""
        self._open.close()


def end_connections(address: str) -> None:
    """End every connection of a client, as a restart of the compute does."""
    with psycopg.connect(address, autocommit=True) as connection:
        _end_connections(connection)


def _end_connections(connection: "psycopg.Connection") -> None:
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'postgres'")
