"""Evaluation datasets: name, tags, experiments and records. Ids, times and digest are kept as origin tags.

Names are not unique, so that a dataset at a destination is known by `mlflow_migration.dataset_id` alone. Schema and
profile are made anew from the records by MLflow itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import LeftOutError, NotFoundError
from mlflow_migration.objects import dataset_records as records
from mlflow_migration.objects import experiment, forms, kind
from mlflow_migration.objects.dataset_records import USER
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import (
    ORIGIN,
    Identity,
    Json,
    Loss,
    Record,
    Written,
    digest_of,
    without_origin,
)

NAME = "evaluation_dataset"
NEEDS: tuple[str, ...] = ("experiment",)
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = (records.NAME,)
COVERAGE = kind.Coverage(
    since="3.4",
    carried="name, tags, experiments, records with inputs, outputs, expectations, tags, source and users",
    kept_beside="dataset id, times, digest, last user (tags mlflow_migration.*)",
    lost="record ids and times",
)
NEW_IDS = True
validate_row = records.validate_row
link = kind.no_link
comparable = kind.same_file
differing_rows = records.differing
SOURCE_ID = ORIGIN + "dataset_id"
ROOT_ID = ORIGIN + "root_dataset_id"
COMPLETE = ORIGIN + "complete"
KEPT = ("created_time", "last_update_time", "last_updated_by", "digest")
"""What REST can't set at a destination, kept there as `mlflow_migration.*` tags."""


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises ValueError."""
    form = forms.EvaluationDataset.model_validate(head)
    if not isinstance(json.loads(form.tags), dict):
        raise ValueError("tags are no JSON object")
    if len(form.experiment_ids) != len(form.experiment_names):
        raise ValueError("not every experiment has a name")
    return home(form.dataset_id), form.dataset_id


def home(dataset_id: str) -> tuple[str, ...]:
    return ("evaluation_datasets", dataset_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The datasets of the selected experiments; of a whole server those without an experiment too."""
    if selection.run_ids:
        return
    chosen = None
    if selection.experiments:
        some = Selection(selection.experiments, deleted=selection.deleted)
        chosen = [found.id for found in experiment.readable(source, some)]
    names = {head["experiment_id"]: head["name"] for head in source.search_experiments()}
    for head in _named(source.evaluation.search_datasets(chosen), selection, source.address):
        found = Record(NAME, head["dataset_id"], head["name"], home(head["dataset_id"]), head)
        yield replace(found, whole=partial(_record, source, head, names))


def _named(heads: Iterator[Json], selection: Selection, where: str) -> Iterator[Json]:
    """Those of the chosen ids, names and globs; raises NotFoundError at the end where one meets none of them."""
    unmet = set(selection.datasets)
    for head in heads:
        unmet -= {pattern for pattern in unmet if experiment.is_named((pattern,), head["dataset_id"], head["name"])}
        if not selection.datasets or experiment.is_named(selection.datasets, head["dataset_id"], head["name"]):
            yield head
    if unmet:
        names = ", ".join(repr(name) for name in sorted(unmet))
        raise NotFoundError(f"no such evaluation dataset: {names}", f"at {where}", "check names and ids")


def record(source: Readable, dataset_id: str, selection: Selection) -> Record | None:
    """One dataset by id, or None."""
    head = source.evaluation.get_dataset(dataset_id)
    names = {found["experiment_id"]: found["name"] for found in source.search_experiments()} if head else {}
    return _record(source, head, names) if head else None


def _record(source: Readable, head: Json, names: dict[str, str]) -> Record:
    dataset_id = head["dataset_id"]
    tied = sorted(source.evaluation.get_dataset_experiment_ids(dataset_id))
    # The names let experiments be chosen by name from a bundle, which can't ask for them.
    head = {**head, "experiment_ids": tied, "experiment_names": [names.get(id_, "") for id_ in tied]}
    rows = partial(_rows, source, dataset_id)
    return Record(NAME, dataset_id, head["name"], home(dataset_id), head, rows={records.NAME: rows})


def _rows(source: Readable, dataset_id: str) -> Iterator[Json]:
    return map(records.row_of, source.evaluation.get_dataset_records(dataset_id))


