"""Options that many commands share, and the values they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click

from mlflow_migration.cli.command import boolean
from mlflow_migration.engine import selection as choose
from mlflow_migration.engine.ledger import STATE_DIR
from mlflow_migration.objects import KINDS, OF_EXPERIMENTS
from mlflow_migration.places import Selection
from mlflow_migration.server.others import SERVER_KINDS

LEGACY = {
    "use-threads": "Accepted for old commands: runs always go in parallel.",
    "export-permissions": "Accepted for old commands: open-source MLflow has no permissions to export.",
    "import-permissions": "Accepted for old commands: open-source MLflow takes no permissions.",
}
PARTS = ("artifact", "assessment", "link", "metadata", "metric", "name", "param", "secret", "tag")
LOSSES = ("all", *PARTS, *sorted({*KINDS, *SERVER_KINDS} - {"experiment", "run"}))
"""What may be waived: parts of objects, and whole kinds."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Common:
    """How a command works and what it shows."""

    as_json: bool = False
    report: str | None = None
    quiet: bool = False
    verbose: int = 0
    config: str | None = None
    workers: int = 8
    patience: float = 120.0

    dry_run: bool = False
    state_dir: str | None = None
    allow_loss: tuple[str, ...] = ()
    checksum: bool = False

    @classmethod
    def take(cls, options: dict[str, Any]) -> Common:
        """Take these options out of all of a command's options."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: options.pop(name) for name in list(options) if name in names})


def _stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def common(function: F) -> F:
    """Options of every command that speaks to places."""
    return _stack(
        click.option(
            "--workers",
            type=click.IntRange(1, 64),
            default=8,
            show_default=True,
            help="Requests at once, at most; fewer where a server is slower with more.",
        ),
        click.option(
            "--config",
            metavar="FILE",
            envvar="MLFLOW_MIGRATION_CONFIG",
            help="Configuration with named places [default: ./mlflow-migration.yml].",
        ),
        click.option(
            "--patience",
            type=click.FloatRange(1),
            default=120.0,
            show_default=True,
            metavar="SECONDS",
            envvar="MLFLOW_MIGRATION_PATIENCE",
            help="How long a request is repeated while a server is down or busy.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
        click.option(
            "--report",
            metavar="FILE",
            help="Also write the report to FILE: .json, .md or .html (this needs mlflow-migration[report]).",
        ),
        click.option("-q", "--quiet", is_flag=True, help="No progress and no summary unless something is wrong."),
        click.option("-v", "--verbose", count=True, help="Show what is done; -vv with every repeat and traceback."),
    )(function)


def moving(function: F) -> F:
    """Options of commands that write."""
    return _stack(
        click.option(
            "--checksum",
            is_flag=True,
            help="Compare artifacts that are there already by their bytes, not only by their size.",
        ),
        remaking,
    )(function)


def remaking(function: F) -> F:
    """Options of commands that write what wasn't there before."""
    return _stack(
        click.option("-n", "--dry-run", is_flag=True, help="Read for real, write nothing, say what would be done."),
        click.option(
            "--allow-loss",
            multiple=True,
            type=click.Choice(LOSSES),
            metavar="KIND",
            help=f"Don't fail when things of this kind can't go. Repeatable. One of: {', '.join(LOSSES)}.",
        ),
        click.option(
            "--state-dir",
            metavar="DIR",
            envvar=STATE_DIR,
            help="Where the job's ledger lives [default: ~/.local/state/mlflow-migration].",
        ),
    )(function)


def artifacts(function: F) -> F:
    """Options about artifacts."""
    return _stack(
        click.option(
            "--artifacts",
            "files",
            type=click.Choice(["copy", "skip", "reference"]),
            default="copy",
            show_default=True,
            help="Copy artifacts, leave them out, or only keep their address (tag mlflow_migration.artifact_uri).",
        ),
        click.option(
            "--max-artifact-size",
            "max_file",
            metavar="SIZE",
            help="Leave out larger artifacts, and say which (20k, 1.5G).",
        ),
    )(function)


def run_choice(function: F) -> F:
    """Options that choose runs."""
    return _stack(
        click.option(
            "--filter",
            "filter_",
            metavar="TEXT",
            default="",
            help='Only runs this MLflow search finds, e.g. "metrics.acc > 0.9".',
        ),
        click.option(
            "--run-start-time",
            metavar="TIME",
            help="Only runs started at or after this time (UTC: 2024-05-01, or 7d for an age).",
        ),
        click.option("--runs-until", metavar="TIME", help="Only runs started at or before this time."),
        boolean("check-nested-runs", False, "With chosen runs, take their parents and children too."),
        boolean("export-deleted-runs", True, "Take deleted experiments and runs too; they arrive deleted."),
    )(function)


def writing(function: F) -> F:
    """Options about what is written at a server."""
    return _stack(
        boolean("import-source-tags", False, "Add mlflow_exim.* tags that tell where an object came from."),
        boolean("use-src-user-id", True, "Keep the user of each run."),
    )(function)


def legacy(*names: str) -> Callable[[F], F]:
    """Options of mlflow-export-import, accepted so that old commands go on working; those without effect say so."""

    def decorate(function: F) -> F:
        for name in names:
            function = boolean(name, False, LEGACY[name])(function)
        return function

    return decorate


def selection_of(
    options: dict[str, Any], experiments: tuple[str, ...] = (), kinds: tuple[str, ...] = OF_EXPERIMENTS
) -> Selection:
    """Take what is asked for out of a command's options."""
    run_ids = options.pop("run_ids", None)
    return Selection(
        experiments=experiments,
        kinds=kinds,
        run_ids=choose.names(run_ids) if run_ids else (),
        filter=options.pop("filter_", ""),
        since=choose.moment(options.pop("run_start_time", None)),
        until=choose.moment(options.pop("runs_until", None)),
        deleted=options.pop("export_deleted_runs", True),
        nested=options.pop("check_nested_runs", False),
        files=options.pop("files", "copy"),
        max_file=choose.size(options.pop("max_file", None)),
    )
