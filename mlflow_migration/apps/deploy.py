"""Making an app of a configuration, or making it what the configuration says: looked at first, told step by step.

Running it again goes on where it stopped; where all is as it should be, nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mlflow_migration.apps import (
    app_rights,
    channel,
    database,
    platform,
    preflight,
    removal,
    render,
    resources,
    rollback,
    running,
    secrets,
    upload,
    wait,
)
from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.health import Workspace
from mlflow_migration.apps.lakebase import Connection
from mlflow_migration.apps.preflight import Making, Ready
from mlflow_migration.apps.steps import DONE, FAILED, SAME, TOLD, Row, Steps
from mlflow_migration.apps.wait import Waiting
from mlflow_migration.errors import DONE as EXIT_DONE
from mlflow_migration.errors import InterruptedJobError, MigrationError, ServerError, UsageError
from mlflow_migration.records import Json


def _silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Options:
    """How to deploy.

    `rollback`: a failed deployment goes back to the one before. `clean`: what a first deployment made that failed is
    removed. `force`: deploy though nothing differs. `reset_database`: drop the schema of `lakebase` first.
    `passphrase` is the secret where there is none yet. `first`, `seconds` and `steady` are as in `Waiting`; `making`
    makes the files.
    """

    dry_run: bool = False
    rollback: bool = True
    clean: bool = False
    force: bool = False
    reset_database: bool = False
    passphrase: str = field(default="", repr=False)
    first: float = 0.5
    seconds: float = 1200.0
    steady: float = 5.0
    tell: Callable[[str], object] = _silent
    making: Making = field(default_factory=lambda: Making(channel.packages, render.render, channel.missing))

    def waiting(self, workspace: Workspace, name: str) -> Waiting:
        """How an app of a workspace is waited for."""
        return Waiting(workspace.where(name), self.seconds, self.tell, self.first, steady=self.steady)


@dataclass(frozen=True)
class Outcome:
    """How it ended. `status`: created, updated, same, would, failed, rolled back or deleted; `failure` what failed."""

    app_name: str
    status: str
    url: str = ""
    deployment_id: str = ""
    lakebase_name: str = ""
    schema_name: str = ""
    database_reset: bool = False
    rows: tuple[Row, ...] = ()
    failure: MigrationError | None = None

    @property
    def exit_code(self) -> int:
        """0, or that of what failed."""
        return self.failure.exit_code if self.failure else EXIT_DONE

    def as_json(self) -> Json:
        """All but the failure as plain values."""
        shown = {key: value for key, value in vars(self).items() if key not in {"rows", "failure"}}
        return {**shown, "rows": [row.as_json() for row in self.rows]}


@dataclass(frozen=True)
class _Work:
    """One deployment, all that its steps share."""

    workspace: Workspace
    config: AppConfig
    options: Options
    ready: Ready
    steps: Steps
    waiting: Waiting


def deploy(workspace: Workspace, config: AppConfig, options: Options, expects: bool | None = None) -> Outcome:
    """Make the app, or make it what its configuration says.

    `expects` says whether it has to be there already. Raises UsageError, ForbiddenError and AccessError where nothing
    could be begun; what fails later is in the outcome.
    """
    if options.reset_database and config.backend != "lakebase":
        raise UsageError(
            "only a database of lakebase can be reset", f"the backend is {config.backend}", "app restore, app delete"
        )
    waiting, steps = options.waiting(workspace, config.name), Steps(options.tell, options.dry_run)
    _let_go(workspace, options, steps, waiting)
    ready = preflight.check(workspace.rest, config, options.making, expects, options.passphrase)
    steps.add("preflight", config.name, SAME, f"as {ready.me.name}")
    work = _Work(workspace, config, options, ready, steps, waiting)
    if options.dry_run:
        return _rehearsed(work)
    try:
        return _carried_out(work)
    except MigrationError as error:
        return _broken(work, error)


def _let_go(workspace: Workspace, options: Options, steps: Steps, waiting: Waiting) -> None:
    """An app that is being deleted keeps its name for minutes."""
    if platform.compute(platform.get(workspace.rest, waiting.name)) != "DELETING":
        return
    if not options.dry_run:
        options.tell(f"an app {waiting.name} is being deleted: waiting until its name is free")
        wait.gone(workspace.rest, waiting)
    steps.add("wait", f"the deletion of {waiting.name}")


def _rehearsed(work: _Work) -> Outcome:
    """What would be done; nothing is written."""
    config, ready, steps = work.config, work.ready, work.steps
    app, differ = ready.app, list[str]()
    told = preflight.foreseen(config, ready.packages, ready.home, str((app or {}).get("url") or ""))
    files = work.options.making.render(config, told)
    if ready.home:
        steps.add("database", str(ready.home), SAME if ready.home.is_there else DONE)
    scope = secrets.scope_of(config)
    steps.add("passphrase", f"{scope}/{config.encryption.key}", SAME if ready.secret_is_there else DONE)
    if app is None:
        steps.add("app", config.name)
    else:
        differ = resources.changed(_without_database(app), resources.fields(config, None))
        steps.add("app", config.name, DONE if differ else SAME, ", ".join(differ))
        client_id = str(app["service_principal_client_id"])
        app_rights.give(work.workspace.rest, config, client_id, steps, dry_run=True)
    if work.options.reset_database:
        is_there = ready.home is not None and ready.home.is_there
        steps.add("reset", f"schema {config.lakebase_or_default.schema_name}", DONE if is_there else SAME)
    _tell_files(work, files)
    same = app is not None and "resources" not in differ and _is_deployed(work, app, files)
    steps.add("deployment", config.name, SAME if same else DONE)
    return replace(_outcome(work, app or {}), status="would" if steps.has_changed else "same")


def _without_database(app: Json) -> Json:
    """An app but for its database's resource, which is known only when there is a database."""
    bound = [each for each in app.get("resources") or () if each.get("name") != resources.DATABASE]
    return {**app, "resources": bound}


