"""The one loop: read records at a source, write them to a sink, and let every object end in one row of the report."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlflow_migration.bundle.legacy import LegacyBundle, is_legacy
from mlflow_migration.bundle.reader import Bundle
from mlflow_migration.bundle.writer import BundleWriter
from mlflow_migration.engine import parallel
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.engine.lineage import Lineage
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import AccessError, InterruptedJobError, MigrationError, StorageError
from mlflow_migration.objects import KINDS
from mlflow_migration.places import Live, Selection, Sink, Source, Writing
from mlflow_migration.records import Json, Record, Written
from mlflow_migration.report import Report, Row

Result = TypeVar("Result")
log = logging.getLogger(__name__)

NEEDS_ALL = (AccessError, StorageError)
"""Errors that concern the whole job: going on would only repeat them."""


class LiveSource:
    """A live place to read from."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.address = live.address

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        return KINDS[kind].read(self.live, selection)

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        return KINDS[kind].record(self.live, record_id, selection)


class BundleSource:
    """A proven bundle to read from, with the selection applied here since a folder can't search."""

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
            chosen.add(record.id)
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
        self._job = job

    def put(self, record: Record) -> Written:
        return KINDS[record.kind].write(self.live, record, self._lineage, self._job)

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
        return self.writer.put(record, self._dry_run)


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

    Raises AccessError and StorageError, which concern everything, and InterruptedJobError after Ctrl-C.
    """
    for kind in filter(selection.takes, KINDS):
        records = source.records(kind, selection)
        for record, outcome in parallel.each(records, partial(_put, sink), tools.workers, tools.stop):
            _account(record, outcome, tools)
        _check_stop(tools)
    if isinstance(sink, LiveSink) and not tools.report.dry_run:
        _link(sink, tools)


def _guarded(work: Callable[[], Result], kind: str, id_: str) -> Result | MigrationError:
    """The work on one object. The only place where an error of whatever kind becomes a row of the report."""
    try:
        return work()
    except NEEDS_ALL:
        raise
    except MigrationError as error:
        log.info("%s %s failed: %s", kind, id_, error)
        return error
    except Exception as error:
        log.exception("%s %s failed", kind, id_)
        return MigrationError(f"{type(error).__name__}", str(error), "please report this with the log of -vv")


def _put(sink: Sink, record: Record) -> tuple[Record, Written | MigrationError]:
    return record, _guarded(lambda: sink.put(record), record.kind, record.id)


def _account(record: Record, outcome: Written | MigrationError, tools: Tools) -> None:
    if isinstance(outcome, MigrationError):
        row = Row(record.kind, record.id, record.name, "failed", str(outcome))
        tools.report.add(row)
        tools.ledger.ended(record.kind, record.id, {"state": "failed", "error": str(outcome)})
        tools.progress.advance(record.kind)
        return
    row = Row(record.kind, record.id, record.name, outcome.state, outcome.reason, outcome.id)
    tools.report.add(row, outcome.bytes)
    for loss in outcome.losses:
        state = "unsupported" if loss.wanted else "skipped"
        name = f"{record.kind} {record.id} {loss.name}"
        tools.report.add(Row(loss.kind, record.id, name, state, loss.reason, outcome.id))
    if not tools.report.dry_run:
        tools.ledger.ended(
            record.kind,
            record.id,
            {"id": outcome.id, "state": outcome.state, "digest": outcome.digest, "link": outcome.link},
        )
    tools.progress.advance(record.kind, outcome.bytes)


def _link(sink: LiveSink, tools: Tools) -> None:
    # Runs before experiments: an experiment that is deleted at the source is deleted when nothing more goes into it.
    for kind in reversed(list(KINDS)):
        for rows in parallel.each(tools.ledger.links(kind), partial(_tie, sink, kind), tools.workers, tools.stop):
            for row in rows:
                tools.report.add(row)
        _check_stop(tools)


def _tie(sink: LiveSink, kind: str, item: tuple[str, str, Json]) -> list[Row]:
    outcome = _guarded(lambda: sink.link(kind, item), kind, item[0])
    if isinstance(outcome, MigrationError):
        return [Row("link", item[0], f"{kind} {item[0]}", "failed", str(outcome), item[1])]
    return outcome


def _check_stop(tools: Tools) -> None:
    if tools.stop.is_set():
        raise InterruptedJobError(
            "interrupted", "what was begun has been ended", "type the same command again: it goes on where it stopped"
        )


def failures(report: Report) -> list[Json]:
    """The rows of a report as a bundle keeps them: what was asked for and is not there."""
    return [
        {"kind": row.kind, "id": row.id, "name": row.name, "state": row.state, "reason": row.reason}
        for row in report.rows
    ]


def bundle_folder(path: Path) -> Bundle | LegacyBundle:
    """A bundle to read, or a folder of mlflow-export-import. Raises BundleError where the folder isn't a whole one."""
    return LegacyBundle(path) if is_legacy(path) else Bundle(path, tuple(KINDS))
