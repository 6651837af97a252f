"""Deployments of apps: /api/2.0/apps/{name}/deployments. Each is carried out for real, in the background.

Source code is copied, its requirements looked up (see `app_source`), the last process ended by SIGTERM, and the command
started with what the platform puts into its environment. `python` is the one that runs these tests, with this project
on its path. A deployment has SUCCEEDED when the command has run for a moment, or its health check was answered; an app
that ends later is CRASHED and isn't started again.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from starlette.routing import BaseRoute

from tests import servers
from tests.databricks import acl, app_container, app_resources, app_source, app_state, calls, errors
from tests.databricks.app_source import PORT, Failed, Files, Plan
from tests.databricks.app_state import App, Apps, Deployment, Order, apps
from tests.databricks.calls import Call, Handler
from tests.databricks.paging import page
from tests.databricks.state import Principal, Workspace

ROOT = Path(__file__).parents[2]
MOST = 100
MODES = ("SNAPSHOT", "AUTO_SYNC")
SENT = ("source_code_path", "mode", "command", "env_vars", "health_check")
HEALTH_SECONDS, POLL_SECONDS = 60.0, 0.1
# Of the environment of these tests; all else is the app's own.
PASSED = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
RUNNING = ("RUNNING", "App has status: App is running")
CRASHED = ("CRASHED", "App has status: App crashed unexpectedly. Please check /logz for more details")

Answer = Mapping[str, Any] | None


class Crashed(Failed):
    """The app was started and did not stay."""


class Cancelled(Exception):
    """Somebody stopped or deleted the app, or a test wants it so."""


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of deployments."""
    table: dict[str, Handler] = {
        "POST {name}/deployments": _create,
        "GET {name}/deployments": _list,
        "GET {name}/deployments/{id}": _get,
    }
    return calls.routes(workspace, table, "/api/2.0/apps/")


def _create(call: Call) -> Answer:
    app = app_state.named(call.workspace, call.names["name"])
    acl.require(call.workspace, call.principal, "CAN_MANAGE", ("apps", app.name))
    sent = {key: call.json[key] for key in SENT if call.json.get(key)}
    if "git_source" in call.json:
        raise errors.ApiError(400, "FEATURE_DISABLED", "This emulator deploys from workspace files only")
    path = sent.get("source_code_path") or app.sent.get("default_source_code_path")
    if not path:
        raise errors.invalid("source_code_path must be specified")
    if sent.get("mode", "SNAPSHOT") not in MODES:
        raise errors.invalid(f"Deployment mode {sent['mode']} is not one of {', '.join(MODES)}")
    with app.lock:
        if app.compute[0] != "ACTIVE":
            raise errors.ApiError(400, "BAD_REQUEST", f"Cannot deploy app {app.name} as it is not in RUNNING state")
        begun = begin(call.workspace, app, {"mode": "SNAPSHOT", **sent, "source_code_path": path}, call.principal)
        app.sent["default_source_code_path"] = path
        return shown(begun)


def begin(workspace: Workspace, app: App, sent: Mapping[str, Any], creator: Principal) -> Deployment:
    """A new deployment, under way; raises ApiError 400 while there is another."""
    with app.lock:
        if app.pending:
            raise errors.ApiError(
                400, "BAD_REQUEST", f"Cannot deploy app {app.name} as there is an active deployment in progress"
            )
        deployment = Deployment(dict(sent), creator.name)
        app.pending = deployment
        app.deployments.insert(0, deployment)
        app.status = ("DEPLOYING", "App has status: App is being deployed")
    app_state.in_background(lambda: _carry_out(workspace, app, deployment))
    return deployment


def _found(call: Call) -> tuple[App, Deployment]:
    app = app_state.named(call.workspace, call.names["name"])
    acl.require(call.workspace, call.principal, "CAN_USE", ("apps", app.name))
    for deployment in app.deployments:
        if deployment.id == call.names["id"]:
            return app, deployment
    raise errors.missing(f"Deployment {call.names['id']} of app {app.name} does not exist.")


def _get(call: Call) -> Answer:
    return shown(_found(call)[1])


def _list(call: Call) -> Answer:
    app = app_state.named(call.workspace, call.names["name"])
    acl.require(call.workspace, call.principal, "CAN_USE", ("apps", app.name))
    found, following = page(call, app.deployments, MOST)
    return {"app_deployments": [shown(one) for one in found], **following}


def shown(deployment: Deployment) -> dict[str, Any]:
    """A deployment as answers have it; of variables the names only."""
    body = {**deployment.sent}
    if "env_vars" in body:
        body["env_vars"] = [{"name": one["name"]} for one in body["env_vars"]]
    if deployment.artifacts:
        body["deployment_artifacts"] = {"source_code_path": deployment.artifacts}
    return {
        **body,
        "deployment_id": deployment.id,
        "creator": deployment.creator,
        "create_time": deployment.created,
        "update_time": deployment.updated,
        "status": {"state": deployment.state, "message": deployment.message},
    }


