"""Traces: spans, info, tags, metadata, assessments, attachments, and their ties to runs and prompts.

A trace keeps its id everywhere. Spans are written first and the info last: MLflow takes the info as authoritative,
while spans that come after it would overwrite its times (found on 3.17.2).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from mlflow_migration.errors import ConflictError, NotFoundError, ServerError
from mlflow_migration.objects import experiment, forms, kind, run, spans
from mlflow_migration.objects.texts import swap
from mlflow_migration.places import Ids, Live, Root, Selection, Writing
from mlflow_migration.records import (
    ORIGIN,
    File,
    Files,
    Identity,
    Json,
    Loss,
    Record,
    Rows,
    Written,
    digest_of,
    without_origin,
)

NAME = "trace"
NEEDS: tuple[str, ...] = ("experiment", "run")
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = (spans.NAME,)
NEW_IDS = False
validate_row = forms.validate_span
rows_summary = spans.summary
differing_rows = spans.differing
comparable = kind.same_file
origin = kind.own_id
link = kind.no_link
SOURCE = ORIGIN + "source"
COMPLETE = ORIGIN + "complete"
RUNS = "linked_runs"
"""In a head, beside the info: the runs a trace was linked to besides the one that made it."""
SOURCE_RUN = "mlflow.sourceRun"
MODEL = "mlflow.modelId"
JUDGED_IN = "mlflow.assessment.sourceRunId"
LOCATION = "mlflow.artifactLocation"
SPANS_LOCATION = "mlflow.trace.spansLocation"
OF_ITS_PLACE = frozenset({LOCATION, "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure"})
"""Tags that say where a server keeps a trace."""
FINALIZED = "mlflow.trace.infoFinalized"
PROMPTS = "mlflow.linkedPrompts"
STORED = ("TRACKING_STORE", "ARCHIVE_REPO")
SHOWN_METADATA = 250
SHOWN_TAG = 4096
"""MLflow's REST API shows only so many characters of a trace's metadata and tags (`entities/trace_info_v2.py`)."""
CUT_BY_MLFLOW = frozenset({"mlflow.traceInputs", "mlflow.traceOutputs"})
"""Previews, which MLflow's client cuts itself to that length."""
INFO = ("request_time", "execution_duration", "state")
TEXTS = ("client_request_id", "request_preview", "response_preview")


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    found = forms.Trace.model_validate(head)
    return _home(found.trace_location.mlflow_experiment.experiment_id, found.trace_id), found.trace_id


def _home(experiment_id: str, trace_id: str) -> tuple[str, ...]:
    return (*experiment.home(experiment_id), "traces", trace_id)


def read(source: Live, selection: Selection) -> Iterator[Record]:
    """The traces of the selected experiments, oldest first; of the selected runs only where runs are named."""
    chosen = experiment.read(source, Selection(selection.experiments, deleted=selection.deleted))
    ids = [found.id for found in chosen]
    # Most experiments hold no traces: then no run is asked for those linked to it.
    if next(source.traces.search(ids, limit=1), None) is None:
        return
    runs = None
    if selection.run_ids or selection.filter:
        runs = frozenset(found.id for found in run.read(source, selection))
    links = _links(source, ids)
    heads = (_with_links(info, links.get(info["trace_id"], [])) for info in source.traces.search(ids))
    for head, rows, files in source.traces.with_spans(head for head in heads if _selected(head, selection, runs)):
        yield _record(head, rows, partial(selection.files_of, files))


def _links(source: Live, experiment_ids: list[str]) -> dict[str, list[str]]:
    """The runs each trace is linked to. Only a search by run tells, so that it takes one request for each run."""
    links: dict[str, list[str]] = {}
    for head in source.search_runs(experiment_ids):
        run_id = head["info"]["run_id"]
        for info in source.traces.search(experiment_ids, f"attributes.run_id = '{run_id}'"):
            if info.get("trace_metadata", {}).get(SOURCE_RUN) != run_id:
                links.setdefault(info["trace_id"], []).append(run_id)
    return links


def _with_links(info: Json, runs: list[str]) -> Json:
    return {**info, RUNS: sorted(runs)} if runs else info


def record(source: Live, trace_id: str, selection: Selection) -> Record | None:
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


def experiment_of(info: Json) -> str:
    return str(info["trace_location"]["mlflow_experiment"]["experiment_id"])


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """The traces of a bundle that are asked for; their experiments have been chosen before."""
    runs = frozenset(selection.run_ids) if selection.run_ids else None
    return (record for record in records if _selected(record.head, selection, runs))


