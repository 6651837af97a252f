"""`databricks_notebooks/`: a notebook for each command people need there, made from the command itself.

So no notebook can lack an option, have another default, or call something that isn't there any more.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from docs.helptexts import description_of, examples_of, short_of
from mlflow_migration.cli.commands import command_of
from mlflow_migration.notebook import Widget, widgets_of

FOLDER = "databricks_notebooks"
WIDTH = 110
LINE = 120
HEADER = "# Databricks notebook source\n"
BORDER = "\n# COMMAND ----------\n\n"

NOTEBOOKS: Mapping[str, Sequence[str]] = {
    "single": (
        "export-run",
        "import-run",
        "export-experiment",
        "import-experiment",
        "export-model",
        "import-model",
        "export-model-version",
        "import-model-version",
        "export-logged-model",
        "import-logged-model",
        "export-trace",
        "import-trace",
        "export-prompt",
        "import-prompt",
        "export-evaluation-dataset",
        "import-evaluation-dataset",
    ),
    "bulk": (
        "export-experiments",
        "import-experiments",
        "export-models",
        "import-models",
        "export-logged-models",
        "import-logged-models",
        "export-traces",
        "import-traces",
        "export-prompts",
        "import-prompts",
        "export-evaluation-datasets",
        "import-evaluation-datasets",
        "export-all",
        "import-all",
    ),
    "copy": (
        "copy-run",
        "copy-experiment",
        "copy-experiments",
        "copy-models",
        "copy-model-version",
        "copy-all",
    ),
    "tools": (
        "doctor",
        "check-access",
        "plan",
        "verify",
        "diff",
        "id-map",
        "filter-export",
        "rewrite-export",
        "list-registered-models",
        "find-artifacts",
        "http-client",
        "download-notebook",
        "get-model-signature",
        "set-model-signature",
        "list-model-versions-without-signatures",
    ),
    "app": (
        "app create",
        "app seed",
        "app test",
        "app status",
        "app update",
        "app snapshot",
        "app restore",
        "app delete",
    ),
    "scripts": ("run-submit",),
}
"""Folder → the commands that have a notebook in it."""
SHELL = "scripts/Console_Scripts.py"


def notebooks() -> Iterator[tuple[str, str]]:
    """Path below `databricks_notebooks/` and text of each notebook."""
    for folder, commands in NOTEBOOKS.items():
        for command in commands:
            yield path_of(folder, command), notebook_of(command)
    yield SHELL, shell_notebook()


def path_of(folder: str, command: str) -> str:
    """Where a command's notebook lies: `single/Export_Run.py`, and `app/Create.py` of `app create`."""
    words = command.removeprefix(f"{folder} ").split("-")
    return f"{folder}/{'_'.join(word.capitalize() for word in words)}.py"


def listing() -> str:
    """The notebooks as a Markdown list, for the README of the folder."""
    lines = []
    for folder, commands in NOTEBOOKS.items():
        lines.append(f"\n### {folder}\n\n| notebook | what it does |\n| --- | --- |")
        for command in commands:
            path = path_of(folder, command)
            lines.append(f"| [{Path(path).stem}]({path}) | {short_of(command)} |")
        if SHELL.startswith(folder):
            lines.append(f"| [{Path(SHELL).stem}]({SHELL}) | Type commands in `%sh` cells. |")
    return "\n".join(lines)


def notebook_of(command: str) -> str:
    """The notebook of one command, in Databricks' source format."""
    found = widgets_of(command)
    cells = [
        _markdown([f"# {command}", "", *_wrapped(description_of(command_of(command))), "", *_meanings(found)]),
        *_install(),
        "\n".join(_made(number, widget) for number, widget in enumerate(found, 1)),
        "from mlflow_migration import notebook\n\n"
        f'result = notebook.run("{command}", dbutils.widgets.getAll(), displayHTML)',
        "dbutils.notebook.exit(result)",
    ]
    return HEADER + BORDER.join(f"{cell}\n" for cell in cells)


