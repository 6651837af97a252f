"""`app`: MLflow as an app of a Databricks workspace, or anywhere its runtime is started."""

from __future__ import annotations

import click

from mlflow_migration.cli import app_config, app_data, app_local
from mlflow_migration.cli.command import Group


@click.group("app", cls=Group)
def app() -> None:
    """Run MLflow as an app: set it up, deploy it, look after it, fill it.

    \b
    Examples:
      app init --name tracking --volume /Volumes/main/mlflow/app
      app config validate
    """


# One line for each module.
_COMMANDS = [
    *app_config.COMMANDS,
    *app_data.COMMANDS,
    *app_local.COMMANDS,
]
for _command in _COMMANDS:
    app.add_command(_command)
