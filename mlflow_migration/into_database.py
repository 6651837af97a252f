"""The loop for a database to write to: experiment by experiment, each whole in one transaction, then all the rest."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import IO

from mlflow_migration.bundle.legacy import LegacyBundle
from mlflow_migration.database.connect import Connected
from mlflow_migration.database.sink import GROUPS, LIMIT_OF_GROUP, DatabaseSink, Prepared, default_location
from mlflow_migration.database.storing import Roots, roots_of
from mlflow_migration.engine import naming, parallel
from mlflow_migration.engine.guard import Listing, guarded
from mlflow_migration.errors import LeftOutError, MigrationError, UsageError
from mlflow_migration.objects import (
    BY_EXPERIMENT,
    KINDS,
    evaluation_dataset,
    experiment,
    trace,
    twins,
    version_source,
    workspace,
)
from mlflow_migration.objects.texts import NAMES_IN, renamed
from mlflow_migration.pipeline import BundleSource, LiveSource, Tools, account, check_stop
from mlflow_migration.places import Selection, Source, Writing
from mlflow_migration.records import Json, Loss, Record, Written, completed
from mlflow_migration.report import Row

NAMED_BEFORE = ("registered_model", "prompt")
"""Written before experiments: tags of runs and traces mention their names."""
ONE_BY_ONE = ("model_version", "prompt_version")
"""Each after the version it was made from."""
OF_ONE = tuple(kind for kind in BY_EXPERIMENT if kind != evaluation_dataset.NAME)
"""What belongs to one experiment, parents first."""


def sink(place: Connected, job: Writing, artifact_root: str | None, files: str) -> DatabaseSink:
    """A database to write to. Raises UsageError, before anything is written, for what isn't done at a database, and
    where nothing tells where artifacts go."""
    _check(job)
    return DatabaseSink(place, job, roots_of(default_location(place), artifact_root, files), _rename_in)


def sink_at(place: Connected, job: Writing, roots: Roots) -> DatabaseSink:
    """A database to write to, with what is known of its server's artifacts. Raises UsageError as `sink` does."""
    _check(job)
    return DatabaseSink(place, job, roots, _rename_in)


def _check(job: Writing) -> None:
    if job.adding is not None:
        raise UsageError(
            "a version can't be added to a model of a database under its next number",
            hint="start a server on the database and give its address, or bring the whole model: copy-models",
        )
    if job.replace:
        raise UsageError("nothing is deleted in a database", hint="leave --delete-… out, and choose with --on-conflict")
    if job.lineage:
        raise UsageError(
            "a database keeps ids and times themselves, so it takes no tags for them",
            hint="leave --import-source-tags out",
        )


def _rename_in(key: str, value: str, name_of: Callable[[str, str], str]) -> str:
    """A tag of MLflow's with the names of models and prompts it has there."""
    return renamed(value, partial(name_of, NAMES_IN[key])) if key in NAMES_IN else value


def fill(source: Source, sink: DatabaseSink, job: Writing, selection: Selection, tools: Tools) -> None:
    """Move every selected object into a database; each ends as a row in `tools.report`.

    Raises AccessError and StorageError, which concern everything, UsageError where two names would become one, and
    InterruptedJobError after Ctrl-C: what is begun is undone then, and what is whole stays.
    """
    naming.check(job.names, source.records, selection)
    filling = _Filling(source, sink, selection, tools)
    first = (workspace.NAME, *NAMED_BEFORE)
    for kind in filter(selection.takes, first):
        filling.all_of(kind)
    if selection.takes(experiment.NAME):
        filling.experiments()
    for kind in KINDS:
        if kind not in {*first, *OF_ONE, experiment.NAME} and selection.takes(kind):
            filling.all_of(kind)


