"""The registry in Unity Catalog in the emulator, by the real MLflow client with `databricks-uc`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from databricks.sdk.errors import BadRequest, NotFound
from databricks.sdk.service.catalog import ModelVersionInfoStatus

from tests.databricks import catalogue, models
from tests.databricks.clients import LOG, SAVE, environment, mlflow_script, sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow

ANN = "ann@example.com"


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    account = databricks_account()
    account.add_user(ANN)
    workspace = account.workspace("a", metastore="m1")
    catalogue.make(workspace.metastore, "dev.ml", "prod.ml")
    return workspace


def registered(workspace: Workspace, *names: str) -> None:
    """Models with one READY version each, made by plain requests."""
    for name in names:
        assert ask(workspace, "POST", "registered-models/create", name=name).ok
        made = ask(workspace, "POST", "model-versions/create", name=name, source="runs:/1/model").json()[
            "model_version"
        ]
        version = made["version"]
        upload = put(workspace, f"/Models/{name.replace('.', '/')}/{version}/MLmodel")
        assert upload.ok
        assert ask(workspace, "POST", "model-versions/finalize", name=name, version=version).ok


def put(workspace: Workspace, path: str, principal: str = ADMIN) -> requests.Response:
    headers = dict(workspace.headers(principal))
    url = f"{workspace.url}/api/2.0/fs/files{path}?overwrite=true"
    return requests.put(url, data=b"flavors: {}\n", headers=headers, timeout=10)


def ask(workspace: Workspace, verb: str, path: str, **fields: object) -> requests.Response:
    """One request of the registry; a GET's fields go into the query."""
    principal = str(fields.pop("principal", ADMIN))
    url = f"{workspace.url}/api/2.0/mlflow/unity-catalog/{path}"
    headers = dict(workspace.headers(principal))
    if verb == "GET":
        return requests.get(url, params={key: str(value) for key, value in fields.items()}, headers=headers, timeout=10)
    return requests.request(verb, url, json=fields, headers=headers, timeout=10)


@pytest.mark.parametrize("sdk_files", [True, False])
def test_a_version_is_registered_from_files_found_by_alias_and_loaded(workspace: Workspace, sdk_files: bool) -> None:
    models.models(workspace.metastore).sdk_files = sdk_files
    result = mlflow_script(
        f"""{SAVE}
client.create_registered_model("dev.ml.Churn", tags={{"team": "growth"}}, description="who leaves")
made = client.create_model_version("dev.ml.Churn", folder, tags={{"stage": "one"}}, description="first")
client.set_registered_model_alias("dev.ml.Churn", "champion", made.version)
client.set_registered_model_tag("dev.ml.Churn", "tier", "1")
client.set_model_version_tag("dev.ml.Churn", made.version, "checked", "yes")
model = client.get_registered_model("dev.ml.churn")
version = client.get_model_version_by_alias("dev.ml.churn", "champion")
loaded = mlflow.pyfunc.load_model("models:/dev.ml.churn@champion")
result = {{
    "status": [made.status, version.status],
    "model": [model.name, model.description, model.tags, model.aliases],
    "version": [version.name, version.version, version.description, version.tags, version.aliases],
    "source": version.source == folder,
    "predicted": list(loaded.predict(frame)),
    "outputs": loaded.metadata.signature.outputs is not None,
    "found": [one.name for one in client.search_registered_models()],
    "versions": [one.version for one in client.search_model_versions("name='dev.ml.churn'")],
}}
""",
        environment(workspace),
    )
    assert result == {
        "status": ["READY", "READY"],
        "model": ["dev.ml.churn", "who leaves", {"team": "growth", "tier": "1"}, {"champion": "1"}],
        "version": ["dev.ml.churn", "1", "first", {"stage": "one", "checked": "yes"}, ["champion"]],
        "source": True,
        "predicted": [2.0, 3.0],
        "outputs": True,
        "found": ["dev.ml.churn"],
        "versions": ["1"],
    }
    kept = workspace.metastore.folder / "Models" / "dev" / "ml" / "churn" / "1"
    assert (kept / "MLmodel").is_file()
    assert models.models(workspace.metastore).lineage[-1]["direction"] == "DOWNSTREAM"
    # Each way asks for its own: signed URLs of both, files by the SDK or by the temporary credentials' URLs.
    assert (("POST", "/api/2.0/fs/create-upload-url", ADMIN) in workspace.requests) is not sdk_files


