"""Commands that move experiments."""

from __future__ import annotations

from typing import Any

import click

from mlflow_migration.cli import options, permissions
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.later import copies, jobs, opening, pipeline, spreading
from mlflow_migration.cli.options import Common
from mlflow_migration.engine import selection as choose
from mlflow_migration.errors import UsageError
from mlflow_migration.places import Names, Selection

TRACKING, SRC, DST = options.TRACKING, options.SRC, options.DST
OUTPUT = click.option(
    "--output-dir", required=True, metavar="DIR", help="The bundle's folder: new, empty, or this bundle."
)
INPUT = click.option("--input-dir", required=True, metavar="DIR", help="The bundle's folder.")
RENAME = click.option("--experiment-rename-file", metavar="FILE", help="CSV (old,new), YAML or JSON with new names.")
RUN_IDS = click.option("--run-ids", metavar="IDS", help="Only these runs: ids separated by commas, or a .txt file.")


def one_name(text: str, option: str) -> str:
    """A name that isn't empty."""
    if not text.strip():
        raise UsageError(f"{option} is empty", hint="give the experiment's name")
    return text


@click.command("export-experiment", cls=Command)
@click.option("--experiment", required=True, metavar="NAME", help="Name or id.")
@OUTPUT
@TRACKING
@RUN_IDS
@options.run_choice
@options.artifacts
@options.moving
@permissions.option("export-permissions", "part", gives=False)
@options.NOTEBOOK_FORMATS
@options.common
def export_experiment(**given: Any) -> int:
    """Export one experiment with its runs to a bundle.

    \b
    Examples:
      export-experiment --experiment sklearn-wine --output-dir wine
      export-experiment --experiment 12 --output-dir wine --filter "metrics.rmse < 0.7"
    """
    common = Common.take(given)
    jobs.configure(common)
    name = one_name(given["experiment"], "--experiment")
    job = jobs.Job("export-experiment", options.selection_of(given, (name,)))
    return jobs.export(job, common, opening.readable(given["tracking_uri"], "SRC", common), given["output_dir"])


@click.command("export-experiments", cls=Command)
@click.option(
    "--experiments", required=True, metavar="NAMES", help="Names, ids or globs with commas, a .txt file, or all."
)
@OUTPUT
@TRACKING
@RUN_IDS
@options.run_choice
@options.shard
@options.spreading
@options.artifacts
@options.moving
@permissions.option("export-permissions", "part", gives=False)
@options.legacy("use-threads")
@options.NOTEBOOK_FORMATS
@options.common
def export_experiments(**given: Any) -> int:
    """Export many experiments with their runs to a bundle.

    \b
    Examples:
      export-experiments --experiments all --output-dir backup
      export-experiments --experiments 'fraud-*,churn' --output-dir backup --run-start-time 30d
    """
    common = Common.take(given)
    jobs.configure(common)
    job = jobs.Job("export-experiments", options.selection_of(given, choose.names(given["experiments"])))
    return spreading.export(job, common, given)


@click.command("import-experiment", cls=Command)
@click.option("--experiment-name", required=True, metavar="NAME", help="The experiment's name at the destination.")
@INPUT
@TRACKING
@options.writing
@options.artifacts
@options.moving
@permissions.option("import-permissions", "part")
@options.NOTEBOOK_DIR
@options.common
def import_experiment(**given: Any) -> int:
    """Import the one experiment of a bundle, under any name.

    \b
    Examples:
      import-experiment --experiment-name wine-copy --input-dir wine
      import-experiment --experiment-name wine --input-dir wine --dry-run
    """
    common = Common.take(given)
    jobs.configure(common)
    name = one_name(given["experiment_name"], "--experiment-name")
    records = list(pipeline.bundle_folder(jobs.existing(given["input_dir"])).records("experiment", Selection()))
    if len(records) != 1:
        raise UsageError(
            f"the bundle holds {len(records)} experiments",
            given["input_dir"],
            f"import-experiments --input-dir {given['input_dir']}",
        )
    return _import(given, common, "import-experiment", options.names_of(given, {records[0].name: name}))


