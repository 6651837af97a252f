"""What a server with users leaves out of its lists, and refuses to give when it is asked for by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mlflow_migration.errors import ForbiddenError
from mlflow_migration.records import Record

IsRefused = Callable[[str], bool]
"""Whether what has a name is there and refused."""


class Refused:
    """The objects of a kind that were found to be refused: `ask` asks the server for one by its name."""

    def __init__(self, kind: str, home: Callable[[str], tuple[str, ...]], ask: Callable[[str], object]) -> None:
        self.records: list[Record] = []
        self._kind, self._home, self._ask = kind, home, ask

    def note(self, name: str) -> bool:
        """Whether the server has an object of that name and refuses to give it; its record then says so in its turn."""
        try:
            self._ask(name)
        except ForbiddenError as error:
            refuse = partial(_refuse, f"{self._kind} {name!r} may not be read, nor what belongs to it", error)
            self.records.append(Record(self._kind, name, name, self._home(name), {"name": name}, whole=refuse))
            return True
        return False


def _refuse(what: str, error: ForbiddenError) -> Record:
    raise ForbiddenError(what, str(error), error.hint)


def nothing(name: str) -> bool:
    """Where nothing is refused: a bundle."""
    return False
