"""The command that runs this tool as a Databricks job."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_migration.cli import options, output
from mlflow_migration.cli.command import Command
from mlflow_migration.cli.commands import COMMANDS
from mlflow_migration.cli.later import jobs, opening, submitting
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import DONE, AccessError, InterruptedJobError, UsageError
from mlflow_migration.records import Json

if TYPE_CHECKING:
    from mlflow_migration.server.rest import Rest
    from mlflow_migration.submitting import Ended, Job

LOG_LINES = 20


@click.command("run-submit", cls=Command)
@click.option(
    "--spec-file",
    metavar="FILE",
    help="YAML or JSON: a job as runs/submit takes it, or without tasks what the task and the job need besides: "
    "new_cluster, existing_cluster_id, environments, access_control_list, …",
)
@click.option("--notebook", metavar="PATH", default="", help="The notebook's path in the workspace, without .py.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A widget's value. Repeatable.")
@click.option(
    "--wheel", metavar="PATH", default="", help="This tool's wheel, in a Volume or the workspace, or a requirement."
)
@click.option("--entry-point", metavar="COMMAND", default="", help="With --wheel: the command to run, as export-all.")
@click.option("--args", "words", metavar="TEXT", default="", help='With --wheel: its words, "--output-dir /Volumes/…".')
@click.option("--cluster-id", metavar="ID", default="", help="Run on this cluster [default: serverless compute].")
@click.option("--run-name", metavar="NAME", default="", help="What the run is called [default: mlflow-migration].")
@click.option("--timeout", type=click.IntRange(1), metavar="SECONDS", help="The workspace stops the job after so long.")
@click.option("--idempotency-token", metavar="TEXT", help="The same token starts the same run only once.")
@click.option("--follow", type=click.IntRange(1), metavar="RUN", help="Start nothing; follow the run of this id.")
@click.option("--cancel", type=click.IntRange(1), metavar="RUN", help="Start nothing; ask the run of this id to stop.")
@click.option("--no-wait", is_flag=True, help="Don't follow the run; say its id.")
@click.option("--profile", metavar="NAME", help="A profile of ~/.databrickscfg, short for --tracking-uri.")
@click.option(
    "--tracking-uri", metavar="URI", help="The workspace, as databricks://PROFILE [default: MLFLOW_TRACKING_URI]."
)
@options.common
def run_submit(**given: Any) -> int:
    """Run a notebook or a command of this tool as a Databricks job, follow it, and end as it ended.

    Ctrl-C stops following; the job goes on, and what is said then follows or cancels it. The exit code is 0 where all
    tasks succeeded, 1 where one didn't.

    \b
    Examples:
      run-submit --profile prod --notebook /Shared/mlflow-migration/single/Export_Run --param run-id=4f0a7c2f
      run-submit --wheel /Volumes/main/tools/wheels/mlflow_migration-0.1.0-py3-none-any.whl --entry-point export-all \\
        --args "--tracking-uri databricks --output-dir /Volumes/main/backup/mlflow"
      run-submit --follow 815
    """
    common = Common.take(given)
    jobs.configure(common)
    address = _address(given)
    job = None if given["follow"] or given["cancel"] else _job(given)
    live = opening.server(address, "DST", common)
    if not live.rest.dialect:
        raise UsageError(f"only a Databricks workspace runs jobs: {live.address}", hint="give databricks://PROFILE")
    try:
        if given["cancel"]:
            return _cancel(live.rest, given["cancel"], common)
        if job is None:
            return _follow(live.rest, given["follow"], given["timeout"], common)
        run_id = submitting.start(live.rest, job)
        if given["no_wait"]:
            text = f"run {run_id} is started; follow it: mlflow-migration run-submit --follow {run_id}"
            output.show("run-submit", {"run": {"run_id": run_id, "ended": False}}, text, common)
            return DONE
        return _follow(live.rest, run_id, None, common)
    finally:
        live.close()


def _address(given: dict[str, Any]) -> str | None:
    address: str | None = given["tracking_uri"]
    if given["profile"] is None:
        return address
    if address is not None:
        raise UsageError("--profile and --tracking-uri both name the workspace", hint="leave out one of the two")
    return f"databricks://{given['profile']}"


def _job(given: dict[str, Any]) -> Job:
    try:
        words = (given["entry_point"], *shlex.split(given["words"])) if given["entry_point"] else ()
    except ValueError as error:
        raise UsageError(f"--args can't be taken apart: {error}", hint="quote it as a shell takes it") from error
    if given["words"] and not words:
        raise UsageError("--args are the words of a command", hint="give --entry-point COMMAND")
    if words and words[0] not in COMMANDS:
        raise UsageError(f"no such command: {words[0]!r}", hint="mlflow-migration --help lists them")
    more = {"idempotency": given["idempotency_token"]} if given["idempotency_token"] is not None else {}
    job = submitting.Job(
        notebook=given["notebook"],
        params=dict(_pair(text) for text in given["params"]),
        wheel=given["wheel"],
        words=words,
        cluster=given["cluster_id"],
        name=given["run_name"],
        timeout=given["timeout"] or 0,
        specification=_specification(given["spec_file"]),
        **more,
    )
    submitting.body_of(job)  # Refuses what makes no sense before anybody is asked.
    return job


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise UsageError(f"not a parameter: {text!r}", hint="write it --param NAME=VALUE")
    return name, value


def _specification(file: str | None) -> Json:
    if file is None:
        return {}
    import yaml

    try:
        found = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read {file}", str(error)) from error
    except yaml.YAMLError as error:
        raise UsageError(f"{file} is neither YAML nor JSON", " ".join(str(error).split())[:300]) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UsageError(f"{file} holds no job", hint="write it as runs/submit takes it: run_name, tasks, …")
    return found


def _follow(rest: Rest, run_id: int, patience: int | None, common: Common) -> int:
    def tell(line: str) -> None:
        if not common.quiet:
            click.echo(line, err=True)

    try:
        ended = submitting.follow(rest, run_id, tell, float(patience or "inf"))
    except AccessError as error:
        hint = f"the job may well go on: mlflow-migration run-submit --follow {run_id}"
        raise AccessError(error.what, error.why, hint) from error
    except KeyboardInterrupt as error:
        raise InterruptedJobError(
            f"run {run_id} is no longer followed",
            "it goes on in the workspace",
            f"try: mlflow-migration run-submit --follow {run_id}, or --cancel {run_id} to stop it",
        ) from error
    output.show("run-submit", {"run": ended.as_json()}, _text(ended), common, ended.exit_code)
    return ended.exit_code


def _text(ended: Ended) -> str:
    """What a task gave out; of one that failed why, and the end of its log."""
    if not ended.ended:
        return (
            f"run {ended.run_id} is still {ended.state}; follow it: mlflow-migration run-submit --follow {ended.run_id}"
        )
    lines = []
    for task in ended.tasks:
        name = f"{task.key}: " if len(ended.tasks) > 1 else ""
        if task.state in submitting.GOOD:
            lines.append(f"{name}{task.result or task.logs.strip() or task.state}")
        else:
            log = task.logs.strip().splitlines()[-LOG_LINES:]
            lines += [f"{name}{task.state}: {task.error or ended.message}", *log]
    return "\n".join(lines or [f"{ended.state}: {ended.message}"])


def _cancel(rest: Rest, run_id: int, common: Common) -> int:
    submitting.cancel(rest, run_id)
    text = f"run {run_id} is asked to stop"
    output.show("run-submit", {"run": {"run_id": run_id, "ended": False}}, text, common)
    return DONE
