"""The one loop: read records at a source, write them to a sink, and let every object end in one row of the report."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from mlflow_migration.bundle.legacy import LegacyBundle, is_legacy
from mlflow_migration.bundle.reader import Bundle
from mlflow_migration.bundle.writer import BundleWriter
from mlflow_migration.calls import Live, Readable
from mlflow_migration.database import file_store
from mlflow_migration.engine import naming, parallel
from mlflow_migration.engine.guard import Listing, guarded
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.engine.lineage import Lineage
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import ForbiddenError, InterruptedJobError, LeftOutError, MigrationError, UsageError
from mlflow_migration.objects import BY_EXPERIMENT, KINDS, SHARDED, TOGETHER, experiment, in_shard, registry
from mlflow_migration.places import Names, Selection, Sink, Source, Writing
from mlflow_migration.records import Broken, Json, Record, Written, completed
from mlflow_migration.report import Report, Row

Outcome = tuple[Record, Written | MigrationError]

GROUP = 25
"""Objects of a kind in TOGETHER that are written together."""


def names_at(live: Readable, names: Names) -> Names:
    """The names as the place's registry has them."""
    return replace(names, lower=live.abilities.registry.three_levels)


class LiveSource:
    """A live place to read from."""

    def __init__(self, live: Readable) -> None:
        self.live = live
        self.address = live.address
        self.shows_all = live.abilities.keeps_ids
        self.keeps_version_files = live.abilities.registry.version_files

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """Raises ForbiddenError where there seems to be nothing because the server hides all of it."""
        if kind in self.live.abilities.lacks:
            return
        found = KINDS[kind].read(self.live, selection)
        first = next(found, None)
        if first is not None:
            yield from (record for record in chain([first], found) if in_shard(record, selection))
        elif "*" in self.live.rights.denied(kind):
            raise ForbiddenError(f"{self.address} hides all of kind {kind} from these credentials", hint="ask for READ")

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        return KINDS[kind].record(self.live, record_id, selection)

    def broken(self, selection: Selection) -> Iterator[Broken]:
        """What the place holds of what is asked for and can't give."""
        if not self.live.broken:
            return
        chosen = {each.id for each in experiment.readable(self.live, selection)} if selection.experiments else set()
        exact = {*selection.run_ids, *selection.logged_models, *selection.traces, *selection.versions.ids}
        names = (*selection.models, *selection.prompts)
        for each in self.live.broken:
            # Of a version the model.
            owner = each.experiment or each.id.rpartition("/")[0] or each.id
            asked = selection.takes(each.of) and selection.holds(owner)
            if chosen and each.experiment:
                asked = asked and each.experiment in chosen
            if names or exact:
                asked = asked and (
                    each.id in exact or (not each.experiment and bool(names) and registry.named(names, owner))
                )
            if asked:
                yield each

    def of_experiment(self, kind: str, one: Record, selection: Selection) -> Iterator[Record]:
        """What of a kind belongs to one experiment and is asked for."""
        live = cast(Readable, _OnlyOne(self.live, one.head))
        return KINDS[kind].read(live, replace(selection, experiments=(one.id,)))


class _OnlyOne:
    """A live place that shows one of its experiments: what belongs to it is found without listing all the others."""

    def __init__(self, live: Readable, head: Json) -> None:
        self._live = live
        self._head = head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._live, name)

    def search_experiments(self) -> Iterator[Json]:
        yield self._head


