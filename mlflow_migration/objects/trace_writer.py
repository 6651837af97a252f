"""Making one trace at a destination."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mlflow_migration.calls import Live
from mlflow_migration.errors import ConflictError, ServerError
from mlflow_migration.objects import gateway_endpoint, model_links, registry, spans
from mlflow_migration.objects.kind import run_at
from mlflow_migration.objects.registry import PROMPTS as PROMPTS_OF
from mlflow_migration.objects.trace_head import (
    ENDPOINT,
    FINALIZED,
    JUDGED_IN,
    LOCATION,
    MODEL,
    OF_ITS_PLACE,
    PROMPTS,
    RUNS,
    SHOWN_TAG,
    SOURCE_RUN,
    SPANS_LOCATION,
    STORED,
    TEXTS,
    created,
    judging_run,
    own_tags,
    prompts,
    untied,
)
from mlflow_migration.places import Ids, Root, Writing
from mlflow_migration.records import ORIGIN, File, Json, Loss, Record

SOURCE = ORIGIN + "source"
COMPLETE = ORIGIN + "complete"
WROTE = ORIGIN + "wrote"
"""The tags and assessments that came from the source: what else a trace has was added at the destination."""

BATCH_BYTES = 4_000_000
"""Spans of one request, as JSON; one trace may have more."""


class Ties:
    """The ids of other objects in a trace, and what they are at the destination.

    What isn't there keeps the source's id and is a loss. It counts in the completion tag, so that a later job, when
    it is there, ties it.
    """

    def __init__(self, sink: Live, head: Json, ids: Ids, job: Writing) -> None:
        self._sink = sink
        self._ids: dict[str, str] = {}
        self.missing: list[str] = []
        self.losses: list[Loss] = []
        metadata = head.get("trace_metadata", {})
        self._look(ids, "run", metadata.get(SOURCE_RUN), SOURCE_RUN)
        self._look(ids, "logged_model", metadata.get(MODEL), MODEL)
        self._look(ids, gateway_endpoint.NAME, metadata.get(ENDPOINT), ENDPOINT)
        for run_id in head.get(RUNS, ()):
            self._look(ids, "run", run_id, "run")
        for each in head.get("assessments", ()):
            self._look(ids, "run", each.get("metadata", {}).get(JUDGED_IN), each["assessment_id"])
            if (judge := judging_run(each)) and (found := ids.get("run", judge)):
                # It may be anything of that form: what is no run's id stays as it is, and is no loss.
                self._ids[judge] = found
            if "issue" in each:
                self._look(ids, "issue", each["assessment_name"], each["assessment_id"])
        self.tags = registry.rename_in(own_tags(head), sink, ids, job)
        self.prompts: list[Json] = []
        for version in prompts(head):
            self._look_for_prompt(version, ids, job)

    def _look_for_prompt(self, version: Json, ids: Ids, job: Writing) -> None:
        """The prompt version to tie the trace to, unless the destination's one of that name is another prompt."""
        name = registry.name_at(PROMPTS_OF, version["name"], self._sink, ids, job)
        refused = registry.refusal(PROMPTS_OF, version["name"], ids)
        stands = ids.once(registry.standing_of(name), registry.unknown)
        source_id = registry.version_id(version["name"], version["version"])
        if not refused and not (stands and stands.joined and not ids.get(PROMPTS_OF.version, source_id)):
            self.prompts.append({**version, "name": name})
            return
        reason = f"prompt version {source_id} is not at the destination, where another prompt has its name"
        self.losses.append(Loss("link", PROMPTS, reason, wanted=refused != registry.LEFT_OUT))
        self.missing.append(f"prompt version {source_id}")

    def there(self, source_id: str) -> str:
        """The id at the destination, or the source's own for what isn't there."""
        return self._ids.get(source_id, source_id)

    def _look(self, ids: Ids, kind_name: str, source_id: str | None, what: str) -> None:
        if not source_id or source_id in self._ids:
            return
        if kind_name == "run":
            found = run_at(ids, source_id)
        elif kind_name == model_links.MODEL:
            found = model_links.locate(self._sink, source_id, ids)
        elif kind_name == gateway_endpoint.NAME:
            found = gateway_endpoint.located(self._sink, source_id, ids)
        else:
            found = ids.get(kind_name, source_id)
        if found:
            self._ids[source_id] = found
            return
        reason = f"{kind_name} {source_id} is not at the destination: bring it there, then type this command again"
        self.losses.append(Loss("link", what, reason))
        if source_id not in self.missing:
            self.missing.append(source_id)


