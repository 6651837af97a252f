"""Which rows of which tables make up one object: an experiment with all that is in it, a model with its versions …

Tables are in the order of writing, parents before children. The tables are those of MLflow 3.17.2
(`mlflow.store.tracking.dbmodels`, `mlflow.store.model_registry.dbmodels`, `mlflow.store.workspace.dbmodels`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

Key = tuple[object, ...]


@dataclass(frozen=True)
class Part:
    """The rows of `table` that belong to a unit.

    Without `within` they have the unit's key in `columns`; else those of the rows of the part named there, in its
    columns `above`. `kind` is the kind of the object a row is part of, `owner` the column (or columns) with that
    object's id. `only` are fixed values that narrow the rows.
    """

    table: str
    kind: str
    owner: tuple[str, ...]
    columns: tuple[str, ...] = ("experiment_id",)
    within: str = ""
    above: tuple[str, ...] = ()
    only: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Unit:
    """What is written in one transaction or not at all. The first part is the row that the unit is named after."""

    kind: str
    parts: tuple[Part, ...]

    @property
    def root(self) -> Part:
        return self.parts[0]

    def part(self, table: str) -> Part:
        """The first part of a table."""
        return next(part for part in self.parts if part.table == table)


def _run(table: str) -> Part:
    return Part(table, "run", ("run_uuid",), ("run_uuid",), "runs", ("run_uuid",))


def _model(table: str) -> Part:
    return Part(table, "logged_model", ("model_id",))


def _trace(table: str, column: str = "request_id") -> Part:
    return Part(table, "trace", (column,), (column,), "trace_info", ("request_id",))


def _linked(table: str, column: str, only: tuple[tuple[str, str], ...], within: tuple[str, str]) -> Part:
    kind = {"runs": "run", "trace_info": "trace", "evaluation_datasets": "evaluation_dataset"}[within[0]]
    return Part(table, kind, (column,), (column,), within[0], (within[1],), only)


RUN_TAKES = (("destination_type", "RUN"),)
RUN_GAVE = (("source_type", "RUN_OUTPUT"),)
RUN_TOOK = (("source_type", "RUN_INPUT"),)

EXPERIMENT = Unit(
    "experiment",
    (
        Part("experiments", "experiment", ("experiment_id",)),
        Part("experiment_tags", "experiment", ("experiment_id",)),
        Part("datasets", "experiment", ("experiment_id",)),
        Part("runs", "run", ("run_uuid",)),
        _run("tags"),
        _run("params"),
        _run("metrics"),
        _run("latest_metrics"),
        _linked("inputs", "destination_id", RUN_TAKES, ("runs", "run_uuid")),
        Part("input_tags", "experiment", (), ("input_uuid",), "inputs", ("input_uuid",)),
        Part("logged_models", "logged_model", ("model_id",)),
        _model("logged_model_params"),
        _model("logged_model_tags"),
        _linked("inputs", "source_id", RUN_TOOK, ("runs", "run_uuid")),
        _linked("inputs", "source_id", RUN_GAVE, ("runs", "run_uuid")),
        Part("trace_info", "trace", ("request_id",)),
        _trace("trace_tags"),
        _trace("trace_request_metadata"),
        _trace("trace_metrics"),
        _trace("spans", "trace_id"),
        _trace("span_metrics", "trace_id"),
        _trace("assessments", "trace_id"),
        _linked("entity_associations", "source_id", (("source_type", "trace"),), ("trace_info", "request_id")),
        Part("scorers", "scorer", ("scorer_id",)),
        Part("scorer_versions", "scorer", ("scorer_id",), ("scorer_id",), "scorers", ("scorer_id",)),
        Part("online_scoring_configs", "scorer", ("scorer_id",)),
        Part("label_schemas", "label_schema", ("schema_id",)),
        Part("review_queues", "review_queue", ("queue_id",)),
        *(
            Part(table, "review_queue", ("queue_id",), ("queue_id",), "review_queues", ("queue_id",))
            for table in ("review_queue_users", "review_queue_label_schemas", "review_queue_items")
        ),
        *(
            Part(f"sql_{each}_daily_rollups", "experiment", ("experiment_id",))
            for each in ("assessment", "span_cost", "trace_metric")
        ),
        Part("sql_trace_rollup_rebuild_queue", "experiment", ("experiment_id",)),
    ),
)
"""An experiment with all that is in it and refers to nothing outside it."""

ACROSS = (_model("logged_model_metrics"), Part("issues", "issue", ("issue_id",)))
"""What is in an experiment and may refer to a run of another one, by the column of RUN_COLUMN."""
RUN_COLUMN = {"logged_model_metrics": "run_id", "issues": "source_run_id"}


def _of(table: str, kind: str, columns: tuple[str, ...], above: str) -> Part:
    return Part(table, kind, columns, columns, above, columns)


def _named(table: str, kind: str = "registered_model", columns: tuple[str, ...] = ("workspace", "name")) -> Part:
    return Part(table, kind, columns, ("workspace", "name"))


MODEL_VERSION = ("workspace", "name", "version")
REGISTERED_MODEL = Unit(
    "registered_model",
    (
        _named("registered_models"),
        _named("registered_model_tags"),
        _named("model_versions", "model_version", MODEL_VERSION),
        _named("model_version_tags", "model_version", MODEL_VERSION),
        _named("registered_model_aliases"),
    ),
)
WORKSPACE = Unit("workspace", (Part("workspaces", "workspace", ("name",), ("name",)),))
DATASET = Unit(
    "evaluation_dataset",
    (
        Part("evaluation_datasets", "evaluation_dataset", ("dataset_id",), ("dataset_id",)),
        _of("evaluation_dataset_tags", "evaluation_dataset", ("dataset_id",), "evaluation_datasets"),
        _of("evaluation_dataset_records", "evaluation_dataset", ("dataset_id",), "evaluation_datasets"),
        _linked(
            "entity_associations",
            "source_id",
            (("source_type", "evaluation_dataset"),),
            ("evaluation_datasets", "dataset_id"),
        ),
    ),
)
WEBHOOK = Unit(
    "webhook",
    (
        Part("webhooks", "webhook", ("webhook_id",), ("webhook_id",)),
        _of("webhook_events", "webhook", ("webhook_id",), "webhooks"),
    ),
)
SECRET = Unit("gateway_secret", (Part("secrets", "gateway_secret", ("secret_id",), ("secret_id",)),))
DEFINITION = Unit(
    "gateway_model_definition",
    (
        Part(
            "model_definitions", "gateway_model_definition", ("model_definition_id",), columns=("model_definition_id",)
        ),
    ),
)
ENDPOINT = Unit(
    "gateway_endpoint",
    (
        Part("endpoints", "gateway_endpoint", ("endpoint_id",), ("endpoint_id",)),
        *(
            _of(f"endpoint_{each}", "gateway_endpoint", ("endpoint_id",), "endpoints")
            for each in ("tags", "model_mappings", "bindings")
        ),
    ),
)
GUARDRAIL = Unit(
    "gateway_guardrail",
    (
        Part("guardrails", "gateway_guardrail", ("guardrail_id",), ("guardrail_id",)),
        _of("guardrail_configs", "gateway_guardrail", ("guardrail_id",), "guardrails"),
    ),
)
BUDGET = Unit(
    "gateway_budget", (Part("budget_policies", "gateway_budget", ("budget_policy_id",), ("budget_policy_id",)),)
)
MCP_SERVER = Unit(
    "mcp_server",
    (
        _named("mcp_servers", "mcp_server"),
        *(
            _named(f"mcp_{each}", "mcp_server")
            for each in ("server_tags", "server_versions", "server_version_tags", "server_aliases")
        ),
        Part("mcp_access_endpoints", "mcp_server", ("workspace", "server_name"), ("workspace", "server_name")),
    ),
)
BEFORE = (WORKSPACE,)
AFTER = (
    REGISTERED_MODEL,
    SECRET,
    DEFINITION,
    ENDPOINT,
    GUARDRAIL,
    BUDGET,
    DATASET,
    WEBHOOK,
    MCP_SERVER,
)
"""Units that belong to no experiment, in the order of writing: those before the experiments, and those after."""


def rows_of(tables: Mapping[str, sa.Table], unit: Unit, part: Part, key: Key) -> sa.ColumnElement[bool]:
    """The condition that a row of a part's table belongs to the unit with this key."""
    import sqlalchemy as sa

    table = tables[part.table]
    columns = [table.c[name] for name in part.columns]
    fixed = [table.c[name] == value for name, value in part.only]
    if not part.within:
        return sa.and_(*(column == value for column, value in zip(columns, key, strict=True)), *fixed)
    upper = tables[part.within]
    above = sa.select(*(upper.c[name] for name in part.above))
    condition = sa.or_(*(rows_of(tables, unit, one, key) for one in unit.parts if one.table == part.within))
    return sa.and_(
        sa.tuple_(*columns).in_(above.where(condition)) if len(columns) > 1 else columns[0].in_(above.where(condition)),
        *fixed,
    )
