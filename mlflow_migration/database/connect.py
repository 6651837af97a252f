"""A database of MLflow's: its address, a connection, and whether its tables are those the installed MLflow knows.

The facts about MLflow's tables come from MLflow 3.17.2 (`mlflow.store.db`), found by running it on SQLite and
PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from mlflow_migration.errors import AccessError, StorageError, UsageError
from mlflow_migration.records import Broken

if TYPE_CHECKING:
    import sqlalchemy as sa

SCHEME = re.compile(r"(sqlite|postgresql|postgres|mysql|mssql)(\+\w+)?:")
ADDRESS = re.compile(
    r"(?P<scheme>[\w+]+)://(?:[^:/@]*(?::[^@]*)?@)?(?P<host>[^/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?", re.DOTALL
)
"""As SQLAlchemy reads one: a password may hold any character but @."""
SUPPORTED = ("sqlite", "postgresql", "mysql")
DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql"}
DEFAULT_WORKSPACE = "default"
CACHE = 64 << 20
"""Bytes of pages that SQLite keeps in memory."""
WAIT = 20
"""Seconds that SQLite waits for another writer, as MLflow's own store does."""


def is_database(text: str) -> bool:
    """Whether an address names a database and not a server or a folder."""
    return SCHEME.match(text) is not None


def printable(uri: str) -> str:
    """An address without user, password and options, fit for logs, reports and ledgers; a file's path is absolute."""
    if uri.startswith("sqlite"):
        return f"sqlite:///{_file(uri)}"
    parts = ADDRESS.fullmatch(uri)
    if parts is None:
        return uri.partition(":")[0]
    host = parts["host"] or dict(parse_qsl(parts["query"] or "")).get("host", "")
    return f"{parts['scheme'].partition('+')[0]}://{host}{(parts['path'] or '').rstrip('/')}"


def _file(uri: str) -> Path:
    """The file of an SQLite address. Raises UsageError where there is none: what lies in memory can't be moved."""
    path = uri.partition("://")[2].partition("?")[0].removeprefix("/")
    if not path or path == ":memory:":
        raise UsageError(f"no database file: {uri}", hint="write it like sqlite:///mlflow.db")
    return Path(path).absolute()


@dataclass(frozen=True)
class Connected:
    """An open database. `tables` are MLflow's, by name; `workspace` is the one asked for, "" for all.

    Where it was made of something else, `broken` is what of that couldn't be read, and `remove` takes it away.
    """

    address: str
    engine: sa.Engine
    tables: Mapping[str, sa.Table]
    workspace: str = ""
    broken: tuple[Broken, ...] = ()
    remove: Callable[[], object] | None = None

    @property
    def dialect(self) -> str:
        """ "sqlite", "postgresql" or "mysql"."""
        return str(self.engine.dialect.name)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees the database as it was when this began, whatever a server writes meanwhile."""
        with self.engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection.execution_options(stream_results=True)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection in one transaction: what is written is there when this ends well, or not at all."""
        with self.engine.connect() as connection:
            writer = connection.execution_options(writing=True)
            with writer.begin():
                yield writer

    def close(self) -> None:
        self.engine.dispose()
        if self.remove is not None:
            self.remove()


def open_database(uri: str, workspace: str = "", create: bool = False, alone: bool = False) -> Connected:
    """Connect, and check that the tables are those of the installed MLflow.

    With `create` an empty database gets MLflow's tables. Raises UsageError for an address that can't be meant, a driver
    that isn't installed, tables of another MLflow, and with `alone` where somebody else has it open; AccessError where
    the database can't be reached.
    """
    address = printable(uri)
    if uri.startswith("sqlite") and not create and not _file(uri).is_file():
        raise UsageError(f"no such database: {address}", "the file isn't there", "check the path")
    engine = _engine(uri, address)
    try:
        if alone:
            _check_alone(engine, address)
        _check_schema(engine, address, create)
    except BaseException:
        engine.dispose()
        raise
    return Connected(address, engine, _tables(), workspace)


