"""All rows of all tables of a database, whichever it is, in one form: what two databases are compared by."""

import json
from typing import Any

import sqlalchemy as sa

Tables = dict[str, list[str]]


def rows(address: str) -> Tables:
    """Each row of each table as text, sorted; numbers for booleans, sorted JSON for what a driver reads as JSON."""
    engine = sa.create_engine(driver(address))
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        found = {
            name: sorted(_text(row) for row in connection.execute(sa.select(table)).mappings())
            for name, table in tables.tables.items()
        }
    engine.dispose()
    return found


def driver(address: str) -> str:
    return address.replace("postgresql://", "postgresql+psycopg://")


def execute(address: str, statement: str, **values: object) -> None:
    """Change a database."""
    engine = sa.create_engine(driver(address))
    with engine.begin() as connection:
        connection.execute(sa.text(statement), values)
    engine.dispose()


def select(address: str, query: str, **values: object) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(driver(address))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(sa.text(query), values)]
    engine.dispose()
    return found


def _text(row: Any) -> str:
    return json.dumps({key: _plain(row[key]) for key in sorted(row)}, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
