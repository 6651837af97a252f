"""Options that many commands share, and the values they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import click

from mlflow_migration.cli.command import boolean
from mlflow_migration.cli.later import naming as renames
from mlflow_migration.cli.later import objects, run_notebooks
from mlflow_migration.engine import selection as choose
from mlflow_migration.engine.ledger import STATE_DIR
from mlflow_migration.errors import UsageError
from mlflow_migration.places import POLICIES, Names, Selection

LEGACY = {
    "use-threads": "Accepted for old commands: runs always go in parallel.",
}
PARTS = (
    "artifact",
    "assessment",
    "input",
    "link",
    "metadata",
    "metric",
    "name",
    "notebook",
    "param",
    "permission",
    "secret",
    "tag",
)
WHOLE = (
    "access_list",
    "evaluation_dataset",
    "gateway_budget",
    "gateway_endpoint",
    "gateway_guardrail",
    "gateway_model_definition",
    "gateway_secret",
    "grant",
    "issue",
    "label_schema",
    "logged_model",
    "mcp_server",
    "model_version",
    "prompt",
    "prompt_version",
    "registered_model",
    "review_queue",
    "role",
    "scorer",
    "trace",
    "user",
    "webhook",
    "workspace",
)
"""Every kind but experiments and runs: written out, so that `--help` needs no kind's module."""
STAGES = ("Staging", "Production", "Archived")
"""Of a version of a registered model; most have none."""
LOSSES = ("all", *PARTS, *WHOLE)
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
    workspace: str | None = None
    online: bool = False
    keep_ids: bool = False
    artifact_root: str | None = None
    src_artifact_root: str | None = None
    dst_artifact_root: str | None = None
    dst_experiment_dir: str | None = None

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


state_dir = click.option(
    "--state-dir",
    metavar="DIR",
    envvar=STATE_DIR,
    help="Where the job's ledger lives [default: ~/.local/state/mlflow-migration].",
)


def _artifact_root(name: str, where: str) -> Callable[[F], F]:
    return click.option(
        name,
        metavar="URI",
        help=f"{where} a database: the folder or address where its server keeps artifacts (what the server has as "
        "--artifacts-destination), for those it gives out itself.",
    )


SERVERS = "http(s)://…, databricks[://PROFILE], databricks-uc[://PROFILE], databricks-app://[PROFILE/]NAME"
SRC_ARTIFACT_ROOT = _artifact_root("--src-artifact-root", "Where the source is")
ARTIFACT_ROOT = _artifact_root("--artifact-root", "Of")
TRACKING = _stack(
    click.option(
        "--tracking-uri",
        metavar="URI",
        help=f"The server ({SERVERS}), or the address of a database or file store [default: MLFLOW_TRACKING_URI].",
    ),
    ARTIFACT_ROOT,
)
SRC = _stack(
    click.option(
        "--src-mlflow-uri",
        metavar="URI",
        help=f"The source: a server ({SERVERS}), or the address of a database or file store "
        "[default: MLFLOW_TRACKING_URI].",
    ),
    SRC_ARTIFACT_ROOT,
)
DST = _stack(
    click.option(
        "--dst-mlflow-uri",
        metavar="URI",
        help=f"The destination: a server ({SERVERS}), or a database's address [default: MLFLOW_TRACKING_URI].",
    ),
    _artifact_root("--dst-artifact-root", "Where the destination is"),
)
artifact_roots = _stack(
    _artifact_root("--src-artifact-root", "Where the first place is"),
    _artifact_root("--dst-artifact-root", "Where the second place is"),
)


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
            "--workspace",
            metavar="SRC=DST",
            help="The workspace at the source and the one at the destination; one name for both. Needs MLflow 3.10 and "
            "`mlflow server --enable-workspaces`.",
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
            help="Also write the report to FILE: .json, .md or .html.",
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
        state_dir,
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