def choose(found: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """The datasets of a bundle that belong to the chosen experiments."""
    return (record for record in found if not selection.run_ids and _selected(record, selection))


def _selected(record: Record, selection: Selection) -> bool:
    tied = zip(record.head["experiment_ids"], record.head["experiment_names"], strict=True)
    named = not selection.datasets or experiment.is_named(selection.datasets, record.id, record.name)
    by_tie = not selection.experiments or any(experiment.is_named(selection.experiments, *pair) for pair in tied)
    return named and by_tie


def tags_of(head: Json) -> dict[str, str]:
    """A dataset's tags, which MLflow shows as a JSON text."""
    tags: dict[str, str] = json.loads(head.get("tags") or "{}")
    return tags


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    tied = [experiment.shared_id(id_) for id_ in record.head["experiment_ids"]]
    return {
        "name": record.name,
        "tags": without_origin(tags_of(record.head)),
        "created_by": record.head.get("created_by", ""),
        "experiments": sorted((swaps or {}).get(id_, id_) for id_ in tied),
    }


def origin(record: Record) -> str:
    """The id of the dataset this one came from in the first place, or its own."""
    tags = tags_of(record.head)
    return tags.get(ROOT_ID) or tags.get(SOURCE_ID) or record.id


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns the ids of experiments, and of runs that records came from, into those that both ends share."""
    ids = {experiment.shared_id(id_) for id_ in record.head["experiment_ids"]}
    for row in record.rows[records.NAME]():
        ids |= records.source_runs(records.record_of(row))
    return {old: new for old in ids if (new := known(old))}


def rows_summary(record: Record, swaps: dict[str, str]) -> Json | list[Json]:
    """Number and digest of all records, whatever their order."""
    return records.summary(record.rows[records.NAME], swaps)


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the dataset whole at the destination; one that is there already is completed or brought up to date.

    Raises LeftOutError where none of its experiments was to be written.
    """
    there = ids.once(NAME, lambda: _index(sink.evaluation.search_datasets()))
    if NAME in job.replace:
        ids.once(f"clear {NAME} {record.name}", lambda: _clear(sink, there, record, job))
    found = there.get(record.id) or there.get(origin(record))
    if found is not None and found["dataset_id"] in {record.id, origin(record)}:
        ids.put(NAME, record.id, found["dataset_id"])
        return Written(found["dataset_id"], "skipped", reason="it is the source itself")
    experiments = record.head["experiment_ids"]
    if experiments and all(kind.is_left_out(ids, id_) for id_ in experiments):
        raise LeftOutError("its experiments are left out", f"source experiments {', '.join(experiments)}")
    digest = digest_of([portable(record), rows_summary(record, {})])
    if found is not None and tags_of(found).get(COMPLETE) == digest:
        ids.put(NAME, record.id, found["dataset_id"])
        return Written(found["dataset_id"], "same", digest)
    if job.dry_run:
        _, losses = _tied(record, ids, job)
        begun = found is not None and COMPLETE in tags_of(found)
        return Written(found["dataset_id"] if found else "", "updated" if begun else "done", losses=tuple(losses))
    return _Writer(sink, record, ids, job).write(found, digest)


def _clear(sink: Live, there: dict[str, Json], record: Record, job: Writing) -> None:
    """Delete the destination's datasets of the record's name, but for the source itself; once for each name."""
    name = job.names.of(NAME, record.name)
    named = {id_: head for id_, head in list(there.items()) if head["name"] == name}
    if job.source == sink.address:
        return
    for dataset_id in {head["dataset_id"] for head in named.values()}:
        if not job.dry_run:
            sink.evaluation.delete_dataset(dataset_id)
    for id_ in named:
        del there[id_]


def _index(heads: Iterator[Json]) -> dict[str, Json]:
    """The destination's datasets by their own id and those they came from; a whole one before a half-made twin."""
    index: dict[str, Json] = {}
    for head in heads:
        tags = tags_of(head)
        for key in (tags.get(SOURCE_ID), tags.get(ROOT_ID), head["dataset_id"]):
            if key and (key not in index or COMPLETE not in tags_of(index[key]) or key == head["dataset_id"]):
                index[key] = head
    return index


def _tied(record: Record, ids: Ids, job: Writing) -> tuple[list[str], list[Loss]]:
    """The dataset's experiments at the destination, and those that aren't there."""
    tied, losses = [], []
    for source_id, name in zip(record.head["experiment_ids"], record.head["experiment_names"], strict=True):
        found = ids.get(experiment.NAME, source_id)
        if found is None:
            head = ids.find_experiment(job.source, source_id)
            found = head["experiment_id"] if head else None
        if found is None:
            reason = f"experiment {name or source_id!r} is not at the destination: bring it there, then type this again"
            wanted = not kind.is_left_out(ids, source_id)
            losses.append(Loss("link", f"experiment {source_id}", reason, wanted))
        else:
            tied.append(found)
    return tied, losses


@dataclass(frozen=True)
class _Writer:
    """One dataset on its way: create, records, experiments, tags, and the completion tag last."""

    sink: Live
    record: Record
    ids: Ids
    job: Writing

    def write(self, found: Json | None, digest: str) -> Written:
        calls = self.sink.evaluation
        tied, losses = _tied(self.record, self.ids, self.job)
        tags = without_origin(tags_of(self.record.head))
        head = found or self._create(tags, tied)
        dataset_id = head["dataset_id"]
        self.ids.put(NAME, self.record.id, dataset_id)
        changes = self._send_records(dataset_id, is_new=found is None)
        if found is not None:
            missing = sorted(set(tied) - set(calls.get_dataset_experiment_ids(dataset_id)))
            if missing:
                calls.add_dataset_to_experiments(dataset_id, missing)
                changes += len(missing)
        here = tags_of(head)
        if USER in here and USER not in tags:
            calls.delete_dataset_tag(dataset_id, USER)
        changed = {key: value for key, value in tags.items() if here.get(key) != value}
        # A dataset that isn't tied to all its experiments is not complete, so that the next job ties, and tells, again.
        last = changed if losses else {**changed, **self._kept(), COMPLETE: digest}
        if last:
            calls.set_dataset_tags(dataset_id, last)
        if found is None or (COMPLETE not in here and not losses):
            state = "done"
        else:
            state = "updated" if changes or last else "same"
        return Written(dataset_id, state, digest, losses=tuple(losses))

    def _create(self, tags: dict[str, str], tied: list[str]) -> Json:
        marks = {SOURCE_ID: self.record.id, ORIGIN + "source": self.job.source, **self._kept()}
        root = origin(self.record)
        if root != self.record.id:
            marks[ROOT_ID] = root
        # MLflow takes who made a dataset from this tag; it may have been changed or removed since.
        made_by = {USER: self.record.head["created_by"]} if self.record.head.get("created_by") else {}
        others = {key: value for key, value in tags.items() if key != USER}
        body = {"name": self.job.names.of(NAME, self.record.head["name"]), "experiment_ids": tied}
        return self.sink.evaluation.create_dataset(body, {**others, **made_by, **marks}, (SOURCE_ID, self.record.id))

    def _kept(self) -> dict[str, str]:
        head = self.record.head
        return {ORIGIN + field: str(head[field]) for field in KEPT if head.get(field)}

    def _send_records(self, dataset_id: str, is_new: bool) -> int:
        """Add the missing records and replace changed ones; how many. Others that are there are left alone."""
        calls = self.sink.evaluation
        run = partial(self.ids.get, "run")
        sending = records.Sending(partial(calls.upsert_dataset_records, dataset_id), run)
        there = (
            {} if is_new else {records.key_of(row): self._there(row) for row in calls.get_dataset_records(dataset_id)}
        )

        def wanted(row: Json) -> bool:
            other = there.get(records.key_of(row))
            swaps = {id_: new for id_ in records.source_runs(row) if (new := run(id_))}
            return other is None or other.digest != digest_of(records.portable(row, swaps))

        count = 0
        for batch in sending.batches(self.record.rows[records.NAME], wanted):
            # Sending a record again would only add to its expectations and tags, never take one away.
            old = [there[key].id for key in map(records.key_of, batch) if key in there]
            if old:
                calls.delete_dataset_records(dataset_id, old)
            sending.send(batch)
            count += len(batch)
        return count

    @staticmethod
    def _there(row: Json) -> records.There:
        return records.There(row["dataset_record_id"], digest_of(records.portable(row)))