def _selected(head: Json, selection: Selection, runs: frozenset[str] | None) -> bool:
    start = _milliseconds(head)
    return (
        (runs is None or not runs.isdisjoint({head.get("trace_metadata", {}).get(SOURCE_RUN), *head.get(RUNS, ())}))
        and (selection.since is None or start >= selection.since)
        and (selection.until is None or start <= selection.until)
    )


def _milliseconds(head: Json) -> int:
    when = datetime.fromisoformat(head.get("request_time", "1970-01-01T00:00:00Z").replace("Z", "+00:00"))
    return round(when.timestamp() * 1000)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends. `swaps` turns run ids into those both ends share."""
    head = record.head
    metadata = {key: value for key, value in head.get("trace_metadata", {}).items() if key != FINALIZED}
    for key in (SOURCE_RUN, MODEL):
        if key in metadata:
            metadata[key] = swap(metadata[key], swaps)
    found: Json = {key: head.get(key) for key in INFO}
    found |= {key: head.get(key, "") for key in TEXTS}
    found["metadata"] = metadata
    found["tags"] = _own_tags(head)
    found["assessments"] = {each["assessment_id"]: _assessment(each, swaps) for each in head.get("assessments", ())}
    found[RUNS] = sorted(swap(run_id, swaps) for run_id in head.get(RUNS, ()))
    return found


def _own_tags(head: Json) -> dict[str, str]:
    """The tags a person or MLflow's client set, and where the spans are: in the server's care or in an artifact."""
    tags = {key: value for key, value in without_origin(head.get("tags", {})).items() if key not in OF_ITS_PLACE}
    if tags.get(SPANS_LOCATION) in STORED:
        tags[SPANS_LOCATION] = STORED[0]
    return tags


def _assessment(assessment: Json, swaps: dict[str, str] | None) -> Json:
    found = dict(assessment)
    if "metadata" in found:
        found["metadata"] = {
            key: swap(value, swaps) if key == JUDGED_IN else value for key, value in found["metadata"].items()
        }
    return found


def swaps_of(record: Record, known: Callable[[str], str | None]) -> dict[str, str]:
    """What turns the ids of runs into those that both ends share."""
    return {run_id: there for run_id in sorted(_ids_in(record.head)) if (there := known(run_id))}


def _ids_in(head: Json) -> set[str]:
    metadata = head.get("trace_metadata", {})
    found = {metadata.get(SOURCE_RUN), metadata.get(MODEL), *head.get(RUNS, ())}
    found |= {each.get("metadata", {}).get(JUDGED_IN) for each in head.get("assessments", ())}
    return {str(id_) for id_ in found if id_}


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


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the trace whole at the destination; one that came from the same place is completed or brought up to date.

    Raises ConflictError where another trace has its id: a server holds each id once.
    """
    experiment_id = ids.get("experiment", record.refs["experiment"])
    if experiment_id is None:
        raise NotFoundError("its experiment did not arrive", f"source experiment {record.refs['experiment']}")
    there = _there(sink, record, ids, experiment_id)
    if there is not None and job.source == sink.address and not there.source:
        if there.experiment_id != experiment_id:
            raise ConflictError("a server holds a trace's id once", f"it is in experiment {there.experiment_id}")
        return Written(record.id, "skipped", reason="it is the source itself")
    files = list(record.files())
    losses = _static_losses(record, files, sink)
    if there is not None and not there.source:
        return _foreign(sink, record, there, experiment_id)
    if there is not None and (there.source != job.source or there.experiment_id != experiment_id):
        raise ConflictError(
            "a trace of this id is there already",
            f"in experiment {there.experiment_id}, from {there.source}",
            "a server holds a trace's id once: copy to another server, or delete the one that is there",
        )
    digest = content_digest(record, files)
    if there is not None and there.digest == digest:
        return Written(record.id, "same", digest, losses=tuple(losses))
    state = "updated" if there is not None and there.digest else "done"
    if job.dry_run:
        size = sum(file.size for file in files if not file.problem)
        return Written(record.id, state, losses=tuple(losses), bytes=size)
    if ids.is_deleted(experiment_id):
        ids.reopen(experiment_id, will_delete=True)
    writer = _Writer(sink, ids, job, record)
    size = writer.write(experiment_id, files, digest, there is not None)
    return Written(record.id, state, digest, losses=(*losses, *writer.losses), bytes=size)


def _there(sink: Live, record: Record, ids: Ids, experiment_id: str) -> _There | None:
    """The destination's trace of this id, in whatever experiment."""

    def any_at_all() -> bool:
        experiments = [head["experiment_id"] for head in sink.search_experiments()]
        return next(sink.traces.search(experiments, limit=1), None) is not None

    # A server that held no trace when this job began is not asked for each one.
    if not experiment_id or not ids.once("trace: any", any_at_all):
        return None
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


