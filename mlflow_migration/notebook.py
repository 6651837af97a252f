"""Commands in a Databricks notebook: widgets in place of options, the report as a table, an exception for a failure.

A notebook makes a widget for each option, and then has one cell:

    from mlflow_migration import notebook
    result = notebook.run("export-run", dbutils.widgets.getAll(), displayHTML)

`databricks_notebooks/` has one for each command that people need there, made from the commands themselves.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import click

from mlflow_migration.cli import answer
from mlflow_migration.cli.commands import COMMANDS, command_of
from mlflow_migration.errors import EXIT_CODES, MigrationError, UsageError
from mlflow_migration.records import Json

NONE = "none"
"""Chosen where an option is not to be given: a widget with choices can't be empty."""
HIDDEN = ("as_json", "quiet")
"""Parameters about a terminal, which a notebook isn't."""
OLD = "Accepted for old commands"
"""How the help of an option without effect begins."""
PLACES = ("tracking_uri", "src_mlflow_uri", "dst_mlflow_uri", "src_registry_uri", "dst_registry_uri")
HERE = ("databricks", "databricks-uc")
"""The workspace the notebook runs in: with the registry of its own, and with that of Unity Catalog."""
SEVERAL = ";"
"""Between the values of an option that may be given more than once."""
ROWS_SHOWN = 200
LONGEST_RESULT = 1_000_000
"""Characters of a notebook's exit value; Databricks keeps 5 MB of it."""
PAGES = {"experiment": "experiments", "registered_model": "models", "prompt": "prompts"}
"""Kinds whose objects have a page of their own in MLflow's UI that needs nothing but the object's id or name."""
_STATED = re.compile(r"\s*\[default: [^\]]*\]")
_CHOICES = re.compile(r"\s*(Repeatable\. )?One of: .*")


@dataclass(frozen=True)
class Widget:
    """What a notebook shows for an option. `kind` is text, dropdown, combobox or multiselect, as `dbutils.widgets` has
    them; `help` says what the option means."""

    name: str
    kind: str
    default: str
    choices: tuple[str, ...]
    required: bool
    help: str


def widgets_of(command: str) -> list[Widget]:
    """The widgets of a command's notebook, those that must be filled in first."""
    found = [_widget(parameter) for parameter in _parameters(command)]
    return sorted(found, key=lambda widget: not widget.required)


def run(command: str, values: Mapping[str, str], show: Callable[[str], object]) -> str:
    """Run a command with the values of its widgets; `show` is given the report as HTML.

    Returns the report as JSON text, fit for `dbutils.notebook.exit`: without its rows where they make it too long.
    Raises UsageError for values that make no sense, and MigrationError where the command's exit code would not be 0, so
    that a job fails.
    """
    ended = answer.call(command, words_of(command, values))
    show(table_of(ended))
    if ended.exit_code:
        raise _failed(ended)
    text = json.dumps(ended.document, ensure_ascii=False)
    if len(text) > LONGEST_RESULT:
        short = {key: value for key, value in ended.document.items() if not isinstance(value, list)}
        text = json.dumps({**short, "shortened": True}, ensure_ascii=False)
    return text


def task() -> None:
    """The entry point of a job's wheel task: a command's name and its words, run to their end.

    It returns where all went well: a wheel task takes any SystemExit, of code 0 too, for a failure. The report is
    printed as JSON, which is the task's log. Raises as `run` does.
    """
    command, *words = sys.argv[1:] or [""]
    if command not in COMMANDS:
        raise UsageError(f"no such command: {command!r}", hint="the first parameter is one, the others are its words")
    ended = answer.call(command, words)
    click.echo(json.dumps(ended.document, ensure_ascii=False))
    if ended.exit_code:
        raise _failed(ended)


def words_of(command: str, values: Mapping[str, str]) -> list[str]:
    """The words of a command line that mean what the widgets say. Values of other names, as jobs hand them to each of
    their notebooks, are not looked at."""
    words: list[str] = []
    behind: list[str] = []
    for parameter in _parameters(command):
        value = values.get(_name(parameter), "").strip()
        if not value or value == NONE:
            continue
        if isinstance(parameter, click.Argument):
            behind += _taken_apart(value)
        else:
            words += _words(parameter, value)
    return [*words, "--", *behind] if behind else words


def _taken_apart(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(
            f"these words can't be taken apart: {error}", hint="quote them as a shell takes them"
        ) from error


def _words(option: click.Parameter, value: str) -> Iterator[str]:
    name = max(option.opts, key=len)
    if isinstance(option, click.Option) and option.count:
        yield from [name] * int(value)
    elif isinstance(option, click.Option) and option.is_flag:
        if value == "true":
            yield name
        elif option.secondary_opts:
            yield max(option.secondary_opts, key=len)
    elif option.multiple and isinstance(option.type, click.Choice):
        yield from (f"{name}={each.strip()}" for each in value.split(",") if each.strip() not in {"", NONE})
    elif option.multiple:
        yield from (f"{name}={each.strip()}" for each in value.split(SEVERAL) if each.strip())
    else:
        yield f"{name}={value}"


def _parameters(command: str) -> Iterator[click.Parameter]:
    for parameter in command_of(command).params:
        if parameter.name not in HIDDEN and not (isinstance(parameter, click.Option) and _is_idle(parameter)):
            yield parameter


def _is_idle(option: click.Option) -> bool:
    return option.hidden or (option.help or "").startswith(OLD)


def _name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len).lstrip("-")


