"""Versions of prompts: number, template and all else that stands in its tags, commit message."""

from __future__ import annotations

from functools import partial

from mlflow_migration.objects import kind, version_writer, versions
from mlflow_migration.objects.registry import PROMPTS

NAME = PROMPTS.version
NEEDS: tuple[str, ...] = ("run", "prompt")
PARENTS: tuple[str, ...] = ("prompt",)
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="2.21",
    carried="number with its holes, text or chat template, response format, model configuration, commit message, tags",
    kept_beside="creation and update time (tags mlflow_migration.*)",
    lost="the last numbers where they are deleted at the source",
)
NEW_IDS = False
"""A name is the identity everywhere, and a version's number with it."""
validate = partial(versions.validate, PROMPTS)
read = partial(versions.read, PROMPTS)
record = partial(versions.record, PROMPTS)
choose = partial(versions.choose, PROMPTS)
write = partial(version_writer.write, PROMPTS)
link = kind.no_link
portable = versions.portable
origin = versions.origin
swaps_of = versions.swaps_of
validate_row = kind.no_row
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
