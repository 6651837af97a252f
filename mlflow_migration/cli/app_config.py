"""`app init`, `app config`, `app versions`, `app render`: what an app is to be, before any workspace is spoken to."""

from __future__ import annotations

import click

from mlflow_migration.apps import config as settings
from mlflow_migration.cli.app_options import CONFIG, JSON, configured
from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.options import Common
from mlflow_migration.cli.output import show as give
from mlflow_migration.errors import DONE


@click.group("config", cls=Group)
def config() -> None:
    """Look at an app's configuration, change it, check it.

    \b
    Examples:
      app config show
      app config validate
    """


@config.command("show", cls=Command)
@CONFIG
@JSON
def show(path: str | None, as_json: bool) -> int:
    """Show the configuration in force, defaults included.

    \b
    Examples:
      app config show
      app config show --json
    """
    found = configured(path).model_dump(mode="json", by_alias=True)
    give("app config show", {"config": found}, settings.text(found).rstrip(), Common(as_json=as_json))
    return DONE


COMMANDS: tuple[click.Command, ...] = (config,)
"""What stands in `app`."""
