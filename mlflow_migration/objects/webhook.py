"""Webhooks: whom MLflow tells of what happens in the registry. Written after all else, so that they tell none of it.

MLflow never gives a webhook's secret, so that it must be set anew. A webhook has no tags and its name is not unique: it
counts as there when the destination has one of the same name and address that no other webhook of this job has taken.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError
from mlflow_migration.objects import forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written, digest_of

NAME = "webhook"
NEEDS: tuple[str, ...] = ()
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.3",
    carried="name, address, description, events, status",
    kept_beside="nothing: MLflow gives webhooks no tags",
    lost="id, times, secret",
)
NEW_IDS = True
validate_row = kind.no_row
link = kind.no_link
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
KEY = ("name", "url")
CHANGING = ("description", "status", "events")


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.Webhook.model_validate(head)
    return home(form.webhook_id), form.webhook_id


def home(webhook_id: str) -> tuple[str, ...]:
    return ("webhooks", webhook_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All webhooks; none where only some experiments are asked for."""
    if not selection.experiments and not selection.run_ids:
        yield from map(_record, source.webhooks.list_webhooks())


def record(source: Readable, webhook_id: str, selection: Selection) -> Record | None:
    """One webhook by id, or None."""
    head = source.webhooks.get_webhook(webhook_id)
    return _record(head) if head else None


def _record(head: Json) -> Record:
    return Record(NAME, head["webhook_id"], head["name"], home(head["webhook_id"]), head)


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those of a bundle, as `read` gives them."""
    return (record for record in records if not selection.experiments and not selection.run_ids)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    return {"tags": {}, **_fields(record.head)}


def _fields(head: Json) -> Json:
    events = sorted(f"{event['entity']} {event['action']}" for event in head.get("events", []))
    fields = {key: head.get(key, "") for key in (*KEY, "description")}
    return {**fields, "status": head.get("status", "ACTIVE"), "events": events}


def origin(record: Record) -> str:
    """Webhooks are a pair by name and address: nothing else tells where one came from."""
    return "webhook " + digest_of([record.head[key] for key in KEY])


class _There:
    """The destination's webhooks; each is taken by one of the source's only."""

    def __init__(self, heads: Iterator[Json]) -> None:
        self._free = {head["webhook_id"]: head for head in heads}
        self._known = set(self._free)
        self._lock = threading.Lock()

    def take(self, head: Json, known: str | None) -> Json | None:
        with self._lock:
            fitting = [there for there in self._free.values() if all(there[key] == head[key] for key in KEY)]
            if known in self._free:
                fitting = [self._free[known]]
            best = min(fitting, key=lambda there: _fields(there) != _fields(head), default=None)
            return self._free.pop(best["webhook_id"]) if best else None

    def is_new(self, head: Json) -> bool:
        with self._lock:
            return head["webhook_id"] not in self._known

    def made(self, webhook_id: str) -> None:
        with self._lock:
            self._known.add(webhook_id)


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the webhook, or bring the one this job made up to date. Raises ConflictError for somebody else's."""
    there = ids.once(NAME, lambda: _There(sink.webhooks.list_webhooks()))
    if not there.is_new(record.head):
        return Written(record.id, "skipped", reason="it is the source itself")
    before = ids.earlier(NAME, record.id)
    found = there.take(record.head, before)
    if found is not None:
        state = _update(sink, record, found, before == found["webhook_id"], job)
        ids.put(NAME, record.id, found["webhook_id"])
        return Written(found["webhook_id"], state)
    losses = (Loss("secret", record.id, "MLflow never gives it: set it at the destination if there was one"),)
    if job.dry_run:
        return Written("", "done", losses=losses)

    def look() -> Json | None:
        heads = filter(there.is_new, sink.webhooks.list_webhooks())
        return next((head for head in heads if _fields(head) == _fields(record.head)), None)

    body = {key: record.head[key] for key in (*KEY, *CHANGING) if record.head.get(key)}
    made = sink.webhooks.create_webhook(body, look)["webhook_id"]
    there.made(made)
    ids.put(NAME, record.id, made)
    return Written(made, "done", losses=losses)


def _update(sink: Live, record: Record, found: Json, ours: bool, job: Writing) -> str:
    if _fields(found) == _fields(record.head):
        return "same"
    if not ours:
        raise ConflictError(
            f"the webhook {record.name!r} is another one at the destination",
            f"{found['webhook_id']} at {sink.address}",
            "rename or delete that one, then type the command again",
        )
    if not job.dry_run:
        fields = {key: record.head.get(key, "") for key in (*KEY, "description")}
        changing = {key: record.head[key] for key in ("status", "events") if record.head.get(key)}
        sink.webhooks.update_webhook(found["webhook_id"], {**fields, **changing})
    return "updated"
