"""Experiments: name, tags, deleted state. Ids, times and the artifact location are kept as origin tags."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from typing import Any

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, LeftOutError, NotFoundError, ServerError
from mlflow_migration.objects import forms, kind
from mlflow_migration.objects.refused import IsRefused, Refused, nothing
from mlflow_migration.places import FAIL, NEW_NAME, SKIP, UPDATE, Ids, Selection, Writing, free_name
from mlflow_migration.records import (
    LINEAGE,
    ORIGIN,
    Identity,
    Json,
    Loss,
    Record,
    Written,
    digest_of,
    tags_of,
    without_origin,
)

NAME = "experiment"
NEEDS: tuple[str, ...] = ()
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="1.0",
    carried="name, tags, description, deleted state",
    kept_beside="id, creation and update time, artifact location (tags mlflow_migration.*)",
    lost="nothing else",
)
NEW_IDS = True
validate_row = kind.no_row
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
origin = kind.own_id
SOURCE_ID = ORIGIN + "experiment_id"
SOURCE = ORIGIN + "source"
SOURCE_NAME = ORIGIN + "experiment_name"
RENAME = "give it another name with --rename, or choose with --on-conflict"
TAKEN = "RESOURCE_ALREADY_EXISTS"
HOLDS = ORIGIN + "holds."
"""Followed by a source experiment's id and a digest of its place, which is the value: its runs were merged into this
experiment. Ids alone are the same at many places."""
OF_EACH_SERVER = "0"
"""The id of the experiment `Default`, which every server has: it is nobody's, and always added to."""
MADE_FOR = "mlflow.experiment.sourceId"
MADE_BY = "mlflow.experiment.sourceType"
GATEWAY = "GATEWAY"
"""An experiment that MLflow made for an endpoint of the gateway names that by its id: the endpoint's writer sets it."""
KEPT = ("creation_time", "last_update_time", "artifact_location")
"""What REST can't set at a destination, kept there as `mlflow_migration.*` tags."""


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    experiment_id = forms.Experiment.model_validate(head).experiment_id
    return home(experiment_id), experiment_id


def home(experiment_id: str) -> tuple[str, ...]:
    return ("experiments", experiment_id)


