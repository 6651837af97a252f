"""`app init`: a guided set-up, each answer of which is an option too."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli import app_deploy
from mlflow_migration.cli.app_options import DRY, FILE, JSON, WORKSPACE
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.later import module, opening, platform, questions
from mlflow_migration.cli.options import Common
from mlflow_migration.cli.output import show
from mlflow_migration.errors import DONE, MigrationError, UsageError
from mlflow_migration.records import Json
from mlflow_migration.report import visible

if TYPE_CHECKING:
    from mlflow_migration.apps import config as settings
    from mlflow_migration.apps.questions import Question
else:
    settings = module("mlflow_migration.apps.config")

KEYS = {
    "name": "name",
    "mlflow": "mlflow",
    "backend": "backend",
    "volume": "volume",
    "artifacts": "artifacts",
    "compute": "compute",
    "workers": "workers",
    "allowed_hosts": "allowed_hosts",
    "experiment_prefix": "experiment_prefix",
    "lakebase_project": "lakebase.project",
    "lakebase_instance": "lakebase.instance",
    "workspace_path": "workspace_path",
    "package_index": "package.index",
    "wheel": "package.wheel",
}
"""Option → key."""
DEPLOY, LEAVE = "deploy", "leave"
Content = dict[str, Any]


@click.command("init", cls=Command)
@click.option(
    "--config",
    "path",
    metavar="FILE",
    default=FILE,
    show_default=True,
    envvar="MLFLOW_MIGRATION_APP_CONFIG",
    help="The file to write or change.",
)
@click.option("--name", metavar="NAME", help="The app's name.")
@click.option("--mlflow", metavar="VERSION|latest|USER/BRANCH", help="A version of MLflow, or a branch of a fork.")
@click.option("--backend", metavar="sqlite|lakebase|databricks", help="Where MLflow keeps what it knows.")
@click.option("--volume", metavar="PATH", help="/Volumes/CATALOG/SCHEMA/VOLUME, for snapshots and artifacts.")
@click.option("--artifacts", metavar="URI", help="Where artifacts go, if not into the Volume.")
@click.option("--compute", metavar="MEDIUM|LARGE|XLARGE", help="The app's compute size.")
@click.option("--workers", metavar="N", help="Processes of the server.")
@click.option("--allowed-hosts", metavar="HOSTS", help="Further hosts under which it is reached, with commas.")
@click.option(
    "--experiment-prefix",
    metavar="PATH",
    help="Backend databricks: the folder of experiments whose names are no paths.",
)
@click.option("--lakebase-project", metavar="ID", help="Backend lakebase: the project, made where missing.")
@click.option("--lakebase-instance", metavar="NAME", help="Backend lakebase: a provisioned instance that exists.")
@click.option("--workspace-path", metavar="PATH", help="Where the app's files go, below /Workspace/.")
@click.option("--package-index", metavar="URL", help="The package index the app installs from.")
@click.option("--test-index", is_flag=True, help="The app gets this package from test.pypi.org.")
@click.option("--wheel", metavar="FILE", help="The app gets this package from a wheel (make build).")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key, as in config set. Repeatable.")
@click.option("--deploy", is_flag=True, help="Deploy it afterwards: app deploy.")
@WORKSPACE
@DRY
@JSON
@click.pass_context
def init(context: click.Context, /, **given: Any) -> int:
    """Set an app up: write its configuration, or show what is set and deployed and change it.

    At a terminal it asks what no option answers. Without one nothing is asked, and options alone decide.

    \b
    Examples:
      app init
      app init --name tracking --volume /Volumes/main/mlflow/tracking
      app init --mlflow 3.17.2 --deploy
      app init --name pages --mlflow someone/branch --backend databricks
    """
    file, as_json = Path(given["path"]), given["as_json"]
    is_new = not file.exists()
    before = {} if is_new else settings.raw(file)
    after = _given(before, given)
    asking = _is_asked(given) and (is_new or after == before)
    known = None if is_new else _deployed(settings.parsed(before, str(file)).name, given["workspace"])
    if not is_new and not as_json:
        click.echo(_overview(before, known))
    wants_deploy = given["deploy"]
    if asking:
        after, chosen = _ask_new(after) if is_new else _ask_again(after)
        wants_deploy = wants_deploy or chosen == DEPLOY
    elif is_new:
        _refuse_unanswered(after)
    found = settings.parsed(after, str(file))
    after = settings.given(found)
    changed = questions.changes(before, after)
    if changed and not given["dry_run"]:
        settings.write(file, after)
    if wants_deploy and not given["dry_run"]:
        return _deploy(context, file, given)
    document = {
        "file": str(file),
        "created": is_new,
        "dry_run": given["dry_run"],
        "changed": {key: {"before": old, "after": new} for key, (old, new) in changed.items()},
        "config": found.model_dump(mode="json", by_alias=True),
        "deployed": known,
    }
    show("app init", document, _outcome(file, after, is_new, changed, given["dry_run"]), Common(as_json=as_json))
    return DONE


def _given(before: Content, given: Mapping[str, Any]) -> Content:
    """The values with what options say."""
    found = dict(before)
    if given["backend"] is not None:
        found = questions.fitted(questions.answered(found, "backend", given["backend"]))
    for option, key in KEYS.items():
        if given[option] is not None:
            found = questions.answered(found, key, given[option])
    if given["test_index"]:
        found = questions.answered(found, "package.test_index", "true")
    return questions.assigned(found, given["assignments"])


def _is_asked(given: Mapping[str, Any]) -> bool:
    """Whether somebody can be asked: a person at a terminal who wants no document and didn't say to deploy."""
    return sys.stdin.isatty() and sys.stderr.isatty() and not given["as_json"] and not given["deploy"]


