"""`app run-local`: an app's runtime on this machine."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli import answer
from mlflow_migration.cli.app_options import CONFIG, DRY, JSON, file_of
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.later import local, module
from mlflow_migration.errors import DONE, UsageError

if TYPE_CHECKING:
    from mlflow_migration.apps import config as configuration
else:
    configuration = module("mlflow_migration.apps.config")

COMMAND = "app run-local"


@click.command("run-local", cls=Command)
@click.option(
    "--folder",
    metavar="DIR",
    default="mlflow-app",
    show_default=True,
    help="Everything the app keeps lies below it: the database while it runs, snapshots, artifacts.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Where it listens.")
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address of this machine it listens on.",
)
@CONFIG
@click.option(
    "--backend",
    type=click.Choice(["sqlite", "lakebase", "databricks"]),
    help="Where MLflow keeps what it knows [default: sqlite].",
)
@click.option(
    "--volume",
    metavar="PLACE",
    help="Where snapshots and artifacts go: a folder, or /Volumes/... by the Files API [default: DIR/volume].",
)
@click.option(
    "--setting",
    "settings",
    metavar="MLFLOW_APP_...=VALUE",
    multiple=True,
    help="A further setting of the runtime, as docs/explanation/app-runtime.md lists them. Repeatable.",
)
@click.option("--open", "open_", is_flag=True, help="Open MLflow in the browser as soon as it serves.")
@DRY
@JSON
def run_local(**given: Any) -> int:
    """Run MLflow as an app on this machine until Ctrl-C, by the very runtime that runs on Databricks Apps.

    With sqlite, snapshots of its database go to a folder while it runs, and the last one when it ends; the next start
    begins with it. The Volume of a configuration is left alone: what runs here keeps its data below --folder, unless
    --volume names a place. Credentials for Databricks are those of the environment.

    \b
    Examples:
      app run-local --open
      app run-local --folder ~/mlflow --port 5000
      app run-local --config mlflow-app.yml --dry-run
    """
    chosen = _chosen(given)
    told = local.told(chosen)
    head = {"command": COMMAND, "url": chosen.url, "status_page": chosen.status_page}
    if given["dry_run"]:
        answer.give({"ok": True, "exit_code": DONE, **head, "dry_run": True, "settings": told}, given["as_json"])
        if not given["as_json"]:
            click.echo("\n".join(f"{name}={value}" for name, value in told.items()))
        return DONE
    local.check_port(chosen)
    _say(chosen)
    ended = threading.Event()
    if given["open_"]:
        threading.Thread(target=_open, args=(chosen, ended), daemon=True).start()
    code = local.run_local(chosen, os.environ)
    ended.set()
    answer.give({"ok": code == DONE, "exit_code": code, **head, "dry_run": False, "settings": told}, given["as_json"])
    return code


def _chosen(given: dict[str, Any]) -> local.Local:
    plain = local.Local(
        folder=Path(given["folder"]),
        port=given["port"],
        host=given["host"],
        volume=given["volume"] or "",
        settings=dict(map(_setting, given["settings"])),
    )
    file = file_of(given["path"])
    arguments = {"backend": given["backend"]} if given["backend"] else {}
    return local.configured(plain, configuration.raw(file) if file else {}, arguments, str(file or "the arguments"))


def _setting(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name.startswith("MLFLOW_APP_"):
        raise UsageError(
            f"--setting {text} is none", "MLFLOW_APP_...=VALUE is expected", "docs/explanation/app-runtime.md"
        )
    return name, value


def _say(chosen: local.Local) -> None:
    click.echo(f"MLflow:    {chosen.url}", err=True)
    click.echo(f"status:    {chosen.status_page}", err=True)
    click.echo(f"kept in:   {local.told(chosen).get('MLFLOW_APP_VOLUME') or 'the workspace'}", err=True)
    click.echo(f"client:    export MLFLOW_TRACKING_URI={shlex.quote(chosen.url)}", err=True)
    for note in chosen.notes:
        click.echo(f"note:      {note}", err=True)
    click.echo("Ctrl-C ends it", err=True)


def _open(chosen: local.Local, ended: threading.Event) -> None:
    if local.wait_until_serving(chosen, ended):
        click.launch(chosen.url)


COMMANDS = (run_local,)
