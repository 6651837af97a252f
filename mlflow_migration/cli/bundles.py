"""Commands that make a bundle from a bundle: a part of it, or all of it with changes."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import click

from mlflow_migration.cli import answer, options
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.experiments import INPUT, RENAME
from mlflow_migration.cli.later import filtered, jobs, layout, naming, objects, rewritten
from mlflow_migration.cli.options import Common
from mlflow_migration.engine import selection as choose
from mlflow_migration.errors import DONE, UsageError
from mlflow_migration.places import Selection

NEW = click.option("--output-dir", required=True, metavar="DIR", help="The new bundle's folder: new or empty.")
NAMES = "names or globs with commas, a .txt file, or all"


@click.command("filter-export", cls=Command)
@INPUT
@NEW
@click.option("--experiments", metavar="NAMES", help="These experiments with all in them: ids too, " + NAMES + ".")
@click.option(
    "--models", metavar="NAMES", help="These registered models, with the runs their versions were made of: " + NAMES
)
@click.option("--prompts", metavar="NAMES", help="These prompts: " + NAMES + ".")
@click.option(
    "--kinds",
    metavar="KINDS",
    help="Only these kinds, and those they belong to, with commas; `kinds` lists them. Alone: everything of them.",
)
@options.remaking
@options.common
def filter_export(**given: Any) -> int:
    """Make a new bundle of chosen objects of a bundle, which stays as it is.

    What is named is taken, and what the versions of named models and prompts were made of, so that they can be
    imported: runs with their parents and logged models, and the heads of their experiments. Folders of
    mlflow-export-import are taken too. A command that fails leaves nothing behind.

    \b
    Examples:
      filter-export --input-dir backup --output-dir wine --models wine
      filter-export --input-dir backup --output-dir part --experiments 'fraud-*,churn' --prompts all
      filter-export --input-dir backup --output-dir runs --kinds run --experiments churn
    """
    common = Common.take(given)
    jobs.configure(common)
    kinds = _kinds(given["kinds"])
    experiments, models, prompts = (_names(given[name]) for name in ("experiments", "models", "prompts"))
    if experiments is models is prompts is None:
        if not kinds:
            raise UsageError("nothing is chosen", hint="give --experiments, --models, --prompts or --kinds")
        experiments = models = prompts = ()
    choice = filtered.Choice(experiments, models, prompts, kinds)
    job = jobs.Job("filter-export", Selection(kinds=filtered.kinds_of(choice), permissions=True))
    return jobs.remake(job, common, _folders(given), lambda source: filtered.Filtered(source, choice))


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else choose.names(text)


def _kinds(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [kind for kind in found if kind not in objects.KINDS]
    if unknown or not found:
        raise UsageError(f"no such kind: {', '.join(unknown) or text!r}", hint=f"one of {', '.join(objects.KINDS)}")
    return found


@click.command("rewrite-export", cls=Command)
@INPUT
@NEW
@RENAME
@click.option("--model-rename-file", metavar="FILE", help="The same for registered models and prompts.")
@click.option("--drop-tags", metavar="GLOBS", help="Leave out tags with such keys, of all objects: globs with commas.")
@click.option("--drop-params", metavar="GLOBS", help="Leave out params with such keys.")
@click.option(
    "--drop-artifacts", metavar="GLOBS", help="Leave out artifacts of such a name or path: globs with commas."
)
@options.remaking
@options.common
def rewrite_export(**given: Any) -> int:
    """Make a new bundle of a bundle, with other names or without some tags, params or artifacts; the first one stays.

    A model's new name is also put where its versions are named. The tags that make up a prompt always stay. Folders
    of mlflow-export-import are taken too. A command that fails leaves nothing behind.

    \b
    Examples:
      rewrite-export --input-dir backup --output-dir renamed --experiment-rename-file names.csv
      rewrite-export --input-dir backup --output-dir clean --drop-tags 'mlflow.user,team.*' --drop-artifacts '*.tmp'
    """
    common = Common.take(given)
    jobs.configure(common)
    changes = rewritten.Changes(
        naming.renames(given["experiment_rename_file"]),
        naming.renames(given["model_rename_file"]),
        _globs(given["drop_tags"]),
        _globs(given["drop_params"]),
        _globs(given["drop_artifacts"]),
    )
    if changes == rewritten.Changes():
        raise UsageError("nothing is to be changed", hint="rewrite-export --help lists what can be")
    job = jobs.Job("rewrite-export", Selection(permissions=True))
    return jobs.remake(job, common, _folders(given), lambda source: rewritten.Rewritten(source, changes))


@click.group("bundle", context_settings={"help_option_names": ["-h", "--help"]})
def bundle() -> None:
    """Work on bundles.

    \b
    Examples:
      bundle merge shard-1 shard-2 --output-dir backup
    """


@bundle.command("merge", cls=Command)
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@NEW
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
def merge(folders: tuple[str, ...], output_dir: str, as_json: bool, quiet: bool) -> int:
    """Join the bundles of all shards of an export to the one that an export of the whole would have made.

    Each is proven first. The new bundle is equal byte for byte to that of an export without --shard, but for times.
    Shards of different sources or options, given twice, or missing, are refused, and leave nothing behind.

    \b
    Examples:
      bundle merge shard-1 shard-2 shard-3 --output-dir backup
    """
    begun = time.monotonic()
    target = Path(jobs.checked_folder(output_dir))
    info = jobs.merge([jobs.existing(folder) for folder in folders], target)
    absent = sum(found["failed"] + found["unsupported"] for found in info["counts"].values())
    document = {
        "ok": True,
        "exit_code": DONE,
        "command": "bundle merge",
        "shards": len(folders),
        "destination": str(target),
        "seconds": round(time.monotonic() - begun, 3),
        "kinds": info["counts"],
        "error": None,
    }
    answer.give(document, as_json)
    if not quiet:
        click.echo(f"{len(folders)} shards of {info['source']} → {target}", err=True)
        if absent:
            click.echo(f"{absent:,} objects are not in it: {target / layout.FAILURES}", err=True)
        places = f"{shlex.quote(info['source'])} {shlex.quote(str(target))}"
        click.echo(f"next: mlflow-migration verify {places}", err=True)
    return DONE


def _globs(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _folders(given: dict[str, Any]) -> tuple[Path, Path]:
    return jobs.existing(given["input_dir"]), Path(jobs.checked_folder(given["output_dir"]))
