"""Runs: info, params, tags, whole metric histories, dataset inputs, artifacts, and their place in a family of runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import experiment, forms, kind, registry, run_notebooks
from mlflow_migration.objects import points as series
from mlflow_migration.objects.model_links import ids_of, links_of, model_ids_in, swapped, tie
from mlflow_migration.objects.model_links import localized as localized_models
from mlflow_migration.objects.points import Outgoing, metrics_of
from mlflow_migration.objects.run_update import Filling, update_run
from mlflow_migration.objects.texts import Texts, holds_ids, localized, name_swaps, run_ids_in, shared_tag
from mlflow_migration.places import Found, Ids, Root, Selection, Writing
from mlflow_migration.records import (
    LINEAGE,
    ORIGIN,
    File,
    Identity,
    Json,
    Loss,
    Record,
    Rows,
    Written,
    digest_of,
    pairs_of,
    tags_of,
    without_origin,
)

NAME = "run"
NEEDS: tuple[str, ...] = ("experiment",)
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = ("metrics",)
COVERAGE = kind.Coverage(
    since="1.0",
    carried="name, user, status, times, params, tags, every metric point, dataset inputs, models taken in and given "
    "out, parents, artifacts, deleted state",
    kept_beside="run id, experiment id, artifact address (tags mlflow_migration.*)",
    lost="params over 6,000 characters, artifact names with # or a literal %xx, an empty name, source_* columns",
)
NEW_IDS = True
validate_row = forms.validate_run_row
rows_summary = series.rows_summary
differing_rows = series.differing_rows
SOURCE_ID = ORIGIN + "run_id"
ROOT_ID = ORIGIN + "root_run_id"
COMPLETE = ORIGIN + "complete"
PARENT = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
INFO = ("run_id", "experiment_id", "user_id", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri")


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    info = forms.Run.model_validate(head).info
    return (*experiment.home(info.experiment_id), info.run_id), info.run_id


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The selected runs with their lazy histories and artifacts, oldest first."""
    for head, rows in source.with_histories(heads(source, selection)):
        found = _record(source, head, rows, selection)
        yield replace(found, whole=partial(_with_models, source, found)) if source.models.exist() else found


def _with_models(source: Readable, record: Record) -> Record:
    return replace(record, head=source.models.with_inputs(record.head), whole=None)


def record(source: Readable, run_id: str, selection: Selection) -> Record | None:
    """One run by id, or None."""
    head = source.get_run(run_id)
    if head is None:
        return None
    found, rows = next(iter(source.with_histories([head])))
    return _record(source, found, rows, selection)


def _record(source: Readable, head: Json, rows: Rows, selection: Selection) -> Record:
    info = head["info"]
    return Record(
        kind=NAME,
        id=info["run_id"],
        name=run_name(head),
        home=(*experiment.home(info["experiment_id"]), info["run_id"]),
        head=head,
        refs={"experiment": info["experiment_id"]},
        rows={"metrics": rows},
        files=partial(selection.files_of, partial(source.files, root_of(head))),
        notebooks=partial(run_notebooks.of_run, source, head, selection.notebooks),
    )


def heads(source: Readable, selection: Selection) -> Iterator[Json]:
    """The selected runs as searches show them: without the models they took in."""
    # Runs that are named, and families, may reach into other shards; what of them is in this one is chosen last.
    reaches_out = bool(selection.run_ids or selection.nested)
    shard = None if reaches_out else selection.shard
    asked = Selection(selection.experiments, deleted=selection.deleted, shard=shard)
    ids = [found.id for found in experiment.readable(source, asked)]
    if selection.run_ids:
        heads = _by_ids(source, selection.run_ids, set(ids))
    else:
        heads = source.search_runs(ids, _filter(selection))
    chosen = (head for head in heads if selection.deleted or head["info"].get("lifecycle_stage") != "deleted")
    whole = _families(source, chosen, ids) if selection.nested else chosen
    return (head for head in whole if selection.holds(head["info"]["experiment_id"]))


