"""A place as MLflow's REST API would show it, for comparing it with a server: databases, and bundles made from them,
hold what no server ever shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mlflow_migration.objects import logged_model, trace, trace_head
from mlflow_migration.places import Selection, Source
from mlflow_migration.records import Record


def beside(place: Source, other: Source) -> Source:
    """A place as it is to be compared with another one."""
    return AsServersShow(place) if place.shows_all and not other.shows_all else place


class AsServersShow:
    """Implements `Source`."""

    shows_all = False

    def __init__(self, source: Source) -> None:
        self.address = source.address
        self._source = source

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """The objects of a kind that a server would show."""
        return (
            _shown(record) for record in self._source.records(kind, selection) if not logged_model.is_unseen(record)
        )

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        found = self._source.record(kind, record_id, selection)
        return None if found is None else _shown(found)


def _shown(record: Record) -> Record:
    return replace(record, head=trace_head.as_shown(record.head)) if record.kind == trace.NAME else record
