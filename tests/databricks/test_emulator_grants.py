"""Unity Catalog's objects and grants in the emulator, by the real databricks-sdk."""

import pytest
import requests
from databricks.sdk.errors import BadRequest, NotFound, PermissionDenied
from databricks.sdk.service.catalog import PermissionsChange, Privilege, RegisteredModelInfo, VolumeType

from tests.databricks import catalogue
from tests.databricks.clients import sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Workspace

# They prove the emulator by the real clients, each in an interpreter of its own; what is built on it is tested by the
# files beside this one.
pytestmark = pytest.mark.slow

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def workspace(databricks_account: AccountFactory) -> Workspace:
    account = databricks_account()
    account.add_user(ANN)
    account.add_user(BOB)
    account.add_group("scientists", ANN)
    account.add_group("research", "scientists")
    return account.workspace("a", metastore="m1")


def raw(workspace: Workspace, path: str, principal: str = ADMIN, **query: str) -> requests.Response:
    url = f"{workspace.url}/api/2.1/unity-catalog/{path}"
    return requests.get(url, params=query, headers=dict(workspace.headers(principal)), timeout=10)


def register(workspace: Workspace, principal: str) -> RegisteredModelInfo:
    models = sdk(workspace, principal).registered_models
    return models.create(catalog_name="main", schema_name="ml", name="churn")


def give(workspace: Workspace, kind: str, name: str, principal: str, *privileges: str) -> None:
    changes = [PermissionsChange(add=[Privilege(one) for one in privileges], principal=principal)]
    sdk(workspace).grants.update(kind, name, changes=changes)


def test_catalogs_schemas_and_volumes_are_made_listed_and_deleted(workspace: Workspace) -> None:
    client = sdk(workspace)
    client.catalogs.create("Main", comment="ours")
    client.schemas.create("ml", "main")
    client.volumes.create("main", "ml", "files", VolumeType.MANAGED)
    assert [one.full_name for one in client.schemas.list("main")] == ["main.default", "main.ml"]
    assert [one.full_name for one in client.volumes.list("main", "ml")] == ["main.ml.files"]
    volume = client.volumes.read("main.ml.files")
    assert (volume.owner, volume.volume_type, volume.catalog_name) == (ADMIN, VolumeType.MANAGED, "main")
    with pytest.raises(BadRequest, match=r"Schema .main.ml. is not empty"):
        client.schemas.delete("main.ml")
    client.volumes.delete("main.ml.files")
    client.schemas.delete("main.ml")
    client.catalogs.delete("main")
    assert not list(client.catalogs.list())


def test_a_name_that_is_taken_or_missing_is_told_by_its_own_code(workspace: Workspace) -> None:
    client = sdk(workspace)
    client.catalogs.create("main")
    with pytest.raises(BadRequest, match="Catalog 'main' already exists"):
        client.catalogs.create("MAIN")
    with pytest.raises(NotFound, match=r"Schema 'main.no' does not exist"):
        client.schemas.get("main.no")
    answer = raw(workspace, "schemas/other.ml")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "CATALOG_DOES_NOT_EXIST")


def test_workspaces_of_one_metastore_share_its_objects_and_those_of_another_do_not(workspace: Workspace) -> None:
    account = workspace.account
    sister, stranger = account.workspace("b", metastore="m1"), account.workspace("c", metastore="m2")
    sdk(workspace).catalogs.create("main")
    assert [one.name for one in sdk(sister).catalogs.list()] == ["main"]
    assert list(sdk(stranger).catalogs.list()) == []
    ids = [sdk(one).metastores.current().metastore_id for one in (workspace, sister, stranger)]
    assert ids[0] == ids[1] != ids[2]
    assert sdk(stranger).metastores.summary().name == "m2"


