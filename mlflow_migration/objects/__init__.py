"""What each kind of MLflow object is: one module per kind, all with the same verbs."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from mlflow_migration.objects import experiment, run

KINDS: Mapping[str, ModuleType] = {module.NAME: module for module in (experiment, run)}
"""Every kind, in the order of writing: what a kind NEEDS comes before it."""
