"""The generated parts of the reference.

The README and the pages of docs/reference are written by hand around blocks like

    <!-- generated: exit-codes -->
    …
    <!-- end -->

and the text between is made here, from the code itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from benchmarks.page import BLOCKS as BENCH_BLOCKS
from benchmarks.page import CHARTS
from docs import policies, values
from docs.helptexts import description_of, examples_of
from docs.notebooks import FOLDER, listing, notebooks
from mlflow_migration.apps import config as app_config
from mlflow_migration.cli.main import all_commands
from mlflow_migration.errors import EXIT_CODES, MigrationError

_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DEFAULT = re.compile(r"\s*\[default: ([^\];]+)[^\]]*\]")


def regenerated(root: Path) -> Iterator[tuple[Path, str]]:
    """Each page with blocks, each chart, each notebook, and what it should hold. Raises KeyError for a block nobody
    makes."""
    performance = root / "docs" / "explanation" / "performance.md"
    for name, text in notebooks():
        yield root / FOLDER / name, text
    reference = sorted((root / "docs" / "reference").glob("*.md"))
    for page in [root / "README.md", performance, *reference, root / FOLDER / "README.md"]:
        text = page.read_text(encoding="utf-8")
        yield page, _BLOCK.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]().strip()}\n{match[3]}", text)
    for name, draw in CHARTS.items():
        yield performance.with_name(name), draw()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def walk_commands(commands: Iterable[click.Command], prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, a group before its members."""
    for command in commands:
        name = f"{prefix}{command.name}"
        yield name, command
        if isinstance(command, click.Group):
            yield from walk_commands(command.commands.values(), f"{name} ")


def shown_options(command: click.Command) -> list[click.Option]:
    """A command's options but for hidden ones."""
    return [param for param in command.params if isinstance(param, click.Option) and not param.hidden]


def commands() -> str:
    """All commands: usage, what they do, options, examples; options that all share stand once, at the end."""
    every = walk_commands(all_commands())
    leaves = [(name, command) for name, command in every if not isinstance(command, click.Group)]
    speaking = [command for _, command in leaves if any(option.name == "workers" for option in shown_options(command))]
    shared = set.intersection(*({_option(option) for option in shown_options(command)} for command in speaking))
    parts = []
    for name, command in leaves:
        rows = [_option(option) for option in shown_options(command)]
        own = [row for row in rows if row not in shared]
        parts += [f"## {name}\n", _usage(name, command), description_of(command), ""]
        if own:
            parts.append(_options(own))
        if len(own) < len(rows):
            parts.append("And the [common options](#common-options).\n")
        parts.append(f"```sh\n{examples_of(command)}\n```\n")
    first = next(command for command in speaking)
    common = [row for row in map(_option, shown_options(first)) if row in shared]
    return "\n".join([*parts, "## Common options\n", "Of every command that speaks to places.\n", _options(common)])


def _usage(name: str, command: click.Command) -> str:
    pieces = command.collect_usage_pieces(click.Context(command, info_name=name))
    return f"`mlflow-migration {' '.join([name, *pieces])}`\n"


def _options(rows: Iterable[tuple[str, str, str, str]]) -> str:
    rows = list(rows)
    width = 4 if any(row[3] for row in rows) else 3
    return table(("option", "meaning", "default", "variable")[:width], (row[:width] for row in rows))


def _option(option: click.Option) -> tuple[str, str, str, str]:
    """Name with value, meaning, default, environment variable."""
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag or option.count else f" `{_metavar(option)}`"
    help_ = option.help or ""
    stated = _DEFAULT.search(help_)
    default = stated[1] if stated else _default(option)
    variable = option.envvar if isinstance(option.envvar, str) else ""
    return names + value, _DEFAULT.sub("", help_), default, f"`{variable}`" if variable else ""


def _metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return "N" if isinstance(option.type, (click.types.IntParamType, click.IntRange)) else option.type.name.upper()


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    shown = isinstance(option.default, (str, int, float)) and not isinstance(option.default, bool)
    return f"{option.default}" if shown and not option.count and option.default != "" else ""


def exit_codes() -> str:
    return table(("code", "meaning"), ((str(code), text) for code, text in EXIT_CODES.items()))


def error_classes() -> str:
    """The exception classes with the exit code each carries."""
    rows = []
    for error in sorted(_subclasses(MigrationError), key=lambda error: (error.exit_code, error.__name__)):
        rows.append(
            (f"`{error.__name__}`", str(error.exit_code), " ".join((error.__doc__ or "").split("\n\n")[0].split()))
        )
    return table(("class", "exit code", "when"), rows)


def _subclasses(base: type[MigrationError]) -> Iterator[type[MigrationError]]:
    for error in base.__subclasses__():
        yield error
        yield from _subclasses(error)


def variables() -> str:
    """Every environment variable: those of options, of places and of logging."""
    found = dict(values.VARIABLES)
    for _, command in walk_commands(all_commands()):
        for option in shown_options(command):
            if isinstance(option.envvar, str):
                found.setdefault(option.envvar, f"Same as `{option.opts[-1]}`. " + _DEFAULT.sub("", option.help or ""))
    return table(("variable", "meaning"), ((f"`{name}`", text) for name, text in found.items()))


def _app_form(form: str) -> Callable[[], str]:
    return lambda: table(("key", "meaning", "default"), policies.rows(form, app_config.schema()))


BLOCKS: Mapping[str, Callable[[], str]] = {
    **BENCH_BLOCKS,
    "commands": commands,
    "exit-codes": exit_codes,
    "error-classes": error_classes,
    "variables": variables,
    "place-settings": lambda: table(("key", "meaning"), values.place_settings()),
    "role-variables": lambda: table(("variable", "meaning"), values.role_variables()),
    "states": lambda: table(("state", "meaning"), values.states()),
    "losses": lambda: table(("kind", "what stays behind"), values.losses()),
    "moving-document": values.moving_document,
    "comparing-document": values.comparing_document,
    "bundle-constants": lambda: table(("what", "value"), values.bundle_constants()),
    "quoted-names": lambda: table(("name at the server", "file name in the bundle"), values.quoted_names()),
    "policy-keys": lambda: table(("key", "meaning", "default"), policies.rows("")),
    "policy-environment": lambda: table(("key", "meaning", "default"), policies.rows("Environment")),
    "policy-rule": lambda: table(("key", "meaning", "default"), policies.rows("Rule")),
    "policy-audit": lambda: table(("key", "meaning", "default"), policies.rows("Audit")),
    "policy-audit-names": lambda: table(("key", "meaning", "default"), policies.rows("Names")),
    "policy-audit-runs": lambda: table(("key", "meaning", "default"), policies.rows("Runs")),
    "audit-rules": lambda: table(("rule", "severity", "a finding means", "what to do"), policies.audit_rules()),
    "policy-gates": policies.gates,
    "policy-schema": policies.fenced,
    "app-keys": lambda: table(("key", "meaning", "default"), policies.rows("", app_config.schema())),
    **{f"app-{form.lower()}": _app_form(form) for form in ("Snapshots", "Lakebase", "Package", "Encryption", "Grant")},
    "app-schema": lambda: policies.fenced(app_config.schema()),
    "coverage": lambda: table(("kind", "since", "carried", "kept beside", "lost"), values.coverage()),
    "notebooks": listing,
    "kinds": lambda: table(("kind", "in a bundle", "rows", "needs"), values.kinds()),
}
