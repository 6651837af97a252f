"""`app seed`, `app restore`, `app snapshot`: an app's data in, back, and out."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlflow_migration.cli import answer, options, output
from mlflow_migration.cli.app_options import CONFIG, DRY, JSON, NAME, WORKSPACE, file_of
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.later import data as app_data
from mlflow_migration.cli.later import jobs, module, opening
from mlflow_migration.cli.later import progress as shown
from mlflow_migration.cli.later import restore as app_restore
from mlflow_migration.cli.later import seed as app_seed
from mlflow_migration.cli.later import snapshot as app_snapshot
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, INCOMPLETE, UsageError
from mlflow_migration.records import Json
from mlflow_migration.report import check_report_path

if TYPE_CHECKING:
    from mlflow_migration.apps import config as settings
else:
    settings = module("mlflow_migration.apps.config")

F = TypeVar("F", bound=Callable[..., Any])
WORKERS = 8


def _stack(function: F) -> F:
    for option in reversed(
        (
            CONFIG,
            NAME,
            click.option(
                "--volume",
                metavar="PLACE",
                help="Where the app's snapshots are, where no configuration says it: /Volumes/CATALOG/SCHEMA/VOLUME or "
                "a folder.",
            ),
            click.option(
                "--artifacts",
                metavar="PLACE",
                help="Where its artifacts are, where no configuration says it [default: VOLUME/artifacts].",
            ),
            WORKSPACE,
            JSON,
            click.option("-q", "--quiet", is_flag=True, help="No progress and no summary unless something is wrong."),
            click.option("-v", "--verbose", count=True, help="Show what is done; -vv with every repeat and traceback."),
        )
    ):
        function = option(function)
    return function


ALLOW = click.option(
    "--allow-loss",
    multiple=True,
    type=click.Choice(options.LOSSES),
    metavar="KIND",
    help="Don't fail when things of this kind can't go. Repeatable.",
)
REPORT = click.option("--report", metavar="FILE", help="Also write the report to FILE: .json, .md or .html.")


@click.command("seed", cls=Command)
@click.option("--input-dir", required=True, metavar="DIR", help="The bundle.")
@click.option(
    "--replace", is_flag=True, help="sqlite: though the app has data. It stays, as a generation to go back to."
)
@click.option(
    "--rename",
    "renamed",
    multiple=True,
    metavar="FILE|OLD=NEW",
    help="lakebase, databricks: another name there, as import-all takes it. Repeatable.",
)
@click.option(
    "--prefix",
    metavar="TEXT",
    default="",
    help="lakebase, databricks: put TEXT before names, as import-all does; CATALOG.SCHEMA. is for models and prompts "
    "of databricks.",
)
@click.option(
    "--stages-to-aliases",
    "stages",
    metavar="STAGE=ALIAS,…",
    default="",
    help="databricks: the aliases that versions in a stage get there, as import-all takes it.",
)
@_stack
@DRY
@ALLOW
@REPORT
def seed(**given: Any) -> int:
    """Fill a new app with the content of a bundle, and compare the two.

    With backend sqlite the bundle becomes the first snapshot, ids and times kept, before the app starts. With lakebase
    it goes through the API of the app, which has to run, and with databricks into the workspace that the app shows: as
    import-all and verify do.

    \b
    Examples:
      app seed --input-dir backup
      app seed --input-dir backup --prefix main.ml.
      app seed --input-dir backup --volume /Volumes/main/mlflow/app --workspace databricks://PROD --dry-run
    """
    common = _common(given)
    check_report_path(common.report)
    folder = jobs.existing(given["input_dir"])
    config = _config(given)
    if config.backend != "sqlite":
        return _seed_live(config, folder, given, common)
    if given["renamed"] or given["prefix"] or given["stages"]:
        raise UsageError(
            "a database keeps the names and stages of the bundle",
            "backend sqlite",
            "rewrite-export makes one with other names",
        )
    stop = threading.Event()
    asked = app_seed.Asked(folder, given["replace"], common.dry_run, frozenset(common.allow_loss))
    with jobs.signals(stop), shown.Progress(common.quiet or common.as_json) as progress:
        done = app_seed.seed(_opened(config, given, common), asked, app_seed.Working(progress, stop, WORKERS))
    if done.generation:
        done.report.next_command = "mlflow-migration app start, or app deploy"
    jobs.show(done.report, common, done.as_json())
    if not common.as_json and done.verified is not None and (done.exit_code or not common.quiet):
        for line in list(done.verified.lines())[: None if common.verbose else jobs.FIRST_LINES]:
            click.echo(line, err=True)
        if done.generation:
            same = " (it was there already)" if done.generation == done.before else ""
            click.echo(f"generation {done.generation} counts now{same}", err=True)
    return int(done.exit_code)


@click.command("restore", cls=Command)
@click.option("--generation", metavar="NAME", help="The generation to go back to, or `previous`.")
@click.option("--list", "as_list", is_flag=True, help="Show which generations there are; nothing is changed.")
@click.option("--check", is_flag=True, help="With --list: fetch each, and look at its digest and integrity.")
@_stack
@DRY
def restore(**given: Any) -> int:
    """Go back to an older snapshot of an app on SQLite. Stop the app before, and start it after.

    The snapshot is fetched and checked before it counts. All others stay, the one the app ended with among them.
    Artifacts are never changed by it.

    \b
    Examples:
      app restore --list --check
      app restore --generation previous
      app restore --generation 20261121T193000.123Z-1a2b3c4d
    """
    common = _common(given)
    config = _config(given)
    if not given["as_list"] and not given["generation"]:
        raise UsageError(
            "which generation?", hint="app restore --list shows them; --generation previous is the one before"
        )
    data = _opened(config, given, common)
    if given["as_list"]:
        return _listed(data, given["check"], common)
    done = app_restore.restore(data, given["generation"], common.dry_run)
    document = {"ok": True, "exit_code": DONE, "command": "app restore", **done.as_json(), "error": None}
    answer.give(document, common.as_json)
    if not common.as_json:
        says = "would count" if done.dry_run else "counts now" if done.changed else "counts already"
        click.echo(f"generation {done.generation} of {done.time} {says}; before: {done.before}", err=True)
    return DONE


@click.command("snapshot", cls=Command)
@click.option("--to", "to", required=True, metavar="DIR", help="The folder of the bundle.")
@click.option("--generation", metavar="NAME", default="", help="Of this generation [default: the one that counts].")
@click.option("--live", is_flag=True, help="Of the running app, through its API: what it holds at this moment.")
@_stack
@DRY
@ALLOW
@REPORT
def snapshot(**given: Any) -> int:
    """Make a bundle of what a deployed app holds, artifacts and all: a backup that any MLflow can be filled with.

    With backend sqlite it is made of a snapshot, and the app needn't run. With lakebase, and with --live, it comes
    through the app's API, and with databricks from the workspace that the app shows: as export-all does.

    \b
    Examples:
      app snapshot --to backup
      app snapshot --to backup --generation 20261121T193000.123Z-1a2b3c4d
      app snapshot --to backup --live
    """
    common = _common(given)
    check_report_path(common.report)
    folder = Path(jobs.checked_folder(given["to"]))
    if given["live"] and given["generation"]:
        raise UsageError("--live is of this moment, and --generation of another one", hint="give one of them")
    config = _config(given)
    if config.backend != "sqlite" or given["live"]:
        words = ["--output-dir", str(folder), "--tracking-uri", app_data.live_address(config, given["workspace"])]
        words += ["--experiments", f"{config.experiment_prefix}/*"] if config.experiment_prefix else []
        return _called("app snapshot", [("export-all", [*words, *_reported(common), *_same_words(common)])], common)
    stop = threading.Event()
    asked = app_snapshot.Asked(folder, given["generation"], common.dry_run, frozenset(common.allow_loss))
    with jobs.signals(stop), shown.Progress(common.quiet or common.as_json) as progress:
        done = app_snapshot.take(_opened(config, given, common), asked, app_seed.Working(progress, stop, WORKERS))
    done.report.next_command = f"mlflow-migration verify {shlex.quote(str(folder))}"
    jobs.show(done.report, common, done.as_json())
    return int(done.report.exit_code)


COMMANDS: tuple[click.Command, ...] = (seed, restore, snapshot)
"""What stands in `app`."""


def _common(given: dict[str, Any]) -> Common:
    names = ("as_json", "quiet", "verbose", "dry_run", "allow_loss", "report")
    common = Common(**{name: given.pop(name) for name in names if name in given}, workers=WORKERS)
    jobs.configure(common)
    return common


def _config(given: dict[str, Any]) -> settings.AppConfig:
    """The app's configuration: its file's, or what the options say. Raises UsageError where a key is given twice."""
    said = {key: given[key] for key in ("name", "volume", "artifacts") if given[key]}
    file = None if not given["path"] and "volume" in said else file_of(given["path"])
    if file is None:
        if "volume" not in said:
            hint = "--config names its configuration, --volume the place of its snapshots"
            raise UsageError("which app?", f"no {settings.FILE} in this folder", hint)
        return settings.parsed({"name": "mlflow", **said}, "the options")
    return settings.with_arguments(settings.raw(file), said, str(file))


def _opened(config: settings.AppConfig, given: dict[str, Any], common: Common) -> app_data.Data:
    uri = app_data.workspace(given["workspace"])
    return app_data.opened(app_data.where(config), lambda: opening.session(uri, "DST", common))


def _seed_live(config: settings.AppConfig, folder: Path, given: dict[str, Any], common: Common) -> int:
    """By REST: what is there already isn't made twice."""
    if given["replace"]:
        raise UsageError(
            "--replace is for backend sqlite", hint="leave it out: what is there is kept, and not made twice"
        )
    address = app_data.live_address(config, given["workspace"])
    same = [*_same_words(common), *(word for each in given["renamed"] for word in ("--rename", each))]
    same += ["--prefix", given["prefix"]] if given["prefix"] else []
    same += ["--dst-experiment-dir", config.experiment_prefix] if config.experiment_prefix else []
    stages = ["--stages-to-aliases", given["stages"]] if given["stages"] else []
    ends = ["--input-dir", str(folder), "--tracking-uri", address]
    steps = [("import-all", [*ends, *stages, *_reported(common), *same])]
    if not common.dry_run:
        steps.append(("verify", [str(folder), address, *same]))
    return _called("app seed", steps, common)


