"""What can be wrong with the documentation: stale pages, commands without example or help, dead links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from docs.generate import regenerated, shown_options, walk_commands
from docs.helptexts import examples_of
from docs.notebooks import FOLDER, notebooks
from mlflow_migration.cli.main import all_commands, main

FOLDERS = ("docs", "databricks_notebooks", "mlflow_migration", "tests", "benchmarks", "demo")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def faults(root: Path) -> list[str]:
    """Everything that is wrong, one line each."""
    return [*stale_pages(root), *poor_commands(), *dead_links(root)]


def stale_pages(root: Path) -> Iterator[str]:
    """Pages that `python -m docs` would change."""
    for page, text in regenerated(root):
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            yield f"{page.relative_to(root)} is out of date: make docs"
    made = {root / FOLDER / name for name, _ in notebooks()}
    for page in sorted({*(root / FOLDER).rglob("*.py")} - made):
        yield f"{page.relative_to(root)} is of no command: delete it"


def poor_commands() -> Iterator[str]:
    """Commands without an example, and options without help."""
    for name, command in [(main.name or "", main), *walk_commands(all_commands())]:
        if not examples_of(command):
            yield f"{name} has no example"
        for option in shown_options(command):
            if not option.help:
                yield f"{name} {option.opts[-1]} has no help"
        if not isinstance(command, click.Group) and not (command.help or "").strip():
            yield f"{name} has no help"


def dead_links(root: Path) -> Iterator[str]:
    """Relative links of Markdown pages that lead to no file, or to no heading of it."""
    for page in sorted([*root.glob("*.md"), *(page for name in FOLDERS for page in (root / name).rglob("*.md"))]):
        for link in _LINK.findall(_prose(page)):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists():
                yield f"{page.relative_to(root)}: dead link {link}"
            elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
                yield f"{page.relative_to(root)}: no heading for {link}"


def _prose(page: Path) -> str:
    """A page without its code, in which brackets are no links."""
    return _CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(text)}
