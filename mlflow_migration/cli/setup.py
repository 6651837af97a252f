"""Commands about the tool itself: config show, completion, kinds."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.later import config as settings
from mlflow_migration.cli.later import objects
from mlflow_migration.errors import DONE, UsageError


@click.group("config", cls=Group)
def config() -> None:
    """Look at the configuration.

    \b
    Examples:
      config show
    """


@config.command("show", cls=Command)
@click.option("--config", "path", metavar="FILE", envvar="MLFLOW_MIGRATION_CONFIG", help="The configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def show(path: str | None, as_json: bool) -> int:
    """Show the configuration in force and where it comes from; secrets only as set.

    \b
    Examples:
      config show
      config show --config places.yml --json
    """
    shown = settings.shown(settings.load(path, os.environ), os.environ)
    if as_json:
        click.echo(json.dumps({"ok": True, "exit_code": DONE, "command": "config show", **shown}))
        return DONE
    click.echo(
        f"file: {shown['file'] or 'none (mlflow-migration.yml here, or config.yml in the configuration folder)'}"
    )
    for title in ("places", "environment"):
        click.echo(f"{title}:")
        rows: Any = shown[title]
        for name, value in rows.items():
            text = ", ".join(f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else value
            click.echo(f"  {'@' if title == 'places' else ''}{name}: {text}")
    return DONE


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    \b
    Examples:
      completion bash >> ~/.bashrc
      completion fish > ~/.config/fish/completions/mlflow-migration.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise UsageError(f"no completion for {shell}")
    root = ctx.find_root().command
    click.echo(found(root, {}, "mlflow-migration", "_MLFLOW_MIGRATION_COMPLETE").source())
    return DONE


@click.command("kinds", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def kinds(as_json: bool) -> int:
    """List the kinds of objects that are moved and verified, what of each arrives, and what can't.

    \b
    Examples:
      kinds
      kinds --json
    """
    if as_json:
        rows = {name: vars(kind.COVERAGE) for name, kind in objects.KINDS.items()}
        click.echo(json.dumps({"ok": True, "exit_code": DONE, "command": "kinds", "kinds": rows}))
        return DONE
    for name, kind in objects.KINDS.items():
        click.echo(f"{name} (MLflow {kind.COVERAGE.since} and later)")
        click.echo(f"  carried      {kind.COVERAGE.carried}")
        click.echo(f"  kept beside  {kind.COVERAGE.kept_beside}")
        click.echo(f"  lost         {kind.COVERAGE.lost}")
    return DONE
