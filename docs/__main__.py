"""`python -m docs` regenerates the reference; with `--check` it exits 1 where a page, example or link is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from docs.checks import faults
from docs.generate import regenerated

ROOT = Path(__file__).resolve().parent.parent


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when anything is out of date or wrong.")
def main(check: bool) -> None:
    """Write the generated parts of the pages in docs/reference, and the notebooks of databricks_notebooks/."""
    if not check:
        for page, text in regenerated(ROOT):
            if not page.exists() or page.read_text(encoding="utf-8") != text:
                page.parent.mkdir(exist_ok=True)
                page.write_text(text, encoding="utf-8")
                click.echo(f"written: {page.relative_to(ROOT)}")
        return
    found = faults(ROOT)
    for fault in found:
        click.echo(fault, err=True)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
