"""Commands that move prompts, traces, logged models and evaluation datasets by themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from mlflow_migration.cli import options
from mlflow_migration.cli.command import Command, boolean
from mlflow_migration.cli.experiments import INPUT, OUTPUT, TRACKING, one_name
from mlflow_migration.cli.later import jobs, objects, opening, pipeline
from mlflow_migration.cli.options import Common
from mlflow_migration.engine import selection as choose
from mlflow_migration.errors import NotFoundError, UsageError
from mlflow_migration.places import Names, Selection, Versions

OF_TRACES = ("experiment", "trace")
OF_LOGGED_MODELS = ("experiment", "logged_model")
OF_DATASETS = ("evaluation_dataset",)
EXPERIMENT_IDS = click.option(
    "--experiment-ids", required=True, metavar="IDS", help="Ids, names or globs with commas, a .txt file, or all."
)
EXPERIMENT = click.option(
    "--experiment-name", required=True, metavar="NAME", help="The experiment to import into; made if it isn't there."
)
PROMPT_VERSION = click.option("--prompt-version", metavar="NUMBER", help="Only this version [default: all].")


@click.command("export-prompt", cls=Command)
@click.option("--prompt-name", required=True, metavar="NAME", help="The prompt's name.")
@PROMPT_VERSION
@OUTPUT
@TRACKING
@options.moving
@options.common
def export_prompt(**given: Any) -> int:
    """Export one prompt with its versions, or with one of them.

    \b
    Examples:
      export-prompt --prompt-name summary --output-dir summary
      export-prompt --prompt-name summary --prompt-version 3 --output-dir summary
    """
    version = given["prompt_version"]
    numbers = Versions(numbers=(one_name(version, "--prompt-version"),) if version is not None else ())
    name = one_name(given["prompt_name"], "--prompt-name")
    return _export("export-prompt", given, Selection(kinds=objects.OF_PROMPTS, prompts=(name,), versions=numbers))


@click.command("export-prompts", cls=Command)
@click.option("--prompts", required=True, metavar="NAMES", help="Names or globs with commas, a .txt file, or all.")
@OUTPUT
@TRACKING
@options.shard
@options.moving
@options.legacy("use-threads")
@options.common
def export_prompts(**given: Any) -> int:
    """Export many prompts with all their versions.

    \b
    Examples:
      export-prompts --prompts all --output-dir prompts
      export-prompts --prompts 'support-*' --output-dir prompts
    """
    shard = choose.shard(given.pop("shard"))
    selection = Selection(kinds=objects.OF_PROMPTS, prompts=choose.names(given["prompts"]), shard=shard)
    return _export("export-prompts", given, selection)


@click.command("import-prompt", cls=Command)
@INPUT
@click.option("--prompt-name", metavar="NAME", help="The prompt's name at the destination [default: the same].")
@TRACKING
@options.deleting("prompt")
@options.writing
@options.moving
@options.common
def import_prompt(**given: Any) -> int:
    """Import the one prompt of a bundle, under any name.

    \b
    Examples:
      import-prompt --input-dir summary
      import-prompt --input-dir summary --prompt-name summary-2
    """
    found = _only("prompt", given, "import-prompts")
    names = _named(given, "prompt", found, "prompt-name")
    return _import("import-prompt", Selection(kinds=objects.OF_PROMPTS), given, names)


@click.command("import-prompts", cls=Command)
@INPUT
@TRACKING
@options.deleting("prompt")
@options.MODEL_RENAME
@options.writing
@options.moving
@options.legacy("use-threads")
@options.common
def import_prompts(**given: Any) -> int:
    """Import the prompts of a bundle. What is there already is not made twice.

    \b
    Examples:
      import-prompts --input-dir prompts
      import-prompts --input-dir prompts --model-rename-file names.csv
    """
    return _import("import-prompts", Selection(kinds=objects.OF_PROMPTS), given)


@click.command("export-trace", cls=Command)
@click.option("--request-id", required=True, metavar="ID", help="The trace's id.")
@OUTPUT
@TRACKING
@options.artifacts
@options.moving
@options.common
def export_trace(**given: Any) -> int:
    """Export one trace with its spans, assessments and attachments.

    \b
    Examples:
      export-trace --request-id tr-5f8b1e0e3c7d4a1f9e2b6c4d8a7f0e13 --output-dir trace
    """
    common = Common.take(given)
    jobs.configure(common)
    live = opening.readable(given["tracking_uri"], "SRC", common)
    trace_id = one_name(given["request_id"], "--request-id")
    info = live.traces.get(trace_id)
    if info is None:
        raise NotFoundError(f"no such trace: {trace_id!r}", f"at {live.address}", "check the id and the server")
    experiment = info["trace_location"]["mlflow_experiment"]["experiment_id"]
    selection = options.selection_of(given, (experiment,), kinds=OF_TRACES)
    job = jobs.Job("export-trace", replace(selection, traces=(trace_id,)))
    return jobs.export(job, common, live, given["output_dir"])


@click.command("export-traces", cls=Command)
@EXPERIMENT_IDS
@OUTPUT
@TRACKING
@options.shard
@options.artifacts
@options.moving
@options.common
def export_traces(**given: Any) -> int:
    """Export all traces of some experiments.

    \b
    Examples:
      export-traces --experiment-ids 12,13 --output-dir traces
      export-traces --experiment-ids all --output-dir traces
    """
    selection = options.selection_of(given, choose.names(given["experiment_ids"]), kinds=OF_TRACES)
    return _export("export-traces", given, selection)


@click.command("import-trace", cls=Command)
@INPUT
@EXPERIMENT
@TRACKING
@options.writing
@options.artifacts
@options.moving
@options.common
def import_trace(**given: Any) -> int:
    """Import the traces of a bundle into one experiment.

    \b
    Examples:
      import-trace --input-dir trace --experiment-name chat
    """
    return _import("import-trace", options.selection_of(given, kinds=OF_TRACES), given, _into(given))


@click.command("import-traces", cls=Command)
@INPUT
@TRACKING
@options.writing
@options.artifacts
@options.moving
@options.common
def import_traces(**given: Any) -> int:
    """Import the traces of a bundle into the experiments they come from.

    \b
    Examples:
      import-traces --input-dir traces
    """
    return _import("import-traces", options.selection_of(given, kinds=OF_TRACES), given)


@click.command("export-logged-model", cls=Command)
@click.option("--model-id", required=True, metavar="ID", help="The logged model's id.")
@OUTPUT
@TRACKING
@options.artifacts
@options.moving
@options.common
def export_logged_model(**given: Any) -> int:
    """Export one logged model with its artifacts.

    \b
    Examples:
      export-logged-model --model-id m-5f8b1e0e3c7d4a1f9e2b6c4d8a7f0e13 --output-dir model
    """
    common = Common.take(given)
    jobs.configure(common)
    live = opening.readable(given["tracking_uri"], "SRC", common)
    model_id = one_name(given["model_id"], "--model-id")
    head = live.models.get(model_id)
    if head is None:
        what = f"no such logged model: {model_id!r}"
        raise NotFoundError(what, f"at {live.address}", "check the id and the server")
    selection = options.selection_of(given, (head["info"]["experiment_id"],), kinds=OF_LOGGED_MODELS)
    job = jobs.Job("export-logged-model", replace(selection, logged_models=(model_id,)))
    return jobs.export(job, common, live, given["output_dir"])


@click.command("export-logged-models", cls=Command)
@EXPERIMENT_IDS
@OUTPUT
@TRACKING
@options.shard
@options.artifacts
@options.moving
@options.common
def export_logged_models(**given: Any) -> int:
    """Export all logged models of some experiments.

    \b
    Examples:
      export-logged-models --experiment-ids 12,13 --output-dir models
    """
    selection = options.selection_of(given, choose.names(given["experiment_ids"]), kinds=OF_LOGGED_MODELS)
    return _export("export-logged-models", given, selection)


@click.command("import-logged-model", cls=Command)
@INPUT
@EXPERIMENT
@TRACKING
@boolean("mlmodel-fix", True, "Accepted for old commands: ids in MLmodel files are always put right.")
@options.writing
@options.artifacts
@options.moving
@options.common
def import_logged_model(**given: Any) -> int:
    """Import the logged models of a bundle into one experiment.

    \b
    Examples:
      import-logged-model --input-dir model --experiment-name churn
    """
    selection = options.selection_of(given, kinds=OF_LOGGED_MODELS)
    return _import("import-logged-model", selection, given, _into(given))


@click.command("import-logged-models", cls=Command)
@INPUT
@TRACKING
@options.writing
@options.artifacts
@options.moving
@options.common
def import_logged_models(**given: Any) -> int:
    """Import the logged models of a bundle into the experiments they come from.

    \b
    Examples:
      import-logged-models --input-dir models
    """
    return _import("import-logged-models", options.selection_of(given, kinds=OF_LOGGED_MODELS), given)


@click.command("export-evaluation-dataset", cls=Command)
@click.option("--dataset-name", metavar="NAME", help="The dataset's name.")
@click.option("--dataset-id", metavar="ID", help="Its id, as names are not unique.")
@OUTPUT
@TRACKING
@options.moving
@options.common
def export_evaluation_dataset(**given: Any) -> int:
    """Export one evaluation dataset with its records.

    \b
    Examples:
      export-evaluation-dataset --dataset-name golden-questions --output-dir golden
    """
    name, id_ = given["dataset_name"], given["dataset_id"]
    if (name is None) == (id_ is None):
        raise UsageError("give --dataset-name or --dataset-id", hint="export-evaluation-dataset --help")
    chosen = one_name(id_, "--dataset-id") if name is None else one_name(name, "--dataset-name")
    return _export("export-evaluation-dataset", given, Selection(kinds=OF_DATASETS, datasets=(chosen,)))


@click.command("export-evaluation-datasets", cls=Command)
@click.option(
    "--evaluation-datasets",
    required=True,
    metavar="NAMES",
    help="Names, ids or globs with commas, a .txt file, or all.",
)
@click.option("--experiment-ids", metavar="IDS", help="Only datasets of these experiments: ids, names or globs.")
@OUTPUT
@TRACKING
@options.shard
@options.moving
@options.legacy("use-threads")
@options.common
def export_evaluation_datasets(**given: Any) -> int:
    """Export many evaluation datasets with their records.

    \b
    Examples:
      export-evaluation-datasets --evaluation-datasets all --output-dir datasets
      export-evaluation-datasets --evaluation-datasets all --experiment-ids 12 --output-dir datasets
    """
    experiments = choose.names(given["experiment_ids"]) if given["experiment_ids"] is not None else ()
    datasets = choose.names(given["evaluation_datasets"])
    shard = choose.shard(given.pop("shard"))
    selection = Selection(experiments=experiments, kinds=OF_DATASETS, datasets=datasets, shard=shard)
    return _export("export-evaluation-datasets", given, selection)


@click.command("import-evaluation-dataset", cls=Command)
@INPUT
@click.option("--evaluation-dataset-name", metavar="NAME", help="Its name at the destination [default: the same].")
@TRACKING
@options.deleting("evaluation-dataset")
@options.writing
@options.moving
@options.common
def import_evaluation_dataset(**given: Any) -> int:
    """Import the one evaluation dataset of a bundle, under any name.

    \b
    Examples:
      import-evaluation-dataset --input-dir golden
      import-evaluation-dataset --input-dir golden --evaluation-dataset-name golden-2
    """
    found = _only("evaluation_dataset", given, "import-evaluation-datasets")
    names = _named(given, "evaluation_dataset", found, "evaluation-dataset-name")
    return _import("import-evaluation-dataset", Selection(kinds=OF_DATASETS), given, names)


@click.command("import-evaluation-datasets", cls=Command)
@INPUT
@TRACKING
@options.deleting("evaluation-dataset")
@options.writing
@options.moving
@options.legacy("use-threads")
@options.common
def import_evaluation_datasets(**given: Any) -> int:
    """Import the evaluation datasets of a bundle. What is there already is not made twice.

    \b
    Examples:
      import-evaluation-datasets --input-dir datasets
    """
    return _import("import-evaluation-datasets", Selection(kinds=OF_DATASETS), given)


def _export(command: str, given: dict[str, Any], selection: Selection) -> int:
    common = Common.take(given)
    jobs.configure(common)
    live = opening.readable(given["tracking_uri"], "SRC", common)
    return jobs.export(jobs.Job(command, selection), common, live, given["output_dir"])


def _import(command: str, selection: Selection, given: dict[str, Any], names: Names | None = None) -> int:
    common = Common.take(given)
    jobs.configure(common)
    pipeline.bundle_folder(jobs.existing(given["input_dir"]))
    job = jobs.job_of(command, selection, names or options.names_of(given), given)
    place = opening.destination(given["tracking_uri"], common, job.notebook_dir)
    return jobs.import_(job, common, given["input_dir"], place)


def _into(given: dict[str, Any]) -> Names:
    """The names by which everything of a bundle goes into the experiment of --experiment-name."""
    return replace(options.names_of(given), into=one_name(given["experiment_name"], "--experiment-name"))


def _named(given: dict[str, Any], kind: str, old: str, option: str) -> Names:
    """The names by which an object is called as an option says; the same where it isn't given."""
    names, new = options.names_of(given), given[option.replace("-", "_")]
    if new is None:
        return names
    return replace(names, new={**names.new, (kind, old): one_name(new, f"--{option}")})


def _only(kind: str, given: dict[str, Any], many: str) -> str:
    """The name of the one object of a kind that a bundle holds."""
    records = pipeline.bundle_folder(jobs.existing(given["input_dir"])).records(kind, Selection())
    names = [record.name for record in records]
    if len(names) != 1:
        what = f"the bundle holds {len(names)} objects of the kind {kind}"
        raise UsageError(what, given["input_dir"], f"{many} --input-dir {given['input_dir']}")
    return names[0]
