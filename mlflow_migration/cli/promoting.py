"""What the commands of `promote` share: opening environments, who is at work, and showing what came out."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli.later import config, opening, step
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, UsageError
from mlflow_migration.records import ORIGIN
from mlflow_migration.report import visible, write_report

if TYPE_CHECKING:
    from mlflow_migration.calls import Live
    from mlflow_migration.promotion.policy import Environment, Policy
    from mlflow_migration.promotion.verdicts import Verdict

POLICY = click.option(
    "--policy",
    default="promotion.yml",
    show_default=True,
    metavar="FILE",
    envvar="MLFLOW_MIGRATION_POLICY",
    help="The policy; promote init writes one to begin with.",
)
BY = click.option(
    "--by",
    default="",
    metavar="NAME",
    help="Who you are, where the server knows no users [default: the user of its credentials, or of this machine].",
)
Shown = tuple[Sequence[str], tuple[list[str], list[list[str]]]]
"""Lines for a person, and the head and rows of a table for a report."""


class Places:
    """The environments that are open; all of them are closed at the end."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._open: list[Live] = []

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for live in self._open:
            live.close()

    def open(self, environment: Environment, role: str) -> Live:
        """An environment's place, with its registry. `role` is SRC or DST. Raises UsageError, AccessError."""
        live: Live = opening.server(environment.server, role, self._common)
        if environment.registry:
            live = step.joined(live, opening.server(environment.registry, role, self._common))
        self._open.append(live)
        return live

    def user(self, policy: Policy, environment: str, role: str) -> str:
        """The user that an environment's credentials name, "" where they name none."""
        settings = config.load(self._common.config, os.environ)
        server = policy.known(environment).server
        _, credentials = settings.place(server, role, os.environ)
        return credentials.username or os.environ.get("MLFLOW_TRACKING_USERNAME", "")


def person(given: str, known: str) -> str:
    """Who is at work. Raises UsageError where a name is given that isn't the server's user."""
    if given and known and given != known:
        raise UsageError(f"--by {given}, but the credentials are those of {known}", hint="leave --by out")
    found = given or known
    if found:
        return found
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise UsageError("nobody is known to be at work", str(error), "give --by NAME") from error


def tags_of(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """KEY=VALUE of --tag. Raises UsageError for anything else."""
    pairs = [text.partition("=") for text in texts]
    for key, separator, value in pairs:
        if not key.strip() or not separator:
            raise UsageError(f"not a tag: {key}{separator}{value}", hint="write KEY=VALUE")
        if key.startswith(ORIGIN):
            raise UsageError(f"the tag {key} is not yours to set", f"{ORIGIN}* are this tool's own")
    return tuple((key, value) for key, _, value in pairs)


def verdict_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """One line for each gate, and why where it refuses."""
    lines = []
    for each in verdicts:
        lines.append(f"{'pass  ' if each.passed else 'REFUSE'} {each.name}: wanted {each.wanted}; found {each.found}")
        if each.reason:
            lines.append(f"       {each.reason}")
    return lines


def finish(common: Common, command: str, code: int, document: dict[str, Any], shown: Shown) -> None:
    """Print what came out: one JSON document, or lines; and write the report."""
    lines, table = shown
    whole = {"ok": code == DONE, "exit_code": code, "command": command, **document}
    if common.report:
        write_report(common.report, whole, command, table, lines)
    if common.as_json:
        click.echo(json.dumps(whole, ensure_ascii=False))
    elif not common.quiet or code:
        for line in lines:
            click.echo(visible(line))