NOTEBOOK_FORMATS = click.option(
    "--notebook-formats",
    metavar="FORMATS",
    default="",
    help="Take along the Databricks notebook each run was made with, at its revision, in these formats: SOURCE, HTML, "
    "JUPYTER, DBC, with commas between them.",
)
NOTEBOOK_DIR = click.option(
    "--dst-notebook-dir",
    metavar="DIR",
    default="",
    help="Put the notebooks of runs below this folder of the Databricks workspace, each once; the tag "
    "mlflow_migration.notebook of a run tells where its own is.",
)


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


shard = click.option(
    "--shard",
    metavar="N/M",
    help="Only part N of M parts, the same on every machine: experiments, models and others by a hash of id or name, "
    "each with all that belongs to it. All M parts together are the whole.",
)


def spreading(function: F) -> F:
    """Options about the machines an export runs on."""
    return _stack(
        click.option(
            "--engine",
            type=click.Choice(["threads", "spark"]),
            default="threads",
            show_default=True,
            help="Where to run: on this machine, or on the active Spark session, each task a shard, into one bundle in "
            "a folder that all machines share (a path, or s3://… through fsspec). Needs mlflow-migration[spark].",
        ),
        click.option(
            "--shards",
            type=click.IntRange(1, 500),
            metavar="M",
            help="With --engine spark: how many shards [default: 4 for each task at once, at most one an experiment].",
        ),
    )(function)


def naming(function: F) -> F:
    """Options about what things are called at a destination, and what becomes of those that have the name there."""
    return _stack(
        click.option(
            "--rename",
            "renamed",
            multiple=True,
            metavar="FILE|OLD=NEW",
            help="Another name at the destination for an experiment, model or prompt: OLD=NEW, or a CSV (old,new), "
            "YAML or JSON file. experiment:OLD=NEW, model:OLD=NEW and prompt:OLD=NEW mean one kind. Repeatable.",
        ),
        click.option(
            "--prefix",
            metavar="TEXT",
            default="",
            help="Put TEXT before the names of all experiments, models, prompts and evaluation datasets there; "
            "CATALOG.SCHEMA. before those of models and prompts alone, where the destination is Unity Catalog.",
        ),
        click.option(
            "--on-conflict",
            type=click.Choice(POLICIES),
            default=None,
            help="What to do where the destination has an experiment, model or prompt of the name that didn't come "
            "from this source: skip it with all that belongs to it, fail, write it as NAME (2), or update that one "
            "[default: add to experiments; models and prompts fail unless they are equal].",
        ),
        click.option(
            "--dst-experiment-dir",
            metavar="PATH",
            help="In a Databricks workspace: the folder of experiments whose names are no workspace paths "
            "[default: /Users/ and who you are].",
        ),
    )(function)


def names_of(given: dict[str, Any], experiments: dict[str, str] | None = None) -> Names:
    """The new names that a command's options ask for; `experiments` are further ones of experiments."""
    files = {
        "experiment": given.get("experiment_rename_file"),
        "registered_model": given.get("model_rename_file"),
        "prompt": given.get("model_rename_file"),
    }
    names = renames.given(given["renamed"], given["prefix"], files)
    more = {("experiment", old): new for old, new in (experiments or {}).items()}
    return replace(names, new={**names.new, **more})


ONLINE = click.option(
    "--online", is_flag=True, help="Write to a database although a server, or something else, has it open."
)


KEEP_IDS = click.option(
    "--keep-ids",
    is_flag=True,
    help="Refuse a destination that can't keep ids and times. A database keeps them always; a server gives its own.",
)


