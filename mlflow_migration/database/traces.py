"""Traces straight from their tables: whole metadata and tags, which REST cuts, and all their ties by one question."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from mlflow_migration.database import filters
from mlflow_migration.database.artifacts import Artifacts
from mlflow_migration.database.reading import Reading, as_json, chunks, converting, grouped, numbers, present
from mlflow_migration.places import Root
from mlflow_migration.proto_times import duration_of, time_of
from mlflow_migration.records import File, Files, Json, Rows

EXPERIMENTS = 100
BATCH_TRACES = 50
BATCH_BYTES = 4_000_000
LOCATION = "mlflow.artifactLocation"
ARCHIVE = "mlflow.trace.archiveLocation"
SPANS_LOCATION = "mlflow.trace.spansLocation"
STORED, ARCHIVED = "TRACKING_STORE", "ARCHIVE_REPO"
SOURCE_RUN = "mlflow.sourceRun"
SIZE = "mlflow.trace.sizeBytes"
ARCHIVE_FILE = "traces.pb"
SPANS_FILE = "traces.json"
ATTACHMENT = re.compile(r"mlflow-attachment://([0-9A-Za-z-]+)")


class Traces:
    """The traces of the workspace. Implements `TraceReads`."""

    def __init__(self, reading: Reading, artifacts: Artifacts) -> None:
        self._reading = reading
        self._tables = reading.tables
        self._artifacts = artifacts
        self._lock = threading.Lock()
        self._folders: dict[str, set[str]] = {}

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Whole infos, assessments with them, by time and id."""
        c = self._tables["trace_info"].c
        for some in chunks(experiment_ids, EXPERIMENTS):
            here = sa.and_(c.experiment_id.in_(numbers(some)), self._reading.here(c.experiment_id))
            statement = filters.trace_ids(self._reading, filter_).where(here).order_by(c.timestamp_ms, c.request_id)
            ids = [row[0] for row in self._reading.rows(statement.limit(limit) if limit else statement)]
            for part in chunks(ids):
                yield from self._infos(part)

    def get(self, trace_id: str) -> Json | None:
        return next(self._infos([trace_id]), None)

    def get_many(self, trace_ids: Sequence[str]) -> Mapping[str, Json]:
        """The infos of those that are there, by id."""
        return {info["trace_id"]: info for some in chunks(trace_ids) for info in self._infos(some)}

    def tied_to(self, experiment_ids: Sequence[str], prompt_version: str) -> Iterator[tuple[str, str]]:
        """(request time, id) of the traces that are tied to a prompt version, in the order of `search`."""
        c, ties = self._tables["trace_info"].c, self._tables["entity_associations"].c
        tied = sa.select(ties.source_id).where(
            ties.source_type == "trace",
            ties.destination_type == "prompt_version",
            ties.destination_id == prompt_version,
        )
        here = (c.experiment_id.in_(numbers(experiment_ids)), self._reading.here(c.experiment_id))
        statement = sa.select(c.timestamp_ms, c.request_id).where(*here, c.request_id.in_(tied))
        for row in self._reading.rows(statement.order_by(c.timestamp_ms, c.request_id)):
            yield time_of(row.timestamp_ms), row.request_id

    def linked(self, experiment_ids: Sequence[str], run_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(run, trace) of every trace there that a run of these experiments is linked to without having made it.

        All are found at once: the runs' ids are not asked for.
        """
        traces, runs, ties = (self._tables[name] for name in ("trace_info", "runs", "entity_associations"))
        made = self._tables["trace_request_metadata"]
        for some in chunks(experiment_ids, EXPERIMENTS):
            statement = (
                sa.select(ties.c.destination_id, ties.c.source_id, made.c.value)
                .join(traces, traces.c.request_id == ties.c.source_id)
                .join(runs, runs.c.run_uuid == ties.c.destination_id)
                .outerjoin(made, sa.and_(made.c.request_id == traces.c.request_id, made.c.key == SOURCE_RUN))
                .where(
                    ties.c.source_type == "trace",
                    ties.c.destination_type == "run",
                    traces.c.experiment_id.in_(numbers(some)),
                    runs.c.experiment_id.in_(numbers(experiment_ids)),
                    self._reading.here(traces.c.experiment_id),
                )
            )
            for run_id, trace_id, maker in self._reading.rows(statement):
                if maker != run_id:
                    yield run_id, trace_id

    def with_spans(self, infos: Iterable[Json]) -> Iterator[tuple[Json, Rows, Files]]:
        """Each info with its lazy spans and artifacts, in the order given."""
        for group in _groups(infos):
            batch = _Batch(self, group)
            for info in group:
                yield info, partial(batch.rows, info), partial(self._files, info, batch)

    def _infos(self, trace_ids: Sequence[str]) -> Iterator[Json]:
        infos, tags, metadata, assessments = (
            self._tables[name] for name in ("trace_info", "trace_tags", "trace_request_metadata", "assessments")
        )
        rows, *parts = self._reading.together(
            sa.select(infos).where(infos.c.request_id.in_(trace_ids), self._reading.here(infos.c.experiment_id)),
            *(
                sa.select(t.c.request_id, t.c.key, t.c.value).where(t.c.request_id.in_(trace_ids))
                for t in (tags, metadata)
            ),
            sa.select(assessments.c.trace_id.label("of"), assessments).where(assessments.c.trace_id.in_(trace_ids)),
        )
        tags_of, metadata_of, assessments_of = map(grouped, parts)
        found = {row.request_id: row for row in rows}
        for id_ in trace_ids:
            if id_ in found:
                texts = [{key: value for _, key, value in each.get(id_, ())} for each in (tags_of, metadata_of)]
                yield _info(found[id_], texts[0], texts[1], assessments_of.get(id_, ()))

    def stored_spans(self, infos: Sequence[Json]) -> dict[str, list[str]]:
        """The spans of traces that are in the database as it holds them, by trace id: the root first, then by start."""
        spans = self._tables["spans"].c
        ids = [info["trace_id"] for info in infos if _location(info) == STORED]
        statement = sa.select(spans.trace_id, spans.content, spans.parent_span_id, spans.start_time_unix_nano)
        rows = grouped(self._reading.rows(statement.where(spans.trace_id.in_(ids))) if ids else ())
        found = {}
        for id_ in ids:
            own = sorted(rows.get(id_, ()), key=lambda row: (row.parent_span_id is not None, row.start_time_unix_nano))
            # An archived trace leaves empty rows behind.
            found[id_] = [row.content for row in own if row.content]
        return found

    def archived_spans(self, info: Json) -> list[Json]:
        """The spans of a trace that MLflow has put into its archive. Raises ServerError where they can't be read."""
        from mlflow.tracing.otel.otel_archival import traces_data_pb_to_spans

        root = Root("archive", info["trace_id"], info["tags"].get(ARCHIVE, ""))
        with self._artifacts.open_file(root, ARCHIVE_FILE) as reader:
            return [as_json(span.to_otel_proto()) for span in traces_data_pb_to_spans(reader.read())]

    def _files(self, info: Json, batch: _Batch) -> Iterator[File]:
        """The artifacts of a trace: attachments, and the spans of one whose spans are not in the database."""
        uri = info["tags"].get(LOCATION, "")
        root = Root("trace", info["trace_id"], uri)
        if problem := self._artifacts.problem(root) if uri else "":
            yield from self._missed(info, batch, problem)
        elif uri and self._has_folder(uri):
            archive = _location(info) == ARCHIVED
            yield from (file for file in self._artifacts.files(root) if not (archive and file.path == ARCHIVE_FILE))

    def _has_folder(self, uri: str) -> bool:
        """Whether a trace has a folder of artifacts, by one listing for all traces of an experiment."""
        own, _, _ = uri.rpartition("/")
        parent, _, name = own.rpartition("/")
        with self._lock:
            if parent not in self._folders:
                self._folders[parent] = self._artifacts.folders(parent)
            return name in self._folders[parent]

    def _missed(self, info: Json, batch: _Batch, problem: str) -> Iterator[File]:
        """The artifacts that a trace must have, where they can't be looked for."""
        if _location(info) not in {STORED, ARCHIVED}:
            yield File(SPANS_FILE, 0, problem=problem)
            return
        for name in sorted(set(ATTACHMENT.findall(json.dumps(list(batch.rows(info)))))):
            yield File(f"attachments/{name}", 0, problem=problem)


class _Batch:
    """The spans of some traces, read when the first of them is."""

    def __init__(self, traces: Traces, infos: Sequence[Json]) -> None:
        self._traces = traces
        self._infos = infos
        self._lock = threading.Lock()
        self._spans: dict[str, list[str]] | None = None

    def rows(self, info: Json) -> Iterator[Json]:
        if _location(info) == ARCHIVED:
            return iter(self._traces.archived_spans(info))
        with self._lock:
            if self._spans is None:
                self._spans = self._traces.stored_spans(self._infos)
        return iter([_span(info, text) for text in self._spans.get(info["trace_id"], ())])


def _span(info: Json, text: str) -> Json:
    """A span as REST shows it. Raises ServerError where it can't be read."""
    from mlflow.entities.span import LazySpan

    with converting(f"a span of trace {info['trace_id']}"):
        return as_json(LazySpan.from_stored_content(text).to_otel_proto())


def _location(info: Json) -> str:
    return str(info["tags"].get(SPANS_LOCATION, "")) if "tags" in info else ""


def _groups(infos: Iterable[Json]) -> Iterator[list[Json]]:
    """Infos in order, in groups whose spans fit the memory of a batch."""
    group: list[Json] = []
    total = 0
    for info in infos:
        text = info.get("trace_metadata", {}).get(SIZE, "")
        size = int(text) if text.isdecimal() else 0
        if group and (len(group) == BATCH_TRACES or total + size > BATCH_BYTES):
            yield group
            group, total = [], 0
        group.append(info)
        total += size
    if group:
        yield group


def _info(row: Any, tags: dict[str, str], metadata: dict[str, str], assessments: Iterable[Any]) -> Json:
    from mlflow.store.tracking.dbmodels.models import PROMOTED_TRACE_METADATA_KEYS
    from mlflow.store.tracking.utils.trace_analytics import compatibility_metadata_from_columns

    # MLflow keeps a few of them in columns of their own.
    own = {key: value for key, value in tags.items() if key != "mlflow.traceName"}
    if row.trace_name is not None:
        own["mlflow.traceName"] = row.trace_name
    kept = {key: value for key, value in metadata.items() if key not in PROMOTED_TRACE_METADATA_KEYS}
    kept.update(compatibility_metadata_from_columns(row))
    made = [_assessment(each) for each in assessments]
    return {
        **present(
            trace_id=row.request_id,
            client_request_id=row.client_request_id,
        ),
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": str(row.experiment_id)},
        },
        **present(
            request_preview=row.request_preview,
            response_preview=row.response_preview,
            request_time=time_of(row.timestamp_ms),
            execution_duration=None if row.execution_time_ms is None else duration_of(row.execution_time_ms),
            state=row.status,
        ),
        **({"trace_metadata": kept} if kept else {}),
        **({"assessments": made} if made else {}),
        "tags": own,
    }


def _assessment(row: Any) -> Json:
    from mlflow.store.tracking.dbmodels.models import SqlAssessments

    fields = {key: value for key, value in row._mapping.items() if key != "of"}
    with converting(f"assessment {row.assessment_id} of trace {row.trace_id}"):
        return as_json(SqlAssessments(**fields).to_mlflow_entity().to_proto())
