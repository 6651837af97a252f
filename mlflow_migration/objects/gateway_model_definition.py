"""Model definitions of the gateway: a provider's model, and the name of the secret that opens it.

A definition has no tags. Its name is unique, and at a destination it is the one of that name. MLflow makes none
without a secret: where the destination lacks the one of that name, the definition waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError
from mlflow_migration.objects import forms, gateway_secret, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "gateway_model_definition"
NEEDS: tuple[str, ...] = ("gateway_secret",)
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.10",
    carried="name, provider, model, the secret of that name, who made and last changed it",
    kept_beside="nothing: MLflow gives model definitions no tags",
    lost="id, times; one whose secret is not at the destination waits for it",
)
NEW_IDS = True
validate_row = kind.no_row
link = kind.no_link
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
choose = kind.choose_unless_of_experiments
MADE = f"{NAME} made by this job"
CHANGING = ("name", "provider", "model_name", "secret_name")
PEOPLE = ("created_by", "last_updated_by")


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.GatewayModelDefinition.model_validate(head)
    return home(form.model_definition_id), form.model_definition_id


def home(model_definition_id: str) -> tuple[str, ...]:
    return ("gateway", "model_definitions", model_definition_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All model definitions; none where only some experiments are asked for."""
    if not kind.of_experiments(selection):
        yield from map(_record, source.gateway.list_model_definitions())


def record(source: Readable, model_definition_id: str, selection: Selection) -> Record | None:
    """One model definition by id, or None."""
    head = source.gateway.get_model_definition(model_definition_id)
    return _record(head) if head else None


def _record(head: Json) -> Record:
    return Record(NAME, head["model_definition_id"], head["name"], home(head["model_definition_id"]), head)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    return {"tags": {}, **{key: record.head.get(key, "") for key in (*CHANGING, *PEOPLE)}}


def origin(record: Record) -> str:
    """Its name: a server has one of it."""
    return f"gateway model definition {record.name}"


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the definition, or bring the one this job made up to date. Raises ConflictError for somebody else's.

    One that waits for its secret is skipped, with a loss that tells which.
    """
    there = ids.once(NAME, lambda: {head["name"]: head for head in sink.gateway.list_model_definitions()})
    known = ids.earlier(MADE, record.id)
    found = next((head for head in there.values() if head["model_definition_id"] == known), there.get(record.name))
    if found is not None and found["model_definition_id"] == record.id:
        ids.put(NAME, record.id, record.id)
        return Written(record.id, "skipped", reason="it is the source itself")
    changes = {key: value for key in CHANGING if (value := record.head.get(key)) and value != (found or {}).get(key)}
    if found is not None and not changes:
        ids.put(NAME, record.id, found["model_definition_id"])
        return Written(found["model_definition_id"], "same")
    if found is not None and found["model_definition_id"] != known:
        raise ConflictError(
            f"the gateway's model definition {record.name!r} is another one at the destination",
            f"{found['model_definition_id']} at {sink.address}",
            "rename or delete that one, then type the command again",
        )
    secret_name = record.head.get("secret_name", "")
    secret = gateway_secret.at(sink, ids).get(secret_name)
    if secret is None and (found is None or secret_name):
        loss = Loss("secret", secret_name or record.name, _why(secret_name, sink))
        return Written("", "skipped", reason="its secret is not at the destination", losses=(loss,))
    if job.dry_run:
        # What needs it in this rehearsal finds it.
        ids.put(NAME, record.id, record.id)
        return Written("", "done" if found is None else "updated")
    body = {key: value for key, value in changes.items() if key != "secret_name"}
    if secret is not None:
        body["secret_id"] = secret["secret_id"]
    made = _put(sink, record, found, body)
    for noted in (MADE, NAME):
        ids.put(noted, record.id, made)
    return Written(made, "done" if found is None else "updated")


def _why(secret_name: str, sink: Live) -> str:
    if secret_name:
        return gateway_secret.missing(secret_name, sink)
    return "it has no secret at the source, and MLflow makes none without: give it one there"


def _put(sink: Live, record: Record, found: Json | None, body: Json) -> str:
    """The id of the definition, made or changed by those who made and changed it at the source."""
    author, changer = (record.head.get(key, "") for key in PEOPLE)
    if found is None:
        made = str(sink.gateway.create_model_definition({**body, "created_by": author})["model_definition_id"])
        body = {}
    else:
        made = found["model_definition_id"]
    if body or changer not in {"", author}:
        sink.gateway.update_model_definition(made, {**body, "updated_by": changer})
    return made