def _by_ids(source: Readable, run_ids: tuple[str, ...], experiment_ids: set[str]) -> Iterator[Json]:
    for run_id in dict.fromkeys(run_ids):
        head = source.get_run(run_id)
        if head is None:
            raise NotFoundError(f"no such run: {run_id!r}", f"at {source.address}", "check the run's id and the server")
        if head["info"]["experiment_id"] not in experiment_ids:
            raise NotFoundError(
                f"run {run_id!r} is not in the chosen experiments",
                f"it is in experiment {head['info']['experiment_id']}",
            )
        yield head


def _filter(selection: Selection) -> str:
    parts = [selection.filter] if selection.filter else []
    if selection.since is not None:
        parts.append(f"attributes.start_time >= {selection.since}")
    if selection.until is not None:
        parts.append(f"attributes.start_time <= {selection.until}")
    return " AND ".join(parts)


def _families(source: Readable, heads: Iterator[Json], experiment_ids: list[str]) -> Iterator[Json]:
    """The runs with all their ancestors and descendants, each once, parents first."""
    seen: set[str] = set()

    def with_ancestors(head: Json) -> Iterator[Json]:
        if head["info"]["run_id"] in seen:
            return
        seen.add(head["info"]["run_id"])
        parent_id = tags_of(head["data"].get("tags")).get(PARENT)
        parent = source.get_run(parent_id) if parent_id and parent_id not in seen else None
        if parent and parent["info"]["experiment_id"] in experiment_ids:
            yield from with_ancestors(parent)
        yield head

    queue = deque(heads)
    while queue:
        head = queue.popleft()
        yield from with_ancestors(head)
        children = source.search_runs(experiment_ids, f"tags.`{PARENT}` = '{head['info']['run_id']}'")
        queue.extend(child for child in children if child["info"]["run_id"] not in seen)


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """The runs of a bundle that are asked for; their experiments have been chosen before."""
    return (record for record in records if selected(record, selection))


def selected(record: Record, selection: Selection) -> bool:
    """Whether a run from a bundle is asked for."""
    info = record.head["info"]
    start = info.get("start_time", 0)
    return (
        (not selection.run_ids or record.id in selection.run_ids)
        and (selection.since is None or start >= selection.since)
        and (selection.until is None or start <= selection.until)
        and (selection.deleted or info.get("lifecycle_stage") != "deleted")
    )


def run_name(head: Json) -> str:
    """The run's name, from its info or the tag MLflow keeps beside it; "" for a run without one."""
    tags = tags_of(head["data"].get("tags"))
    return str(head["info"].get("run_name") or tags.get(NAME_TAG, ""))


def root_of(head: Json) -> Root:
    return Root(NAME, head["info"]["run_id"], head["info"].get("artifact_uri", ""))


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends. `swaps` turns the ids in MLflow's own tags into those of the other end."""
    info, data = record.head["info"], record.head["data"]
    tags = without_origin(tags_of(data.get("tags")))
    inputs = (record.head.get("inputs") or {}).get("dataset_inputs", [])
    links = links_of(record.head)
    return {
        # Only where there are any: the digests of runs without models stay what they were.
        **({"models": swapped(links, swaps)} if links else {}),
        "run_name": run_name(record.head),
        "user_id": info.get("user_id", ""),
        "status": info.get("status", "RUNNING"),
        "start_time": info.get("start_time", 0),
        "end_time": info.get("end_time") or None,
        "lifecycle_stage": info.get("lifecycle_stage", "active"),
        "params": tags_of(data.get("params")),
        "tags": {key: shared_tag(key, value, swaps) for key, value in tags.items()},
        "inputs": sorted(
            ({"dataset": entry["dataset"], "tags": tags_of(entry.get("tags"))} for entry in inputs),
            key=lambda entry: (entry["dataset"]["name"], entry["dataset"]["digest"]),
        ),
    }


