"""Endpoints of the gateway: their models with weights and fallbacks, tags, experiment, and the scorers bound to them.

An endpoint's name is unique, and what calls it calls it by name. At a destination origin tags tell which one came from
where. MLflow lists no endpoint without a model (found on 3.17.2), so that such a one can't be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError
from mlflow_migration.objects import experiment, forms, gateway_model_definition, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import ORIGIN, Identity, Json, Loss, Record, Written, tags_of, without_origin

NAME = "gateway_endpoint"
NEEDS: tuple[str, ...] = ("experiment", "gateway_model_definition")
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.10",
    carried="name, models with weights, order and kind, routing, fallbacks, usage tracking and its experiment, tags, "
    "bound scorers, who made and last changed it",
    kept_beside="id and place it came from (tags mlflow_migration.*)",
    lost="times, who attached a model; one without models can't be seen",
)
NEW_IDS = True
validate_row = kind.no_row
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
choose = kind.choose_unless_of_experiments
MADE = f"{NAME} made by this job"
SOURCE = ORIGIN + "source"
SOURCE_ID = ORIGIN + "endpoint_id"
KEPT = ("endpoint_id", "name", "routing_strategy", "fallback_config", "usage_tracking", "experiment_id", "tags")
PEOPLE = ("created_by", "last_updated_by")
OF_A_MODEL = ("linkage_type", "weight", "fallback_order")
MADE_AT = "made"
"""Stands in a head for what only a database keeps: times, and ids and authors of the ties to models, in their order."""
TIMES = ("created_at", "last_updated_at")
OF_A_BINDING = ("created_at", "last_updated_at", "last_updated_by", "display_name")
OF_A_TIE = ("mapping_id", "created_at", "created_by")


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.GatewayEndpoint.model_validate(head)
    return home(form.endpoint_id), form.endpoint_id


def home(endpoint_id: str) -> tuple[str, ...]:
    return ("gateway", "endpoints", endpoint_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All endpoints; none where only some experiments are asked for."""
    if kind.of_experiments(selection):
        return
    heads = list(source.gateway.list_endpoints())
    bound = _bound(source, heads)
    yield from (_record(head, bound[head["endpoint_id"]]) for head in heads)


def record(source: Readable, endpoint_id: str, selection: Selection) -> Record | None:
    """One endpoint by id, or None."""
    head = source.gateway.get_endpoint(endpoint_id)
    return _record(head, _bound(source, [head])[endpoint_id]) if head else None


def _record(shown: Json, scorers: list[Json]) -> Record:
    head = {key: shown[key] for key in (*KEPT, *PEOPLE) if shown.get(key) not in ("", None)}
    head |= {"name": shown.get("name", ""), "scorers": scorers}
    head["models"] = [
        {
            "model_definition_id": each["model_definition_id"],
            "name": each.get("model_definition", {}).get("name", ""),
            **{key: each[key] for key in OF_A_MODEL if key in each},
        }
        for each in shown.get("model_mappings", ())
    ]
    ties = [{key: each.get(key) for key in OF_A_TIE} for each in shown.get("model_mappings", ())]
    head[MADE_AT] = {**{key: shown.get(key) for key in TIMES}, "ties": ties}
    return Record(NAME, head["endpoint_id"], head["name"], home(head["endpoint_id"]), head)


def _bound(place: Readable, endpoints: list[Json]) -> dict[str, list[Json]]:
    """The scorers bound to each endpoint: their experiment, "" where they can't be seen, and name."""
    bindings = {head["endpoint_id"]: list(place.gateway.list_bindings(head["endpoint_id"])) for head in endpoints}
    scorers = scorer_ids(place) if any(bindings.values()) else {}
    names = {id_: where for where, id_ in scorers.items()}

    def scorer(binding: Json) -> Json:
        id_ = binding["resource_id"]
        experiment_id, name = names.get(id_, ("", binding.get("display_name") or id_))
        bound = {"experiment_id": experiment_id, "name": name, "created_by": binding.get("created_by", "")}
        return {**bound, **{key: binding[key] for key in OF_A_BINDING if key in binding}}

    return {endpoint_id: [scorer(each) for each in found] for endpoint_id, found in bindings.items()}


def scorer_ids(place: Readable) -> dict[tuple[str, str], str]:
    """Experiment and name of each scorer of a place's active experiments → its id."""
    active = [head["experiment_id"] for head in place.search_experiments() if head.get("lifecycle_stage") != "deleted"]
    heads = place.evaluation.list_scorers(active)
    return {(str(head["experiment_id"]), head["scorer_name"]): head["scorer_id"] for head in heads}


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    head, shared = record.head, swaps or {}
    bound = sorted(f"{shared.get(id_, id_)}/{name}" for id_, name in map(_shared, head["scorers"]))
    logged = experiment.shared_id(head["experiment_id"]) if "experiment_id" in head else ""
    return {
        **_fields(head),
        "experiment": shared.get(logged, logged),
        "tags": without_origin(tags_of(head.get("tags"))),
        "scorers": bound,
        **{key: head.get(key, "") for key in PEOPLE},
    }


