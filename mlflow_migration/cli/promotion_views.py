"""`promote status`, `promote history` and `promote watch`."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import click

from mlflow_migration.cli import options
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.later import flow, history, jobs, step, watch, webhooks
from mlflow_migration.cli.later import policy as policies
from mlflow_migration.cli.options import Common
from mlflow_migration.cli.promoting import BY, POLICY, Places, finish, person, verdict_lines
from mlflow_migration.engine import selection as choose
from mlflow_migration.errors import DONE, INCOMPLETE, MigrationError, UsageError
from mlflow_migration.report import check_report_path, visible

VARIABLE = "MLFLOW_MIGRATION_WEBHOOK_SECRET"
DIGITS = 12
STATUS = ("model", "environment", "version", "challenger", "previous", "since", "by", "bytes", "as upstream", "drift")
HISTORY = ("environment", "no", "when", "what", "outcome", "from", "version", "before", "by", "why")


@click.command("status", cls=Command)
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@POLICY
@click.option("--verify", is_flag=True, help="Read the files of all versions, and compare them with their records.")
@options.common
def status(models: tuple[str, ...], policy: str, verify: bool, **given: Any) -> int:
    """Show which version of each model is in use in each environment, since when, and whether its bytes are those of
    the environment before.

    Read from MLflow alone. Exit code 1 where something doesn't agree with the journal.

    \b
    Examples:
      promote status
      promote status churn --verify --json
    """
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    found = policies.load(Path(policy)).policy
    with Places(common) as places:
        lives = {
            name: places.open(found.environments[name], "DST" if at else "SRC") for at, name in enumerate(found.path)
        }
        chosen = [step.asked(text).model for text in models] or history.models(found, lives)
        rows = [row for model in chosen for row in history.status(found, model, lives, verify)]
    table = [
        [
            row.model,
            row.environment,
            row.version or "-",
            row.challenger,
            row.previous,
            history.iso(row.since)[:16] if row.since else "",
            row.by,
            row.digest[:DIGITS],
            row.equal,
            row.drift,
        ]
        for row in rows
    ]
    code = INCOMPLETE if any(row.drift for row in rows) else DONE
    shown = (_lines(STATUS, table), (list(STATUS), table))
    finish(common, "promote status", code, {"rows": [row.as_json() for row in rows]}, shown)
    return code


@click.command("history", cls=Command)
@click.argument("model", metavar="MODEL")
@POLICY
@click.option("--environment", metavar="ENVIRONMENT", help="Only this one; all of the path without it.")
@click.option("--at", "moment", metavar="TIME", help="Only say which version was in use then (UTC: 2024-05-01, or 7d).")
@options.common
def history_(**given: Any) -> int:
    """Show every promotion, refusal and rollback of a model, in the order of the journal.

    Read from MLflow alone. Times are those of the machines that promoted.

    \b
    Examples:
      promote history churn
      promote history churn --environment prod --at 2024-05-01
    """
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    found = policies.load(Path(given["policy"])).policy
    model = step.asked(given["model"]).model
    names = [given["environment"]] if given["environment"] else list(found.path)
    moment = choose.moment(given["moment"])
    with Places(common) as places:
        lives = {name: places.open(found.known(name), "DST" if name != found.path[0] else "SRC") for name in names}
        events = {name: history.events(live, found, name, model) for name, live in lives.items()}
    if moment is not None:
        return _held(common, found, events, moment)
    rows = [
        [
            each.environment,
            str(each.number or "-"),
            history.iso(each.began)[:19],
            each.kind,
            each.outcome,
            " ".join(part for part in (each.source, each.source_version) if part),
            each.version,
            each.previous,
            each.by,
            each.reason,
        ]
        for happened in events.values()
        for each in happened
    ]
    every = [each.as_json() for happened in events.values() for each in happened]
    finish(
        common,
        "promote history",
        DONE,
        {"model": model, "events": every},
        (_lines(HISTORY, rows), (list(HISTORY), rows)),
    )
    return DONE


def _held(common: Common, found: Any, events: dict[str, Any], moment: int) -> int:
    held = {name: history.held_at(happened, step.alias_in(found, name), moment) for name, happened in events.items()}
    rows = [[name, version or "-"] for name, version in held.items()]
    shown = (_lines(("environment", "version"), rows), (["environment", "version"], rows))
    finish(common, "promote history", DONE, {"at": history.iso(moment), "in_use": held}, shown)
    return DONE


def _lines(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    """A plain table; columns without anything in them are left out, and line ends in cells."""
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    kept = [at for at in range(len(head)) if any(row[at] for row in cells)]
    widths = {at: max(len(head[at]), *(len(row[at]) for row in cells)) for at in kept}
    texts = ["  ".join(row[at].ljust(widths[at]) for at in kept).rstrip() for row in (list(head), *cells)]
    return texts if cells else ["nothing yet"]


@click.command("watch", cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL[@ALIAS]...")
@click.option("--to", "environment", required=True, metavar="ENVIRONMENT", help="The environment to promote into.")
@POLICY
@BY
@click.option("--once", is_flag=True, help="Look once and end: for cron and pipelines.")
@click.option(
    "--every", type=click.FloatRange(1), default=300.0, show_default=True, metavar="SECONDS", help="How often to look."
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Also take MLflow's webhooks here (model_version, its tags and aliases); the webhook's secret stands in "
    f"{VARIABLE}. MLflow sends to https only: put it behind a proxy that speaks it.",
)
@options.common
def watch_(**given: Any) -> int:
    """Promote what comes up: a new alias, a new version, an approval, as soon as all gates pass.

    What a gate refuses is left, and written to the journal once. With an alias the version it names is wanted.

    \b
    Examples:
      promote watch churn@candidate --to test --once
      promote watch churn fraud --to prod --listen 127.0.0.1:8443
    """
    common = Common.take(given)
    jobs.configure(common)
    check_report_path(common.report)
    loaded = policies.load(Path(given["policy"]))
    wanted = {each.model: each for each in map(step.asked, given["models"])}
    endpoint = _endpoint(given["listen"]) if given["listen"] and not given["once"] else None
    told: list[dict[str, Any]] = []
    stop = threading.Event()

    def tell(model: str, outcome: Any) -> None:
        told.append(_told(model, outcome))
        if not given["once"]:
            del told[:-1]
        if not common.as_json and not common.quiet:
            for line in _words(model, outcome):
                click.echo(visible(line))

    with Places(common) as places, jobs.signals(stop):
        first = step.step(loaded, next(iter(wanted)), given["environment"], places.open)
        steps = [step.Step(loaded, model, first.source, first.destination, first.src, first.dst) for model in wanted]
        by = person(given["by"], places.user(loaded.policy, first.destination, "DST"))
        manner = step.Manner(by, step.alias_in(loaded.policy, first.destination), workers=common.workers, stop=stop)
        watched = watch.Watched(steps, wanted.__getitem__, manner)
        if given["once"]:
            code = DONE if watch.once(watched, tell) else INCOMPLETE
            quiet = Common(as_json=common.as_json, report=common.report, quiet=True)
            finish(quiet, "promote watch", code, {"models": told}, ([], (["model", "state"], _rows(told))))
            return code
        names = _listening(endpoint)
        try:
            watch.forever(watched, names, given["every"], tell, stop)
        finally:
            if endpoint is not None:
                endpoint[1].stop()
    return DONE


def _endpoint(text: str) -> Any:
    """The inbox and the server of HOST:PORT. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"not an address to listen on: {text}", hint="write HOST:PORT, such as 127.0.0.1:8443")
    inbox = webhooks.Inbox(os.environ.get(VARIABLE, ""))
    return inbox, webhooks.Endpoint(inbox, host.strip("[]"), int(port))


def _listening(endpoint: Any) -> Any:
    """The names that come in; none ever where nothing listens."""
    if endpoint is None:
        import queue

        return queue.Queue()
    inbox, server = endpoint
    server.start()
    click.echo(f"listening on port {server.port}", err=True)
    return inbox.names


def _told(model: str, outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, MigrationError):
        return {"model": model, "state": "failed", "reason": str(outcome)}
    found: dict[str, Any] = {**outcome.as_json(), "model": model}
    return found


def _words(model: str, outcome: Any) -> list[str]:
    if isinstance(outcome, MigrationError):
        return [f"{model}: failed: {outcome}"]
    refused = [each for each in outcome.facts.verdicts if not each.passed]
    first = f"{model} {outcome.facts.version.number}: {outcome.state}"
    return [first, *(verdict_lines(refused) if outcome.state == flow.REFUSED else [])]


def _rows(told: list[dict[str, Any]]) -> list[list[str]]:
    return [[each["model"], each["state"]] for each in told]
