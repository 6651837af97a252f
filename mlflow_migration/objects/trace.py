"""Traces: spans, info, tags, metadata, assessments, attachments, and their ties to runs and prompts.

A trace keeps its id everywhere. Spans are written first and the info last: MLflow takes the info as authoritative,
while spans that come after it would overwrite its times (found on 3.17.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, NotFoundError
from mlflow_migration.objects import experiment, forms, kind, run, spans, trace_head
from mlflow_migration.objects.texts import name_swaps
from mlflow_migration.objects.trace_head import RUNS, SOURCE_RUN, cut_values, experiment_of, ids_in, unsettable
from mlflow_migration.objects.trace_ties import PromptTies
from mlflow_migration.objects.trace_writer import COMPLETE, SOURCE, Ties, Writer, log_together
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import (
    File,
    Files,
    Identity,
    Json,
    Loss,
    Record,
    Rows,
    Written,
    digest_of,
)

NAME = "trace"
NEEDS: tuple[str, ...] = ("experiment", "run", "gateway_endpoint")
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = (spans.NAME,)
COVERAGE = kind.Coverage(
    since="2.14",
    carried="id, spans bit for bit, info, tags, metadata, assessments with ids and times, attachments, ties "
    "to runs and prompts",
    kept_beside="source (tag mlflow_migration.source)",
    lost="metadata over 250 and tags over 4,096 characters, which REST cuts; what an expectation overrides",
    written_since="3.6",
)
NEW_IDS = False
validate_row = forms.validate_span
rows_summary = spans.summary
differing_rows = spans.differing
comparable = kind.same_file
origin = kind.own_id
link = kind.no_link
AT_ONCE = 100
"""Experiments of one search."""
CHOICE = "a server holds a trace's id once: delete the one that is there, or copy to another server"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    found = forms.Trace.model_validate(head)
    return _home(found.trace_location.mlflow_experiment.experiment_id, found.trace_id), found.trace_id


def _home(experiment_id: str, trace_id: str) -> tuple[str, ...]:
    return (*experiment.home(experiment_id), "traces", trace_id)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The traces of the selected experiments, oldest first; of the selected runs only where runs are named."""
    shard = None if selection.traces else selection.shard
    chosen = Selection(selection.experiments, deleted=selection.deleted, shard=shard)
    ids = [found.id for found in experiment.readable(source, chosen)]
    # Most experiments hold no traces: then no run is asked for those linked to it.
    if next(source.traces.search(ids, limit=1), None) is None:
        return
    runs = None
    if selection.run_ids or selection.filter:
        runs = frozenset(found["info"]["run_id"] for found in run.heads(source, replace(selection, shard=None)))
    links = _links(source, ids)
    infos = _named(source, selection, ids) if selection.traces else _with_ties(source, ids)
    heads = (_with_links(info, links.get(info["trace_id"], [])) for info in infos)
    for head, rows, files in source.traces.with_spans(head for head in heads if _selected(head, selection, runs)):
        yield _record(head, rows, partial(selection.files_of, files))


def _named(source: Readable, selection: Selection, experiment_ids: list[str]) -> Iterator[Json]:
    """The traces asked for by id. Raises NotFoundError for one that isn't in the chosen experiments."""
    found: list[Json] = []
    for trace_id in dict.fromkeys(selection.traces):
        info = source.traces.get(trace_id)
        if info is None or experiment_of(info) not in experiment_ids:
            raise NotFoundError(f"no such trace: {trace_id!r}", f"at {source.address}", "check the id and the server")
        found.append(info)
    yield from PromptTies(source, sorted({experiment_of(info) for info in found})).attach_to(found)


def _with_ties(source: Readable, experiment_ids: list[str]) -> Iterator[Json]:
    """All infos, with their ties to prompts. Ties are found by the order of a listing, which is that of one search."""
    for begin in range(0, len(experiment_ids), AT_ONCE):
        part = experiment_ids[begin : begin + AT_ONCE]
        yield from PromptTies(source, part).attach(source.traces.search(part))


def _links(source: Readable, experiment_ids: list[str]) -> dict[str, list[str]]:
    """The runs each trace is linked to besides the one that made it."""
    links: dict[str, list[str]] = {}
    runs = (head["info"]["run_id"] for head in source.search_runs(experiment_ids))
    for run_id, trace_id in source.traces.linked(experiment_ids, runs):
        links.setdefault(trace_id, []).append(run_id)
    return links