def _foreign(sink: Live, record: Record, there: _There, experiment_id: str) -> Written:
    """A trace that didn't come by this tool: nothing is to do where it is the same one."""
    if there.experiment_id == experiment_id:
        twin = _whole(sink, record.id)
        ours = {**portable(record), RUNS: []}
        if ours == portable(twin) and spans.ordered(record) == spans.ordered(twin):
            return Written(record.id, "same")
    raise ConflictError(
        "another trace of this id is there already",
        f"in experiment {there.experiment_id}, not from this source",
        "a server holds a trace's id once: delete the one that is there, or copy to another server",
    )


def _whole(sink: Live, trace_id: str) -> Record:
    found = record(sink, trace_id, Selection())
    if found is None:
        raise NotFoundError("the trace vanished from the destination while it was looked at", trace_id, "run it again")
    return found


def _static_losses(record: Record, files: list[File], sink: Live) -> list[Loss]:
    """What the source's REST API doesn't show whole, and the artifacts that can't go."""
    losses = [
        Loss("metadata", key, f"the source's REST API shows {SHOWN_METADATA} characters of it at most")
        for key, value in record.head.get("trace_metadata", {}).items()
        if len(value) >= SHOWN_METADATA and key not in CUT_BY_MLFLOW
    ]
    losses += [
        Loss("tag", key, f"the source's REST API shows {SHOWN_TAG} characters of it at most")
        for key, value in record.head.get("tags", {}).items()
        if len(value) >= SHOWN_TAG
    ]
    reasons = ((file, file.problem or sink.cannot_hold(file.path)) for file in files)
    return losses + [Loss("artifact", file.path, reason, wanted=file.wanted) for file, reason in reasons if reason]


