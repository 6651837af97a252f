"""`app`: MLflow as an app of a Databricks workspace, or anywhere its runtime is started."""

from __future__ import annotations

import click

from mlflow_migration.cli import app_config, app_data, app_deploy, app_local, app_look
from mlflow_migration.cli.command import Group


@click.group("app", cls=Group)
def app() -> None:
    """Run MLflow as an app: set it up, deploy it, look after it, fill it.

    \b
    Examples:
      app init --name tracking --volume /Volumes/main/mlflow/app
      app config set mlflow=latest
      app config validate
      app create
    """


# One line for each module.
_COMMANDS = [
    *app_config.COMMANDS,
    *app_data.COMMANDS,
    *app_deploy.COMMANDS,
    *app_local.COMMANDS,
    *app_look.COMMANDS,
]
for _command in _COMMANDS:
    app.add_command(_command)