def _with_links(info: Json, runs: list[str]) -> Json:
    return {**info, RUNS: sorted(runs)} if runs else info


def record(source: Readable, trace_id: str, selection: Selection) -> Record | None:
    """One trace by id, or None; without its links to further runs, which only `read` finds."""
    info = source.traces.get(trace_id)
    if info is None:
        return None
    head, rows, files = next(iter(source.traces.with_spans([info])))
    return _record(head, rows, partial(selection.files_of, files))


def _record(head: Json, rows: Rows, files: Files) -> Record:
    experiment_id = experiment_of(head)
    return Record(
        kind=NAME,
        id=head["trace_id"],
        name=head.get("tags", {}).get("mlflow.traceName", ""),
        home=_home(experiment_id, head["trace_id"]),
        head=head,
        refs={"experiment": experiment_id},
        rows={spans.NAME: rows},
        files=files,
    )


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """The traces of a bundle that are asked for; their experiments have been chosen before."""
    runs = frozenset(selection.run_ids) if selection.run_ids else None
    return (record for record in records if _selected(record.head, selection, runs))


def _selected(head: Json, selection: Selection, runs: frozenset[str] | None) -> bool:
    start = _milliseconds(head)
    return (
        (not selection.traces or head["trace_id"] in selection.traces)
        and (runs is None or not runs.isdisjoint({head.get("trace_metadata", {}).get(SOURCE_RUN), *head.get(RUNS, ())}))
        and (selection.since is None or start >= selection.since)
        and (selection.until is None or start <= selection.until)
    )


def _milliseconds(head: Json) -> int:
    when = datetime.fromisoformat(head.get("request_time", "1970-01-01T00:00:00Z").replace("Z", "+00:00"))
    return round(when.timestamp() * 1000)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends. `swaps` turns run ids into those both ends share."""
    return trace_head.portable(record.head, swaps)


def swaps_of(record: Record, known: Callable[[str], str | None]) -> dict[str, str]:
    """What turns the ids of runs into those that both ends share."""
    found = {run_id: there for run_id in sorted(ids_in(record.head)) if (there := known(run_id))}
    return {**found, **name_swaps(record.head.get("tags", {}), known)}


def content_digest(record: Record, files: list[File]) -> str:
    """What a completion tag holds: it changes when anything of the trace does, artifacts by path and size."""
    listing = sorted([file.path, file.size] for file in files if file.open is not None)
    return digest_of([portable(record), spans.summary(record, {}), listing])


@dataclass(frozen=True)
class _There:
    """A trace of the destination. `digest` is what it was completed with, "" for one that is half-made or foreign."""

    experiment_id: str
    source: str
    digest: str


@dataclass(frozen=True)
class _Planned:
    """A trace that is to be made or brought up to date."""

    writer: Writer
    experiment_id: str
    files: list[File]
    digest: str
    state: str
    losses: tuple[Loss, ...]
    update: bool

    def write(self) -> Written:
        size = self.writer.write(self.experiment_id, self.files, self.digest, self.update)
        losses = (*self.losses, *self.writer.losses)
        return Written(self.writer.record.id, self.state, self.digest, losses=losses, bytes=size)


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the trace whole at the destination; one that came from the same place is completed or brought up to date.

    A server holds each id once: raises ConflictError where another trace has it.
    """
    (rest,) = write_together(sink, [record], ids, job)
    return rest()


def write_together(sink: Live, records: Sequence[Record], ids: Ids, job: Writing) -> list[Callable[[], Written]]:
    """`write` of several traces: the spans of new ones have gone, many in a request; for each the rest that is to do.

    Raises what `write` of any of them would, or when the request that they share is refused.
    """
    there = sink.traces.get_many([record.id for record in records]) if _any_there(sink, ids) else None
    planned = [_planned(sink, record, ids, job, there) for record in records]
    new = [each for each in planned if isinstance(each, _Planned) and not each.update]
    for experiment_id in dict.fromkeys(each.experiment_id for each in new):
        log_together(sink, experiment_id, [each.writer for each in new if each.experiment_id == experiment_id])
    return [partial(_same, each) if isinstance(each, Written) else each.write for each in planned]


def _same(written: Written) -> Written:
    return written


