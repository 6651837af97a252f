"""The command that tells what somebody may do in Unity Catalog."""

from __future__ import annotations

from typing import Any

import click

from mlflow_migration.cli import answer, options
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.later import check_access as rights
from mlflow_migration.cli.later import jobs, opening
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, INCOMPLETE, UsageError
from mlflow_migration.records import Json
from mlflow_migration.report import check_report_path, write_report

LEVELS = 3
"""Of a full name: catalog, schema, and the thing itself."""


@click.command("check-access", cls=Command)
@click.argument("place")
@click.option(
    "--principal",
    metavar="NAME",
    default="",
    help="A user's name, a group's display name, or a service principal's application id [default: who asks].",
)
@click.option("--catalog", metavar="NAME", default="", help="The catalog; it may stand in the other names.")
@click.option("--schema", metavar="NAME", default="", help="A schema of it, or CATALOG.SCHEMA.")
@click.option("--model", metavar="NAME", default="", help="A registered model: its name in the schema, or all three.")
@click.option("--table", metavar="NAME", default="", help="A table, likewise: what is read, or written.")
@click.option("--volume", metavar="NAME", default="", help="A volume, likewise.")
@click.option(
    "--for",
    "words",
    metavar="WORDS",
    multiple=True,
    help="What for: train, batch, serve, export, import, alias, volume, or privileges (USE_CATALOG, CREATE_MODEL, …), "
    "with commas. Repeatable [default: all that models and tables need; with --volume reading and writing it].",
)
@options.common
def check_access(**given: Any) -> int:
    """Tell which Unity Catalog privileges somebody has, by what, and the GRANT statement for each one missing.

    Needed privileges on models, tables and volumes are looked for on the one that is named, else on its schema or
    catalog, which give them to all that is in it. Exit code 1 where one is missing, 3 where it can't be asked.

    \b
    Examples:
      check-access databricks-uc://PROD --catalog prod --schema ml --for train
      check-access databricks-uc://PROD --principal 4f3c0a8e-7d1b-4a57-9f3e-0d8a6b1c2e4f --model prod.ml.churn
      check-access databricks-uc --catalog dev --for USE_CATALOG,CREATE_TABLE --json
    """
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    wanted = rights.needs(
        [word for text in given["words"] for word in text.split(",") if word.strip()], _targets(given)
    )
    rest = opening.session(given["place"], "SRC", common)
    try:
        if not rest.dialect:
            raise UsageError(f"not a Databricks workspace: {rest.address}", hint="give databricks-uc://PROFILE")
        with rest.hurried():
            found = rights.check(rest, given["principal"], wanted)
    finally:
        rest.close()
    code = INCOMPLETE if found.missing else DONE
    document = {
        "ok": code == DONE,
        "exit_code": code,
        "command": "check-access",
        "place": rest.address,
        **found.as_json(),
        "error": None,
    }
    _show(document, common)
    return code


def _targets(given: dict[str, Any]) -> rights.Targets:
    """What the options name, each by its full name. Raises UsageError where they don't fit together."""
    catalog, schema = given["catalog"], given["schema"]
    things = {name: given[name] for name in ("model", "table", "volume") if given[name]}
    if schema.count(".") == 1:
        catalog, schema = _agreed("--catalog", catalog, schema.split(".")[0]), schema.split(".")[1]
    for name, text in things.items():
        parts = text.split(".")
        if len(parts) == LEVELS:
            catalog, schema = _agreed("--catalog", catalog, parts[0]), _agreed("--schema", schema, parts[1])
        elif len(parts) > 1 or not (catalog and schema):
            raise UsageError(f"not a full name of a {name}: {text!r}", hint="write it CATALOG.SCHEMA.NAME")
    if not catalog or "." in catalog or "." in schema:
        raise UsageError("no catalog is named", hint="give --catalog NAME, --schema CATALOG.SCHEMA, or a full name")
    full = {name: f"{catalog}.{schema}.{text.rpartition('.')[2]}" for name, text in things.items()}
    return rights.Targets(catalog, f"{catalog}.{schema}" if schema else "", **full)


def _agreed(option: str, first: str, second: str) -> str:
    if first and first != second:
        raise UsageError(f"{option} is {first!r} and {second!r}", hint="give one of them")
    return second


def _show(document: Json, common: Common) -> None:
    who, missing = document["principal"], document["statements"]
    title = f"{who['type'].replace('_', ' ')} {who['name']}" + (f" ({who['title']})" if who["title"] else "")
    rows = [
        [each["privilege"], f"{each['on']['type']} {each['on']['name']}", each["how"] or "MISSING", each["note"]]
        for each in document["privileges"]
    ]
    head = ["privilege", "on", "how", ""]
    if common.report:
        write_report(common.report, document, f"check-access: {title} at {document['place']}", (head, rows), missing)
    answer.give(document, common.as_json)
    if common.as_json:
        return
    if not common.quiet or missing:
        click.echo(f"{title} at {document['place']}", err=True)
        jobs.print_table((head, rows), all_columns=True)
        for group in document["unseen"]:
            click.echo(f"not known: which groups {group} is in itself", err=True)
    for statement in missing:
        click.echo(statement)
