"""A database with rows in every table of MLflow's, made by SQL alone: two experiments, two of whatever is in each.

Every column holds something of its own, so that one that is left behind or mixed up is seen.
"""

import datetime
import hashlib
from pathlib import Path
from typing import Any

import sqlalchemy as sa

EXPERIMENTS = (7, 4242)
OWN_STATE = {"alembic_version", "jobs", "job_locks", "scheduler_leases"}
"""What a server keeps of its own work."""
TIME = 1_700_000_000_000


def key(kind: str, experiment: int, number: int, length: int = 32) -> str:
    """An id that tells two kinds, experiments and numbers apart."""
    return hashlib.sha256(f"{kind} {experiment} {number}".encode()).hexdigest()[:length]


def ids(experiment: int, number: int) -> dict[str, Any]:
    """The ids of the things with this number, under the names of the columns that refer to them."""
    trace, run = f"tr-{key('trace', experiment, number)}", key("run", experiment, number)
    return {
        "experiment_id": experiment,
        "run_uuid": run,
        "run_id": run,
        "source_run_id": run,
        "model_id": f"m-{key('model', experiment, number)}",
        "request_id": trace,
        "trace_id": trace,
        "span_id": key("span", experiment, number, 16),
        "dataset_uuid": key("dataset", experiment, number),
        "input_uuid": key("input", experiment, number),
        "scorer_id": key("scorer", experiment, number, 36),
        "scorer_version": 1,
        "schema_id": f"ls-{key('schema', experiment, number)}",
        "queue_id": f"rq-{key('queue', experiment, number)}",
        "dataset_id": f"d-{key('evaluation', experiment, number)}",
        "webhook_id": key("webhook", experiment, number),
        "secret_id": f"s-{key('secret', experiment, number)}",
        "model_definition_id": f"d-{key('definition', experiment, number)}",
        "endpoint_id": f"e-{key('endpoint', experiment, number)}",
        "action_endpoint_id": f"e-{key('endpoint', experiment, number)}",
        "guardrail_id": f"g-{key('guardrail', experiment, number)}",
        "lifecycle_stage": ("active", "deleted")[number],
        "workspace": "default",
    }


FIXED = {
    "runs": {"source_type": "LOCAL", "status": "FINISHED"},
    "experiments": {"lifecycle_stage": "active"},
    "assessments": {"assessment_type": "feedback"},
}
"""Values that a table's constraints ask for."""


def fill(path: Path) -> None:
    """Fill an empty database of MLflow's."""
    engine = sa.create_engine(f"sqlite:///{path}")
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        for table in tables.sorted_tables:
            if table.name in OWN_STATE:
                continue
            rows = [
                row
                for experiment in EXPERIMENTS
                for number in range(1 if table.name == "experiments" else 2)
                for row in _rows(table, experiment, number)
            ]
            connection.execute(table.insert(), rows)
    engine.dispose()


def _rows(table: sa.Table, experiment: int, number: int) -> list[dict[str, Any]]:
    known = {**ids(experiment, number), **FIXED.get(table.name, {}), **_names(table.name, experiment, number)}
    row = {
        column.name: known.get(column.name, _value(column, experiment, number))
        for column in table.columns
        if column.computed is None
    }
    columns = table.columns.keys()
    several = _several(table.name, experiment, number)
    return [{**row, **{name: value for name, value in more.items() if name in columns}} for more in several]


def _names(table: str, experiment: int, number: int) -> dict[str, Any]:
    model, server = f"modèl {experiment}-{number}", f"server/{experiment}-{number}"
    if table in {"registered_models", "model_versions"} or table.startswith(("registered_model_", "model_version_")):
        return {"name": model, "version": 3}
    if table.startswith("mcp_"):
        return {"name": server, "server_name": server, "version": "1.2.3", "server_version": "1.2.3"}
    if table == "experiments":
        return {"artifact_location": f"/nowhere/{experiment}"}
    if table == "trace_tags":
        return {"key": "mlflow.artifactLocation"}
    return {}


def _several(table: str, experiment: int, number: int) -> list[dict[str, Any]]:
    """Where one row for each thing isn't enough, or a row ties two things."""
    mine = ids(experiment, number)
    other = ids(EXPERIMENTS[experiment == EXPERIMENTS[0]], number)
    if table == "metrics":
        return [{"step": step, "value": value} for step, value in enumerate((0.1, 1.7976931348623157e308, -0.0))]
    if table == "logged_model_metrics":
        # One of a run of the same experiment, one of a run of the other.
        return [{"run_id": mine["run_uuid"]}, {"run_id": other["run_uuid"]}]
    if table == "inputs":
        run, model = mine["run_uuid"], mine["model_id"]
        taken = {"source_type": "DATASET", "source_id": mine["dataset_uuid"]}
        return [
            {**taken, "destination_type": "RUN", "destination_id": run},
            _tie("RUN_INPUT", run, "MODEL_INPUT", model),
            _tie("RUN_OUTPUT", run, "MODEL_OUTPUT", model),
        ]
    if table == "entity_associations":
        return [
            _tie("trace", mine["trace_id"], "run", mine["run_uuid"]),
            _tie("evaluation_dataset", mine["dataset_id"], "experiment", str(experiment)),
        ]
    return [{}]


def _tie(source_type: str, source: str, target_type: str, target: str) -> dict[str, str]:
    id_ = hashlib.sha256(f"{source}{target}".encode()).hexdigest()[:32]
    return {
        "source_type": source_type,
        "source_id": source,
        "destination_type": target_type,
        "destination_id": target,
        "input_uuid": id_,
        "association_id": id_,
    }


def _value(column: "sa.Column[Any]", experiment: int, number: int) -> Any:
    """Something of this column's own, of its type and length."""
    place = f"{column.table.name}.{column.name} é'{experiment}-{number}"
    mark = int(hashlib.sha256(place.encode()).hexdigest()[:6], 16)
    kind = column.type
    length = getattr(kind, "length", None) or 200
    made = {
        sa.Boolean: bool(mark % 2),
        sa.BigInteger: TIME + mark,
        sa.Integer: mark % 30_000,
        sa.Date: datetime.date(2024, 1, 1) + datetime.timedelta(days=mark % 300),
        sa.Float: mark / 3,
        sa.LargeBinary: b"\0\xff" + place.encode(),
        sa.JSON: {"z": [1, None, 0.5], "a": place},
        sa.String: place if len(place) <= length else f"{mark:x}"[:length],
    }
    return next(value for of, value in made.items() if isinstance(kind, of))
