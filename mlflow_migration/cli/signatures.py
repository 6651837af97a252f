"""Commands about the signatures of models: get, set, list what has none."""

from __future__ import annotations

import csv
import json
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli import options, output
from mlflow_migration.cli.command import Command, boolean, say_error
from mlflow_migration.cli.experiments import TRACKING
from mlflow_migration.cli.later import jobs, opening, parallel, samples, signature
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import (
    DONE,
    INCOMPLETE,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServerError,
    UsageError,
)
from mlflow_migration.records import Json

if TYPE_CHECKING:
    from mlflow_migration.server.live import Server

MODEL_URI = click.option(
    "--model-uri",
    required=True,
    metavar="URI",
    help="The model: models:/name/1, models:/name@alias, models:/m-… or runs:/id/path.",
)
GET_MODEL_INFO = boolean(
    "use-get-model-info", False, "Accepted for old commands: only the MLmodel file is read, never all artifacts."
)
COLUMNS = ("model", "version", "run_id", "error")


@click.command("get-model-signature", cls=Command)
@MODEL_URI
@TRACKING
@click.option("--output-file", metavar="FILE", help="Also write the signature to FILE, as JSON.")
@GET_MODEL_INFO
@options.common
def get_model_signature(**given: Any) -> int:
    """Show the signature of a model as JSON; exit code 1 where it has none.

    \b
    Examples:
      get-model-signature --model-uri models:/wine/12
      get-model-signature --model-uri models:/wine@champion --output-file wine.json
      get-model-signature --model-uri runs:/73ab168e5775409fa3595157a415bb62/model
    """
    common = Common.take(given)
    jobs.configure(common)
    output.check(given["output_file"])
    live = opening.readable(given["tracking_uri"], "SRC", common)
    files = signature.locate(live, given["model_uri"])
    found = signature.signature_of(files.address, signature.read(live, files))
    live.close()
    if found is None:
        raise NotFoundError(f"{files.address} has no signature", "", "set-model-signature gives it one")
    text = json.dumps(found, indent=2, ensure_ascii=False)
    if given["output_file"]:
        output.write(given["output_file"], text + "\n")
    output.show("get-model-signature", {"model_uri": files.address, "signature": found}, text, common)
    return DONE


@click.command("set-model-signature", cls=Command)
@MODEL_URI
@TRACKING
@click.option(
    "--input-file",
    required=True,
    metavar="FILE",
    help="CSV with samples of training data, or a whole signature as .json, as get-model-signature writes it.",
)
@click.option("--output-file", metavar="FILE", help="CSV with samples of predictions.")
@boolean("overwrite-signature", False, "Replace a signature that the model has already.")
@options.common
def set_model_signature(**given: Any) -> int:
    """Give a model a signature: its MLmodel file is written anew where it lies, with all else in it as it is.

    The files of a version of a registered model are those of the run or logged model it was made of, so that these get
    the signature too. They are written through the server; where it doesn't let them, the command says so.

    \b
    Examples:
      set-model-signature --model-uri runs:/73ab168e5775409fa3595157a415bb62/model \\
        --input-file samples.csv --output-file predictions.csv
      set-model-signature --model-uri models:/wine/12 --input-file wine.json --overwrite-signature True
    """
    common = Common.take(given)
    jobs.configure(common)
    wanted = _wanted(given["input_file"], given["output_file"])
    live = opening.server(given["tracking_uri"], "DST", common)
    files = signature.locate(live, given["model_uri"])
    mlmodel = signature.read(live, files)
    there = signature.signature_of(files.address, mlmodel)
    same = there is not None and {part: there.get(part) for part in signature.PARTS} == wanted
    if there is not None and not same and not given["overwrite_signature"]:
        raise ConflictError(f"{files.address} has another signature", "", "give --overwrite-signature to replace it")
    if not same:
        signature.put(live, files, mlmodel, wanted)
    live.close()
    state = "same" if same else "done" if there is None else "updated"
    document = {"model_uri": files.address, "state": state, "signature": wanted}
    output.show("set-model-signature", document, json.dumps(wanted, indent=2, ensure_ascii=False), common)
    return DONE


def _wanted(input_file: str, output_file: str | None) -> Json:
    if Path(input_file).suffix.lower() != ".json":
        outputs = samples.columns(Path(output_file)) if output_file else None
        return {"inputs": samples.columns(Path(input_file)), "outputs": outputs, "params": None}
    if output_file:
        raise UsageError("a signature in a .json file is whole", hint="leave --output-file out")
    try:
        return signature.checked(json.loads(Path(input_file).read_text(encoding="utf-8")), input_file)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"can't read {input_file}", str(error)) from error


@click.command("list-model-versions-without-signatures", cls=Command)
@click.option(
    "--filter",
    "filter_",
    metavar="TEXT",
    default="",
    help="Only versions this MLflow search finds, e.g. \"name LIKE 'sklearn%'\".",
)
@TRACKING
@click.option("--output-file", metavar="FILE", help="Also write the list to FILE, as CSV.")
@GET_MODEL_INFO
@options.common
def list_model_versions_without_signatures(**given: Any) -> int:
    """List the versions of registered models that have no signature; exit code 1 where one couldn't be looked at.

    \b
    Examples:
      list-model-versions-without-signatures --output-file versions.csv
      list-model-versions-without-signatures --filter "name LIKE 'sklearn%'" --json
    """
    common = Common.take(given)
    jobs.configure(common)
    output.check(given["output_file"])
    live = opening.server(given["tracking_uri"], "SRC", common)
    heads = live.registry.filter_versions(given["filter_"])
    asked, failed, rows = 0, 0, []
    for row, unseen in parallel.each(heads, partial(_look, live), common.workers, threading.Event()):
        asked += 1
        failed += unseen
        if row is not None:
            rows.append(row)
    live.close()
    rows.sort(key=lambda row: (row["model"], -int(row["version"])))
    if given["output_file"]:
        output.write_with(given["output_file"], partial(_csv, rows))
    code = INCOMPLETE if failed else DONE
    document = {"versions": asked, "failed": failed, "without_signature": rows}
    lines = output.table(COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    output.show("list-model-versions-without-signatures", document, lines, common, code)
    if not common.quiet:
        click.echo(f"{len(rows):,} of {asked:,} model versions", err=True)
    if failed:
        say_error(NotFoundError(f"{failed:,} could not be looked at", "the list says why", "mend it, and list again"))
    return code


def _look(live: Server, head: Json) -> tuple[Json | None, bool]:
    """The row of a version without signature, else None; and whether it couldn't be looked at."""
    error, failed = "", False
    try:
        files = signature.of_version(live, head)
        if signature.signature_of(files.address, signature.read(live, files)) is not None:
            return None, False
    except NotFoundError as absent:
        error = str(absent)
    except (ConflictError, ForbiddenError, ServerError) as reason:
        error, failed = str(reason), True
    values = (head["name"], str(head["version"]), head.get("run_id") or "", error)
    return dict(zip(COLUMNS, values, strict=True)), failed


def _csv(rows: list[Json], out: Any) -> None:
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
