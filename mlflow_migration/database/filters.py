"""MLflow's search texts as conditions on its tables, by MLflow's own translation of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mlflow_migration.database.reading import Reading
from mlflow_migration.errors import UsageError


def run_ids(reading: Reading, filter_: str) -> sa.Select[Any]:
    """A selection of the ids of runs. Raises UsageError for a text that MLflow doesn't understand."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.dbmodels.models import SqlRun
    from mlflow.store.tracking.sqlalchemy_store import _get_sqlalchemy_filter_clauses
    from mlflow.utils.search_utils import SearchUtils

    statement = sa.select(SqlRun.run_uuid)
    if not filter_:
        return statement
    try:
        parsed = SearchUtils.parse_search_filter(filter_)
        # The session is only what subqueries are written with.
        with reading.session() as session:
            own, others, datasets = _get_sqlalchemy_filter_clauses(parsed, session, reading.connected.dialect)
    except MlflowException as error:
        raise UsageError(f"not a filter: {filter_}", error.message, "write it like: metrics.acc > 0.9") from error
    for other in others:
        statement = statement.join(other)
    for dataset in datasets:
        statement = statement.join(dataset, SqlRun.run_uuid == dataset.c.destination_id)
    return statement.where(*own)


def logged_model_ids(reading: Reading, filter_: str) -> sa.Select[Any]:
    """A selection of the ids of logged models that aren't deleted; raises UsageError likewise."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.dbmodels.models import SqlLoggedModel

    statement = sa.select(SqlLoggedModel.model_id)
    if not filter_:
        return statement.where(SqlLoggedModel.lifecycle_stage != "deleted")
    try:
        with reading.session() as session:
            experiments = [row[0] for row in session.query(SqlLoggedModel.experiment_id).distinct()]
            query = reading.tracking._apply_filter_string_datasets_search_logged_models(
                session.query(SqlLoggedModel.model_id), session, experiments, filter_, None
            )
    except MlflowException as error:
        raise UsageError(f"not a filter: {filter_}", error.message, "write it like: name = 'forest'") from error
    return statement.where(SqlLoggedModel.model_id.in_(query.statement))


def trace_ids(reading: Reading, filter_: str) -> sa.Select[Any]:
    """A selection of the ids of traces; raises UsageError likewise."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.dbmodels.models import SqlTraceInfo
    from mlflow.store.tracking.sqlalchemy_store import _get_filter_clauses_for_search_traces

    statement = sa.select(SqlTraceInfo.request_id)
    if not filter_:
        return statement
    store = reading.tracking
    try:
        with reading.session() as session:
            scope = store._trace_query(session)
            clauses = _get_filter_clauses_for_search_traces(filter_, session, reading.connected.dialect, scope)
            query = store._apply_trace_filter_clauses(session.query(SqlTraceInfo.request_id), *clauses)
    except MlflowException as error:
        raise UsageError(f"not a filter: {filter_}", error.message, "write it like: status = 'OK'") from error
    return statement.where(SqlTraceInfo.request_id.in_(query.statement))
