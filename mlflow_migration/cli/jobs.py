"""Running one moving job: open both ends, move, finish, and show the report."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import click

from mlflow_migration import exporting, into_database, leftovers, table_copy
from mlflow_migration.bundle import merge as merging
from mlflow_migration.bundle.manifest import read_manifest
from mlflow_migration.bundle.writer import BundleWriter, storage
from mlflow_migration.calls import Readable
from mlflow_migration.cli import answer, logs
from mlflow_migration.cli.command import say_error
from mlflow_migration.cli.options import Common, mapped, replaced
from mlflow_migration.database import file_store
from mlflow_migration.database.connect import Connected
from mlflow_migration.engine import naming, principals
from mlflow_migration.engine.ledger import Ledger, rehearsal, state_dir
from mlflow_migration.engine.lineage import Lineage
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import INTERRUPTED, InterruptedJobError, MigrationError, UsageError
from mlflow_migration.exporting import Export, options_of, tell_hidden
from mlflow_migration.objects import access_list
from mlflow_migration.objects.needed import with_needed
from mlflow_migration.pipeline import (
    BundleSink,
    BundleSource,
    LiveSink,
    LiveSource,
    Tools,
    bundle_folder,
    counts,
    failures,
    transfer,
)
from mlflow_migration.places import SAME_NAMES, Adding, Names, Selection, Source, Writing
from mlflow_migration.records import Json
from mlflow_migration.report import Report, check_report_path, write_report
from mlflow_migration.server.live import Server

Places = Mapping[str, Readable | Connected]
"""The open ends of a job, by role."""
FIRST_LINES = 5
LONGEST_OPTIONS = 20
ALWAYS = 3
"""Columns of the summary that are always shown: kind, asked, done."""


@dataclass(frozen=True)
class Job:
    """One move, and how it is written at a server."""

    command: str
    selection: Selection
    names: Names = SAME_NAMES
    lineage: bool = False
    source_user: bool = True
    on_conflict: str = ""
    replace: frozenset[str] = frozenset()
    adding: Adding | None = None
    stages_to_aliases: Mapping[str, str] = field(default_factory=dict)
    aliases_to_stages: Mapping[str, str] = field(default_factory=dict)
    principals: Mapping[str, str] = field(default_factory=dict)
    notebook_dir: str = ""


def job_of(command: str, selection: Selection, names: Names, given: dict[str, Any]) -> Job:
    """A move that writes at a server, as a command's options ask for it."""
    how = (given["import_source_tags"], given["use_src_user_id"], given["on_conflict"] or "", replaced(given))
    people = principals.mapping(given.get("principals"))
    return Job(command, selection, names, *how, None, *mapped(given), people, given.get("dst_notebook_dir", ""))


def export(job: Job, common: Common, live: Readable, output_dir: str) -> int:
    """Server, database or file store → bundle; the exit code."""
    folder = Path(checked_folder(output_dir))
    if job.selection.filter:
        live.check_filter(job.selection.filter)
    report = _report(job, common, live.address, str(folder))
    report.next_command = f"mlflow-migration verify {shlex.quote(_typed(live))} {shlex.quote(str(folder))}"
    report.next_command += _with_users(job.selection) + _roots(common.artifact_root, None)
    asked = Export(job.command, job.selection, common.checksum)
    return _run(job, common, report, exporting.begin(asked, live, folder), {"source": live})


def import_(job: Job, common: Common, input_dir: str, live: Server | Connected) -> int:
    """Bundle → server or database; the exit code."""
    _check_notebook_dir(job.notebook_dir)
    bundle = bundle_folder(Path(input_dir))
    report = _report(job, common, input_dir, live.address)
    if job.adding is None:
        places = f"{shlex.quote(input_dir)} {shlex.quote(_typed(live))}"
        report.next_command = f"mlflow-migration verify {places}{_with_users(job.selection)}{_how(job)}"
        report.next_command += _roots(None, common.artifact_root)

    def work(tools: Tools) -> None:
        source = BundleSource(bundle)
        check_principals(job, _keeps_lists(live) or bool(source.counts.get(access_list.NAME)))
        leftovers.of_bundle(source, job.command, job.selection, report)
        if job.selection.filter:
            raise UsageError("a bundle can't be searched", hint="leave --filter out, or give it at the export")
        _write(source, live, (job, common), job.selection, (bundle.origin, tools))
        for row in source.lost(job.selection):
            report.add(row)

    return _run(job, common, report, work, {"destination": live})