def shell_notebook() -> str:
    """The notebook that shows how commands are typed in `%sh` cells."""
    about = (
        "A `%sh` cell has none of the credentials a notebook has. Keep a token of yours in a secret scope, name both "
        "in the widgets, and the cells below act as you; leave them empty to look at the help only."
    )
    asking = (
        'dbutils.widgets.text("secret-scope", "", "01 secret-scope")\n'
        'dbutils.widgets.text("secret-key", "", "02 secret-key")'
    )
    signing_in = (
        "import os\n\n"
        'scope, key = dbutils.widgets.get("secret-scope"), dbutils.widgets.get("secret-key")\n'
        "if scope and key:\n"
        '    os.environ["DATABRICKS_TOKEN"] = dbutils.secrets.get(scope, key)\n'
        '    os.environ["MLFLOW_TRACKING_URI"] = "databricks"\n'
        '    if "DATABRICKS_HOST" not in os.environ:\n'
        '        os.environ["DATABRICKS_HOST"] = "https://" + spark.conf.get("spark.databricks.workspaceUrl")'
    )
    cells = [
        _markdown(["# Console scripts", "", *_wrapped(about)]),
        *_install(),
        asking,
        signing_in,
        _magic("sh", ["mlflow-migration --help"]),
        _magic("sh", ["mlflow-migration --version"]),
        _magic("sh", ['if [ -n "$MLFLOW_TRACKING_URI" ]; then mlflow-migration doctor; fi']),
    ]
    examples = examples_of(command_of("export-experiments")).splitlines()
    cells.insert(
        -1,
        _markdown(
            ["Every command of the other notebooks can be typed, for example", ""]
            + [f"    {line}" for line in examples]
        ),
    )
    return HEADER + BORDER.join(f"{cell}\n" for cell in cells)


def _install() -> tuple[str, str]:
    version = metadata.version("mlflow-migration")
    return _magic("pip", [f"install mlflow-migration=={version}"]), "dbutils.library.restartPython()"


def _markdown(lines: Sequence[str]) -> str:
    return "\n".join(f"# MAGIC {line}".rstrip() for line in ("%md", *lines))


def _magic(name: str, lines: Sequence[str]) -> str:
    if len(lines) == 1 and name == "pip":
        return f"# MAGIC %{name} {lines[0]}"
    return "\n".join(f"# MAGIC {line}" for line in (f"%{name}", *lines))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _meanings(found: Sequence[Widget]) -> Iterator[str]:
    yield "What the widgets mean (*: has to be filled in):"
    yield ""
    for widget in found:
        mark = " *" if widget.required else ""
        text = f"* **{widget.name}**{mark}: {widget.help}"
        yield from textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _made(number: int, widget: Widget) -> str:
    """The line that makes a widget, as a formatter leaves it."""
    label = f"{number:02} {widget.name}" + (" *" if widget.required else "")
    words = [_quoted(widget.name), _quoted(widget.default)]
    call = f"dbutils.widgets.{widget.kind}"
    if not widget.choices:
        return _call(call, [*words, _quoted(label)])
    choices = f"[{', '.join(map(_quoted, widget.choices))}]"
    if len(choices) + len("    ,") > LINE:
        choices = "[\n" + "".join(f"        {_quoted(choice)},\n" for choice in widget.choices) + "    ]"
    return _call(call, [*words, choices, _quoted(label)])


def _call(name: str, words: Sequence[str]) -> str:
    line = f"{name}({', '.join(words)})"
    if len(line) <= LINE and "\n" not in line:
        return line
    inner = ", ".join(words)
    if len(inner) + len("    ") <= LINE and "\n" not in inner:
        return f"{name}(\n    {inner}\n)"
    return f"{name}(\n" + "".join(f"    {word},\n" for word in words) + ")"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
