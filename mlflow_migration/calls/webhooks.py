"""What a place can be asked about webhooks, and what changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from mlflow_migration.records import Json


class WebhookReads(Protocol):
    """Webhooks, without their secrets: MLflow never gives those."""

    def list_webhooks(self) -> Iterator[Json]: ...

    def get_webhook(self, webhook_id: str) -> Json | None: ...


class WebhookCalls(WebhookReads, Protocol):
    """`WebhookReads`, and what changes them."""

    def create_webhook(self, body: Json, look: Callable[[], Json | None]) -> Json: ...

    def update_webhook(self, webhook_id: str, fields: Json) -> None: ...
