"""Issues, label schemas and review queues straight from their tables, those of deleted experiments too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import sqlalchemy as sa

from mlflow_migration.database.reading import Reading, as_json, numbers, or_none, paged
from mlflow_migration.records import Json

PER_PAGE = 500


class Reviews:
    """Implements `ReviewReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._tables = reading.tables

    # Issues

    def search_issues(self, experiment_id: str = "") -> Iterator[Json]:
        """The issues of an experiment, or of all."""
        search = partial(self._reading.tracking.search_issues, experiment_id or None, max_results=PER_PAGE)
        return (as_json(issue.to_proto()) for issue in paged(search))

    def get_issue(self, issue_id: str) -> Json | None:
        found = or_none(lambda: self._reading.tracking.get_issue(issue_id))
        return None if found is None else as_json(found.to_proto())

    # Label schemas

    def list_label_schemas(self, experiment_id: str) -> Iterator[Json]:
        """The schemas of an experiment, the newest first. Nothing is made by asking, as a server would."""
        c = self._tables["label_schemas"].c
        yield from self._schemas(c.experiment_id.in_(numbers([experiment_id])))

    def get_label_schema(self, schema_id: str) -> Json | None:
        return next(self._schemas(self._tables["label_schemas"].c.schema_id == schema_id), None)

    def get_label_schema_by_name(self, experiment_id: str, name: str) -> Json | None:
        c = self._tables["label_schemas"].c
        return next(self._schemas(sa.and_(c.experiment_id.in_(numbers([experiment_id])), c.name == name)), None)

    def _schemas(self, which: sa.ColumnElement[bool]) -> Iterator[Json]:
        from mlflow.store.tracking.dbmodels.models import SqlLabelSchema

        with self._reading.session() as session:
            here = self._reading.here(self._tables["label_schemas"].c.experiment_id)
            query = session.query(SqlLabelSchema).filter(which, here)
            rows = query.order_by(SqlLabelSchema.created_time.desc(), SqlLabelSchema.schema_id).all()
            found = [as_json(row.to_mlflow_entity().to_proto()) for row in rows]
        yield from found

    # Review queues

    def list_review_queues(self, experiment_id: str) -> Iterator[Json]:
        """The queues of an experiment, the newest first."""
        c = self._tables["review_queues"].c
        yield from self._queues(c.experiment_id.in_(numbers([experiment_id])))

    def get_review_queue(self, queue_id: str) -> Json | None:
        return next(self._queues(self._tables["review_queues"].c.queue_id == queue_id), None)

    def get_review_queue_by_name(self, experiment_id: str, name: str) -> Json | None:
        return next((queue for queue in self.list_review_queues(experiment_id) if _is_named(queue, name)), None)

    def _queues(self, which: sa.ColumnElement[bool]) -> Iterator[Json]:
        from mlflow.store.tracking.dbmodels.models import SqlReviewQueue

        with self._reading.session() as session:
            here = self._reading.here(self._tables["review_queues"].c.experiment_id)
            query = session.query(SqlReviewQueue).filter(which, here)
            rows = query.order_by(SqlReviewQueue.creation_time_ms.desc(), SqlReviewQueue.queue_id).all()
            whole = self._reading.tracking._hydrate_review_queues(session, rows)
            found = [as_json(each.to_proto()) for each in whole]
        yield from found

    def list_queue_items(self, queue_id: str) -> Iterator[Json]:
        """The traces in a queue."""
        search = partial(self._reading.tracking.list_review_queue_items, queue_id, max_results=PER_PAGE)
        return (as_json(item.to_proto()) for item in paged(search))


def _is_named(queue: Json, name: str) -> bool:
    """MLflow tells the names of queues apart without regard to case."""
    return str(queue["name"]).casefold() == name.casefold()
