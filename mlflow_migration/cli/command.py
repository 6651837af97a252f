"""The click command all commands are: errors become three lines and an exit code, booleans take the old True|False."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from mlflow_migration.errors import EXIT_CODES, INTERRUPTED, MigrationError, UsageError
from mlflow_migration.report import error_json

F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger(__name__)


class Command(click.Command):
    """A command whose help ends with the exit codes, and whose errors a person can act on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in EXIT_CODES.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _old_verbose(args))

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        words = list(sys.argv[1:] if args is None else args)
        return run(lambda: super(Command, self).main(words, *more, **extra), words, self.name or "")


def _old_verbose(words: list[str]) -> list[str]:
    """The words of a command with mlflow-export-import's `--verbose True|False` as the flag it is here."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == "--verbose" and word.lower() in {"true", "false"}:
            if word.lower() == "false":
                found.pop()
        else:
            found.append(word)
    return found


class Group(click.Group):
    """The umbrella command. Suggests the nearest command for a typo."""

    command_class = Command

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        words = list(sys.argv[1:] if args is None else args)
        return run(lambda: super(Group, self).main(words, *more, **extra), words, words[0] if words else "")

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3)
            if not near or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {', '.join(near)}?", ctx) from error


def run(work: Callable[[], Any], words: list[str], name: str) -> None:
    """Do the command's work and leave with its exit code. With --json every ending is one document on stdout."""
    try:
        sys.exit(work() or 0)
    except MigrationError as error:
        log.debug("%s", error, exc_info=True)
        if "--json" in words:
            _document(name, error.exit_code, error_json(error))
        say_error(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if "--json" in words:
            _document(
                name,
                UsageError.exit_code,
                {"code": UsageError.exit_code, "message": error.format_message(), "hint": f"{name} --help"},
            )
        say_error(UsageError(error.format_message(), hint=f"{name} --help"))
        sys.exit(UsageError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)


def _document(name: str, code: int, error: Any) -> None:
    click.echo(json.dumps({"ok": False, "exit_code": code, "command": name, "error": error}, ensure_ascii=False))


def say_error(error: MigrationError) -> None:
    """What happened; where and why; what to do next."""
    click.echo(f"error: {error.what}", err=True)
    if error.why:
        click.echo(f"  {error.why}", err=True)
    if error.hint:
        click.echo(f"  try: {error.hint}" if not error.hint.startswith("try") else f"  {error.hint}", err=True)


def boolean(name: str, default: bool, text: str) -> Callable[[F], F]:
    """A flag `--name/--no-name` that also takes mlflow-export-import's `--name True|False`."""
    parameter = name.replace("-", "_")

    def switch_off(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(dict)[parameter] = False

    def value_of(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        return bool(ctx.ensure_object(dict).get(parameter, value))

    def decorate(function: F) -> F:
        function = click.option(
            f"--{name}",
            parameter,
            is_flag=False,
            flag_value="true",
            default=str(default).lower(),
            type=click.BOOL,
            callback=value_of,
            metavar="[True|False]",
            help=f"{text} [default: {default}; --no-{name} turns it off]",
        )(function)
        return click.option(
            f"--no-{name}", is_flag=True, is_eager=True, expose_value=False, hidden=True, callback=switch_off
        )(function)

    return decorate
