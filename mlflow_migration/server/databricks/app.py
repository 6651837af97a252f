"""From `databricks-app://[PROFILE/]NAME` to an app's URL and OAuth tokens, by databricks-sdk and the Apps API.

An app takes OAuth tokens only (docs.databricks.com, "Connect to an app using token authentication"). What answers at
its URL is a plain MLflow server. One that keeps nothing itself, since its runtime's backend is the workspace, is a
window onto that: MLflow's server shows no models of Unity Catalog through it (3.17.2: "unsupported for models in the
Unity Catalog") and takes no tags that the workspace sets. Such an app's address means the workspace behind it.
`GET /api/2.0/apps/NAME` tells the URL and how the app is (databricks-sdk, `service/apps.py`).
"""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from databricks.sdk.config import Config

from mlflow_migration.errors import AccessError, ServerError, UsageError
from mlflow_migration.records import Json
from mlflow_migration.server.address import (
    DATABRICKS,
    DATABRICKS_APP,
    DATABRICKS_UC,
    WORKSPACE_HEADER,
    Credentials,
    Endpoint,
    client_headers,
    printable,
    workspace_of,
)
from mlflow_migration.server.databricks.address import (
    REFUSED,
    authenticated,
    configured,
    endpoint_of,
    refuse_workspace,
)
from mlflow_migration.server.rest import Rest

APPS = "/api/2.0/apps/"
STATUS = "/mlflow-app/status.json"
"""Where an app with this project's runtime tells how it is."""
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
PERSONAL = frozenset({"pat", "basic", "runtime"})
"""Ways to log in whose token is as a rule none of OAuth's."""
OAUTH = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
"""An access token of OAuth, a JWT; it may have been put where personal ones stand (`databricks auth token`)."""
LOGIN = "databricks auth login --host HOST, a service principal's DATABRICKS_CLIENT_ID and _SECRET, or a CI's OIDC"
PATIENCE = 30.0
"""Seconds for asking a workspace about an app."""
RUNNING, ACTIVE = "RUNNING", "ACTIVE"


@dataclass(frozen=True)
class AppAddress:
    """An app's name, and the profile of its workspace, "" for the one of the environment."""

    name: str
    profile: str = ""

    @property
    def uri(self) -> str:
        """The app's address as it is typed."""
        return "/".join(filter(None, [f"{DATABRICKS_APP}:/", self.profile, self.name]))

    @property
    def workspace(self) -> str:
        """Its workspace's address."""
        return f"{DATABRICKS}://{self.profile}" if self.profile else DATABRICKS

    def command(self, verb: str) -> str:
        """The command to type next about this app."""
        elsewhere = f" --workspace {self.workspace}" if self.profile else ""
        return f"mlflow-migration app {verb} --name {self.name}{elsewhere}"


def parsed(uri: str) -> AppAddress:
    """An address as it was typed, in parts. Raises UsageError for what no app can be called."""
    words = uri.partition("://")[2].rstrip("/").split("/")
    if len(words) not in {1, 2} or not all(words) or not NAME.fullmatch(words[-1]):
        raise UsageError(
            f"not an app's address: {printable(uri)}",
            "apps have names of lowercase letters, digits and hyphens",
            f"write {DATABRICKS_APP}://NAME, or {DATABRICKS_APP}://PROFILE/NAME with a profile of ~/.databrickscfg",
        )
    return AppAddress(words[-1], "/".join(words[:-1]))


def at(workspace: str, name: str) -> AppAddress:
    """An app by its workspace's address and its name. Raises UsageError for what no app can be called."""
    if not NAME.fullmatch(name):
        raise UsageError(f"not an app's name: {name!r}", "apps have names of lowercase letters, digits and hyphens")
    return AppAddress(name, workspace.partition("://")[2].rstrip("/"))


def endpoint(uri: str, given: Credentials) -> Endpoint:
    """The endpoint of an app that runs; where it keeps its data in its workspace, that of the workspace with Unity
    Catalog.

    Raises UsageError where its workspace can't be logged in to, AccessError where the login is none of OAuth's (before
    anything is asked), the app isn't there, or doesn't run.
    """
    where = parsed(uri)
    config = configured(where.workspace, given)
    there = _front(where, config, given)
    status = _status(Rest(uri, given, 1, PATIENCE, there))
    if status.get("backend") != DATABRICKS:
        return there
    refuse_workspace(given)
    behind = endpoint_of(f"{DATABRICKS_UC}://{where.profile}", config, given)
    return replace(behind, folder=str(status.get("experiment_prefix") or ""))


def front(uri: str, given: Credentials) -> Endpoint:
    """The endpoint at the URL of an app that runs, wherever it keeps its data. Raises UsageError, AccessError."""
    where = parsed(uri)
    return _front(where, configured(where.workspace, given), given)


def _front(where: AppAddress, config: Config, given: Credentials) -> Endpoint:
    require_oauth(where, config)
    with closing(workspace_session(where, config, given)) as rest:
        app = required(rest, where)
    _require_running(where, app)
    return endpoint_at(url_of(where, app, config), where, config, given)


