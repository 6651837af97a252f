"""Commands that move everything a server holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from mlflow_migration.cli import options, permissions
from mlflow_migration.cli.command import Command, boolean
from mlflow_migration.cli.experiments import DST, INPUT, OUTPUT, RENAME, SRC, TRACKING
from mlflow_migration.cli.later import copies, jobs, opening, pipeline, spreading
from mlflow_migration.cli.options import Common
from mlflow_migration.engine import selection as choose
from mlflow_migration.places import Versions

EXPERIMENTS = click.option(
    "--experiments",
    metavar="NAMES",
    default="all",
    help="Of the experiments only these: names, ids or globs with commas, or a .txt file.",
)


@click.command("export-all", cls=Command)
@OUTPUT
@EXPERIMENTS
@TRACKING
@options.run_choice
@options.shard
@options.spreading
@options.artifacts
@options.moving
@permissions.option("export-permissions", gives=False)
@boolean("export-latest-versions", False, "Of registered models only the latest version of each stage.")
@click.option("--stages", metavar="NAMES", default="", help="Of registered models only versions in these stages.")
@boolean("export-version-model", False, "Accepted for old commands: a version's files lie with its run.")
@options.legacy("use-threads")
@options.NOTEBOOK_FORMATS
@options.common
def export_all(**given: Any) -> int:
    """Export everything a server holds to a bundle.

    \b
    Examples:
      export-all --output-dir backup
      export-all --output-dir backup --run-start-time 30d --tracking-uri http://old:5000
    """
    common = Common.take(given)
    jobs.configure(common)
    selection = options.selection_of(given, choose.names(given["experiments"]), kinds=())
    stages = choose.names(given["stages"]) if given["stages"] else ()
    versions = Versions(stages=stages, latest=given["export_latest_versions"])
    job = jobs.Job("export-all", replace(selection, versions=versions))
    return spreading.export(job, common, given)


@click.command("import-all", cls=Command)
@INPUT
@EXPERIMENTS
@TRACKING
@RENAME
@options.MODEL_RENAME
@options.deleting("model", "prompt", "evaluation-dataset")
@options.writing
@options.artifacts
@options.moving
@options.NOTEBOOK_DIR
@permissions.option("import-permissions")
@options.legacy("use-threads")
@options.common
def import_all(**given: Any) -> int:
    """Import everything a bundle holds. What is there already is not made twice.

    \b
    Examples:
      import-all --input-dir backup
      import-all --input-dir backup --dry-run --tracking-uri http://new:5000
    """
    common = Common.take(given)
    jobs.configure(common)
    pipeline.bundle_folder(jobs.existing(given["input_dir"]))
    job = _job("import-all", given)
    place = opening.destination(given["tracking_uri"], common, job.notebook_dir)
    return jobs.import_(job, common, given["input_dir"], place)


@click.command("copy-all", cls=Command)
@SRC
@DST
@EXPERIMENTS
@RENAME
@options.MODEL_RENAME
@options.deleting("model", "prompt", "evaluation-dataset")
@options.run_choice
@options.writing
@options.artifacts
@permissions.option("permissions")
@options.moving
@options.common
def copy_all(**given: Any) -> int:
    """Copy everything from server to server, nothing staged on disk.

    \b
    Examples:
      copy-all --src-mlflow-uri http://old:5000 --dst-mlflow-uri http://new:5000
      copy-all --src-mlflow-uri @dev --dst-mlflow-uri @prod --dry-run
    """
    common = Common.take(given)
    jobs.configure(common)
    return copies.between(_job("copy-all", given), common, (given["src_mlflow_uri"], given["dst_mlflow_uri"]))


def _job(command: str, given: dict[str, Any]) -> jobs.Job:
    selection = options.selection_of(given, choose.names(given["experiments"]), kinds=())
    return jobs.job_of(command, selection, options.names_of(given), given)
