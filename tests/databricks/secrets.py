"""Secrets: /api/2.0/secrets/, scopes with keys, and who may read them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import access, calls, catalogue, errors
from tests.databricks.calls import Call, Handler
from tests.databricks.state import Workspace

PREFIX = "/api/2.0/secrets"
LEVELS = ("READ", "WRITE", "MANAGE")
LONGEST_NAME = 128
LARGEST_VALUE = 128 * 1024

Answer = Mapping[str, Any] | None


@dataclass
class Scope:
    """A scope: its secrets' values with the time each was put, and what principals may do."""

    values: dict[str, tuple[bytes, int]] = field(default_factory=dict, repr=False)
    acls: dict[str, str] = field(default_factory=dict)


@dataclass
class Secrets:
    """The scopes of one workspace."""

    scopes: dict[str, Scope] = field(default_factory=dict)


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of secrets."""
    table: dict[str, Handler] = {
        "POST scopes/create": _create_scope,
        "GET scopes/list": _list_scopes,
        "POST scopes/delete": _delete_scope,
        "POST put": _put,
        "GET get": _get,
        "GET list": _list,
        "POST delete": _delete,
        "POST acls/put": _put_acl,
        "GET acls/get": _get_acl,
        "GET acls/list": _list_acls,
        "POST acls/delete": _delete_acl,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _scope(call: Call, level: str) -> Scope:
    """The scope, for someone who has that level on it; raises ApiError 404 or 403."""
    name = call.need("scope")
    scopes = call.workspace.part(Secrets).scopes
    if name not in scopes:
        raise errors.missing(f"Scope {name} does not exist!")
    names = {call.principal.name, *call.workspace.account.groups_of(call.principal.name)}
    held = [LEVELS.index(given) for who, given in scopes[name].acls.items() if who in names]
    if not access.is_admin(call.workspace, call.principal) and max(held, default=-1) < LEVELS.index(level):
        raise errors.denied(f"User {call.principal.name} does not have {level} permission on scope {name}")
    return scopes[name]


def _create_scope(call: Call) -> Answer:
    name, scopes = call.need("scope"), call.workspace.part(Secrets).scopes
    if len(name) > LONGEST_NAME:
        raise errors.invalid(f"Scope names have at most {LONGEST_NAME} characters")
    if name in scopes:
        raise errors.taken(f"Scope {name} already exists!")
    manager = str(call.json.get("initial_manage_principal") or call.principal.name)
    scopes[name] = Scope(acls={manager: "MANAGE"})
    return None


def _list_scopes(call: Call) -> Answer:
    scopes = call.workspace.part(Secrets).scopes
    return {"scopes": [{"name": name, "backend_type": "DATABRICKS"} for name in sorted(scopes)]} if scopes else None


def _delete_scope(call: Call) -> Answer:
    _scope(call, "MANAGE")
    del call.workspace.part(Secrets).scopes[call.need("scope")]
    return None


def _put(call: Call) -> Answer:
    scope = _scope(call, "WRITE")
    sent = call.json
    if ("string_value" in sent) == ("bytes_value" in sent):
        raise errors.invalid("Exactly one of string_value and bytes_value must be set")
    value = sent["string_value"].encode() if "string_value" in sent else base64.b64decode(sent["bytes_value"])
    if len(value) > LARGEST_VALUE:
        raise errors.invalid(f"A secret has at most {LARGEST_VALUE} bytes")
    scope.values[call.need("key")] = (value, catalogue.now())
    return None


def _get(call: Call) -> Answer:
    scope, key = _scope(call, "READ"), call.need("key")
    if key not in scope.values:
        raise errors.missing(f"Failed to get secret {key} for scope {call.need('scope')}.")
    return {"key": key, "value": base64.b64encode(scope.values[key][0]).decode()}


def _list(call: Call) -> Answer:
    values = _scope(call, "READ").values
    listed = [{"key": key, "last_updated_timestamp": when} for key, (_, when) in sorted(values.items())]
    return {"secrets": listed} if listed else None


def _delete(call: Call) -> Answer:
    scope, key = _scope(call, "WRITE"), call.need("key")
    if key not in scope.values:
        raise errors.missing(f"Secret {key} does not exist in scope {call.need('scope')}.")
    del scope.values[key]
    return None


def _put_acl(call: Call) -> Answer:
    scope, level = _scope(call, "MANAGE"), call.need("permission")
    if level not in LEVELS:
        raise errors.invalid(f"{level} is not one of {', '.join(LEVELS)}")
    scope.acls[call.need("principal")] = level
    return None


def _get_acl(call: Call) -> Answer:
    scope, principal = _scope(call, "READ"), call.need("principal")
    if principal not in scope.acls:
        raise errors.missing(f"No ACL for {principal} on scope {call.need('scope')}.")
    return {"principal": principal, "permission": scope.acls[principal]}


def _list_acls(call: Call) -> Answer:
    acls = _scope(call, "MANAGE").acls
    return {"items": [{"principal": name, "permission": level} for name, level in sorted(acls.items())]}


def _delete_acl(call: Call) -> Answer:
    _scope(call, "MANAGE").acls.pop(call.need("principal"), None)
    return None