def _fields(head: Json) -> Json:
    models = [[each["name"], *(each.get(key) for key in OF_A_MODEL)] for each in head["models"]]
    return {
        "name": head["name"],
        "models": sorted(models, key=repr),
        "routing_strategy": head.get("routing_strategy", ""),
        "fallback_config": head.get("fallback_config", {}),
        "usage_tracking": head.get("usage_tracking", True),
    }


def _shared(scorer: Json) -> tuple[str, str]:
    return experiment.shared_id(scorer["experiment_id"]), scorer["name"]


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns the ids of experiments into those that both ends share."""
    listed = {_shared(scorer)[0] for scorer in record.head["scorers"]}
    listed |= {experiment.shared_id(record.head.get("experiment_id", ""))}
    return {id_: known(id_) or id_ for id_ in sorted(listed)}


def origin(record: Record) -> str:
    """Its name: a server has one of it."""
    return f"gateway endpoint {record.name}"


def located(sink: Live, source_id: str, ids: Ids) -> str | None:
    """The destination's endpoint that came from this one, in this job or an earlier one."""

    def by_origin() -> dict[str, str]:
        heads = [(tags_of(head.get("tags")), head["endpoint_id"]) for head in sink.gateway.list_endpoints()]
        return {tags.get(SOURCE_ID) or id_: id_ for tags, id_ in heads}

    return ids.get(NAME, source_id) or ids.once("gateway endpoints by origin", by_origin).get(source_id)


@dataclass(frozen=True)
class _Wanted:
    """An endpoint as it is to stand at the destination; `models` and `experiment_id` in the destination's ids."""

    head: Json
    models: list[Json]
    experiment_id: str | None
    tags: dict[str, str]

    def body(self) -> Json:
        settings = ("name", "routing_strategy", "fallback_config")
        fields: Json = {key: self.head[key] for key in settings if key in self.head}
        fields["usage_tracking"] = self.head.get("usage_tracking", True)
        if self.experiment_id:
            fields["experiment_id"] = self.experiment_id
        # Where models are given without it, MLflow forgets the fallback's strategy (found on 3.17.2).
        return {**fields, "model_configs": self.models}

    def differs(self, there: Json) -> bool:
        """Whether an endpoint lacks something of it that REST can set."""
        ours, theirs = _fields(self.head), _fields(_record(there, []).head)
        unlike = any(value != theirs[key] for key, value in ours.items() if value not in ("", {}))
        return unlike or self.experiment_id not in (None, there.get("experiment_id"))


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the endpoint, or bring the one that came from it up to date; scorers are bound in the second pass.

    Raises ConflictError where the name belongs to another one. One that lacks a model there is skipped, with losses.
    """
    theirs = tags_of(record.head.get("tags"))
    marks = {SOURCE: theirs.get(SOURCE) or job.source, SOURCE_ID: theirs.get(SOURCE_ID) or record.id}
    found = _find(sink, record, ids, marks)
    if found is not None and _marks(sink, found) == marks and SOURCE not in tags_of(found.get("tags")):
        ids.put(NAME, record.id, found["endpoint_id"])
        return Written(found["endpoint_id"], "skipped", reason="it is the source itself, or what it was made from")
    models = [{**each, "model_definition_id": _model(each, ids)} for each in record.head["models"]]
    losses = [
        Loss("link", each["name"], f"its model definition {each['name']!r} is not at the destination")
        for each in models
        if each["model_definition_id"] is None
    ]
    if losses:
        return Written("", "skipped", reason="it waits for its models", losses=tuple(losses))
    models = [{key: value for key, value in each.items() if key != "name"} for each in models]
    logged = ids.get(experiment.NAME, record.head.get("experiment_id", ""))
    if logged is None and "experiment_id" in record.head:
        reason = f"experiment {record.head['experiment_id']} is not at the destination"
        losses.append(Loss("link", "experiment", reason))
    elif logged is None and found is None and record.head.get("usage_tracking", True):
        losses.append(Loss("link", "experiment", "it has none at the source, and the destination makes one for it"))
    wanted = _Wanted(record.head, models, logged or None, {**without_origin(theirs), **marks})
    if found is None:
        return _make(sink, record, ids, wanted, (job, losses))
    return _update(sink, record, ids, wanted, (job, losses, found))


def _find(sink: Live, record: Record, ids: Ids, marks: dict[str, str]) -> Json | None:
    """The destination's endpoint that came from this one, or that it came from, or else the one of its name."""
    heads: list[Json] = ids.once(NAME, lambda: list(sink.gateway.list_endpoints()))
    named = next((head for head in heads if head["name"] == record.name), None)
    return next((head for head in heads if _marks(sink, head) == marks), named)


