"""`python -m release build` and `python -m release publish [--test]`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from mlflow_migration.apps import versions
from mlflow_migration.apps.versions import PYPI, Index
from mlflow_migration.cli.command import Command, Group
from mlflow_migration.errors import DONE, MigrationError, NotFoundError, UsageError

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "mlflow-migration"
TEST_INDEX = "https://test.pypi.org/simple/"


@click.group("release", cls=Group)
def release() -> None:
    """Build this package, and publish it."""


@release.command("build", cls=Command)
def build() -> int:
    """Make a source archive and a wheel in dist/, and check their metadata."""
    click.echo("\n".join(str(path) for path in built(ROOT)))
    return DONE


@release.command("publish", cls=Command)
@click.option("--test", "is_test", is_flag=True, help="To test.pypi.org.")
@click.option("--index", metavar="URL", help="Where to look whether the version is there already.")
@click.option("--repository-url", metavar="URL", help="Where to upload to instead.")
def publish(is_test: bool, index: str | None, repository_url: str | None) -> int:
    """Build and upload; refused for a tree with changes, and for a version the index has.

    Credentials are those twine is configured with (.pypirc, keyring, TWINE_*); nothing is asked.
    """
    if found := list(faults(ROOT, Index(index or (TEST_INDEX if is_test else PYPI)))):
        raise UsageError("this can't be published", "; ".join(found))
    where = ["--repository-url", repository_url] if repository_url else []
    where = where or ["--repository", "testpypi" if is_test else "pypi"]
    files = [str(path) for path in built(ROOT)]
    _run([sys.executable, "-m", "twine", "upload", "--non-interactive", *where, *files])
    return DONE


def built(root: Path) -> list[Path]:
    """The files of a new build of a tree. Raises MigrationError where building or checking fails."""
    target = root / "dist"
    for old in (target, root / "build"):
        shutil.rmtree(old, ignore_errors=True)
    _run([sys.executable, "-m", "build", "--outdir", str(target), str(root)])
    files = sorted(target.iterdir())
    _run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)])
    return files


def faults(root: Path, index: Index) -> Iterator[str]:
    """Why a tree can't be published. Raises AccessError where the index can't be asked."""
    done = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"{root} is no git repository"
    elif done.stdout.strip():
        yield f"the tree has changes that are not committed: {', '.join(line[3:] for line in done.stdout.splitlines())}"
    version = version_of(root)
    try:
        there = [str(each.version) for each in versions.releases(PROJECT, index)]
    except NotFoundError:
        there = []
    if version in there:
        yield f"{index.shown} has version {version} already: raise it in pyproject.toml"


def version_of(root: Path) -> str:
    """The version, from the one place that holds it."""
    lines = (root / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    return next(line.partition('"')[2].rstrip('"') for line in lines if line.startswith('version = "'))


def _run(words: Sequence[str]) -> None:
    """Run a program; its output is the person's. Raises MigrationError where it fails."""
    code = subprocess.run(words, check=False).returncode
    if code:
        raise MigrationError(f"{' '.join(words[1:4])} ended with exit code {code}", hint="what it said stands above")


if __name__ == "__main__":
    release()
