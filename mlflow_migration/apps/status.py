"""How an app is: what its workspace tells of it, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_migration.apps.opened import Opened
from mlflow_migration.apps.runtime.page import size, span
from mlflow_migration.errors import AccessError, ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks.app import ACTIVE, LOGIN, RUNNING, STATUS
from mlflow_migration.server.rest import Rest

HEALTH = "/health"
SERVING = "serving"


def status(opened: Opened) -> Json:
    """Everything that is known of an app now.

    `healthy`: it runs, looks after itself and answers; what can't be asked doesn't count as healthy. `runtime` is the
    app's own status document, None where it gives none: `unknown` says why. Raises AccessError where there is no app.
    """
    head = opened.head()
    runtime, unknown = _of_itself(opened, head)
    compute, state = (_state(head.get(part)) for part in ("compute_status", "app_status"))
    document = {
        "app": head.get("name"),
        "url": head.get("url"),
        "workspace": opened.workspace.address,
        "state": state,
        "compute": {**compute, "size": head.get("compute_size")},
        "deployment": _deployment(head.get("active_deployment")),
        "pending_deployment": _deployment(head.get("pending_deployment")),
        "service_principal": {
            "name": head.get("service_principal_name"),
            "id": head.get("service_principal_id"),
            "client_id": head.get("service_principal_client_id"),
        },
        "resources": [str(each.get("name")) for each in head.get("resources") or ()],
        "created": _made(head, "create_time", "creator"),
        "updated": _made(head, "update_time", "updater"),
        "runtime": runtime,
        "unknown": unknown,
    }
    runs = compute["state"] == ACTIVE and state["state"] == RUNNING and not unknown
    well = runtime is None or (runtime.get("state") == SERVING and runtime.get("supervised") is True)
    return {**document, "healthy": runs and well and not _failure(runtime or {})}


def rows(document: Json) -> Iterator[tuple[str, str]]:
    """What a person reads: a name and a text each; what isn't known is left out."""
    compute, deployment = document["compute"], document["deployment"]
    principal = document["service_principal"]
    found = [
        ("State", _told(document["state"])),
        ("Compute", _told(compute) + (f", {compute['size']}" if compute["size"] else "")),
        ("URL", document["url"]),
        ("Workspace", document["workspace"]),
        ("Deployment", _told_deployment(deployment) if deployment else "none"),
        ("Being deployed", _told_deployment(document["pending_deployment"])),
        ("Service principal", " ".join(str(each) for each in (principal["name"], principal["client_id"]) if each)),
        ("Resources", ", ".join(document["resources"])),
        ("Created", document["created"]),
        ("Updated", document["updated"]),
        *_of_runtime(document["runtime"] or {}),
        ("Not known", document["unknown"]),
    ]
    yield from ((name, str(text)) for name, text in found if text)


def _of_itself(opened: Opened, head: Json) -> tuple[Json | None, str]:
    """The app's own status document, and why it isn't known how the app is, "" where it is known."""
    if refusal := opened.refusal():
        return None, f"{refusal}: log in by {LOGIN.replace('HOST', opened.workspace.address)}"
    compute = _state(head.get("compute_status"))["state"]
    if compute != ACTIVE:
        return None, f"its compute is {compute or 'not there'}"
    try:
        with opened.session(head) as rest:
            fault = _fault(rest)
            return _document(rest), fault
    except (AccessError, ForbiddenError) as error:
        return None, f"it can't be asked: {error}"


def _fault(rest: Rest) -> str:
    try:
        rest.exchange("GET", HEALTH, None, {})
    except ServerError as error:
        return f"it doesn't answer well: {error}"
    return ""


def _document(rest: Rest) -> Json | None:
    try:
        return rest.once("GET", STATUS)
    except ServerError:
        # Another server than this project's runtime, or one that is starting: its health says how it is.
        return None


def _state(status: Json | None) -> Json:
    found = status or {}
    return {"state": str(found.get("state") or ""), "message": str(found.get("message") or "")}


def _deployment(head: Json | None) -> Json | None:
    if not head:
        return None
    return {
        "id": head.get("deployment_id"),
        **_state(head.get("status")),
        "source": head.get("source_code_path"),
        "created": _made(head, "create_time", "creator"),
    }


def _made(head: Json, when: str, who: str) -> str:
    return " by ".join(str(head[key]) for key in (when, who) if head.get(key))


def _told(part: Json) -> str:
    return ": ".join(part[key] for key in ("state", "message") if part[key]) or "not known"


def _told_deployment(part: Json | None) -> str:
    return f"{part['id']}, {_told(part)}, {part['created']}" if part else ""


def _of_runtime(runtime: Json) -> list[tuple[str, Any]]:
    if not runtime:
        return []
    database, restored = (runtime.get(part) or {} for part in ("database", "restored"))
    told = {"state": str(runtime.get("state") or ""), "message": str(runtime.get("message") or "")}
    silent = "" if runtime.get("supervised", True) else " (nobody looks after it)"
    return [
        ("MLflow", f"{runtime.get('mlflow', '')}, {_told(told)}{silent}"),
        ("Backend", runtime.get("backend")),
        ("Snapshots", _snapshot(runtime)),
        ("Would be lost", _loss(runtime)),
        ("Last failure", _failure(runtime)),
        ("Began with", restored.get("generation")),
        ("Passed over", ", ".join(map(str, restored.get("passed_over") or ()))),
        ("Database", f"{size(database['bytes'])}, {size(database['free_bytes'])} free" if database else ""),
        ("Artifacts", runtime.get("artifacts")),
        ("Restarts", f"{runtime['restarts']}, after {runtime.get('last_exit')}" if runtime.get("restarts") else ""),
        ("mlflow-migration", runtime.get("package")),
        *(("Note", note) for note in runtime.get("notes") or ()),
    ]


def _failure(runtime: Json) -> str:
    """What the app last failed at and hasn't done since: it serves, and what it takes in may be lost."""
    parts = (runtime.get(name) for name in ("snapshot", "lease", "password"))
    return next((str(part["error"]) for part in parts if isinstance(part, dict) and part.get("error")), "")


def _snapshot(runtime: Json) -> str:
    snapshot = runtime.get("snapshot")
    if not isinstance(snapshot, dict):
        return ""
    age = snapshot.get("age_seconds")
    last = "none yet" if age is None else f"{snapshot.get('generation')}, {span(float(age))} ago"
    every = runtime.get("snapshot_seconds")
    return last + (f"; one every {span(float(every))} when something changed" if every else "")


def _loss(runtime: Json) -> str:
    """What goes if the machine goes now: the loss window."""
    if not isinstance(runtime.get("snapshot"), dict):
        return ""
    seconds = float(runtime.get("loss_seconds") or 0)
    return f"changes of the last {span(seconds)}" if seconds else "nothing"
