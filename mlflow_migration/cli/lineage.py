"""`lineage show`: where a model comes from, through every environment, and what was made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlflow_migration.calls import Readable
from mlflow_migration.cli import options, output
from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.later import environments, jobs, opening, settings
from mlflow_migration.cli.later import lineage as lineages
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import AccessError, UsageError

HERE = "here"
"""The name of an environment that was given without one."""
FORMATS = ("text", "json", "mermaid", "openlineage", "html")
SERVERS = click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="A further environment to walk into. Repeatable.",
)
SAME = click.option(
    "--same-place",
    "same",
    multiple=True,
    metavar="OLD=NEW",
    help="The address OLD, which copies were made from, is reached at NEW now. Repeatable.",
)
POLICY = click.option("--policy", metavar="FILE", help="A promotion.yml, whose environments are walked into.")
OUTPUT = click.option("--output", metavar="FILE", help="Write to FILE instead of stdout.")


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
@POLICY
@SERVERS
@SAME
@click.option(
    "--downstream",
    metavar="THING",
    help="Follow a thing forward instead: run:ID, dataset:NAME[@DIGEST], prompt:NAME[/VERSION], model:NAME/VERSION or "
    "logged-model:ID.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="How to draw it.")
@OUTPUT
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
    if (given["model"] is None) == (given["downstream"] is None):
        raise UsageError("give a model, or --downstream with what to follow", hint="lineage show churn@champion")
    start, places = opened(given, common)
    if given["downstream"] is None:
        found = lineages.back(places, start, given["model"], given["limit"])
    else:
        found = lineages.ahead(places, given["downstream"], given["limit"])
    for place in places.open.values():
        place.close()
    text = lineages.FORMATS[given["form"]](found)
    if given["output"]:
        output.write(given["output"], text + "\n")
        text = f"written: {given['output']}"
    output.show("lineage show", found.as_json(), text, common, found.exit_code)
    return int(found.exit_code)


def opened(given: dict[str, Any], common: Common) -> tuple[str, Any]:
    """The name of the environment to begin at, and all of them. One that can't be reached is shut, but for the first.

    Raises UsageError, AccessError.
    """
    addresses, journals = _from_policy(given["policy"])
    for pair in given["servers"]:
        name, sign, address = pair.partition("=")
        if not sign or not name or not address:
            raise UsageError(f"not an environment: {pair!r}", hint="write --server NAME=ADDRESS")
        addresses[name] = address
    start = given["tracking_uri"]
    if start is None and addresses and given["policy"]:
        start = list(addresses)[-1]
    if start in addresses:
        first = opening.readable(addresses.pop(start), "SRC", common)
    else:
        first, start = opening.readable(start, "SRC", common), HERE
    open_: dict[str, Readable] = {start: first}
    shut: dict[str, str] = {}
    for name, address in addresses.items():
        try:
            place = opening.readable(address, "SRC", common)
        except AccessError as error:
            shut[name] = str(error)
            continue
        if all(place.address != other.address for other in open_.values()):
            open_[name] = place
        elif start == HERE and place.address == first.address:
            # The place was given by its address and has a name in the policy.
            open_ = {name: first, **{key: each for key, each in open_.items() if key != HERE}}
            start = name
    same = dict(_pair(text) for text in given["same"])
    return start, environments.Environments(open_, shut, addresses, same, journals)


def _from_policy(path: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """The addresses of a policy's environments, in the order of its path, and the experiments of their journals."""
    if path is None:
        return {}, {}
    policy = settings.load(Path(path))
    return dict(policy.addresses), dict(policy.journals)


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not sign or not old or not new:
        raise UsageError(f"not two addresses: {text!r}", hint="write --same-place http://old:5000=http://new:5000")
    return old.rstrip("/"), new.rstrip("/")
