"""What commands that look give out: text or one JSON document on stdout, and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import click

from mlflow_migration.cli import answer
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, UsageError
from mlflow_migration.records import Json
from mlflow_migration.report import visible


def show(command: str, document: Json, text: str, common: Common, code: int = DONE) -> None:
    """The text, or with --json the document after what every document begins with."""
    head = {"ok": code == DONE, "exit_code": code, "command": command}
    answer.give({**head, **document, "error": None}, common.as_json)
    if not common.as_json:
        click.echo(text)


def check(path: str | None) -> None:
    """Raise UsageError before the work begins where a file couldn't be written after it."""
    if path is not None and (not path.strip() or Path(path).is_dir() or not Path(path).resolve().parent.is_dir()):
        raise UsageError(f"can't write {path!r}", "it is a folder, or in none", "give a file in a folder that is there")


def report(path: str | None, document: Json, html: Callable[[], str], markdown: Callable[[], str]) -> None:
    """Write the file of --report, if one is asked for, in the format its name ends in; `check_report_path` has looked
    at it before. Raises UsageError where it can't be written."""
    if path is None:
        return
    if path.endswith(".json"):
        write(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    else:
        write(path, (html if path.endswith(".html") else markdown)() + "\n")


def write(path: str, text: str) -> None:
    """Write a file. Raises UsageError where it can't be written."""
    write_with(path, lambda out: out.write(text))


def write_with(path: str, fill: Callable[[IO[str]], Any]) -> None:
    """Write a file by `fill(file)`. Raises UsageError where it can't be written."""
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as out:
            fill(out)
    except OSError as error:
        raise UsageError(f"can't write {path}", error.strerror or str(error)) from error


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns for a person; control characters in names are shown as escapes."""
    cells = [[visible(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
