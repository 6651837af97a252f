"""`audit` and `inventory`: what breaks the rules at a server, and how much there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from mlflow_migration.cli import options, output, walking
from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.later import audit_forms, auditing, findings, jobs, opening, settings
from mlflow_migration.cli.later import inventory as stock
from mlflow_migration.cli.later import trend as trends
from mlflow_migration.cli.options import Common
from mlflow_migration.report import check_report_path

SEVERITIES = ("low", "medium", "high")
FAIL_ON = click.option(
    "--fail-on",
    type=click.Choice(SEVERITIES),
    help="Exit with 1 where a finding is as grave as this [default: findings don't change the exit code].",
)


@click.group("audit", cls=Group)
def audit() -> None:
    """Check a server by rules: names, metadata, descriptions, origins, permissions.

    \b
    Examples:
      audit run --tracking-uri http://prod:5000 --fail-on high
      audit trend monday.json friday.json
    """


@audit.command("run", cls=Command)
@options.TRACKING
@walking.POLICY
@walking.SERVERS
@walking.SAME
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "sarif", "html"]),
    default="table",
    show_default=True,
    help="How to give the report.",
)
@walking.OUTPUT
@FAIL_ON
@click.option("--baseline", metavar="FILE", help="Leave out findings that this file accepts.")
@click.option("--write-baseline", metavar="FILE", help="Write a file that accepts all of today's findings.")
@options.common
def run(**given: Any) -> int:
    """Look for what the rules forbid: experiments of one person, names that say nothing, runs without metadata or
    stuck, versions without description, signature, evidence or owner, unused or stale versions, origins that can't be
    traced, changed bytes, unreviewed traces, wide permissions.

    All rules are on; the part audit of the policy sets severities and limits, or turns rules off. A rule that couldn't
    be checked is named, and the exit code is 1. Origins are traced through --server and the policy's environments.

    \b
    Examples:
      audit run --tracking-uri http://prod:5000
      audit run --policy promotion.yml --fail-on high --baseline accepted.json
      audit run --tracking-uri http://prod:5000 --format sarif --output audit.sarif
    """
    common = Common.take(given)
    jobs.configure(common)
    for path in (given["output"], given["write_baseline"]):
        output.check(path)
    check_report_path(common.report)
    rules = settings.load(Path(given["policy"])).audit if given["policy"] else audit_forms.Audit()
    known = auditing.accepted(Path(given["baseline"])) if given["baseline"] else ()
    start, places = walking.opened(given, common)
    report = findings.without(auditing.run(places, start, rules, common.workers), known)
    for place in places.open.values():
        place.close()
    if given["write_baseline"]:
        output.write(given["write_baseline"], auditing.baseline(report))
    _report(common, report, auditing.FORMATS)
    code = report.exit_code(given["fail_on"])
    output.show("audit run", report.as_json(), _drawn(auditing.FORMATS[given["form"]](report), given), common, code)
    return int(code)


@audit.command("trend", cls=Command)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@FAIL_ON
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def trend(old: str, new: str, fail_on: str | None, as_json: bool) -> int:
    """Compare two reports of one server, which audit run wrote by --format json: what is new, gone, and still there.

    \b
    Examples:
      audit trend monday.json friday.json
      audit trend monday.json friday.json --fail-on medium
    """
    found = trends.compare(Path(old), Path(new))
    code = found.exit_code(fail_on)
    output.show("audit trend", found.as_json(), found.text(), Common(as_json=as_json), code)
    return int(code)


@click.command("inventory", cls=Command)
@options.TRACKING
@click.option(
    "--sizes/--no-sizes",
    default=True,
    show_default=True,
    help="Look at all artifacts: at least one request for each run and logged model.",
)
@click.option(
    "--biggest", type=click.IntRange(0, 1000), default=20, show_default=True, help="So many of the biggest artifacts."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "html"]),
    default="table",
    show_default=True,
    help="How to give it.",
)
@walking.OUTPUT
@options.common
def inventory(**given: Any) -> int:
    """Count what is on a server: objects, bytes, owners, growth by month, the biggest artifacts.

    Deleted runs count too: they and their artifacts are kept until `mlflow gc`. What can't be listed is named, and the
    exit code is 1.

    \b
    Examples:
      inventory --tracking-uri http://prod:5000
      inventory --tracking-uri http://prod:5000 --format html --output inventory.html
      inventory --no-sizes --json
    """
    common = Common.take(given)
    jobs.configure(common)
    output.check(given["output"])
    check_report_path(common.report)
    place = opening.readable(given["tracking_uri"], "SRC", common)
    found = stock.take(place, stock.Asked(given["sizes"], given["biggest"], common.workers))
    place.close()
    _report(common, found, stock.FORMATS)
    code = found.exit_code
    output.show("inventory", found.as_json(), _drawn(stock.FORMATS[given["form"]](found), given), common, code)
    return int(code)


def _report(common: Common, found: Any, formats: Mapping[str, Callable[[Any], str]]) -> None:
    """Write the file of --report: the document, the page, or as Markdown what a terminal shows."""
    page, table = partial(formats["html"], found), partial(formats["table"], found)
    output.report(common.report, found.as_json(), page, lambda: f"```text\n{table()}\n```")


def _drawn(text: str, given: dict[str, Any]) -> str:
    """The text, or where it was written to."""
    if not given["output"]:
        return text
    output.write(given["output"], text + "\n")
    return f"written: {given['output']}"
