"""`lineage show`: where a model comes from, through every environment, and what was made of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from mlflow_migration.cli import options, output, walking
from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.later import jobs
from mlflow_migration.cli.later import lineage as lineages
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import UsageError
from mlflow_migration.report import check_report_path

FORMATS = ("text", "json", "mermaid", "openlineage", "html")


@click.group("lineage", cls=Group)
def lineage() -> None:
    """Show where models come from, and what was made of what.

    \b
    Examples:
      lineage show churn@champion --policy promotion.yml
    """


@lineage.command("show", cls=Command)
@click.argument("model", required=False, metavar="[MODEL[/VERSION|@ALIAS]]")
@click.option(
    "--tracking-uri",
    "--uri",
    "tracking_uri",
    metavar="URI",
    help="Where the model is: a server, a database's or file store's address, or the name of an environment "
    "[default: the last one of the policy's path, or MLFLOW_TRACKING_URI].",
)
@options.ARTIFACT_ROOT
@walking.POLICY
@walking.SERVERS
@walking.SAME
@click.option(
    "--downstream",
    metavar="THING",
    help="Follow a thing forward instead: run:ID, dataset:NAME[@DIGEST], prompt:NAME[/VERSION], model:NAME/VERSION or "
    "logged-model:ID.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="How to draw it.")
@walking.OUTPUT
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    metavar="N",
    help="Look at so many things at most.",
)
@options.common
def show(**given: Any) -> int:
    """Show what a model's version was made of: versions it is a copy of, runs, data, code, prompts, evaluations, and
    who promoted it, back through every environment that is given.

    What can't be shown is named as missing and makes the exit code 1: a run was deleted, a place wasn't given.

    \b
    Examples:
      lineage show churn@champion --policy promotion.yml
      lineage show churn/3 --uri http://prod:5000 --server dev=http://dev:5000 --format html --output churn.html
      lineage show --downstream dataset:customers --uri http://dev:5000 --server prod=http://prod:5000
    """
    common = Common.take(given)
    jobs.configure(common)
    output.check(given["output"])
    check_report_path(common.report)
    if (given["model"] is None) == (given["downstream"] is None):
        raise UsageError("give a model, or --downstream with what to follow", hint="lineage show churn@champion")
    start, places = walking.opened(given, common)
    if given["downstream"] is None:
        found = lineages.back(places, start, given["model"], given["limit"])
    else:
        found = lineages.ahead(places, given["downstream"], given["limit"])
    for place in places.open.values():
        place.close()
    chart = partial(lineages.FORMATS["mermaid"], found)
    page = partial(lineages.FORMATS["html"], found)
    output.report(common.report, found.as_json(), page, lambda: f"```mermaid\n{chart()}\n```")
    text = lineages.FORMATS[given["form"]](found)
    if given["output"]:
        output.write(given["output"], text + "\n")
        text = f"written: {given['output']}"
    output.show("lineage show", found.as_json(), text, common, found.exit_code)
    return int(found.exit_code)
