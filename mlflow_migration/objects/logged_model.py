"""Logged models (MLflow 3): info, params, tags, metrics with their datasets, artifacts, and the run they come from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import experiment, forms, kind, model_metrics, registry
from mlflow_migration.objects import run as runs
from mlflow_migration.objects.kind import Known
from mlflow_migration.objects.model_links import MODEL, MODEL_ID, ids_of, links_of, model_ids_in, tie
from mlflow_migration.objects.texts import holds_ids, name_swaps, run_ids_in, shared_tag, swap
from mlflow_migration.places import Ids, Root, Selection, Writing
from mlflow_migration.records import (
    LINEAGE,
    ORIGIN,
    File,
    Identity,
    Json,
    Loss,
    Record,
    Written,
    digest_of,
    tags_of,
    without_origin,
)

NAME = MODEL
NEEDS: tuple[str, ...] = ("experiment", "run")
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.0",
    carried="name, type, status, run, params, tags, metrics with their datasets (NaN by the run's history), artifacts, "
    "links with runs, deleted ones that a run gave out",
    kept_beside="model id, creation and update time, artifact address, status message (tags mlflow_migration.*)",
    lost="metrics whose run is gone, deleted ones that no run names, creator",
)
NEW_IDS = True
validate_row = kind.no_row
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
SOURCE_ID = MODEL_ID
ROOT_ID = ORIGIN + "root_model_id"
COMPLETE = ORIGIN + "complete"
VERSIONS = "mlflow.modelVersions"
"""A tag the server writes itself whenever a version is made of the model; the source's value is set last."""
FINAL = frozenset({"LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"})
DELETED = "deleted_but_named_by"
UNSEEN = "it is deleted and no run names it: no server would show it"
"""Stands in the head of a deleted model: a run that gave it out, `{"run_id": id, "outputs": [[model id, step]]}`."""
KEPT = ("creation_timestamp_ms", "last_updated_timestamp_ms", "artifact_uri", "status_message")
"""What REST can't set at a destination, kept there as `mlflow_migration.*` tags."""


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    info = forms.LoggedModel.model_validate(head).info
    return home(info.experiment_id, info.model_id), info.model_id