def _check_notebook_dir(folder: str) -> None:
    """Raise UsageError where notebooks of runs can't go into such a folder."""
    if folder and not folder.startswith("/"):
        raise UsageError(f"not a folder of a workspace: {folder!r}", hint="write it like /Users/me@example.com/runs")


def check_principals(job: Job, keep_lists: bool) -> None:
    """Raise UsageError where principals are mapped that neither end names: `keep_lists` tells whether one of them keeps
    permissions with each experiment and model, as Databricks does."""
    if job.principals and not keep_lists:
        raise UsageError(
            "--principals is for Databricks, and neither end is a workspace or holds what one keeps of permissions",
            "servers with users know each by its one name",
            "leave --principals out",
        )


def _keeps_lists(place: Readable | Connected) -> bool:
    return not isinstance(place, Connected) and place.access_lists is not None


def copy(job: Job, common: Common, source: Readable, destination: Server | Connected) -> int:
    """Server or database → server or database, nothing staged on disk; the exit code."""
    if job.selection.filter:
        source.check_filter(job.selection.filter)
    check_principals(job, _keeps_lists(source) or _keeps_lists(destination))
    report = _report(job, common, source.address, destination.address)
    places = f"{shlex.quote(_typed(source))} {shlex.quote(_typed(destination))}"
    if job.adding is None and job.selection.shard is None:
        report.next_command = f"mlflow-migration verify {places}{_what(job.selection)}{_how(job)}"
        report.next_command += _roots(common.src_artifact_root, common.dst_artifact_root)

    def work(tools: Tools) -> None:
        reading = LiveSource(source)
        tell_hidden(source, job.selection, report)
        leftovers.tell_broken(source, job.selection, report)
        asked = leftovers.of_server(source, job.command, with_needed(source, job.selection), report)
        _write(reading, destination, (job, common), asked, (source.address, tools))

    return _run(job, common, report, work, {"source": source, "destination": destination})


def applies_to_tables(job: Job) -> bool:
    """Whether a job between databases asks for whole objects as they are."""
    return table_copy.applies(job.selection, _writing(job, "", False, False))


def copy_tables(job: Job, common: Common, ends: table_copy.Ends) -> int:
    """Database → database, row by row as they are; the exit code."""
    source, destination = ends.source, ends.destination
    report = _report(job, common, source.address, destination.address)
    places = f"{shlex.quote(source.address)} {shlex.quote(destination.address)}"
    report.next_command = f"mlflow-migration verify {places}{_what(job.selection)}{_how(job)}"
    report.next_command += _roots(common.src_artifact_root, common.dst_artifact_root)

    def work(tools: Tools) -> None:
        table_copy.copy(ends, job.selection, job.on_conflict, tools)

    return _run(job, common, report, work, {"source": source, "destination": destination})


def remake(job: Job, common: Common, folders: tuple[Path, Path], change: Callable[[Source], Source]) -> int:
    """Bundle → another bundle, as `change` shows the first one; the exit code. What is begun and not ended is removed.

    Raises UsageError where the second folder isn't new or empty, or one of them lies in the other.
    """
    source, target = folders
    bundle = bundle_folder(source)
    _check_new(target, [source])
    made = not target.exists()
    report = _report(job, common, str(source), str(target))
    report.next_command = f"mlflow-migration verify {shlex.quote(str(target))}"

    def work(tools: Tools) -> None:
        proven = BundleSource(bundle)
        changed = change(proven)
        writer = BundleWriter(target, bundle.origin, options_of(_narrowed(bundle.asked_for(), job.selection)))
        whole = False
        try:
            transfer(changed, BundleSink(writer, common.dry_run), job.selection, tools)
            if not common.dry_run:
                writer.finish({"counts": counts(report)}, [*failures(report), *bundle.failures()])
            whole = True
        finally:
            if not whole and not common.dry_run:
                _remove(target, made)

    return _run(job, common, report, work, {})


def merge(folders: list[Path], target: Path) -> dict[str, Any]:
    """Shards → one bundle; what its manifest then says. What is begun and not ended is removed.

    Raises UsageError where the folder isn't new or empty, or the shards don't belong together, and BundleError where
    one of them isn't whole.
    """
    _check_new(target, folders)
    parts = merging.parts_of(folders)
    made, whole = not target.exists(), False
    try:
        with storage(target):
            merging.merge(parts, target)
        whole = True
    finally:
        if not whole:
            _remove(target, made)
    found: dict[str, Any] = read_manifest(target)["info"]
    return found