def test_who_lacks_a_privilege_is_refused_until_it_is_granted(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    with pytest.raises(PermissionDenied, match="User does not have USE CATALOG on Catalog 'main'"):
        register(workspace, ANN)
    give(workspace, "catalog", "main", "account users", "USE_CATALOG")
    with pytest.raises(PermissionDenied, match=r"User does not have USE SCHEMA on Schema 'main.ml'"):
        register(workspace, ANN)
    give(workspace, "schema", "main.ml", "research", "USE_SCHEMA")
    with pytest.raises(PermissionDenied, match=r"User does not have CREATE MODEL on Schema 'main.ml'"):
        register(workspace, ANN)
    give(workspace, "schema", "main.ml", ANN, "CREATE_MODEL")
    assert register(workspace, ANN).owner == ANN
    with pytest.raises(PermissionDenied, match="USE SCHEMA"):
        sdk(workspace, BOB).registered_models.get("main.ml.churn")


def test_effective_permissions_name_what_a_privilege_is_inherited_from(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    give(workspace, "catalog", "main", ANN, "USE_CATALOG", "EXECUTE")
    give(workspace, "schema", "main.ml", ANN, "USE_SCHEMA")
    give(workspace, "schema", "main.ml", "scientists", "CREATE_MODEL")
    inherited = {"privilege": "EXECUTE", "inherited_from_type": "CATALOG", "inherited_from_name": "main"}
    own = {"principal": ANN, "privileges": [{"privilege": "USE_SCHEMA"}, inherited]}
    assert raw(workspace, "effective-permissions/schema/main.ml").json()["privilege_assignments"] == [
        own,
        {"principal": "scientists", "privileges": [{"privilege": "CREATE_MODEL"}]},
    ]
    of_ann = sdk(workspace, ANN).api_client.do(
        "GET", "/api/2.1/unity-catalog/effective-permissions/schema/main.ml", query={"principal": ANN}
    )
    assert of_ann == {"privilege_assignments": [own]}


def test_direct_permissions_leave_out_what_is_inherited(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    give(workspace, "catalog", "main", ANN, "EXECUTE")
    assert raw(workspace, "permissions/schema/main.ml").json() == {}
    give(workspace, "schema", "main.ml", ANN, "USE_SCHEMA")
    expected = {"privilege_assignments": [{"principal": ANN, "privileges": ["USE_SCHEMA"]}]}
    assert raw(workspace, "permissions/schema/main.ml").json() == expected
    changes = [PermissionsChange(remove=[Privilege.USE_SCHEMA], principal=ANN)]
    sdk(workspace).grants.update("schema", "main.ml", changes=changes)
    assert raw(workspace, "permissions/schema/main.ml").json() == {}


def test_only_owners_and_managers_grant_and_manage_gives_no_privilege_itself(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    give(workspace, "catalog", "main", "account users", "USE_CATALOG", "USE_SCHEMA")
    change = [PermissionsChange(add=[Privilege.CREATE_MODEL], principal=ANN)]
    with pytest.raises(PermissionDenied, match=r"User does not have MANAGE on Schema 'main.ml'"):
        sdk(workspace, ANN).grants.update("schema", "main.ml", changes=change)
    give(workspace, "schema", "main.ml", ANN, "MANAGE")
    with pytest.raises(PermissionDenied, match="CREATE MODEL"):
        register(workspace, ANN)
    sdk(workspace, ANN).grants.update("schema", "main.ml", changes=change)
    assert register(workspace, ANN).full_name == "main.ml.churn"


def test_grants_of_others_are_hidden_from_who_does_not_manage_the_object(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    give(workspace, "catalog", "main", "account users", "USE_CATALOG", "USE_SCHEMA")
    give(workspace, "schema", "main.ml", ANN, "CREATE_MODEL")
    assert raw(workspace, "permissions/schema/main.ml", BOB).status_code == 403
    own = sdk(workspace, BOB).grants.get("schema", "main.ml", principal=BOB)
    assert not own.privilege_assignments


def test_grants_that_make_no_sense_are_refused(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    client = sdk(workspace).grants
    with pytest.raises(NotFound, match="Could not find principal with name nobody"):
        client.update("schema", "main.ml", changes=[PermissionsChange(add=[Privilege.USE_SCHEMA], principal="nobody")])
    with pytest.raises(NotFound, match="Could not find principal with name users"):
        client.update("schema", "main.ml", changes=[PermissionsChange(add=[Privilege.USE_SCHEMA], principal="users")])
    both = PermissionsChange(add=[Privilege.USE_SCHEMA], remove=[Privilege.USE_SCHEMA], principal=ANN)
    with pytest.raises(BadRequest, match="both to be added and to be removed"):
        client.update("schema", "main.ml", changes=[both])
    with pytest.raises(BadRequest, match="Privilege USE CATALOG is not applicable"):
        client.update("schema", "main.ml", changes=[PermissionsChange(add=[Privilege.USE_CATALOG], principal=ANN)])


def test_a_service_principal_is_granted_to_by_its_application_id(workspace: Workspace) -> None:
    application = workspace.account.add_service_principal("ci").client_id
    catalogue.make(workspace.metastore, "main.ml")
    give(workspace, "catalog", "main", application, "ALL_PRIVILEGES")
    model = register(workspace, application)
    assert model.owner == application


def test_the_owner_can_be_changed_to_a_group(workspace: Workspace) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    sdk(workspace).catalogs.update("main", owner="scientists")
    assert raw(workspace, "catalogs/main").json()["owner"] == "scientists"
    assert sdk(workspace, ANN).schemas.create("new", "main").owner == ANN
