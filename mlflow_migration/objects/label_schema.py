"""Label schemas: the questions reviewers answer about an experiment's traces.

To list an experiment's schemas makes its default one, "Feedback", where that isn't there yet (MLflow 3.17,
`SqlAlchemyStore.list_label_schemas`), and reading must change nothing. So they are listed only where that one is there
already, as it is once somebody has opened the experiment's reviews; elsewhere those that its review queues name are
read one by one. A schema that no queue names, in an experiment that was never listed, can't be seen.

A schema has no tags: at a destination it is the one of the same name in the same experiment.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError
from mlflow_migration.objects import experiment, forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Record, Written

NAME = "label_schema"
NEEDS: tuple[str, ...] = ("experiment",)
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.14",
    carried="name, type, input, instruction, comment",
    kept_beside="nothing: MLflow gives label schemas no tags",
    lost="id, author, times; those of experiments whose reviews nobody has opened",
)
NEW_IDS = True
choose = kind.choose_unless_by_run
validate_row = kind.no_row
link = kind.no_link
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
DEFAULT = "Feedback"
CHANGING = ("instruction", "enable_comment", "input")


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.LabelSchema.model_validate(head)
    return home(form.experiment_id, form.schema_id), form.schema_id


def home(experiment_id: str, schema_id: str) -> tuple[str, ...]:
    return (*experiment.home(experiment_id), "label_schemas", schema_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The schemas of the selected experiments that are active: of a deleted one MLflow gives none."""
    if selection.run_ids:
        return
    for found in experiment.readable(source, Selection(selection.experiments, deleted=False, shard=selection.shard)):
        yield from map(_record, _heads(source, found.id))


def _heads(source: Readable, experiment_id: str) -> Iterator[Json]:
    default = source.reviews.get_label_schema_by_name(experiment_id, DEFAULT)
    if default is not None and default.get("is_default"):
        yield from source.reviews.list_label_schemas(experiment_id)
        return
    named = {id_ for queue in source.reviews.list_review_queues(experiment_id) for id_ in queue.get("schema_ids", [])}
    heads = {id_: source.reviews.get_label_schema(id_) for id_ in sorted(named)}
    yield from (head for head in heads.values() if head is not None)


def record(source: Readable, schema_id: str, selection: Selection) -> Record | None:
    """One schema by id, or None."""
    head = source.reviews.get_label_schema(schema_id)
    return _record(head) if head else None


def _record(head: Json) -> Record:
    refs = {experiment.NAME: head["experiment_id"]}
    return Record(NAME, head["schema_id"], head["name"], home(head["experiment_id"], head["schema_id"]), head, refs)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    return {"tags": {}, **_fields(record.head)}


def _fields(head: Json) -> Json:
    return {
        "name": head["name"],
        "type": head["type"],
        "input": head["input"],
        "instruction": head.get("instruction", ""),
        "enable_comment": bool(head.get("enable_comment")),
        "is_default": bool(head.get("is_default")),
    }


def origin(record: Record) -> str:
    """Its name: in one experiment there is one schema of it."""
    return f"label schema {record.name}"


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the schema, or bring the one this job made up to date. Raises ConflictError for somebody else's."""
    experiment_id = kind.experiment_at(ids, record)
    # In a rehearsal an experiment that would be made has no id.
    there = sink.reviews.get_label_schema_by_name(experiment_id, record.name) if experiment_id else None
    if there is None:
        made = "" if job.dry_run else _make(sink, record, experiment_id)
        if made:
            ids.put(NAME, record.id, made)
        return Written(made, "done")
    if there["schema_id"] == record.id:
        ids.put(NAME, record.id, record.id)
        return Written(record.id, "skipped", reason="it is the source itself")
    state = "same"
    if not record.head.get("is_default"):
        state = _update(sink, record, there, ids.earlier(NAME, record.id) == there["schema_id"], job)
    ids.put(NAME, record.id, there["schema_id"])
    return Written(there["schema_id"], state)


def _make(sink: Live, record: Record, experiment_id: str) -> str:
    if record.head.get("is_default"):
        # The server itself makes its default schema, when its schemas are listed; nobody else can.
        found = [head for head in sink.reviews.list_label_schemas(experiment_id) if head.get("is_default")]
        if not found:
            raise ConflictError("the destination makes no default label schema", f"experiment {experiment_id}")
        return str(found[0]["schema_id"])
    keys = ("name", "type", *CHANGING)
    body = {key: record.head[key] for key in keys if key in record.head}
    return str(sink.reviews.create_label_schema({**body, "experiment_id": experiment_id})["schema_id"])


def _update(sink: Live, record: Record, there: Json, ours: bool, job: Writing) -> str:
    wanted, present = _fields(record.head), _fields(there)
    if wanted == present:
        return "same"
    if not ours or wanted["type"] != present["type"]:
        raise ConflictError(
            f"the label schema {record.name!r} is another one at the destination",
            f"{there['schema_id']} at {sink.address}",
            "rename or delete that one, then type the command again",
        )
    if not job.dry_run:
        changes = {key: wanted[key] for key in CHANGING if wanted[key] != present[key]}
        sink.reviews.update_label_schema(there["schema_id"], changes)
    return "updated"
