"""Apps by the real databricks-sdk: made, deployed, stopped, started, updated and deleted."""

import re

import pytest
import requests
from databricks.sdk.errors import (
    BadRequest,
    InvalidParameterValue,
    NotFound,
    OperationFailed,
    PermissionDenied,
    ResourceAlreadyExists,
)
from databricks.sdk.service.apps import (
    App,
    AppAccessControlRequest,
    AppDeployment,
    AppPermissionLevel,
    AppResource,
    AppResourceSecret,
    AppResourceSecretSecretPermission,
    AppResourceUcSecurable,
    AppResourceUcSecurableUcSecurablePermission,
    AppResourceUcSecurableUcSecurableType,
    ComputeSize,
    EnvVar,
)

from tests.databricks import unity_catalog
from tests.databricks.app_samples import SOURCE, Code, as_app, deployed, get, until, upload
from tests.databricks.app_state import apps
from tests.databricks.clients import sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace

pytestmark = pytest.mark.slow

ANN = "ann@example.com"
WRITE = AppResourceUcSecurableUcSecurablePermission.WRITE_VOLUME


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    account = databricks_account()
    account.add_user(ANN)
    return account.workspace("a", metastore="m1")


def raw(workspace: Workspace, path: str = "/little", method: str = "GET") -> requests.Response:
    """The platform's answer about an app as it is."""
    address = f"{workspace.url}/api/2.0/apps{path}"
    return requests.request(method, address, json={"name": "little"}, headers=workspace.headers(), timeout=30)


def volume(name: str) -> AppResource:
    bound = AppResourceUcSecurable(name, AppResourceUcSecurableUcSecurableType.VOLUME, WRITE)
    return AppResource(name="files", uc_securable=bound)


def test_a_new_app_has_a_url_a_service_principal_and_no_deployment(workspace: Workspace) -> None:
    client = sdk(workspace)
    app = client.apps.create_and_wait(App(name="little", description="x", compute_size=ComputeSize.LARGE))
    assert app.compute_status and app.compute_status.state and app.compute_status.state.value == "ACTIVE"
    assert app.app_status and app.app_status.state and app.app_status.state.value == "UNAVAILABLE"
    assert app.url and app.active_deployment is None and app.forward_user_access_token is True
    assert app.compute_size is ComputeSize.LARGE and app.creator == ADMIN
    [principal] = client.service_principals.list(filter=f'applicationId eq "{app.service_principal_client_id}"')
    assert principal.display_name == app.service_principal_name
    assert as_app(workspace, app).current_user.me().user_name == app.service_principal_client_id


def test_an_app_made_without_compute_is_stopped_and_takes_no_deployment(workspace: Workspace) -> None:
    client = sdk(workspace)
    with pytest.raises(OperationFailed, match="STOPPED"):
        client.apps.create_and_wait(App(name="little"), no_compute=True)
    upload(client, Code())
    with pytest.raises(BadRequest, match="not in RUNNING state"):
        client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    client.apps.start_and_wait("little")
    client.apps.deploy_and_wait("little", AppDeployment(source_code_path=SOURCE))


@pytest.mark.parametrize("name", ["Big", "a", "has space", "x" * 31, "under_score"])
def test_names_the_platform_refuses_are_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidParameterValue):
        sdk(workspace).apps.create(App(name=name))


def test_a_deleted_app_is_visible_for_a_while_and_keeps_its_name(workspace: Workspace) -> None:
    client = sdk(workspace)
    app = client.apps.create_and_wait(App(name="little"))
    client.apps.delete("little")
    assert raw(workspace).json()["compute_status"]["state"] == "DELETING"
    with pytest.raises(BadRequest, match="not terminal with state DELETING"):
        client.apps.delete("little")
    with pytest.raises(ResourceAlreadyExists, match="An app with the same name already exists: little"):
        client.apps.create(App(name="little"))
    until(lambda: raw(workspace), lambda answer: answer.status_code == 404)
    with pytest.raises(NotFound):
        client.apps.get("little")
    found = client.service_principals.list(filter=f'applicationId eq "{app.service_principal_client_id}"')
    assert list(found) == []
    client.apps.create_and_wait(App(name="little"))


def test_a_stop_forgets_the_deployments_and_a_start_deploys_again(workspace: Workspace) -> None:
    client = sdk(workspace)
    app = deployed(client, Code(env=({"name": "COLOUR", "value": "green"},)))
    assert get(workspace, app).ok
    stopped = client.apps.stop_and_wait("little")
    assert stopped.active_deployment is None and stopped.pending_deployment is None
    assert get(workspace, app).status_code == 503
    apps(workspace).build_seconds = 3
    client.apps.start_and_wait("little")
    with pytest.raises(BadRequest, match="there is an active deployment in progress"):
        client.apps.deploy("little", AppDeployment(source_code_path=SOURCE))
    until(lambda: raw(workspace).json(), lambda app: app["app_status"]["state"] == "RUNNING")
    assert get(workspace, app).json()["environment"]["COLOUR"] == "green"


def test_a_new_app_may_deploy_its_default_source_at_once(workspace: Workspace) -> None:
    client = sdk(workspace)
    apps(workspace).deploys_at_create = True
    upload(client, Code())
    client.apps.create_and_wait(App(name="little", default_source_code_path=SOURCE))
    until(lambda: raw(workspace).json(), lambda app: app["app_status"]["state"] == "RUNNING")
    assert get(workspace, client.apps.get("little")).ok


