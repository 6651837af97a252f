"""Rows of one table on their way from one database to another, as they are: streamed, compared by primary key, bulked.

Nothing is held but a chunk of rows. Booleans and JSON travel as the drivers give and take them: as numbers and text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from mlflow_migration.database.connect import Connected

if TYPE_CHECKING:
    import sqlalchemy as sa

CHUNK = 5000
BINARY_ORDER = {"postgresql": "C", "mysql": "utf8mb4_bin", "sqlite": "BINARY"}
"""The collation in which each database orders text by its code points, as Python does."""
Values = tuple[Any, ...]
Change = Callable[[Any], Any]


@dataclass(frozen=True)
class Flow:
    """Two open databases, one transaction each. `reader` is the source's; `looker` sees what the destination held
    before the transaction of `writer` began. Nothing is written in a rehearsal. `refused` are the rows that the
    destination's columns can't hold: table and key, and why."""

    source: Connected
    destination: Connected
    reader: sa.Connection
    looker: sa.Connection
    writer: sa.Connection
    rehearsal: bool = False
    refused: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def opened(source: Connected, destination: Connected, rehearsal: bool = False) -> Iterator[Flow]:
    """Both databases, open for one job. What is to be written is to be committed by `Flow.writer`."""
    with ExitStack() as stack:
        reader = stack.enter_context(source.reading())
        writer = stack.enter_context(destination.engine.connect())
        # SQLite has one writer, who would wait for a reader to end; its own connection may read what it writes.
        looker = writer if destination.dialect == "sqlite" else stack.enter_context(destination.reading())
        yield Flow(source, destination, reader, looker, writer, rehearsal)


@dataclass(frozen=True)
class Stream:
    """Which rows of a table: the condition at the source, the one at the destination, and what is changed on the way,
    by column."""

    table: sa.Table
    here: sa.ColumnElement[bool]
    there: sa.ColumnElement[bool]
    changes: Mapping[str, Change] = field(default_factory=dict)

    @property
    def columns(self) -> list[sa.Column[Any]]:
        """The columns that are stored, not computed."""
        return [column for column in self.table.columns if column.computed is None]


def insert_all(flow: Flow, stream: Stream) -> int:
    """Write every row; how many. For an object that the destination hasn't got at all."""
    return _write(flow, stream, _holdable(flow, stream, _chunks(flow.reader, stream, stream.here, stream.changes)))


@dataclass(frozen=True)
class Difference:
    """A row that the destination lacks (`old` is None) or has otherwise."""

    new: Values
    old: Values | None


def differences(flow: Flow, stream: Stream) -> Iterator[Difference | None]:
    """For each row of the source how the destination's of the same key differs, None where they are equal."""
    keys = [stream.columns.index(column) for column in stream.table.primary_key.columns]

    def key(row: Values) -> Values:
        return tuple(row[each] for each in keys)

    there = chain.from_iterable(_chunks(flow.looker, stream, stream.there, {}, ordered=True))
    held = next(there, None)
    here = _chunks(flow.reader, stream, stream.here, stream.changes, ordered=True)
    for row in chain.from_iterable(_holdable(flow, stream, here)):
        while held is not None and key(held) < key(row):
            held = next(there, None)
        if held is None or key(held) != key(row):
            yield Difference(row, None)
        elif held != row:
            yield Difference(row, held)
        else:
            yield None


def write(flow: Flow, stream: Stream, found: Iterable[Difference]) -> None:
    """Insert the rows that lack and update those that differ, by primary key."""
    found = iter(found)
    while chunk := list(islice(found, CHUNK)):
        _write(flow, stream, iter([[each.new for each in chunk if each.old is None]]))
        changed = [each.new for each in chunk if each.old is not None]
        if changed:
            _update(flow, stream, changed)


def _chunks(
    connection: sa.Connection,
    stream: Stream,
    condition: sa.ColumnElement[bool],
    changes: Mapping[str, Change],
    ordered: bool = False,
) -> Iterator[list[Values]]:
    """The rows, so many at a time: the most of them pass without a line of Python for each."""
    import sqlalchemy as sa

    dialect = connection.dialect.name
    statement = sa.select(*(_plain(column, dialect) for column in stream.columns)).where(condition)
    if ordered:
        statement = statement.order_by(*(_sorted(column, dialect) for column in stream.table.primary_key.columns))
    places = [(n, changes[column.name]) for n, column in enumerate(stream.columns) if column.name in changes]
    for rows in _fetched(connection, statement):
        yield [_changed(row, places) for row in rows] if places else rows


def _changed(row: Values, places: Sequence[tuple[int, Change]]) -> Values:
    values = list(row)
    for place, change in places:
        values[place] = change(values[place])
    return tuple(values)