class _Filling:
    """One job: where from, where to, what of it."""

    def __init__(self, source: Source, sink: DatabaseSink, selection: Selection, tools: Tools) -> None:
        self._source = source
        self._sink = sink
        self._selection = selection
        self._tools = tools
        self._with_traces: set[str] = set()

    def experiments(self) -> None:
        """All experiments with what belongs to them."""
        listing = Listing(self._source.records(experiment.NAME, self._selection), experiment.NAME)
        found = list(listing)
        if listing.error is not None:
            raise listing.error
        self._sink.expect(found)
        if self._goes_together():
            with self._transaction() as outcomes:
                for record in found:
                    self._experiment(record, outcomes)
                for kind in filter(self._selection.takes, OF_ONE):
                    self._move(self._source.records(kind, self._selection), kind, outcomes)
            return
        for record in found:
            with self._transaction() as outcomes:
                self._experiment(record, outcomes)
                for kind in filter(self._selection.takes, OF_ONE):
                    self._move(self._of(record, kind), kind, outcomes)
        self._tie_across(found)

    def _tie_across(self, experiments: list[Record]) -> None:
        """Tie traces to runs of other experiments: asked for by experiment, neither tells of the other. A bundle's
        traces say it themselves."""
        if not isinstance(self._source, LiveSource):
            return
        live = self._source.live
        for record in experiments:
            others = sorted(self._with_traces - {record.id})
            if not others:
                continue
            runs = (head["info"]["run_id"] for head in live.search_runs([record.id]))
            pairs = ((trace_id, run_id) for run_id, trace_id in live.traces.linked([record.id, *others], runs))
            while some := list(islice(pairs, LIMIT_OF_GROUP)):
                with self._sink.transaction():
                    self._sink.tie(some)

    def _goes_together(self) -> bool:
        """Whether all is one transaction: what is named by ids is little, and can't be asked for by experiments. A
        folder of mlflow-export-import has no index by experiment."""
        chosen = self._selection
        named = chosen.run_ids or chosen.logged_models or chosen.traces
        is_legacy = isinstance(self._source, BundleSource) and isinstance(self._source.bundle, LegacyBundle)
        return bool(named) or is_legacy

    def _of(self, one: Record, kind: str) -> Iterator[Record]:
        """What belongs to one experiment."""
        if isinstance(self._source, (BundleSource, LiveSource)):
            return self._source.of_experiment(kind, one, self._selection)
        # An experiment may be called as another one is numbered.
        found = self._source.records(kind, replace(self._selection, experiments=(one.id,)))
        return (record for record in found if record.refs[experiment.NAME] == one.id)

    def _experiment(self, record: Record, outcomes: _Outcomes) -> None:
        outcomes.add(record, guarded(lambda: self._sink.put_experiment(completed(record)), record.kind, record.id))

    def all_of(self, kind: str) -> None:
        """All objects of a kind that belongs to no experiment, in transactions of some objects each."""
        selection = self._selection
        listing = Listing(self._source.records(kind, selection), kind)
        size = GROUPS.get(kind, LIMIT_OF_GROUP)
        while some := list(islice(listing, size)):
            with self._transaction() as outcomes:
                self._move(iter(some), kind, outcomes)
        if listing.error is not None:
            self._tools.report.add(Row(kind, "*", "those that can't be listed", "failed", str(listing.error)))

    def _move(self, records: Iterator[Record], kind: str, outcomes: _Outcomes) -> None:
        listing = Listing(records, kind)
        tools = self._tools
        size = 1 if kind in ONE_BY_ONE else GROUPS.get(kind, LIMIT_OF_GROUP)
        waiting: list[Prepared] = []
        in_order = kind in ONE_BY_ONE
        each = map(self._prepared, listing) if in_order else self._in_parallel(listing)
        for record, prepared in each:
            if isinstance(prepared, MigrationError):
                outcomes.add(record, prepared)
                continue
            waiting.append(prepared)
            if kind == trace.NAME:
                self._with_traces.add(record.refs[experiment.NAME])
            if len(waiting) == size:
                self._put(waiting, outcomes)
                waiting = []
        check_stop(tools)
        self._put(waiting, outcomes)
        if listing.error is not None:
            tools.report.add(Row(kind, "*", "those that can't be listed", "failed", str(listing.error)))

    def _in_parallel(self, listing: Listing) -> Iterator[tuple[Record, Prepared | MigrationError]]:
        return parallel.each(listing, self._prepared, self._tools.workers, self._tools.stop)

    def _prepared(self, record: Record) -> tuple[Record, Prepared | MigrationError]:
        def prepared() -> Prepared:
            whole = completed(record)
            return self._sink.prepare(version_source.at_home(whole) if twins.family_of(whole.kind) else whole)

        return record, guarded(prepared, record.kind, record.id)

    def _put(self, group: list[Prepared], outcomes: _Outcomes) -> None:
        """Write a group; where that fails one by one, for what is wrong with one costs only that one."""
        if not group:
            return
        first = group[0].record
        written = guarded(lambda: self._sink.put_group(group), first.kind, first.id) if len(group) > 1 else None
        if isinstance(written, list):
            for each, one in zip(group, written, strict=True):
                outcomes.add(each.record, one)
            return
        for each in group:
            alone = guarded(partial(self._sink.put_group, [each]), first.kind, each.record.id)
            outcomes.add(each.record, alone if isinstance(alone, MigrationError) else alone[0])

    @contextmanager
    def _transaction(self) -> Iterator[_Outcomes]:
        """What is written inside counts when it is committed: until then nothing of it is told."""
        with tempfile.TemporaryFile("w+", prefix="mlflow-migration-", encoding="utf-8", errors="surrogatepass") as file:
            outcomes = _Outcomes(file)
            with self._sink.transaction():
                yield outcomes
            for record, outcome in outcomes.all():
                account(record, outcome, self._tools)


class _Outcomes:
    """How objects ended, kept in a scratch file: an experiment may have a million of them."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def add(self, record: Record, outcome: Written | MigrationError) -> None:
        if isinstance(outcome, MigrationError):
            left_out = isinstance(outcome, LeftOutError)
            ended: Json = {"left_out": left_out, "why": [outcome.what, outcome.why, outcome.hint]}
        else:
            ended = {"written": asdict(outcome)}
        self._file.write(json.dumps([record.kind, record.id, record.name, ended]) + "\n")

    def all(self) -> Iterator[tuple[Record, Written | MigrationError]]:
        self._file.seek(0)
        for line in self._file:
            kind, id_, name, ended = json.loads(line)
            record = Record(kind, id_, name, (), {})
            if "written" in ended:
                losses = tuple(Loss(**loss) for loss in ended["written"].pop("losses"))
                yield record, Written(**ended["written"], losses=losses)
            else:
                yield record, (LeftOutError if ended["left_out"] else MigrationError)(*ended["why"])
