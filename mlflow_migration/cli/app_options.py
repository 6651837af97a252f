"""Options that the commands of `app` share, and the configuration they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli.later import module
from mlflow_migration.errors import UsageError

if TYPE_CHECKING:
    from mlflow_migration.apps import config as settings
else:
    settings = module("mlflow_migration.apps.config")

FILE = "mlflow-app.yml"
"""As in `apps.config`: written out, so that `--help` needs nothing of it."""

CONFIG = click.option(
    "--config",
    "path",
    metavar="FILE",
    envvar="MLFLOW_MIGRATION_APP_CONFIG",
    help=f"The app's configuration [default: {FILE} where this folder has one].",
)
NAME = click.option("--name", metavar="NAME", help="The app, by its name instead of its configuration.")
WORKSPACE = click.option(
    "--workspace",
    metavar="URI",
    default="databricks",
    show_default=True,
    help="The workspace: databricks://PROFILE, or databricks for the one the environment names.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
DRY = click.option("-n", "--dry-run", is_flag=True, help="Read for real, write nothing, say what would be done.")
YES = click.option("-y", "--yes", is_flag=True, help="Don't ask; needed where there is no terminal to ask at.")


def file_of(path: str | None) -> Path | None:
    """The configuration's file: the one that is named, the one in this folder, or None."""
    if path:
        return Path(path)
    return Path(FILE) if Path(FILE).is_file() else None


def configured(path: str | None) -> settings.AppConfig:
    """The configuration a command works with. Raises UsageError where there is none, or it is wrong."""
    found = file_of(path)
    if found is None:
        raise UsageError(f"no {FILE} in this folder", hint="mlflow-migration app init writes one, --config names one")
    return settings.load(found)


def name_of(given: dict[str, Any]) -> str:
    """The app's name: --name, or the configuration's. Raises UsageError where both are given, or neither is there."""
    if given.get("name") and given.get("path"):
        raise UsageError("give --config or --name, not both")
    return str(given["name"]) if given.get("name") else configured(given.get("path")).name
