"""Guardrails of the gateway: a scorer's version that judges what goes into an endpoint or comes out of it.

MLflow never changes a guardrail, only at which endpoints it stands and in which order. It has no tags, and its name
is not unique: it counts as there when the destination has one that says the same and that no other guardrail of this
job has taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.objects import experiment, forms, gateway_endpoint, kind
from mlflow_migration.objects.lookalikes import Lookalikes
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written, digest_of

NAME = "gateway_guardrail"
NEEDS: tuple[str, ...] = ("experiment", "gateway_endpoint", "scorer")
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.12",
    carried="name, scorer and its version, stage, action, endpoint of the action, endpoints it stands at, in order",
    kept_beside="nothing: MLflow gives guardrails no tags",
    lost="id, times, author; one whose scorer can't be seen",
)
NEW_IDS = True
validate_row = kind.no_row
link = kind.no_link
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
choose = kind.choose_unless_of_experiments
MADE = f"{NAME} made by this job"
ID = "guardrail_id"
ORDER = "execution_order"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.GatewayGuardrail.model_validate(head)
    return home(form.guardrail_id), form.guardrail_id


def home(guardrail_id: str) -> tuple[str, ...]:
    return ("gateway", "guardrails", guardrail_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All guardrails; none where only some experiments are asked for."""
    if kind.of_experiments(selection):
        return
    heads = list(source.gateway.list_guardrails())
    endpoints = _endpoints(source) if heads else {}
    yield from (_record(head, endpoints) for head in heads)


def record(source: Readable, guardrail_id: str, selection: Selection) -> Record | None:
    """One guardrail by id, or None."""
    head = source.gateway.get_guardrail(guardrail_id)
    return _record(head, _endpoints(source)) if head else None


def _endpoints(source: Readable) -> dict[str, tuple[str, dict[str, Json]]]:
    """Each endpoint's name and, by id, the guardrails it has, by name: one request for each endpoint, which MLflow
    lists in any order."""
    return {
        head["endpoint_id"]: (
            head["name"],
            {each[ID]: each for each in source.gateway.list_endpoint_guardrails(head["endpoint_id"])},
        )
        for head in sorted(source.gateway.list_endpoints(), key=lambda head: str(head["name"]))
    }


def _record(shown: Json, endpoints: dict[str, tuple[str, dict[str, Json]]]) -> Record:
    head = {key: shown[key] for key in (ID, "name", "stage", "action")}
    head["scorer"] = {
        "experiment_id": str(shown["scorer"]["experiment_id"]),
        "name": shown["scorer"]["scorer_name"],
        "version": shown["scorer"]["scorer_version"],
    }
    # What MLflow calls an id here is the endpoint's name (found on 3.17.2).
    name = shown.get("action_endpoint_id", "")
    head["action_endpoint"] = next(
        ({"endpoint_id": id_, "name": name} for id_, (found, _) in endpoints.items() if name and found == name), None
    )
    head["endpoints"] = [
        {"endpoint_id": id_, "name": name, ORDER: guardrails[head[ID]].get(ORDER)}
        for id_, (name, guardrails) in endpoints.items()
        if head[ID] in guardrails
    ]
    return Record(NAME, head[ID], head["name"], home(head[ID]), head)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    shared = experiment.shared_id(record.head["scorer"]["experiment_id"])
    scorer = {**record.head["scorer"], "experiment_id": (swaps or {}).get(shared, shared)}
    standing = {each["name"]: each[ORDER] for each in record.head["endpoints"]}
    return {"tags": {}, **_content(record.head), "scorer": scorer, "endpoints": standing}


def _content(head: Json) -> Json:
    action_endpoint = head["action_endpoint"]
    return {
        **{key: head[key] for key in ("name", "stage", "action")},
        "scorer": [head["scorer"]["name"], head["scorer"]["version"]],
        "action_endpoint": action_endpoint["name"] if action_endpoint else "",
    }


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns the id of its scorer's experiment into the one that both ends share."""
    shared = experiment.shared_id(record.head["scorer"]["experiment_id"])
    return {shared: known(shared) or shared}


