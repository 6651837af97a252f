"""Experiments straight from their tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from mlflow_migration.database.reading import Reading, chunks, filled, grouped, numbers, pair, present
from mlflow_migration.records import Json


class Experiments:
    """The experiments of the workspace."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._table = reading.tables["experiments"]
        self._tags = reading.tables["experiment_tags"]

    def search(self) -> Iterator[Json]:
        """Experiments in every state, by id."""
        c = self._table.c
        here = sa.select(c.experiment_id).where(c.workspace == self._reading.workspace).order_by(c.experiment_id)
        for ids in chunks([row[0] for row in self._reading.rows(here)]):
            yield from self._heads(c.experiment_id.in_(ids))

    def get(self, experiment_id: str) -> Json | None:
        return next(self._heads(self._table.c.experiment_id.in_(numbers([experiment_id]))), None)

    def get_by_name(self, name: str) -> Json | None:
        return next(self._heads(self._table.c.name == name), None)

    def _heads(self, which: sa.ColumnElement[bool]) -> Iterator[Json]:
        table, tags = self._table, self._tags
        chosen = [which, table.c.workspace == self._reading.workspace]
        joined = tags.join(table, table.c.experiment_id == tags.c.experiment_id)
        rows, found = self._reading.together(
            sa.select(table).where(*chosen).order_by(table.c.experiment_id),
            sa.select(tags.c.experiment_id, tags.c.key, tags.c.value).select_from(joined).where(*chosen),
        )
        tags_of = grouped(found)
        for row in rows:
            yield _head(row, [pair(key, value) for _, key, value in tags_of.get(row.experiment_id, ())])


def _head(row: Any, tags: list[Json]) -> Json:
    return {
        **present(
            experiment_id=str(row.experiment_id),
            name=row.name,
            artifact_location=row.artifact_location,
            lifecycle_stage=row.lifecycle_stage,
            last_update_time=row.last_update_time or None,
            creation_time=row.creation_time or None,
        ),
        **filled(tags=tags),
        "workspace": row.workspace,
    }
