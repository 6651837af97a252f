"""The passphrase MLflow encrypts stored credentials with: a secret of the workspace, generated once.

It goes from here to the workspace in one request's body, and is read back only to be compared with one that is given.
A new one would make everything encrypted so far unreadable, so one that is there stays.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from http import HTTPStatus

from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.platform import TAKEN
from mlflow_migration.errors import ServerError, UsageError
from mlflow_migration.server.rest import Rest

ROUTE = "/api/2.0/secrets/"
BYTES = 32
VARIABLE = "MLFLOW_MIGRATION_APP_ENCRYPTION_KEY"
"""Where the commands find a passphrase that exists already: an argument would stand in the list of processes."""


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


def require_same(rest: Rest, config: AppConfig, given: str) -> None:
    """Raise UsageError where the passphrase that is there is another one than `given`: it is never replaced."""
    scope, key = scope_of(config), config.encryption.key
    answer = rest.call("GET", ROUTE + "get", query={"scope": scope, "key": key})
    held = base64.b64decode(str(answer.get("value") or ""))
    if not hmac.compare_digest(held, given.encode()):
        raise UsageError(
            f"encryption key: {scope}/{key} holds another one",
            "it is never replaced: what MLflow has encrypted with it would be unreadable",
            "leave the key out, or name another encryption.scope",
        )


def ensure(rest: Rest, config: AppConfig, given: str = "") -> bool:
    """Make the scope and the passphrase where they aren't there yet: the one that is given, or a new one.

    Returns whether it was made; one that is there stays.
    """
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
    value = given or secrets.token_urlsafe(BYTES)
    rest.call("POST", ROUTE + "put", {"scope": scope, "key": key, "string_value": value})
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