def _check_new(target: Path, sources: list[Path]) -> None:
    for source in sources:
        inside = {source.resolve(), target.resolve()} & {*source.resolve().parents, *target.resolve().parents}
        if inside or source.resolve() == target.resolve():
            raise UsageError(f"one of the two folders lies in the other: {source}, {target}", hint="give a new folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"the folder is not empty: {target}", hint="give a new or empty folder")


def _narrowed(asked: Selection, chosen: Selection) -> Selection:
    """What a part of a bundle holds of what the whole was asked for."""
    return replace(asked, kinds=tuple(kind for kind in asked.kinds if chosen.takes(kind)))


def _remove(folder: Path, made: bool) -> None:
    """Take away what was begun; a folder that was there before stays, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    if not made:
        folder.mkdir(exist_ok=True)


def _typed(place: Readable | Connected) -> str:
    """The address by which a command finds a place again: a workspace is reported by its host, and opened by its
    profile; an app by its URL, and opened by its name."""
    return place.rest.typed if isinstance(place, Server) else place.address


def _what(selection: Selection) -> str:
    """The option that has `verify` look at what was copied and nothing else."""
    if not selection.kinds:
        return _with_users(selection)
    name, chosen = "experiments", selection.experiments
    if selection.takes("model_version"):
        name, chosen = "models", selection.models
    elif selection.takes("prompt"):
        name, chosen = "prompts", selection.prompts
    plain = chosen and not any("," in each for each in chosen)
    return f" --{name} {shlex.quote(','.join(chosen)) if plain else 'all'}{_with_users(selection)}"


def _how(job: Job) -> str:
    """The options that have `verify` look for things under the names they were given."""
    words = {kind: word for word, kind in naming.KINDS.items()}
    options = []
    for (kind, old), new in sorted(job.names.new.items()):
        options += ["--rename", f"{words[kind]}:{old}={new}" if kind in words else f"{old}={new}"]
    if len(options) > LONGEST_OPTIONS:
        return " (with the same --rename, --prefix and --on-conflict)"
    options += ["--prefix", job.names.prefix] if job.names.prefix else []
    options += ["--on-conflict", job.on_conflict] if job.on_conflict else []
    mapped = " (with the same --principals)" if job.principals else ""
    return "".join(f" {shlex.quote(option)}" for option in options) + mapped


def _roots(source: str | None, destination: str | None) -> str:
    """The options that tell `verify` where the artifacts of databases lie."""
    given = (("--src-artifact-root", source), ("--dst-artifact-root", destination))
    return "".join(f" {option} {shlex.quote(root)}" for option, root in given if root)


def _with_users(selection: Selection) -> str:
    return " --permissions" if selection.permissions else ""


def _write(
    source: Source, place: Server | Connected, how: tuple[Job, Common], asked: Selection, made: tuple[str, Tools]
) -> None:
    """Move what is asked for to a server or a database; `made` is where the source's objects come from, and the
    tools of the job."""
    job, common = how
    origin, tools = made
    if isinstance(place, Server):
        sink = _live_sink(place, tools, job, origin, common.checksum)
        if isinstance(source, LiveSource):
            sink.know_metastore(source.live.abilities.registry.metastore)
        transfer(source, sink, asked, tools)
        return
    writing = _writing(job, origin, common.dry_run, common.checksum)
    root = common.artifact_root if common.artifact_root is not None else common.dst_artifact_root
    into_database.fill(source, into_database.sink(place, writing, root, asked.files), writing, asked, tools)


def _live_sink(live: Server, tools: Tools, job: Job, origin: str, checksum: bool) -> LiveSink:
    dry_run = tools.report.dry_run
    return LiveSink(live, Lineage(live, tools.ledger, dry_run), _writing(job, origin, dry_run, checksum))


def _writing(job: Job, origin: str, dry_run: bool, checksum: bool) -> Writing:
    return Writing(
        origin,
        job.names,
        job.lineage,
        job.source_user,
        dry_run,
        checksum,
        job.on_conflict,
        job.replace,
        job.adding,
        job.stages_to_aliases,
        job.aliases_to_stages,
        job.principals,
        job.notebook_dir,
    )


def _report(job: Job, common: Common, source: str, destination: str) -> Report:
    return Report(job.command, source, destination, common.dry_run, frozenset(common.allow_loss))


def checked_folder(output_dir: str) -> str:
    """The output folder as it was given. Raises UsageError where its name is empty, or it is a file store."""
    if not output_dir.strip():
        raise UsageError("the output folder's name is empty", hint="give a new or empty folder")
    if file_store.is_file_store(output_dir):
        raise file_store.refuse(output_dir)
    return output_dir


def _run(job: Job, common: Common, report: Report, work: Callable[[Tools], None], places: Places) -> int:
    check_report_path(common.report)
    stop = threading.Event()
    gc.freeze()  # What the imports made stays: collecting garbage need not look through it again and again.
    with _ledger(job, common, report) as ledger, signals(stop), Progress(common.quiet or common.as_json) as progress:
        report.ledger = str(ledger.path)
        tools = Tools(ledger, report, progress, stop, common.workers)
        try:
            work(tools)
        except MigrationError as error:
            report.error = error
        except KeyboardInterrupt:
            report.error = InterruptedJobError("interrupted", hint="type the same command again: it goes on")
        finally:
            report.end({role: place.rest.requests for role, place in places.items() if isinstance(place, Server)})
            for place in places.values():
                place.close()
    show(report, common)
    return report.exit_code


@contextmanager
def _ledger(job: Job, common: Common, report: Report) -> Iterator[Ledger]:
    what = {"source": report.source, "destination": report.destination, "selection": asdict(job.selection)}
    what["names"] = job.names.as_json()
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch:
        # A rehearsal leaves no trace, not even in the ledger.
        folder = state_dir(common.state_dir)
        ledger = rehearsal(folder, Path(scratch), what) if common.dry_run else Ledger(folder, what)
        try:
            yield ledger
        finally:
            ledger.close()


@contextmanager
def signals(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C lets running objects end, the second leaves at once."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            file_store.remove_all()
            os._exit(INTERRUPTED)
        stop.set()
        sys.stderr.write("\nstopping: what runs is ended first; Ctrl-C again leaves at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def show(report: Report, common: Common, told: Json | None = None) -> None:
    """The report on stderr, as JSON on stdout where asked for, and in its file; `told` is its document where that says
    more than the report's own."""
    document = report.as_json() if told is None else told
    lines = list(report.lines())
    if common.report:
        write_report(
            common.report, document, f"{report.command}: {report.source} → {report.destination}", report.table(), lines
        )
    answer.give(document, common.as_json)
    if report.kinds and (report.exit_code or not common.quiet):
        _summary(report)
        for line in lines if common.verbose else lines[:FIRST_LINES]:
            click.echo(line, err=True)
        if len(lines) > FIRST_LINES and not common.verbose:
            click.echo(f"… and {len(lines) - FIRST_LINES} more: -v shows them, --report FILE keeps them", err=True)
        if report.exit_code == 0 and not report.dry_run and report.next_command:
            click.echo(f"next: {report.next_command}", err=True)
    if report.error is not None:
        say_error(report.error)


def print_table(summary: tuple[list[str], list[list[str]]], all_columns: bool = False) -> None:
    """A summary on stderr."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    head, body = summary
    # A column of zeros tells nothing, but for the one a person looks for.
    shown = [
        n
        for n, name in enumerate(head)
        if all_columns or n < ALWAYS or name == "failed" or any(row[n] != "0" for row in body)
    ]
    table = Table(box=box.SIMPLE_HEAD)
    for number in shown:
        table.add_column(head[number], justify="right" if number else "left", no_wrap=True)
    for row in body:
        table.add_row(*(row[number] for number in shown))
    Console(stderr=True, highlight=False).print(table)


def _summary(report: Report) -> None:
    click.echo(f"{report.command}: {report.source} → {report.destination}", err=True)
    print_table(report.table())
    total = sum(counts["bytes"] for counts in report.kinds.values())
    objects = sum(counts["asked"] for counts in report.kinds.values())
    rate = objects / report.seconds if report.seconds else 0.0
    requests = " + ".join(f"{count:,}" for count in report.requests.values())
    # From bundle to bundle nobody is asked.
    asked = f", {requests} requests" if requests else ""
    click.echo(
        f"{objects:,} objects, {total / 1e6:,.1f} MB in {report.seconds:,.1f} s ({rate:,.1f}/s{asked})",
        err=True,
    )
    if report.exit_code and report.ledger and not report.dry_run:
        click.echo(f"ledger: {report.ledger}", err=True)


def configure(common: Common) -> None:
    """What every command does first."""
    logs.configure(common.verbose)


def existing(input_dir: str) -> Path:
    """The bundle's folder as a path. Raises UsageError where the name is empty."""
    if not input_dir.strip():
        raise UsageError("the input folder's name is empty", hint="give the folder of a bundle")
    return Path(input_dir)
