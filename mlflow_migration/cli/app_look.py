"""`app status|logs|open|test|call|permissions`: what is there, looked at and called with OAuth."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mlflow_migration.cli import output
from mlflow_migration.cli.app_options import CONFIG, DRY, JSON, NAME, WORKSPACE, name_of
from mlflow_migration.cli.command import Command, Group
from mlflow_migration.cli.later import client, config, module, opened
from mlflow_migration.cli.later import logs as log_lines
from mlflow_migration.cli.later import permissions as rights
from mlflow_migration.cli.later import status as look
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, INCOMPLETE, UsageError
from mlflow_migration.report import visible

if TYPE_CHECKING:
    from mlflow_migration.server import address
else:
    address = module("mlflow_migration.server.address")

F = TypeVar("F", bound=Callable[..., Any])
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
SOURCES = ("APP", "SYSTEM")
PAGES = {"mlflow": "/", "status": "/mlflow-app/status"}
LARGEST = 64 * 1024 * 1024


def _named(function: F) -> F:
    """The options that name an app."""
    for option in (JSON, WORKSPACE, NAME, CONFIG):
        function = option(function)
    return function


def _opened(given: dict[str, Any]) -> Any:
    """The app that a command's options name. Raises UsageError."""
    uri, credentials = config.load(None, os.environ).place(given["workspace"], "DST", os.environ)
    if not address.is_databricks(uri):
        raise UsageError(
            f"apps are in Databricks workspaces only: {address.printable(uri)}",
            hint="give --workspace databricks://PROFILE",
        )
    return opened.Opened(uri, name_of(given), credentials)


@click.command("status", cls=Command)
@_named
def status(**given: Any) -> int:
    """Show how an app is: compute, deployment, backend, last snapshot and what would be lost now, disk, versions.

    Exit code 0 where it runs and is well, 1 otherwise. What the app tells of itself needs OAuth: with a personal token
    the rest is shown, and doesn't count as well.

    \b
    Examples:
      app status
      app status --name tracking --workspace databricks://PROD --json
    """
    with _opened(given) as app:
        document = look.status(app)
    rows = list(look.rows(document))
    code = DONE if document["healthy"] else INCOMPLETE
    text = f"{document['app']}: {'well' if document['healthy'] else 'not well'}\n\n{output.table(('', ''), rows)}"
    output.show("app status", document, text, Common(as_json=given["as_json"]), code)
    return code


@click.command("logs", cls=Command)
@_named
@click.option("--search", default="", metavar="TEXT", help="Only lines with this text, as the platform finds them.")
@click.option(
    "--source", "sources", multiple=True, type=click.Choice(SOURCES, case_sensitive=False),
    help="Only the app's own lines, or those about it. Repeatable [default: both].",
)  # fmt: skip
@click.option(
    "--tail", type=click.IntRange(0), default=200, show_default=True,
    help="Of the lines there are the last so many; 0: all.",
)  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Go on with new lines for so long."
)
def logs(**given: Any) -> int:
    """Show an app's log: what its process writes, and what the platform says of it. Needs OAuth.

    A connection that breaks off is made again, and no line is shown twice.

    \b
    Examples:
      app logs --tail 50
      app logs --name tracking --follow --source APP
      app logs --duration 60 --search ERROR --json
    """
    duration, as_json = given["duration"], given["as_json"]
    if as_json and given["follow"] and duration is None:
        raise UsageError("--json is one document, and --follow has no end", hint="give --duration SECONDS")
    sources = frozenset(map(str.upper, given["sources"]))
    follow = given["follow"] or duration is not None
    wanted = log_lines.Wanted(given["search"], sources, given["tail"], follow, duration)
    with _opened(given) as app:
        app.require_logs()
        endpoint = app.endpoint(app.head())
        found = log_lines.lines(endpoint, wanted, app.require_logs)
        kept = _print(found, as_json)
    if as_json:
        output.show("app logs", {"app": app.where.name, "lines": kept}, "", Common(as_json=True))
    return DONE


def _print(lines: Iterable[Any], as_json: bool) -> list[dict[str, Any]]:
    """Lines as they come, or all of them where they go into a document."""
    if as_json:
        return [{"time": line.moment or None, "source": line.source, "message": line.message} for line in lines]
    for line in lines:
        click.echo("  ".join(filter(None, [line.moment, line.source, visible(line.message.replace("\t", "    "))])))
    return []


@click.command("open", cls=Command)
@_named
@click.option("--print", "only_print", is_flag=True, help="Print the URL, and open nothing.")
@click.option(
    "--page", type=click.Choice(["mlflow", "status"]), default="mlflow", show_default=True, help="Which page."
)
def open_(**given: Any) -> int:
    """Open an app in the browser, and print its URL.

    \b
    Examples:
      app open
      app open --page status --print
    """
    with _opened(given) as app:
        url = app.url(app.head()) + PAGES[given["page"]]
    shown = not given["only_print"] and click.launch(url) == 0
    output.show("app open", {"url": url, "opened": shown}, url, Common(as_json=given["as_json"]))
    return DONE


@click.command("test", cls=Command)
@_named
@click.option("--write", is_flag=True, help="Also make an experiment, a run, a metric, an artifact; delete them again.")
def test(**given: Any) -> int:
    """Ask an app what a client of MLflow asks, by OAuth: health, version, page, experiments. Exit code 1 on a failure.

    \b
    Examples:
      app test
      app test --name tracking --write --json
    """
    with _opened(given) as app, app.session(app.head()) as rest:
        steps = client.test(rest, given["write"])
        url = rest.address
    code = DONE if all(each.ok for each in steps) else INCOMPLETE
    rows = [("ok" if each.ok else "FAILED", each.name, f"{each.seconds:.2f} s", each.told) for each in steps]
    document = {"app": app.where.name, "url": url, "steps": [asdict(each) for each in steps]}
    output.show(
        "app test", document, output.table(("", "step", "time", ""), rows), Common(as_json=given["as_json"]), code
    )
    return code


