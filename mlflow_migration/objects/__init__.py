"""What each kind of MLflow object is: one module per kind, all with the same verbs."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_migration.objects import (
    evaluation_dataset,
    experiment,
    grant,
    issue,
    label_schema,
    logged_model,
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
from mlflow_migration.objects.kind import Kind

_IN_ORDER: tuple[Kind, ...] = (
    experiment,
    run,
    logged_model,
    registered_model,
    model_version,
    prompt,
    prompt_version,
    issue,
    trace,
    evaluation_dataset,
    scorer,
    label_schema,
    review_queue,
    webhook,
    workspace,
    user,
    role,
    grant,
)
KINDS: Mapping[str, Kind] = {kind.NAME: kind for kind in _IN_ORDER}
"""Every kind, in the order of writing: what a kind NEEDS comes before it."""

OF_EXPERIMENTS = tuple(kind.NAME for kind in _IN_ORDER if kind is experiment or experiment.NAME in kind.PARENTS)
"""Experiments and what belongs to one."""
OF_PROMPTS = (prompt.NAME, prompt_version.NAME)
OF_USERS = (user.NAME, role.NAME, grant.NAME)
"""Who may do what: moved only where permissions are asked for."""
