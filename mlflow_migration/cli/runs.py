"""Commands that move single runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli import options
from mlflow_migration.cli.command import Command, boolean
from mlflow_migration.cli.experiments import DST, INPUT, OUTPUT, SRC, TRACKING, one_name
from mlflow_migration.cli.later import jobs, opening, pipeline
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import NotFoundError, UsageError
from mlflow_migration.places import Selection

if TYPE_CHECKING:
    from mlflow_migration.calls import Readable

NESTED = boolean("check-nested-runs", False, "Take the run's parents and children too.")
RUN_ID = click.option("--run-id", required=True, metavar="ID", help="The run's id.")


def _experiment_of(live: Readable, run_id: str) -> Any:
    if not run_id.strip():
        raise UsageError("--run-id is empty", hint="give the run's id")
    run = live.get_run(run_id)
    if run is None:
        raise NotFoundError(f"no such run: {run_id!r}", f"at {live.address}", "check the run's id and the server")
    return live.get_experiment(run["info"]["experiment_id"])


def _selection(given: dict[str, Any], experiment: Any) -> Selection:
    return replace(options.selection_of(given, (experiment["experiment_id"],)), run_ids=(given["run_id"],))


@click.command("export-run", cls=Command)
@RUN_ID
@OUTPUT
@TRACKING
@NESTED
@options.artifacts
@options.moving
@options.NOTEBOOK_FORMATS
@options.common
def export_run(**given: Any) -> int:
    """Export one run, with the experiment it is in, to a bundle.

    \b
    Examples:
      export-run --run-id 4f0a7c2f9d9c4a0c8f5e4d3c2b1a0987 --output-dir run
      export-run --run-id 4f0a7c2f9d9c4a0c8f5e4d3c2b1a0987 --output-dir run --check-nested-runs
    """
    common = Common.take(given)
    jobs.configure(common)
    live = opening.readable(given["tracking_uri"], "SRC", common)
    experiment = _experiment_of(live, given["run_id"])
    return jobs.export(jobs.Job("export-run", _selection(given, experiment)), common, live, given["output_dir"])


@click.command("import-run", cls=Command)
@click.option(
    "--experiment-name", required=True, metavar="NAME", help="The experiment to import into; made if it isn't there."
)
@INPUT
@TRACKING
@options.writing
@options.artifacts
@options.moving
@boolean("mlmodel-fix", True, "Accepted for old commands: ids in MLmodel files are always put right.")
@options.NOTEBOOK_DIR
@options.common
def import_run(**given: Any) -> int:
    """Import the run of a bundle (and those it brought along) into an experiment.

    \b
    Examples:
      import-run --experiment-name wine --input-dir run
    """
    common = Common.take(given)
    jobs.configure(common)
    name = one_name(given["experiment_name"], "--experiment-name")
    records = list(pipeline.bundle_folder(jobs.existing(given["input_dir"])).records("experiment", Selection()))
    if len(records) != 1:
        raise UsageError(
            f"the bundle holds {len(records)} experiments", hint=f"import-experiments --input-dir {given['input_dir']}"
        )
    names = options.names_of(given, {records[0].name: name})
    job = jobs.job_of("import-run", options.selection_of(given), names, given)
    place = opening.destination(given["tracking_uri"], common, job.notebook_dir)
    return jobs.import_(job, common, given["input_dir"], place)


@click.command("copy-run", cls=Command)
@RUN_ID
@click.option("--experiment-name", required=True, metavar="NAME", help="The experiment at the destination.")
@SRC
@DST
@NESTED
@options.writing
@options.artifacts
@options.moving
@options.common
def copy_run(**given: Any) -> int:
    """Copy one run from server to server.

    \b
    Examples:
      copy-run --run-id 4f0a7c2f9d9c4a0c8f5e4d3c2b1a0987 --experiment-name wine \\
        --src-mlflow-uri http://dev:5000 --dst-mlflow-uri http://test:5000
    """
    common = Common.take(given)
    jobs.configure(common)
    name = one_name(given["experiment_name"], "--experiment-name")
    source = opening.readable(given["src_mlflow_uri"], "SRC", common)
    experiment = _experiment_of(source, given["run_id"])
    names = options.names_of(given, {experiment["name"]: name})
    job = jobs.job_of("copy-run", _selection(given, experiment), names, given)
    return jobs.copy(job, common, source, opening.destination(given["dst_mlflow_uri"], common))
