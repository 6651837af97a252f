"""Budgets of the gateway: how much may be spent in a time, by whom, and what happens then.

A budget has neither name nor tags. It counts as there when the destination has one that says the same and that no other
budget of this job has taken, or when this job's ledger names one that is still there: by that it is followed after it
has changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.objects import forms, gateway_endpoint, kind
from mlflow_migration.objects.lookalikes import Lookalikes
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written, digest_of

NAME = "gateway_budget"
NEEDS: tuple[str, ...] = ("gateway_endpoint",)
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.11",
    carried="amount, unit, duration, scope, endpoint or user, action, who made and last changed it",
    kept_beside="nothing: MLflow gives budgets no tags",
    lost="id, times, what has been spent; one for a user where the destination has no users",
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
ID = "budget_policy_id"
FIELDS = ("budget_unit", "budget_amount", "duration", "target_scope", "target_value", "budget_action")
PEOPLE = ("created_by", "last_updated_by")
TIMES = ("created_at", "last_updated_at")
"""Only a database keeps them."""
TARGET = "endpoint_name"
"""In a head, beside MLflow's fields: the name of the endpoint that `target_value` is the id of."""


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.GatewayBudget.model_validate(head)
    return home(form.budget_policy_id), form.budget_policy_id


def home(budget_id: str) -> tuple[str, ...]:
    return ("gateway", "budgets", budget_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All budgets; none where only some experiments are asked for."""
    if kind.of_experiments(selection):
        return
    heads = list(source.gateway.list_budgets())
    names = _names(source) if heads else {}
    yield from (_record(head, names) for head in heads)


def record(source: Readable, budget_id: str, selection: Selection) -> Record | None:
    """One budget by id, or None."""
    head = source.gateway.get_budget(budget_id)
    return _record(head, _names(source)) if head else None


def _names(source: Readable) -> dict[str, str]:
    return {each["endpoint_id"]: each["name"] for each in source.gateway.list_endpoints()}


def _record(shown: Json, endpoints: dict[str, str]) -> Record:
    head = {key: shown[key] for key in (ID, *FIELDS, *PEOPLE, *TIMES) if key in shown}
    if head["target_scope"] == "ENDPOINT":
        # The name of one that was deleted is gone; its budget says nothing any more.
        head[TARGET] = endpoints.get(head.get("target_value", ""), "")
    duration = head["duration"]
    name = f"{head['budget_amount']:g} {head['budget_unit']} in {duration['value']} {duration['unit'].lower()}"
    return Record(NAME, head[ID], name, home(head[ID]), head)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    fields = {key: record.head.get(key) for key in FIELDS}
    fields["budget_amount"] = float(record.head["budget_amount"])
    if TARGET in record.head:
        fields["target_value"] = record.head[TARGET]
    return {"tags": {}, **fields, **{key: record.head.get(key, "") for key in PEOPLE}}


def origin(record: Record) -> str:
    """Budgets are a pair by what they say: nothing else tells where one came from."""
    return "gateway budget " + digest_of({key: portable(record)[key] for key in FIELDS})


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the budget, or bring the one this job made up to date. One whose endpoint isn't there is skipped."""
    there = ids.once(NAME, lambda: Lookalikes(sink.gateway.list_budgets(), ID))
    if there.is_known(record.id):
        return Written(record.id, "skipped", reason="it is the source itself")
    wanted = {key: record.head[key] for key in FIELDS if key in record.head}
    if TARGET in record.head:
        target = ids.get(gateway_endpoint.NAME, wanted.get("target_value", ""))
        if target is None:
            loss = Loss("link", record.name, f"its endpoint {record.head[TARGET]!r} is not at the destination")
            return Written("", "skipped", reason="it waits for its endpoint", losses=(loss,))
        wanted["target_value"] = target

    def fits(head: Json) -> bool:
        return all(head.get(key) == value for key, value in wanted.items())

    author, changer = (record.head.get(key, "") for key in PEOPLE)
    found = there.take(ids.earlier(MADE, record.id), fits)
    if found is not None:
        if fits(found):
            return Written(found[ID], "same")
        if not job.dry_run:
            sink.gateway.update_budget(found[ID], {**wanted, **({"updated_by": changer} if changer else {})})
        return Written(found[ID], "updated")
    if job.dry_run:
        return Written("", "done")
    body = {**wanted, "created_by": author}
    made = sink.gateway.create_budget(body, lambda: there.new(sink.gateway.list_budgets(), fits))[ID]
    there.made(made)
    ids.put(MADE, record.id, made)
    if changer not in {"", author}:
        sink.gateway.update_budget(made, {"updated_by": changer})
    return Written(made, "done")