class _Writer:
    """One trace on its way to a destination: spans, info, artifacts, overriding assessments, ties, completion tag."""

    def __init__(self, sink: Live, ids: Ids, job: Writing, record: Record) -> None:
        self.sink, self.ids, self.job, self.record = sink, ids, job, record
        self.losses: list[Loss] = []
        self._marks = {SOURCE: job.source}

    def write(self, experiment_id: str, files: list[File], digest: str, update: bool) -> int:
        """How many bytes of artifacts went. With `update` the trace is there already, whole or not."""
        wanted = self._info(experiment_id)
        assessments = wanted.pop("assessments", [])
        # What overrides another one makes it invalid, which only a request of its own does.
        late = sorted((each for each in assessments if each.get("overrides")), key=_when)
        wanted["assessments"] = [each for each in assessments if not each.get("overrides")]
        if update:
            self._clear(portable(self.record)["assessments"])
        self._log_spans(experiment_id)
        alone = not (late or files or self.losses or self.record.head.get(RUNS) or _prompts(self.record.head))
        if alone:
            # Nothing is left to be done after this request, so that it may say that the trace is whole.
            wanted["tags"][COMPLETE] = digest
        info = self._start(wanted)
        size = self._put_files(info, files)
        for each in late:
            self.sink.traces.create_assessment(self.record.id, each)
        self._tie()
        if not alone and not any(loss.kind == "link" for loss in self.losses):
            self.sink.traces.set_tag(self.record.id, COMPLETE, digest)
        self._check_assessments(assessments)
        return size

    def _clear(self, wanted: Json) -> None:
        """Take away the assessments that the source has no longer, and those that are to be added once more."""
        info = self.sink.traces.get(self.record.id) or {}
        for each in sorted(info.get("assessments", ()), key=_when, reverse=True):
            if each["assessment_id"] not in wanted or each.get("overrides"):
                self.sink.traces.delete_assessment(self.record.id, each["assessment_id"])
        if COMPLETE in info.get("tags", {}):
            self.sink.traces.delete_tag(self.record.id, COMPLETE)

    def _log_spans(self, experiment_id: str) -> None:
        rows = list(self.record.rows[spans.NAME]()) if spans.NAME in self.record.rows else []
        if not rows:
            return
        hex_ids = {spans.trace_id_of(row) for row in rows}
        if hex_ids != {self.record.id}:
            raise ConflictError("its spans are of another trace", ", ".join(sorted(hex_ids - {self.record.id})))
        self.sink.traces.log_spans(experiment_id, rows, self._marks)

    def _info(self, experiment_id: str) -> Json:
        """The info as it is to stand at the destination."""
        head = {key: value for key, value in self.record.head.items() if key != RUNS}
        head["trace_location"] = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
        tags = _own_tags(head)
        if tags.get(SPANS_LOCATION) in STORED:
            tags.pop(SPANS_LOCATION)
        head["tags"] = {**tags, **self._marks}
        head["trace_metadata"] = dict(head.get("trace_metadata", {}))
        for key, kind_name in ((SOURCE_RUN, "run"), (MODEL, "logged_model")):
            if head["trace_metadata"].get(key):
                head["trace_metadata"][key] = self._there(kind_name, head["trace_metadata"][key], key)
        head["assessments"] = [self._localized(each) for each in head.get("assessments", ())]
        return head

    def _localized(self, assessment: Json) -> Json:
        found = dict(assessment)
        if found.get("metadata", {}).get(JUDGED_IN):
            run_id = self._there("run", found["metadata"][JUDGED_IN], found["assessment_id"])
            found["metadata"] = {**found["metadata"], JUDGED_IN: run_id}
        if "issue" in found:
            found["assessment_name"] = self._there("issue", found["assessment_name"], found["assessment_id"])
        return found

    def _there(self, kind_name: str, source_id: str, what: str) -> str:
        """The id at the destination; the source's own, and a loss, for what isn't there."""
        found = self.ids.get(kind_name, source_id)
        if not found and kind_name == "run":
            found = self.ids.once(f"run {source_id}", lambda: self.ids.locate_run(source_id))
        if not found:
            reason = f"{kind_name} {source_id} is not at the destination: bring it there, then type this command again"
            self.losses.append(Loss("link", what, reason))
        return found or source_id

    def _start(self, wanted: Json) -> Json:
        info = self.sink.traces.start(wanted)
        # MLflow makes previews of spans, and leaves what is there where none is sent.
        made = {key: "" for key in TEXTS[1:] if info.get(key) and not wanted.get(key)}
        if made:
            info = self.sink.traces.start({**wanted, **made})
        kept = {*wanted["tags"], SPANS_LOCATION, *OF_ITS_PLACE}
        for key in info.get("tags", {}):
            if key not in kept:
                self.sink.traces.delete_tag(self.record.id, key)
        surplus = set(info.get("trace_metadata", {})) - set(wanted["trace_metadata"]) - {FINALIZED}
        self.losses += [Loss("metadata", key, "the destination adds it, and can't be told not to") for key in surplus]
        return info

    def _put_files(self, info: Json, files: list[File]) -> int:
        root = Root(NAME, self.record.id, info.get("tags", {}).get(LOCATION, ""))
        size = 0
        for file in files:
            if not file.problem and not self.sink.cannot_hold(file.path):
                self.sink.put_file(root, file.path, file)
                size += file.size
        return size

    def _tie(self) -> None:
        for run_id in self.record.head.get(RUNS, ()):
            losses = len(self.losses)
            there = self._there("run", run_id, "run")
            if len(self.losses) == losses:
                self.sink.traces.link_to_run(self.record.id, there)
        versions = _prompts(self.record.head)
        if versions:
            try:
                self.sink.traces.link_prompts(self.record.id, versions)
            except ServerError as error:
                if error.code != "ENDPOINT_NOT_FOUND":
                    raise
                self.losses.append(Loss("link", PROMPTS, "this server can't tie traces to prompts: it is before 3.10"))

    def _check_assessments(self, wanted: list[Json]) -> None:
        """Say what of the assessments MLflow didn't take as it was, where that may be."""
        if not any(each.get("overrides") or not each.get("valid", True) for each in wanted):
            return
        info = self.sink.traces.get(self.record.id) or {}
        there = {each["assessment_id"]: each for each in info.get("assessments", ())}
        for each in wanted:
            other = there.get(each["assessment_id"], {})
            fields = sorted(key for key in {*each, *other} if each.get(key) != other.get(key))
            if fields:
                reason = f"MLflow's REST API can't set {', '.join(fields)}"
                self.losses.append(Loss("assessment", each["assessment_id"], reason))


def _prompts(head: Json) -> list[Json]:
    """The prompt versions in MLflow's tag; none where a person wrote something else into it."""
    try:
        found: Any = json.loads(head.get("tags", {}).get(PROMPTS, "[]"))
    except ValueError:
        return []
    if not isinstance(found, list):
        return []
    return [
        {"name": str(each["name"]), "version": str(each["version"])}
        for each in found
        if isinstance(each, dict) and {"name", "version"} <= each.keys() and str(each["version"]).isdigit()
    ]


def _when(assessment: Json) -> str:
    return str(assessment.get("create_time", ""))