def test_a_logged_model_is_registered_and_copied_across_catalogs(workspace: Workspace) -> None:
    result = mlflow_script(
        f"""{LOG}
made = mlflow.register_model(logged.model_uri, "dev.ml.churn")
copied = client.copy_model_version("models:/dev.ml.churn/1", "prod.ml.churn")
loaded = mlflow.pyfunc.load_model("models:/prod.ml.churn/1")
with mlflow.start_run():
    about = {{"signature": signature, "pip_requirements": [], "registered_model_name": "dev.ml.again"}}
    mlflow.pyfunc.log_model(name="again", python_model=AddOne(), **about)
again = client.get_model_version("dev.ml.again", "1")
of_the_run = copied.run_id == run.info.run_id
result = [again.status, made.status, copied.name, copied.source, of_the_run, list(loaded.predict(frame))]
""",
        environment(workspace),
    )
    assert result == ["READY", "READY", "prod.ml.churn", "models:/dev.ml.churn/1", True, [2.0, 3.0]]
    made = ask(workspace, "GET", "model-versions/get", name="dev.ml.churn", version="1").json()["model_version"]
    assert made["run_tracking_server_id"] == str(workspace.id)
    assert made["model_id"].startswith("m-")
    noted = [(one["name"], one["direction"]) for one in models.models(workspace.metastore).lineage]
    assert noted[:3] == [("dev.ml.churn", "UPSTREAM"), ("dev.ml.churn", "DOWNSTREAM"), ("prod.ml.churn", "UPSTREAM")]


def test_a_model_without_a_signature_is_refused_before_a_version_is_made(workspace: Workspace) -> None:
    refusal = mlflow_script(
        f"""{SAVE.replace("signature=signature, ", "")}
client.create_registered_model("dev.ml.churn")
result = refusal(client.create_model_version, "dev.ml.churn", folder)
""",
        environment(workspace),
    )
    assert "did not contain any signature metadata" in refusal
    assert not [path for _, path, _ in workspace.requests if path.endswith("model-versions/create")]


