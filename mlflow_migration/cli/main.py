"""`mlflow-migration`: all commands under one name."""

from __future__ import annotations

from typing import Any

import click

from mlflow_migration.cli.command import Group
from mlflow_migration.cli.commands import COMMANDS, command_of, short


class Umbrella(Group):
    """The group of all commands: it knows their names and short help, and imports only the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return command_of(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        click.Group(commands=[short(name) for name in COMMANDS]).format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        begun = [short(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        names = [CompletionItem(command.name, help=command.get_short_help_str()) for command in begun]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=Umbrella, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mlflow-migration", prog_name="mlflow-migration")
def main() -> None:
    """Move MLflow objects between servers and backups: nothing lost, nothing twice, provably.

    \b
    Examples:
      mlflow-migration export-experiments --experiments all --output-dir backup
      mlflow-migration copy-experiments --experiments all --src-mlflow-uri http://old:5000 --dst-mlflow-uri http://new:5000
      mlflow-migration verify http://old:5000 http://new:5000
    """


def all_commands() -> tuple[click.Command, ...]:
    """Every command, imported."""
    return tuple(command_of(name) for name in COMMANDS)