def _widget(parameter: click.Parameter) -> Widget:
    name, default = _name(parameter), _default(parameter)
    text = _help(parameter)
    if parameter.name in PLACES:
        return Widget(name, "combobox", HERE[0], HERE, False, text)
    if isinstance(parameter.type, click.Choice):
        choices = tuple(map(str, parameter.type.choices))
        if NONE in choices:
            raise ValueError(f"{name} has a choice {NONE!r}, which here means that none is given")
        kind = "multiselect" if parameter.multiple else "dropdown"
        if default:
            return Widget(name, kind, default, choices, False, text)
        return Widget(name, kind, NONE, (NONE, *choices), False, text)
    if isinstance(parameter, click.Option) and parameter.count:
        return Widget(name, "dropdown", "0", ("0", "1", "2"), False, text)
    if isinstance(parameter.type, click.types.BoolParamType):
        return Widget(name, "dropdown", default or "false", ("true", "false"), False, text)
    text += f" Several: with {SEVERAL!r} between them." if parameter.multiple else ""
    return Widget(name, "text", default, (), parameter.required, text)


def _help(parameter: click.Parameter) -> str:
    """What an option means, without what its widget shows anyway: its default and its choices."""
    if not isinstance(parameter, click.Option):
        shown = parameter.metavar or (parameter.name or "").upper()
        return f"As it is typed behind the command's name: {shown}."
    text = parameter.help or ""
    if parameter.name in PLACES or isinstance(parameter.type, click.types.BoolParamType):
        text = _STATED.sub("", text)
    return _CHOICES.sub("", text) if isinstance(parameter.type, click.Choice) else text


def _default(parameter: click.Parameter) -> str:
    """The default as a widget shows it; "" where there is none."""
    value = parameter.default
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else ""


def table_of(ended: answer.Answer) -> str:
    """A command's answer as HTML: its counts by kind, then each object that is not plainly there, with links."""
    document = ended.document
    parts = [f"<h3>{html.escape(ended.command)}: {html.escape(EXIT_CODES[ended.exit_code])}</h3>"]
    ends = [document.get(side) for side in ("source", "destination", "left", "right")]
    if places := [_place(str(place)) for place in ends if place]:
        parts.append(f"<p>{' → '.join(places)}</p>")
    kinds = document.get("kinds")
    if isinstance(kinds, dict) and kinds:
        names = list(next(iter(kinds.values())))
        body = [[html.escape(kind), *(f"{counts[name]:,}" for name in names)] for kind, counts in kinds.items()]
        parts.append(_table(["kind", *names], body))
    for name, rows in _lists_of(document):
        if all(isinstance(row, dict) for row in rows):
            parts.append(_rows(name, rows, str(document.get("destination") or "")))
        else:
            parts.append(f"<pre>{html.escape(chr(10).join(map(str, rows[:ROWS_SHOWN])))}</pre>")
    if isinstance(document.get("error"), dict):
        parts.append(f"<p><b>{html.escape(str(document['error'].get('message')))}</b></p>")
    return "\n".join(parts)


def _lists_of(document: Json) -> Iterator[tuple[str, list[Any]]]:
    """The lists in a document, those of a job's run too."""
    for name, value in document.items():
        if isinstance(value, (list, tuple)) and value:
            yield name, list(value)
        elif name == "run" and isinstance(value, dict):
            yield from _lists_of(value)


def _rows(title: str, rows: list[Json], destination: str) -> str:
    names = [name for name in rows[0] if any(row.get(name) not in ("", None, [], {}) for row in rows)]
    body = [[_cell(row, name, destination) for name in names] for row in rows[:ROWS_SHOWN]]
    more = f"<p>… and {len(rows) - ROWS_SHOWN:,} more</p>" if len(rows) > ROWS_SHOWN else ""
    return f"<h4>{html.escape(title.replace('_', ' '))}</h4>" + _table(names, body) + more


def _cell(row: Json, name: str, destination: str) -> str:
    value = row.get(name)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    page = PAGES.get(str(row.get("kind")))
    if name == "new_id" and value and page and destination.startswith("http"):
        return _link(f"{destination}/#/{page}/{quote(text, safe='')}", text)
    return _place(text) if text.startswith(("http://", "https://")) else html.escape(text)


def _place(text: str) -> str:
    return _link(text, text) if text.startswith(("http://", "https://")) else html.escape(text)


def _link(address: str, text: str) -> str:
    return f'<a href="{html.escape(address)}" target="_blank">{html.escape(text)}</a>'


def _table(head: list[str], body: list[list[str]]) -> str:
    """Cells of the body are HTML already."""
    rows = ["".join(f"<th>{html.escape(name)}</th>" for name in head)]
    rows += ["".join(f"<td>{cell}</td>" for cell in row) for row in body]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _failed(ended: answer.Answer) -> MigrationError:
    """What a failed job shows: the first reasons, of those that need a person's eye."""
    document = ended.document
    error = document.get("error")
    lists = dict(_lists_of(document))
    rows = lists.get("rows") or lists.get("differences") or []
    reasons = [f"{row.get('kind')} {row.get('name')}: {row.get('reason') or row.get('state')}" for row in rows[:3]]
    reasons += [str(task["error"]) for task in lists.get("tasks", []) if task.get("error")]
    reasons += lists.get("statements", [])
    why = str(error["message"]) if isinstance(error, dict) else "; ".join(reasons)
    return MigrationError(f"{ended.command} ended with exit code {ended.exit_code}", why or EXIT_CODES[ended.exit_code])
