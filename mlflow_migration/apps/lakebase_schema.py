"""The schema of MLflow's tables, made and granted over a connection of whoever deploys.

The deployer owns the schema, the app's role what it makes in it: MLflow's migrations alter its tables. An app that was
deleted and made again has another service principal, which inherits the tables of the one that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mlflow_migration.errors import AccessError, MigrationError, UsageError

if TYPE_CHECKING:
    import psycopg

PORT = 5432
SECONDS = 60
EXTRA = "pip install 'mlflow-migration[lakebase]'"


@dataclass(frozen=True)
class Login:
    """Where to connect, and as whom. `password` is a token; never print it."""

    host: str
    database: str
    user: str
    password: str = field(repr=False)


def require_driver() -> None:
    """Raise UsageError where PostgreSQL's driver isn't installed."""
    if find_spec("psycopg") is None:
        raise UsageError("PostgreSQL's driver isn't installed", "the backend lakebase needs it to deploy", EXTRA)


def ready(login: Login, schema: str, role: str) -> bool:
    """Whether the schema is there and the role may use it and create in it."""
    with _connected(login) as base:
        row = base.execute(
            "SELECT has_schema_privilege(%s, oid, 'USAGE') AND has_schema_privilege(%s, oid, 'CREATE') "
            "FROM pg_namespace WHERE nspname = %s",
            (role, role, schema),
        ).fetchone()
    return bool(row and row[0])


def prepare(login: Login, schema: str, role: str) -> None:
    """Make the schema where it isn't there, and let the role use it and create in it."""
    from psycopg.sql import SQL, Identifier

    with _connected(login) as base:
        base.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        granting = SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}")
        base.execute(granting.format(Identifier(schema), Identifier(role)))


def drop(login: Login, schema: str) -> bool:
    """Remove the schema with everything in it; whether it was there."""
    from psycopg.sql import SQL, Identifier

    with _connected(login) as base:
        there = base.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
        base.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
    return there is not None


def owners(login: Login, schema: str) -> list[str]:
    """The roles that own tables, views or sequences in the schema."""
    with _connected(login) as base:
        rows = base.execute(
            "SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'S') ORDER BY 1",
            (schema,),
        ).fetchall()
    return [str(row[0]) for row in rows]


@contextmanager
def _connected(login: Login) -> Iterator[psycopg.Connection]:
    """One transaction. Raises AccessError where nobody is let in, MigrationError where PostgreSQL refuses."""
    require_driver()
    import psycopg

    try:
        base = psycopg.connect(
            host=login.host,
            port=PORT,
            dbname=login.database,
            user=login.user,
            password=login.password,
            sslmode="require",
            connect_timeout=SECONDS,
        )
    except psycopg.Error as error:
        raise AccessError(
            f"PostgreSQL at {login.host} doesn't let {login.user} in",
            _first_line(error),
            "ask the owner of the Lakebase project for a role in it, or let the owner deploy",
        ) from None
    try:
        with base:
            yield base
    except psycopg.Error as error:
        raise MigrationError(f"PostgreSQL at {login.host} refuses it", _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:300]
