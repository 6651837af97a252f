"""What a command's help says, taken apart."""

from __future__ import annotations

import re
import textwrap

import click

_EXAMPLES = re.compile(r"\n*\x08?\n?Examples:\n(.*)", re.DOTALL)


def examples_of(command: click.Command) -> str:
    """The examples at the end of a command's help, "" where there are none."""
    found = _EXAMPLES.search(command.help or "")
    return textwrap.dedent(found[1]).strip() if found else ""


def description_of(command: click.Command) -> str:
    """What a command's help says of it, without the examples, as one line."""
    return " ".join(_EXAMPLES.sub("", command.help or "").replace("\x08", "").split())
