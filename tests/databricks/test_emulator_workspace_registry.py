"""The workspace's own registry in the emulator, by the real MLflow client with `databricks`, and its permissions."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service.ml import (
    RegisteredModelAccessControlRequest,
    RegisteredModelPermissionLevel,
)

from tests.databricks import catalogue, workspace_models
from tests.databricks.clients import LOG, environment, mlflow_script, sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow

ANN = "ann@example.com"
WAIT_SECONDS = 20


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    account = databricks_account()
    account.add_user(ANN)
    account.add_group("scientists", ANN)
    return account.workspace("a", metastore="m1")


def ask(workspace: Workspace, verb: str, path: str, **fields: object) -> requests.Response:
    """One request of the registry; a GET's fields go into the query."""
    headers = dict(workspace.headers(str(fields.pop("principal", ADMIN))))
    url = f"{workspace.url}/api/2.0/mlflow/{path}"
    if verb == "GET":
        return requests.get(url, params={key: str(value) for key, value in fields.items()}, headers=headers, timeout=20)
    return requests.request(verb, url, json=fields, headers=headers, timeout=20)


def file(workspace: Workspace, path: str) -> str:
    """A file in the workspace's DBFS; returns its folder's address."""
    disk = workspace.folder / path
    disk.parent.mkdir(parents=True, exist_ok=True)
    disk.write_text("flavors: {}\n")
    return f"dbfs:/{Path(path).parent}"


