"""Logging in to workspaces: each way of databricks-sdk's, two at once, tokens that end, and what is told on failure."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mlflow_migration.errors import UsageError
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.live import Server
from mlflow_migration.server.rest import Rest
from tests.conftest import Run, Tool
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace
from tests.databricks.test_emulator_auth import KINDS

ME = "/api/2.0/preview/scim/v2/Me"
ROOT = Path(__file__).parents[2]
SECRETS = ("dapi", "dose", "eyJ")


def asked(workspace: Workspace, part: str) -> int:
    """How many requests went to paths with `part` in them."""
    return sum(part in path for _, path, _ in workspace.requests)


def connect(uri: str, **variables: str) -> Server:
    """A connected server, as one role's variables say."""
    server = Server(Rest(uri, Credentials(databricks=(variables,)), workers=2, patience=5))
    server.connect()
    return server


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_authentication_opens_a_workspace(
    databricks_account: AccountFactory, run_tool: Tool, tmp_path: Path, kind: str
) -> None:
    workspace = databricks_account().workspace("a")
    make: Callable[[Workspace, Path], tuple[str, dict[str, str]]] = KINDS[kind]
    name, environment = make(workspace, tmp_path)
    chosen = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_AUTH_TYPE": kind, **environment}
    command = ("http-client", "--api", "databricks", "--resource", "preview/scim/v2/Me", "--tracking-uri", "databricks")
    if "PYTHONPATH" in chosen:
        # Azure's authority is put in place of the real one when an interpreter starts.
        chosen["PYTHONPATH"] += os.pathsep + str(ROOT)
        outcome = run_tool.module("mlflow_migration", *command, env=chosen)
    else:
        outcome = run_tool(*command, env=chosen)
    assert outcome.expect(0).json["userName"] == name
    assert asked(workspace, "well-known/databricks-config") == 1


def test_both_ends_log_in_by_their_own_ways_in_one_process(databricks_account: AccountFactory) -> None:
    account = databricks_account()
    west, east = account.workspace("a"), account.workspace("b")
    client = account.add_service_principal("ci")
    left = connect("databricks", DATABRICKS_HOST=west.url, DATABRICKS_TOKEN=west.token())
    right = connect(
        "databricks-uc",
        DATABRICKS_HOST=east.url,
        DATABRICKS_CLIENT_ID=client.client_id,
        DATABRICKS_CLIENT_SECRET=client.client_secret,
    )
    assert left.rest.call("GET", ME)["userName"] == ADMIN
    assert right.rest.call("GET", ME)["userName"] == client.client_id
    assert (left.abilities.registry.dialect, right.abilities.registry.dialect) == ("workspace", "unity_catalog")


