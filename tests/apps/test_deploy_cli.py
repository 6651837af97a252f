"""The commands that make, change and delete apps, and the functions of the same names."""

import base64
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.sdk import WorkspaceClient

from mlflow_migration import apps as functions
from mlflow_migration.apps import deploy as deploying
from mlflow_migration.apps.channel import version
from mlflow_migration.apps.functions import configured
from mlflow_migration.errors import MigrationError, UsageError
from tests.apps.deploying import NAME, VOLUME, Trial, own_wheel, trial
from tests.conftest import Tool
from tests.databricks.app_samples import until
from tests.databricks.app_state import apps
from tests.databricks.fixtures import AccountFactory
from tests.faults import start


@pytest.fixture
def made(databricks_account: AccountFactory) -> Trial:
    return trial(databricks_account().workspace("a", metastore="m1"))


@pytest.fixture
def environment(made: Trial) -> Mapping[str, str]:
    """A service principal's login, as a CI has it."""
    return {
        "DATABRICKS_HOST": made.workspace.url,
        "DATABRICKS_CLIENT_ID": made.client.client_id,
        "DATABRICKS_CLIENT_SECRET": made.client.client_secret,
        "DATABRICKS_CONFIG_FILE": "/dev/null",
    }


@pytest.fixture
def tool(run_tool: Tool, environment: Mapping[str, str]) -> Tool:
    return Tool(run_tool.home, {**run_tool.env, **environment})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose package is a wheel, so that no index is asked."""
    told = {"name": NAME, "volume": VOLUME, "mlflow": "3.17.2", "package": {"wheel": str(own_wheel(tmp_path))}}
    file = tmp_path / "mlflow-app.yml"
    file.write_text(yaml.safe_dump(told))
    return file


def test_a_dry_run_tells_every_step_as_json_and_writes_nothing(made: Trial, tool: Tool, config: Path) -> None:
    outcome = tool("app", "create", "--config", config, "--dry-run", "--json").expect(0)
    document = outcome.json
    assert document["status"] == "would" and document["ok"] is True and document["error"] is None
    assert {row["step"] for row in document["rows"] if row["state"] == "would"} >= {"app", "upload", "deployment"}
    assert made.writes() == []


def test_a_first_deployment_that_fails_ends_with_1_and_delete_takes_away_what_was_made(
    made: Trial, tool: Tool, config: Path
) -> None:
    apps(made.workspace).order("FAILED", "quota exceeded")
    outcome = tool("app", "create", "--config", config, "--poll", "0.1").expect(1)
    assert "quota exceeded" in outcome.stderr and "Traceback" not in outcome.stderr
    assert f"mlflow-migration app logs --name {NAME}" in outcome.stderr
    assert f"app delete --name {NAME}" in outcome.stderr
    assert made.app()["name"] == NAME
    requirements = made.ask("workspace/export", path=f"{made.source}/requirements.txt", direct_download="true").text
    assert f"./mlflow_migration-{version()}-py3-none-any.whl" in requirements and "mlflow==3.17.2" in requirements
    tool("app", "delete", "--name", NAME).expect(2)
    assert made.app()["name"] == NAME
    tool("app", "delete", "--name", NAME, "--yes", "--poll", "0.1").expect(0)
    assert made.app() == {}
    again = tool("app", "delete", "--name", NAME, "--yes", "--json").expect(0)
    assert again.json["status"] == "same"


@pytest.mark.slow
def test_an_app_of_the_real_files_is_made_found_as_it_is_stopped_started_and_deleted(
    made: Trial, tool: Tool, config: Path
) -> None:
    first = tool("app", "create", "--config", config, "--json", timeout=280).expect(0)
    assert first.json["status"] == "created" and first.json["url"] == made.app()["url"]
    health = next(row for row in first.json["rows"] if row["step"] == "health")
    assert health["state"] == "same"
    made.workspace.requests.clear()
    assert tool("app", "deploy", "--config", config, "--json", timeout=280).expect(0).json["status"] == "same"
    # The app itself writes its snapshots.
    assert [path for _, path in made.writes() if not path.startswith("/api/2.0/fs/")] == []
    tool("app", "stop", "--name", NAME).expect(0)
    tool("app", "start", "--name", NAME, timeout=280).expect(0)
    tool("app", "delete", "--config", config, "--delete-data", "--yes", timeout=280).expect(0)
    assert made.app() == {} and made.ask(f"fs/directories{VOLUME}").json().get("contents", []) == []


def test_what_is_wrong_is_one_document_with_its_exit_code(tool: Tool, config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("main/ml/apps", "main/ml/nowhere"))
    document = tool("app", "create", "--config", config, "--json").expect(2).json
    assert "main.ml.nowhere" in document["error"]["message"]
    tool("app", "create", "--config", tmp_path / "no.yml").expect(2)
    tool("app", "start", "--name", "nothing").expect(1)
    tool("app", "delete", "--name", NAME, "--delete-data", "--yes").expect(2)
    tool("app", "update", "--config", config, "--reset-database").expect(2)


def test_credentials_that_are_refused_end_it_with_3(tool: Tool, config: Path) -> None:
    outcome = tool("app", "create", "--config", config, env={"DATABRICKS_CLIENT_SECRET": "wrong"}).expect(3)
    assert "wrong" not in outcome.stderr


def test_another_place_than_a_workspace_is_refused(tool: Tool, config: Path) -> None:
    outcome = tool("app", "create", "--config", config, "--workspace", "http://localhost:5000").expect(2)
    assert "databricks://PROFILE" in outcome.stderr


@pytest.mark.slow
def test_ctrl_c_says_what_goes_on_at_the_platform_and_ends_with_130(made: Trial, tool: Tool, config: Path) -> None:
    apps(made.workspace).order("FAILED", wait=30)
    # Whoever runs the tests in the background has SIGINT ignored, and what they start inherits that.
    running = start(tool, "app", "create", "--config", config, under=("env", "--default-signal=INT"))
    until(lambda: made.app().get("pending_deployment"), bool)
    running.signal(signal.SIGINT)
    outcome = running.end(30).expect(130)
    assert "the platform goes on with the deployment" in outcome.stderr
    assert f"app status --name {NAME}" in outcome.stderr
    assert made.app().get("pending_deployment")


@pytest.mark.slow
def test_nothing_secret_is_told_by_the_command(made: Trial, tool: Tool, config: Path) -> None:
    apps(made.workspace).order("FAILED")
    outcome = tool("app", "deploy", "--config", config, "--json", "-v", "--poll", "0.1").expect(1)
    answer = made.ask("secrets/get", scope=f"mlflow-app-{NAME}", key="kek-passphrase").json()
    assert answer["value"]
    passphrase = base64.b64decode(answer["value"]).decode()
    assert passphrase not in outcome.stdout + outcome.stderr
    assert made.client.client_secret not in outcome.stdout + outcome.stderr
    assert json.loads(outcome.stdout)["status"] == "failed"


@pytest.mark.slow
def test_the_functions_do_what_the_commands_do(
    made: Trial, environment: Mapping[str, str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    would = functions.create(config, dry_run=True)
    assert would["status"] == "would" and would["app_name"] == NAME
    apps(made.workspace).order("FAILED", "quota exceeded")
    with pytest.raises(MigrationError, match="quota exceeded"):
        functions.create(config)
    assert functions.delete(app_name=NAME) == {"app_name": NAME, "status": "deleted", "database_reset": False}
    assert functions.delete(app_name=NAME)["status"] == "same"


def passphrase_of(made: Trial) -> str:
    """The secret as the workspace has it, "" for none."""
    answer = made.ask("secrets/get", scope=f"mlflow-app-{NAME}", key="kek-passphrase")
    return base64.b64decode(answer.json()["value"]).decode() if answer.ok else ""


@pytest.mark.slow
def test_a_passphrase_that_exists_becomes_the_secret_and_is_never_replaced(
    made: Trial, tool: Tool, config: Path
) -> None:
    given = {"MLFLOW_MIGRATION_APP_ENCRYPTION_KEY": "the one from before"}
    apps(made.workspace).order("FAILED")
    first = tool("app", "create", "--config", config, "-vv", "--poll", "0.1", env=given).expect(1)
    assert passphrase_of(made) == "the one from before"
    assert "the one from before" not in first.stdout + first.stderr
    made.workspace.requests.clear()
    other = {"MLFLOW_MIGRATION_APP_ENCRYPTION_KEY": "another one"}
    refused = tool("app", "create", "--config", config, "--json", env=other).expect(2)
    assert f"mlflow-app-{NAME}/kek-passphrase holds another one" in refused.json["error"]["message"]
    assert "another one" not in refused.json["error"]["message"].replace("holds another one", "")
    assert made.writes() == [] and passphrase_of(made) == "the one from before"
    tool("app", "create", "--config", config, "--dry-run", env=given).expect(0)


@pytest.mark.slow
def test_the_functions_take_a_client_and_a_passphrase(
    made: Trial, environment: Mapping[str, str], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/dev/null")
    client = WorkspaceClient(
        host=made.workspace.url, client_id=made.client.client_id, client_secret=made.client.client_secret
    )
    # Of somebody else: the client alone says who logs in.
    monkeypatch.setenv("DATABRICKS_HOST", "https://nowhere.invalid")
    monkeypatch.setenv("DATABRICKS_TOKEN", "wrong")
    apps(made.workspace).order("FAILED", "quota exceeded")
    with pytest.raises(MigrationError, match="quota exceeded"):
        functions.create(config, client=client, encryption_key="the one from before")
    assert made.app()["creator"] == made.client.client_id
    assert passphrase_of(made) == "the one from before"
    with pytest.raises(UsageError, match="holds another one"):
        functions.create(config, client=client, encryption_key="x")
    with pytest.raises(UsageError, match="client or profile"):
        functions.create(config, client=client, profile="PROD")
    known = "the one from before"
    assert known not in repr(deploying.Options(passphrase=known))


@pytest.mark.slow
def test_a_misspelt_argument_is_refused_and_none_is_as_good_as_nothing(config: Path) -> None:
    misspelt: Any = {"encrypton_key": "x"}
    for function in (functions.create, functions.update, functions.delete):
        with pytest.raises(TypeError, match="unexpected keyword argument 'encrypton_key'"):
            function(config, **misspelt)
    nothing: Any = {"tell": None, "profile": None, "lakebase_compute": None}
    with pytest.raises(UsageError, match="given twice: volume"):
        functions.create(config, volume="/Volumes/main/ml/other", **nothing)


@pytest.mark.slow
def test_a_database_that_is_named_beside_a_file_needs_no_second_word_for_its_backend(tmp_path: Path) -> None:
    file = tmp_path / "mlflow-app.yml"
    file.write_text(f"name: {NAME}\nbackend: lakebase\nvolume: {VOLUME}\n")
    found = configured(file, {"lakebase_name": "db", "schema_name": "s"})
    assert (found.backend, found.lakebase_or_default.project) == ("lakebase", "db")
    assert configured(None, {"app_name": NAME, "volume": VOLUME, "lakebase_name": "db"}).backend == "lakebase"


@pytest.mark.slow
def test_what_stands_in_the_file_is_not_taken_as_an_argument_too(config: Path) -> None:
    with pytest.raises(UsageError, match="given twice: volume"):
        functions.create(config, volume="/Volumes/main/ml/other")
    with pytest.raises(UsageError, match="delete_data needs the configuration"):
        functions.delete(app_name=NAME, delete_data=True)
    with pytest.raises(UsageError, match="lakebase_compute"):
        functions.create(app_name="x", lakebase_compute="CU_3")
