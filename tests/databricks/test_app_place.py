"""`databricks-app://` as a place: an MLflow server that runs as an App, whoever may log in to it and however it is."""

import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import yaml
from databricks.sdk.service.apps import App

from mlflow_migration import notebook
from mlflow_migration.apps.deploy import deploy
from mlflow_migration.errors import AccessError, ForbiddenError, MigrationError, UsageError
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.databricks.app import parsed
from mlflow_migration.server.live import Server as Live
from mlflow_migration.server.rest import Rest
from tests.apps.deploying import configured, trial
from tests.apps.test_deploy_runtime import REAL
from tests.conftest import Tool
from tests.databricks import profiles
from tests.databricks.app_proxy import NAME, oauth, proxied
from tests.databricks.app_samples import bearer, until
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.faults import Fault
from tests.databricks.notebook_cases import FOLDER
from tests.databricks.registry_samples import Made
from tests.databricks.run_notebook import run_notebook
from tests.databricks.state import Account, Workspace
from tests.rest import Api, Json
from tests.servers import Server

ADDRESS = f"databricks-app://{NAME}"
SECRETS = ("dapi", "dose", "eyJ")


def connect(uri: str, variables: Mapping[str, str]) -> Live:
    """A connected server, as one role's variables say."""
    server = Live(Rest(uri, Credentials(databricks=(variables,)), workers=2, patience=5))
    server.connect()
    return server


def refusal(uri: str, variables: Mapping[str, str]) -> AccessError:
    with pytest.raises(AccessError) as caught:
        connect(uri, variables)
    assert caught.value.exit_code == 3
    told = f"{caught.value} {caught.value.hint}"
    assert not [secret for secret in SECRETS if secret in told], told
    return caught.value


def experiments(api: Api) -> list[Json]:
    """The experiments of a server."""
    found: list[Json] = api.post("experiments/search", max_results=100)["experiments"]
    return found


@pytest.fixture
def app(workspace: Workspace, destination: Server) -> App:
    """An app in front of `destination`."""
    return proxied(workspace, destination)


@pytest.fixture
def login(account: Account, workspace: Workspace) -> dict[str, str]:
    return oauth(account, workspace)


