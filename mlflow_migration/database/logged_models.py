"""Logged models straight from their tables, deleted ones too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from mlflow_migration.database import filters
from mlflow_migration.database.reading import Reading, chunks, filled, grouped, numbers, pair, present
from mlflow_migration.database.runs import EXPERIMENTS, number
from mlflow_migration.records import Json

DELETED = "deleted"


class LoggedModels:
    """The logged models of the workspace. Implements `LoggedModelReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._tables = reading.tables
        self._any: bool | None = None

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Models that aren't deleted, with params, tags and metrics, oldest first."""
        c = self._tables["logged_models"].c
        for some in chunks(experiment_ids, EXPERIMENTS):
            here = sa.and_(c.experiment_id.in_(numbers(some)), self._reading.here(c.experiment_id))
            statement = filters.logged_model_ids(self._reading, filter_).where(here)
            statement = statement.order_by(c.creation_timestamp_ms, c.model_id)
            ids = [row[0] for row in self._reading.rows(statement.limit(limit) if limit else statement)]
            for part in chunks(ids):
                yield from self._heads(part)

    def deleted(self, experiment_ids: Sequence[str]) -> Iterator[Json]:
        """Models that are deleted, likewise."""
        c = self._tables["logged_models"].c
        for some in chunks(experiment_ids, EXPERIMENTS):
            here = sa.and_(c.experiment_id.in_(numbers(some)), self._reading.here(c.experiment_id))
            statement = sa.select(c.model_id).where(here, c.lifecycle_stage == DELETED)
            ids = [row[0] for row in self._reading.rows(statement.order_by(c.creation_timestamp_ms, c.model_id))]
            for part in chunks(ids):
                yield from self._heads(part)

    def get(self, model_id: str) -> Json | None:
        """A model in whatever state, deleted ones too."""
        return next(self._heads([model_id]), None)

    def with_inputs(self, run: Json) -> Json:
        """A run with the models it took in: it has them from the beginning."""
        return run

    def exist(self) -> bool:
        """Whether there is a model in any experiment of the workspace; asked once."""
        if self._any is None:
            c = self._tables["logged_models"].c
            self._any = bool(
                self._reading.rows(sa.select(c.model_id).where(self._reading.here(c.experiment_id)).limit(1))
            )
        return self._any

    def _heads(self, model_ids: Sequence[str]) -> Iterator[Json]:
        models, tags, params, metrics = (
            self._tables[name]
            for name in ("logged_models", "logged_model_tags", "logged_model_params", "logged_model_metrics")
        )
        rows, *parts = self._reading.together(
            sa.select(models).where(models.c.model_id.in_(model_ids), self._reading.here(models.c.experiment_id)),
            sa.select(tags.c.model_id, tags.c.tag_key, tags.c.tag_value).where(tags.c.model_id.in_(model_ids)),
            sa.select(params.c.model_id, params.c.param_key, params.c.param_value).where(
                params.c.model_id.in_(model_ids)
            ),
            sa.select(metrics).where(metrics.c.model_id.in_(model_ids)),
        )
        tags_of, params_of, metrics_of = map(grouped, parts)
        found = {row.model_id: row for row in rows}
        for model_id in model_ids:
            if model_id in found:
                info = _info(found[model_id])
                own = [pair(key, value) for _, key, value in tags_of.get(model_id, ())]
                yield {
                    "info": {**info, **filled(tags=own)},
                    "data": filled(
                        params=[pair(key, value) for _, key, value in params_of.get(model_id, ())],
                        metrics=[_metric(row) for row in metrics_of.get(model_id, ())],
                    ),
                }


def _info(row: Any) -> Json:
    from mlflow.entities import LoggedModelStatus
    from mlflow.protos.service_pb2 import LoggedModelStatus as Numbers

    return present(
        model_id=row.model_id,
        experiment_id=str(row.experiment_id),
        name=row.name,
        creation_timestamp_ms=row.creation_timestamp_ms,
        last_updated_timestamp_ms=row.last_updated_timestamp_ms,
        artifact_uri=row.artifact_location,
        status=Numbers.Name(LoggedModelStatus.from_int(row.status).to_proto()),
        model_type=row.model_type,
        source_run_id=row.source_run_id,
        status_message=row.status_message,
    )


def _metric(row: Any) -> Json:
    return present(
        key=row.metric_name,
        value=None if row.metric_value is None else number(row.metric_value),
        timestamp=row.metric_timestamp_ms,
        step=row.metric_step,
        dataset_name=row.dataset_name or None,
        dataset_digest=row.dataset_digest or None,
        model_id=row.model_id or None,
        run_id=row.run_id or None,
    )
