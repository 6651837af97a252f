"""What each kind of MLflow object is: one module per kind, all with the same verbs."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_migration.objects import experiment, run, trace
from mlflow_migration.objects.kind import Kind

_IN_ORDER: tuple[Kind, ...] = (experiment, run, trace)
KINDS: Mapping[str, Kind] = {kind.NAME: kind for kind in _IN_ORDER}
"""Every kind, in the order of writing: what a kind NEEDS comes before it."""
