"""What each kind of MLflow object is: one module per kind, all with the same verbs."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_migration.objects import (
    access_list,
    evaluation_dataset,
    experiment,
    gateway_budget,
    gateway_endpoint,
    gateway_guardrail,
    gateway_model_definition,
    gateway_secret,
    grant,
    issue,
    label_schema,
    logged_model,
    mcp_server,
    model_version,
    prompt,
    prompt_version,
    registered_model,
    review_queue,
    role,
    run,
    scorer,
    trace,
    user,
    webhook,
    workspace,
)
from mlflow_migration.objects.kind import Kind, WriteTogether
from mlflow_migration.places import Selection
from mlflow_migration.records import Record

_IN_ORDER: tuple[Kind, ...] = (
    experiment,
    # Before whatever names them in its tags: runs, logged models and traces.
    registered_model,
    prompt,
    run,
    logged_model,
    model_version,
    prompt_version,
    gateway_secret,
    gateway_model_definition,
    gateway_endpoint,
    gateway_budget,
    issue,
    trace,
    evaluation_dataset,
    scorer,
    label_schema,
    review_queue,
    mcp_server,
    gateway_guardrail,
    webhook,
    workspace,
    user,
    role,
    grant,
    access_list,
)
KINDS: Mapping[str, Kind] = {kind.NAME: kind for kind in _IN_ORDER}
"""Every kind, in the order of writing: what a kind NEEDS comes before it."""

OF_EXPERIMENTS = tuple(kind.NAME for kind in _IN_ORDER if kind is experiment or experiment.NAME in kind.PARENTS)
"""Experiments and what belongs to one."""
OF_PROMPTS = (prompt.NAME, prompt_version.NAME)
ACCESS_LISTS = access_list.NAME
OF_USERS = (user.NAME, role.NAME, grant.NAME)
"""Who may do what: moved only where permissions are asked for."""

BY_EXPERIMENT = (*(name for name in OF_EXPERIMENTS if name != experiment.NAME), evaluation_dataset.NAME)
"""What a server is asked for by experiments, and can be asked for by a single one."""

SHARDED = frozenset({trace.NAME})
"""Kinds of which there may be so many that a bundle keeps them many to a file."""


def in_shard(record: Record, selection: Selection) -> bool:
    """Whether an object is in the shard asked for: it goes with the experiment, model or prompt that it belongs to."""
    return selection.holds(next((record.refs[parent] for parent in KINDS[record.kind].PARENTS), record.id))


TOGETHER: Mapping[str, WriteTogether] = {trace.NAME: trace.write_together}
"""Kinds of which many are written with fewer requests than one by one."""