def test_a_named_profile_is_not_mixed_with_the_environment(
    databricks_account: AccountFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = databricks_account()
    west, east = account.workspace("a"), account.workspace("b")
    for name, value in {**account.environment(), "DATABRICKS_HOST": east.url, "DATABRICKS_TOKEN": "of-east"}.items():
        monkeypatch.setenv(name, value)
    server = connect("databricks://a")
    assert server.address == west.url
    assert east.requests == []


def test_a_way_to_log_in_for_one_role_sets_that_of_the_environment_aside(
    databricks_account: AccountFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = databricks_account()
    west = account.workspace("a")
    client = account.add_service_principal("ci")
    for name, value in {"DATABRICKS_HOST": west.url, "DATABRICKS_TOKEN": "not-the-one"}.items():
        monkeypatch.setenv(name, value)
    secrets = {"DATABRICKS_CLIENT_ID": client.client_id, "DATABRICKS_CLIENT_SECRET": client.client_secret}
    assert connect("databricks", **secrets).rest.call("GET", ME)["userName"] == client.client_id


def test_a_way_to_log_in_of_the_environment_counts_where_a_place_names_only_who(
    databricks_account: AccountFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    west = databricks_account().workspace("a")
    name, environment = KINDS["github-oidc"](west, tmp_path)
    variables = {**environment, "DATABRICKS_AUTH_TYPE": "github-oidc", "DATABRICKS_OIDC_TOKEN": "not-the-one"}
    client = variables.pop("DATABRICKS_CLIENT_ID")
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    server = connect("databricks", DATABRICKS_HOST=west.url, DATABRICKS_CLIENT_ID=client)
    assert server.rest.call("GET", ME)["userName"] == name


def test_a_secret_of_a_place_sets_the_environments_way_to_log_in_aside(
    databricks_account: AccountFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = databricks_account()
    west, client = account.workspace("a"), account.add_service_principal("ci")
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "github-oidc")
    secrets = {"DATABRICKS_CLIENT_ID": client.client_id, "DATABRICKS_CLIENT_SECRET": client.client_secret}
    server = connect("databricks", DATABRICKS_HOST=west.url, **secrets)
    assert server.rest.call("GET", ME)["userName"] == client.client_id


@pytest.mark.parametrize("home", ["DATABRICKS_HOST", "DATABRICKS_CONFIG_PROFILE"])
def test_what_the_environment_has_for_one_workspace_is_not_sent_to_another_that_is_named_nearer(
    databricks_account: AccountFactory, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    account = databricks_account()
    west, east = account.workspace("a"), account.workspace("b")
    variables = {**account.environment(), "DATABRICKS_TOKEN": west.token()}
    if home == "DATABRICKS_CONFIG_PROFILE":
        del variables["DATABRICKS_TOKEN"]
    for name, value in {**variables, home: west.url if home == "DATABRICKS_HOST" else "a"}.items():
        monkeypatch.setenv(name, value)
    east.requests.clear()
    with pytest.raises(UsageError, match="can't be logged in to"):
        connect("databricks", DATABRICKS_HOST=east.url, DATABRICKS_AUTH_TYPE="pat")
    assert asked(east, "/api/") == 0


def test_variables_of_a_role_and_places_of_the_configuration_name_workspaces(
    databricks_account: AccountFactory, run_tool: Tool, tmp_path: Path
) -> None:
    account = databricks_account()
    west, east = account.workspace("a"), account.workspace("b")
    config = tmp_path / "mlflow-migration.yml"
    config.write_text(f"places:\n  prod: {{uri: databricks, host: '{east.url}', token_env: EAST}}\n")
    env = {
        "MLFLOW_MIGRATION_SRC_DATABRICKS_HOST": west.url,
        "MLFLOW_MIGRATION_SRC_DATABRICKS_TOKEN": west.token(),
        "EAST": east.token(),
        "MLFLOW_MIGRATION_CONFIG": str(config),
    }
    command = (
        "copy-experiments",
        "--src-mlflow-uri",
        "databricks",
        "--dst-mlflow-uri",
        "@prod",
        "--experiments",
        "all",
    )
    run_tool(*command, env=env).expect(0)
    assert asked(west, "experiments/search") and asked(east, "experiments/search")


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_ends_in_the_middle_is_renewed_once_and_the_request_repeated(
    databricks_account: AccountFactory, status: int
) -> None:
    account = databricks_account()
    workspace = account.workspace("a")
    account.expired_status = status
    client = account.add_service_principal("ci")
    secrets = {"DATABRICKS_CLIENT_ID": client.client_id, "DATABRICKS_CLIENT_SECRET": client.client_secret}
    server = connect("databricks", DATABRICKS_HOST=workspace.url, **secrets)
    assert asked(workspace, "/oidc/v1/token") == 1
    account.expire_tokens()
    workspace.requests.clear()
    for _ in range(5):
        assert server.rest.call("GET", ME)["userName"] == client.client_id
    assert asked(workspace, "/oidc/v1/token") == 1
    assert asked(workspace, ME) == 6
    assert asked(workspace, "well-known/databricks-config") == 0


UNUSABLE: Mapping[str, tuple[Mapping[str, str], str, int]] = {
    "no host": ({}, "databricks", 2),
    "an unknown profile": ({}, "databricks://nobody", 2),
    "two ways to log in": (
        {"DATABRICKS_HOST": "{url}", "DATABRICKS_TOKEN": "dapi0", "DATABRICKS_CLIENT_ID": "x"}
        | {"DATABRICKS_CLIENT_SECRET": "dose0"},
        "databricks",
        2,
    ),
    "no way to log in": ({"DATABRICKS_HOST": "{url}"}, "databricks", 2),
    "a secret scope": ({}, "databricks://scope:prefix", 2),
    "nobody there": ({"DATABRICKS_HOST": "http://127.0.0.1:9", "DATABRICKS_TOKEN": "dapi0"}, "databricks", 3),
    "a wrong token": ({"DATABRICKS_HOST": "{url}", "DATABRICKS_TOKEN": "dapiwrong"}, "databricks", 3),
    "a wrong secret": (
        {"DATABRICKS_HOST": "{url}", "DATABRICKS_CLIENT_ID": "x", "DATABRICKS_CLIENT_SECRET": "dosewrong"},
        "databricks",
        3,
    ),
}


@pytest.mark.parametrize(
    "why", [pytest.param(why, marks=[pytest.mark.slow] if why == "nobody there" else []) for why in UNUSABLE]
)
def test_what_cannot_log_in_is_told_in_a_line_without_secrets(
    databricks_account: AccountFactory, run_here: Run, monkeypatch: pytest.MonkeyPatch, why: str, tmp_path: Path
) -> None:
    account = databricks_account()
    workspace = account.workspace("a")
    given, uri, code = UNUSABLE[why]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(account.config_file))
    for name, value in given.items():
        monkeypatch.setenv(name, value.format(url=workspace.url))
    outcome = run_here(
        "export-experiments", "--experiments", "all", "--output-dir", tmp_path / "b", "--tracking-uri", uri
    )
    shown = outcome.expect(code).stdout + outcome.stderr
    assert not any(secret in shown for secret in SECRETS), shown
    assert "Traceback" not in shown
    assert "error:" in shown.lower()


def test_the_registry_of_mlflows_own_variables_counts(
    databricks_account: AccountFactory, run_tool: Tool, tmp_path: Path
) -> None:
    account = databricks_account()
    account.workspace("a")
    env = {**account.environment(), "MLFLOW_TRACKING_URI": "databricks://a", "MLFLOW_REGISTRY_URI": "databricks-uc://b"}
    command = ("export-experiments", "--experiments", "all", "--output-dir", str(tmp_path / "b"))
    outcome = run_tool(*command, env=env).expect(2)
    assert "name two workspaces" in outcome.stderr
    run_tool(*command, env={**env, "MLFLOW_REGISTRY_URI": "databricks-uc"}).expect(0)


def test_a_databricks_workspace_has_no_workspaces_of_mlflows_in_it(
    databricks_account: AccountFactory, run_here: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    account = databricks_account()
    account.workspace("a")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(account.config_file))
    command = ("export-experiments", "--experiments", "all", "--output-dir", tmp_path / "b", "--tracking-uri")
    outcome = run_here(*command, "databricks://a", "--workspace", "team").expect(2)
    assert "has none in it" in outcome.stderr
    run_here("doctor", "databricks://a").expect(0)