def settled(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A version once it isn't pending any more."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (version := read())["status"] == "PENDING_REGISTRATION" and time.monotonic() < deadline:
        time.sleep(0.05)
    return version


def test_a_logged_model_is_registered_copied_staged_and_loaded_by_stage(workspace: Workspace) -> None:
    result = mlflow_script(
        f"""{LOG}
made = mlflow.register_model(logged.model_uri, "churn", tags={{"a.b": "1"}})
client.transition_model_version_stage("churn", made.version, "Production")
loaded = mlflow.pyfunc.load_model("models:/churn/Production")
version = client.get_model_version("churn", made.version)
result = {{
    "status": version.status,
    "stage": version.current_stage,
    "tags": version.tags,
    "run": version.run_id == run.info.run_id,
    "uri": client.get_model_version_download_uri("churn", made.version),
    "predicted": list(loaded.predict(frame)),
    "latest": [one.version for one in client.get_latest_versions("churn", ["Production"])],
    "alias": refusal(client.set_registered_model_alias, "churn", "champion", made.version),
    "found": [one.name for one in client.search_registered_models()],
    "user": version.user_id,
}}
""",
        environment(workspace, registry="databricks"),
    )
    alias, uri = result.pop("alias"), result.pop("uri")
    assert "unsupported for models in the Workspace Model Registry" in alias
    assert uri.startswith("dbfs:/databricks/mlflow-registry/")
    assert result == {
        "status": "READY",
        "stage": "Production",
        "tags": {"a.b": "1"},
        "run": True,
        "predicted": [2.0, 3.0],
        "latest": ["1"],
        "found": ["churn"],
        "user": ADMIN,
    }
    assert (workspace.folder / uri.removeprefix("dbfs:/") / "MLmodel").is_file()


def test_a_model_moves_from_the_workspace_to_unity_catalog(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    result = mlflow_script(
        f"""{LOG}
mlflow.register_model(logged.model_uri, "churn")
copied = client.copy_model_version("models:/churn/1", "main.ml.churn")
mlflow.set_registry_uri("databricks-uc")
loaded = mlflow.pyfunc.load_model("models:/main.ml.churn/1")
result = [copied.source, list(loaded.predict(frame)), copied.run_id == run.info.run_id]
""",
        environment(workspace, registry="databricks"),
    )
    assert result == ["models:/churn/1", [2.0, 3.0], True]


def test_a_version_is_pending_until_its_files_are_copied(workspace: Workspace) -> None:
    workspace_models.registry(workspace).copy_seconds = 1
    source = file(workspace, "elsewhere/model/MLmodel")
    ask(workspace, "POST", "registered-models/create", name="churn")
    made = ask(workspace, "POST", "model-versions/create", name="churn", source=source).json()["model_version"]
    assert made["status"] == "PENDING_REGISTRATION"
    read = {"name": "churn", "version": "1"}
    assert ask(workspace, "GET", "model-versions/get-download-uri", **read).status_code == 400
    ready = settled(lambda: ask(workspace, "GET", "model-versions/get", **read).json()["model_version"])
    assert (ready["status"], ready["source"]) == ("READY", source)
    files = ask(workspace, "GET", "model-versions/list-artifacts", **read).json()["files"]
    assert files == [{"path": "MLmodel", "is_dir": False, "file_size": 12}]
    signed = ask(workspace, "GET", "model-versions/get-signed-download-uri?path=MLmodel", **read).json()
    headers = {header["name"]: header["value"] for header in signed["headers"]}
    assert requests.get(signed["signed_uri"], headers=headers, timeout=10).text == "flavors: {}\n"


def test_a_version_whose_source_is_not_there_fails(workspace: Workspace) -> None:
    ask(workspace, "POST", "registered-models/create", name="churn")
    ask(workspace, "POST", "model-versions/create", name="churn", source="dbfs:/nothing/here")
    read = {"name": "churn", "version": "1"}
    version = settled(lambda: ask(workspace, "GET", "model-versions/get", **read).json()["model_version"])
    assert version["status"] == "FAILED_REGISTRATION"
    assert "No files at dbfs:/nothing/here" in version["status_message"]


def test_there_are_no_aliases_and_no_search_of_versions_without_a_filter(workspace: Workspace) -> None:
    ask(workspace, "POST", "registered-models/create", name="churn")
    alias = ask(workspace, "POST", "registered-models/alias", name="churn", alias="a", version="1")
    assert (alias.status_code, alias.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    search = ask(workspace, "GET", "model-versions/search")
    assert (search.status_code, search.json()["message"][:14]) == (400, "Missing filter")


def test_a_version_in_production_is_not_deleted(workspace: Workspace) -> None:
    source = file(workspace, "elsewhere/model/MLmodel")
    ask(workspace, "POST", "registered-models/create", name="churn")
    ask(workspace, "POST", "model-versions/create", name="churn", source=source)
    stage = {"name": "churn", "version": "1", "archive_existing_versions": False}
    assert ask(workspace, "POST", "model-versions/transition-stage", stage="Production", **stage).ok
    assert ask(workspace, "DELETE", "model-versions/delete", name="churn", version="1").status_code == 400
    assert ask(workspace, "DELETE", "registered-models/delete", name="churn").status_code == 400
    assert ask(workspace, "POST", "model-versions/transition-stage", stage="Archived", **stage).ok
    assert ask(workspace, "DELETE", "registered-models/delete", name="churn").ok


def test_permissions_go_by_the_internal_id_and_really_refuse(workspace: Workspace) -> None:
    ask(workspace, "POST", "registered-models/create", name="churn")
    assert ask(workspace, "GET", "registered-models/get", name="churn", principal=ANN).status_code == 403
    assert ask(workspace, "GET", "registered-models/search", principal=ANN).json().get("registered_models", []) == []
    client = sdk(workspace)
    model = client.model_registry.get_model("churn").registered_model_databricks
    assert model and model.id and len(model.id) == 32
    wanted = RegisteredModelAccessControlRequest(
        group_name="scientists", permission_level=RegisteredModelPermissionLevel.CAN_READ
    )
    client.model_registry.update_permissions(model.id, access_control_list=[wanted])
    assert ask(workspace, "GET", "registered-models/get", name="churn", principal=ANN).ok
    tag = {"name": "churn", "key": "k", "value": "v", "principal": ANN}
    assert ask(workspace, "POST", "registered-models/set-tag", **tag).status_code == 403
    with pytest.raises(PermissionDenied):
        sdk(workspace, ANN).model_registry.update_permissions(model.id, access_control_list=[wanted])
    unknown = RegisteredModelAccessControlRequest(
        user_name="x@example.com", permission_level=RegisteredModelPermissionLevel.CAN_READ
    )
    with pytest.raises(NotFound, match=r"Principal: UserName\(x@example.com\) does not exist"):
        client.model_registry.update_permissions(model.id, access_control_list=[unknown])
    shown = client.model_registry.get_permissions(model.id).as_dict()
    assert shown["object_id"] == f"/registered-models/{model.id}"
    names = [entry.get("user_name") or entry.get("group_name") for entry in shown["access_control_list"]]
    assert names == [ADMIN, "scientists", "admins"]
    with pytest.raises(InvalidParameterValue):
        client.permissions.update("nonsense", model.id)