class BundleSource:
    """A proven bundle to read from, with the selection applied here since a folder can't search."""

    shows_all = True

    def __init__(self, bundle: Bundle | LegacyBundle) -> None:
        """Raises BundleError before anything is given on when the bundle isn't whole and sane."""
        self.bundle = bundle
        self.address = bundle.address
        self.counts = bundle.check(
            {name: kind.validate for name, kind in KINDS.items()},
            {name: kind.validate_row for name, kind in KINDS.items() if kind.ROWS},
        )
        self._chosen: dict[str, set[str]] = {}

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        chosen = self._chosen[kind] = set()
        parents = KINDS[kind].PARENTS
        records = (
            record
            for record in self.bundle.records(kind, selection)
            if all(record.refs[parent] in self._chosen.get(parent, {record.refs[parent]}) for parent in parents)
        )
        for record in KINDS[kind].choose(records, selection, self.address):
            if not in_shard(record, selection):
                continue
            chosen.add(record.id)
            yield self._limited(record, selection)

    @cached_property
    def keeps_version_files(self) -> bool:
        """Whether it was made from a registry that keeps files with each version: any of them has some."""
        versions = self.bundle.records("model_version", Selection())
        return any(next(iter(version.files()), None) is not None for version in versions)

    def of_experiment(self, kind: str, one: Record, selection: Selection) -> Iterator[Record]:
        """What of a kind belongs to one experiment and is asked for."""
        if isinstance(self.bundle, Bundle):
            found = self.bundle.records_below(kind, one.home)
        else:
            every = self.bundle.records(kind, selection)
            found = (record for record in every if record.refs.get(experiment.NAME) == one.id)
        for record in KINDS[kind].choose(found, selection, self.address):
            yield self._limited(record, selection)

    def lost(self, selection: Selection) -> Iterator[Row]:
        """What a folder of mlflow-export-import lost at its export, of what is asked for, once the records are read."""
        for each in self.bundle.lost() if isinstance(self.bundle, LegacyBundle) else ():
            chosen = self._chosen.get("experiment", {each.experiment})
            if selection.takes(each.kind) and (not each.experiment or each.experiment in chosen):
                yield each.row

    @staticmethod
    def _limited(record: Record, selection: Selection) -> Record:
        return replace(record, files=partial(selection.files_of, record.files))

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        return self.bundle.record(kind, record_id, selection)


class LiveSink:
    """A live place to write to."""

    def __init__(self, live: Live, lineage: Lineage, job: Writing) -> None:
        self.live = live
        self.address = live.address
        self._lineage = lineage
        self._job = replace(job, names=names_at(live, job.names))

    def know_metastore(self, metastore: str) -> None:
        """The source's registry may be this very one, seen from another workspace."""
        self._job = replace(self._job, metastore=metastore)

    def check_names(self, source: Source, selection: Selection) -> None:
        """Raise UsageError, before anything is written, where new names can't be meant so."""
        naming.check(self._job.names, source.records, selection, self.live.abilities.registry)

    def put(self, record: Record) -> Written:
        refused = self._refused(record)
        return refused or KINDS[record.kind].write(self.live, record, self._lineage, self._job)

    def begin(self, records: list[Record]) -> list[Callable[[], Written]]:
        """Write what several objects of a kind in TOGETHER share; for each the rest of its writing."""
        if refused := self._refused(records[0]):
            return [lambda: refused for _ in records]
        return TOGETHER[records[0].kind](self.live, records, self._lineage, self._job)

    def _refused(self, record: Record) -> Written | None:
        """How an object ends whose kind this place doesn't have, or is too old for."""
        place = self.live.abilities
        reason = place.lacks.get(record.kind) or KINDS[record.kind].COVERAGE.refusal(place)
        return Written("", "unsupported", reason=reason) if reason else None

    def link(self, kind: str, item: tuple[str, str, Json]) -> list[Row]:
        """The second pass for one object: what it refers to is there by now."""
        source_id, destination_id, todo = item
        losses = KINDS[kind].link(self.live, destination_id, todo, self._lineage)
        return [
            Row(loss.kind, source_id, f"{kind} {source_id} {loss.name}", "unsupported", loss.reason, destination_id)
            for loss in losses
        ]


class BundleSink:
    """A bundle to write to."""

    def __init__(self, writer: BundleWriter, dry_run: bool) -> None:
        self.writer = writer
        self.address = writer.address
        self._dry_run = dry_run

    def put(self, record: Record) -> Written:
        return self.begin(record)()

    def begin(self, record: Record) -> Callable[[], Written]:
        """Fetch what an object has; the rest of its writing, which asks no server."""
        return self.writer.begin(record, self._dry_run, record.kind in SHARDED)