class Writer:
    """One trace on its way to a destination: spans, info, artifacts, overriding assessments, ties, completion tag."""

    def __init__(self, sink: Live, source: str, record: Record, ties: Ties) -> None:
        self.sink, self.record, self.ties = sink, record, ties
        self.losses: list[Loss] = []
        self.spans_gone = False
        self.marks = {SOURCE: source}

    def write(self, experiment_id: str, files: list[File], digest: str, update: bool) -> int:
        """How many bytes of artifacts went. With `update` the trace is there already, whole or not."""
        wanted = self._info(experiment_id)
        there = (self.sink.traces.get(self.record.id) or {}) if update else {}
        assessments = self._outgoing(wanted.pop("assessments", []), there)
        # What overrides another one makes it invalid, which only a request of its own does.
        late = sorted((each for each in assessments if each.get("overrides")), key=created)
        wanted["assessments"] = [each for each in assessments if not each.get("overrides")]
        if not self.spans_gone:
            log_together(self.sink, experiment_id, [self])
        alone = not (late or files or self.record.head.get(RUNS) or self.ties.prompts)
        if alone:
            # Nothing is left to be done after this request, so that it may say that the trace is whole.
            wanted["tags"][COMPLETE] = digest
        info = self._start(wanted, _wrote(there))
        size = self._put_files(info, files)
        for each in late:
            self.sink.traces.create_assessment(self.record.id, each)
        self._tie()
        if not alone:
            self.sink.traces.set_tag(self.record.id, COMPLETE, digest)
        return size

    def _outgoing(self, wanted: list[Json], there: Json) -> list[Json]:
        """The assessments to be written: all, or those that differ from the ones there, which are taken away first.

        One that was made at the destination stays. Each that overrides another one is added once more when any is,
        since what it overrides becomes valid when it is written.
        """
        if COMPLETE in there.get("tags", {}):
            self.sink.traces.delete_tag(self.record.id, COMPLETE)
        here = {each["assessment_id"]: each for each in there.get("assessments", ())}
        changed = [each for each in wanted if _content(here.get(each["assessment_id"], {})) != _content(each)]
        if changed:
            again = [each["assessment_id"] for each in changed]
            changed = [each for each in wanted if each.get("overrides") or each["assessment_id"] in again]
        ids = {each["assessment_id"] for each in wanted}
        replaced = {each["assessment_id"] for each in changed if each.get("overrides")}
        gone = {each for each in here if f"assessment {each}" in (_wrote(there) or ()) and each not in ids}
        for each in sorted(there.get("assessments", ()), key=created, reverse=True):
            if each["assessment_id"] in gone | replaced:
                self.sink.traces.delete_assessment(self.record.id, each["assessment_id"])
        return changed

    def spans(self) -> list[Json]:
        """The spans; raises ConflictError where MLflow would put any of them into another trace."""
        rows = list(self.record.rows[spans.NAME]()) if spans.NAME in self.record.rows else []
        others = {spans.trace_id_of(row) for row in rows} - {self.record.id}
        if others:
            raise ConflictError("its spans are of another trace", ", ".join(sorted(others)))
        return rows

    def _info(self, experiment_id: str) -> Json:
        """The info as it is to stand at the destination."""
        head = untied(self.record.head)
        head["trace_location"] = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
        tags = dict(self.ties.tags)
        if tags.get(SPANS_LOCATION) in STORED:
            tags.pop(SPANS_LOCATION)
        wrote = [f"tag {key}" for key in tags]
        wrote += [f"assessment {each['assessment_id']}" for each in head.get("assessments", ())]
        text = json.dumps(wrote, separators=(",", ":"))
        head["tags"] = {**tags, **self.marks, WROTE: text if len(text) < SHOWN_TAG else "[]"}
        head["trace_metadata"] = dict(head.get("trace_metadata", {}))
        for key in (SOURCE_RUN, MODEL, ENDPOINT):
            if key in head["trace_metadata"]:
                head["trace_metadata"][key] = self.ties.there(head["trace_metadata"][key])
        head["assessments"] = [self._localized(each) for each in head.get("assessments", ())]
        return head

    def _localized(self, assessment: Json) -> Json:
        found = dict(assessment)
        if JUDGED_IN in found.get("metadata", {}):
            found["metadata"] = {**found["metadata"], JUDGED_IN: self.ties.there(found["metadata"][JUDGED_IN])}
        if "issue" in found:
            found["assessment_name"] = self.ties.there(found["assessment_name"])
        if judge := judging_run(found):
            found["source"] = {**found["source"], "source_id": self.ties.there(judge)}
        return found

    def _start(self, wanted: Json, wrote: set[str] | None) -> Json:
        """The info as it is then; of its tags those are taken away that came from the source and aren't there now."""
        info = self.sink.traces.start(wanted)
        # MLflow makes previews of spans, and leaves what is there where none is sent.
        made = {key: "" for key in TEXTS[1:] if info.get(key) and not wanted.get(key)}
        if made:
            info = self.sink.traces.start({**wanted, **made})
        kept = {*wanted["tags"], SPANS_LOCATION, *OF_ITS_PLACE}
        for key in info.get("tags", {}):
            if key not in kept and (wrote is None or f"tag {key}" in wrote):
                self.sink.traces.delete_tag(self.record.id, key)
        surplus = set(info.get("trace_metadata", {})) - set(wanted["trace_metadata"]) - {FINALIZED}
        self.losses += [Loss("metadata", key, "the destination adds it, and can't be told not to") for key in surplus]
        return info

    def _put_files(self, info: Json, files: list[File]) -> int:
        root = Root(self.record.kind, self.record.id, info.get("tags", {}).get(LOCATION, ""))
        size = 0
        for file in files:
            if not file.problem and not self.sink.cannot_hold(file.path):
                self.sink.put_file(root, file.path, file)
                size += file.size
        return size

    def _tie(self) -> None:
        for run_id in self.record.head.get(RUNS, ()):
            if run_id not in self.ties.missing:
                self.sink.traces.link_to_run(self.record.id, self.ties.there(run_id))
        if self.ties.prompts:
            try:
                self.sink.traces.link_prompts(self.record.id, self.ties.prompts)
            except ServerError as error:
                if error.code != "ENDPOINT_NOT_FOUND":
                    raise
                self.losses.append(
                    Loss("link", PROMPTS, "this server can't tie traces to prompts, as MLflow can since 3.10")
                )


def log_together(sink: Live, experiment_id: str, writers: Sequence[Writer]) -> None:
    """Send the spans of several traces from one place to one experiment, as many in a request as fit."""
    batch: list[Json] = []
    size = 0
    for writer in writers:
        rows = writer.spans()
        more = sum(len(json.dumps(row)) for row in rows)
        if batch and size + more > BATCH_BYTES:
            sink.traces.log_spans(experiment_id, batch, writer.marks)
            batch, size = [], 0
        batch += rows
        size += more
    if batch:
        sink.traces.log_spans(experiment_id, batch, writers[0].marks)
    for writer in writers:
        writer.spans_gone = True


def _wrote(there: Json) -> set[str] | None:
    """What of a trace came from the source, or None for one that is not there whole yet."""
    text = there.get("tags", {}).get(WROTE)
    return None if text is None else set(json.loads(text))


def _content(assessment: Json) -> Json:
    """An assessment without what others make of it."""
    return {key: value for key, value in assessment.items() if key != "valid"}
