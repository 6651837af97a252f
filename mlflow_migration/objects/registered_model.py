"""Registered models: description, tags, aliases."""

from __future__ import annotations

from functools import partial

from mlflow_migration.objects import kind, registry, registry_writer
from mlflow_migration.objects.registry import MODELS

NAME = MODELS.model
NEEDS: tuple[str, ...] = ("experiment",)
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="1.4",
    carried="name, description, tags, aliases",
    kept_beside="creation and update time, source and first name (tags mlflow_migration.*)",
    lost="nothing else",
)
NEW_IDS = False
"""A name is the identity everywhere, and a version's number with it."""
validate = partial(registry.validate, MODELS)
read = partial(registry.read, MODELS)
record = partial(registry.record, MODELS)
choose = partial(registry.choose, MODELS)
write = partial(registry_writer.write, MODELS)
link = registry_writer.link
portable = registry.portable
origin = registry.origin
swaps_of = registry.swaps_of
validate_row = kind.no_row
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
