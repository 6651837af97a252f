"""Runs a Databricks notebook in source format as a driver would, without Databricks.

`python -m tests.databricks.run_notebook PATH [PARAMS.json]` prints one JSON object and exits 1 where a cell failed:

    {"exit": "…", "error": null, "trace": null, "shown": ["<table>…"], "installs": ["…"], "widgets": {"run-id": {…}}}

`exit` is what `dbutils.notebook.exit` was given, `error` the exception that ended the notebook, `shown` what
`displayHTML` and `display` were given. The environment is that of the platform: DATABRICKS_HOST, DATABRICKS_TOKEN and
so on come from whoever starts this.
"""

import contextlib
import json
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any

from tests.databricks.dbutils import DbUtils, NotebookExit

HEADER = "# Databricks notebook source"
BORDER = "# COMMAND ----------"
MAGIC = "# MAGIC"
SHELL_SECONDS = 300
Json = dict[str, Any]


@dataclass
class Ended:
    """How a notebook ended."""

    exit: str | None = None
    error: str | None = None
    trace: str | None = None
    shown: list[str] = field(default_factory=list)
    installs: list[str] = field(default_factory=list)
    widgets: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One cell: its language and its text, without the marks of the source format."""

    language: str
    text: str


def cells(path: Path) -> Iterator[Cell]:
    """The cells of a notebook. Raises ValueError for a file that is none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != HEADER:
        raise ValueError(f"{path} doesn't begin with {HEADER!r}")
    found: list[list[str]] = [[]]
    for line in lines[1:]:
        if line == BORDER:
            found.append([])
        else:
            found[-1].append(line)
    for number, part in enumerate(found):
        yield _cell(part, f"{path}, cell {number + 1}")


def _cell(lines: list[str], name: str) -> Cell:
    written = [line for line in lines if line.strip()]
    magic = [line for line in written if line.startswith(MAGIC)]
    if not magic:
        return Cell("python", "\n".join(lines))
    if len(magic) != len(written):
        raise ValueError(f"{name} mixes magic lines with others")
    text = "\n".join(line.removeprefix(MAGIC).removeprefix(" ") for line in magic)
    found = re.match(r"%(\w+)[ \n]?", text)
    if found is None:
        raise ValueError(f"{name} has magic lines that name no magic")
    return Cell(found[1], text[found.end() :])


class Driver:
    """Runs the cells of one notebook and notes what becomes of them."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self.ended = Ended()
        self._dbutils = DbUtils(params)
        self._names: Json = {}
        self._forget()

    def _forget(self) -> None:
        self._names = {
            "__name__": "__main__",
            "dbutils": self._dbutils,
            "displayHTML": self._show,
            "display": self._show,
        }

    def _show(self, what: Any) -> None:
        self.ended.shown.append(str(what))

    def run(self, path: Path) -> None:
        """Run a notebook's cells in order. Raises what ended it."""
        for number, cell in enumerate(cells(path), 1):
            self._run_cell(cell, path, f"{path.name}, cell {number}")

    def _run_cell(self, cell: Cell, path: Path, name: str) -> None:
        if cell.language == "python":
            restarts = self._dbutils.library.restarts
            FunctionType(compile(cell.text, name, "exec"), self._names)()
            if self._dbutils.library.restarts > restarts:
                self._forget()
        elif cell.language == "pip":
            self.ended.installs.append(cell.text.strip())
        elif cell.language == "sh":
            subprocess.run(["bash", "-e", "-c", cell.text], check=True, timeout=SHELL_SECONDS, stdout=sys.stderr)
        elif cell.language == "run":
            found = path.parent / shlex.split(cell.text)[0]
            self.run(found if found.suffix else found.with_suffix(".py"))
        elif cell.language != "md":
            raise ValueError(f"{name}: no driver knows %{cell.language}")

    def __enter__(self) -> "Driver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Note how the notebook ended: a driver goes on whatever that was."""
        if isinstance(error, NotebookExit):
            self.ended.exit = str(error)
        elif error is not None:
            self.ended.error = f"{type(error).__name__}: {error}"
            self.ended.trace = "".join(traceback.format_exception(kind, error, trace))
        self.ended.widgets = {name: asdict(widget) for name, widget in self._dbutils.widgets.made.items()}
        return True


def run_notebook(path: Path, params: Mapping[str, str]) -> Ended:
    """Run a notebook in this process, with its output on stderr; how it ended."""
    driver = Driver(params)
    with contextlib.redirect_stdout(sys.stderr), driver:
        driver.run(path)
    return driver.ended


def main(words: list[str]) -> int:
    """The command line."""
    params = json.loads(Path(words[1]).read_text(encoding="utf-8")) if len(words) > 1 else {}
    ended = run_notebook(Path(words[0]), {key: str(value) for key, value in params.items()})
    sys.stdout.write(json.dumps(asdict(ended)) + "\n")
    return 1 if ended.error is not None else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
