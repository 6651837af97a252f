"""Commands that look at one place: registered models, artifacts of a run, one call of the REST API."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from mlflow_migration.cli import options, output
from mlflow_migration.cli.command import Command, say_error
from mlflow_migration.cli.experiments import TRACKING
from mlflow_migration.cli.later import jobs, opening, pages, pipeline, registry, run, versions
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, INCOMPLETE, NotFoundError, UsageError
from mlflow_migration.places import Selection, Source
from mlflow_migration.records import Json, tags_of

MODEL_COLUMNS = ("model", "version", "stage", "aliases", "run id")
READING = "GET"
DATABRICKS_API = "/api/2.0/"
METHODS = (READING, "POST", "PUT", "PATCH", "DELETE")


@click.command("list-registered-models", cls=Command)
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="The server, a database's address, or a bundle's folder [default: MLFLOW_TRACKING_URI].",
)
@options.common
def list_registered_models(**given: Any) -> int:
    """List the registered models of a server or bundle with their versions, stages and aliases; prompts are left out.

    \b
    Examples:
      list-registered-models --tracking-uri http://localhost:5000
      list-registered-models --tracking-uri backup --json
    """
    common = Common.take(given)
    jobs.configure(common)
    uri = given["tracking_uri"]
    if uri is None:
        source: Source = pipeline.LiveSource(opening.readable(None, "SRC", common))
    else:
        source = opening.source(uri, "SRC", common)
    models: dict[str, Json] = {}
    for found in source.records(registry.MODELS.model, Selection()):
        models[found.id] = {
            "name": found.id,
            "description": found.head.get("description") or "",
            "tags": tags_of(found.head.get("tags")),
            "versions": [],
        }
        models[found.id]["aliases"] = registry.aliases(found.head)
    for found in source.records(registry.MODELS.version, Selection()):
        name = found.head["name"]
        if name in models:
            models[name]["versions"].append(_version(found.head, models[name]["aliases"]))
    listed = [models[name] for name in sorted(models)]
    rows = [row for model in listed for row in _rows(model)]
    output.show("list-registered-models", {"registered_models": listed}, output.table(MODEL_COLUMNS, rows), common)
    return DONE


def _version(head: Json, aliases: dict[str, str]) -> Json:
    number = str(head["version"])
    return {
        "version": number,
        "stage": head.get("current_stage") or versions.NO_STAGE,
        "aliases": sorted(alias for alias, version in aliases.items() if version == number),
        "run_id": head.get("run_id") or "",
        "source": head.get("source") or "",
        "description": head.get("description") or "",
        "tags": tags_of(head.get("tags")),
    }


def _rows(model: Json) -> list[list[str]]:
    return [
        [model["name"], each["version"], each["stage"], ", ".join(each["aliases"]), each["run_id"]]
        for each in model["versions"]
    ] or [[model["name"], "", "", "", ""]]


@click.command("find-artifacts", cls=Command)
@click.option("--run-id", required=True, metavar="ID", help="The run's id.")
@click.option("--target", required=True, metavar="NAME", help="The file's or folder's name, or a glob.")
@click.option("--path", metavar="PATH", default="", help="Look only below this folder of the run.")
@click.option(
    "--max-level",
    type=click.IntRange(1),
    default=sys.maxsize,
    metavar="N",
    help="Look so many levels deep [default: all].",
)
@TRACKING
@options.common
def find_artifacts(**given: Any) -> int:
    """Find artifacts of a run by name; one path a line, folders end in "/". No match is no error.

    \b
    Examples:
      find-artifacts --run-id 4f0a7c2f9d9c4a0c8f5e4d3c2b1a0987 --target MLmodel
      find-artifacts --run-id 4f0a7c2f9d9c4a0c8f5e4d3c2b1a0987 --target '*.png' --path plots --max-level 2
    """
    common = Common.take(given)
    jobs.configure(common)
    live = opening.server(given["tracking_uri"], "SRC", common)
    head = live.get_run(given["run_id"])
    if head is None:
        raise NotFoundError(f"no such run: {given['run_id']!r}", f"at {live.address}", "check the run's id")
    matches, unseen = [], []
    for file in live.walk(run.root_of(head), given["path"].strip("/"), given["max_level"]):
        name = file.path.rstrip("/").rpartition("/")[2]
        if name == given["target"] or fnmatchcase(name, given["target"]):
            matches.append(file.path)
        if file.problem and file.path.endswith("/"):
            unseen.append({"path": file.path, "reason": file.problem})
    live.close()
    code = INCOMPLETE if unseen else DONE
    document = {"run_id": given["run_id"], "matches": matches, "not_looked_into": unseen}
    if matches or common.as_json:
        output.show("find-artifacts", document, "\n".join(matches), common, code)
    for folder in unseen:
        say_error(NotFoundError(f"can't look into the folder {folder['path']!r}", folder["reason"]))
    return code


@click.command("http-client", cls=Command)
@click.option(
    "--api",
    type=click.Choice(["mlflow", "databricks"]),
    default="mlflow",
    show_default=True,
    help="Whose API: a path is below /api/2.0/mlflow/, or below /api/2.0/ of a Databricks workspace.",
)
@click.option(
    "--resource",
    required=True,
    metavar="PATH",
    help="What is called: experiments/search is /api/2.0/mlflow/experiments/search; a path from / on is taken whole.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS, case_sensitive=False),
    help="The HTTP method [default: POST with --data, else GET].",
)
@click.option("--params", metavar="JSON", help='URL parameters: {"key": "value"}, or a file of it as @FILE.')
@click.option("--data", metavar="JSON", help="The body: JSON, or a file of it, as FILE or @FILE.")
@click.option("--output-file", metavar="FILE", help="Also write the answer to FILE.")
@TRACKING
@options.common
def http_client(**given: Any) -> int:
    """Call a server's REST API once, with the credentials its place has, and show the JSON it answers.

    Only a GET is repeated when it fails.

    \b
    Examples:
      http-client --resource experiments/get --params '{"experiment_id": "0"}'
      http-client --resource experiments/create --data '{"name": "wine"}' --tracking-uri @dev
      http-client --resource /api/3.0/mlflow/traces/search --data @search.json --output-file traces.json
    """
    common = Common.take(given)
    jobs.configure(common)
    output.check(given["output_file"])
    query = _json(given["params"], "--params")
    body = _json(given["data"], "--data")
    method = given["method"].upper() if given["method"] else ("POST" if body is not None else READING)
    if method == READING and body is not None:
        raise UsageError("a GET has no body", hint="give its parameters with --params, or leave --method out")
    live = opening.server(given["tracking_uri"], "SRC", common)
    if given["api"] == "databricks" and not live.rest.dialect:
        raise UsageError(f"no Databricks workspace: {live.address}", hint="give databricks://PROFILE as --tracking-uri")
    below = DATABRICKS_API if given["api"] == "databricks" else pages.V2
    route = given["resource"] if given["resource"].startswith("/") else below + given["resource"]
    send = live.rest.call if method == READING else live.rest.once
    answer = send(method, route, body, query=query)
    live.close()
    text = json.dumps(answer, indent=2, ensure_ascii=False)
    if given["output_file"]:
        output.write(given["output_file"], text + "\n")
    output.show("http-client", {"answer": answer}, text, common)
    return DONE


def _json(text: str | None, option: str) -> Json | None:
    """The JSON object that an option holds, or the file it names."""
    if text is None:
        return None
    is_file = text.startswith("@") or not text.lstrip().startswith("{")
    try:
        found = json.loads(Path(text.removeprefix("@")).read_text(encoding="utf-8") if is_file else text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{option} is no JSON and no file of it", str(error)) from error
    if not isinstance(found, dict):
        raise UsageError(f"{option} is not a JSON object", hint='write it like {"key": "value"}')
    return found
