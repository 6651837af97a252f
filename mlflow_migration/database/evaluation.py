"""Evaluation datasets with their records, and scorers, straight from their tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from mlflow_migration.database.reading import Reading, as_json, chunks, numbers, or_none
from mlflow_migration.records import Json

RECORDS = 500


class Evaluation:
    """Implements `EvaluationReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._tables = reading.tables

    def search_datasets(self, experiment_ids: Sequence[str] | None = None) -> Iterator[Json]:
        """Datasets tied to one of these experiments, each once, oldest first; all of them where None is given."""
        c, ties = self._tables["evaluation_datasets"].c, self._tables["entity_associations"].c
        statement = sa.select(c.dataset_id).where(c.workspace == self._reading.workspace)
        if experiment_ids is not None:
            tied = sa.select(ties.source_id).where(
                ties.source_type == "evaluation_dataset",
                ties.destination_type == "experiment",
                ties.destination_id.in_(list(experiment_ids)),
            )
            statement = statement.where(c.dataset_id.in_(tied))
        for row in self._reading.rows(statement.order_by(c.created_time, c.dataset_id)):
            if (head := self.get_dataset(row.dataset_id)) is not None:
                yield head

    def get_dataset(self, dataset_id: str) -> Json | None:
        from mlflow.store.tracking.dbmodels.models import SqlEvaluationDataset

        with self._reading.session() as session:
            query = self._reading.tracking._get_query(session, SqlEvaluationDataset)
            found = query.filter(SqlEvaluationDataset.dataset_id == dataset_id).one_or_none()
            return None if found is None else as_json(found.to_mlflow_entity().to_proto())

    def get_dataset_experiment_ids(self, dataset_id: str) -> list[str]:
        ties = self._tables["entity_associations"].c
        statement = sa.select(ties.destination_id).where(
            ties.source_type == "evaluation_dataset",
            ties.source_id == dataset_id,
            ties.destination_type == "experiment",
        )
        return [row[0] for row in self._reading.rows(statement)]

    def get_dataset_records(self, dataset_id: str) -> Iterator[Json]:
        """Every record, in the order of creation."""
        from mlflow.store.tracking.dbmodels.models import SqlEvaluationDatasetRecord

        c = self._tables["evaluation_dataset_records"].c
        statement = sa.select(c.dataset_record_id).where(c.dataset_id == dataset_id)
        ids = [row[0] for row in self._reading.rows(statement.order_by(c.created_time, c.dataset_record_id))]
        for some in chunks(ids, RECORDS):
            with self._reading.session() as session:
                query = session.query(SqlEvaluationDatasetRecord)
                rows = query.filter(SqlEvaluationDatasetRecord.dataset_record_id.in_(some)).all()
                found = {row.dataset_record_id: row.to_mlflow_entity().to_dict() for row in rows}
            yield from (found[id_] for id_ in some if id_ in found)

    # Scorers

    def list_scorers(self, experiment_ids: Sequence[str]) -> Iterator[Json]:
        """The latest version of each scorer, in deleted experiments too."""
        c = self._tables["experiments"].c
        for some in chunks(experiment_ids):
            here = sa.select(c.experiment_id).where(
                c.experiment_id.in_(numbers(some)), c.workspace == self._reading.workspace
            )
            ids = [str(row[0]) for row in self._reading.rows(here)]
            for scorer in self._reading.tracking.list_scorers_across_experiments(ids):
                yield as_json(scorer.to_proto())

    def list_scorer_versions(self, experiment_id: str, name: str) -> list[Json]:
        """Every version, oldest first; none where there is no such scorer."""
        from mlflow.store.tracking.dbmodels.models import SqlScorer, SqlScorerVersion

        store = self._reading.tracking
        with self._reading.session() as session:
            query = session.query(SqlScorerVersion).join(SqlScorer, SqlScorer.scorer_id == SqlScorerVersion.scorer_id)
            mine = (SqlScorer.experiment_id.in_(numbers([experiment_id])), SqlScorer.scorer_name == name)
            here = self._reading.here(self._tables["scorers"].c.experiment_id)
            rows = query.filter(*mine, here).order_by(SqlScorerVersion.scorer_version).all()
            entities = [row.to_mlflow_entity() for row in rows]
        texts = store._batch_resolve_endpoint_in_serialized_scorers([each._serialized_scorer for each in entities])
        heads = [as_json(each.to_proto()) for each in entities]
        return [{**head, "serialized_scorer": text} for head, text in zip(heads, texts, strict=True)]

    def get_online_configs(self, scorer_id: str) -> list[Json]:
        """When MLflow runs a scorer by itself."""
        found = or_none(lambda: self._reading.tracking.get_online_scoring_configs([scorer_id]))
        return [each.to_dict() for each in found or ()]
