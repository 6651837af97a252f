"""The Apps API of a workspace (`/api/2.0/apps`), by routes and fields of databricks-sdk's `service/apps.py` (0.156).

What changes an app goes through `POST /update` with a mask: PATCH, as the SDK sends it, leaves empty lists out, so that
a last resource could never be taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from mlflow_migration.errors import ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Rest

APPS = "/api/2.0/apps"
TAKEN = frozenset({"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"})
BUSY = "active deployment in progress"
"""What a deployment is refused with while another one is under way (databricks/cli, issue 2153)."""


def get(rest: Rest, name: str) -> Json | None:
    """The app as the API shows it; None where there is none. Raises ForbiddenError, AccessError."""
    return found(rest, path_of(name))


def found(rest: Rest, path: str, query: Mapping[str, str] | None = None) -> Json | None:
    """The answer to a GET; None where it is 404."""
    try:
        return rest.call("GET", path, query=query)
    except ServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


def are_there(rest: Rest) -> None:
    """Ask for the list of apps: raises what a workspace answers that has none to offer."""
    rest.call("GET", APPS, query={"page_size": "1"})


def create(rest: Rest, body: Json) -> Json:
    """Make an app, whose compute starts. Raises ServerError, with a code of `TAKEN` where the name is taken."""
    name = str(body["name"])
    return rest.call("POST", APPS, body, look=lambda: get(rest, name))


def change(rest: Rest, name: str, fields: Json) -> Json:
    """Begin to give an app these fields; one that is None or empty is cleared. `updating` tells how far it is."""
    told = {key: value for key, value in fields.items() if value not in (None, [], ())}
    body = {"app": {"name": name, **told}, "update_mask": ",".join(fields)}

    def look() -> Json | None:
        answer = updating(rest, name)
        return answer if state_of(answer, "status")[0] == "IN_PROGRESS" else None

    return rest.call("POST", f"{path_of(name)}/update", body, look=look)


def updating(rest: Rest, name: str) -> Json:
    """The last update: `status` with `state` (IN_PROGRESS, SUCCEEDED, FAILED, NOT_UPDATED) and `message`."""
    return rest.call("GET", f"{path_of(name)}/update")


def delete(rest: Rest, name: str) -> None:
    """Begin to delete an app; one that isn't there, or is going already, is left at that."""
    try:
        rest.call("DELETE", path_of(name))
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND and "DELETING" not in error.why:
            raise


def start(rest: Rest, name: str) -> Json:
    """Start an app's compute; its last deployment is deployed again, if there was one."""
    return rest.call("POST", f"{path_of(name)}/start", {})


def stop(rest: Rest, name: str) -> Json:
    """Stop an app's compute."""
    return rest.call("POST", f"{path_of(name)}/stop", {})


def deploy(rest: Rest, name: str, source: str) -> Json:
    """Begin to deploy the folder `source`. A request that is repeated finds the deployment the first one made."""
    known = {str(each.get("deployment_id")) for each in deployments(rest, name)}

    def look() -> Json | None:
        return next((each for each in deployments(rest, name) if str(each.get("deployment_id")) not in known), None)

    body = {"source_code_path": source, "mode": "SNAPSHOT"}
    return rest.call("POST", f"{path_of(name)}/deployments", body, look=look)


def deployment(rest: Rest, name: str, id_: str) -> Json | None:
    """One deployment; None where it, or its app, is gone."""
    return found(rest, f"{path_of(name)}/deployments/{quote(id_, safe='')}")


def deployments(rest: Rest, name: str) -> Sequence[Json]:
    """An app's deployments, the newest first."""
    return list(pages.pages(rest, f"{path_of(name)}/deployments", {}, "app_deployments"))


def origin(rest: Rest, name: str, id_: str) -> str:
    """The deployment that brought the files which run as the deployment `id_`.

    A start makes a deployment of the copy that the platform took at the one before (`deployment_artifacts`).
    """
    there = deployments(rest, name)
    sources = {str(each.get("deployment_id")): str(each.get("source_code_path") or "") for each in there}
    made = {str((each.get("deployment_artifacts") or {}).get("source_code_path") or ""): each for each in there}
    seen = {id_}
    while (before := made.get(sources.get(id_) or "-")) and str(before["deployment_id"]) not in seen:
        id_ = str(before["deployment_id"])
        seen.add(id_)
    return id_


def path_of(name: str) -> str:
    """The route of an app."""
    return f"{APPS}/{quote(name, safe='')}"


def state_of(head: Mapping[str, Any] | None, part: str) -> tuple[str, str]:
    """State and message of `compute_status` or `app_status` of an app, or of `status` of a deployment or update."""
    status = (head or {}).get(part) or {}
    return str(status.get("state", "")), str(status.get("message", ""))


def compute(app: Mapping[str, Any] | None) -> str:
    """ACTIVE, STARTING, STOPPED, STOPPING, UPDATING, DELETING, ERROR; "" for no app."""
    return state_of(app, "compute_status")[0]
