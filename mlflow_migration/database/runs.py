"""Runs straight from their tables: some hundred at a time, each table asked once for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from mlflow_migration.database import filters
from mlflow_migration.database.reading import Reading, chunks, filled, grouped, numbers, pair, present
from mlflow_migration.records import Json

EXPERIMENTS = 100
"""Experiments that are searched together, so that the order of runs is that of a server."""
NAME_TAG = "mlflow.runName"


class Runs:
    """The runs of the workspace."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._tables = reading.tables

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Runs in every state, oldest start first. Raises UsageError for a filter that MLflow doesn't understand."""
        for some in chunks(experiment_ids, EXPERIMENTS):
            statement = filters.run_ids(self._reading, filter_).where(self._in(some))
            c = self._tables["runs"].c
            order = (sa.case((c.start_time.is_(None), 1), else_=0), c.start_time, c.run_uuid)
            statement = statement.add_columns(*order[:2]).distinct().order_by(*order)
            ids = [row[0] for row in self._reading.rows(statement.limit(limit) if limit else statement)]
            for part in chunks(ids):
                yield from self.heads(part)

    def get(self, run_id: str) -> Json | None:
        return next(self.heads([run_id]), None)

    def _in(self, experiment_ids: Sequence[str]) -> sa.ColumnElement[bool]:
        column = self._tables["runs"].c.experiment_id
        return sa.and_(column.in_(numbers(experiment_ids)), self._reading.here(column))

    def heads(self, run_ids: Sequence[str]) -> Iterator[Json]:
        """The whole heads of the runs that are there, in the order of the ids; models taken in are among it."""
        runs = self._tables["runs"]
        chosen = sa.select(runs).where(runs.c.run_uuid.in_(run_ids), self._reading.here(runs.c.experiment_id))
        found, *parts = self._reading.together(chosen, *self._parts(run_ids), *self._links(run_ids))
        tags, params, metrics, datasets, models = map(grouped, parts)
        rows = {row.run_uuid: row for row in found}
        for run_id in run_ids:
            if run_id in rows:
                data = {
                    "metrics": [_metric(row) for row in metrics.get(run_id, ())],
                    "params": [pair(row.key, row.value) for row in params.get(run_id, ())],
                    "tags": [pair(row.key, row.value) for row in tags.get(run_id, ())],
                }
                inputs = {
                    "dataset_inputs": list(_dataset_inputs(datasets.get(run_id, ()))),
                    "model_inputs": [
                        {"model_id": row.destination_id}
                        for row in models.get(run_id, ())
                        if row.source_type == "RUN_INPUT"
                    ],
                }
                outputs = [
                    {"model_id": row.destination_id, "step": row.step}
                    for row in models.get(run_id, ())
                    if row.source_type == "RUN_OUTPUT"
                ]
                yield {
                    "info": _info(rows[run_id], data["tags"]),
                    "data": filled(**data),
                    "inputs": filled(**inputs),
                    "outputs": filled(model_outputs=outputs),
                }

    def _parts(self, run_ids: Sequence[str]) -> Iterator[sa.Select[Any]]:
        # No order is asked for: MLflow's own code asks for none, and a bundle is to say the same from either place.
        for name in ("tags", "params"):
            c = self._tables[name].c
            yield sa.select(c.run_uuid, c.key, c.value).where(c.run_uuid.in_(run_ids))
        c = self._tables["latest_metrics"].c
        yield sa.select(c.run_uuid, c.key, c.value, c.timestamp, c.step, c.is_nan).where(c.run_uuid.in_(run_ids))

    def _links(self, run_ids: Sequence[str]) -> Iterator[sa.Select[Any]]:
        inputs, datasets, tags = (self._tables[name] for name in ("inputs", "datasets", "input_tags"))
        joined = inputs.join(datasets, inputs.c.source_id == datasets.c.dataset_uuid)
        yield (
            sa.select(inputs.c.destination_id, datasets, tags.c.name.label("tag"), tags.c.value.label("tag_value"))
            .select_from(joined.outerjoin(tags, tags.c.input_uuid == inputs.c.input_uuid))
            .where(inputs.c.destination_type == "RUN", inputs.c.destination_id.in_(run_ids))
            .order_by(inputs.c.destination_id)
        )
        both = sa.or_(
            sa.and_(inputs.c.source_type == "RUN_INPUT", inputs.c.destination_type == "MODEL_INPUT"),
            sa.and_(inputs.c.source_type == "RUN_OUTPUT", inputs.c.destination_type == "MODEL_OUTPUT"),
        )
        columns = (inputs.c.source_id, inputs.c.source_type, inputs.c.destination_id, inputs.c.step)
        yield sa.select(*columns).where(inputs.c.source_id.in_(run_ids), both)


def number(value: float, is_nan: bool = False) -> float | str:
    """A value as MLflow's JSON has it."""
    if is_nan or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _metric(row: Any) -> Json:
    return {"key": row.key, "value": number(row.value, row.is_nan), "timestamp": row.timestamp, "step": row.step}


def _info(row: Any, tags: Iterable[Json]) -> Json:
    name = row.name or next((tag.get("value") for tag in tags if tag["key"] == NAME_TAG), None)
    return present(
        run_uuid=row.run_uuid,
        experiment_id=str(row.experiment_id),
        run_name=name if name else row.name,
        user_id=row.user_id,
        status=row.status,
        start_time=row.start_time,
        end_time=row.end_time or None,
        artifact_uri=row.artifact_uri or None,
        lifecycle_stage=row.lifecycle_stage,
        run_id=row.run_uuid,
    )


def _dataset_inputs(rows: Iterable[Any]) -> Iterator[Json]:
    """Each dataset once, with the tags of its use."""
    inputs: dict[str, Json] = {}
    for row in rows:
        tags = [] if row.tag is None else [{"key": row.tag, "value": row.tag_value}]
        if row.dataset_uuid in inputs:
            inputs[row.dataset_uuid].setdefault("tags", []).extend(tags)
            continue
        dataset = present(
            name=row.name,
            digest=row.digest,
            source_type=row.dataset_source_type,
            source=row.dataset_source,
            schema=row.dataset_schema or None,
            profile=row.dataset_profile or None,
        )
        inputs[row.dataset_uuid] = {**filled(tags=tags), "dataset": dataset}
    yield from inputs.values()
