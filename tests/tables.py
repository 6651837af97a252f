"""Every table of two MLflow SQLite databases, row by row, after everything was moved from one to the other.

It judges the tool and shares nothing with it. Ids that a server gives itself are replaced by what they stand for; of a
row only what no client can set is left out (IGNORED), and tables that MLflow makes of others (SKIPPED).
"""

import contextlib
import json
import re
from collections import Counter
from typing import Any

import sqlalchemy

from tests.databases import Stored

Row = tuple[Any, ...]
TIMES = {"creation_time", "last_update_time", "last_updated_time", "created_time", "creation_timestamp_ms"}
TIMES |= {"last_updated_timestamp_ms", "creation_time_ms", "last_update_time_ms", "completed_time_ms"}
TIMES |= {"creation_timestamp", "last_updated_timestamp", "deleted_time", "created_at", "last_updated_at"}
IGNORED = {
    "datasets": {"dataset_uuid"},
    "entity_associations": {"association_id"},
    "evaluation_dataset_records": {"dataset_record_id"},
    "evaluation_datasets": {"digest", "last_updated_by"},
    "endpoint_model_mappings": {"mapping_id", "created_by"},
    "guardrail_configs": {"created_by"},
    "guardrails": {"created_by", "last_updated_by"},
    "inputs": {"input_uuid"},
    "issues": {"created_timestamp"},
    "label_schemas": {"created_by"},
    "mcp_access_endpoints": {"id"},
    "model_versions": {"user_id"},
    "online_scoring_configs": {"online_scoring_config_id"},
    "review_queues": {"created_by"},
    "secrets": {"encrypted_value", "wrapped_dek", "masked_value", "auth_config", "created_by", "last_updated_by"},
    "trace_info": {"db_payload_generation"},
    "webhooks": {"secret"},
}
SKIPPED = {"alembic_version", "jobs", "job_locks", "scheduler_leases"}
MARK = "mlflow_migration."
NAMES = {
    "runs": "SELECT run_uuid, coalesce((SELECT value FROM tags t WHERE t.run_uuid = r.run_uuid"
    " AND key = 'mlflow_migration.run_id'), run_uuid) FROM runs r",
    "models": "SELECT model_id, coalesce((SELECT tag_value FROM logged_model_tags t WHERE t.model_id = m.model_id"
    " AND tag_key = 'mlflow_migration.model_id'), model_id) FROM logged_models m",
    "evaluation datasets": "SELECT dataset_id, coalesce((SELECT value FROM evaluation_dataset_tags t WHERE"
    " t.dataset_id = d.dataset_id AND key = 'mlflow_migration.dataset_id'), dataset_id) FROM evaluation_datasets d",
    "issues": "SELECT issue_id, 'issue ' || name || description FROM issues",
    "schemas": "SELECT schema_id, 'schema ' || s.name || e.name FROM label_schemas s"
    " JOIN experiments e USING (experiment_id)",
    "queues": "SELECT queue_id, 'queue ' || q.name || e.name FROM review_queues q"
    " JOIN experiments e USING (experiment_id)",
    "scorers": "SELECT scorer_id, 'scorer ' || scorer_name || e.name FROM scorers"
    " JOIN experiments e USING (experiment_id)",
    "webhooks": "SELECT webhook_id, 'webhook ' || name FROM webhooks",
    "secrets": "SELECT secret_id, 'secret ' || secret_name FROM secrets",
    "model definitions": "SELECT model_definition_id, 'definition ' || name FROM model_definitions",
    "endpoints": "SELECT endpoint_id, 'endpoint ' || name FROM endpoints",
    "budgets": "SELECT budget_policy_id, 'budget' FROM budget_policies",
    "guardrails": "SELECT guardrail_id, 'guardrail ' || g.name || scorer_name FROM guardrails g"
    " JOIN scorers USING (scorer_id)",
    "datasets": "SELECT dataset_uuid, 'dataset ' || d.name || digest || e.name FROM datasets d"
    " JOIN experiments e USING (experiment_id)",
}


