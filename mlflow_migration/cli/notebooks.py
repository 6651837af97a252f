"""The command that fetches a notebook of a Databricks workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlflow_migration.cli import options, output
from mlflow_migration.cli.command import Command, say_error
from mlflow_migration.cli.later import jobs, layout, opening, run_notebooks
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, ForbiddenError, MigrationError, NotFoundError, ServerError, UsageError


@click.command("download-notebook", cls=Command)
@click.option("--notebook", required=True, metavar="PATH", help="The notebook's path in the workspace.")
@click.option("--output-dir", required=True, metavar="DIR", help="The folder it is written to; made if it isn't there.")
@click.option(
    "--revision", metavar="TIME", default="", help="A run's mlflow.databricks.notebookRevisionID [default: the newest]."
)
@click.option(
    "--notebook-formats",
    metavar="FORMATS",
    default="SOURCE",
    show_default=True,
    help="SOURCE, HTML, JUPYTER, DBC, with commas between them.",
)
@click.option(
    "--tracking-uri", metavar="URI", help="The workspace, as databricks://PROFILE [default: MLFLOW_TRACKING_URI]."
)
@options.common
def download_notebook(**given: Any) -> int:
    """Fetch a notebook of a Databricks workspace, one file for each format.

    A file that is there already is replaced.

    \b
    Examples:
      download-notebook --notebook /Users/me@example.com/Train --output-dir notebooks
      download-notebook --notebook /Shared/Train --revision 1638298534123 --notebook-formats SOURCE,DBC --output-dir run
    """
    common = Common.take(given)
    jobs.configure(common)
    formats = run_notebooks.formats(given["notebook_formats"])
    path, revision = given["notebook"].strip(), given["revision"].strip()
    if not formats:
        raise UsageError("no format was given", hint=f"known: {', '.join(run_notebooks.ENDINGS)}")
    if not path.startswith("/"):
        raise UsageError(f"not a path in a workspace: {path!r}", hint="it begins with /, as /Shared/Train")
    if revision and not revision.isdecimal():
        raise UsageError(f"not a revision: {revision!r}", hint="it is a time in milliseconds, as the run's tag has it")
    folder = _folder(given["output_dir"])
    live = opening.server(given["tracking_uri"], "SRC", common)
    if not live.notebooks.exist():
        raise UsageError(f"only a Databricks workspace has notebooks: {live.address}", hint="give databricks://PROFILE")
    files, errors = [], []
    for format_ in formats:
        target = folder / layout.quoted(run_notebooks.file_name(path, revision, format_))
        try:
            content = live.notebooks.fetch(path, revision, format_)
        except (NotFoundError, ForbiddenError, ServerError) as error:
            errors.append((format_, error))
            continue
        _write(target, content)
        files.append({"format": format_, "file": str(target), "bytes": len(content)})
    live.close()
    code = max((error.exit_code for _, error in errors), default=DONE)
    document = {"files": files, "failed": [{"format": name, "reason": str(error)} for name, error in errors]}
    output.show("download-notebook", document, "\n".join(str(each["file"]) for each in files), common, code)
    for name, failed in errors:
        say_error(MigrationError(f"no {name} of {path}", str(failed), failed.hint))
    return code


def _folder(text: str) -> Path:
    if not text.strip():
        raise UsageError("the output folder's name is empty", hint="give a folder")
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"can't make the folder {text}", error.strerror or str(error)) from error
    return Path(text)


def _write(target: Path, content: bytes) -> None:
    try:
        target.write_bytes(content)
    except OSError as error:
        raise UsageError(f"can't write {target}", error.strerror or str(error)) from error