def shared_id(experiment_id: str) -> str:
    """An experiment's id where those of all kinds meet: plain numbers would be taken for anything."""
    return f"experiment {experiment_id}"


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The selected experiments, by id, and last those that the server refuses to give, as far as it says which.

    Raises NotFoundError when one that was named isn't there.
    """
    refused = Refused(NAME, home, partial(_ask, source))
    yield from _given(source, selection, refused)
    if not selection.experiments:
        for experiment_id in source.rights.denied(NAME):
            refused.note(experiment_id)
    yield from refused.records


def readable(source: Readable, selection: Selection) -> Iterator[Record]:
    """The selected experiments that the server gives."""
    return _given(source, selection, Refused(NAME, home, partial(_ask, source)))


def _given(source: Readable, selection: Selection, refused: Refused) -> Iterator[Record]:
    return choose((record_of(head) for head in source.search_experiments()), selection, source.address, refused.note)


def _ask(source: Readable, name: str) -> None:
    """By name, and by id where it may be one."""
    source.get_experiment_by_name(name)
    if name.isdigit():
        source.get_experiment(name)


def choose(
    records: Iterator[Record], selection: Selection, where: str, is_refused: IsRefused = nothing
) -> Iterator[Record]:
    """Those that are asked for; raises NotFoundError at the end where a name or glob meets none of them."""
    unmet = set(selection.experiments)
    for record in records:
        unmet -= {pattern for pattern in unmet if _matches(pattern, record)}
        if selected(record, selection):
            yield record
    unmet = {pattern for pattern in sorted(unmet) if is_glob(pattern) or not is_refused(pattern)}
    if unmet:
        raise NotFoundError(
            f"no such experiment: {', '.join(repr(name) for name in sorted(unmet))}",
            f"at {where}",
            "check the name; see what is there: export-experiments --experiments all --dry-run -v",
        )


def record(source: Readable, experiment_id: str, selection: Selection) -> Record | None:
    head = source.get_experiment(experiment_id)
    return record_of(head) if head else None


def record_of(head: Json) -> Record:
    return Record(NAME, head["experiment_id"], head["name"], home(head["experiment_id"]), head)


def selected(record: Record, selection: Selection) -> bool:
    """Whether an experiment is asked for, by id, name or glob; deleted ones unless they are left out."""
    if not selection.deleted and record.head.get("lifecycle_stage") == "deleted":
        return False
    if not selection.holds(record.id):
        return False
    return not selection.experiments or any(_matches(pattern, record) for pattern in selection.experiments)


def is_named(patterns: tuple[str, ...], experiment_id: str, name: str) -> bool:
    """Whether one of these ids, names or globs means the experiment."""
    return any(_means(pattern, experiment_id, name) for pattern in patterns)


def _matches(pattern: str, record: Record) -> bool:
    return any(_means(pattern, record.id, name) for name in _names(record))


def _names(record: Record) -> list[str]:
    """Its name, and the path of one that a Databricks workspace keeps at another one than its name."""
    path = tags_of(record.head.get("tags")).get(ORIGIN + "workspace_path")
    return [record.name, path] if path else [record.name]


def _means(pattern: str, experiment_id: str, name: str) -> bool:
    if pattern in {experiment_id, name}:
        return True
    return is_glob(pattern) and fnmatch.fnmatchcase(name, pattern)


def is_glob(pattern: str) -> bool:
    """Whether a text can mean several names."""
    return any(char in pattern for char in "*?[")


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    tags = without_origin(tags_of(record.head.get("tags")))
    if _names_endpoint(tags):
        tags[MADE_FOR] = "its endpoint"
    return {"name": record.name, "lifecycle_stage": record.head.get("lifecycle_stage", "active"), "tags": tags}


def _names_endpoint(tags: dict[str, str]) -> bool:
    return tags.get(MADE_BY) == GATEWAY and MADE_FOR in tags


def origins(record: Record) -> list[tuple[str, str]]:
    """(place, experiment id) of each experiment this one came from or holds the runs of."""
    tags = tags_of(record.head.get("tags"))
    held = [(value, key.removeprefix(HOLDS).partition(".")[0]) for key, value in tags.items() if key.startswith(HOLDS)]
    return [(tags[SOURCE], tags[SOURCE_ID]), *held] if SOURCE_ID in tags and SOURCE in tags else held


def is_shared(record: Record) -> bool:
    """Whether the runs of other experiments were merged into this one."""
    return any(key.startswith(HOLDS) for key in tags_of(record.head.get("tags")))


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the experiment, or bring the one of that name up to date.

    Raises ConflictError or LeftOutError where another one has the name and the person chose so.
    """
    name, existing = _find(sink, record, ids, job)
    tags = without_origin(tags_of(record.head.get("tags")))
    if job.lineage:
        tags.update(_lineage(record.head))
    marks = {SOURCE_ID: record.id, SOURCE: job.source, SOURCE_NAME: record.name}
    marks.update({ORIGIN + field: str(record.head[field]) for field in KEPT if record.head.get(field)})
    delete = record.head.get("lifecycle_stage") == "deleted"
    if existing is None:
        experiment_id = "" if job.dry_run else _create(sink, name, {**tags, **marks})
        if experiment_id is not None:
            ids.made(experiment_id, record.id)
            return Written(experiment_id, "done", link={"delete": experiment_id} if delete else None)
        existing = sink.get_experiment_by_name(name)
    if existing is None or (job.on_conflict not in {"", UPDATE} and is_foreign(existing, record, sink.address, job)):
        raise ConflictError(f"the experiment {name!r} can be neither made nor found", f"at {sink.address}")
    return _update(sink, record, ids, job, _Change(existing, tags, marks, delete))


def _find(sink: Live, record: Record, ids: Ids, job: Writing) -> tuple[str, Json | None]:
    """The name the experiment is to have, and the destination's that it is to be written to, if any."""
    name = job.names.of(NAME, record.name)
    there = sink.get_experiment_by_name(name) or _renamed(sink, record, ids, job)
    foreign = there is not None and is_foreign(there, record, sink.address, job)
    if foreign and job.on_conflict == FAIL:
        raise ConflictError(f"another experiment has the name {name!r}", f"at {sink.address}", RENAME)
    if foreign and job.on_conflict == SKIP:
        kind.leave_out(ids, record.id)
        raise LeftOutError(f"another experiment has the name {name!r}", f"at {sink.address}")
    if job.on_conflict == NEW_NAME and (there is None or foreign):
        known = ids.find_experiment(job.source, record.id)
        if known is None and there is not None:
            name = free_name(name, lambda text: sink.get_experiment_by_name(text) is None)
        there = known
    return name, there


def is_foreign(there: Json, record: Record, address: str, job: Writing) -> bool:
    """Whether a destination's experiment neither came from this one nor this one from it."""
    if there["experiment_id"] == record.id == OF_EACH_SERVER:
        return False
    theirs = {(job.source, record.id), *origins(record)}
    return theirs.isdisjoint({(address, there["experiment_id"]), *origins(record_of(there))})