@dataclass(frozen=True)
class Tools:
    """What a job works with. `stop` is set by Ctrl-C."""

    ledger: Ledger
    report: Report
    progress: Progress
    stop: threading.Event
    workers: int = 8


def transfer(source: Source, sink: Sink, selection: Selection, tools: Tools) -> None:
    """Move every selected object, kind by kind, and then tie their links; each ends as a row in `tools.report`.

    Raises AccessError and StorageError, which concern everything, UsageError where two names would become one, and
    InterruptedJobError after Ctrl-C.
    """
    if isinstance(sink, LiveSink):
        sink.check_names(source, selection)
    for kind in filter(selection.takes, KINDS):
        error = _move(source.records(kind, selection), sink, kind, tools)
        if error is not None:
            _move_rest(source, sink, kind, (selection, error), tools)
    if isinstance(sink, LiveSink) and not tools.report.dry_run:
        _link(sink, tools)


def _move(records: Iterator[Record], sink: Sink, kind: str, tools: Tools) -> MigrationError | None:
    """Move what is listed; the error at which the listing broke, if it did."""
    listing = Listing(records, kind)
    for record, outcome in _moved(kind, listing, sink, tools):
        account(record, outcome, tools)
    check_stop(tools)
    return listing.error


def _moved(kind: str, records: Iterator[Record], sink: Sink, tools: Tools) -> Iterator[Outcome]:
    if isinstance(sink, LiveSink) and kind in TOGETHER:
        groups = iter(lambda: list(islice(records, GROUP)), [])
        for outcomes in parallel.each(groups, partial(_put_group, sink), tools.workers, tools.stop):
            yield from outcomes
    elif isinstance(sink, BundleSink) and kind in SHARDED:
        # They lie side by side in files: in the order of the listing, so that two exports are equal byte for byte.
        for record, begun in parallel.in_order(records, partial(_begin, sink), tools.workers, tools.stop):
            if isinstance(begun, MigrationError):
                yield record, begun
            else:
                yield record, guarded(begun, record.kind, record.id)
    else:
        yield from parallel.each(records, partial(_put, sink), tools.workers, tools.stop)


def _begin(sink: BundleSink, record: Record) -> tuple[Record, Callable[[], Written] | MigrationError]:
    return record, guarded(lambda: sink.begin(completed(record)), record.kind, record.id)


def _move_rest(source: Source, sink: Sink, kind: str, broken: tuple[Selection, MigrationError], tools: Tools) -> None:
    """Go on after a listing broke: experiment by experiment, so that one that can't be listed costs no other."""
    selection, error = broken
    if kind == experiment.NAME:
        raise error
    # What is asked for by ids would be missed in all experiments but its own.
    named = selection.run_ids or selection.logged_models or selection.traces or selection.datasets
    if kind not in BY_EXPERIMENT or named or not isinstance(source, LiveSource):
        tools.report.add(Row(kind, "*", "those that can't be listed", "failed", str(error)))
        return
    for one in experiment.readable(source.live, selection):
        found = source.records(kind, replace(selection, experiments=(one.id,)))
        left = (record for record in found if not tools.ledger.has_ended(kind, record.id))
        error_here = _move(left, sink, kind, tools)
        if error_here is not None:
            tools.report.add(Row(kind, "*", f"those of experiment {one.name!r}", "failed", str(error_here)))
    if experiment.NAME not in KINDS[kind].PARENTS and not selection.experiments:
        tools.report.add(Row(kind, "*", "those of no experiment", "failed", str(error)))


def _put(sink: Sink, record: Record) -> Outcome:
    return record, guarded(lambda: sink.put(completed(record)), record.kind, record.id)


