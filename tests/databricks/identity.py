"""Who one is: discovery, OAuth tokens (client credentials, token exchange), identity tokens of a CI, SCIM."""

import base64
import re
import secrets
import urllib.parse
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from tests.databricks import calls, errors
from tests.databricks.calls import Call, Handler
from tests.databricks.state import Account, Principal, Workspace

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
AZURE_TENANT = "11111111-2222-3333-4444-555555555555"
SCHEMAS = "urn:ietf:params:scim:schemas:core:2.0:"
SCIM = "/api/2.0/preview/scim/v2"
# The value an id-token request of a CI job has to carry; its answer is exchanged for an access token.
CI_REQUEST_TOKEN = secrets.token_hex(8)


def routes(workspace: Workspace) -> list[BaseRoute]:
    """Discovery, tokens and SCIM."""
    table: dict[str, Handler] = {
        "GET /.well-known/databricks-config": _discovery,
        "GET /oidc/.well-known/oauth-authorization-server": _oauth_server,
        "POST /oidc/v1/token": _token,
        "GET /id-token": _ci_token,
        "GET /aad/auth": _azure_login,
        "POST /aad/{tenant}/oauth2/token": _token,
        f"GET {SCIM}/Me": _me,
        f"GET {SCIM}/Users": _users,
        f"GET {SCIM}/ServicePrincipals": _service_principals,
        f"GET {SCIM}/Groups": _groups,
        f"GET {SCIM}/{{kind}}/{{id}}": _one,
    }
    return calls.routes(workspace, table)


def _discovery(call: Call) -> Mapping[str, Any]:
    workspace = call.workspace
    return {
        "oidc_endpoint": f"{workspace.url}/oidc",
        "workspace_id": str(workspace.id),
        "account_id": workspace.account.id,
        "cloud": workspace.cloud,
    }


def _oauth_server(call: Call) -> Mapping[str, Any]:
    root = f"{call.workspace.url}/oidc"
    return {
        "issuer": root,
        "authorization_endpoint": f"{root}/v1/authorize",
        "token_endpoint": f"{root}/v1/token",
        "scopes_supported": ["all-apis", "offline_access"],
        "grant_types_supported": ["client_credentials", "authorization_code", EXCHANGE],
    }


def _token(call: Call) -> Response:
    """RFC 6749: errors are `{"error", "error_description"}`, not the platform's."""
    form = dict(urllib.parse.parse_qsl(call.body.decode()))
    account = call.workspace.account
    if form.get("grant_type") == "client_credentials":
        principal = _client(account, call.headers, form)
    elif form.get("grant_type") == EXCHANGE:
        principal = _federated(account, form)
    elif form.get("grant_type") == "refresh_token":
        principal = account.refreshes.get(form.get("refresh_token", ""))
    else:
        return _refused(400, "unsupported_grant_type", f"grant_type {form.get('grant_type')!r} is not supported")
    if not principal:
        return _refused(401, "invalid_client", "Client authentication failed")
    token, _ = account.issue(principal)
    body = {"access_token": token, "token_type": "Bearer", "scope": form.get("scope", "all-apis")}
    return JSONResponse({**body, "expires_in": int(account.token_seconds)})


def _refused(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status)


def _client(account: Account, headers: Mapping[str, str], form: Mapping[str, str]) -> str | None:
    """The service principal whose id and secret came by HTTP Basic, or (as to Azure's authority) in the form."""
    kind, _, encoded = headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        name, _, secret = map(urllib.parse.unquote, base64.b64decode(encoded).decode().partition(":"))
    else:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
    client = account.clients.get(name)
    return name if client and client.client_secret == secret else None


def _federated(account: Account, form: Mapping[str, str]) -> str | None:
    """The service principal whose federation policy takes the subject token."""
    if form.get("subject_token_type") != "urn:ietf:params:oauth:token-type:jwt":
        return None
    name = account.federated.get(form.get("subject_token", ""))
    return name if name and name == form.get("client_id", name) else None


def _ci_token(call: Call) -> Response:
    """What a GitHub job asks of ACTIONS_ID_TOKEN_REQUEST_URL; the audience is the token endpoint by default."""
    if call.headers.get("authorization") != f"Bearer {CI_REQUEST_TOKEN}":
        return JSONResponse({"message": "bad request token"}, 401)
    client_id = call.query.get("client_id") or next(iter(call.workspace.account.clients))
    subject = f"repo:acme/models:ref:refs/heads/main:{call.query.get('audience', '')}"
    return JSONResponse({"value": call.workspace.account.federate(client_id, subject)})