def home(experiment_id: str, model_id: str) -> tuple[str, ...]:
    return (*experiment.home(experiment_id), "logged_models", model_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The selected models, and those that are deleted but that a selected run names."""
    chosen = Selection(selection.experiments, deleted=selection.deleted, shard=selection.shard)
    ids = [found.id for found in experiment.readable(source, chosen)]
    # A model may be of a run in another shard.
    everywhere = replace(selection, shard=None)
    wanted = None if _takes_all(selection) else {*_named_by(source, everywhere), *selection.logged_models}
    seen: set[str] = set()
    for head in source.models.search(ids):
        seen.add(head["info"]["model_id"])
        if wanted is None or head["info"]["model_id"] in wanted or head["info"].get("source_run_id") in wanted:
            yield _listed(source, head, selection)
    if selection.deleted and source.models.exist():
        for head in _deleted(source, selection, ids, seen):
            if wanted is None or head[DELETED]["run_id"] or head["info"]["model_id"] in wanted:
                yield _listed(source, head, selection)


def _deleted(source: Readable, selection: Selection, experiment_ids: list[str], seen: set[str]) -> Iterator[Json]:
    """The deleted models of some experiments, each with the run that names it. A server gives only those that one
    does; where a place lists them all, one that no run names has "" for it."""
    listed = source.models.deleted(experiment_ids)
    if listed is not None:
        first = next(listed, None)
        names = {} if first is None else _named_by(source, replace(selection, shard=None))
        for head in itertools.chain([] if first is None else [first], listed):
            named = names.get(head["info"]["model_id"])
            yield {**head, DELETED: named if named and named["outputs"] else {"run_id": "", "outputs": []}}
        return
    for model_id, named in _named_by(source, selection).items():
        deleted = source.models.get(model_id) if model_id not in seen and named["outputs"] else None
        if deleted is not None and deleted["info"]["experiment_id"] in experiment_ids:
            yield {**deleted, DELETED: named}


def _takes_all(selection: Selection) -> bool:
    by_run = selection.run_ids or selection.filter or selection.since is not None or selection.until is not None
    return not (by_run or selection.logged_models)


def _named_by(source: Readable, selection: Selection) -> dict[str, Json]:
    """By the id of each selected run and of each model it gave out: the run, and its outputs of that model."""
    named: dict[str, Json] = {}
    if selection.logged_models and not selection.run_ids:
        return named
    for head in runs.heads(source, selection):
        run_id = head["info"]["run_id"]
        named[run_id] = {"run_id": run_id, "outputs": []}
        links = links_of(head) or {"outputs": []}
        for model_id, _ in links["outputs"]:
            outputs = [output for output in links["outputs"] if output[0] == model_id]
            named.setdefault(model_id, {"run_id": run_id, "outputs": outputs})
    return named


def record(source: Readable, model_id: str, selection: Selection) -> Record | None:
    """One model by id, or None."""
    head = source.models.get(model_id)
    return _with_nan(source, _record(source, head, selection)) if head else None


def _listed(source: Readable, head: Json, selection: Selection) -> Record:
    found = _record(source, head, selection)
    return replace(found, whole=partial(_with_nan, source, found))


def _with_nan(source: Readable, record: Record) -> Record:
    return replace(record, head=model_metrics.with_nan(source, record.head), whole=None)


def _record(source: Readable, head: Json, selection: Selection) -> Record:
    info = head["info"]
    refs = {"experiment": info["experiment_id"]}
    if info.get("source_run_id"):
        refs["run"] = info["source_run_id"]
    files = partial(selection.files_of, partial(source.files, root_of(head)))
    return Record(
        NAME,
        info["model_id"],
        info.get("name", ""),
        home(info["experiment_id"], info["model_id"]),
        head,
        refs,
        {},
        files,
    )


def root_of(head: Json) -> Root:
    return Root(NAME, head["info"]["model_id"], head["info"].get("artifact_uri", ""))


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """The models of a bundle that are asked for; with chosen runs, those too that came from one of them."""
    for found in records:
        if is_deleted(found) and not selection.deleted:
            continue
        named = (found.head.get(DELETED) or {}).get("run_id")
        chosen = {*selection.run_ids, *selection.logged_models}
        if not chosen or {found.id, found.refs.get("run"), named} & chosen:
            yield found


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends. `swaps` turns the ids in it into those both ends share."""
    info, data = record.head["info"], record.head.get("data") or {}
    tags = without_origin(tags_of(info.get("tags")))
    return {
        "name": info.get("name", ""),
        "model_type": info.get("model_type", ""),
        "status": info.get("status", ""),
        "deleted": is_deleted(record),
        "source_run": swap(info.get("source_run_id", ""), swaps),
        "params": tags_of(data.get("params")),
        "tags": {key: shared_tag(key, value, swaps) for key, value in tags.items()},
        "metrics": model_metrics.portable(data.get("metrics", []), swaps),
    }


def is_deleted(record: Record) -> bool:
    """Whether the model is deleted: searches leave those out, so a server shows one only by a run that names it."""
    return DELETED in record.head


def is_unseen(record: Record) -> bool:
    """Whether it is a model that only a database shows: one that is deleted, and that no run names."""
    return record.kind == NAME and is_deleted(record) and not record.head[DELETED]["run_id"]


def origin(record: Record) -> str:
    """The id of the model this one came from in the first place, or its own."""
    tags = tags_of(record.head["info"].get("tags"))
    return tags.get(ROOT_ID) or tags.get(SOURCE_ID) or record.id


def swaps_of(record: Record, known: Known) -> dict[str, str]:
    """What turns this model's ids into those that both ends share."""
    info, mine = record.head["info"], origin(record)
    swaps = {record.id: mine}
    if uri := info.get("artifact_uri"):
        swaps[uri] = f"artifacts of {mine}"
    tags = tags_of(info.get("tags"))
    texts = [value for key, value in tags.items() if holds_ids(key)]
    swaps.update(name_swaps(tags, known))
    others = {info.get("source_run_id", ""), *model_metrics.run_ids(record.head)}
    others.update(*(run_ids_in(text) | model_ids_in(text) for text in texts))
    swaps.update({old: new for old in others if old and old != record.id and (new := known(old))})
    return swaps


def comparable(file: File, swaps: dict[str, str]) -> File:
    """An artifact as it would stand at the other end: MLmodel files hold ids."""
    return runs.comparable(file, swaps)


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the model whole at the destination; one that is there already is completed or brought up to date."""
    if is_unseen(record) and not sink.abilities.keeps_ids:
        return Written("", "skipped", reason=UNSEEN)
    experiment_id = kind.experiment_at(ids, record)
    found = _find(sink, record, experiment_id, ids)
    if found is not None and SOURCE_ID not in tags_of(found["info"].get("tags")):
        ids.put(NAME, record.id, found["info"]["model_id"])
        return Written(found["info"]["model_id"], "skipped", reason="it is the source itself")
    files = list(record.files())
    digest = digest_of([portable(record), sorted([file.path, file.size] for file in files if file.open is not None)])
    losses = runs.lost_files(sink, files)
    if found is not None and tags_of(found["info"].get("tags")).get(COMPLETE) == digest:
        ids.put(NAME, record.id, found["info"]["model_id"])
        return Written(found["info"]["model_id"], "same", digest, losses=tuple(losses))
    before = found is not None and COMPLETE in tags_of(found["info"].get("tags"))
    state = "updated" if before else "done"
    size = sum(file.size for file in files if not file.problem)
    if job.dry_run:
        return Written(found["info"]["model_id"] if found else "", state, losses=tuple(losses), bytes=size)
    source_run, lost = _run_at(ids, record.head["info"].get("source_run_id", ""))
    losses += lost
    head = found or _create(sink, record, job, experiment_id, source_run)
    model_id = head["info"]["model_id"]
    ids.put(NAME, record.id, model_id)
    swaps = _swaps(record, head, source_run)
    for file in runs.changed_files(sink, root_of(head), files, swaps, job.checksum):
        sink.put_file(root_of(head), file.path, runs.comparable(file, swaps))
    losses += model_metrics.write(sink, record, model_id, ids)
    if record.head["info"].get("status") in FINAL:
        sink.models.finalize(model_id, record.head["info"]["status"])
    todo = {
        "tags": registry.rename_in(_own_tags(record, swaps, ids), sink, ids, job),
        "digest": "" if losses else digest,
        "delete": record.head.get(DELETED),
    }
    return Written(model_id, state, digest, losses=tuple(losses), link=todo, bytes=size)


def _find(sink: Live, record: Record, experiment_id: str, ids: Ids) -> Json | None:
    """The destination's model that came from this one; the source's own where source and destination are one."""

    def load() -> dict[str, Json]:
        found: dict[str, Json] = {}
        for head in sink.models.search([experiment_id]):
            tags = tags_of(head["info"].get("tags"))
            found[head["info"]["model_id"]] = head
            for key in (ROOT_ID, SOURCE_ID):
                if key in tags:
                    found[tags[key]] = head
        return found

    there: dict[str, Json] = ids.once(f"{NAME}s of {experiment_id}", load)
    head = there.get(record.id) or there.get(origin(record))
    if head is None and is_deleted(record):
        return _find_deleted(sink, record, ids)
    return head


def _find_deleted(sink: Live, record: Record, ids: Ids) -> Json | None:
    """Deleted models are in no search: one is found by the run that names it."""
    run_id, _ = _run_at(ids, record.head[DELETED]["run_id"])
    run = sink.get_run(run_id)
    for model_id in ids_of(run) if run else ():
        head = sink.models.get(model_id)
        if head is not None and tags_of(head["info"].get("tags")).get(SOURCE_ID) == record.id:
            return head
    return None


def _run_at(ids: Ids, source_id: str) -> tuple[str, list[Loss]]:
    """A run's id at the destination; one that isn't there keeps its own and is a loss."""
    if not source_id:
        return "", []
    found = kind.run_at(ids, source_id)
    if found:
        return found, []
    reason = f"run {source_id} is not at the destination: bring it there, then type this command again"
    return source_id, [Loss("link", "source_run_id", reason)]


def _create(sink: Live, record: Record, job: Writing, experiment_id: str, source_run: str) -> Json:
    info, data = record.head["info"], record.head.get("data") or {}
    tags = {SOURCE_ID: record.id, ORIGIN + "source": job.source}
    tags.update({ORIGIN + field: str(info[field]) for field in KEPT if info.get(field)})
    if origin(record) != record.id:
        tags[ROOT_ID] = origin(record)
    if job.lineage:
        tags.update(
            {f"{LINEAGE}{key}": str(info[key]) for key in ("model_id", "experiment_id", *KEPT) if info.get(key)}
        )
    body: dict[str, Any] = {"experiment_id": experiment_id, "params": data.get("params", [])}
    body.update({key: info[key] for key in ("name", "model_type") if info.get(key)})
    if source_run:
        body["source_run_id"] = source_run
    return sink.models.create(body, tags, (SOURCE_ID, record.id))


def _swaps(record: Record, head: Json, source_run: str) -> dict[str, str]:
    """What turns the ids of the source's model into those of the destination's."""
    old, new = record.head["info"], head["info"]
    pairs = (
        (old.get("artifact_uri"), new.get("artifact_uri")),
        (old["model_id"], new["model_id"]),
        (old.get("source_run_id"), source_run),
    )
    return {before: after for before, after in pairs if before and after}


def _own_tags(record: Record, swaps: dict[str, str], ids: Ids) -> dict[str, str]:
    """The source's tags as they read at the destination."""
    tags = without_origin(tags_of(record.head["info"].get("tags")))
    texts = {key: value for key, value in tags.items() if holds_ids(key)}
    found = {old: ids.get("run", old) for text in texts.values() for old in run_ids_in(text)}
    whole = {**{old: new for old, new in found.items() if new}, **swaps}
    return {key: swap(value, whole) if key in texts else value for key, value in tags.items()}


def link(sink: Live, written_id: str, todo: Json, ids: Ids) -> list[Loss]:
    """Set the tags last of all, for the server writes some itself while versions are made; then delete what is deleted.

    A deleted model is first tied to the run that names it: it could not be found again otherwise.
    """
    head = sink.models.get(written_id)
    if head is None:
        raise NotFoundError("the model vanished from the destination", written_id, "run it again")
    here = tags_of(head["info"].get("tags"))
    tags = {key: value for key, value in todo["tags"].items() if here.get(key) != value}
    if todo["digest"]:
        tags[COMPLETE] = todo["digest"]
    if tags:
        sink.models.set_tags(written_id, tags)
    if not todo["delete"]:
        return []
    run_id, losses = _run_at(ids, todo["delete"]["run_id"])
    if not losses:
        losses = tie(sink, run_id, {"inputs": [], "outputs": todo["delete"]["outputs"]}, ids)
        sink.models.delete(written_id)
    return losses