@click.command("import-experiments", cls=Command)
@INPUT
@TRACKING
@click.option(
    "--experiments", metavar="NAMES", default="all", help="Only these: names, ids or globs with commas, or a .txt file."
)
@options.shard
@RENAME
@options.writing
@options.artifacts
@options.moving
@permissions.option("import-permissions", "part")
@options.legacy("use-threads")
@options.NOTEBOOK_DIR
@options.common
def import_experiments(**given: Any) -> int:
    """Import all experiments of a bundle. What is there already is not made twice.

    \b
    Examples:
      import-experiments --input-dir backup
      import-experiments --input-dir backup --experiment-rename-file names.csv --import-source-tags
    """
    common = Common.take(given)
    jobs.configure(common)
    return _import(given, common, "import-experiments", options.names_of(given))


def _import(given: dict[str, Any], common: Common, command: str, names: Names) -> int:
    chosen = choose.names(given.get("experiments", "all"))
    job = jobs.job_of(command, options.selection_of(given, chosen), names, given)
    pipeline.bundle_folder(jobs.existing(given["input_dir"]))
    place = opening.destination(given["tracking_uri"], common, job.notebook_dir)
    return jobs.import_(job, common, given["input_dir"], place)


@click.command("copy-experiment", cls=Command)
@click.option("--experiment", required=True, metavar="NAME", help="Name or id at the source.")
@click.option("--experiment-name", metavar="NAME", help="Its name at the destination [default: the same].")
@SRC
@DST
@RUN_IDS
@options.run_choice
@options.writing
@permissions.option("permissions", "part")
@options.artifacts
@options.moving
@options.common
def copy_experiment(**given: Any) -> int:
    """Copy one experiment with its runs from server to server.

    \b
    Examples:
      copy-experiment --experiment wine --src-mlflow-uri http://dev:5000 --dst-mlflow-uri http://prod:5000
      copy-experiment --experiment wine --experiment-name wine-2 --src-mlflow-uri @dev --dst-mlflow-uri @prod
    """
    common = Common.take(given)
    jobs.configure(common)
    name = one_name(given["experiment"], "--experiment")
    source = opening.readable(given["src_mlflow_uri"], "SRC", common)
    names = {}
    if given["experiment_name"] is not None:
        head = source.get_experiment_by_name(name) or source.get_experiment(name)
        names = {head["name"] if head else name: one_name(given["experiment_name"], "--experiment-name")}
    selection = options.selection_of(given, (name,))
    job = jobs.job_of("copy-experiment", selection, options.names_of(given, names), given)
    return jobs.copy(job, common, source, opening.destination(given["dst_mlflow_uri"], common))


@click.command("copy-experiments", cls=Command)
@click.option(
    "--experiments", required=True, metavar="NAMES", help="Names, ids or globs with commas, a .txt file, or all."
)
@SRC
@DST
@RENAME
@RUN_IDS
@options.run_choice
@options.shard
@options.writing
@permissions.option("permissions", "part")
@options.artifacts
@options.moving
@options.common
def copy_experiments(**given: Any) -> int:
    """Copy many experiments with their runs from server to server, nothing staged on disk.

    \b
    Examples:
      copy-experiments --experiments all --src-mlflow-uri http://old:5000 --dst-mlflow-uri http://new:5000
      copy-experiments --experiments 'fraud-*' --src-mlflow-uri @dev --dst-mlflow-uri @prod --dry-run
    """
    common = Common.take(given)
    jobs.configure(common)
    selection = options.selection_of(given, choose.names(given["experiments"]))
    job = jobs.job_of("copy-experiments", selection, options.names_of(given), given)
    return copies.between(job, common, (given["src_mlflow_uri"], given["dst_mlflow_uri"]))