def _carried_out(work: _Work) -> Outcome:
    workspace, config, ready, options = work.workspace, work.config, work.ready, work.options
    rest = workspace.rest
    place = database.connection(rest, config, work.steps, work.waiting) if ready.home else None
    made = secrets.ensure(rest, config, options.passphrase)
    scope = secrets.scope_of(config)
    work.steps.add("passphrase", f"{scope}/{config.encryption.key}", DONE if made else SAME)
    app, changed = _made(work, place)
    client_id = str(app["service_principal_client_id"])
    app_rights.give(rest, config, client_id, work.steps)
    if place:
        if options.reset_database:
            database.reset(rest, config, place, work.steps)
        done = database.let_in(rest, config, place, client_id, work.waiting)
        work.steps.add("database", f"rights of {client_id}", DONE if done else SAME, ", ".join(done))
    app = _started(work, app)
    told = preflight.foreseen(config, ready.packages, place.home if place else None, str(app.get("url") or ""))
    files = options.making.render(config, told)
    then = rollback.previous(app, ready.source, changed)
    _tell_files(work, files)
    if "resources" not in changed and _is_deployed(work, app, files):
        return _checked(work, app)
    upload.put(rest, config.name, files, ready.source)
    ended = running.deployed(workspace, ready.source.path, work.waiting)
    if ended.fault:
        return _failed(work, then, ended)
    upload.mark_deployed(rest, config.name, files, ready.source, ended.id)
    work.steps.add("deployment", ended.id)
    _tell_health(work, ended)
    return replace(_outcome(work, app), deployment_id=ended.id)


def _made(work: _Work, place: Connection | None) -> tuple[Json, Json]:
    """The app with the fields of its configuration, and what those that were changed had been."""
    rest, name, fields = work.workspace.rest, work.config.name, resources.fields(work.config, place)
    if work.ready.app is None:
        work.waiting.tell(f"making the app {name}")
        _created(work, {"name": name, **fields})
        work.steps.add("app", name, DONE, "made")
        return wait.active(rest, work.waiting), {}
    app = work.ready.app
    differ = resources.changed(app, fields)
    if not differ:
        work.steps.add("app", name, SAME, str(app.get("url") or ""))
        return app, {}
    if ("compute_min_instances" in differ) != ("compute_max_instances" in differ):
        differ = [*differ, "compute_min_instances", "compute_max_instances"]
    told = {key: fields[key] for key in dict.fromkeys(differ)}
    if "resources" in told and work.ready.source.deployment:
        # Only a deployment brings their values to the app: one that is cut off before it counts as outstanding.
        upload.mark_deployed(rest, name, work.ready.source.files, work.ready.source, "")
    platform.change(rest, name, told)
    wait.updated(rest, work.waiting)
    work.steps.add("app", name, DONE, f"changed: {', '.join(told)}")
    return wait.at_rest(rest, work.waiting) or app, resources.before(app, list(told))


def _created(work: _Work, body: Json) -> None:
    try:
        platform.create(work.workspace.rest, body)
    except ServerError as error:
        if error.code not in platform.TAKEN:
            raise
        # Somebody made or deleted one at the same moment: a name is taken until the deletion is over.
        if platform.compute(platform.get(work.workspace.rest, work.config.name)) != "DELETING":
            raise
        wait.gone(work.workspace.rest, work.waiting)
        platform.create(work.workspace.rest, body)


def _started(work: _Work, app: Json) -> Json:
    """The app with its compute running, and no deployment under way: one that is stopped takes none."""
    rest, name = work.workspace.rest, work.config.name
    if platform.compute(app) in {"STOPPED", "STOPPING"}:
        wait.at_rest(rest, work.waiting)
        platform.start(rest, name)
        work.steps.add("start", name)
    wait.active(rest, work.waiting)
    return wait.settled(rest, work.waiting)


def _is_deployed(work: _Work, app: Json, files: Mapping[str, bytes]) -> bool:
    """Whether these files are what runs."""
    source, options = work.ready.source, work.options
    active = str((app.get("active_deployment") or {}).get("deployment_id") or "")
    if options.force or options.reset_database or not active or not source.deployment:
        return False
    if source.deployment not in {active, platform.origin(work.workspace.rest, work.config.name, active)}:
        return False
    state = platform.state_of(app, "app_status")[0]
    return state == "RUNNING" and not source.changed(files) and not source.stale(files)