def _put_group(sink: LiveSink, records: list[Record]) -> list[Outcome]:
    """How each ended. Where their common part fails, one by one: what is wrong with one costs only that one."""
    first = records[0]
    begun = guarded(
        lambda: sink.begin([completed(each) for each in records]),
        first.kind,
        f"{first.id} and {len(records) - 1} more, together",
    )
    if isinstance(begun, MigrationError):
        return [_put(sink, record) for record in records]
    return [(record, guarded(rest, record.kind, record.id)) for record, rest in zip(records, begun, strict=True)]


def account(record: Record, outcome: Written | MigrationError, tools: Tools) -> None:
    """Tell the report, the ledger and the progress how an object ended."""
    if isinstance(outcome, MigrationError):
        state = "skipped" if isinstance(outcome, LeftOutError) else "failed"
        tools.report.add(Row(record.kind, record.id, record.name, state, str(outcome)))
        tools.ledger.ended(record.kind, record.id, {"state": state, "error": str(outcome)})
        tools.progress.advance(record.kind)
        return
    row = Row(record.kind, record.id, record.name, outcome.state, outcome.reason, outcome.id)
    tools.report.add(row, outcome.bytes)
    for loss in outcome.losses:
        state = "unsupported" if loss.wanted else "skipped"
        name = f"{record.kind} {record.id} {loss.name}"
        tools.report.add(Row(loss.kind, record.id, name, state, loss.reason, outcome.id))
    ended: Json = {"state": outcome.state}
    if not tools.report.dry_run:
        ended.update({"id": outcome.id, "digest": outcome.digest, "link": outcome.link})
    tools.ledger.ended(record.kind, record.id, ended)
    tools.progress.advance(record.kind, outcome.bytes)


def _link(sink: LiveSink, tools: Tools) -> None:
    # Runs before experiments: an experiment that is deleted at the source is deleted when nothing more goes into it.
    for kind in reversed(list(KINDS)):
        for rows in parallel.each(tools.ledger.links(kind), partial(_tie, sink, kind), tools.workers, tools.stop):
            for row in rows:
                tools.report.add(row)
        check_stop(tools)


def _tie(sink: LiveSink, kind: str, item: tuple[str, str, Json]) -> list[Row]:
    outcome = guarded(lambda: sink.link(kind, item), kind, item[0])
    if isinstance(outcome, MigrationError):
        return [Row("link", item[0], f"{kind} {item[0]}", "failed", str(outcome), item[1])]
    return outcome


def check_stop(tools: Tools) -> None:
    """Raise InterruptedJobError after Ctrl-C."""
    refuse_after(tools.stop)


def refuse_after(stop: threading.Event) -> None:
    """Raise InterruptedJobError where `stop` is set."""
    if stop.is_set():
        raise InterruptedJobError(
            "interrupted", "what was begun has been ended", "type the same command again: it goes on where it stopped"
        )


def row_of(broken: Broken) -> Row:
    """A row for what a place can't give."""
    return Row(broken.kind, broken.id, broken.name, broken.state, broken.reason)


def counts(report: Report) -> Json:
    """How many objects of each kind ended how, as a bundle keeps it."""
    return dict(sorted(report.kinds.items()))


def failures(report: Report) -> list[Json]:
    """The rows of a report as a bundle keeps them: what was asked for and is not there."""
    return [
        {"kind": row.kind, "id": row.id, "name": row.name, "state": row.state, "reason": row.reason}
        for row in report.rows
    ]


def bundle_folder(path: Path) -> Bundle | LegacyBundle:
    """A bundle to read, or a folder of mlflow-export-import.

    Raises BundleError where the folder isn't a whole one, UsageError where it is a file store.
    """
    if file_store.is_file_store(str(path)):
        hint = f"copy from it: mlflow-migration copy-all --src-mlflow-uri {shlex.quote(str(path))} --dst-mlflow-uri …"
        raise UsageError(f"a file store is no bundle: {path}", hint=hint)
    return LegacyBundle(path) if is_legacy(path) else Bundle(path, tuple(KINDS))