def rehearsed(uri: str, workspace: str = "") -> Connected:
    """A database for a job that writes nothing: where there are no tables yet, an empty one that stands for it.

    Raises what `open_database` does.
    """
    address = printable(uri)
    if uri.startswith("sqlite") and not _file(uri).is_file():
        return _stand_in(address, workspace)
    engine = _engine(uri, address)
    import sqlalchemy as sa

    try:
        is_empty = not sa.inspect(engine).get_table_names()
    except sa.exc.DBAPIError as error:
        raise _unreachable(error, address) from None
    finally:
        engine.dispose()
    return _stand_in(address, workspace) if is_empty else open_database(uri, workspace)


def _stand_in(address: str, workspace: str) -> Connected:
    folder = TemporaryDirectory(prefix="mlflow-migration-")
    made = new_database(Path(folder.name) / "empty.db", workspace)
    return replace(made, address=address, remove=folder.cleanup)


def new_database(file: Path, workspace: str = "") -> Connected:
    """A temporary SQLite database with MLflow's tables, empty: fast, and lost when the machine crashes.

    Raises UsageError where the packages for databases aren't installed, StorageError where the disk is full.
    """
    address = f"sqlite:///{file}"
    engine = _engine(address, address)
    import sqlalchemy as sa

    sa.event.listen(engine, "connect", _in_haste)
    tables = _tables()
    try:
        # Not by MLflow's migrations: they take seconds, and nobody upgrades this one.
        with engine.begin() as connection:
            for table in next(iter(tables.values())).metadata.sorted_tables:
                connection.execute(sa.schema.CreateTable(table))
                for index in table.indexes:
                    # MLflow declares some without columns (3.17.2).
                    if len(index.columns):
                        connection.execute(sa.schema.CreateIndex(index))
    except sa.exc.OperationalError as error:
        engine.dispose()
        raise no_room(reason(error)) from error
    return Connected(address, engine, tables, workspace)


def no_room(why: str) -> StorageError:
    """That a temporary database can't be written."""
    hint = "make room, or set TMPDIR to a folder that has as much as what is read, without its artifacts"
    return StorageError("a temporary database can't be written", why, hint)


