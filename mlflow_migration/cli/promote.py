"""`promote`: a version of a model goes from environment to environment, by the gates of a policy."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import Any

import click

from mlflow_migration.cli import options
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.later import approvals, facts, flow, jobs, rollback, step
from mlflow_migration.cli.later import policy as policies
from mlflow_migration.cli.options import Common
from mlflow_migration.cli.promoting import BY, POLICY, Places, finish, person, tags_of, verdict_lines
from mlflow_migration.cli.promotion_views import history_, status, watch_
from mlflow_migration.errors import DONE, UsageError
from mlflow_migration.report import check_report_path

REFUSED = 5
TO = click.option("--to", "environment", required=True, metavar="ENVIRONMENT", help="The environment to promote into.")
BREAK = click.option(
    "--break-lock", is_flag=True, help="Take the lock of a promotion whose process is known to be gone, at once."
)
DRY = click.option("-n", "--dry-run", is_flag=True, help="Read for real, write nothing, say what would be done.")


@click.group("promote", context_settings={"help_option_names": ["-h", "--help"]})
def promote() -> None:
    """Promote versions of models from environment to environment, by the gates of a policy.

    \b
    Examples:
      promote init
      promote plan churn --to test
      promote run churn/7 --to prod
    """


@promote.command("init", cls=Command)
@click.option(
    "--output", "path", default="promotion.yml", show_default=True, metavar="FILE", help="Where the policy is written."
)
@click.option("--schema", is_flag=True, help="Print the JSON schema of a policy instead, for editors.")
def init(path: str, schema: bool) -> int:
    """Write an annotated policy to begin with.

    \b
    Examples:
      promote init
      promote init --schema > promotion.schema.json
    """
    if schema:
        click.echo(policies.schema(), nl=False)
        return DONE
    policies.write_starter(Path(path))
    click.echo(f"written: {path}", err=True)
    click.echo(
        f"next: edit it, then mlflow-migration promote plan MODEL --to ENVIRONMENT --policy {shlex.quote(path)}",
        err=True,
    )
    return DONE


@promote.command("plan", cls=Command)
@click.argument("model", metavar="MODEL[/VERSION|@ALIAS]")
@TO
@POLICY
@click.option("--as", "alias", metavar="ALIAS", help="The alias to move [default: that of the version in use].")
@options.common
def plan(**given: Any) -> int:
    """Show what would be promoted, and what each gate wants, finds and says. Nothing is written.

    \b
    Examples:
      promote plan churn --to test
      promote plan churn/7 --to prod --json
    """
    return _promoted("promote plan", given, True)


@promote.command("run", cls=Command)
@click.argument("model", metavar="MODEL[/VERSION|@ALIAS]")
@TO
@POLICY
@click.option(
    "--as",
    "alias",
    metavar="ALIAS",
    help="The alias to move [default: that of the version in use]. With the policy's challenger the version is tried "
    "beside the one in use.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set this tag at the promoted version, such as its share of the traffic. Repeatable.",
)
@click.option("--note", "reason", default="", metavar="TEXT", help="Why; kept in the journal.")
@BY
@BREAK
@DRY
@options.common
def run_(**given: Any) -> int:
    """Promote a version: gates, copy, comparison of its bytes, record, alias.

    Whatever fails, the version in use stays in use, and the same command completes what was begun. Where all is done
    already nothing is written. Exit code 5 when a gate refuses.

    \b
    Examples:
      promote run churn --to test
      promote run churn/7 --to prod --note "weekly retraining"
      promote run churn/7 --to prod --as challenger --tag traffic=10
    """
    return _promoted("promote run", given, given.pop("dry_run"))


def _promoted(command: str, given: dict[str, Any], dry_run: bool) -> int:
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    loaded = policies.load(Path(given["policy"]))
    wanted = step.asked(given["model"])
    stop = threading.Event()
    with Places(common) as places, jobs.signals(stop):
        where = step.step(loaded, wanted.model, given["environment"], places.open)
        by = "" if dry_run else person(given["by"], places.user(loaded.policy, where.destination, "DST"))
        alias = given["alias"] or step.alias_in(loaded.policy, where.destination)
        more = {"reason": given.get("reason", ""), "tags": tags_of(given.get("tags", ()))}
        more |= {"break_lock": given.get("break_lock", False), "workers": common.workers}
        manner = step.Manner(by, alias, **more, quiet=common.quiet or common.as_json, stop=stop)
        outcome = (flow.plan if dry_run else flow.promote)(where, wanted, manner)
    code = REFUSED if outcome.state == flow.REFUSED else DONE
    found = outcome.facts
    there = f"{found.step.dst_name} {found.number}".strip()
    lines = [f"{found.step.source} {found.version.id} → {found.step.destination} {there}"]
    lines += [f"alias {alias}: {found.previous or 'none'} → {found.number or 'the next number'}"]
    lines += [*verdict_lines(found.verdicts), *_said(outcome, dry_run)]
    table = [[v.name, "yes" if v.passed else "no", v.wanted, v.found, v.reason] for v in found.verdicts]
    document = {**outcome.as_json(), "dry_run": dry_run}
    finish(common, command, code, document, (lines, (["gate", "passed", "wanted", "found", "why"], table)))
    return code


def _said(outcome: Any, dry_run: bool) -> list[str]:
    if outcome.state == flow.SAME:
        return ["nothing to do: it is in use already"]
    if outcome.state == flow.REFUSED:
        return ["refused: the version in use stays"]
    if dry_run:
        return ["all gates pass: promote run does it"]
    return [f"done: number {outcome.entry.number} of the journal"]


def _opinion(command: str, verdict: str, given: dict[str, Any]) -> int:
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    loaded = policies.load(Path(given["policy"]))
    wanted = step.asked(given["model"])
    with Places(common) as places:
        where = step.step(loaded, wanted.model, given["environment"], places.open)
        by = person(given["by"], places.user(loaded.policy, where.source, "SRC"))
        version = step.candidate(where, wanted)
        opinion = approvals.Opinion(by, verdict, approvals.now(), version.digest, given["comment"])
        gates = loaded.policy.gates(where.model, where.destination)
        wrote = approvals.given(where.src, version, gates, opinion, where.destination)
        again = facts.version(where.src, version.name, version.number)
        alias = step.alias_in(loaded.policy, where.destination)
        manner = step.Manner(by, alias)
        seen, _ = flow.looked_at(where, again, manner)
        approvals.set_plain(where.src, flow.case_of(seen), gates)
    document = {"model": where.model, "version": version.number, "opinion": opinion.as_json(), "written": wrote}
    text = f"{by} {verdict} {version.id} of {where.source} for {where.destination}, bytes {version.digest[:12]}"
    finish(common, command, DONE, document, ([text if wrote else f"noted before: {text}"], (["said"], [[text]])))
    return DONE


@promote.command("approve", cls=Command)
@click.argument("model", metavar="MODEL[/VERSION|@ALIAS]")
@TO
@POLICY
@BY
@click.option("--comment", default="", metavar="TEXT", help="Kept with it.")
@options.common
def approve(**given: Any) -> int:
    """Approve a version for an environment: a tag at the source, with who, when and for which bytes.

    It counts for these bytes only. Who made the version can't approve it.

    \b
    Examples:
      promote approve churn/7 --to prod
      promote approve churn/7 --to prod --by alice --comment "checked with the risk team"
    """
    return _opinion("promote approve", approvals.APPROVED, given)


@promote.command("reject", cls=Command)
@click.argument("model", metavar="MODEL[/VERSION|@ALIAS]")
@TO
@POLICY
@BY
@click.option("--comment", required=True, metavar="TEXT", help="Why; the gate says it.")
@options.common
def reject(**given: Any) -> int:
    """Reject a version for an environment: while these are its bytes it isn't promoted, whoever approves.

    \b
    Examples:
      promote reject churn/7 --to prod --comment "recall of small shops is too low"
    """
    return _opinion("promote reject", approvals.REJECTED, given)


@promote.command("rollback", cls=Command)
@click.argument("model", metavar="MODEL")
@click.option("--environment", required=True, metavar="ENVIRONMENT", help="Where.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept in the journal.")
@click.option("--to-version", default="", metavar="NUMBER|none", help="Go back to this version, or to none in use.")
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="Or so many versions back.")
@click.option("--verify", is_flag=True, help="Read the version's files first, and compare them with its record.")
@POLICY
@BY
@BREAK
@DRY
@options.common
def rollback_(**given: Any) -> int:
    """Put the version that was in use before back into use, by the journal. Nothing is copied, no gate is asked.

    \b
    Examples:
      promote rollback churn --environment prod --reason "alerts of the fraud team"
      promote rollback churn --environment prod --to-version 4 --reason "last good one" --verify
    """
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    dry_run = common.dry_run
    if given["to_version"] and given["to_version"] != rollback.NOTHING and not given["to_version"].isdigit():
        raise UsageError(f"not a version: {given['to_version']!r}", hint="give its number, or none")
    loaded = policies.load(Path(given["policy"]))
    with Places(common) as places:
        live = places.open(loaded.policy.known(given["environment"]), "DST")
        where = rollback.place(loaded, step.asked(given["model"]).model, given["environment"], live)
        by = person(given["by"], places.user(loaded.policy, given["environment"], "DST"))
        alias = step.alias_in(loaded.policy, given["environment"])
        manner = step.Manner(by, alias, given["reason"], break_lock=given["break_lock"])
        back = rollback.Back(given["to_version"], given["steps"], given["verify"])
        done = (rollback.rehearse if dry_run else rollback.rollback)(where, back, manner)
    text = f"{where.dst_name} in {where.destination}: {alias} {done.previous or 'none'} → {done.version or 'none'}"
    table = [[where.dst_name, done.previous, done.version]]
    shown = ([f"would: {text}" if dry_run else text], (["model", "from", "to"], table))
    finish(common, "promote rollback", DONE, {**done.as_json(), "dry_run": dry_run}, shown)
    return DONE


for _command in (status, history_, watch_):
    promote.add_command(_command)
