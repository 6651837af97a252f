"""Reading rows in short transactions, which keep no writer waiting; errors are what a person understands."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session, configure_mappers

from mlflow_migration.database.connect import DEFAULT_WORKSPACE, Connected
from mlflow_migration.errors import AccessError, ServerError
from mlflow_migration.records import Json

T = TypeVar("T")
CHUNK = 200
"""Objects whose rows are read together."""
GONE = "RESOURCE_DOES_NOT_EXIST"
"""What MLflow's own code calls a thing that isn't there."""


class Reading:
    """One database, read from. Safe to share between threads.

    Nothing holds a transaction for longer than one chunk: an open one would keep an SQLite server from writing.
    """

    def __init__(self, connected: Connected) -> None:
        self.connected = connected
        self.tables = connected.tables
        self.workspace = connected.workspace or DEFAULT_WORKSPACE
        self._lock = threading.Lock()
        self._tracking: Any = None
        with warnings.catch_warnings():
            # MLflow's declarations of its tables use what SQLAlchemy is to drop one day.
            warnings.simplefilter("ignore", DeprecationWarning)
            configure_mappers()

    def rows(self, statement: sa.Select[Any]) -> list[Any]:
        """Every row of an answer that is known to be short."""
        with self.failures(), self.connected.reading() as connection:
            return list(connection.execute(statement))

    def together(self, *statements: sa.Select[Any]) -> list[list[Any]]:
        """The rows of several statements, all of one moment."""
        with self.failures(), self.connected.reading() as connection:
            return [list(connection.execute(statement)) for statement in statements]

    @contextmanager
    def session(self, read_only: bool = True) -> Iterator[Session]:
        """A session of SQLAlchemy's for MLflow's own code. Raises AccessError for code that is about to write."""
        if not read_only:
            raise AccessError(f"{self.connected.address} is only read from")
        with (
            self.failures(),
            self.connected.reading() as connection,
            Session(connection.execution_options(stream_results=False), autoflush=False) as session,
        ):
            yield session

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Says in a line what a driver says in a page, and never with the address, which may hold a password."""
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            raise AccessError(
                f"can't read {self.connected.address}", _reason(error), "see that it runs; then type the command again"
            ) from None
        except sa.exc.DBAPIError as error:
            raise ServerError(f"can't read rows of {self.connected.address}", _reason(error), 0, "") from None

    @property
    def tracking(self) -> Any:
        """MLflow's own code for these tables, over this connection, and unable to write."""
        from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore

        with self._lock:
            if self._tracking is None:
                # Its constructor would open a connection of its own, make tables and a default experiment.
                store: Any = object.__new__(WorkspaceAwareSqlAlchemyStore)
                store.engine = self.connected.engine
                store.read_engine = None
                store.db_type = self.connected.dialect
                store.ManagedSessionMaker = self.session
                store._get_active_workspace = lambda: self.workspace
                self._tracking = store
            return self._tracking

    def here(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Whether a column with an experiment's id names one of the workspace."""
        experiments = self.tables["experiments"]
        return column.in_(sa.select(experiments.c.experiment_id).where(experiments.c.workspace == self.workspace))


def _reason(error: Exception) -> str:
    """The driver's own words, first line."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Items in order, some at a time."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def numbers(experiment_ids: Sequence[str]) -> list[int]:
    """Experiment ids as the tables have them; what is no number names none."""
    return [int(id_) for id_ in experiment_ids if id_.isdecimal() and id_.isascii()]


def grouped(rows: Iterable[Any]) -> dict[Any, list[Any]]:
    """Rows by their first column, in order."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(row)
    return groups


def present(**fields: Any) -> Json:
    """The fields that have a value, as MLflow's JSON leaves out what is not set."""
    return {key: value for key, value in fields.items() if value is not None}


def filled(**lists: list[Any]) -> Json:
    """The lists that hold something, as MLflow's JSON leaves out the others."""
    return {key: value for key, value in lists.items() if value}


def pair(key: str, value: str | None) -> Json:
    """A tag or param as MLflow's JSON has it."""
    return present(key=key, value=value)


def as_json(message: Any) -> Json:
    """A message of MLflow's as its REST API answers it."""
    from mlflow.utils.proto_json_utils import message_to_json

    found: Json = json.loads(message_to_json(message, pretty=False))
    return found


def or_none(look: Callable[[], T]) -> T | None:
    """What MLflow's own code finds, or None where it isn't there."""
    from mlflow.exceptions import MlflowException

    try:
        return look()
    except MlflowException as error:
        if error.error_code == GONE:
            return None
        raise ServerError(
            "MLflow can't read it", error.message, error.get_http_status_code(), error.error_code
        ) from error


def paged(search: Callable[..., Any]) -> Iterator[Any]:
    """Everything that a search of MLflow's own code finds, page by page; nothing where its subject isn't there."""
    token = None
    while True:
        page = or_none(partial(search, page_token=token))
        yield from page or ()
        token = page.token if page is not None else None
        if not token:
            return