def test_what_unity_catalog_has_not_is_refused(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    result = mlflow_script(
        """
result = [
    refusal(client.create_registered_model, "churn"),
    refusal(client.create_registered_model, "nocat.ml.churn"),
    refusal(client.create_registered_model, "dev.ml.churn"),
    refusal(client.get_registered_model, "dev.ml.nothing"),
    refusal(client.get_model_version, "dev.ml.churn", "7"),
    refusal(client.get_model_version_by_alias, "dev.ml.churn", "nobody"),
    refusal(client.search_model_versions),
    refusal(client.search_model_versions, "tag.x = '1'"),
    refusal(client.set_registered_model_tag, "dev.ml.churn", "a.b", "1"),
    refusal(client.set_registered_model_tag, "dev.ml.churn", "long", "x" * 1001),
    refusal(client.set_registered_model_alias, "dev.ml.churn", "v1", "1"),
    refusal(client.transition_model_version_stage, "dev.ml.churn", "1", "Production"),
]
""",
        environment(workspace),
    )
    expected = [
        "INVALID_PARAMETER_VALUE: Bad model name: please specify all three levels",
        "CATALOG_DOES_NOT_EXIST: Catalog 'nocat' does not exist.",
        "RESOURCE_ALREADY_EXISTS: Routine or Model 'dev.ml.churn' already exists",
        "RESOURCE_DOES_NOT_EXIST: Routine or Model 'dev.ml.nothing' does not exist.",
        "RESOURCE_DOES_NOT_EXIST: Model version",
        "RESOURCE_DOES_NOT_EXIST: Alias 'nobody'",
        "INVALID_PARAMETER_VALUE: Missing filter",
        "INVALID_PARAMETER_VALUE: Unsupported filter query",
        "INVALID_PARAMETER_VALUE: Tag name a.b contains one or more of the reserved characters: List(., ,, -, =, /, :)",
        "INVALID_PARAMETER_VALUE: The value of tag 'long' is invalid",
        "INVALID_PARAMETER_VALUE: Invalid alias name",
        "Method 'transition_model_version_stage' is unsupported for models in the Unity Catalog",
    ]
    assert [told[: len(begin)] for told, begin in zip(result, expected, strict=True)] == expected


def test_a_version_without_files_cannot_be_finalized_and_a_finished_one_not_changed(workspace: Workspace) -> None:
    ask(workspace, "POST", "registered-models/create", name="dev.ml.churn")
    made = ask(workspace, "POST", "model-versions/create", name="dev.ml.churn", source="runs:/1/model").json()
    assert made["model_version"]["status"] == "PENDING_REGISTRATION"
    empty = ask(workspace, "POST", "model-versions/finalize", name="dev.ml.churn", version="1")
    assert (empty.status_code, "has no files" in empty.json()["message"]) == (400, True)
    assert put(workspace, "/Models/dev/ml/churn/1/MLmodel").status_code == 204
    done = ask(workspace, "POST", "model-versions/finalize", name="dev.ml.churn", version="1")
    assert done.json()["model_version"]["status"] == "READY"
    assert put(workspace, "/Models/dev/ml/churn/1/late").status_code == 403
    assert put(workspace, "/Models/dev/ml/churn/2/MLmodel").status_code == 404


def test_numbers_of_deleted_versions_are_not_given_again_and_their_aliases_and_files_go(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    ask(workspace, "POST", "registered-models/alias", name="dev.ml.churn", alias="champion", version="1")
    assert ask(workspace, "DELETE", "model-versions/delete", name="dev.ml.churn", version="1").ok
    made = ask(workspace, "POST", "model-versions/create", name="dev.ml.churn", source="x").json()
    assert made["model_version"]["version"] == "2"
    model = ask(workspace, "GET", "registered-models/get", name="dev.ml.churn").json()["registered_model"]
    assert "aliases" not in model
    assert not (workspace.metastore.folder / "Models/dev/ml/churn/1").exists()


def test_searches_come_in_pages_without_aliases_and_tags(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.a", "dev.ml.b", "prod.ml.c")
    ask(workspace, "POST", "registered-models/set-tag", name="dev.ml.a", key="k", value="v")
    models.models(workspace.metastore).page_size = 2
    first = ask(workspace, "GET", "registered-models/search", max_results=100).json()
    assert [sorted(one) for one in first["registered_models"]] == [
        ["creation_timestamp", "last_updated_timestamp", "name", "user_id"]
    ] * 2
    rest = ask(workspace, "GET", "registered-models/search", page_token=first["next_page_token"]).json()
    assert [one["name"] for one in rest["registered_models"]] == ["prod.ml.c"]
    assert "next_page_token" not in rest
    assert ask(workspace, "GET", "registered-models/search", filter="name='x'").status_code == 400
    assert ask(workspace, "GET", "registered-models/search", **{"page_token": "nonsense"}).status_code == 400


def test_each_privilege_opens_what_it_is_for_and_nothing_else(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    ask(workspace, "POST", "registered-models/alias", name="dev.ml.churn", alias="champion", version="1")
    name = {"name": "dev.ml.churn", "principal": ANN}
    attempts: dict[str, Callable[[], requests.Response]] = {
        "USE CATALOG": lambda: ask(workspace, "GET", "registered-models/get", **name),
        "USE SCHEMA": lambda: ask(workspace, "GET", "registered-models/get", **name),
        "EXECUTE": lambda: ask(workspace, "GET", "registered-models/get", **name),
        "CREATE MODEL VERSION": lambda: ask(workspace, "POST", "model-versions/create", source="x", **name),
        "APPLY TAG": lambda: ask(workspace, "POST", "registered-models/set-tag", key="k", value="v", **name),
        "MANAGE": lambda: ask(workspace, "POST", "registered-models/alias", alias="b", version="1", **name),
    }
    where = {"USE CATALOG": "dev", "USE SCHEMA": "dev.ml"}
    for privilege, attempt in attempts.items():
        refused = attempt()
        assert refused.status_code == 403, privilege
        assert f"does not have {privilege} on" in refused.json()["message"]
        catalogue.grant(workspace.metastore, ANN, where.get(privilege, "dev.ml.churn"), privilege.replace(" ", "_"))
        if privilege not in where:
            assert attempt().ok, privilege
    assert ask(workspace, "POST", "registered-models/create", name="dev.ml.new", principal=ANN).status_code == 403


def test_lists_are_silent_about_what_one_may_not_see(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.mine", "dev.ml.theirs", "prod.ml.other")
    catalogue.grant(workspace.metastore, ANN, "dev", "USE_CATALOG")
    catalogue.grant(workspace.metastore, ANN, "dev.ml", "USE_SCHEMA")
    catalogue.grant(workspace.metastore, ANN, "dev.ml.mine", "EXECUTE")
    found = ask(workspace, "GET", "registered-models/search", principal=ANN).json()["registered_models"]
    assert [one["name"] for one in found] == ["dev.ml.mine"]
    models.models(workspace.metastore).page_size = 1
    first = ask(workspace, "GET", "registered-models/search", principal=ANN).json()
    following = {"page_token": first["next_page_token"]}
    second = ask(workspace, "GET", "registered-models/search", principal=ANN, **following).json()
    assert (second["registered_models"], "next_page_token" in second) == ([], True)


def test_files_in_a_customers_own_bucket_come_with_that_clouds_credentials(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    wanted = {"name": "dev.ml.churn", "version": "1", "operation": "MODEL_VERSION_OPERATION_READ"}
    path = "model-versions/generate-temporary-credentials"
    assert ask(workspace, "POST", path, **wanted).json()["credentials"]["storage_mode"] == "DEFAULT_STORAGE"
    models.models(workspace.metastore).customer_hosted = True
    given = ask(workspace, "POST", path, **wanted).json()["credentials"]
    assert (given["storage_mode"], "aws_temp_credentials" in given) == ("CUSTOMER_HOSTED", True)
    writing = {**wanted, "operation": "MODEL_VERSION_OPERATION_READ_WRITE"}
    assert ask(workspace, "POST", path, **writing).status_code == 403


def test_another_metastore_knows_nothing_and_a_sister_workspace_everything(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    sister = workspace.account.workspace("b", metastore="m1")
    stranger = workspace.account.workspace("c", metastore="m2")
    catalogue.make(stranger.metastore, "dev.ml")
    assert ask(sister, "GET", "model-versions/get", name="dev.ml.churn", version="1").ok
    assert ask(stranger, "GET", "model-versions/get", name="dev.ml.churn", version="1").status_code == 404


def test_a_rename_stays_in_the_schema_and_takes_files_and_grants_along(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    catalogue.grant(workspace.metastore, ANN, "dev.ml.churn", "EXECUTE")
    update = {"name": "dev.ml.churn", "new_name": "prod.ml.churn"}
    assert ask(workspace, "PATCH", "registered-models/update", **update).status_code == 400
    assert ask(workspace, "PATCH", "registered-models/update", name="dev.ml.churn", new_name="dev.ml.leavers").ok
    assert ask(workspace, "GET", "registered-models/get", name="dev.ml.churn").status_code == 404
    assert Path(workspace.metastore.folder, "Models/dev/ml/leavers/1/MLmodel").is_file()
    url = f"{workspace.url}/api/2.1/unity-catalog/permissions/function/dev.ml.leavers"
    grants = requests.get(url, headers=dict(workspace.headers()), timeout=10).json()
    assert grants == {"privilege_assignments": [{"principal": ANN, "privileges": ["EXECUTE"]}]}


def test_a_versions_files_are_read_with_execute_and_written_by_who_may_make_versions(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    ask(workspace, "POST", "model-versions/create", name="dev.ml.churn", source="x")
    catalogue.grant(workspace.metastore, ANN, "dev", "USE_CATALOG", "USE_SCHEMA")
    url = f"{workspace.url}/api/2.0/fs/files/Models/dev/ml/churn/1/MLmodel"
    headers = dict(workspace.headers(ANN))
    assert requests.get(url, headers=headers, timeout=10).status_code == 403
    catalogue.grant(workspace.metastore, ANN, "dev.ml", "EXECUTE")
    assert requests.get(url, headers=headers, timeout=10).text == "flavors: {}\n"
    assert put(workspace, "/Models/dev/ml/churn/2/MLmodel", ANN).status_code == 403
    catalogue.grant(workspace.metastore, ANN, "dev", "CREATE_MODEL_VERSION")
    assert put(workspace, "/Models/dev/ml/churn/2/MLmodel", ANN).ok


def test_all_privileges_leave_managing_out_and_manage_of_the_catalog_reaches_its_models(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    alias = {"name": "dev.ml.churn", "alias": "champion", "version": "1", "principal": ANN}
    catalogue.grant(workspace.metastore, ANN, "dev", "ALL_PRIVILEGES")
    assert ask(workspace, "GET", "registered-models/get", name="dev.ml.churn", principal=ANN).ok
    assert ask(workspace, "POST", "registered-models/alias", **alias).status_code == 403
    catalogue.grant(workspace.metastore, ANN, "dev", "MANAGE")
    assert ask(workspace, "POST", "registered-models/alias", **alias).ok


def test_versions_made_at_the_same_moment_get_numbers_of_their_own(workspace: Workspace) -> None:
    ask(workspace, "POST", "registered-models/create", name="dev.ml.churn")
    with ThreadPoolExecutor(8) as threads:
        made = threads.map(
            lambda _: ask(workspace, "POST", "model-versions/create", name="dev.ml.churn", source="x").json(), range(24)
        )
        numbers = sorted(int(one["model_version"]["version"]) for one in made)
    assert numbers == list(range(1, 25))


def test_the_same_models_are_in_unity_catalogs_own_api(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn", "prod.ml.other")
    client = sdk(workspace)
    client.registered_models.set_alias("dev.ml.churn", "champion", 1)
    model = client.registered_models.update("dev.ml.churn", comment="who leaves", owner=ANN)
    assert (model.comment, model.owner, model.catalog_name, model.schema_name) == ("who leaves", ANN, "dev", "ml")
    shown = ask(workspace, "GET", "registered-models/get", name="dev.ml.churn").json()["registered_model"]
    assert (shown["description"], shown["aliases"]) == ("who leaves", [{"alias": "champion", "version": "1"}])
    version = client.model_versions.get_by_alias("dev.ml.churn", "champion")
    assert (version.version, version.status, version.model_name) == (1, ModelVersionInfoStatus.READY, "churn")
    assert [one.version for one in client.model_versions.list("dev.ml.churn")] == [1]
    found = client.registered_models.list(catalog_name="dev", schema_name="ml")
    assert [one.full_name for one in found] == ["dev.ml.churn"]
    client.registered_models.delete_alias("dev.ml.churn", "champion")
    client.model_versions.delete("dev.ml.churn", 1)
    client.registered_models.delete("dev.ml.churn")
    assert ask(workspace, "GET", "registered-models/get", name="dev.ml.churn").status_code == 404
    with pytest.raises(NotFound, match=r"Routine or Model 'dev.ml.churn' does not exist"):
        client.registered_models.get("dev.ml.churn")


def test_a_schema_that_is_deleted_by_force_takes_its_models_and_their_files_along(workspace: Workspace) -> None:
    registered(workspace, "dev.ml.churn")
    with pytest.raises(BadRequest, match="is not empty"):
        sdk(workspace).schemas.delete("dev.ml")
    sdk(workspace).schemas.delete("dev.ml", force=True)
    assert ask(workspace, "GET", "registered-models/search").json()["registered_models"] == []
    assert not (workspace.metastore.folder / "Models/dev/ml/churn").exists()


@pytest.mark.parametrize("leaf", ["two words", "a/b", "x" * 256, "line\nbreak"])
def test_names_unity_catalog_does_not_take_are_refused(workspace: Workspace, leaf: str) -> None:
    assert ask(workspace, "POST", "registered-models/create", name=f"dev.ml.{leaf}").status_code == 400