def mapping(function: F) -> F:
    """Options about what becomes of stages and aliases at a registry that has only one of them."""
    return _stack(
        click.option(
            "--stages-to-aliases",
            metavar="STAGE=ALIAS,…",
            default="",
            help="Where the destination has no stages (Unity Catalog): the aliases that the newest version of each "
            "stage gets, like Production=champion,Staging=challenger.",
        ),
        click.option(
            "--aliases-to-stages",
            metavar="ALIAS=STAGE,…",
            default="",
            help="Where the destination has no aliases (a Databricks workspace's registry): the stages that their "
            "versions get, like champion=Production.",
        ),
    )(function)


def mapped(given: dict[str, Any]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Stage → alias and alias → stage, as a command's options ask for it. Raises UsageError for what is neither."""
    stages = _pairs(given.get("stages_to_aliases") or "", "--stages-to-aliases")
    aliases = _pairs(given.get("aliases_to_stages") or "", "--aliases-to-stages")
    unknown = {*stages, *aliases.values()} - set(STAGES)
    if unknown:
        raise UsageError(f"no such stage: {', '.join(sorted(unknown))}", hint=f"there are {', '.join(STAGES)}")
    return stages, aliases


def _pairs(text: str, option: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        left, separator, right = (part.strip() for part in pair.partition("="))
        if not (left and separator and right) or left in found:
            raise UsageError(
                f"not a value of {option}: {text!r}", hint="write it like Production=champion,Staging=next"
            )
        found[left] = right
    if len(set(found.values())) < len(found) and option == "--stages-to-aliases":
        raise UsageError(f"two stages would have one alias: {text!r}", hint="give each its own")
    return found


def writing(function: F) -> F:
    """Options about what is written at a server or database."""
    return _stack(
        naming,
        mapping,
        ONLINE,
        KEEP_IDS,
        boolean("import-source-tags", False, "Add mlflow_exim.* tags that tell where an object came from."),
        boolean("use-src-user-id", True, "Keep the user of each run."),
    )(function)


MODEL_RENAME = click.option(
    "--model-rename-file",
    metavar="FILE",
    help="CSV (old,new), YAML or JSON with new names of registered models and prompts.",
)
DELETING = {
    "model": ("registered_model", "Delete a registered model of that name at the destination first, all its versions."),
    "prompt": ("prompt", "Delete a prompt of that name at the destination first, all its versions."),
    "evaluation-dataset": ("evaluation_dataset", "Delete evaluation datasets of that name at the destination first."),
}
"""What can be deleted before it is imported: the end of the option's name, the kind, its help."""


def deleting(*what: str) -> Callable[[F], F]:
    """Options that delete what has the same name at the destination."""
    return _stack(*(boolean(f"delete-{each}", False, DELETING[each][1]) for each in what))


def replaced(options: dict[str, Any]) -> frozenset[str]:
    """The kinds whose objects at the destination are to be deleted first."""
    return frozenset(kind for each, (kind, _) in DELETING.items() if options.get(f"delete_{each.replace('-', '_')}"))


def legacy(*names: str) -> Callable[[F], F]:
    """Options of mlflow-export-import, accepted so that old commands go on working; those without effect say so."""

    def decorate(function: F) -> F:
        for name in names:
            function = boolean(name, False, LEGACY[name])(function)
        return function

    return decorate


def selection_of(
    options: dict[str, Any], experiments: tuple[str, ...] = (), kinds: tuple[str, ...] | None = None
) -> Selection:
    """Take what is asked for out of a command's options; where no kinds are said, experiments and what is theirs."""
    kinds = objects.OF_EXPERIMENTS if kinds is None else kinds
    run_ids = options.pop("run_ids", None)
    asked = [options.pop(f"{verb}permissions", False) for verb in ("", "export_", "import_")]
    if any(asked) and run_ids:
        raise UsageError("permissions go with whole experiments only", hint="leave out what chooses runs")
    if any(asked) and kinds:
        kinds = (*kinds, objects.ACCESS_LISTS)
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
        permissions=any(asked),
        shard=choose.shard(options.pop("shard", None)),
        notebooks=run_notebooks.formats(options.pop("notebook_formats", "")),
    )