@pytest.fixture
def driver(app: App, login: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on this process is a notebook's driver, of someone who may use the app."""
    for name, value in {**login, "MLFLOW_MIGRATION_STATE_DIR": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def in_app(run_tool: Tool, app: App, login: dict[str, str]) -> Tool:
    """The tool of whoever may use the app."""
    assert app.url
    return Tool(run_tool.home, {**run_tool.env, **login})


def test_an_address_names_an_app_and_maybe_a_profile() -> None:
    assert (parsed("databricks-app://mlflow").name, parsed("databricks-app://mlflow").profile) == ("mlflow", "")
    there = parsed("databricks-app://PROD/mlflow/")
    assert (there.name, there.workspace, there.uri) == ("mlflow", "databricks://PROD", "databricks-app://PROD/mlflow")
    for wrong in ("databricks-app://", "databricks-app://A/b/c", "databricks-app://MLflow", "databricks-app:///x"):
        with pytest.raises(UsageError, match="not an app's address"):
            parsed(wrong)


def test_an_app_is_a_plain_server_known_by_its_url(app: App, login: dict[str, str]) -> None:
    live = connect(ADDRESS, login)
    assert live.address == app.url
    assert live.rest.typed == ADDRESS
    assert live.rest.dialect == ""
    assert live.abilities.registry.dialect == "mlflow"
    live.close()


def test_what_a_bundle_holds_arrives_in_an_app_and_verifies_there_and_a_second_time_nothing_is_written(
    source: Server, destination: Server, in_app: Tool, tmp_path: Path
) -> None:
    in_app("export-all", "--tracking-uri", source.url, "--output-dir", tmp_path / "b").expect(0)
    into = ("import-all", "--input-dir", tmp_path / "b", "--tracking-uri", ADDRESS, "--json")
    first = in_app(*into).expect(0)
    in_app("verify", tmp_path / "b", ADDRESS, "--json").expect(0)
    here, there = ({each["name"] for each in experiments(Api(one.url))} for one in (source, destination))
    assert here == there
    again = in_app(*into).expect(0).json
    assert not [kind for kind, counts in again["kinds"].items() if counts.get("done")], again["kinds"]
    assert not [secret for secret in SECRETS if secret in first.stdout + first.stderr]


def test_a_copy_goes_on_when_its_token_ends_in_the_middle(
    in_app: Tool, account: Account, source: Server, destination: Server
) -> None:
    begun = {each["name"] for each in experiments(Api(source.url))}
    over: list[bool] = []

    def expire() -> None:
        there = Api(destination.url)
        until(lambda: len(experiments(there)), lambda count: count > 1)
        account.expire_tokens()
        over.append(True)

    ends = ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", ADDRESS)
    thread = threading.Thread(target=expire)
    thread.start()
    in_app("copy-experiments", "--experiments", "all", *ends).expect(0)
    thread.join()
    assert over and len(begun) > 1
    in_app("verify", source.url, ADDRESS, "--experiments", "all").expect(0)


def test_a_personal_token_is_refused_before_anything_is_sent(app: App, workspace: Workspace) -> None:
    workspace.requests.clear()
    told = refusal(ADDRESS, {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()})
    assert f"databricks auth login --host {workspace.url}" in told.hint
    assert "OAuth" in told.what
    assert not [path for _, path, _ in workspace.requests if "/api/" in path]


def test_an_oauth_token_that_stands_where_personal_ones_do_opens_an_app(app: App, workspace: Workspace) -> None:
    token = bearer(workspace)["Authorization"].partition(" ")[2]
    connect(ADDRESS, {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": token}).close()


def test_a_profile_of_the_machine_opens_an_app(app: App, login: dict[str, str], tmp_path: Path) -> None:
    section = {
        "host": login["DATABRICKS_HOST"],
        "client_id": login["DATABRICKS_CLIENT_ID"],
        "client_secret": login["DATABRICKS_CLIENT_SECRET"],
    }
    file = profiles.write_sections(tmp_path / "profiles", {"PROD": section})
    live = connect(f"databricks-app://PROD/{NAME}", {"DATABRICKS_CONFIG_FILE": str(file)})
    assert live.address == app.url
    live.close()


def test_an_app_that_is_not_there_is_told_with_its_workspace(workspace: Workspace, login: dict[str, str]) -> None:
    told = refusal("databricks-app://elsewhere", login)
    assert told.what == f"there is no app elsewhere at {workspace.url}"
    assert "app create --name elsewhere" in told.hint


def test_an_app_that_does_not_run_is_told_with_the_command_to_type(
    app: App, workspace: Workspace, login: dict[str, str]
) -> None:
    held = apps(workspace).held[NAME]
    held.status = ("CRASHED", "app crashed unexpectedly")
    crashed = refusal(ADDRESS, login)
    assert "CRASHED" in crashed.what and "app crashed" in crashed.why
    assert crashed.hint == f"mlflow-migration app logs --name {NAME}"
    held.status = ("DEPLOYING", "")
    assert refusal(ADDRESS, login).hint == f"mlflow-migration app status --name {NAME}"
    sdk(workspace).apps.stop_and_wait(NAME)
    stopped = refusal(ADDRESS, login)
    assert "STOPPED" in stopped.what
    assert stopped.hint == f"mlflow-migration app start --name {NAME}"


def test_an_app_without_a_deployment_is_to_be_deployed(workspace: Workspace, login: dict[str, str]) -> None:
    sdk(workspace).apps.create_and_wait(App(name=NAME))
    assert refusal(ADDRESS, login).hint == f"mlflow-migration app deploy --name {NAME}"


@pytest.mark.slow
def test_whoever_may_not_use_an_app_is_refused(app: App, account: Account, workspace: Workspace) -> None:
    with pytest.raises(ForbiddenError, match="does not have CAN_USE") as caught:
        connect(ADDRESS, oauth(account, workspace, "users"))
    assert caught.value.exit_code == 3


@pytest.mark.slow
@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "", "http://a:b@127.0.0.1:1", "http://127.0.0.1:1/path"])
def test_no_token_goes_to_an_address_that_cannot_be_an_app(
    app: App, workspace: Workspace, login: dict[str, str], url: str
) -> None:
    apps(workspace).held[NAME].url = url
    assert "no address that a token may be sent to" in refusal(ADDRESS, login).what


@pytest.mark.slow
@pytest.mark.parametrize("status", [302, 307])
def test_a_login_page_is_told_as_refused_credentials_and_is_not_followed(
    app: App, workspace: Workspace, login: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fault, "headers", property(lambda _: {"Location": f"{workspace.url}/login.html"}))
    workspace.faults.add(Fault(f"app://{NAME}/", status, times=0))
    workspace.requests.clear()
    told = refusal(ADDRESS, login)
    assert "refuses these credentials" in told.what and "log in" in told.why
    assert not [path for _, path, _ in workspace.requests if "login.html" in path]


@pytest.mark.slow
def test_a_login_page_shown_once_is_an_ended_token(app: App, workspace: Workspace, login: dict[str, str]) -> None:
    workspace.faults.add(Fault(f"app://{NAME}/", 401, times=1))
    connect(ADDRESS, login).close()


@pytest.mark.slow
def test_azures_further_tokens_stay_with_the_workspace(app: App, login: dict[str, str]) -> None:
    with closing(Rest(ADDRESS, Credentials(databricks=(login,)), 1, 5)) as rest:
        sent = rest._endpoint.headers()
    assert {name for name in sent if name.lower().startswith("x-databricks")} == set()


@pytest.mark.slow
def test_commands_that_take_addresses_take_an_apps(
    app: App, login: dict[str, str], run_tool: Tool, destination: Server
) -> None:
    Api(destination.url).post("experiments/create", name="churn")
    Api(destination.url).post("registered-models/create", name="m")
    row = run_tool("doctor", ADDRESS, "--json", env=login).expect(0).json["places"][0]
    assert (row["place"], row["experiments"], row["may_write"]) == (app.url, 2, True)
    listed = run_tool("list-registered-models", "--tracking-uri", ADDRESS, "--json", env=login).expect(0)
    assert "m" in listed.stdout
    shown = run_tool(
        "http-client", "--resource", "experiments/get", "--params", '{"experiment_id": "0"}', "--tracking-uri", ADDRESS,
        env=login,
    ).expect(0)  # fmt: skip
    assert shown.json["experiment"]["experiment_id"] == "0"
    run_tool("inventory", "--tracking-uri", ADDRESS, "--json", env=login).expect(0)
    refused = run_tool("check-access", ADDRESS, "--catalog", "main", env=login).expect(2)
    assert "not a Databricks workspace" in refused.stderr


@pytest.mark.slow
def test_a_place_of_the_configuration_may_be_an_app(
    app: App, login: dict[str, str], run_tool: Tool, tmp_path: Path
) -> None:
    config = tmp_path / "mlflow-migration.yml"
    config.write_text(
        f"places:\n  prod: {{uri: '{ADDRESS}', host: '{login['DATABRICKS_HOST']}', "
        f"client_id: {login['DATABRICKS_CLIENT_ID']}, client_secret_env: MINE}}\n"
    )
    env = {"MINE": login["DATABRICKS_CLIENT_SECRET"], "DATABRICKS_CONFIG_FILE": login["DATABRICKS_CONFIG_FILE"]}
    run_tool("doctor", "@prod", "--config", config, env=env).expect(0)


@pytest.mark.slow
def test_a_model_is_promoted_into_an_app(
    in_app: Tool, churn: Made, empty_source: Server, destination: Server, tmp_path: Path
) -> None:
    content = {
        "version": 1,
        "environments": {"dev": {"server": empty_source.url}, "prod": {"server": ADDRESS}},
        "path": ["dev", "prod"],
        "rules": [{"models": "churn", "gates": [{"gate": "run_finished"}, {"gate": "signature"}]}],
    }
    policy = tmp_path / "promotion.yml"
    policy.write_text(yaml.safe_dump(content))
    in_app("promote", "run", "churn/1", "--to", "prod", "--policy", policy).expect(0)
    head = Api(destination.url).get("registered-models/get", name="churn")["registered_model"]
    assert {each["alias"]: each["version"] for each in head["aliases"]} == {"champion": "1"}


@pytest.mark.slow
@pytest.mark.usefixtures("driver")
def test_a_notebook_works_with_an_app(destination: Server, tmp_path: Path) -> None:
    Api(destination.url).post("experiments/create", name="churn")
    shown: list[object] = []
    notebook.run(
        "export-experiment",
        {"experiment": "churn", "output-dir": str(tmp_path / "out"), "tracking-uri": ADDRESS},
        shown.append,
    )
    assert (tmp_path / "out" / "manifest.json").exists()
    assert not [secret for secret in SECRETS if secret in str(shown)]


@pytest.mark.slow
def test_one_experiment_of_a_bundle_arrives_in_an_app_under_another_name_once(
    churn: Made, empty_source: Server, destination: Server, in_app: Tool, tmp_path: Path
) -> None:
    words = ("--experiment", "churn", "--output-dir", tmp_path / "one", "--tracking-uri", empty_source.url)
    in_app("export-experiment", *words).expect(0)
    into = ("--input-dir", tmp_path / "one", "--experiment-name", "moved", "--tracking-uri", ADDRESS)
    in_app("import-experiment", *into).expect(0)
    api = Api(destination.url)
    ids = [each["experiment_id"] for each in experiments(api) if each["name"] == "moved"]
    held = api.post("runs/search", experiment_ids=ids, max_results=100)["runs"]
    assert {each["info"]["run_name"] for each in held} == {f"run {number}" for number in churn.runs}
    again = in_app("import-experiment", *into, "--json").expect(0).json
    assert not [kind for kind, counts in again["kinds"].items() if counts.get("done")], again["kinds"]


@pytest.mark.slow
def test_a_whole_server_is_copied_into_an_app_and_a_second_time_nothing_is_written(
    churn: Made, empty_source: Server, destination: Server, in_app: Tool
) -> None:
    ends = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", ADDRESS)
    in_app("copy-all", *ends).expect(0)
    in_app("verify", empty_source.url, ADDRESS).expect(0)
    head = Api(destination.url).get("registered-models/get", name="churn")["registered_model"]
    assert {each["alias"]: each["version"] for each in head["aliases"]} == {"best": "2"}
    again = in_app("copy-all", *ends, "--json").expect(0).json
    assert not [kind for kind, counts in again["kinds"].items() if counts.get("done")], again["kinds"]


@pytest.mark.slow
@pytest.mark.usefixtures("driver", "churn")
def test_a_notebooks_widget_takes_an_apps_address(empty_source: Server, destination: Server) -> None:
    ends = {"src-mlflow-uri": empty_source.url, "dst-mlflow-uri": ADDRESS}
    copied = run_notebook(FOLDER / "copy/Copy_All.py", ends)
    assert copied.error is None, copied.trace
    assert {each["name"] for each in experiments(Api(destination.url))} == {"Default", "churn"}
    verified = run_notebook(FOLDER / "tools/Verify.py", {"places": f"{empty_source.url} {ADDRESS}"})
    assert verified.error is None, verified.trace
    assert not [secret for secret in SECRETS if secret in str((copied, verified))]


@pytest.mark.slow
def test_an_app_that_does_not_tell_its_backend_at_once_is_asked_again_and_never_taken_for_another(
    workspace: Workspace, destination: Server, login: dict[str, str]
) -> None:
    proxied(workspace, destination, '{"backend": "databricks"}')
    workspace.faults.add(Fault(f"app://{NAME}/mlflow-app"))
    live = connect(ADDRESS, login)
    assert (live.address, live.abilities.registry.dialect) == (workspace.url, "unity_catalog")
    live.close()


@pytest.mark.slow
def test_an_app_that_fails_to_tell_its_backend_is_not_written_to(
    workspace: Workspace, destination: Server, login: dict[str, str]
) -> None:
    proxied(workspace, destination, '{"backend": "databricks"}')
    workspace.faults.add(Fault(f"app://{NAME}/mlflow-app", 500, times=0))
    with pytest.raises(MigrationError):
        connect(ADDRESS, login)


@pytest.mark.slow
def test_an_app_before_its_workspace_takes_experiments_and_models_as_the_workspace_does(
    account: Account, workspace: Workspace, churn: Made, empty_source: Server, run_tool: Tool
) -> None:
    config = configured(backend="databricks", volume=None, experiment_prefix="/Shared/mlflow")
    made = trial(workspace)
    options = replace(made.options(), making=REAL, seconds=180.0, first=0.5)
    assert deploy(made.place(), config, options).failure is None
    tool = Tool(run_tool.home, {**run_tool.env, **oauth(account, workspace)})
    address = f"databricks-app://{config.name}"
    row = tool("doctor", address, "--json").expect(0).json["places"][0]
    assert (row["place"], row["registry"]) == (workspace.url, "Unity Catalog")
    looked = tool("app", "status", "--name", config.name, "--json").expect(0).json
    assert (looked["runtime"]["backend"], looked["runtime"]["state"]) == ("databricks", "serving")
    tool("app", "test", "--name", config.name, "--write").expect(0)
    ends = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", address)
    renamed = ("--rename", "model:churn=main.ml.churn")
    tool(
        "copy-all", *ends, *renamed, "--stages-to-aliases", "Production=live,Staging=next", "--allow-loss", "all"
    ).expect(0)
    search = f"{workspace.url}/api/2.0/mlflow/experiments/search"
    found = requests.post(search, json={"max_results": 100}, headers=workspace.headers(), timeout=30).json()
    names = {each["name"] for each in found["experiments"]}
    assert names and all(name.startswith("/Shared/mlflow/") for name in names)
    tool("verify", empty_source.url, address, "--experiments", "all", *renamed).expect(0)
    versions = requests.get(
        f"{workspace.url}/api/2.1/unity-catalog/models/main.ml.churn/versions", headers=workspace.headers(), timeout=30
    ).json()
    assert versions["model_versions"]
    again = tool("copy-all", *ends, *renamed, "--allow-loss", "all", "--json").expect(0).json
    assert not [kind for kind, counts in again["kinds"].items() if counts.get("done")], again["kinds"]