def _renamed(sink: Live, record: Record, ids: Ids, job: Writing) -> Json | None:
    """The destination's experiment that arrived under a name the source has changed since, renamed likewise; or that is
    called so and lies in another folder of a workspace."""
    if job.names.names(NAME, record.name):
        return None
    name = job.names.of(NAME, record.name)
    head = ids.find_experiment(job.source, record.id)
    if head is not None and head["name"] == name:
        return head
    before = tags_of(head.get("tags")).get(SOURCE_NAME) if head else None
    if head is None or before is None or not job.names.of(NAME, before) == head["name"] != name:
        return None
    if not job.dry_run and head.get("lifecycle_stage") != "deleted":
        sink.rename_experiment(head["experiment_id"], name)
    return head


def _create(sink: Live, name: str, tags: dict[str, str]) -> str | None:
    """The new experiment's id; None when another writer was faster."""
    try:
        return sink.create_experiment(name, tags)
    except ServerError as error:
        if error.code == TAKEN:
            return None
        raise


class _Change:
    """What an existing experiment lacks of a record."""

    def __init__(self, existing: Json, tags: dict[str, str], marks: dict[str, str], delete: bool) -> None:
        self.id: str = existing["experiment_id"]
        here = tags_of(existing.get("tags"))
        self.deleted = existing.get("lifecycle_stage") == "deleted"
        self.foreign = SOURCE_ID not in here
        self.ours = here.get(SOURCE_ID) == marks[SOURCE_ID] and here.get(SOURCE) == marks[SOURCE]
        self.delete = delete and self.ours
        differing = {key: value for key, value in tags.items() if here.get(key) != value}
        if _names_endpoint(tags) and _names_endpoint(here):
            differing.pop(MADE_FOR, None)
        # In an experiment that came from elsewhere, or was made here, what is missing is added and nothing overwritten.
        self.kept = [] if self.ours else [key for key in differing if key in here]
        self.tags = {key: value for key, value in differing.items() if key not in self.kept}
        hold = f"{HOLDS}{marks[SOURCE_ID]}.{digest_of(marks[SOURCE])[:16]}"
        wanted = marks if self.ours else {hold: marks[SOURCE]}
        self.tags.update({key: value for key, value in wanted.items() if here.get(key) != value})


def _update(sink: Live, record: Record, ids: Ids, job: Writing, change: _Change) -> Written:
    if change.id == record.id and change.foreign and job.source == sink.address:
        ids.put(NAME, record.id, change.id)
        return Written(change.id, "skipped", reason="it is the source itself")
    wakes = change.deleted and record.head.get("lifecycle_stage") != "deleted"
    if change.deleted and not change.ours:
        raise ConflictError(
            f"a deleted experiment holds the name {record.name!r} at {sink.address}",
            f"experiment {change.id}",
            f"restore or purge it there, or {RENAME}",
        )
    ids.put(NAME, record.id, change.id)
    losses = tuple(
        Loss("tag", key, f"experiment {change.id} at the destination has another value, which is kept")
        for key in change.kept
    )
    if not job.dry_run and (wakes or (change.deleted and change.tags)):
        ids.reopen(change.id, will_delete=change.delete)
    if not job.dry_run:
        for key, value in change.tags.items():
            sink.set_experiment_tag(change.id, key, value)
    asleep = change.delete and not change.deleted
    state = "updated" if change.tags or wakes or asleep else "same"
    return Written(change.id, state, losses=losses, link={"delete": change.id} if change.delete else None)


def link(sink: Live, written_id: str, todo: Json, ids: Ids) -> list[Loss]:
    """Delete an experiment that is deleted at the source, now that its runs are in it."""
    head = sink.get_experiment(todo["delete"])
    if head is None or head.get("lifecycle_stage") == "deleted":
        return []
    if is_shared(record_of(head)) or ids.has_foreign_runs(todo["delete"]):
        return [Loss("link", "lifecycle_stage", "not deleted at the destination: it holds active runs of others")]
    sink.delete_experiment(todo["delete"])
    return []


def _lineage(head: Json) -> dict[str, str]:
    fields: dict[str, Any] = {key: value for key, value in head.items() if key != "tags"}
    tags = {f"{LINEAGE}field.{key}": str(value) for key, value in fields.items()}
    for key in ("creation_time", "last_update_time"):
        if fields.get(key):
            when = datetime.fromtimestamp(int(fields[key]) / 1000, tz=timezone.utc)
            tags[f"{LINEAGE}field._{key}"] = when.strftime("%Y-%m-%d %H:%M:%S")
    return tags
