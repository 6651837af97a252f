"""Commands that look and change nothing: verify, diff, plan, id-map, doctor."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from mlflow_migration.cli import answer, options, permissions
from mlflow_migration.cli.command import Command, say_error
from mlflow_migration.cli.experiments import RENAME, RUN_IDS
from mlflow_migration.cli.later import (
    check_access,
    compare,
    config,
    copies,
    jobs,
    ledger,
    leftovers,
    needed,
    objects,
    opening,
    pipeline,
    principals,
)
from mlflow_migration.cli.later import id_map as ids
from mlflow_migration.cli.later import progress as shown
from mlflow_migration.cli.options import Common
from mlflow_migration.database.connect import printable
from mlflow_migration.engine import selection as choose
from mlflow_migration.errors import DONE, INCOMPLETE, AccessError, ForbiddenError, MigrationError, UsageError
from mlflow_migration.places import Selection, Writing
from mlflow_migration.records import Json
from mlflow_migration.report import check_report_path, write_report

LINES = 20
Give = Callable[[Callable[[Json], None]], None]
EXPERIMENTS = click.option(
    "--experiments",
    metavar="NAMES",
    help="Only these, with what belongs to them: names, ids or globs with commas, a .txt file, or all "
    "[default: everything; of a bundle, what its export was asked for].",
)
MODELS = click.option(
    "--models",
    metavar="NAMES",
    help="Only these registered models with their versions and what those were made of: names or globs, or all.",
)
PROMPTS = click.option("--prompts", metavar="NAMES", help="Only these prompts: names or globs, or all.")
ALLOW = click.option(
    "--allow-loss",
    multiple=True,
    type=click.Choice(options.LOSSES),
    metavar="KIND",
    help="Show, but don't count, differences of this kind (param, tag, metric, artifact, name, link, or all of these).",
)


@click.command("verify", cls=Command)
@click.argument("places", nargs=-1, required=True, metavar="PLACE [PLACE]")
@EXPERIMENTS
@MODELS
@PROMPTS
@RENAME
@options.naming
@RUN_IDS
@options.artifacts
@permissions.option("permissions")
@ALLOW
@options.artifact_roots
@options.common
def verify(**given: Any) -> int:
    """Prove a bundle whole, or that a place holds everything of another, equal value by value.

    Both places are read: whole metric histories, artifacts by checksum. What only the second place holds is listed and
    is no failure, unless it is there twice.

    \b
    Examples:
      verify backup
      verify http://old:5000 backup
      verify http://old:5000 http://new:5000
    """
    places = given.pop("places")
    if len(places) == 1:
        return _verify_bundle(places[0], given)
    return _compare("verify", places, given, strict=False)


@click.command("diff", cls=Command)
@click.argument("places", nargs=2, metavar="PLACE PLACE")
@EXPERIMENTS
@MODELS
@PROMPTS
@RENAME
@options.naming
@RUN_IDS
@options.artifacts
@permissions.option("permissions")
@ALLOW
@options.artifact_roots
@options.common
def diff(**given: Any) -> int:
    """Show every difference between two places, also what only the second one holds.

    \b
    Examples:
      diff http://dev:5000 http://prod:5000 --experiments churn
      diff backup-monday backup-tuesday --json
    """
    return _compare("diff", given.pop("places"), given, strict=True)


def _verify_bundle(place: str, given: dict[str, Any]) -> int:
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    uri, _ = config.load(common.config, os.environ).place(place, "SRC", os.environ)
    found = config.kind_of_place(uri)
    if found != "bundle":
        typed = printable(uri) if found == "database" else place
        raise UsageError(f"one {found} can't be verified alone", hint=f"verify {typed} OTHER-PLACE")
    begun = time.monotonic()
    bundle = pipeline.bundle_folder(jobs.existing(uri))
    source = pipeline.BundleSource(bundle)
    absent = list(bundle.failures())
    files = source.counts.pop("file")
    kinds = {kind: {"equal": count, "different": 0, "missing": 0, "extra": 0} for kind, count in source.counts.items()}
    document = {
        "ok": True,
        "exit_code": DONE,
        "command": "verify",
        "left": uri,
        "right": None,
        "seconds": round(time.monotonic() - begun, 3),
        "kinds": kinds,
        "files": files,
        "not_exported": absent,
        "differences": [],
        "error": None,
    }
    lines = [f"not in it since its export: {row['kind']} {row['name']}: {row['reason']}" for row in absent]
    if common.report:
        table = (["kind", "in the bundle"], [[kind, str(counts["equal"])] for kind, counts in kinds.items()])
        write_report(common.report, document, f"verify: {uri}", table, lines)
    answer.give(document, common.as_json)
    if not common.quiet:
        click.echo(f"{bundle.proof.format(files)}: {uri}", err=True)
        for line in lines[:LINES]:
            click.echo(line, err=True)
    return DONE


def _compare(command: str, places: tuple[str, ...], given: dict[str, Any], strict: bool) -> int:
    if len(places) != len(("left", "right")):
        raise UsageError(f"{command} takes two places at most", hint=f"{command} --help")
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    left, right = opening.source(places[0], "SRC", common), opening.source(places[1], "DST", common)
    selection = _selection(given, left, right)
    if isinstance(left, pipeline.LiveSource):
        leftovers.check_permissions(left.live, selection)
        selection = needed.with_needed(left.live, selection)
    origin = left.bundle.origin if isinstance(left, pipeline.BundleSource) else left.address
    names = options.names_of(given)
    names = pipeline.names_at(right.live, names) if isinstance(right, pipeline.LiveSource) else names
    people = principals.mapping(given["principals"])
    writing = Writing(origin, names, on_conflict=given["on_conflict"] or "", principals=people)
    ends = compare.Ends(left, right, selection, writing)
    result = compare.Comparison(command, left.address, right.address, strict, frozenset(common.allow_loss))
    begun = time.monotonic()
    with shown.Progress(common.quiet or common.as_json) as progress:
        try:
            for side in (left, right):
                for broken in side.broken(selection) if isinstance(side, pipeline.LiveSource) else ():
                    result.add_broken(broken)
            compare.compare(ends, result, progress, common.workers)
        except MigrationError as error:
            result.error = error
    result.seconds = time.monotonic() - begun
    _show(result, common)
    return result.exit_code


def _selection(given: dict[str, Any], *places: pipeline.LiveSource | pipeline.BundleSource) -> Selection:
    """What is compared: where nothing is said, what the bundles among the places were asked to hold."""
    chosen = {
        name: choose.names(given[name]) for name in ("experiments", "models", "prompts") if given[name] is not None
    }
    if len(chosen) > 1:
        raise UsageError(f"choose by one of: {', '.join(f'--{name}' for name in chosen)}")
    if "models" in chosen:
        return replace(options.selection_of(given, kinds=needed.OF_MODELS), models=chosen["models"], needed=True)
    if "prompts" in chosen:
        return replace(options.selection_of(given, kinds=objects.OF_PROMPTS), prompts=chosen["prompts"])
    if "experiments" in chosen:
        return options.selection_of(given, chosen["experiments"])
    asked = [place.bundle.asked_for() for place in places if isinstance(place, pipeline.BundleSource)]
    kinds = [kind for kind in objects.KINDS if all(kind in one.kinds for one in asked)]
    found = options.selection_of(given, kinds=tuple(kinds) if asked else ())
    if len(asked) == 1 and isinstance(places[0], pipeline.LiveSource):
        # Of a server what the bundle was asked to hold; a bundle is compared as a whole.
        files = found.files if found.files != "copy" else asked[0].files
        run_ids, most = found.run_ids or asked[0].run_ids, found.max_file or asked[0].max_file
        whole = replace(asked[0], permissions=found.permissions or asked[0].permissions)
        return replace(whole, kinds=found.kinds, run_ids=run_ids, files=files, max_file=most)
    return found


def _show(result: compare.Comparison, common: Common) -> None:
    document, lines = result.as_json(), list(result.lines())
    if common.report:
        write_report(
            common.report, document, f"{result.command}: {result.left} | {result.right}", result.table(), lines
        )
    answer.give(document, common.as_json)
    if result.kinds and (result.exit_code or not common.quiet):
        click.echo(f"{result.command}: {result.left} | {result.right}", err=True)
        jobs.print_table(result.table(), all_columns=True)
        for line in lines if common.verbose else lines[:LINES]:
            click.echo(line, err=True)
        if len(lines) > LINES and not common.verbose:
            click.echo(f"… and {len(lines) - LINES} more: -v shows them, --report FILE keeps them", err=True)
        if result.exit_code == DONE:
            click.echo(
                f"equal, in {result.seconds:,.1f} s" if not lines else "everything of the first is there", err=True
            )
    if result.error is not None:
        say_error(result.error)


@click.command("plan", cls=Command)
@click.argument("places", nargs=2, metavar="PLACE PLACE")
@EXPERIMENTS
@MODELS
@PROMPTS
@RENAME
@options.naming
@RUN_IDS
@options.run_choice
@options.artifacts
@permissions.option("permissions")
@options.moving
@options.artifact_roots
@options.common
def plan(**given: Any) -> int:
    """Show what would move from the first place to the second, how much, and what the second can't hold.

    \b
    Examples:
      plan http://old:5000 http://new:5000
      plan http://old:5000 backup --experiments 'fraud-*'
    """
    places = given.pop("places")
    common = replace(Common.take(given), dry_run=True)
    jobs.configure(common)
    job = jobs.Job("plan", _selection(given), options.names_of(given), on_conflict=given["on_conflict"] or "")
    job = replace(job, principals=principals.mapping(given["principals"]))
    settings = config.load(common.config, os.environ)
    ends = [settings.place(text, role, os.environ)[0] for text, role in zip(places, config.ROLES, strict=True)]
    kinds = [config.kind_of_place(end) for end in ends]
    if kinds == ["bundle", "bundle"]:
        raise UsageError("nothing moves from bundle to bundle", hint="use filter-export or rewrite-export")
    if kinds[1] == "bundle":
        return jobs.export(job, common, opening.readable(places[0], "SRC", common), ends[1])
    if kinds == ["bundle", "server"]:
        return jobs.import_(job, common, ends[0], opening.destination(places[1], common))
    return copies.between(job, common, (places[0], places[1]))


@click.command("id-map", cls=Command)
@click.argument("place")
@click.option("--output-file", metavar="FILE", help="Write to FILE instead of stdout.")
@options.state_dir
@options.common
def id_map(**given: Any) -> int:
    """List which object of a destination came from which at its source, as CSV (or JSON with --json).

    Objects carry where they came from in tags. Issues, scorers, label schemas, review queues, webhooks and the
    gateway's models, budgets and guardrails have none: those are known by the ledgers of the jobs that brought them,
    on the machine that ran them.

    \b
    Examples:
      id-map http://new:5000 > ids.csv
      id-map http://new:5000 --json --output-file ids.json
    """
    common = Common.take(given)
    jobs.configure(common)
    live = opening.readable(given["place"], "DST", common)
    target = given["output_file"]
    write = _json_rows if common.as_json else _csv_rows
    known = ledger.noted(ledger.state_dir(common.state_dir), live.address)
    try:
        if target:
            with Path(target).open("w", encoding="utf-8", newline="") as out:
                write(partial(ids.id_map, live, known), out)
        else:
            write(partial(ids.id_map, live, known), sys.stdout)
    except OSError as error:
        raise UsageError(f"can't write {target or 'stdout'}", error.strerror or str(error)) from error
    finally:
        live.close()
    return DONE


def _csv_rows(give: Give, out: Any) -> None:
    writer = csv.DictWriter(out, ["kind", "source", "source_id", "destination_id", "name"], lineterminator="\n")
    writer.writeheader()
    give(writer.writerow)


def _json_rows(give: Give, out: Any) -> None:
    """One JSON array, a row a line, so that a long list needs no memory."""
    first = True

    def write(row: Json) -> None:
        nonlocal first
        out.write(("[\n" if first else ",\n") + json.dumps(row, ensure_ascii=False))
        first = False

    give(write)
    out.write("[]\n" if first else "\n]\n")


@click.command("doctor", cls=Command)
@click.argument("places", nargs=-1, metavar="[PLACE [PLACE]]")
@click.option(
    "--schema",
    metavar="CATALOG.SCHEMA",
    default="",
    help="Where a place is databricks-uc: whether who asks has the privileges to read models of this schema, and at "
    "the second place (or where there is only one) to write them; exit code 1 where one is missing. check-access tells "
    "more.",
)
@options.common
def doctor(**given: Any) -> int:
    """Check versions, and of each place whether it can be reached, read and written. Changes nothing.

    \b
    Examples:
      doctor
      doctor http://old:5000 http://new:5000
      doctor @dev backup
      doctor databricks-uc://DEV databricks-uc://PROD --schema prod.ml
      doctor databricks-app://mlflow
    """
    places = given.pop("places") or tuple(filter(None, [opening.default()]))
    from importlib import metadata

    schema = given.pop("schema")
    purposes = ("import",) if len(places) == 1 else ("export", "import")

    common = Common.take(given)
    jobs.configure(common)
    if len(places) > len(config.ROLES):
        raise UsageError("doctor looks at two places at most", hint="doctor --help")
    roles = zip(places, config.ROLES, purposes, strict=False)
    found = [_examined(place, role, common, (schema, purpose)) for place, role, purpose in roles]
    code = max((row["exit_code"] for row in found), default=DONE)
    packages = {name: metadata.version(name) for name in ("mlflow-migration", "mlflow-skinny", "requests", "click")}
    document = {
        "ok": code == DONE,
        "exit_code": code,
        "command": "doctor",
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": packages,
        "places": found,
        "error": next((row["error"] for row in found if row["error"]), None),
    }
    answer.give(document, common.as_json)
    if common.as_json:
        return code
    click.echo(f"python {document['python']}, " + ", ".join(f"{name} {text}" for name, text in packages.items()))
    for row in found:
        click.echo(f"{'ok  ' if row['exit_code'] == DONE else 'bad '} {row['place']}")
        for key, value in row.items():
            if key not in {"place", "exit_code", "error"} and value is not None:
                for line in value if isinstance(value, list) else [value]:
                    click.echo(f"     {key.replace('_', ' ')}: {line}")
        if row["error"]:
            click.echo(f"     {row['error']['message']}\n     try: {row['error']['hint']}")
    return code


def _examined(place: str, role: str, common: Common, rights: tuple[str, str]) -> Json:
    row: Json = {"place": place, "exit_code": DONE, "error": None}
    try:
        uri, _ = config.load(common.config, os.environ).place(place, role, os.environ)
        found = config.kind_of_place(uri)
        if found == "bundle":
            source = pipeline.BundleSource(pipeline.bundle_folder(jobs.existing(uri)))
            row.update({"kind": "bundle", "files": source.counts["file"], "made_from": source.bundle.origin})
            return row
        if found == "database":
            # What was typed may hold a password.
            row["place"] = printable(uri)
        live = opening.readable(place, role, replace(common, patience=min(common.patience, 10.0)))
        row.update({"place": live.address, "kind": found, "mlflow": live.abilities.version or "unknown"})
        row.update({"experiments": sum(1 for _ in live.search_experiments()), "may_read": True})
        if found == "file store":
            row["broken"] = len(live.broken)
        if (may_write := opening.may_write(live)) is not None:
            row["may_write"] = may_write
        if (rest := opening.session_of(live)) is not None and rest.dialect:
            row.update(check_access.of_caller(rest, *rights))
            row["exit_code"] = INCOMPLETE if row.get("missing") else DONE
        live.close()
    except (AccessError, ForbiddenError, MigrationError) as error:
        row["exit_code"] = error.exit_code or INCOMPLETE
        row["error"] = {"code": error.exit_code, "message": str(error), "hint": error.hint}
    return row
