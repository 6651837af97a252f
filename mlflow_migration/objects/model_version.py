"""Versions of registered models: number, source, run, stage, description, tags."""

from __future__ import annotations

from functools import partial

from mlflow_migration.objects import kind, version_files, version_writer, versions
from mlflow_migration.objects.registry import MODELS

NAME = MODELS.version
NEEDS: tuple[str, ...] = ("run", "registered_model")
PARENTS: tuple[str, ...] = ("registered_model",)
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="1.4",
    carried="number with its holes, description, tags, stage, run link, run, and the source with the "
    "destination's run, logged model or version in it; files, where the registry keeps them with it",
    kept_beside="creation and update time (tags mlflow_migration.*)",
    lost="a status other than READY, user, the last numbers where they are deleted at the source",
)
NEW_IDS = False
"""A name is the identity everywhere, and a version's number with it."""
validate = partial(versions.validate, MODELS)
read = partial(versions.read, MODELS)
record = partial(versions.record, MODELS)
choose = partial(versions.choose, MODELS)
write = partial(version_writer.write, MODELS)
link = kind.no_link
portable = versions.portable
origin = versions.origin
swaps_of = versions.swaps_of
validate_row = kind.no_row
comparable = version_files.comparable
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
