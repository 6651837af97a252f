"""A file store of MLflow's (`./mlruns`) as a database: a temporary one that is made of it, and removed at the end."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow_migration.database import artifacts
from mlflow_migration.database.addresses import LOCATION, OF_VERSIONS
from mlflow_migration.database.connect import Connected, new_database, no_room, reason
from mlflow_migration.errors import UsageError

if TYPE_CHECKING:
    import sqlalchemy as sa

META = "meta.yaml"
MODELS, TRASH = "models", ".trash"
_MADE: list[Callable[[], object]] = []
"""What removes the temporary databases of this process."""


def is_file_store(text: str) -> bool:
    """Whether an address names a file store: by `file:`, or a folder with the descriptions of experiments or models."""
    return text.startswith("file:") or any(_descriptions(Path(text)))


def _descriptions(folder: Path) -> Iterator[Path]:
    for above in (folder, folder / TRASH, folder / MODELS):
        try:
            for each in above.iterdir() if above.is_dir() else ():
                if (each.name.isdecimal() or above.name == MODELS) and (each / META).is_file():
                    yield each
        except OSError:
            # What can't be looked into is no file store to us; reading it as something else tells why.
            return


def folder_of(text: str) -> Path:
    """The folder of a file store's address."""
    return Path(url2pathname(urlsplit(text).path) if text.startswith("file:") else text).absolute()


def refuse(text: str) -> UsageError:
    """Why nothing is written to a file store."""
    return UsageError(
        f"file stores are only read: {text}",
        "MLflow has given them up for databases",
        "give a server, a new database (sqlite:///mlflow.db), or a new folder for a bundle",
    )


def open_file_store(text: str, workspace: str = "") -> Connected:
    """A file store's objects in a temporary database, with what of it can't be read. `close` removes it; so does the
    end of the process.

    Raises UsageError where there is no file store, or the installed MLflow can't read any; StorageError where there is
    no room for the database.
    """
    folder = folder_of(text)
    if not any(_descriptions(folder)):
        raise UsageError(f"no file store: {folder}", f"no experiment or model in it has a {META}", "check the path")
    try:
        scratch = Path(tempfile.mkdtemp(prefix="mlflow-migration-"))
    except OSError as error:
        raise no_room(error.strerror or str(error)) from error
    try:
        made = _made(folder, scratch / "mlflow.db", workspace)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    remove = weakref.finalize(made.engine, shutil.rmtree, scratch, True)
    _MADE.append(remove)
    return replace(made, address=str(folder), remove=remove)


def remove_all() -> None:
    """Remove the temporary databases of this process, which is about to leave at once."""
    for remove in _MADE:
        remove()


def _made(folder: Path, file: Path, workspace: str) -> Connected:
    """A new database with what a file store holds."""
    database = new_database(file, workspace)
    # After it: `new_database` has looked for the packages.
    import sqlalchemy as sa

    try:
        from mlflow_migration.database.store_rows import StoreRows
    except ImportError as error:
        raise UsageError(
            "the installed MLflow can't read file stores", str(error), "install another: pip install -U mlflow"
        ) from error
    try:
        rows = StoreRows(folder, database.engine)
        rows.write()
        _relocate(folder, database)
    except sa.exc.OperationalError as error:
        raise no_room(reason(error)) from error
    finally:
        database.engine.dispose()
    return replace(database, broken=tuple(rows.broken))


def _relocate(folder: Path, connected: Connected) -> None:
    """Have the addresses of artifacts name the folders in which they lie, where experiments were moved: to the trash,
    or with the whole file store to another folder or machine."""
    import sqlalchemy as sa

    tables = connected.tables
    experiments = tables["experiments"]
    with connected.engine.begin() as connection:
        for id_, address in connection.execute(
            sa.select(experiments.c.experiment_id, experiments.c.artifact_location)
        ).all():
            old = str(address or "").rstrip("/")
            recorded = artifacts.folder_of(old)
            here = next((each for each in (folder / str(id_), folder / TRASH / str(id_)) if each.is_dir()), None)
            if recorded is None or here is None or (recorded.is_absolute() and recorded.is_dir()):
                continue
            new = here.as_uri() if old.startswith("file:") else str(here)
            for name, columns, mine in _addressed(tables, id_):
                for column in columns:
                    _replace(connection, tables[name], column, (old, new), mine)


def _addressed(tables: Mapping[str, sa.Table], experiment: int) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Where addresses below that of an experiment stand: tables, columns, and which rows."""
    import sqlalchemy as sa

    traces, tags = tables["trace_info"], tables["trace_tags"]
    for name, column in (
        ("experiments", "artifact_location"),
        ("runs", "artifact_uri"),
        ("logged_models", "artifact_location"),
    ):
        yield name, (column,), tables[name].c.experiment_id == experiment
    ids = sa.select(traces.c.request_id).where(traces.c.experiment_id == experiment)
    yield "trace_tags", ("value",), sa.and_(tags.c.key == LOCATION, tags.c.request_id.in_(ids))
    yield "model_versions", tuple(column for _, column in OF_VERSIONS), sa.true()


def _replace(connection: sa.Connection, table: sa.Table, name: str, ends: tuple[str, str], mine: Any) -> None:
    """Replace the beginning of an address, where it is the one of a whole folder."""
    import sqlalchemy as sa

    column, (old, new) = table.c[name], ends
    begins = sa.or_(column == old, sa.func.substr(column, 1, len(old) + 1) == f"{old}/")
    changed = sa.literal(new) + sa.func.substr(column, len(old) + 1)
    connection.execute(table.update().where(mine, begins).values({name: changed}))
