"""The passphrase MLflow encrypts stored credentials with: a secret of the workspace, generated once.

It goes from here to the workspace in one request's body and is never read back: whoever may look at the scope may.
A new one would make everything encrypted so far unreadable, so one that is there stays.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus

from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.platform import TAKEN
from mlflow_migration.errors import ServerError
from mlflow_migration.server.rest import Rest

ROUTE = "/api/2.0/secrets/"
BYTES = 32


def scope_of(config: AppConfig) -> str:
    """The name of the scope."""
    return config.encryption.scope or f"mlflow-app-{config.name}"


def keys(rest: Rest, scope: str) -> list[str] | None:
    """The keys in a scope; None where there is no such scope. Raises ForbiddenError."""
    try:
        answer = rest.call("GET", ROUTE + "list", query={"scope": scope})
    except ServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    return [str(each["key"]) for each in answer.get("secrets", ())]


def require_managed(rest: Rest, scope: str) -> None:
    """Raise ForbiddenError unless these credentials manage the scope, as who binds its secret to an app has to."""
    rest.call("GET", ROUTE + "acls/list", query={"scope": scope})


def ensure(rest: Rest, config: AppConfig) -> bool:
    """Make the scope and the passphrase where they aren't there yet; whether a passphrase was made."""
    scope, key = scope_of(config), config.encryption.key
    there = keys(rest, scope)
    if there is None:
        try:
            rest.call("POST", ROUTE + "scopes/create", {"scope": scope})
        except ServerError as error:
            if error.code not in TAKEN:
                raise
        there = keys(rest, scope) or []
    if key in there:
        return False
    rest.call("POST", ROUTE + "put", {"scope": scope, "key": key, "string_value": secrets.token_urlsafe(BYTES)})
    return True


def forget(rest: Rest, config: AppConfig) -> str:
    """Remove the passphrase, and the scope where it is this app's own and holds nothing else.

    Returns what was removed in words, "" for nothing.
    """
    scope, key = scope_of(config), config.encryption.key
    there = keys(rest, scope)
    if there is None or key not in there:
        return ""
    if not config.encryption.scope and there == [key]:
        rest.call("POST", ROUTE + "scopes/delete", {"scope": scope})
        return f"scope {scope}"
    rest.call("POST", ROUTE + "delete", {"scope": scope, "key": key})
    return f"{scope}/{key}"