def origin(record: Record) -> str:
    """The id of the run this one came from in the first place, or its own."""
    tags = tags_of(record.head["data"].get("tags"))
    return tags.get(ROOT_ID) or tags.get(SOURCE_ID) or record.id


def swaps_of(record: Record, known: Callable[[str], str | None]) -> dict[str, str]:
    """What turns this run's ids into those that both ends share: `known` gives the first origin of another run's id."""
    mine = origin(record)
    swaps = {record.id: mine}
    if uri := record.head["info"].get("artifact_uri"):
        swaps[uri] = f"artifacts of {mine}"
    tags = tags_of(record.head["data"].get("tags"))
    for key, value in tags.items():
        if holds_ids(key):
            swaps.update({old: new for old in run_ids_in(value) if old != record.id and (new := known(old))})
    swaps.update(name_swaps(tags, known))
    swaps.update({old: new for old in ids_of(record.head) if (new := known(old))})
    return swaps


def content_digest(record: Record, points: Outgoing, files: list[File]) -> str:
    """What a completion tag holds: it changes when anything of the run does, artifacts by path and size."""
    listing = sorted([file.path, file.size] for file in files if file.open is not None)
    return digest_of([portable(record), points.digest.value(), points.digest.count, listing])


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the run whole at the destination; one that is there already is completed or brought up to date."""
    experiment_id = kind.experiment_at(ids, record)
    found = ids.find_run(experiment_id, record.id, origin(record))
    if found is not None and found.itself:
        ids.put(NAME, record.id, found.id)
        return Written(found.id, "skipped", reason="it is the source itself")
    files = list(record.files())
    others = tuple(_other_datasets(record, ids, experiment_id))
    if found is not None and found.digest:
        same = _same(sink, record, files, found, job.checksum)
        if same is not None:
            ids.put(NAME, record.id, found.id)
            return run_notebooks.with_notebook(sink, record, replace(same, losses=same.losses + others), job)
    if job.dry_run:
        rehearsed = _rehearsed(sink, record, files, found)
        rehearsed = replace(rehearsed, losses=rehearsed.losses + others)
        return run_notebooks.with_notebook(sink, record, rehearsed, job)
    if ids.is_deleted(experiment_id):
        ids.reopen(experiment_id, will_delete=True)
    written = _Writer(_Target(sink, ids, job), record, files).write(experiment_id, found)
    return run_notebooks.with_notebook(sink, record, replace(written, losses=written.losses + others), job)


def _other_datasets(record: Record, ids: Ids, experiment_id: str) -> Iterator[Loss]:
    """The dataset inputs whose name and digest another one has in an experiment that runs of others are in."""
    for entry in (record.head.get("inputs") or {}).get("dataset_inputs", []):
        dataset = entry["dataset"]
        if ids.is_other_dataset(experiment_id, dataset):
            name = f"{dataset['name']} {dataset['digest']}"
            yield Loss("input", name, "the experiment has another dataset of this name and digest, which is kept")


def _same(sink: Live, record: Record, files: list[File], found: Found, checksum: bool) -> Written | None:
    points = Outgoing(record.rows["metrics"]())
    points.drain()
    digest = content_digest(record, points, files)
    deleted = record.head["info"].get("lifecycle_stage") == "deleted"
    if digest != found.digest or deleted != found.deleted:
        return None
    if checksum:
        head = sink.get_run(found.id)
        if head is None or changed_files(sink, root_of(head), files, _own_swaps(record, head), checksum):
            return None
    losses = (*_static_losses(record), *points.losses(), *lost_files(sink, files))
    return Written(found.id, "same", digest, losses=losses)


def _rehearsed(sink: Live, record: Record, files: list[File], found: Found | None) -> Written:
    points = Outgoing(record.rows["metrics"]())
    points.drain()
    losses = [*_static_losses(record), *points.losses(), *lost_files(sink, files)]
    state = "updated" if found is not None and found.digest else "done"
    size = sum(file.size for file in files if not file.problem)
    return Written(found.id if found else "", state, losses=tuple(losses), bytes=size)


def _static_losses(record: Record) -> list[Loss]:
    losses = [Loss("param", key, reason) for key, _, reason in _params(record) if reason]
    if not run_name(record.head):
        losses.append(Loss("name", record.id, "MLflow gives a nameless run a name; the source's id is used"))
    return losses


def _params(record: Record) -> Iterator[tuple[str, str, str]]:
    for key, value in tags_of(record.head["data"].get("params")).items():
        yield key, value, Filling.bad_param(key, value)


def lost_files(sink: Live, files: list[File]) -> list[Loss]:
    """The artifacts that the source can't give, the person left out, or the destination can't hold."""
    reasons = ((file, file.problem or sink.cannot_hold(file.path)) for file in files)
    return [Loss("artifact", file.path, reason, wanted=file.wanted) for file, reason in reasons if reason]


def _own_swaps(record: Record, head: Json) -> dict[str, str]:
    """What turns the ids of the source's run into those of the destination's."""
    pairs = (
        (record.head["info"].get("artifact_uri"), head["info"].get("artifact_uri")),
        (record.id, head["info"]["run_id"]),
    )
    return {old: new for old, new in pairs if old and new}


def changed_files(sink: Live, root: Root, files: list[File], swaps: dict[str, str], checksum: bool) -> list[File]:
    """The artifacts that the destination lacks or has with another size, or with other bytes under `checksum`."""
    there = {file.path: file for file in sink.files(root)}
    return [
        file
        for file in files
        if not file.problem and not sink.cannot_hold(file.path)
        if _differs(comparable(file, swaps), there.get(file.path), checksum)
    ]


def _differs(file: File, other: File | None, checksum: bool) -> bool:
    return other is None or other.size != file.size or (checksum and file.digest() != other.digest())


@dataclass(frozen=True)
class _Target:
    sink: Live
    ids: Ids
    job: Writing


class _Writer:
    """One run on its way to a destination: create, inputs, artifacts, points, status, and the completion tag last."""

    def __init__(self, target: _Target, record: Record, files: list[File]) -> None:
        self.sink, self.ids, self.job = target.sink, target.ids, target.job
        self.record, self.files = record, files
        self.losses = _static_losses(record)
        tags = without_origin(tags_of(record.head["data"].get("tags")))
        self.texts = Texts(record, registry.rename_in(tags, self.sink, self.ids, self.job), self.ids)
        self.bytes = 0

    def write(self, experiment_id: str, found: Found | None) -> Written:
        filling = Filling(self.sink, self.record, self.texts)
        head = self._create(experiment_id) if found is None else self._reopened(found)
        run_id = head["info"]["run_id"]
        self.ids.put(NAME, self.record.id, run_id)
        self.texts.settle(head)
        filling.log_inputs(run_id)
        points = Outgoing(self.record.rows["metrics"]())
        if found is None:
            self._put_files(head, self.files)
            filling.start(run_id, params=[(key, value) for key, value, reason in _params(self.record) if not reason])
            for row in points:
                filling.add(metrics_of(row))
        else:
            swaps = _own_swaps(self.record, head)
            self._put_files(head, changed_files(self.sink, root_of(head), self.files, swaps, self.job.checksum))
            update_run(filling, head, points)
        digest = content_digest(self.record, points, self.files)
        filling.set_status(head)
        link = self._finish(filling, run_id, digest)
        self.losses += points.losses() + filling.losses
        state = "updated" if found is not None and found.digest else "done"
        return Written(run_id, state, digest, losses=tuple(self.losses), link=link, bytes=self.bytes)

    def _create(self, experiment_id: str) -> Json:
        info = self.record.head["info"]
        tags = {**self.texts.early, **self._marks()}
        name = run_name(self.record.head) or self.record.id
        body = {"experiment_id": experiment_id, "start_time": info.get("start_time", 0)}
        if self.job.source_user:
            body["user_id"] = info.get("user_id", "")
        # With the tag there the name must not be sent beside it; without it MLflow makes the tag.
        if tags.get(NAME_TAG):
            tags[NAME_TAG] = name
        else:
            tags.pop(NAME_TAG, None)
            body["run_name"] = name
        head = self.sink.create_run(body, tags, (SOURCE_ID, self.record.id))
        if NAME_TAG not in tags:
            self.sink.delete_tag(head["info"]["run_id"], NAME_TAG)
        return head

    def _marks(self) -> dict[str, str]:
        info = self.record.head["info"]
        marks = {SOURCE_ID: self.record.id, ORIGIN + "source": self.job.source}
        marks[ORIGIN + "experiment_id"] = info["experiment_id"]
        if info.get("artifact_uri"):
            marks[ORIGIN + "artifact_uri"] = info["artifact_uri"]
        root = origin(self.record)
        if root != self.record.id:
            marks[ROOT_ID] = root
        if self.job.lineage:
            marks.update(_lineage(self.record))
        return marks

    def _reopened(self, found: Found) -> Json:
        if found.deleted:
            self.sink.restore_run(found.id)
        head = self.sink.get_run(found.id)
        if head is None:
            raise NotFoundError("the run vanished from the destination while it was updated", found.id, "run it again")
        return head

    def _put_files(self, head: Json, files: list[File]) -> None:
        root = root_of(head)
        self.losses += lost_files(self.sink, self.files)
        for file in files:
            if not file.problem and not self.sink.cannot_hold(file.path):
                self.sink.put_file(root, file.path, self.texts.localized(file) if is_model_file(file.path) else file)
                self.bytes += file.size

    def _finish(self, filling: Filling, run_id: str, digest: str) -> Json | None:
        deleted = self.record.head["info"].get("lifecycle_stage") == "deleted"
        links = links_of(self.record.head)
        texts = {key: value for key, value in self.texts.own().items() if model_ids_in(value)}
        if self.texts.links or links or texts:
            filling.end(dict(self.texts.late), {})
            rest = {"tags": self.texts.links, "models": links, "texts": texts}
            return {"id": run_id, "digest": digest, "delete": deleted, **rest}
        filling.end(dict(self.texts.late), {COMPLETE: digest})
        if deleted:
            self.sink.delete_run(run_id)
        return None


def is_model_file(path: str) -> bool:
    """Whether an artifact is an MLmodel file, which holds ids."""
    return path.rpartition("/")[2] == "MLmodel"


def comparable(file: File, swaps: dict[str, str]) -> File:
    """An artifact as it would stand at the other end, for comparing."""
    return localized(file, swaps) if is_model_file(file.path) and file.open is not None else file


def link(sink: Live, written_id: str, todo: Json, ids: Ids) -> list[Loss]:
    """Tie a run to its parent, its root and its models, which arrived after it or in another job.

    A run that isn't at the destination stays named by its source id, as the source has it, and the tag is a loss; the
    run is not marked complete, so that the next job ties it.
    """
    tags, losses = {}, []
    for key, source_id in todo["tags"].items():
        found = kind.run_at(ids, source_id)
        tags[key] = found or source_id
        if not found:
            reason = f"run {source_id} is not at the destination: bring it there, then type this command again"
            losses.append(Loss("link", key, reason))
    if todo["models"]:
        losses += tie(sink, written_id, todo["models"], ids)
    tags.update({key: localized_models(value, sink, ids) for key, value in todo["texts"].items()})
    if not losses:
        tags[COMPLETE] = todo["digest"]
    if tags:
        sink.log_batch(written_id, {"tags": pairs_of(tags)})
    if todo["delete"]:
        sink.delete_run(written_id)
    return losses


def _lineage(record: Record) -> dict[str, str]:
    info: dict[str, Any] = record.head["info"]
    tags = {f"{LINEAGE}run_info.{key}": str(info[key]) for key in INFO if key in info}
    for key, value in tags_of(record.head["data"].get("tags")).items():
        if key.startswith("mlflow."):
            tags[f"{LINEAGE}mlflow_tag.{key.removeprefix('mlflow.')}"] = value
    return tags
