"""`app create`, `update`, `deploy`, `delete`, `start`, `stop`: what changes an app of a workspace."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlflow_migration.cli import answer
from mlflow_migration.cli.app_options import CONFIG, DRY, JSON, NAME, WORKSPACE, YES, configured, name_of
from mlflow_migration.cli.command import Command, say_error
from mlflow_migration.cli.later import config as settings
from mlflow_migration.cli.later import deploy as deploying
from mlflow_migration.cli.later import health, lifecycle, module
from mlflow_migration.errors import DONE, UsageError
from mlflow_migration.report import error_json, visible

if TYPE_CHECKING:
    from mlflow_migration.apps import secrets
    from mlflow_migration.apps.deploy import Options, Outcome
    from mlflow_migration.apps.health import Workspace
    from mlflow_migration.cli import logs
else:
    logs = module("mlflow_migration.cli.logs")
    secrets = module("mlflow_migration.apps.secrets")

F = TypeVar("F", bound=Callable[..., Any])
PATIENCE = click.option(
    "--patience",
    type=click.FloatRange(1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    envvar="MLFLOW_MIGRATION_PATIENCE",
    help="How long a request is repeated while the workspace is down or busy.",
)
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=1200.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the platform is waited for, at each step.",
)
POLL = click.option(
    "--poll",
    type=click.FloatRange(0.05),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="Between the first two looks; later ones are up to 10 seconds apart.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show the end alone.")
VERBOSE = click.option("-v", "--verbose", count=True, help="Show requests that are repeated; -vv tracebacks too.")
ROLLBACK = click.option(
    "--rollback/--no-rollback",
    default=True,
    show_default=True,
    help="Go back to the deployment before one that failed.",
)
FORCE = click.option("--force", is_flag=True, help="Deploy though nothing differs.")
CLEAN = click.option("--clean", is_flag=True, help="Remove what a first deployment made, if it fails.")
RESET = click.option(
    "--reset-database",
    is_flag=True,
    help="lakebase: drop the schema with everything in it first. Asks, or needs --yes.",
)


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        shared: list[Callable[[F], F]] = [WORKSPACE, TIMEOUT, POLL, PATIENCE, DRY, JSON, QUIET, VERBOSE]
        for option in reversed([*options, *shared]):
            function = option(function)
        return function

    return decorate


@click.command("create", cls=Command)
@_options(CONFIG, CLEAN)
def create(**given: Any) -> int:
    """Make the app of a configuration: database, secret, app, rights, files, deployment.

    Everything is looked at first; what is wrong is told in one list, and nothing is begun. The same command goes on
    where it stopped. A passphrase MLflow encrypts with that exists already is taken from
    MLFLOW_MIGRATION_APP_ENCRYPTION_KEY; one that the workspace has stays.

    \b
    Examples:
      app create
      app create --config mlflow-app.yml --workspace databricks://PROD --dry-run
    """
    return _deployed("app create", given, False)


@click.command("update", cls=Command)
@_options(CONFIG, ROLLBACK, FORCE, RESET, YES)
def update(**given: Any) -> int:
    """Make an app what its configuration says now. One that is so already isn't touched.

    \b
    Examples:
      app update
      app update --reset-database --yes
    """
    return _deployed("app update", given, True)


@click.command("deploy", cls=Command)
@_options(CONFIG, ROLLBACK, FORCE, CLEAN, RESET, YES)
def deploy(**given: Any) -> int:
    """Make the app of a configuration, or make it what the configuration says: create and update in one.

    \b
    Examples:
      app deploy
      app deploy --force
    """
    return _deployed("app deploy", given, None)


@click.command("delete", cls=Command)
@click.option(
    "--delete-data",
    is_flag=True,
    help="Its data too: snapshots and artifacts in its Volume, its schema, its passphrase. Needs the configuration.",
)
@_options(CONFIG, NAME, YES)
def delete(**given: Any) -> int:
    """Delete an app with its files and grants; its data stays, unless it is to go too. One that is gone is no failure.

    \b
    Examples:
      app delete --name tracking
      app delete --config mlflow-app.yml --delete-data --yes
    """
    name, data = name_of(given), given["delete_data"]
    if data and given["name"]:
        raise UsageError(
            "--delete-data needs the configuration", "it says where the data is", "give --config in place of --name"
        )
    chosen = lifecycle.by_name(name) if given["name"] else configured(given["path"])
    _confirm(f"Delete the app {name}{' and all its data' if data else ''}?", given)
    with _opened(given) as place:
        return _told("app delete", lifecycle.delete(place, chosen, _how(given), data), given)


@click.command("start", cls=Command)
@_options(CONFIG, NAME)
def start(**given: Any) -> int:
    """Start an app that is stopped, and wait until it answers.

    \b
    Examples:
      app start --name tracking
      app start --config mlflow-app.yml --json
    """
    name = name_of(given)
    with _opened(given) as place:
        return _told("app start", lifecycle.start(place, name, _how(given)), given)


@click.command("stop", cls=Command)
@_options(CONFIG, NAME)
def stop(**given: Any) -> int:
    """Stop an app: it writes its last snapshot, and costs nothing until it is started again.

    \b
    Examples:
      app stop --name tracking
      app stop --name tracking --dry-run
    """
    name = name_of(given)
    with _opened(given) as place:
        return _told("app stop", lifecycle.stop(place, name, _how(given)), given)


COMMANDS: tuple[click.Command, ...] = (create, update, deploy, delete, start, stop)
"""What stands in `app`."""


def _deployed(command: str, given: dict[str, Any], expects: bool | None) -> int:
    chosen = configured(given["path"])
    if given.get("reset_database"):
        _confirm(f"Drop all of MLflow's tables of the app {chosen.name}?", given)
    with _opened(given) as place:
        return _told(command, deploying.deploy(place, chosen, _how(given), expects), given)


@contextmanager
def _opened(given: dict[str, Any]) -> Iterator[Workspace]:
    logs.configure(given["verbose"])
    uri, credentials = settings.load(None, os.environ).place(given["workspace"], "DST", os.environ)
    from mlflow_migration.server.address import is_databricks, printable

    if not is_databricks(uri):
        raise UsageError(
            f"apps are in Databricks workspaces only: {printable(uri)}", hint="give --workspace databricks://PROFILE"
        )
    place = health.opened(uri, credentials, given["patience"])
    with closing(place.rest):
        yield place


def _how(given: dict[str, Any]) -> Options:
    names = ("dry_run", "rollback", "clean", "force", "reset_database")
    return deploying.Options(
        **{name: given[name] for name in names if name in given},
        first=given["poll"],
        seconds=given["timeout"],
        steady=min(5.0, 10 * given["poll"]),
        passphrase=os.environ.get(secrets.VARIABLE, ""),
        tell=_silent if given["quiet"] or given["as_json"] else _say,
    )


def _say(line: str) -> None:
    click.echo(visible(line), err=True)


def _silent(_: str) -> None:
    """Tell nobody."""


def _confirm(question: str, given: dict[str, Any]) -> None:
    """Ask whoever sits at a terminal. Raises UsageError where nobody does and --yes isn't given."""
    if given["yes"] or given["dry_run"]:
        return
    if given["as_json"] or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("this has to be confirmed", question, "--yes confirms it where there is no terminal")
    click.confirm(question, abort=True, err=True)


def _told(command: str, outcome: Outcome, given: dict[str, Any]) -> int:
    code = outcome.exit_code
    head = {"ok": code == DONE, "exit_code": code, "command": command, "dry_run": given["dry_run"]}
    answer.give({**head, **outcome.as_json(), "error": error_json(outcome.failure)}, given["as_json"])
    if outcome.failure:
        say_error(outcome.failure)
    if not given["as_json"]:
        click.echo("  ".join(filter(None, [outcome.app_name, outcome.status, outcome.url])))
    return code