def _marks(sink: Live, head: Json) -> dict[str, str]:
    """Place and id of the endpoint that this one came from in the first place."""
    tags = tags_of(head.get("tags"))
    return {SOURCE: tags.get(SOURCE) or sink.address, SOURCE_ID: tags.get(SOURCE_ID) or head["endpoint_id"]}


def _model(model: Json, ids: Ids) -> str | None:
    return ids.get(gateway_model_definition.NAME, model["model_definition_id"])


def _make(sink: Live, record: Record, ids: Ids, wanted: _Wanted, how: tuple[Writing, list[Loss]]) -> Written:
    job, losses = how
    if job.dry_run:
        ids.put(NAME, record.id, record.id)
        return Written("", "done", losses=tuple(losses))
    author, changer = (record.head.get(key, "") for key in PEOPLE)
    made = str(sink.gateway.create_endpoint({**wanted.body(), "created_by": author})["endpoint_id"])
    for noted in (MADE, NAME):
        ids.put(noted, record.id, made)
    if changer not in {"", author}:
        sink.gateway.update_endpoint(made, {"updated_by": changer})
    for key, value in wanted.tags.items():
        sink.gateway.set_endpoint_tag(made, key, value)
    _name_in_experiment(sink, record.id, made, wanted)
    return Written(made, "done", losses=tuple(losses), link=_todo(record))


def _update(sink: Live, record: Record, ids: Ids, wanted: _Wanted, how: tuple[Writing, list[Loss], Json]) -> Written:
    job, losses, found = how
    id_, here = found["endpoint_id"], tags_of(found.get("tags"))
    marks = {key: wanted.tags[key] for key in (SOURCE, SOURCE_ID)}
    ours = _marks(sink, found) == marks
    changed = wanted.differs(found)
    tags = {key: value for key, value in wanted.tags.items() if here.get(key) != value}
    # One that a killed job made may have no tags yet.
    begun = not here and ids.earlier(MADE, record.id) == id_
    if not ours and (changed or not (tags == marks or begun)):
        raise ConflictError(
            f"the gateway's endpoint {record.name!r} is another one at the destination",
            f"{id_} at {sink.address}",
            "rename or delete that one, then type the command again",
        )
    if not ours and tags == marks:
        # Somebody else's that is equal stays as it is.
        tags = {}
    ids.put(NAME, record.id, id_)
    if not job.dry_run:
        if changed:
            sink.gateway.update_endpoint(id_, {**wanted.body(), "updated_by": record.head.get("last_updated_by", "")})
        for key, value in tags.items():
            sink.gateway.set_endpoint_tag(id_, key, value)
        changed |= _name_in_experiment(sink, record.id, id_, wanted)
    state = "updated" if changed or tags else "same"
    return Written(id_, state, losses=tuple(losses), link=_todo(record))


def _name_in_experiment(sink: Live, source_id: str, endpoint_id: str, wanted: _Wanted) -> bool:
    """Whether the experiment that MLflow made for the endpoint had to be told its new id."""
    head = sink.get_experiment(wanted.experiment_id) if wanted.experiment_id else None
    if head is None or tags_of(head.get("tags")).get(experiment.MADE_FOR) != source_id:
        return False
    if head.get("lifecycle_stage") == "deleted":
        # It takes no tags. What it says is of no use to anybody until somebody restores it.
        return False
    sink.set_experiment_tag(head["experiment_id"], experiment.MADE_FOR, endpoint_id)
    return True


def _todo(record: Record) -> Json | None:
    return {"scorers": record.head["scorers"]} if record.head["scorers"] else None


def link(sink: Live, written_id: str, todo: Json, ids: Ids) -> list[Loss]:
    """Bind the scorers, which arrived after the endpoint; MLflow has bound those whose model it is."""
    scorers: dict[tuple[str, str], str] = ids.once("scorers to bind", lambda: scorer_ids(sink))
    here = {each["resource_id"] for each in sink.gateway.list_bindings(written_id)}
    losses = []
    for scorer in todo["scorers"]:
        there = scorers.get((ids.get(experiment.NAME, scorer["experiment_id"]) or "", scorer["name"]))
        if there is None:
            losses.append(Loss("link", f"scorer {scorer['name']}", "it is not at the destination"))
        elif there not in here:
            body = {"endpoint_id": written_id, "resource_type": "scorer", "resource_id": there}
            body["created_by"] = scorer["created_by"]
            sink.gateway.create_binding(body, partial(_bound_at, sink, written_id, there))
    return losses


def _bound_at(sink: Live, endpoint_id: str, scorer_id: str) -> Json | None:
    bindings = sink.gateway.list_bindings(endpoint_id)
    return next((each for each in bindings if each["resource_id"] == scorer_id), None)