def _same_words(common: Common) -> list[str]:
    losses = [word for kind in common.allow_loss for word in ("--allow-loss", kind)]
    return [*losses, *["-v"] * common.verbose, *(["--dry-run"] if common.dry_run else [])]


def _reported(common: Common) -> list[str]:
    """The report of what is copied, in words for the command that copies."""
    return ["--report", common.report] if common.report else []


def _called(command: str, steps: list[tuple[str, list[str]]], common: Common) -> int:
    """Run commands one after the other, in this process; one document for all. A failed one is no reason to leave out
    the next, which tells what is missing."""
    documents: Json = {}
    code = DONE
    for name, words in steps:
        ended = answer.call(name, [*words, *(["--quiet"] if common.quiet or common.as_json else [])])
        documents[name] = ended.document
        code = max(code, ended.exit_code)
        if ended.exit_code not in (DONE, INCOMPLETE):
            break
    error = next((each["error"] for each in documents.values() if each.get("error")), None)
    document = {"ok": code == DONE, "exit_code": code, "command": command, "steps": documents, "error": error}
    answer.give(document, common.as_json)
    return code


def _listed(data: app_data.Data, check: bool, common: Common) -> int:
    found = app_restore.listed(data, check)
    broken = [each for each in found if each.problem]
    code = INCOMPLETE if broken else DONE
    document = {"ok": not broken, "exit_code": code, "command": "app restore", "place": data.address}
    rows = [vars(each) for each in found]
    answer.give({**document, "generations": rows, "error": None}, common.as_json)
    if not common.as_json:
        told = output.table(app_restore.HEAD, list(app_restore.lines(found)))
        click.echo(told if found else f"no snapshots in {data.address}")
    return code
