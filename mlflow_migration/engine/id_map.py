"""Which object of a place came from which elsewhere: by the origin tags there, and by ledgers for what has no tags."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from mlflow_migration.calls import Readable
from mlflow_migration.engine.ledger import Noted
from mlflow_migration.records import ORIGIN, Json, tags_of

Visit = Callable[[Json], None]
SOURCE = ORIGIN + "source"
HOLDS = ORIGIN + "holds."


def id_map(live: Readable, noted: Iterable[Noted], visit: Visit) -> None:
    """Give `visit` a row for each object at a place that came from elsewhere.

    `noted` is what ledgers say came to this place: it counts only for what is still there.
    """
    _experiments_and_what_is_in_them(live, visit)
    for prompts in (False, True):
        _registry(live, prompts, visit)
    for head in live.evaluation.search_datasets():
        _visit_tagged(visit, "evaluation_dataset", json.loads(head.get("tags") or "{}"), "dataset_id", head)
    for head in live.gateway.list_endpoints():
        _visit_tagged(visit, "gateway_endpoint", tags_of(head.get("tags")), "endpoint_id", head)
    for head in live.mcp.list_servers():
        tags = head["tags"]
        if ORIGIN + "mcp_server" in tags:
            came_from = (tags.get(SOURCE, ""), tags[ORIGIN + "mcp_server"])
            _visit(visit, "mcp_server", came_from, (head["name"], head["name"]))
    seen: set[tuple[str, str, str]] = set()
    for each in noted:
        row = (each.kind, each.source_id, each.destination_id)
        name = _name_there(live, each) if row not in seen else None
        if name is not None:
            seen.add(row)
            _visit(visit, each.kind, (each.source, each.source_id), (each.destination_id, name))


def _experiments_and_what_is_in_them(live: Readable, visit: Visit) -> None:
    ids = []
    for head in live.search_experiments():
        ids.append(head["experiment_id"])
        tags = tags_of(head.get("tags"))
        _visit_tagged(visit, "experiment", tags, "experiment_id", head)
        for key, value in tags.items():
            if key.startswith(HOLDS):
                came_from = (value, key.removeprefix(HOLDS).partition(".")[0])
                _visit(visit, "experiment", came_from, (head["experiment_id"], head["name"]))
    for head in live.search_runs(ids):
        info = {**head["info"], "name": head["info"].get("run_name", "")}
        _visit_tagged(visit, "run", tags_of(head["data"].get("tags")), "run_id", info)
    for head in live.models.search(ids):
        _visit_tagged(visit, "logged_model", tags_of(head["info"].get("tags")), "model_id", head["info"])


def _registry(live: Readable, prompts: bool, visit: Visit) -> None:
    model, version = ("prompt", "prompt_version") if prompts else ("registered_model", "model_version")
    sources = {}
    for head in live.registry.search_models(prompts):
        tags = tags_of(head.get("tags"))
        sources[head["name"]] = tags.get(SOURCE, "")
        if ORIGIN + "model_name" in tags:
            _visit(visit, model, (sources[head["name"]], tags[ORIGIN + "model_name"]), (head["name"], head["name"]))
    for head in live.registry.search_versions(prompts):
        origin = tags_of(head.get("tags")).get(ORIGIN + "model_version")
        if origin:
            id_ = f"{head['name']}/{head['version']}"
            _visit(visit, version, (sources.get(head["name"], ""), origin), (id_, id_))


def _visit_tagged(visit: Visit, kind: str, tags: dict[str, str], field: str, head: Json) -> None:
    """A row where the object has an origin tag of the name of its id's field."""
    if ORIGIN + field in tags:
        _visit(visit, kind, (tags.get(SOURCE, ""), tags[ORIGIN + field]), (head[field], head.get("name", "")))


def _visit(visit: Visit, kind: str, source: tuple[str, str], here: tuple[str, str]) -> None:
    names = ("kind", "source", "source_id", "destination_id", "name")
    visit(dict(zip(names, (kind, *source, *here), strict=True)))


def _name_there(live: Readable, noted: Noted) -> str | None:
    """The name of an object that has no tags; None where it is there no more."""
    id_ = noted.destination_id
    if noted.kind == "scorer":
        experiment_id, _, name = id_.partition("/scorers/")
        return name if live.evaluation.list_scorer_versions(experiment_id, name) else None
    getters = {
        "issue": live.reviews.get_issue,
        "label_schema": live.reviews.get_label_schema,
        "review_queue": live.reviews.get_review_queue,
        "webhook": live.webhooks.get_webhook,
        "gateway_model_definition": live.gateway.get_model_definition,
        "gateway_guardrail": live.gateway.get_guardrail,
        "gateway_budget": live.gateway.get_budget,
    }
    head = getters[noted.kind](id_)
    return None if head is None else str(head.get("name", ""))
