"""`app`: MLflow as an app, on Databricks Apps or anywhere its runtime is started."""

from __future__ import annotations

import click

from mlflow_migration.cli import app_local
from mlflow_migration.cli.command import Group


@click.group("app", cls=Group)
def app() -> None:
    """Run MLflow as an app: deploy it, look after it, move data into it.

    \b
    Examples:
      app run-local
    """


app.add_command(app_local.run_local)
