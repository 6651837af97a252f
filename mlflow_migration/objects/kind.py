"""What each kind of MLflow object has to say for itself: the verbs a module of this folder offers.

A kind without rows, artifacts or ids of its own takes the answers for that from the functions at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import LeftOutError, NotFoundError
from mlflow_migration.places import Abilities, Ids, Selection, Writing
from mlflow_migration.records import File, Identity, Json, Loss, Record, Written

Known = Callable[[str], "str | None"]
"""The first origin of another object's id; None for one that was made where it is."""

FieldDifference = tuple[str, str, str]
"""Field, left value, right value."""


@dataclass(frozen=True)
class Coverage:
    """What becomes of a kind at a server, in words: of each part, which way it goes.

    `since` is the first MLflow version that has the kind; `written_since`, where it is another one, the first that
    lets a client make it whole.
    """

    since: str
    carried: str
    kept_beside: str
    lost: str
    written_since: str = ""

    def refusal(self, place: Abilities) -> str:
        """Why a place is too old to take the kind; "" where it isn't."""
        if place.before(self.since):
            return f"this server ({place.version}) has no such kind: it came with MLflow {self.since}"
        if self.written_since and place.before(self.written_since):
            return f"this server ({place.version}) doesn't take it whole: that came with MLflow {self.written_since}"
        return ""


class Kind(Protocol):
    """The verbs of a kind. A module implements it."""

    NAME: str
    NEEDS: tuple[str, ...]
    """The kinds written before it."""
    PARENTS: tuple[str, ...]
    """The kinds whose objects it belongs to: without them it isn't asked for. They are NEEDS and keys of `refs`."""
    ROWS: tuple[str, ...]
    """The names of its row streams."""
    COVERAGE: Coverage
    NEW_IDS: bool
    """Whether a server gives it an id of its own, so that one object has two ids at two places."""

    def read(self, source: Readable, selection: Selection) -> Iterator[Record]:
        """The selected objects. Raises NotFoundError when one that was named isn't there."""

    def record(self, source: Readable, record_id: str, selection: Selection) -> Record | None:
        """One object by id, or None."""

    def choose(self, records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
        """Those of a bundle's records that are asked for; raises NotFoundError as `read` does."""

    def validate(self, head: Json) -> Identity:
        """Check a head from outside; its home and id. Raises ValueError."""

    def validate_row(self, name: str, row: Json) -> None:
        """Check a row from outside. Raises ValueError."""

    def write(self, sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
        """Make the object whole at a live place; one that is there already is completed or brought up to date."""

    def link(self, sink: Live, written_id: str, todo: Json, ids: Ids) -> list[Loss]:
        """The second pass over what `write` left in `Written.link`: all else is there by now."""

    def portable(self, record: Record, swaps: dict[str, str] | None = None) -> Json:
        """What must be equal at both ends. `swaps` turns ids into those both ends share."""

    def origin(self, record: Record) -> str:
        """The id of the object this one came from in the first place, or its own."""

    def swaps_of(self, record: Record, known: Known) -> dict[str, str]:
        """What turns the ids in this object into those that both ends share."""

    def comparable(self, file: File, swaps: dict[str, str]) -> File:
        """An artifact as it would stand at the other end."""

    def rows_summary(self, record: Record, swaps: dict[str, str]) -> Json | list[Json]:
        """A short value that is equal exactly when all rows are."""

    def differing_rows(self, left: Record, right: Record) -> Iterator[FieldDifference]:
        """The first differences between the rows of two objects."""


class WriteTogether(Protocol):
    """`write` of several objects of a kind: does what they share, and gives for each the rest that is to do.

    Raises what `write` of any of them would; then nothing is lost, and they are written one by one.
    """

    def __call__(
        self, sink: Live, records: Sequence[Record], ids: Ids, job: Writing
    ) -> list[Callable[[], Written]]: ...


def experiment_at(ids: Ids, record: Record) -> str:
    """The destination's experiment of an object; "" in a rehearsal that would make it.

    Raises NotFoundError, and LeftOutError where the experiment was not to be written.
    """
    source_id = record.refs["experiment"]
    found = ids.get("experiment", source_id)
    if found is None and is_left_out(ids, source_id):
        raise LeftOutError("its experiment is left out", f"source experiment {source_id}")
    if found is None:
        raise NotFoundError("its experiment did not arrive", f"source experiment {source_id}")
    return found


def leave_out(ids: Ids, experiment_id: str) -> None:
    """This job is not to write an experiment nor anything in it."""
    ids.once(_left_out(experiment_id), lambda: True)


def is_left_out(ids: Ids, experiment_id: str) -> bool:
    """Whether this job is not to write an experiment; asked when all experiments have been written."""
    return ids.once(_left_out(experiment_id), lambda: False)


def _left_out(experiment_id: str) -> str:
    return f"left out experiment {experiment_id}"


def run_at(ids: Ids, source_id: str) -> str | None:
    """The destination's run that came from this one, in this job or an earlier one."""
    return ids.get("run", source_id) or ids.once(f"locate run {source_id}", lambda: ids.locate_run(source_id))


def choose_unless_by_run(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """`choose` of a kind that belongs to experiments as a whole: it isn't asked for where single runs are."""
    return (record for record in records if not selection.run_ids)


def of_experiments(selection: Selection) -> bool:
    """Whether only some experiments or runs are asked for: then what belongs to the whole server isn't."""
    return bool(selection.experiments or selection.run_ids)


def choose_unless_of_experiments(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """`choose` of a kind that belongs to the whole server."""
    return iter(()) if of_experiments(selection) else records


def no_row(name: str, row: Json) -> None:
    """`validate_row` of a kind without rows."""
    raise ValueError("this kind has no rows")


def no_link(sink: Live, written_id: str, todo: Json, ids: Ids) -> list[Loss]:
    """`link` of a kind that leaves nothing for the second pass."""
    return []


def own_id(record: Record) -> str:
    """`origin` of a kind that keeps its ids everywhere."""
    return record.id


def no_swaps(record: Record, known: Known) -> dict[str, str]:
    """`swaps_of` of a kind that holds no ids."""
    return {}


def same_file(file: File, swaps: dict[str, str]) -> File:
    """`comparable` of a kind whose artifacts hold no ids."""
    return file


def no_rows_summary(record: Record, swaps: dict[str, str]) -> Json | list[Json]:
    """`rows_summary` of a kind without rows."""
    return []


def no_differing_rows(left: Record, right: Record) -> Iterator[FieldDifference]:
    """`differing_rows` of a kind without rows."""
    return iter(())
