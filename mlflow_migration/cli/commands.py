"""Every command's module and short help, so that the list of commands is shown without importing any of them.

A test proves that these are the words the commands themselves begin with.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

COMMANDS: Mapping[str, tuple[str, str]] = {
    "export-run": ("runs", "Export one run, with the experiment it is in, to a bundle."),
    "import-run": ("runs", "Import the run of a bundle (and those it brought along) into an experiment."),
    "copy-run": ("runs", "Copy one run from server to server."),
    "export-experiment": ("experiments", "Export one experiment with its runs to a bundle."),
    "import-experiment": ("experiments", "Import the one experiment of a bundle, under any name."),
    "copy-experiment": ("experiments", "Copy one experiment with its runs from server to server."),
    "export-experiments": ("experiments", "Export many experiments with their runs to a bundle."),
    "import-experiments": ("experiments", "Import all experiments of a bundle."),
    "copy-experiments": (
        "experiments",
        "Copy many experiments with their runs from server to server, nothing staged on disk.",
    ),
    "export-model": (
        "models",
        "Export one registered model with its versions, their runs (and the parents of those) and logged models.",
    ),
    "import-model": (
        "models",
        "Import the one registered model of a bundle, under any name; its runs go into one experiment.",
    ),
    "export-models": ("models", "Export many registered models with their versions and what those were made of."),
    "import-models": ("models", "Import the registered models of a bundle with what their versions were made of."),
    "copy-models": (
        "models",
        "Copy registered models with their versions and what those were made of from server to server.",
    ),
    "export-model-version": ("models", "Export one version of a registered model with its run and logged model."),
    "import-model-version": (
        "models",
        "Add the version of a bundle to a registered model, under its next number; once, however often it is typed.",
    ),
    "copy-model-version": (
        "models",
        "Copy one version to another registered model, under its next number; once, however often it is typed.",
    ),
    "export-logged-model": ("genai", "Export one logged model with its artifacts."),
    "import-logged-model": ("genai", "Import the logged models of a bundle into one experiment."),
    "export-logged-models": ("genai", "Export all logged models of some experiments."),
    "import-logged-models": ("genai", "Import the logged models of a bundle into the experiments they come from."),
    "export-trace": ("genai", "Export one trace with its spans, assessments and attachments."),
    "import-trace": ("genai", "Import the traces of a bundle into one experiment."),
    "export-traces": ("genai", "Export all traces of some experiments."),
    "import-traces": ("genai", "Import the traces of a bundle into the experiments they come from."),
    "export-prompt": ("genai", "Export one prompt with its versions, or with one of them."),
    "import-prompt": ("genai", "Import the one prompt of a bundle, under any name."),
    "export-prompts": ("genai", "Export many prompts with all their versions."),
    "import-prompts": ("genai", "Import the prompts of a bundle."),
    "export-evaluation-dataset": ("genai", "Export one evaluation dataset with its records."),
    "import-evaluation-dataset": ("genai", "Import the one evaluation dataset of a bundle, under any name."),
    "export-evaluation-datasets": ("genai", "Export many evaluation datasets with their records."),
    "import-evaluation-datasets": ("genai", "Import the evaluation datasets of a bundle."),
    "export-all": ("everything", "Export everything a server holds to a bundle."),
    "import-all": ("everything", "Import everything a bundle holds."),
    "copy-all": ("everything", "Copy everything from server to server, nothing staged on disk."),
    "verify": ("checks", "Prove a bundle whole, or that a place holds everything of another, equal value by value."),
    "diff": ("checks", "Show every difference between two places, also what only the second one holds."),
    "plan": (
        "checks",
        "Show what would move from the first place to the second, how much, and what the second can't hold.",
    ),
    "id-map": (
        "checks",
        "List which object of a destination came from which at its source, as CSV (or JSON with --json).",
    ),
    "check-access": (
        "access",
        "Tell which Unity Catalog privileges somebody has, by what, and the GRANT statement for each one missing.",
    ),
    "doctor": ("checks", "Check versions, and of each place whether it can be reached, read and written."),
    "filter-export": ("bundles", "Make a new bundle of chosen objects of a bundle, which stays as it is."),
    "rewrite-export": (
        "bundles",
        "Make a new bundle of a bundle, with other names or without some tags, params or artifacts; the first one "
        "stays.",
    ),
    "bundle": ("bundles", "Work on bundles."),
    "lineage": ("lineage", "Show where models come from, and what was made of what."),
    "audit": ("governance", "Check a server by rules: names, metadata, descriptions, origins, permissions."),
    "inventory": (
        "governance",
        "Count what is on a server: objects, bytes, owners, growth by month, the biggest artifacts.",
    ),
    "list-registered-models": (
        "tools",
        "List the registered models of a server or bundle with their versions, stages and aliases; prompts are "
        "left out.",
    ),
    "find-artifacts": ("tools", 'Find artifacts of a run by name; one path a line, folders end in "/".'),
    "http-client": (
        "tools",
        "Call a server's REST API once, with the credentials its place has, and show the JSON it answers.",
    ),
    "download-notebook": ("notebooks", "Fetch a notebook of a Databricks workspace, one file for each format."),
    "get-model-signature": ("signatures", "Show the signature of a model as JSON; exit code 1 where it has none."),
    "set-model-signature": (
        "signatures",
        "Give a model a signature: its MLmodel file is written anew where it lies, with all else in it as it is.",
    ),
    "list-model-versions-without-signatures": (
        "signatures",
        "List the versions of registered models that have no signature; exit code 1 where one couldn't be looked at.",
    ),
    "run-submit": (
        "submitting",
        "Run a notebook or a command of this tool as a Databricks job, follow it, and end as it ended.",
    ),
    "cicd": ("cicd", "Let a repository's CI promote models."),
    "promote": (
        "promote",
        "Promote versions of models from environment to environment, by the gates of a policy.",
    ),
    "app": ("app", "Run MLflow as an app: set it up, deploy it, look after it, fill it."),
    "config": ("setup", "Look at the configuration."),
    "kinds": ("setup", "List the kinds of objects that are moved and verified, what of each arrives, and what can't."),
    "completion": ("setup", "Print the completion script of a shell."),
}
"""Name → module of `mlflow_migration.cli`, first sentence of its help. The function has the command's name with `_`."""


def command_of(name: str) -> click.Command:
    """The command itself; one of a group by both names, as `app create`. Raises KeyError for a name that is none."""
    first, *others = name.split(" ")
    module = import_module(f"mlflow_migration.cli.{COMMANDS[first][0]}")
    found: click.Command = getattr(module, first.replace("-", "_"))
    for other in others:
        if not isinstance(found, click.Group):
            raise KeyError(name)
        found = found.commands[other]
    return found


def short(name: str) -> click.Command:
    """What stands for a command in a list: its name and short help, and nothing that it does."""
    return click.Command(name, help=COMMANDS[name][1])
