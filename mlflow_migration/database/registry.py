"""Registered models, prompts and their versions straight from their tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from mlflow_migration.database.reading import Reading, chunks, filled, grouped, pair, present
from mlflow_migration.errors import NotFoundError
from mlflow_migration.records import Json

IS_PROMPT = "mlflow.prompt.is_prompt"
DELETED = "Deleted_Internal"
"""The stage of a version that MLflow has deleted and keeps for its number."""


class Registry:
    """The registry of the workspace. Implements `RegistryReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._tables = reading.tables

    def search_models(self, prompts: bool) -> Iterator[Json]:
        """Every registered model, or every prompt, with tags and aliases, by name; without their latest versions."""
        c = self._tables["registered_models"].c
        statement = sa.select(c.name).where(c.workspace == self._reading.workspace, self._of(c.name, prompts))
        names = [row[0] for row in self._reading.rows(statement.order_by(c.name))]
        for some in chunks(names):
            yield from self._models(some)

    def get_model(self, name: str) -> Json | None:
        """A registered model or prompt with the latest version of each stage, or None."""
        head = next(self._models([name]), None)
        if head is None:
            return None
        c = self._tables["model_versions"].c
        mine = (c.workspace == self._reading.workspace, c.name == name, c.current_stage != DELETED)
        latest = (
            sa.select(sa.func.max(c.version)).where(*mine).group_by(c.current_stage).order_by(sa.func.min(c.version))
        )
        keys = [(name, row[0]) for row in self._reading.rows(latest)]
        return {**head, **filled(latest_versions=list(self._versions(keys)))}

    def search_versions(self, prompts: bool, name: str = "") -> Iterator[Json]:
        """Every version of all models or prompts, or of one of them, without its aliases; the latest change first."""
        versions = self._tables["model_versions"]
        c = versions.c
        whose = [c.workspace == self._reading.workspace, c.current_stage != DELETED, self._of(c.name, prompts)]
        statement = sa.select(c.name, c.version).where(*whose, *([c.name == name] if name else []))
        order = (c.last_updated_time.desc(), c.name, c.version.desc())
        keys = [(row[0], row[1]) for row in self._reading.rows(statement.order_by(*order))]
        for some in chunks(keys):
            yield from self._versions(some)

    def get_version(self, name: str, version: str) -> Json | None:
        """One version with its aliases, or None."""
        if not (version.isdecimal() and version.isascii()):
            return None
        head = next(self._versions([(name, int(version))]), None)
        c = self._tables["registered_model_aliases"].c
        mine = (c.workspace == self._reading.workspace, c.name == name, c.version == int(version))
        aliases = [row[0] for row in self._reading.rows(sa.select(c.alias).where(*mine))]
        return None if head is None else {**head, **filled(aliases=aliases)}

    def download_uri(self, name: str, version: str) -> str:
        """Where the files of a version lie. Raises NotFoundError where there is no such version."""
        c = self._tables["model_versions"].c
        mine = (c.workspace == self._reading.workspace, c.name == name, c.version == int(version))
        rows = self._reading.rows(sa.select(c.storage_location, c.source).where(*mine))
        if not rows:
            raise NotFoundError(f"no such version: {name}/{version}")
        return str(rows[0].storage_location or rows[0].source or "")

    def _of(self, name: sa.ColumnElement[Any], prompts: bool) -> sa.ColumnElement[bool]:
        """Whether a model is a prompt, or isn't one."""
        c = self._tables["registered_model_tags"].c
        mine = (c.workspace == self._reading.workspace, c.key == IS_PROMPT, sa.func.lower(c.value) == "true")
        found = name.in_(sa.select(c.name).where(*mine))
        return found if prompts else sa.not_(found)

    def _models(self, names: Sequence[str]) -> Iterator[Json]:
        models, tags, aliases = (
            self._tables[name] for name in ("registered_models", "registered_model_tags", "registered_model_aliases")
        )

        def mine(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
            return table.c.workspace == self._reading.workspace, table.c.name.in_(names)

        rows, *parts = self._reading.together(
            sa.select(models).where(*mine(models)),
            sa.select(tags.c.name, tags.c.key, tags.c.value).where(*mine(tags)),
            sa.select(aliases.c.name, aliases.c.alias, aliases.c.version).where(*mine(aliases)),
        )
        tags_of, aliases_of = map(grouped, parts)
        found = {row.name: row for row in rows}
        for name in names:
            if name in found:
                row = found[name]
                yield {
                    **present(
                        name=name,
                        creation_timestamp=row.creation_time,
                        last_updated_timestamp=row.last_updated_time or None,
                        description=row.description or None,
                    ),
                    **filled(
                        tags=[pair(key, value) for _, key, value in tags_of.get(name, ())],
                        aliases=[
                            {"alias": alias, "version": str(version)} for _, alias, version in aliases_of.get(name, ())
                        ],
                    ),
                }

    def _versions(self, keys: Sequence[tuple[str, int]]) -> Iterator[Json]:
        versions, tags = self._tables["model_versions"], self._tables["model_version_tags"]

        def mine(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
            # Names and numbers apart: pairs of values in a condition are not for every database.
            return (
                table.c.workspace == self._reading.workspace,
                table.c.name.in_({name for name, _ in keys}),
                table.c.version.in_({version for _, version in keys}),
            )

        rows, tag_rows = self._reading.together(
            sa.select(versions).where(*mine(versions), versions.c.current_stage != DELETED),
            sa.select(tags.c.name, tags.c.version, tags.c.key, tags.c.value).where(*mine(tags)),
        )
        found = {(row.name, row.version): row for row in rows}
        tags_of: dict[tuple[str, int], list[Json]] = {}
        for name, version, key, value in tag_rows:
            tags_of.setdefault((name, version), []).append(pair(key, value))
        for name_and_version in keys:
            if name_and_version in found:
                yield _version(found[name_and_version], tags_of.get(name_and_version, []))


def _version(row: Any, tags: list[Json]) -> Json:
    return {
        **present(
            name=row.name,
            version=str(row.version),
            creation_timestamp=row.creation_time,
            last_updated_timestamp=row.last_updated_time,
            user_id=row.user_id,
            current_stage=row.current_stage,
            description=row.description,
            source=row.source,
            run_id=row.run_id,
            status=row.status,
            status_message=row.status_message or None,
        ),
        **filled(tags=tags),
        **present(run_link=row.run_link),
    }
