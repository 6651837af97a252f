"""`mlflow-migration`: all commands under one name."""

from __future__ import annotations

from importlib.metadata import version

import click

from mlflow_migration.cli.bundles import bundle, filter_export, rewrite_export
from mlflow_migration.cli.checks import diff, doctor, id_map, plan, verify
from mlflow_migration.cli.command import Group
from mlflow_migration.cli.everything import copy_all, export_all, import_all
from mlflow_migration.cli.experiments import (
    copy_experiment,
    copy_experiments,
    export_experiment,
    export_experiments,
    import_experiment,
    import_experiments,
)
from mlflow_migration.cli.genai import (
    export_evaluation_dataset,
    export_evaluation_datasets,
    export_logged_model,
    export_logged_models,
    export_prompt,
    export_prompts,
    export_trace,
    export_traces,
    import_evaluation_dataset,
    import_evaluation_datasets,
    import_logged_model,
    import_logged_models,
    import_prompt,
    import_prompts,
    import_trace,
    import_traces,
)
from mlflow_migration.cli.models import (
    copy_model_version,
    copy_models,
    export_model,
    export_model_version,
    export_models,
    import_model,
    import_model_version,
    import_models,
)
from mlflow_migration.cli.runs import copy_run, export_run, import_run
from mlflow_migration.cli.setup import completion, config, kinds
from mlflow_migration.cli.signatures import (
    get_model_signature,
    list_model_versions_without_signatures,
    set_model_signature,
)
from mlflow_migration.cli.tools import find_artifacts, http_client, list_registered_models

COMMANDS = (
    export_run,
    import_run,
    copy_run,
    export_experiment,
    import_experiment,
    copy_experiment,
    export_experiments,
    import_experiments,
    copy_experiments,
    export_model,
    import_model,
    export_models,
    import_models,
    copy_models,
    export_model_version,
    import_model_version,
    copy_model_version,
    export_logged_model,
    import_logged_model,
    export_logged_models,
    import_logged_models,
    export_trace,
    import_trace,
    export_traces,
    import_traces,
    export_prompt,
    import_prompt,
    export_prompts,
    import_prompts,
    export_evaluation_dataset,
    import_evaluation_dataset,
    export_evaluation_datasets,
    import_evaluation_datasets,
    export_all,
    import_all,
    copy_all,
    verify,
    diff,
    plan,
    id_map,
    doctor,
    filter_export,
    rewrite_export,
    bundle,
    list_registered_models,
    find_artifacts,
    http_client,
    get_model_signature,
    set_model_signature,
    list_model_versions_without_signatures,
    config,
    kinds,
    completion,
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("mlflow-migration"), prog_name="mlflow-migration")
def main() -> None:
    """Move MLflow objects between servers and backups: nothing lost, nothing twice, provably.

    \b
    Examples:
      mlflow-migration export-experiments --experiments all --output-dir backup
      mlflow-migration copy-experiments --experiments all --src-mlflow-uri http://old:5000 --dst-mlflow-uri http://new:5000
      mlflow-migration verify http://old:5000 http://new:5000
    """


for command in COMMANDS:
    main.add_command(command)
