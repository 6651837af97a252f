"""The ways a command can end, and what a person is told.

Every error says what happened, where and why, and what to do next. The exit code lives on the class.
"""

from __future__ import annotations

from typing import ClassVar

DONE = 0
INCOMPLETE = 1
INTERRUPTED = 130

EXIT_CODES: dict[int, str] = {
    DONE: "done, or nothing to do; everything equal",
    INCOMPLETE: "finished, but something failed, is missing or differs",
    2: "wrong usage or configuration; nothing was begun",
    3: "a server can't be reached, or doesn't allow it",
    4: "a bundle is broken: changed, incomplete or not one",
    5: "a promotion gate refused",
    INTERRUPTED: "interrupted; the same command goes on where it stopped",
}


class MigrationError(Exception):
    """Anything the person must hear of. `what` happened, `why` (and where), and a `hint`: what to do next."""

    exit_code: ClassVar[int] = INCOMPLETE

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


class NotFoundError(MigrationError):
    """An object that was asked for by name or id isn't there."""


class UsageError(MigrationError):
    """The command's words or the configuration are wrong; nothing has been begun."""

    exit_code = 2


class AccessError(MigrationError):
    """A server can't be reached, or refuses these credentials. Ends the whole job: it can be resumed."""

    exit_code = 3


class ForbiddenError(MigrationError):
    """One object is refused (HTTP 403). The object fails, the job goes on."""

    exit_code = 3


class BundleError(MigrationError):
    """A bundle is changed, incomplete, hostile, or not a bundle."""

    exit_code = 4


class ConflictError(MigrationError):
    """The destination already holds something else in that place."""


class DamagedError(MigrationError):
    """An app has snapshots, and the one that is meant can't be used."""


class LeftOutError(MigrationError):
    """It isn't to be written, as the person asked. The object ends as skipped, not as failed."""


class StorageError(MigrationError):
    """The disk is full or a folder can't be written. Ends the whole job: it can be resumed."""


class InterruptedJobError(MigrationError):
    """Ctrl-C. Running items have ended; the same command goes on."""

    exit_code = INTERRUPTED


class ServerError(MigrationError):
    """A server answered with an error.

    `status` is the HTTP status, `code` MLflow's `error_code` ("" where there is none).
    """

    def __init__(self, what: str, why: str, status: int, code: str) -> None:
        super().__init__(what, why)
        self.status = status
        self.code = code
