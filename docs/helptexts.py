"""What a command's help says, taken apart."""

from __future__ import annotations

import re
import textwrap

import click

from mlflow_migration.cli.commands import COMMANDS, command_of

LONGEST = 1000
_EXAMPLES = re.compile(r"\n*\x08?\n?Examples:\n(.*)", re.DOTALL)


def examples_of(command: click.Command) -> str:
    """The examples at the end of a command's help, "" where there are none."""
    found = _EXAMPLES.search(command.help or "")
    return textwrap.dedent(found[1]).strip() if found else ""


def description_of(command: click.Command) -> str:
    """What a command's help says of it, without the examples, as one line."""
    return " ".join(_EXAMPLES.sub("", command.help or "").replace("\x08", "").split())


def short_of(name: str) -> str:
    """What a list of commands says of one: the first sentence of its help."""
    return COMMANDS[name][1] if name in COMMANDS else command_of(name).get_short_help_str(LONGEST)
