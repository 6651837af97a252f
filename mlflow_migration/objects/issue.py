"""Issues: what was found wrong with an experiment's traces.

An issue has no tags that could say where it came from, and can't be deleted. Twins are avoided so: an issue counts as
there when the destination's experiment has one of the same name, description, author, categories and root causes, of
the same run or of none, that no other issue of this job has taken; or when this job's ledger names one that is still
there, by which it is followed after its name or description has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.objects import experiment, forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written, digest_of

NAME = "issue"
NEEDS: tuple[str, ...] = ("experiment", "run")
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.11",
    carried="name, description, status, severity, root causes, categories, author, run",
    kept_beside="nothing: MLflow gives issues no tags",
    lost="id, times",
)
NEW_IDS = True
choose = kind.choose_unless_by_run
validate_row = kind.no_row
link = kind.no_link
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
FIXED = ("created_by", "root_causes", "categories")
"""What an issue is made with and MLflow never changes …"""
CHANGING = ("name", "description", "status", "severity")
"""… and what it can change."""
RUN = "source_run_id"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.Issue.model_validate(head)
    return home(form.experiment_id, form.issue_id), form.issue_id


def home(experiment_id: str, issue_id: str) -> tuple[str, ...]:
    return (*experiment.home(experiment_id), "issues", issue_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The issues of the selected experiments."""
    if selection.run_ids:
        return
    chosen = Selection(selection.experiments, deleted=selection.deleted, shard=selection.shard)
    for found in experiment.readable(source, chosen):
        yield from map(_record, source.reviews.search_issues(found.id))


def record(source: Readable, issue_id: str, selection: Selection) -> Record | None:
    """One issue by id, or None."""
    head = source.reviews.get_issue(issue_id)
    return _record(head) if head else None


def _record(head: Json) -> Record:
    refs = {experiment.NAME: head["experiment_id"]}
    return Record(NAME, head["issue_id"], head["name"], home(head["experiment_id"], head["issue_id"]), head, refs)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    run_id = record.head.get(RUN, "")
    fields = {key: record.head.get(key) for key in (*CHANGING, *FIXED)}
    return {**fields, RUN: (swaps or {}).get(run_id, run_id), "tags": {}}


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns its run's id into the one that both ends share."""
    run_id = record.head.get(RUN, "")
    shared = known(run_id) if run_id else None
    return {run_id: shared} if shared else {}


def origin(record: Record) -> str:
    """Issues are a pair by what they say: nothing else tells where one came from."""
    return "issue " + digest_of(_key(record.head))


def _key(head: Json) -> list[object]:
    return [head.get(key) for key in ("name", "description", *FIXED)]


class _There:
    """The issues of one destination experiment; each is taken by one source issue only."""

    def __init__(self, heads: Iterator[Json]) -> None:
        self._free = {head["issue_id"]: head for head in heads}
        self._known = set(self._free)
        self._lock = threading.Lock()

    def take(self, head: Json, run_id: str, known: str | None) -> Json | None:
        """The issue that `head` became, if it is there. `run_id` is its run at this end."""
        with self._lock:
            near = [self._free[known]] if known in self._free else []
            near += [there for there in self._free.values() if _key(there) == _key(head)]
            for runs in ({run_id}, {run_id, ""}):
                fitting = [there for there in near if there.get(RUN, "") in runs]
                if fitting:
                    best = min(fitting, key=lambda there: (there["issue_id"] != known, len(_changes(head, there))))
                    return self._free.pop(best["issue_id"])
        return None

    def made(self, issue_id: str) -> None:
        with self._lock:
            self._known.add(issue_id)

    def is_known(self, issue_id: str) -> bool:
        """Whether the issue was there before, or has been made by this job."""
        with self._lock:
            return issue_id in self._known


def _changes(head: Json, there: Json) -> Json:
    return {key: head[key] for key in CHANGING if head.get(key) and head[key] != there.get(key)}


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the issue, or bring the one that is there up to date."""
    experiment_id = kind.experiment_at(ids, record)
    there = _listed(sink, experiment_id, ids)
    if there.is_known(record.id):
        ids.put(NAME, record.id, record.id)
        return Written(record.id, "skipped", reason="it is the source itself")
    run_id = _run_of(record, ids)
    losses = []
    if record.head.get(RUN) and not run_id and not job.dry_run:
        losses.append(Loss("link", RUN, f"run {record.head[RUN]} is not at the destination"))
    found = there.take(record.head, run_id, ids.earlier(NAME, record.id))
    if found is not None:
        ids.put(NAME, record.id, found["issue_id"])
        changes = _changes(record.head, found)
        if changes and not job.dry_run:
            sink.reviews.update_issue(found["issue_id"], changes)
        if run_id and not found.get(RUN):
            losses.append(Loss("link", RUN, "the issue was there before its run, and MLflow can't tie it later"))
        return Written(found["issue_id"], "updated" if changes else "same", losses=tuple(losses))
    if job.dry_run:
        return Written("", "done")
    if ids.is_deleted(experiment_id):
        ids.reopen(experiment_id, will_delete=True)
    body = {key: record.head[key] for key in (*CHANGING, *FIXED) if record.head.get(key)}
    body = {**body, "experiment_id": experiment_id, **({RUN: run_id} if run_id else {})}

    def look() -> Json | None:
        heads = (head for head in sink.reviews.search_issues(experiment_id) if not there.is_known(head["issue_id"]))
        return next((head for head in heads if _key(head) == _key(record.head)), None)

    made = sink.reviews.create_issue(body, look)["issue_id"]
    there.made(made)
    ids.put(NAME, record.id, made)
    return Written(made, "done", losses=tuple(losses))


def _run_of(record: Record, ids: Ids) -> str:
    source_id = record.head.get(RUN, "")
    return (kind.run_at(ids, source_id) or "") if source_id else ""


def _listed(sink: Live, experiment_id: str, ids: Ids) -> _There:
    if not experiment_id:
        return _There(iter(()))
    return ids.once(f"issues of {experiment_id}", lambda: _There(sink.reviews.search_issues(experiment_id)))