def _azure_login(call: Call) -> Response:
    """The redirect that tells clients the workspace's Azure tenant."""
    return RedirectResponse(f"https://login.microsoftonline.com/{AZURE_TENANT}/oauth2/authorize", 302)


def _me(call: Call) -> Response:
    headers = {"X-Databricks-Org-Id": str(call.workspace.id)}
    # Also of a service principal `userName` is told: its application id.
    shown = {"userName": call.principal.name, **_shown(call.workspace.account, call.principal)}
    return JSONResponse(shown, headers=headers)


def _shown(account: Account, principal: Principal) -> dict[str, Any]:
    groups = _groups_of(account, principal.name)
    common = {"id": str(principal.id), "displayName": principal.display_name, "active": True, "groups": groups}
    if principal.service:
        return {"schemas": [SCHEMAS + "ServicePrincipal"], "applicationId": principal.name, **common}
    emails = [{"type": "work", "value": principal.name, "primary": True}]
    return {"schemas": [SCHEMAS + "User"], "userName": principal.name, "emails": emails, **common}


def _groups_of(account: Account, name: str) -> list[dict[str, str]]:
    """The groups that have a principal or group as a member."""
    direct = sorted(group for group, members in account.groups.items() if name in members)
    return [{"display": group, "type": "direct", "value": str(account.group_ids[group])} for group in direct]


def _group(account: Account, name: str) -> dict[str, Any]:
    members = [
        {
            "display": member,
            "value": str(_id(account, member)),
            "$ref": f"{_kind(account, member)}/{_id(account, member)}",
        }
        for member in sorted(account.groups[name])
    ]
    shown = {"schemas": [SCHEMAS + "Group"], "id": str(account.group_ids[name]), "displayName": name}
    return {**shown, "members": members, "groups": _groups_of(account, name)}


def _id(account: Account, name: str) -> int:
    return account.principals[name].id if name in account.principals else account.group_ids[name]


def _kind(account: Account, name: str) -> str:
    if name not in account.principals:
        return "Groups"
    return "ServicePrincipals" if account.principals[name].service else "Users"


def _users(call: Call) -> Mapping[str, Any]:
    account = call.workspace.account
    return _page(call, [_shown(account, one) for one in account.principals.values() if not one.service])


def _service_principals(call: Call) -> Mapping[str, Any]:
    account = call.workspace.account
    return _page(call, [_shown(account, one) for one in account.principals.values() if one.service])


def _groups(call: Call) -> Mapping[str, Any]:
    account = call.workspace.account
    return _page(call, [_group(account, name) for name in sorted(account.groups)])


def _page(call: Call, found: list[dict[str, Any]]) -> Mapping[str, Any]:
    """SCIM's paging and its one filter clients send: `attribute eq "value"`."""
    if wanted := call.query.get("filter"):
        parsed = re.fullmatch(r'\s*(\w+)\s+eq\s+"?([^"]*)"?\s*', wanted, re.IGNORECASE)
        if not parsed:
            raise errors.invalid(f"Given filter operator is not supported: {wanted}")
        name, value = parsed.groups()
        found = [one for one in found if str(one.get(name, "")).casefold() == value.casefold()]
    first, count = int(call.query.get("startIndex", 1)), int(call.query.get("count", 100))
    page = found[first - 1 : first - 1 + count]
    schemas = ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
    return {
        "schemas": schemas,
        "totalResults": len(found),
        "startIndex": first,
        "itemsPerPage": len(page),
        "Resources": page,
    }


def _one(call: Call) -> Mapping[str, Any]:
    account, wanted = call.workspace.account, call.names["id"]
    for principal in account.principals.values():
        if str(principal.id) == wanted and _kind(account, principal.name) == call.names["kind"]:
            return _shown(account, principal)
    for name, number in account.group_ids.items():
        if str(number) == wanted and call.names["kind"] == "Groups":
            return _group(account, name)
    raise errors.missing(f"{call.names['kind'].removesuffix('s')} with id {wanted} not found.")