def test_a_deployments_disk_is_its_own(workspace: Workspace) -> None:
    client = sdk(workspace)
    app = deployed(client, Code())
    get(workspace, app, "/keep/this")
    assert "kept" in get(workspace, app).json()["files"]
    app = deployed(client, Code())
    assert get(workspace, app).json()["files"] == ["app.py", "app.yaml"]


def test_a_deployment_overrides_the_command_and_hides_the_values_of_its_variables(workspace: Workspace) -> None:
    client = sdk(workspace)
    upload(client, Code(command=("python", "nothing.py"), env=({"name": "COLOUR", "value": "green"},)))
    client.apps.create_and_wait(App(name="little"))
    made = AppDeployment(
        source_code_path=SOURCE,
        command=["python", "app.py", "mine"],
        env_vars=[EnvVar(name="COLOUR", value="red"), EnvVar(name="SIZE", value="big")],
    )
    ended = client.apps.deploy_and_wait("little", made)
    shown = raw(workspace, f"/little/deployments/{ended.deployment_id}").json()
    assert shown["env_vars"] == [{"name": "COLOUR"}, {"name": "SIZE"}]
    told = get(workspace, client.apps.get("little")).json()
    assert told["argv"] == ["mine"]
    assert (told["environment"]["COLOUR"], told["environment"]["SIZE"]) == ("red", "big")


def test_the_snapshot_of_a_deployment_can_be_deployed_again(workspace: Workspace) -> None:
    client = sdk(workspace)
    first = deployed(client, Code(command=("python", "app.py", "first"))).active_deployment
    deployed(client, Code(command=("python", "app.py", "second")))
    assert first and first.deployment_artifacts
    again = AppDeployment(source_code_path=first.deployment_artifacts.source_code_path)
    client.apps.deploy_and_wait("little", again)
    assert get(workspace, client.apps.get("little")).json()["argv"] == ["first"]
    assert len(list(client.apps.list_deployments("little"))) == 3


def test_a_volume_and_a_secret_become_variables_and_rights_of_the_apps_principal(workspace: Workspace) -> None:
    client = sdk(workspace)
    unity_catalog.make_volume(workspace.metastore, "main.ml.files")
    client.secrets.create_scope("keys")
    client.secrets.put_secret("keys", "one", string_value="hush")
    secret = AppResourceSecret(scope="keys", key="one", permission=AppResourceSecretSecretPermission.READ)
    resources = [volume("main.ml.files"), AppResource(name="key", secret=secret)]
    variables = ({"name": "WHERE", "valueFrom": "files"}, {"name": "KEY", "valueFrom": "key"})
    app = deployed(client, Code(env=variables), App(name="little", resources=resources))
    told = get(workspace, app).json()["environment"]
    assert (told["WHERE"], told["KEY"]) == ("/Volumes/main/ml/files", "hush")
    address = f"{workspace.url}/api/2.0/fs/files/Volumes/main/ml/files/x"
    own = as_app(workspace, app)
    assert requests.put(address, data=b"1", headers=own.config.authenticate(), timeout=30).status_code == 204
    client.apps.create_update_and_wait("little", "resources", app=App(name="little"))
    assert requests.get(address, headers=own.config.authenticate(), timeout=30).status_code == 403


def test_what_one_does_not_manage_cannot_be_given_to_an_app(workspace: Workspace) -> None:
    unity_catalog.make_volume(workspace.metastore, "main.ml.files")
    with pytest.raises(PermissionDenied, match="MANAGE"):
        sdk(workspace, ANN).apps.create(App(name="hers", resources=[volume("main.ml.files")]))
    with pytest.raises(NotFound, match=re.escape("'main.ml.nothing' does not exist")):
        sdk(workspace).apps.create(App(name="mine", resources=[volume("main.ml.nothing")]))
    assert list(sdk(workspace).apps.list()) == []


def test_permissions_say_who_may_use_and_who_may_manage(workspace: Workspace) -> None:
    client, ann = sdk(workspace), sdk(workspace, ANN)
    app = deployed(client, Code())
    with pytest.raises(PermissionDenied):
        ann.apps.get("little")
    assert get(workspace, app, principal=ANN).status_code == 403
    entry = AppAccessControlRequest(user_name=ANN, permission_level=AppPermissionLevel.CAN_USE)
    client.apps.update_permissions("little", access_control_list=[entry])
    assert ann.apps.get("little").name == "little"
    assert get(workspace, app, principal=ANN).status_code == 200
    with pytest.raises(PermissionDenied):
        ann.apps.stop("little")
    levels = client.apps.get_permission_levels("little").permission_levels or []
    assert [one.permission_level for one in levels] == [AppPermissionLevel.CAN_USE, AppPermissionLevel.CAN_MANAGE]


def test_an_update_with_a_mask_is_waited_for_and_changes_only_that(workspace: Workspace) -> None:
    client = sdk(workspace)
    client.apps.create_and_wait(App(name="little", description="before"))
    wanted = App(name="little", description="after", compute_size=ComputeSize.XLARGE)
    client.apps.create_update_and_wait("little", "compute_size", app=wanted)
    assert client.apps.get("little").compute_size is ComputeSize.XLARGE
    assert client.apps.get("little").description == "before"
    assert client.apps.update("little", App(name="little", description="after")).description == "after"
    with pytest.raises(InvalidParameterValue, match="together"):
        client.apps.update("little", App(name="little", compute_max_instances=2))


def test_lists_are_paged(workspace: Workspace) -> None:
    client = sdk(workspace)
    for name in ("one", "two", "three"):
        client.apps.create(App(name=name), no_compute=True)
    assert sorted(one.name for one in client.apps.list(page_size=2)) == ["one", "three", "two"]
