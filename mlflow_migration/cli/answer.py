"""The document a command ends with: printed where --json asks for it, kept for a program that called the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import click

from mlflow_migration.cli.commands import command_of
from mlflow_migration.errors import DONE, UsageError
from mlflow_migration.records import Json

_KEPT = f"{__name__}.document"


@dataclass(frozen=True)
class Answer:
    """How a command that was called ended. `document` is what it prints with --json, empty for one that has none."""

    command: str
    exit_code: int
    document: Json


def give(document: Json, as_json: bool) -> None:
    """Keep a command's document for whoever called it; print it where `as_json` says so."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_KEPT] = document
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))


def call(name: str, words: Sequence[str]) -> Answer:
    """Run a command in this process, with words as they are typed behind its name.

    Nothing ends the process: what went wrong with objects stands in the answer. Raises UsageError for wrong words, and
    the MigrationError that ended the command before it could tell.
    """
    command = command_of(name)
    try:
        with command.make_context(name, list(words)) as context:
            code = command.invoke(context)
            return Answer(name, code or DONE, context.meta.get(_KEPT, {}))
    except click.ClickException as error:
        raise UsageError(error.format_message(), hint=f"mlflow-migration {name} --help") from error
