"""Webhooks straight from their tables, without their secrets, which are never selected."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from mlflow_migration.database.reading import Reading, grouped, present
from mlflow_migration.records import Json


class Webhooks:
    """The webhooks of the workspace. Implements `WebhookReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._tables = reading.tables

    def list_webhooks(self) -> Iterator[Json]:
        """Those that aren't deleted, the newest first."""
        return self._heads(sa.true())

    def get_webhook(self, webhook_id: str) -> Json | None:
        return next(self._heads(self._tables["webhooks"].c.webhook_id == webhook_id), None)

    def _heads(self, which: sa.ColumnElement[bool]) -> Iterator[Json]:
        hooks, events = self._tables["webhooks"], self._tables["webhook_events"]
        c = hooks.c
        chosen = (which, c.workspace == self._reading.workspace, c.deleted_timestamp.is_(None))
        columns = (c.webhook_id, c.name, c.description, c.url, c.status)
        rows, found = self._reading.together(
            sa.select(*columns, c.creation_timestamp, c.last_updated_timestamp)
            .where(*chosen)
            .order_by(c.creation_timestamp.desc(), c.webhook_id),
            sa.select(events.c.webhook_id, events.c.entity, events.c.action)
            .join(hooks, c.webhook_id == events.c.webhook_id)
            .where(*chosen),
        )
        events_of = grouped(found)
        for row in rows:
            yield {
                **present(webhook_id=row.webhook_id, name=row.name, description=row.description or None, url=row.url),
                "events": [
                    {"entity": entity.upper(), "action": action.upper()}
                    for _, entity, action in events_of.get(row.webhook_id, ())
                ],
                **present(
                    status=row.status,
                    creation_timestamp=row.creation_timestamp,
                    last_updated_timestamp=row.last_updated_timestamp,
                ),
            }