def _planned(
    sink: Live, record: Record, ids: Ids, job: Writing, infos: Mapping[str, Json] | None
) -> _Planned | Written:
    """What is to be done, or what has become of it where nothing is."""
    experiment_id = kind.experiment_at(ids, record)
    if job.source != sink.address and job.source.partition("#")[0] == sink.address.partition("#")[0]:
        reason = "a server holds a trace's id once, and another workspace of this one has it"
        return Written(record.id, "skipped", reason=reason, losses=(Loss(NAME, record.id, reason),))
    there = _there(sink, record, ids, experiment_id, infos)
    if there is not None and there.experiment_id != experiment_id:
        if job.source not in {there.source, sink.address}:
            raise ConflictError("another trace of this id is there", f"in experiment {there.experiment_id}", CHOICE)
        reason = f"a server holds a trace's id once, and it is in experiment {there.experiment_id} there"
        return Written(record.id, "skipped", reason=reason, losses=(Loss(NAME, record.id, reason),))
    if there is not None and not there.source:
        itself = job.source == sink.address
        return Written(record.id, "skipped", reason="it is the source itself") if itself else _foreign(sink, record)
    files = list(record.files())
    ties = Ties(sink, record.head, ids, job)
    losses = (*cut_values(record.head), *unsettable(record.head), *_lost_files(sink, files), *ties.losses)
    digest = digest_of([content_digest(record, files), ties.missing])
    if there is not None and there.digest == digest:
        return Written(record.id, "same", digest, losses=losses)
    if there is not None and there.source != job.source:
        raise ConflictError("another trace of this id is there already", f"it came from {there.source}", CHOICE)
    state = "updated" if there is not None and there.digest else "done"
    if job.dry_run:
        size = sum(file.size for file in files if not file.problem)
        return Written(record.id, state, losses=losses, bytes=size)
    if ids.is_deleted(experiment_id):
        ids.reopen(experiment_id, will_delete=True)
    writer = Writer(sink, job.source, record, ties)
    return _Planned(writer, experiment_id, files, digest, state, losses, there is not None)


def _any_there(sink: Live, ids: Ids) -> bool:
    """Whether the destination held any trace when this job began; if not, none is asked for."""

    def look() -> bool:
        experiments = [head["experiment_id"] for head in sink.search_experiments()]
        return next(sink.traces.search(experiments, limit=1), None) is not None

    return ids.once("trace: any", look)


def _there(sink: Live, record: Record, ids: Ids, experiment_id: str, infos: Mapping[str, Json] | None) -> _There | None:
    """The destination's trace of this id, in whatever experiment; `infos` are those of a group, where it gives them."""
    if not experiment_id or not _any_there(sink, ids):
        return None
    if infos is not None:
        return _as_there(infos[record.id]) if record.id in infos else None
    listed = ids.once(f"traces of {experiment_id}", lambda: _listed(sink, experiment_id))
    if record.id in listed:
        return listed[record.id]
    info = sink.traces.get(record.id)
    return None if info is None else _as_there(info)


def _listed(sink: Live, experiment_id: str) -> dict[str, _There]:
    return {info["trace_id"]: _as_there(info) for info in sink.traces.search([experiment_id])}


def _as_there(info: Json) -> _There:
    tags = info.get("tags", {})
    return _There(experiment_of(info), tags.get(SOURCE, ""), tags.get(COMPLETE, ""))


def _foreign(sink: Live, record: Record) -> Written:
    """A trace that didn't come by this tool: nothing is to do where it is the same one."""
    twin = _whole(sink, record.id)
    same = trace_head.portable(trace_head.as_shown(trace_head.untied(record.head))) == portable(twin)
    if same and spans.ordered(record) == spans.ordered(twin):
        return Written(record.id, "same")
    raise ConflictError("another trace of this id is there already", "it didn't come from this source", CHOICE)


def _whole(sink: Live, trace_id: str) -> Record:
    found = record(sink, trace_id, Selection())
    if found is None:
        raise NotFoundError("the trace vanished from the destination while it was looked at", trace_id, "run it again")
    return found


def _lost_files(sink: Live, files: list[File]) -> list[Loss]:
    """The artifacts that the source can't give, the person left out, or the destination can't hold."""
    reasons = ((file, file.problem or sink.cannot_hold(file.path)) for file in files)
    return [Loss("artifact", file.path, reason, wanted=file.wanted) for file, reason in reasons if reason]