def origin(record: Record) -> str:
    """Guardrails are a pair by what they say: nothing else tells where one came from."""
    return "gateway guardrail " + digest_of(_content(record.head))


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the guardrail and put it before its endpoints. Without its scorer or action's endpoint it is skipped."""
    there = ids.once(NAME, lambda: Lookalikes(sink.gateway.list_guardrails(), ID))
    if there.is_known(record.id):
        return Written(record.id, "skipped", reason="it is the source itself")
    head = record.head
    scorer, action_endpoint = head["scorer"], head["action_endpoint"]
    experiment_id = ids.get(experiment.NAME, scorer["experiment_id"])
    scorers: dict[tuple[str, str], str] = ids.once("scorers of guardrails", lambda: gateway_endpoint.scorer_ids(sink))
    scorer_id = scorers.get((experiment_id or "", scorer["name"]))
    target = ids.get(gateway_endpoint.NAME, action_endpoint["endpoint_id"]) if action_endpoint else ""
    losses = []
    # A rehearsal makes no scorers.
    if scorer_id is None and not job.dry_run:
        losses.append(Loss("link", head["name"], f"its scorer {scorer['name']!r} is not at the destination"))
    if target is None:
        losses.append(Loss("link", head["name"], f"its endpoint {action_endpoint['name']!r} is not at the destination"))
    if losses:
        return Written("", "skipped", reason="it waits for its scorer or endpoint", losses=tuple(losses))

    def fits(other: Json) -> bool:
        found = _record(other, {target or "": (action_endpoint["name"], {})} if action_endpoint else {})
        same_scorer = found.head["scorer"] == {**scorer, "experiment_id": experiment_id}
        return same_scorer and _content(found.head) == _content(head)

    found = there.take(ids.earlier(MADE, record.id), fits)
    if found is not None:
        changed, lost = _stand(sink, record, ids, found[ID], job)
        return Written(found[ID], "updated" if changed else "same", losses=tuple(lost))
    if job.dry_run:
        return Written("", "done")
    body = {key: head[key] for key in ("name", "stage", "action")}
    body |= {"scorer_id": scorer_id, "scorer_version": scorer["version"]}
    body |= {"action_endpoint_id": target} if target else {}
    made = sink.gateway.create_guardrail(body, lambda: there.new(sink.gateway.list_guardrails(), fits))[ID]
    there.made(made)
    ids.put(MADE, record.id, made)
    _, lost = _stand(sink, record, ids, made, job)
    return Written(made, "done", losses=tuple(lost))


def _stand(sink: Live, record: Record, ids: Ids, guardrail_id: str, job: Writing) -> tuple[bool, list[Loss]]:
    """Put the guardrail before the endpoints it stands before at the source: whether one lacked it, and losses."""
    changed, losses = False, []
    for each in record.head["endpoints"]:
        endpoint_id = ids.get(gateway_endpoint.NAME, each["endpoint_id"])
        if endpoint_id is None:
            losses.append(Loss("link", each["name"], f"the endpoint {each['name']!r} is not at the destination"))
            continue
        here = ids.once(f"guardrails at {endpoint_id}", partial(_standing, sink, endpoint_id, job.dry_run))
        body = {"endpoint_id": endpoint_id, ID: guardrail_id}
        body |= {} if each[ORDER] is None else {ORDER: each[ORDER]}
        lacking, misplaced = guardrail_id not in here, here.get(guardrail_id, {}).get(ORDER) != each[ORDER]
        if not lacking and misplaced and ids.earlier(MADE, record.id) != guardrail_id:
            losses.append(Loss("link", each["name"], "the destination has it there in another order, which is kept"))
            continue
        changed |= lacking or misplaced
        if lacking and not job.dry_run:
            sink.gateway.add_guardrail(body)
        elif misplaced and not job.dry_run:
            sink.gateway.reorder_guardrail(body)
    return changed, losses


def _standing(sink: Live, endpoint_id: str, rehearsal: bool) -> dict[str, Json]:
    """The guardrails that stood at an endpoint when this job came to it, by id."""
    # In a rehearsal an endpoint that would be made has the source's id.
    if rehearsal and sink.gateway.get_endpoint(endpoint_id) is None:
        return {}
    return {each[ID]: each for each in sink.gateway.list_endpoint_guardrails(endpoint_id)}