def _tell_files(work: _Work, files: Mapping[str, bytes]) -> None:
    source = work.ready.source
    changed, stale = source.changed(files), source.stale(files)
    for name in changed:
        work.steps.add("upload", f"{source.path}/{name}", DONE, f"{len(files[name])} bytes")
    for name in stale:
        work.steps.add("remove", f"{source.path}/{name}", DONE, "no longer part of the app")
    if not changed and not stale:
        work.steps.add("upload", source.path, SAME, f"{len(files)} files")
    for note in work.ready.packages.notes:
        work.steps.add("note", note, TOLD)


def _checked(work: _Work, app: Json) -> Outcome:
    """Nothing has to be deployed; whether it answers is looked at all the same."""
    active = str(app["active_deployment"]["deployment_id"])
    work.steps.add("deployment", active, SAME)
    ended = running.answering(work.workspace, work.waiting)
    if ended.fault:
        hint = "mlflow-migration app deploy --force deploys it again"
        work.steps.add("health", work.config.name, FAILED, ended.fault)
        failure = MigrationError(f"the app {work.config.name} doesn't answer", ended.fault, hint)
        return replace(_outcome(work, app), status="failed", deployment_id=active, failure=failure)
    _tell_health(work, ended)
    return replace(_outcome(work, app), deployment_id=active)


def _tell_health(work: _Work, ended: running.Ended) -> None:
    if ended.note:
        work.steps.add("health", work.config.name, TOLD, f"RUNNING; not checked by a call: {ended.note}")
    else:
        work.steps.add("health", work.config.name, SAME, "/health and a search of experiments are answered")


def _failed(work: _Work, then: rollback.Previous, ended: running.Ended) -> Outcome:
    """A deployment that failed: back to the one before, where there is one."""
    name = work.config.name
    work.steps.add("deployment", ended.id, FAILED, ended.fault)
    logs = work.waiting.where.command("logs")
    how = "it stays as it is: --no-rollback"
    if work.options.rollback:
        how = rollback.back(work.workspace, then, work.steps, work.waiting)
    failure = MigrationError(f"the deployment {ended.id} of app {name} failed", f"{ended.fault}; {how}", logs)
    is_back = work.options.rollback and bool(then.id) and work.steps.rows[-1].state != FAILED
    status = "rolled back" if is_back else "failed"
    if not then.id:
        _tell_made(work, failure)
    return replace(_outcome(work, {"url": _url(work)}), status=status, deployment_id=ended.id, failure=failure)


def _broken(work: _Work, error: MigrationError) -> Outcome:
    """Something between preflight and deployment failed."""
    work.steps.add("failed", work.config.name, FAILED, str(error))
    if not isinstance(error, InterruptedJobError):
        _tell_made(work, error)
    return replace(_outcome(work, {}), status="failed", failure=error)


def _tell_made(work: _Work, error: MigrationError) -> None:
    """Name what a first deployment has left behind, or remove it."""
    made = work.steps.made("app", "passphrase", "database")
    if work.steps.made("upload"):
        made.append(f"files in {work.ready.source.path}")
    if work.ready.app is not None or not made:
        return
    if work.options.clean:
        error.why = f"{error.why}; {_cleaned(work)}".lstrip("; ")
        return
    error.why = f"{error.why}; made so far: {', '.join(made)}".lstrip("; ")
    after = f"the same command goes on, {work.waiting.where.command('delete')} takes it away (a passphrase stays)"
    error.hint = f"{error.hint}; {after}".lstrip("; ")


def _cleaned(work: _Work) -> str:
    """Remove what was made; how that went. A project of Lakebase stays: it may hold other databases by now."""
    has_secret = bool(work.steps.made("passphrase"))
    try:
        removal.remove(work.workspace, work.config, work.steps, work.waiting)
        if has_secret and (gone := secrets.forget(work.workspace.rest, work.config)):
            work.steps.add("remove", gone)
    except InterruptedJobError:
        raise
    except MigrationError as error:
        return f"removing what had been made failed: {error}"
    return "what had been made is removed"


def _url(work: _Work) -> str:
    return str((platform.get(work.workspace.rest, work.config.name) or {}).get("url") or "")


def _outcome(work: _Work, app: Json) -> Outcome:
    config, told = work.config, work.config.lakebase_or_default
    is_lakebase = config.backend == "lakebase"
    changed = "updated" if work.steps.has_changed else "same"
    return Outcome(
        app_name=config.name,
        status="created" if work.ready.app is None else changed,
        url=str(app.get("url") or ""),
        lakebase_name=(work.ready.home.name if work.ready.home else "") if is_lakebase else "",
        schema_name=told.schema_name if is_lakebase else "",
        database_reset=any(row.step == "reset" and row.state in {DONE, SAME} for row in work.steps.rows),
        rows=tuple(work.steps.rows),
    )