def _refuse_unanswered(content: Content) -> None:
    missing = [question for question in questions.first(content) if not question.default]
    if "name" not in content:
        raise UsageError("the app has no name", "nobody is at a terminal to be asked", "give --name NAME")
    if missing and settings.fault_of(content, [missing[0].key]):
        flag = f"--{missing[0].key.replace('_', '-')}"
        raise UsageError(f"no {missing[0].key} is given", "nobody is at a terminal to be asked", f"give {flag} VALUE")


def _ask_new(content: Content) -> tuple[Content, str]:
    asked: set[str] = set()
    while question := next((each for each in questions.first(content) if each.key not in asked), None):
        asked.add(question.key)
        content = _ask(question, content)
    return content, _choose("Deploy it now?", {LEAVE: "write the configuration only", DEPLOY: "write it and deploy"})


def _ask_again(content: Content) -> tuple[Content, str]:
    topics = {**questions.TOPICS, DEPLOY: "deploy it as it is", LEAVE: "leave it at that"}
    while (topic := _choose("What do you want to change?", topics)) in questions.TOPICS:
        asked: set[str] = set()
        while question := next((each for each in questions.of_topic(topic, content) if each.key not in asked), None):
            asked.add(question.key)
            content = _ask(question, content)
    return content, topic


def _ask(question: Question, content: Content) -> Content:
    """Ask until the answer can be."""
    kind = click.Choice(question.choices) if question.choices else click.STRING
    while True:
        text = click.prompt(question.text, default=question.default, type=kind, show_choices=False, err=True)
        try:
            found = questions.answered(content, question.key, str(text).strip())
        except UsageError as error:
            click.echo(f"  {error.why or error.what}", err=True)
            continue
        if question.key == "backend" and (gone := found.keys() - questions.fitted(found).keys()):
            click.echo(f"  taken out, as another backend's: {', '.join(sorted(gone))}", err=True)
            found = questions.fitted(found)
        if fault := settings.fault_of(found, [question.key]):
            click.echo(f"  {fault}", err=True)
            continue
        return found


def _choose(text: str, choices: Mapping[str, str]) -> str:
    names = list(choices)
    for number, name in enumerate(names, 1):
        click.echo(f"  {number}. {choices[name]}", err=True)
    default = str(names.index(LEAVE) + 1)
    numbers = click.Choice([str(number) for number in range(1, len(names) + 1)])
    return names[int(click.prompt(text, default=default, type=numbers, show_choices=False, err=True)) - 1]


def _deployed(name: str, workspace: str) -> Json:
    """What the workspace says of the app: {"known": False, "why"} where it can't be asked."""
    try:
        rest = opening.session(workspace, "DST", Common(patience=5.0))
    except MigrationError as error:
        return {"known": False, "why": str(error)}
    try:
        with rest.hurried():
            app = platform.get(rest, name)
    except MigrationError as error:
        return {"known": False, "why": str(error)}
    finally:
        rest.close()
    if app is None:
        return {"known": True, "deployed": False}
    return {
        "known": True,
        "deployed": True,
        "url": app.get("url", ""),
        "app": (app.get("app_status") or {}).get("state", ""),
        "compute": (app.get("compute_status") or {}).get("state", ""),
        "deployment": (app.get("active_deployment") or {}).get("update_time", ""),
    }


def _overview(content: Content, known: Json | None) -> str:
    lines = ["set:", *(f"  {line}" for line in settings.text(content).rstrip().splitlines())]
    if known and not known["known"]:
        lines.append(f"deployed: not known: {known['why']}")
    elif known and known["deployed"]:
        lines.append(f"deployed: {known['url']}: app {known['app'] or 'not started'}, compute {known['compute']}")
    else:
        lines.append("deployed: no")
    return "\n".join(map(visible, lines))


def _outcome(file: Path, content: Content, is_new: bool, changed: Mapping[str, Any], dry_run: bool) -> str:
    if dry_run:
        return f"would write {file}:\n{settings.text(content).rstrip()}" if changed else "nothing to change"
    if is_new:
        return f"written: {file}\nnext: mlflow-migration app deploy"
    return f"changed: {', '.join(changed)}\nnext: mlflow-migration app deploy" if changed else "nothing changed"


def _deploy(context: click.Context, file: Path, given: Mapping[str, Any]) -> int:
    """Run `app deploy` with the configuration."""
    words = ["--config", str(file), "--workspace", given["workspace"], *(["--json"] if given["as_json"] else [])]
    with app_deploy.deploy.make_context("deploy", words, parent=context.parent) as made:
        code: int | None = app_deploy.deploy.invoke(made)
        return code or DONE