def _fetched(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[list[Values]]:
    if connection.dialect.name != "sqlite":
        for part in connection.execute(statement, execution_options={"yield_per": CHUNK}).partitions():
            yield [tuple(row) for row in part]
        return
    # By the driver itself: SQLAlchemy's rows cost as much as SQLite's whole work for them.
    compiled: Any = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    cursor: Any = connection.connection.cursor()
    cursor.execute(str(compiled), tuple(compiled.params[name] for name in compiled.positiontup))
    while rows := cursor.fetchmany(CHUNK):
        yield rows


def _plain(column: sa.Column[Any], dialect: str) -> sa.ColumnElement[Any]:
    """A column's stored value: JSON as its text, so that not a blank changes, and days as theirs."""
    import sqlalchemy as sa

    if isinstance(column.type, (sa.JSON, sa.Date)):
        return sa.cast(column, sa.Text) if dialect != "sqlite" else sa.type_coerce(column, sa.types.NullType())
    if isinstance(column.type, sa.Boolean) and dialect == "postgresql":
        return sa.cast(column, sa.Integer)
    # As the driver gives it: MLflow's own types would, for one, decrypt secrets.
    return sa.type_coerce(column, sa.types.NullType())


def _sorted(column: sa.Column[Any], dialect: str) -> sa.ColumnElement[Any]:
    import sqlalchemy as sa

    if isinstance(column.type, sa.String):
        return column.collate(BINARY_ORDER[dialect])
    return _plain(column, dialect)


def _write(flow: Flow, stream: Stream, chunks: Iterator[list[Values]]) -> int:
    if flow.rehearsal:
        return sum(map(len, chunks))
    if flow.destination.dialect == "postgresql":
        return _copy(flow, stream, chunks)
    bare = _bare(stream)
    statement = str(bare.insert().values(dict.fromkeys(bare.c.keys())).compile(dialect=flow.writer.dialect))
    count = 0
    for chunk in filter(None, chunks):
        flow.writer.exec_driver_sql(statement, chunk)
        count += len(chunk)
    return count


def _holdable(flow: Flow, stream: Stream, chunks: Iterator[list[Values]]) -> Iterator[list[Values]]:
    """The rows whose texts fit their columns: SQLite takes texts of any length, and PostgreSQL no NUL in them."""
    import sqlalchemy as sa

    if flow.destination.dialect == "sqlite":
        yield from chunks
        return
    texts = [
        (place, column.name, column.type.length)
        for place, column in enumerate(stream.columns)
        if isinstance(column.type, sa.String)
    ]
    keys = [stream.columns.index(column) for column in stream.table.primary_key.columns]
    for chunk in chunks:
        fitting = []
        for row in chunk:
            why = _unfit(row, texts, flow.destination.dialect)
            if why:
                flow.refused.append((f"{stream.table.name} {[row[place] for place in keys]}", why))
            else:
                fitting.append(row)
        yield fitting


def _unfit(row: Values, texts: Sequence[tuple[int, str, int | None]], dialect: str) -> str:
    for place, name, most in texts:
        value = row[place]
        if not isinstance(value, str):
            continue
        if most is not None and len(value) > most:
            return f"{name} has {len(value)} characters, MLflow's column there takes {most}"
        if dialect == "postgresql" and "\0" in value:
            return f"{name} holds a NUL character, which PostgreSQL can't store"
    return ""


def _bare(stream: Stream) -> sa.TableClause:
    """The table without types: values go to the driver as they are."""
    import sqlalchemy as sa

    return sa.table(stream.table.name, *(sa.column(column.name) for column in stream.columns))


def _copy(flow: Flow, stream: Stream, chunks: Iterator[list[Values]]) -> int:
    """PostgreSQL's own way for many rows. It takes numbers for booleans and text for JSON."""
    preparer = flow.writer.dialect.identifier_preparer
    names = ", ".join(preparer.quote(column.name) for column in stream.columns)
    count = 0
    # Of psycopg: SQLAlchemy's type knows what all drivers have.
    cursor: Any = flow.writer.connection.cursor()
    with cursor, cursor.copy(f"COPY {preparer.format_table(stream.table)} ({names}) FROM STDIN") as copy:
        for row in chain.from_iterable(chunks):
            copy.write_row(row)
            count += 1
    return count


def _update(flow: Flow, stream: Stream, rows: Sequence[Values]) -> None:
    if flow.rehearsal:
        return
    import sqlalchemy as sa

    bare = _bare(stream)
    keys = {column.name for column in stream.table.primary_key.columns}
    matching = [bare.c[name] == sa.bindparam(f"key_{name}") for name in sorted(keys)]
    values: dict[str, sa.BindParameter[Any]] = {
        column.name: sa.bindparam(f"new_{column.name}") for column in bare.c if column.name not in keys
    }
    marks = [f"key_{column.name}" if column.name in keys else f"new_{column.name}" for column in stream.columns]
    booleans = [n for n, column in enumerate(stream.columns) if isinstance(column.type, sa.Boolean)]
    told = []
    for row in rows:
        found = list(row)
        for place in booleans:
            found[place] = None if found[place] is None else bool(found[place])
        told.append(dict(zip(marks, found, strict=True)))
    flow.writer.execute(bare.update().where(*matching).values(values), told)
