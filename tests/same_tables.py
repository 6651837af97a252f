"""All tables of two databases of MLflow's, row by row and column by column, by SQL of its own.

Shares nothing with the tool. What REST doesn't show, and so can't arrive from a server, is listed here by name.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlalchemy

UNSHOWN = {
    "assessments": {"run_id"},
    "datasets": {"dataset_uuid"},
    "endpoint_bindings": {"last_updated_by", "display_name"},
    "endpoint_model_mappings": {"created_by", "created_at"},
    "endpoints": set[str](),
    "entity_associations": {"association_id", "created_time"},
    "guardrail_configs": {"created_by", "created_at"},
    "inputs": {"input_uuid"},
    "input_tags": {"input_uuid"},
    "model_versions": {"user_id"},
    "runs": {"deleted_time", "source_type", "source_name", "entry_point_name", "source_version"},
    "secrets": set[str](),
    "trace_info": {"db_payload_generation"},
    "webhooks": {"secret"},
}
OF_THE_SERVER = {"alembic_version", "jobs", "job_locks", "scheduler_leases", "secrets"}
Row = tuple[tuple[str, str], ...]


def rows(uri: str, change: Callable[[str], str] = str) -> dict[str, Counter[Row]]:
    """Every row of every table as sorted (column, value), texts changed by `change`."""
    engine = sqlalchemy.create_engine(uri)
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    found = {}
    with engine.connect() as base:
        ids = {}
        if "datasets" in tables.tables:
            for row in base.execute(sqlalchemy.text("SELECT dataset_uuid, experiment_id, name, digest FROM datasets")):
                ids[row[0]] = f"dataset {tuple(row[1:])}"
        for name, table in tables.tables.items():
            if name in OF_THE_SERVER or "rollup" in name:
                continue
            left_out = UNSHOWN.get(name, set())
            found[name] = Counter(
                tuple(
                    sorted(
                        (column, _text(ids.get(value, value) if isinstance(value, str) else value, change))
                        for column, value in row.items()
                        if column not in left_out
                    )
                )
                for row in base.execute(sqlalchemy.select(table)).mappings()
            )
    engine.dispose()
    return found


def _text(value: Any, change: Callable[[str], str]) -> str:
    """A value as a text that both databases share: they keep truth and JSON their own ways."""
    if value in (None, ""):
        return ""
    if isinstance(value, bool):
        return repr(int(value))
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return change(value)
        return change(_json(parsed)) if isinstance(parsed, (dict, list)) else change(value)
    return change(_json(value)) if isinstance(value, (dict, list)) else repr(value)


def _json(value: Any) -> str:
    """JSON without what it leaves open; so is the JSON in its texts, whose spaces a server doesn't show of spans."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return _text(value, str)


def differences(source: str, destination: str, change: Callable[[str], str] = str) -> list[str]:
    """Differences as sentences."""
    left, right = rows(source, change), rows(destination)
    told = []
    for name in sorted({*left, *right}):
        here, there = left.get(name, Counter()), right.get(name, Counter())
        told += [f"{name} missing: {_short(row)}" for row in (here - there).elements()]
        told += [f"{name} surplus: {_short(row)}" for row in (there - here).elements()]
    return told


def _short(row: Row) -> str:
    return ", ".join(f"{column}={value[:80]!r}" for column, value in row if value)
