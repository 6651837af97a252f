"""The only place where an error of whatever kind is caught: it becomes a row of a report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from mlflow_migration.errors import AccessError, BundleError, MigrationError, NotFoundError, StorageError, UsageError
from mlflow_migration.records import Record

Result = TypeVar("Result")
log = logging.getLogger(__name__)

NEEDS_ALL = (AccessError, StorageError)
"""Errors that concern the whole job: going on would only repeat them."""
ENDS_LISTING = (*NEEDS_ALL, BundleError, NotFoundError, UsageError)
"""Those that end it when they are met while listing: what was asked for by name isn't there, or can't be."""


def guarded(
    work: Callable[[], Result], kind: str, id_: str, fatal: tuple[type[MigrationError], ...] = NEEDS_ALL
) -> Result | MigrationError:
    """What the work on one object gives, or why it failed. Raises only the errors that end the job."""
    try:
        return work()
    except fatal:
        raise
    except MigrationError as error:
        log.info("%s %s failed: %s", kind, id_, error)
        return error
    except Exception as error:
        log.exception("%s %s failed", kind, id_)
        return MigrationError(f"{type(error).__name__}", str(error), "please report this with the log of -vv")


class Listing(Iterator[Record]):
    """The objects of a listing up to where it breaks; `error` says why it did, if it did."""

    def __init__(self, records: Iterator[Record], kind: str) -> None:
        self.error: MigrationError | None = None
        self._records = records
        self._kind = kind

    def __next__(self) -> Record:
        found = guarded(lambda: next(self._records, None), self._kind, "(listing)", ENDS_LISTING)
        if isinstance(found, MigrationError):
            self.error = found
        if not isinstance(found, Record):
            raise StopIteration
        return found
