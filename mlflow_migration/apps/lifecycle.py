"""Deleting, starting and stopping an app."""

from __future__ import annotations

from dataclasses import replace

from mlflow_migration.apps import platform, removal, running, secrets, wait
from mlflow_migration.apps.config import AppConfig, parsed
from mlflow_migration.apps.deploy import Options, Outcome
from mlflow_migration.apps.health import Workspace
from mlflow_migration.apps.steps import FAILED, SAME, TOLD, Steps
from mlflow_migration.errors import InterruptedJobError, MigrationError, NotFoundError, UsageError
from mlflow_migration.records import Json


def by_name(name: str) -> AppConfig:
    """What stands for the configuration of an app that is known by its name alone. Raises UsageError for no name."""
    return parsed({"name": name, "backend": "databricks"}, "--name")


def delete(workspace: Workspace, config: AppConfig, options: Options, data: bool = False) -> Outcome:
    """Delete an app with what was made for it, and with its `data` where that is asked for; `options.reset_database`
    takes its schema of lakebase alone.

    One that isn't there is no failure. Raises UsageError, AccessError, and ConflictError where the data is
    another app's; what fails later is in the outcome.
    """
    rest, waiting = workspace.rest, options.waiting(workspace, config.name)
    if options.reset_database and config.backend != "lakebase":
        raise UsageError("only a database of lakebase can be reset", f"the backend is {config.backend}", "app delete")
    if data:
        removal.require_own(rest, config)
    steps = Steps(options.tell, options.dry_run)
    app = platform.get(rest, config.name)
    was_there = app is not None
    if options.dry_run:
        steps.add("app", config.name, *(() if was_there else (SAME, "it isn't there")))
        if data:
            _kept(config, steps, "goes too")
        elif options.reset_database:
            steps.add("reset", f"schema {config.lakebase_or_default.schema_name}")
        return Outcome(config.name, "would", rows=tuple(steps.rows))
    failure, client_id = None, str((app or {}).get("service_principal_client_id") or "")
    try:
        removal.remove(workspace, config, steps, waiting)
        if data:
            removal.forget_data(workspace, config, client_id, steps, waiting)
        elif options.reset_database:
            removal.forget_schema(workspace, config, client_id, steps, waiting)
        elif was_there:
            _kept(config, steps, "stays")
    except MigrationError as error:
        steps.add("failed", config.name, FAILED, str(error))
        if not isinstance(error, InterruptedJobError):
            error.hint = error.hint or "the same command goes on"
        failure = error
    status = "failed" if failure else "deleted" if steps.has_changed else "same"
    is_reset = any(row.step == "reset" for row in steps.rows)
    return Outcome(config.name, status, database_reset=is_reset, rows=tuple(steps.rows), failure=failure)


def _kept(config: AppConfig, steps: Steps, what: str) -> None:
    """Name the data, which nobody should have to look for."""
    told = config.lakebase_or_default
    if config.volume:
        steps.add("data", config.volume, TOLD, what)
    if config.backend == "lakebase":
        steps.add("data", f"schema {told.schema_name} of {told.instance or told.project or config.name}", TOLD, what)
    steps.add("passphrase", f"{secrets.scope_of(config)}/{config.encryption.key}", TOLD, what)


def start(workspace: Workspace, name: str, options: Options) -> Outcome:
    """Start an app, and wait until it answers. One that runs stays as it is; one that has crashed is a failure: only a
    deployment, or a stop and a start, brings it back. Raises NotFoundError."""
    rest, waiting, steps = workspace.rest, options.waiting(workspace, name), Steps(options.tell, options.dry_run)
    app = _found(workspace, name)
    begun = _outcome(app, name, "same", steps)
    if platform.compute(app) == "ACTIVE":
        steps.add("start", name, SAME, "its compute is active")
        state, message = platform.state_of(app, "app_status")
        if state != "CRASHED":
            return replace(begun, rows=tuple(steps.rows))
        steps.add("health", name, FAILED, f"{state}: {message}")
        hint = f"mlflow-migration app deploy --force deploys it again, {waiting.where.command('logs')} says why"
        crashed = MigrationError(f"the app {name} has crashed", message, hint)
        return replace(begun, status="failed", rows=tuple(steps.rows), failure=crashed)
    steps.add("start", name)
    if options.dry_run:
        return replace(begun, status="would", rows=tuple(steps.rows))
    try:
        wait.at_rest(rest, waiting)
        platform.start(rest, name)
        wait.active(rest, waiting)
        app = wait.settled(rest, waiting)
        fault = _fault_of_start(workspace, app, options, steps)
    except InterruptedJobError as error:
        return replace(begun, status="failed", rows=tuple(steps.rows), failure=error)
    failure = None
    if fault:
        hint = waiting.where.command("logs")
        failure = MigrationError(f"the app {name} was started, and doesn't answer", fault, hint)
    return replace(begun, status="failed" if failure else "started", rows=tuple(steps.rows), failure=failure)


def _fault_of_start(workspace: Workspace, app: Json, options: Options, steps: Steps) -> str:
    """What is wrong with an app that was started, "" for nothing. One without a deployment has nothing to run."""
    name = str(app["name"])
    if not app.get("active_deployment"):
        steps.add("deployment", name, TOLD, "there is none yet: mlflow-migration app deploy makes one")
        return ""
    ended = running.answering(workspace, options.waiting(workspace, name))
    steps.add("health", name, FAILED if ended.fault else SAME, ended.fault or ended.note or "it answers")
    return ended.fault


def stop(workspace: Workspace, name: str, options: Options) -> Outcome:
    """Stop an app, which writes its last snapshot before it ends. Raises NotFoundError."""
    rest, waiting, steps = workspace.rest, options.waiting(workspace, name), Steps(options.tell, options.dry_run)
    app = _found(workspace, name)
    begun = _outcome(app, name, "same", steps)
    if platform.compute(app) == "STOPPED":
        steps.add("stop", name, SAME, "its compute is stopped")
        return replace(begun, rows=tuple(steps.rows))
    steps.add("stop", name)
    if options.dry_run:
        return replace(begun, status="would", rows=tuple(steps.rows))
    failure = None
    try:
        platform.stop(rest, name)
        wait.stopped(rest, waiting)
    except MigrationError as error:
        failure = error
    return replace(begun, status="failed" if failure else "stopped", rows=tuple(steps.rows), failure=failure)


def _found(workspace: Workspace, name: str) -> Json:
    app = platform.get(workspace.rest, name)
    if app is None:
        raise NotFoundError(f"there is no app {name}", f"at {workspace.rest.address}", "check --name and --workspace")
    return app


def _outcome(app: Json, name: str, status: str, steps: Steps) -> Outcome:
    active = str((app.get("active_deployment") or {}).get("deployment_id") or "")
    return Outcome(name, status, str(app.get("url") or ""), active, rows=tuple(steps.rows))
