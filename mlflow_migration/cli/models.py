"""Commands that move registered models with their versions and what those were made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from mlflow_migration.cli import options, permissions
from mlflow_migration.cli.command import Command, boolean
from mlflow_migration.cli.experiments import DST, INPUT, OUTPUT, RENAME, SRC, TRACKING, one_name
from mlflow_migration.cli.later import jobs, needed, opening, pipeline
from mlflow_migration.cli.options import Common
from mlflow_migration.engine import selection as choose
from mlflow_migration.errors import UsageError
from mlflow_migration.places import Adding, Names, Selection, Versions

OF_REGISTRY = ("registered_model", "model_version")
MODEL = click.option("--model", required=True, metavar="NAME", help="The registered model's name.")
VERSION = click.option("--version", required=True, metavar="NUMBER", help="The version's number.")
STAGES = click.option("--stages", metavar="NAMES", default="", help="Only versions in these stages, with commas.")
LATEST = boolean("export-latest-versions", False, "Only the latest version of each stage.")
CACHED = boolean(
    "export-version-model", False, "Accepted for old commands: a version's files lie with its run or logged model."
)
EXPERIMENT = click.option(
    "--experiment-name", required=True, metavar="NAME", help="The experiment that the versions' runs go into."
)


def _versions(given: dict[str, Any]) -> Versions:
    return Versions(
        numbers=choose.names(given["versions"]) if given.get("versions") else (),
        stages=choose.names(given["stages"]) if given["stages"] else (),
        latest=given["export_latest_versions"],
    )


def _selection(given: dict[str, Any], models: tuple[str, ...], versions: Versions) -> Selection:
    chosen = options.selection_of(given, kinds=needed.OF_MODELS)
    all_runs = given.get("export_all_runs", False)
    if (chosen.since is not None or chosen.until is not None) and not all_runs:
        hint = "leave it out, or add --export-all-runs"
        raise UsageError("runs that versions were made of come along whatever their time", hint=hint)
    return replace(chosen, models=models, versions=versions, needed=True, all_runs=all_runs)


@click.command("export-model", cls=Command)
@MODEL
@OUTPUT
@TRACKING
@STAGES
@click.option("--versions", metavar="NUMBERS", default="", help="Only these versions, with commas.")
@LATEST
@CACHED
@boolean("export-deleted-runs", True, "Take deleted runs too; they arrive deleted.")
@options.artifacts
@options.moving
@permissions.option("export-permissions", "part", gives=False)
@options.NOTEBOOK_FORMATS
@options.common
def export_model(**given: Any) -> int:
    """Export one registered model with its versions, their runs (and the parents of those) and logged models.

    \b
    Examples:
      export-model --model churn --output-dir churn
      export-model --model churn --output-dir churn --versions 3,7
    """
    common = Common.take(given)
    jobs.configure(common)
    name = one_name(given["model"], "--model")
    job = jobs.Job("export-model", _selection(given, (name,), _versions(given)))
    return jobs.export(job, common, opening.readable(given["tracking_uri"], "SRC", common), given["output_dir"])


@click.command("export-models", cls=Command)
@click.option("--models", required=True, metavar="NAMES", help="Names or globs with commas, a .txt file, or all.")
@OUTPUT
@TRACKING
@STAGES
@LATEST
@boolean("export-all-runs", False, "Take every run and logged model of the experiments the versions come from.")
@click.option("--run-start-time", metavar="TIME", help="With --export-all-runs: only runs started at or after this.")
@click.option("--runs-until", metavar="TIME", help="With --export-all-runs: only runs started at or before this.")
@CACHED
@boolean("export-deleted-runs", True, "Take deleted runs too; they arrive deleted.")
@options.shard
@options.artifacts
@options.moving
@permissions.option("export-permissions", "part", gives=False)
@options.legacy("use-threads")
@options.NOTEBOOK_FORMATS
@options.common
def export_models(**given: Any) -> int:
    """Export many registered models with their versions and what those were made of.

    \b
    Examples:
      export-models --models all --output-dir models
      export-models --models 'fraud-*,churn' --output-dir models --stages production,staging
    """
    common = Common.take(given)
    jobs.configure(common)
    job = jobs.Job("export-models", _selection(given, choose.names(given["models"]), _versions(given)))
    return jobs.export(job, common, opening.readable(given["tracking_uri"], "SRC", common), given["output_dir"])


@click.command("export-model-version", cls=Command)
@MODEL
@VERSION
@OUTPUT
@TRACKING
@boolean("skip-download-run-artifacts", False, "Leave out all artifacts: the same as --artifacts skip.")
@boolean("vrm-export-version-model", False, "Accepted for old commands: see --export-version-model of export-model.")
@click.option("--vrm-model-artifact-path", metavar="TEXT", default="", help="Accepted for old commands.")
@options.artifacts
@options.moving
@permissions.option("export-permissions", "part", gives=False)
@options.NOTEBOOK_FORMATS
@options.common
def export_model_version(**given: Any) -> int:
    """Export one version of a registered model with its run and logged model.

    \b
    Examples:
      export-model-version --model churn --version 7 --output-dir churn-7
    """
    common = Common.take(given)
    jobs.configure(common)
    numbers = Versions(numbers=(one_name(given["version"], "--version"),))
    selection = _selection(given, (one_name(given["model"], "--model"),), numbers)
    if given["skip_download_run_artifacts"]:
        selection = replace(selection, files="skip")
    job = jobs.Job("export-model-version", selection)
    return jobs.export(job, common, opening.readable(given["tracking_uri"], "SRC", common), given["output_dir"])


@click.command("import-model", cls=Command)
@click.option("--model", required=True, metavar="NAME", help="The registered model's name at the destination.")
@EXPERIMENT
@INPUT
@TRACKING
@options.deleting("model")
@click.option("--await-creation-for", type=int, metavar="SECONDS", help="Accepted for old commands: always awaited.")
@options.writing
@options.artifacts
@options.moving
@permissions.option("import-permissions", "part")
@options.NOTEBOOK_DIR
@options.common
def import_model(**given: Any) -> int:
    """Import the one registered model of a bundle, under any name; its runs go into one experiment.

    \b
    Examples:
      import-model --model churn --experiment-name churn --input-dir churn
      import-model --model churn-2 --experiment-name churn --input-dir churn --dry-run
    """
    common = Common.take(given)
    jobs.configure(common)
    return _import("import-model", given, common, _renamed(given))


@click.command("import-models", cls=Command)
@INPUT
@TRACKING
@options.deleting("model")
@RENAME
@options.MODEL_RENAME
@options.writing
@options.artifacts
@options.moving
@permissions.option("import-permissions", "part")
@options.legacy("use-threads")
@options.NOTEBOOK_DIR
@options.common
def import_models(**given: Any) -> int:
    """Import the registered models of a bundle with what their versions were made of.

    \b
    Examples:
      import-models --input-dir models
      import-models --input-dir models --model-rename-file names.csv --delete-model
    """
    common = Common.take(given)
    jobs.configure(common)
    return _import("import-models", given, common, options.names_of(given))


@click.command("import-model-version", cls=Command)
@click.option("--model", required=True, metavar="NAME", help="The registered model that gets a new version.")
@EXPERIMENT
@INPUT
@TRACKING
@boolean("create-model", False, "Make the model where it isn't there.")
@boolean("import-stages-and-aliases", False, "Give the new version the stage and aliases of the exported one.")
@boolean("import-metadata", False, "Give the model the description and tags of the exported one.")
@options.writing
@options.artifacts
@options.moving
@permissions.option("import-permissions", "part")
@options.NOTEBOOK_DIR
@options.common
def import_model_version(**given: Any) -> int:
    """Add the version of a bundle to a registered model, under its next number; once, however often it is typed.

    \b
    Examples:
      import-model-version --model churn-prod --experiment-name churn --input-dir churn-7
      import-model-version --model churn-prod --experiment-name churn --input-dir churn-7 --create-model
    """
    common = Common.take(given)
    jobs.configure(common)
    adding = Adding(given["create_model"], given["import_metadata"], given["import_stages_and_aliases"])
    return _import("import-model-version", given, common, _renamed(given), adding)


@click.command("copy-models", cls=Command)
@click.option("--models", required=True, metavar="NAMES", help="Names or globs with commas, a .txt file, or all.")
@SRC
@DST
@STAGES
@LATEST
@boolean("export-all-runs", False, "Take every run and logged model of the experiments the versions come from.")
@options.deleting("model")
@RENAME
@options.MODEL_RENAME
@options.writing
@permissions.option("permissions", "part")
@options.artifacts
@options.moving
@options.common
def copy_models(**given: Any) -> int:
    """Copy registered models with their versions and what those were made of from server to server.

    \b
    Examples:
      copy-models --models all --src-mlflow-uri http://old:5000 --dst-mlflow-uri http://new:5000
      copy-models --models churn --src-mlflow-uri @dev --dst-mlflow-uri @prod --dry-run
    """
    common = Common.take(given)
    jobs.configure(common)
    selection = _selection(given, choose.names(given["models"]), _versions(given))
    job = jobs.job_of("copy-models", selection, options.names_of(given), given)
    source = opening.readable(given["src_mlflow_uri"], "SRC", common)
    return jobs.copy(job, common, source, opening.destination(given["dst_mlflow_uri"], common))


@click.command("copy-model-version", cls=Command)
@click.option("--src-model", required=True, metavar="NAME", help="The registered model at the source.")
@click.option("--src-version", required=True, metavar="NUMBER", help="Its version.")
@click.option("--dst-model", required=True, metavar="NAME", help="The model that gets a new version; made if need be.")
@click.option(
    "--src-registry-uri", required=True, metavar="URI", help="The source: a server, a database or a file store."
)
@options.SRC_ARTIFACT_ROOT
@click.option("--dst-registry-uri", required=True, metavar="URI", help="The destination server; it may be the same.")
@click.option(
    "--dst-experiment-name",
    metavar="NAME",
    help="Copy the version's run and logged model too, into this experiment (a deep copy). Without it the new version "
    "shares them with the old one: on one server, or where they have been brought before.",
)
@boolean(
    "copy-permissions",
    False,
    "Accepted for old commands: versions have no permissions; copy-models takes those of models.",
)
@boolean("copy-stages-and-aliases", False, "Give the new version the stage and aliases of the old one.")
@options.mapping
@boolean("copy-lineage-tags", False, "Add mlflow_exim.* tags that tell where the version came from.")
@options.artifacts
@options.moving
@options.common
def copy_model_version(**given: Any) -> int:
    """Copy one version to another registered model, under its next number; once, however often it is typed.

    \b
    Examples:
      copy-model-version --src-model churn --src-version 7 --dst-model churn-prod \\
        --src-registry-uri http://mlflow:5000 --dst-registry-uri http://mlflow:5000
      copy-model-version --src-model churn --src-version 7 --dst-model churn --dst-experiment-name churn \\
        --src-registry-uri http://dev:5000 --dst-registry-uri http://prod:5000 --copy-stages-and-aliases
    """
    common = Common.take(given)
    jobs.configure(common)
    deep = given["dst_experiment_name"] is not None
    numbers = Versions(numbers=(one_name(given["src_version"], "--src-version"),))
    model = one_name(given["src_model"], "--src-model")
    chosen = options.selection_of(given, kinds=needed.OF_MODELS if deep else OF_REGISTRY)
    selection = replace(chosen, models=(model,), versions=numbers, needed=deep)
    source = opening.readable(given["src_registry_uri"], "SRC", common)
    into = one_name(given["dst_experiment_name"], "--dst-experiment-name") if deep else ""
    names = Names({("registered_model", model): one_name(given["dst_model"], "--dst-model")}, into=into)
    adding = Adding(create=True, aliases=given["copy_stages_and_aliases"])
    stages, aliases = options.mapped(given)
    job = jobs.Job(
        "copy-model-version",
        selection,
        names,
        given["copy_lineage_tags"],
        adding=adding,
        stages_to_aliases=stages,
        aliases_to_stages=aliases,
    )
    return jobs.copy(job, common, source, opening.destination(given["dst_registry_uri"], common))


def _only_model(given: dict[str, Any]) -> str:
    """The name of the one model that a bundle was asked to hold, whatever else its versions need."""
    bundle = pipeline.bundle_folder(jobs.existing(given["input_dir"]))
    asked = bundle.asked_for().models
    names = [record.name for record in bundle.records("registered_model", Selection())]
    found = [name for name in names if name in asked] or names
    if len(found) != 1:
        hint = f"import-models --input-dir {given['input_dir']}"
        raise UsageError(f"the bundle holds {len(found)} registered models", given["input_dir"], hint)
    return found[0]


def _renamed(given: dict[str, Any]) -> Names:
    """The bundle's one model under the name of --model, and everything in the experiment of --experiment-name."""
    names = options.names_of(given)
    new = {("registered_model", _only_model(given)): one_name(given["model"], "--model")}
    return replace(names, new={**names.new, **new}, into=one_name(given["experiment_name"], "--experiment-name"))


def _import(command: str, given: dict[str, Any], common: Common, names: Names, adding: Adding | None = None) -> int:
    """Import what a bundle holds of models."""
    pipeline.bundle_folder(jobs.existing(given["input_dir"]))
    selection = options.selection_of(given, kinds=needed.OF_MODELS)
    job = replace(jobs.job_of(command, selection, names, given), adding=adding)
    place = opening.destination(given["tracking_uri"], common, job.notebook_dir)
    return jobs.import_(job, common, given["input_dir"], place)