@click.command("call", cls=Command)
@click.argument("route", metavar="PATH")
@click.argument("method", required=False, metavar="[METHOD]")
@click.argument("data", required=False, metavar="[DATA]")
@_named
@click.option("--data", "more", metavar="JSON|@FILE", help="The body instead of DATA; @FILE is read, @- is stdin.")
@DRY
def call(**given: Any) -> int:
    """Send an app one request, by OAuth, and print what it answers.

    PATH begins with a slash, or is below /api/2.0/mlflow/. METHOD is GET, or POST where there is DATA. Exit code 1
    where the app refuses the request, 3 where it refuses the login.

    \b
    Examples:
      app call /health
      app call experiments/search POST '{"max_results": 5}'
      app call /api/2.0/mlflow/runs/create --data @run.json
    """
    if given["data"] is not None and given["more"] is not None:
        raise UsageError("give DATA or --data, not both")
    data = _data(given["data"] if given["data"] is not None else given["more"])
    method = (given["method"] or ("GET" if data is None else "POST")).upper()
    if method not in METHODS:
        raise UsageError(f"no such method: {method}", hint=f"one of {', '.join(METHODS)}")
    common = Common(as_json=given["as_json"])
    with _opened(given) as app, app.session(app.head()) as rest:
        sent = {"method": method, "url": rest.address, "path": given["route"]}
        if given["dry_run"]:
            output.show("app call", {**sent, "would": True}, f"would send: {method} {given['route']}", common)
            return DONE
        answer = client.call(rest, given["route"], method, data)
    if common.as_json:
        document = {**sent, "status": answer.status, "seconds": round(answer.seconds, 3), "answer": answer.content}
        output.show("app call", document, "", common)
    else:
        click.echo(answer.body, nl=sys.stdout.isatty())
    return DONE


def _data(text: str | None) -> bytes | None:
    """The body that is to be sent. Raises UsageError for what is no JSON, or can't be read."""
    if text is None:
        return None
    if text == "@-":
        content = sys.stdin.buffer.read(LARGEST)
    elif text.startswith("@"):
        try:
            content = Path(text[1:]).read_bytes()
        except OSError as error:
            raise UsageError(f"can't read {text[1:]}", error.strerror or str(error)) from error
    else:
        content = text.encode()
    try:
        json.loads(content)
    except ValueError as error:
        raise UsageError("the data is not JSON", str(error)) from error
    return content


@click.group("permissions", cls=Group)
def permissions() -> None:
    """Show, grant and revoke who may use or manage an app.

    \b
    Examples:
      app permissions show
      app permissions grant ann@example.com=CAN_USE data-science=CAN_MANAGE
      app permissions revoke ann@example.com
    """


@permissions.command("show", cls=Command)
@_named
def show(**given: Any) -> int:
    """Show who may use or manage an app, and by what.

    \b
    Examples:
      app permissions show
      app permissions show --name tracking --json
    """
    with _opened(given) as app:
        app.head()
        found = rights.held(app.workspace, app.where.name)
    rows = [
        (each.level, each.type.replace("_", " "), each.name, each.inherited and f"by {each.inherited}")
        for each in found
    ]
    document = {"app": app.where.name, "permissions": [asdict(each) for each in found]}
    text = output.table(("level", "", "who", ""), rows)
    output.show("app permissions show", document, text, Common(as_json=given["as_json"]))
    return DONE


@permissions.command("grant", cls=Command)
@click.argument("who", nargs=-1, required=True, metavar="PRINCIPAL=LEVEL...")
@_named
@DRY
def grant(**given: Any) -> int:
    """Give levels on an app: CAN_USE or CAN_MANAGE. Who has one already is left as it is.

    A principal is a mail address, a service principal's application id, or a group's name; user:, group: or
    service_principal: before it says which.

    \b
    Examples:
      app permissions grant ann@example.com=CAN_USE
      app permissions grant group:users=CAN_USE --dry-run
    """
    return _changed("grant", given)


@permissions.command("revoke", cls=Command)
@click.argument("who", nargs=-1, required=True, metavar="PRINCIPAL...")
@_named
@DRY
def revoke(**given: Any) -> int:
    """Take away what somebody was given on the app itself; what comes with the workspace stays.

    \b
    Examples:
      app permissions revoke ann@example.com
    """
    return _changed("revoke", given)


def _changed(verb: str, given: dict[str, Any]) -> int:
    wanted = [rights.parsed(text) for text in given["who"]]
    for text, each in zip(given["who"], wanted, strict=True):
        if bool(each.level) != (verb == "grant"):
            hint = f"write {each.name}=CAN_USE" if verb == "grant" else f"write {each.name}"
            raise UsageError(f"{'no' if verb == 'grant' else 'a'} level is given: {text!r}", hint=hint)
    with _opened(given) as app:
        app.head()
        change = rights.grant if verb == "grant" else rights.revoke
        done = change(app.workspace, app.where.name, wanted, given["dry_run"])
    would, past = "would be " if given["dry_run"] else "", "granted" if verb == "grant" else "revoked"
    lines = [f"{would}{past}: {each.name} {each.level}" for each in done] or ["nothing to do"]
    document = {"app": app.where.name, "dry_run": given["dry_run"], past: [asdict(each) for each in done]}
    output.show(f"app permissions {verb}", document, "\n".join(lines), Common(as_json=given["as_json"]))
    return DONE


COMMANDS: tuple[click.Command, ...] = (status, logs, open_, test, call, permissions)
"""What stands in `app`."""