def _in_haste(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")
    # As MLflow declares its tables, one of their keys refers to what isn't unique; its migrations make others.
    connection.execute("PRAGMA foreign_keys = OFF")


def _engine(uri: str, address: str) -> sa.Engine:
    try:
        import sqlalchemy as sa
    except ImportError as error:
        raise UsageError(
            "databases need packages that aren't installed", str(error), "pip install 'mlflow-migration[database]'"
        ) from error
    try:
        url = _with_driver(sa.make_url(uri))
        engine = sa.create_engine(url, pool_pre_ping=True)
    except sa.exc.ArgumentError as error:
        # SQLAlchemy's text would show the address, and with it a password.
        raise UsageError("not a database's address", hint="write it like postgresql://user@host/name") from error
    except ImportError as error:
        extra = "postgresql" if "psycopg" in str(error) else "mysql"
        raise UsageError(f"no driver for {address}", str(error), f"pip install 'mlflow-migration[{extra}]'") from error
    if engine.dialect.name not in SUPPORTED:
        raise UsageError(f"not a database this tool can read: {address}", hint=f"it knows {', '.join(SUPPORTED)}")
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _with_driver(url: sa.URL) -> sa.URL:
    """The address with the driver this tool knows, whichever it names."""
    name = "postgresql" if url.get_backend_name() == "postgres" else url.get_backend_name()
    return url.set(drivername=f"{name}+{DRIVERS[name]}") if name in DRIVERS else url


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # Transactions begin where we say so: Python's driver would begin none for reading.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    # As MLflow's own store sets it: search texts are translated for that.
    connection.execute("PRAGMA case_sensitive_like = ON")
    connection.execute(f"PRAGMA busy_timeout = {WAIT * 1000}")
    # Indexes grow at random places: with SQLite's own 2 MB every page of theirs is read and written again and again.
    connection.execute(f"PRAGMA cache_size = -{CACHE // 1024}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # Who means to write waits for other writers now: one that has read already would be refused later.
    is_writing = connection.get_execution_options().get("writing")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _check_schema(engine: sa.Engine, address: str, create: bool) -> None:
    import sqlalchemy as sa
    from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version, _initialize_tables
    from mlflow.version import VERSION

    try:
        found = _get_schema_version(engine)
        if found is None and create and not sa.inspect(engine).get_table_names():
            _initialize_tables(engine)
            return
    except sa.exc.DBAPIError as error:
        raise _unreachable(error, address) from None
    head = _get_latest_schema_revision()
    if found == head:
        return
    if found is None:
        raise UsageError(f"no MLflow database: {address}", "it has no tables of MLflow's", "check the address")
    known = _is_known(found)
    raise UsageError(
        f"the tables of {address} are of {'an older' if known else 'a newer'} MLflow",
        f"they are at {found}; those of the installed MLflow {VERSION} are at {head}",
        f"back it up, then: mlflow db upgrade {address}" if known else "install that MLflow: pip install -U mlflow",
    )


def _is_known(revision: str) -> bool:
    """Whether the installed MLflow can upgrade tables of this revision."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow.store.db.utils import _get_alembic_config

    try:
        return ScriptDirectory.from_config(_get_alembic_config("")).get_revision(revision) is not None
    except CommandError:
        return False


def reason(error: sa.exc.DBAPIError) -> str:
    """The driver's own words, first line: SQLAlchemy's show whole statements, and what was to be written."""
    return str(error.orig).strip().partition("\n")[0]


def _tables() -> Mapping[str, sa.Table]:
    """Every table of MLflow's, as the installed MLflow declares them."""
    from mlflow.store.db.base_sql_model import Base

    # Importing them fills the metadata.
    for module in ("tracking", "model_registry", "workspace"):
        import_module(f"mlflow.store.{module}.dbmodels.models")
    return dict(Base.metadata.tables)


def advance_sequences(connection: sa.Connection, tables: Mapping[str, sa.Table]) -> None:
    """Have PostgreSQL number what comes next behind the ids that were written. A sequence is never set back: a server
    may have given a number to what it hasn't committed yet."""
    import sqlalchemy as sa

    if connection.dialect.name != "postgresql":
        return
    for table in tables.values():
        (column, *others) = table.primary_key.columns
        if others or not column.autoincrement or not isinstance(column.type, sa.Integer):
            continue
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        given = sa.func.coalesce(sa.func.pg_sequence_last_value(sa.cast(sequence, sa.dialects.postgresql.REGCLASS)), 0)
        highest = sa.select(sa.func.max(column)).scalar_subquery()
        # Never to 0, which a sequence doesn't take: `Default` has that id.
        statement = sa.select(sa.func.setval(sequence, sa.func.greatest(highest, given))).where(highest >= 1)
        connection.execute(statement)


def _check_alone(engine: sa.Engine, address: str) -> None:
    """Raise UsageError where somebody else has the database open."""
    users = _others(engine, address)
    if users:
        raise UsageError(f"{address} is in use", users, "stop the server, or write beside it with --online")


def _others(engine: sa.Engine, address: str) -> str:
    """Who else has the database open, in words."""
    import sqlalchemy as sa

    counts = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
    }
    if engine.dialect.name == "sqlite":
        found = _processes(Path(str(engine.url.database)).absolute())
        return f"process {', '.join(found)}" if found else ""
    try:
        with engine.connect() as connection:
            count = int(connection.execute(sa.text(counts[engine.dialect.name])).scalar_one())
    except sa.exc.DBAPIError as error:
        raise _unreachable(error, address) from None
    return f"{count} other connection{'s' if count > 1 else ''}" if count else ""


def _unreachable(error: sa.exc.DBAPIError, address: str) -> AccessError:
    return AccessError(f"can't open {address}", reason(error), "check address, user and password")


def _processes(path: Path) -> list[str]:
    """The other processes that have a file open, as far as this user may see, as "pid (name)"."""
    import os

    import psutil

    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.pid != os.getpid() and any(Path(file.path) == path for file in process.open_files()):
                found.append(f"{process.pid} ({process.info['name']})")
        except psutil.Error:
            # Another user's, or gone meanwhile.
            continue
    return found
