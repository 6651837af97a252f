"""Webhooks over REST (`/api/2.0/mlflow/webhooks`)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.features import Features
from mlflow_migration.server.rest import Look, Rest

ROUTE = pages.V2 + "webhooks"
PER_PAGE = 100


class Webhooks:
    """Implements `WebhookCalls`."""

    def __init__(self, rest: Rest, features: Features) -> None:
        self._rest = rest
        self._features = features

    def list_webhooks(self) -> Iterator[Json]:
        return self._features.listed(pages.pages(self._rest, ROUTE, {"max_results": PER_PAGE}, "webhooks"))

    def get_webhook(self, webhook_id: str) -> Json | None:
        return pages.get_or_none(self._rest, _path(webhook_id), {}, "webhook")

    def create_webhook(self, body: Json, look: Look) -> Json:
        """The new webhook's head; `look` finds one that a lost answer made."""

        def found() -> Json | None:
            there = look()
            return {"webhook": there} if there else None

        head: Json = pages.post(self._rest, ROUTE, body, found)["webhook"]
        return head

    def update_webhook(self, webhook_id: str, fields: Json) -> None:
        self._rest.call("PATCH", _path(webhook_id), fields)


def _path(webhook_id: str) -> str:
    return f"{ROUTE}/{quote(webhook_id, safe='')}"