def _carry_out(workspace: Workspace, app: App, deployment: Deployment) -> None:
    """The whole deployment; how it ends is in its state."""
    held = apps(workspace)
    order = held.orders.pop(0) if held.orders else Order("SUCCEEDED")
    ended, status = ("SUCCEEDED", "App started successfully"), CRASHED
    with app.turn:
        app.log("SYSTEM", f"Starting deployment {deployment.id}")
        try:
            _steps(workspace, app, deployment, order)
        except Crashed as failure:
            ended, status = ("FAILED", str(failure)), CRASHED
        except Failed as failure:
            ended, status = ("FAILED", str(failure)), ("UNAVAILABLE", str(failure))
        except Cancelled as reason:
            ended, status = ("CANCELLED", str(reason)), ("UNAVAILABLE", str(reason))
        _end(app, deployment, ended, status)
        if order.state == "CRASHED" and app.container:
            app.container.kill()
            app.container.wait(10)


def _end(app: App, deployment: Deployment, ended: tuple[str, str], status: tuple[str, str]) -> None:
    """It is over: with the app running, or else in that status."""
    with app.lock:
        app.log("SYSTEM", f"Deployment {deployment.id} {ended[0]}: {ended[1]}")
        app.pending = None
        if ended[0] == "SUCCEEDED":
            app.active = app.last = deployment
        alive = app.container is not None and app.container.alive
        if app.compute[0] == "ACTIVE":
            app.status = RUNNING if alive else status
        deployment.end(*ended)


def _steps(workspace: Workspace, app: App, deployment: Deployment, order: Order) -> None:
    held = apps(workspace)
    files = app_source.snapshot(workspace, app, deployment)
    plan = app_source.plan(files, deployment.sent)
    for line in app_source.check_requirements(held, files):
        app.log("SYSTEM", f"Requirement {line} can be installed")
    variables = app_resources.environment(workspace, app, plan)
    if deployment.cancelled.wait(max(held.build_seconds, order.wait)) or order.state == "CANCELLED":
        raise Cancelled(order.message or "Deployment was cancelled")
    if order.state == "FAILED":
        raise Failed(order.message or "Error building app")
    if not held.overlap:
        app_state.stop(app, held.stop_seconds)
    before, port = app.container, app.port
    _start(workspace, app, (files, plan), variables)
    try:
        _settle(held, app, deployment)
    except (Failed, Cancelled):
        app_state.stop(app, held.stop_seconds)
        app.container, app.port = before, port
        raise
    if before:
        before.stop(held.stop_seconds)


def _start(workspace: Workspace, app: App, source: tuple[Files, Plan], variables: Mapping[str, str]) -> None:
    """Start the command on a disk of its own."""
    files, plan = source
    folder = workspace.folder / "apps" / app.name / f"{time.time_ns()}"
    work = folder / "app" / "python" / "source_code"
    for one in (work, folder / "home", folder / "tmp"):
        one.mkdir(parents=True)
    app_source.write(files, work)
    port = servers.free_port()
    command = [word.replace(PORT, str(port)) for word in plan.command]
    environment = {**_environment(workspace, app, folder), "DATABRICKS_APP_PORT": str(port), **variables}

    def ended(code: int) -> None:
        app.log("SYSTEM", f"App exited with code {code}")
        with app.lock:
            if app.compute[0] == "ACTIVE" and app.port == port:
                app.status = CRASHED

    what = app_container.Start(folder, work, command, environment, lambda line: app.log("APP", line), ended)
    app.log("SYSTEM", f"Starting app with command: {command}")
    app.port = port
    try:
        app.container = app_container.start(what)
    except OSError as error:
        shutil.rmtree(folder)
        raise Failed(f"Error starting app: {error}") from error


def _environment(workspace: Workspace, app: App, folder: Path) -> dict[str, str]:
    """What every app has. DO_NOT_TRACK isn't the platform's: tests send no telemetry."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return {
        **{key: os.environ[key] for key in PASSED if key in os.environ},
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "DO_NOT_TRACK": "true",
        "DATABRICKS_APP_NAME": app.name,
        "DATABRICKS_WORKSPACE_ID": str(workspace.id),
        "DATABRICKS_HOST": workspace.url,
        "DATABRICKS_CLIENT_ID": app.client.client_id,
        "DATABRICKS_CLIENT_SECRET": app.client.client_secret,
    }


def _settle(held: Apps, app: App, deployment: Deployment) -> None:
    """Until the app runs; raises Crashed when it ends or doesn't answer its health check, Cancelled."""
    container, check = app.container, deployment.sent.get("health_check")
    if not container:
        raise Crashed("Error starting app")
    told = re.fullmatch(r"([\d.]+)s", str((check or {}).get("timeout", "")))
    seconds = float(told[1]) if told else HEALTH_SECONDS if check else held.settle_seconds
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if container.wait(POLL_SECONDS):
            raise Crashed(f"Error starting app: app exited with code {container.process.returncode}")
        if deployment.cancelled.is_set():
            raise Cancelled("Deployment was cancelled")
        if check and _healthy(f"http://127.0.0.1:{app.port}/{str(check.get('path', '')).lstrip('/')}"):
            return
    if check:
        raise Crashed(f"Health check of {check.get('path')} was not answered in time")


def _healthy(address: str) -> bool:
    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False