def _status(rest: Rest) -> Json:
    """What the app's runtime says of itself, {} where no such runtime is: another server says it knows no such page.

    Raises AccessError, ForbiddenError, ServerError: while an app doesn't answer, nobody knows where its data is. Taken
    for a server of its own, one in front of a workspace would be written to past Unity Catalog's rules.
    """
    with closing(rest):
        try:
            with rest.hurried():
                found = json.loads(rest.text(STATUS))
        except ValueError:
            return {}
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return {}
    return found if isinstance(found, dict) else {}


def workspace_session(where: AppAddress, config: Config, given: Credentials) -> Rest:
    """What speaks to an app's workspace."""
    return Rest(where.workspace, given, 2, PATIENCE, endpoint_of(where.workspace, config, given))


def head(rest: Rest, name: str) -> Json | None:
    """What the Apps API tells of an app, None where there is none. Raises AccessError, ForbiddenError, ServerError."""
    try:
        with rest.hurried():
            return rest.call("GET", APPS + quote(name, safe=""))
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None


def required(rest: Rest, where: AppAddress) -> Json:
    """What the Apps API tells of an app. Raises AccessError where there is none, ForbiddenError, ServerError."""
    app = head(rest, where.name)
    if app is None:
        raise AccessError(
            f"there is no app {where.name} at {rest.address}",
            "or these credentials may not see it",
            f"check name and profile; {where.command('create')} makes one",
        )
    return app


def endpoint_at(url: str, where: AppAddress, config: Config, given: Credentials) -> Endpoint:
    """The endpoint of an app at its URL: the workspace's OAuth tokens, and of its other headers none."""
    fixed = client_headers(url)
    fixed["User-Agent"] = f"{config.user_agent} {fixed.get('User-Agent', '')}".strip()
    if workspace := workspace_of(given):
        fixed[WORKSPACE_HEADER] = workspace

    def headers() -> dict[str, str]:
        return {**fixed, "Authorization": authenticated(where.uri, config.authenticate)["Authorization"]}

    return Endpoint(
        host=url,
        headers=headers,
        auth=None,
        verify=given.ca_bundle or not given.insecure_tls,
        cert=given.client_cert,
        workspace=workspace_of(given),
        renew=lambda: authenticated(where.uri, config.init_auth),
        login=str(config.auth_type),
        hint=REFUSED,
        address=url,
        stays=True,
    )


def oauth_fault(config: Config) -> str:
    """Why an app would refuse what this login gives, "" where it gives OAuth tokens. Personal tokens aren't sent."""
    login = str(config.auth_type)
    if login not in PERSONAL:
        return ""
    kind, _, token = str(config.authenticate().get("Authorization", "")).partition(" ")
    if kind.lower() == "bearer" and OAUTH.fullmatch(token):
        return ""
    return f"apps take OAuth tokens only, and this login ({login}) gives none"


def require_oauth(where: AppAddress, config: Config) -> None:
    """Raise AccessError where the login gives no OAuth tokens."""
    if fault := authenticated(where.uri, lambda: oauth_fault(config)):
        raise AccessError(f"{where.uri} needs an OAuth token", fault, LOGIN.replace("HOST", str(config.host)))


def url_of(where: AppAddress, app: Json, config: Config) -> str:
    """The app's URL, without a path.

    Raises AccessError where it is none that a token may be sent to: it has to be encrypted, as its workspace's is.
    """
    parts = urlsplit(str(app.get("url") or ""))
    safe = {"https", urlsplit(str(config.host)).scheme}
    if parts.scheme not in safe or not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
        raise AccessError(
            f"{where.uri} has no address that a token may be sent to",
            f"its workspace says {printable(str(app.get('url') or 'nothing'))!r}",
            where.command("status"),
        )
    return f"{parts.scheme}://{parts.netloc}"


def _require_running(where: AppAddress, app: Json) -> None:
    """Raise AccessError, with the command to type, where an app doesn't run."""
    compute, status = (app.get(part) or {} for part in ("compute_status", "app_status"))
    verb = _remedy(str(compute.get("state") or ACTIVE), str(status.get("state") or RUNNING), app)
    if verb:
        state, told = (compute, "compute") if compute.get("state", ACTIVE) != ACTIVE else (status, "state")
        raise AccessError(
            f"the app {where.name} isn't running: its {told} is {state.get('state')}",
            str(state.get("message") or ""),
            where.command(verb),
        )


def _remedy(compute: str, status: str, app: Json) -> str:
    """The command for an app in such states, "" for one that runs."""
    if compute in {"STOPPED", "STOPPING"}:
        return "start"
    if compute != ACTIVE:
        return "status"
    if status == "CRASHED":
        return "logs"
    if status == "UNAVAILABLE" and not app.get("active_deployment") and not app.get("pending_deployment"):
        return "deploy"
    return "" if status == RUNNING else "status"
