"""Databricks Apps: /api/2.0/apps. Field names are those of databricks-sdk's `service/apps.py`.

Messages and the order of states are those recorded from the platform by the CLI's acceptance tests and by what users
report: a deleted app stays visible as DELETING and keeps its name, a stop forgets the deployments, a start deploys the
last one again. How long each takes here is in `app_state.Apps`.
"""

import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import acl, app_deployments, app_front, app_resources, app_state, calls, errors, workspace_tree
from tests.databricks.app_state import App, apps
from tests.databricks.calls import Call, Handler
from tests.databricks.paging import page
from tests.databricks.state import Workspace

MOST = 100
LONGEST_NAME = 30
SIZES = ("MEDIUM", "LARGE", "XLARGE")
SENT = (
    "description",
    "resources",
    "user_api_scopes",
    "compute_size",
    "compute_min_instances",
    "compute_max_instances",
    "budget_policy_id",
    "usage_policy_id",
    "telemetry_export_destinations",
)
ACTIVE = ("ACTIVE", "App compute is active.")
STOPPED = ("STOPPED", "App compute is stopped.")
UNAVAILABLE = ("UNAVAILABLE", "App status is unavailable.")

Answer = Mapping[str, Any] | None


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of apps and of their deployments; permissions are in `permissions`."""
    table: dict[str, Handler] = {
        "POST /api/2.0/apps": _create,
        "GET /api/2.0/apps": _list,
        "GET /api/2.0/apps/{name}": _get,
        "PATCH /api/2.0/apps/{name}": _update,
        "DELETE /api/2.0/apps/{name}": _delete,
        "POST /api/2.0/apps/{name}/start": _start,
        "POST /api/2.0/apps/{name}/stop": _stop,
        "POST /api/2.0/apps/{name}/update": _create_update,
        "GET /api/2.0/apps/{name}/update": _get_update,
    }
    return [*calls.routes(workspace, table), *app_deployments.routes(workspace)]


def shown(workspace: Workspace, app: App) -> dict[str, Any]:
    """An app as answers have it."""
    alive = int(app.container is not None and app.container.alive)
    body: dict[str, Any] = {
        **app.sent,
        "id": app.id,
        "name": app.name,
        "url": app.url,
        "creator": app.creator,
        "create_time": app.created,
        "updater": app.updater or app.creator,
        "update_time": app.updated,
        "app_status": {"state": app.status[0], "message": app.status[1], "running_instances": alive},
        "compute_status": {
            "state": app.compute[0],
            "message": app.compute[1],
            "active_instances": int(app.compute[0] == "ACTIVE"),
        },
        "compute_size": app.sent.get("compute_size", "MEDIUM"),
        # Whatever was asked for.
        "forward_user_access_token": True,
        "effective_user_api_scopes": ["iam.current-user:read", *app.sent.get("user_api_scopes", ())],
        "service_principal_client_id": app.client.client_id,
        "service_principal_id": workspace.account.principals[app.client.client_id].id,
        "service_principal_name": app.service_principal,
        "oauth2_app_client_id": app.client.client_id,
    }
    for name, deployment in (("active_deployment", app.active), ("pending_deployment", app.pending)):
        if deployment:
            body[name] = app_deployments.shown(deployment)
    return body


def _create(call: Call) -> Answer:
    workspace, sent = call.workspace, call.json
    name = call.need("name")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) or not 2 <= len(name) <= LONGEST_NAME:
        raise errors.invalid(
            f"App name must be between 2 and {LONGEST_NAME} characters long and contain only lowercase letters, numbers"
            " and dashes"
        )
    _check(call, sent)
    held = apps(workspace)
    with workspace.lock:
        if name in held.held:
            message = f"An app with the same name already exists: {name}"
            raise errors.ApiError(409, "RESOURCE_ALREADY_EXISTS", message)
        shown_as = f"app-{secrets.token_hex(3)} {name}"
        client = workspace.account.add_service_principal(shown_as)
        front = app_front.start(workspace, name)
        app = App(name, call.principal.name, client, shown_as, front.url, front)
        held.held[name] = app
    workspace.part(acl.Acls).give("apps", name, call.principal.name, "CAN_MANAGE")
    _set(call, app, sent)
    if path := sent.get("default_source_code_path"):
        app.sent["default_source_code_path"] = path
    if call.query.get("no_compute") == "true":
        app.compute, app.status = STOPPED, UNAVAILABLE
    else:
        source = {"mode": "SNAPSHOT", "source_code_path": path} if path and held.deploys_at_create else None
        _later(held.start_seconds, lambda: _started(call, app, source))
    return shown(workspace, app)


def _later(seconds: float, do: Callable[[], None]) -> None:
    def wait() -> None:
        time.sleep(seconds)
        do()

    app_state.in_background(wait)


def _started(call: Call, app: App, source: Mapping[str, Any] | None) -> None:
    """Its compute is there, unless it was stopped or deleted meanwhile; then its source is deployed, if any."""
    with app.lock:
        if app.compute[0] != "STARTING":
            return
        app.compute = ACTIVE
        if source:
            app_deployments.begin(call.workspace, app, source, call.principal)


def _check(call: Call, sent: Mapping[str, Any]) -> None:
    if sent.get("compute_size", "MEDIUM") not in SIZES:
        raise errors.invalid(f"Compute size {sent['compute_size']} is not one of {', '.join(SIZES)}")
    if ("compute_min_instances" in sent) != ("compute_max_instances" in sent):
        raise errors.invalid("compute_min_instances and compute_max_instances must be set together")
    if "git_repository" in sent or "space" in sent:
        raise errors.ApiError(400, "FEATURE_DISABLED", "This emulator has no app spaces and no Git repositories")
    app_resources.check(call, sent.get("resources") or ())


def _set(call: Call, app: App, sent: Mapping[str, Any]) -> None:
    """Take what was sent, with the grants its resources bring."""
    with app.lock:
        if "resources" in sent:
            app_resources.bind(call, app, sent["resources"] or ())
        app.sent |= {key: sent[key] for key in SENT if key in sent}
        app.updated, app.updater = app_state.moment(), call.principal.name


def _managed(call: Call) -> App:
    app = app_state.named(call.workspace, call.names["name"])
    acl.require(call.workspace, call.principal, "CAN_MANAGE", ("apps", app.name))
    return app


def _list(call: Call) -> Answer:
    seen = [
        app
        for app in sorted(apps(call.workspace).held.values(), key=lambda one: one.name)
        if acl.level(call.workspace, call.principal, "apps", app.name) != "NO_PERMISSIONS"
    ]
    size = int(call.query.get("page_size") or MOST)
    found, following = page(call, seen, size)
    return {"apps": [shown(call.workspace, app) for app in found], **following}


def _get(call: Call) -> Answer:
    app = app_state.named(call.workspace, call.names["name"])
    acl.require(call.workspace, call.principal, "CAN_USE", ("apps", app.name))
    return shown(call.workspace, app)


def _update(call: Call) -> Answer:
    app = _managed(call)
    _require_alive(app, "update")
    _check(call, call.json)
    _set(call, app, call.json)
    return shown(call.workspace, app)


def _create_update(call: Call) -> Answer:
    """An update of the fields of a mask, whose end is asked for: a new compute size takes as long as a start.

    What the mask names and the app hasn't is cleared: databricks-sdk leaves empty lists out.
    """
    app = _managed(call)
    _require_alive(app, "update")
    told = call.json.get("app") or {}
    names = [one.strip() for one in call.need("update_mask").split(",")]
    if wrong := [one for one in names if one != "*" and one not in SENT]:
        raise errors.invalid(f"Invalid update mask: {', '.join(wrong)}")
    masked = SENT if names == ["*"] else names
    sent = {key: told[key] for key in masked if key in told}
    cleared = [key for key in masked if key not in told]
    _check(call, sent)
    with app.lock:
        if app.update[0] == "IN_PROGRESS":
            raise errors.ApiError(400, "BAD_REQUEST", f"Cannot update app {app.name}: an update is in progress")
        app.update = ("IN_PROGRESS", "Update in progress")

    def finish() -> None:
        _set(call, app, {**sent, **({"resources": []} if "resources" in cleared else {})})
        for key in cleared:
            app.sent.pop(key, None)
        app.update = ("SUCCEEDED", "App updated successfully")

    _later(apps(call.workspace).start_seconds if "compute_size" in sent else 0, finish)
    return _update_of(app)


def _get_update(call: Call) -> Answer:
    return _update_of(_managed(call))


def _update_of(app: App) -> Answer:
    fields = {key: value for key, value in app.sent.items() if key in SENT}
    return {**fields, "status": {"state": app.update[0], "message": app.update[1]}}


def _require_alive(app: App, verb: str) -> None:
    if app.compute[0] == "DELETING":
        raise errors.ApiError(
            400,
            "BAD_REQUEST",
            f"Cannot {verb} app {app.name} as it is not terminal with state DELETING, and was updated less than 20"
            " minutes ago. Please wait before trying again.",
        )


def _delete(call: Call) -> Answer:
    """It is gone at once for who asks again, but its name is taken until its process and its compute are."""
    workspace, app = call.workspace, _managed(call)
    with app.lock:
        _require_alive(app, "delete")
        app.compute, app.status = ("DELETING", "App is being deleted."), UNAVAILABLE
    answer = shown(workspace, app)

    def finish() -> None:
        held = apps(workspace)
        _cancel(app)
        app_state.stop(app, held.stop_seconds)
        time.sleep(held.delete_seconds)
        app_state.end(app)
        app_resources.unbind_all(workspace, app)
        workspace.part(acl.Acls).direct.pop(("apps", app.name), None)
        _forget_principal(workspace, app.client.client_id)
        workspace_tree.remove(workspace, f"/Users/{app.client.client_id}")
        held.held.pop(app.name, None)

    app_state.in_background(finish)
    return answer


def _forget_principal(workspace: Workspace, name: str) -> None:
    account = workspace.account
    with account.lock:
        account.principals.pop(name, None)
        account.clients.pop(name, None)
        account.issued = {token: one for token, one in account.issued.items() if one.principal != name}
        for members in account.groups.values():
            members.discard(name)


def _cancel(app: App) -> None:
    if pending := app.pending:
        pending.cancelled.set()


def _start(call: Call) -> Answer:
    app = _managed(call)
    _require_alive(app, "start")
    with app.lock:
        if app.compute[0] != "STOPPED":
            raise errors.ApiError(400, "BAD_REQUEST", f"Cannot start app {app.name} as it is not in STOPPED state")
        app.compute = ("STARTING", "App compute is starting.")
    source = {**app.last.sent, "source_code_path": app.last.artifacts} if app.last else None
    _later(apps(call.workspace).start_seconds, lambda: _started(call, app, source))
    return shown(call.workspace, app)


def _stop(call: Call) -> Answer:
    """SIGTERM to the app, and no deployments any more; an app that is stopped stays so."""
    app, held = _managed(call), apps(call.workspace)
    _require_alive(app, "stop")
    with app.lock:
        if app.compute[0] in ("STOPPED", "STOPPING"):
            return shown(call.workspace, app)
        app.compute, app.status = ("STOPPING", "App compute is stopping."), UNAVAILABLE

    def finish() -> None:
        _cancel(app)
        app_state.stop(app, held.stop_seconds)
        with app.lock:
            if app.compute[0] == "STOPPING":
                app.compute, app.status, app.active, app.pending = STOPPED, UNAVAILABLE, None, None

    app_state.in_background(finish)
    return shown(call.workspace, app)
