"""Review queues: who reviews which traces by which questions, and what has been done.

A queue has no tags: at a destination it is the one of the same name, whatever the case, in the same experiment. A trace
keeps its id everywhere; one that isn't at the destination can't be put into a queue. Of a deleted experiment MLflow
gives no queues.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, ServerError
from mlflow_migration.objects import experiment, forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "review_queue"
NEEDS: tuple[str, ...] = ("experiment", "label_schema")
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.14",
    carried="name, type, owner, users, schemas, traces with status and who did it",
    kept_beside="nothing: MLflow gives review queues no tags",
    lost="id, times",
)
NEW_IDS = True
choose = kind.choose_unless_by_run
validate_row = kind.no_row
link = kind.no_link
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
AT_ONCE = 100
PENDING = "PENDING"
USER = "USER"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.ReviewQueue.model_validate(head)
    return home(form.experiment_id, form.queue_id), form.queue_id


def home(experiment_id: str, queue_id: str) -> tuple[str, ...]:
    return (*experiment.home(experiment_id), "review_queues", queue_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The queues of the selected experiments, with their items."""
    if selection.run_ids:
        return
    for found in experiment.readable(source, Selection(selection.experiments, deleted=False, shard=selection.shard)):
        for head in source.reviews.list_review_queues(found.id):
            listed = _record(head, [])
            yield replace(listed, whole=partial(_whole, source, head))


def record(source: Readable, queue_id: str, selection: Selection) -> Record | None:
    """One queue by id, or None."""
    head = source.reviews.get_review_queue(queue_id)
    return _whole(source, head) if head else None


def _whole(source: Readable, head: Json) -> Record:
    return _record(head, sorted(source.reviews.list_queue_items(head["queue_id"]), key=_age))


def _record(head: Json, items: list[Json]) -> Record:
    refs = {experiment.NAME: head["experiment_id"]}
    where = home(head["experiment_id"], head["queue_id"])
    return Record(NAME, head["queue_id"], head["name"], where, {**head, "items": items}, refs)


def _age(item: Json) -> tuple[int, str]:
    return item.get("creation_time_ms", 0), item["item_id"]


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    head = record.head
    items = {item["item_id"]: f"{item['status']} {item.get('completed_by', '')}".strip() for item in head["items"]}
    return {
        "name": record.name,
        "queue_type": head["queue_type"],
        "created_by": head.get("created_by", ""),
        "users": sorted(head.get("users", [])),
        "schemas": sorted((swaps or {}).get(id_, id_) for id_ in head.get("schema_ids", [])),
        "items": items,
        "tags": {},
    }


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns the ids of label schemas into what both ends share."""
    return {id_: shared for id_ in record.head.get("schema_ids", []) if (shared := known(id_))}


def origin(record: Record) -> str:
    """Its name, which is unique in an experiment whatever the case."""
    return f"review queue {record.name.lower()}"


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the queue, or add to the one that is there. Raises ConflictError where that one is of another kind."""
    experiment_id = kind.experiment_at(ids, record)
    # In a rehearsal an experiment that would be made has no id.
    there = sink.reviews.get_review_queue_by_name(experiment_id, record.name) if experiment_id else None
    if there is not None and there["queue_id"] == record.id:
        return Written(record.id, "skipped", reason="it is the source itself")
    if job.dry_run and there is None:
        return Written("", "done")
    writer = _Writer(sink, record, ids, job.dry_run)
    head = writer.create(experiment_id) if there is None else writer.update(there)
    ids.put(NAME, record.id, head["queue_id"])
    writer.own(head)
    writer.fill(head["queue_id"])
    state = "done" if there is None else "updated" if writer.changed else "same"
    return Written(head["queue_id"], state, losses=tuple(writer.losses))


@dataclass
class _Writer:
    sink: Live
    record: Record
    ids: Ids
    dry_run: bool
    losses: list[Loss] = field(default_factory=list)
    changed: bool = False

    def create(self, experiment_id: str) -> Json:
        head = self.record.head
        body = {"experiment_id": experiment_id, "name": head["name"], "queue_type": head["queue_type"]}
        return self.sink.reviews.create_review_queue(
            {**body, "users": head.get("users", []), "schema_ids": self._schemas()}
        )

    def _schemas(self) -> list[str]:
        found = []
        for source_id in self.record.head.get("schema_ids", []):
            there = self.ids.get("label_schema", source_id)
            if there is None and self.dry_run:
                # In a rehearsal a schema that would be made has no id.
                found.append(f"new {source_id}")
            elif there is None:
                self.losses.append(Loss("link", f"label schema {source_id}", "it did not arrive at the destination"))
            else:
                found.append(there)
        return found

    def update(self, there: Json) -> Json:
        """The queue that is there, after giving it the users and schemas of the source where this job made it."""
        head = self.record.head
        schemas = self._schemas()
        changes: Json = {}
        if set(there.get("users", [])) != set(head.get("users", [])):
            changes.update(update_users=True, users=head.get("users", []))
        # A schema that didn't arrive is told; what the queue asks there is not made less for it.
        if not self.losses and set(there.get("schema_ids", [])) != set(schemas):
            changes.update(update_schema_ids=True, schema_ids=schemas)
        ours = self.ids.earlier(NAME, self.record.id) == there["queue_id"]
        if there["queue_type"] != head["queue_type"] or (changes and not ours):
            raise ConflictError(
                f"the review queue {self.record.name!r} is another one at the destination",
                f"{there['queue_id']} at {self.sink.address}",
                "rename or delete that one, then type the command again",
            )
        if changes:
            self._try("users and label schemas", there["queue_id"], changes)
        return there

    def own(self, there: Json) -> None:
        """Name the owner of a custom queue; that of a user's queue is that user."""
        owner = self.record.head.get("created_by")
        if owner and self.record.head["queue_type"] != USER and there.get("created_by") != owner:
            self._try("created_by", there["queue_id"], {"new_owner": owner})

    def _try(self, what: str, queue_id: str, changes: Json) -> None:
        # Once a queue has items MLflow changes its questions no more, and an owner is changed by a manager only.
        try:
            if not self.dry_run:
                self.sink.reviews.update_review_queue(queue_id, changes)
            self.changed = True
        except ServerError as error:
            self.losses.append(Loss("link", what, error.why))

    def fill(self, queue_id: str) -> None:
        """Add the missing items, and what has been done with pending ones. Nothing done there is undone."""
        there = {item["item_id"]: item for item in self.sink.reviews.list_queue_items(queue_id)}
        missing = [item["item_id"] for item in self.record.head["items"] if item["item_id"] not in there]
        for begin in range(0, len(missing), AT_ONCE):
            for item_id in self._added(queue_id, missing[begin : begin + AT_ONCE]):
                there[item_id] = {"status": PENDING}
        for item in self.record.head["items"]:
            present = there.get(item["item_id"])
            if present and present["status"] == PENDING and item["status"] != PENDING:
                if not self.dry_run:
                    self.sink.reviews.set_queue_item_status(queue_id, item)
                self.changed = True

    def _added(self, queue_id: str, item_ids: list[str]) -> list[str]:
        """The items that could be added: all at once, or one by one where a trace is missing."""
        try:
            if not self.dry_run:
                self.sink.reviews.add_queue_items(queue_id, item_ids)
        except ServerError as error:
            if len(item_ids) > 1:
                return [added for item_id in item_ids for added in self._added(queue_id, [item_id])]
            self.losses.append(Loss("link", f"trace {item_ids[0]}", error.why))
            return []
        self.changed = True
        return item_ids
