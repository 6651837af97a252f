"""Every way of databricks-sdk's unified authentication leads into the emulator, with the SDK unchanged."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import PermissionDenied

from tests.databricks import clients, identity, profiles
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow
ME = """
from databricks.sdk import WorkspaceClient

client = WorkspaceClient()
me = client.current_user.me()
tell([client.config.auth_type, me.user_name, client.get_workspace_id()])
"""


def pat(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    return ADMIN, {"DATABRICKS_TOKEN": workspace.token()}


def oauth_m2m(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    client = workspace.account.add_service_principal("ci")
    return client.client_id, {
        "DATABRICKS_CLIENT_ID": client.client_id,
        "DATABRICKS_CLIENT_SECRET": client.client_secret,
    }


def _federated(workspace: Workspace) -> tuple[str, str]:
    client = workspace.account.add_service_principal("ci")
    return client.client_id, workspace.account.federate(client.client_id, "repo:acme/models")


def env_oidc(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    client, token = _federated(workspace)
    return client, {"DATABRICKS_CLIENT_ID": client, "DATABRICKS_OIDC_TOKEN": token}


def file_oidc(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    client, token = _federated(workspace)
    file = folder / "id.jwt"
    file.write_text(token)
    return client, {"DATABRICKS_CLIENT_ID": client, "DATABRICKS_OIDC_TOKEN_FILEPATH": str(file)}


def github_oidc(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    client, _ = _federated(workspace)
    return client, {
        "DATABRICKS_CLIENT_ID": client,
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{workspace.url}/id-token?client_id={client}",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": identity.CI_REQUEST_TOKEN,
    }


def databricks_cli(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    commands = profiles.write_commands(folder / "bin", workspace.url, workspace.account.refresh_token())
    return ADMIN, {"PATH": str(commands)}


def azure_cli(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    workspace.cloud = "AZURE"
    name, environment = databricks_cli(workspace, folder)
    authority = profiles.write_azure_authority(folder / "authority", workspace.url)
    return name, {**environment, "PYTHONPATH": str(authority)}


def azure_client_secret(workspace: Workspace, folder: Path) -> tuple[str, dict[str, str]]:
    workspace.cloud = "AZURE"
    client = workspace.account.add_service_principal("ci")
    authority = profiles.write_azure_authority(folder / "authority", workspace.url)
    return client.client_id, {
        "PYTHONPATH": str(authority),
        "ARM_CLIENT_ID": client.client_id,
        "ARM_CLIENT_SECRET": client.client_secret,
        "ARM_TENANT_ID": identity.AZURE_TENANT,
    }


KINDS = {
    "pat": pat,
    "oauth-m2m": oauth_m2m,
    "env-oidc": env_oidc,
    "file-oidc": file_oidc,
    "github-oidc": github_oidc,
    "databricks-cli": databricks_cli,
    "azure-cli": azure_cli,
    "azure-client-secret": azure_client_secret,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_authentication_tells_who_one_is(
    databricks_account: AccountFactory, tmp_path: Path, kind: str
) -> None:
    workspace = databricks_account().workspace("a")
    make: Callable[[Workspace, Path], tuple[str, dict[str, str]]] = KINDS[kind]
    name, environment = make(workspace, tmp_path)
    chosen = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_AUTH_TYPE": kind}
    assert clients.run(tmp_path, ME, {**chosen, **environment}) == [kind, name, workspace.id]


def test_each_workspace_has_a_profile(databricks_account: AccountFactory) -> None:
    account = databricks_account()
    found = {}
    for name in ("a", "b"):
        workspace = account.workspace(name)
        config = Config(profile=workspace.profile, config_file=account.environment()["DATABRICKS_CONFIG_FILE"])
        found[name] = (WorkspaceClient(config=config).get_workspace_id(), workspace.id)
    assert found["a"][0] == found["a"][1] != found["b"][0] == found["b"][1]


def test_a_wrong_client_secret_is_refused(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    client = workspace.account.add_service_principal("ci")
    form = {"grant_type": "client_credentials", "scope": "all-apis"}
    answer = requests.post(f"{workspace.url}/oidc/v1/token", form, auth=(client.client_id, "wrong"), timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_an_identity_token_nobody_vouched_for_is_refused(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    _, token = _federated(workspace)
    other = workspace.account.add_service_principal("other")
    form = {"grant_type": identity.EXCHANGE, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
    for wrong in ({"subject_token": token + "x"}, {"subject_token": token, "client_id": other.client_id}):
        answer = requests.post(f"{workspace.url}/oidc/v1/token", {**form, **wrong}, timeout=30)
        assert answer.status_code == 401


def test_an_oauth_token_ends_and_the_sdk_fetches_the_next(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    client = workspace.account.add_service_principal("ci")
    workspace.account.token_seconds = 1
    sdk = WorkspaceClient(host=workspace.url, client_id=client.client_id, client_secret=client.client_secret)
    old = sdk.config.authenticate()
    sdk.current_user.me()
    workspace.account.expire_tokens()
    refused = requests.get(f"{workspace.url}/api/2.0/preview/scim/v2/Me", headers=old, timeout=30)
    assert (refused.status_code, refused.json()["error_code"]) == (401, 401)
    assert sdk.config.authenticate() != old
    assert sdk.current_user.me().user_name == client.client_id


def test_a_revoked_personal_access_token_is_refused_as_the_platform_does(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    headers = workspace.headers()
    workspace.account.revoke(ADMIN)
    answer = requests.get(f"{workspace.url}/api/2.0/mlflow/experiments/search", headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["error_code"]) == (403, 403)
    assert answer.json()["message"].startswith("Invalid access token.")
    sdk = WorkspaceClient(config=Config(host=workspace.url, token=headers["Authorization"][7:], auth_type="pat"))
    with pytest.raises(PermissionDenied):
        sdk.current_user.me()


def test_without_credentials_nothing_is_answered(databricks_account: AccountFactory) -> None:
    workspace = databricks_account().workspace("a")
    answer = requests.get(f"{workspace.url}/api/2.0/workspace/list?path=/", timeout=30)
    assert (answer.status_code, answer.json()["error_code"]) == (401, 401)


def test_groups_of_groups_are_told_by_scim(databricks_account: AccountFactory) -> None:
    account = databricks_account()
    workspace = account.workspace("a")
    account.add_user("eve@example.com", "risk")
    account.add_group("science", "risk")
    sdk = WorkspaceClient(config=Config(host=workspace.url, token=workspace.token(), auth_type="pat"))
    (eve,) = sdk.users.list(filter='userName eq "eve@example.com"')
    assert sorted(group.display or "" for group in eve.groups or []) == ["risk", "users"]
    groups = {group.display_name: group for group in sdk.groups.list()}
    assert [member.display for member in groups["science"].members or []] == ["risk"]
    assert sdk.groups.get(groups["risk"].id or "").display_name == "risk"
    assert account.groups_of("eve@example.com") == {"account users", "users", "risk", "science"}
