"""Exporting a server or database to a bundle: what every export does, on this machine or on a Spark executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlflow_migration import leftovers
from mlflow_migration.bundle.writer import BundleWriter
from mlflow_migration.calls import Readable
from mlflow_migration.errors import MigrationError
from mlflow_migration.objects.needed import with_needed
from mlflow_migration.pipeline import BundleSink, LiveSource, Tools, counts, failures, transfer
from mlflow_migration.places import Selection
from mlflow_migration.records import Json
from mlflow_migration.report import Report, Row


@dataclass(frozen=True)
class Export:
    """What is asked for, by which command; with `checksum` artifacts that are there already are compared by bytes."""

    command: str
    selection: Selection
    checksum: bool = False


def begin(asked: Export, live: Readable, folder: Path) -> Callable[[Tools], None]:
    """Look at both ends; the work that is then to be done, place → bundle, each object a row in `tools.report`.

    A rehearsal, as the report says, writes nothing. Raises UsageError where the folder holds something else, and
    NotFoundError for a name that isn't there; the work raises what `transfer` and `BundleWriter` raise.
    """
    selection = with_needed(live, asked.selection)
    kept = replace(asked.selection, kinds=selection.kinds)
    writer = BundleWriter(folder, live.address, options_of(kept), asked.checksum)

    def work(tools: Tools) -> None:
        report = tools.report
        try:
            tell_hidden(live, asked.selection, report)
            leftovers.tell_broken(live, asked.selection, report)
            read = leftovers.of_server(live, asked.command, selection, report)
            transfer(LiveSource(live), BundleSink(writer, report.dry_run), read, tools)
        except MigrationError:
            writer.discard_empty()
            raise
        if not report.dry_run:
            writer.finish({"counts": counts(report)}, failures(report))

    return work


def options_of(selection: Selection) -> Json:
    """What a bundle keeps of what it was asked to hold."""
    return {key: value for key, value in asdict(selection).items() if value}


def tell_hidden(live: Readable, selection: Selection, report: Report) -> None:
    """A row where the server lists only what these credentials may read: what stays behind is said, not hidden."""
    if selection.takes("experiment") and not selection.experiments and live.rights.are_limited():
        reason = "the server lists only what these credentials may read: an administrator's show whether there is more"
        report.add(Row("experiment", "*", "those hidden from these credentials", "skipped", reason))