class Database:
    """The rows of one database in words that both ends share."""

    def __init__(self, place: Stored) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{place.database}")
        tables = sqlalchemy.MetaData()
        tables.reflect(engine)
        with engine.connect() as base:
            found = {
                name: [dict(row) for row in base.execute(sqlalchemy.select(table)).mappings()]
                for name, table in tables.tables.items()
                if name not in SKIPPED and "rollup" not in name
            }
            self._ids = {row[0]: row[1] for query in NAMES.values() for row in base.execute(sqlalchemy.text(query))}
        engine.dispose()
        self._pattern = re.compile("|".join(map(re.escape, self._ids)) or "(?!)")
        self._experiments = {str(row["experiment_id"]): str(row["name"]) for row in found["experiments"]}
        ends = {row["input_uuid"]: f"{row['source_id']} {row['destination_id']}" for row in found["inputs"]}
        self._inputs = {id_: self._text(text) for id_, text in ends.items()}
        self.rows = {
            name: Counter(filter(None, (self._row(name, row) for row in rows))) for name, rows in found.items()
        }

    def _row(self, table: str, values: dict[str, Any]) -> Row | None:
        key = values.get("key", values.get("tag_key", ""))
        if isinstance(key, str) and (key.startswith(MARK) or key == "mlflow.trace.infoFinalized"):
            return None
        left_out = TIMES | IGNORED.get(table, set())
        if table == "experiments":
            left_out = left_out | {"experiment_id"}
        return tuple(
            (name, self._value(table, name, value, values)) for name, value in values.items() if name not in left_out
        )

    def _value(self, table: str, name: str, value: Any, row: dict[str, Any]) -> Any:
        if value is None or value == "":
            return ""
        if name == "experiment_id" or (name in {"source_id", "destination_id"} and _is_experiment(name, row)):
            return self._experiments[str(value)]
        if name == "input_uuid":
            return self._inputs[value]
        if not isinstance(value, str):
            return repr(value)
        return self._text_value(table, name, value, row)

    def _text_value(self, table: str, name: str, value: str, row: dict[str, Any]) -> str:
        if name == "value" and row.get("key") == "_mlflow_experiment_ids":
            return repr(sorted(self._experiments[id_] for id_ in value.split(",") if id_))
        if (table, name) == ("assessments", "assessment_metadata"):
            # A map of protobuf, written in no order.
            return json.dumps(json.loads(self._text(value)), sort_keys=True)
        return _canonical(self._text(value)) if (table, name) == ("spans", "content") else self._text(value)

    def _text(self, text: str) -> str:
        text = re.sub(r"mlflow-artifacts:/([0-9]+)", lambda match: f"artifacts of {self._experiments[match[1]]}", text)
        return self._pattern.sub(lambda match: self._ids[match[0]], text)


def _is_experiment(name: str, row: dict[str, Any]) -> bool:
    return str(row.get(name.replace("_id", "_type"))).lower() == "experiment"


def _canonical(text: str) -> str:
    """A span without the white space of JSON inside its attributes, and with an absent end as MLflow stores it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, str) and value[:1] in '{["':
            with contextlib.suppress(ValueError):
                return plain(json.loads(value))
        return value

    span = json.loads(text)
    span["end_time_unix_nano"] = span.get("end_time_unix_nano") or 0
    return json.dumps(plain(span), sort_keys=True)


def differences(source: Stored, destination: Stored) -> list[str]:
    """What is in one database and not in the other, as sentences."""
    left, right = Database(source).rows, Database(destination).rows
    found = []
    for table in sorted({*left, *right}):
        ours, theirs = left.get(table, Counter()), right.get(table, Counter())
        found += [f"{table} missing: {row}" for row in (ours - theirs).elements()]
        found += [f"{table} surplus: {row}" for row in (theirs - ours).elements()]
    return found


def counts(place: Stored) -> dict[str, int]:
    """How many rows each table has that has any."""
    return {table: sum(rows.values()) for table, rows in Database(place).rows.items() if rows}
