"""Permissions of experiments and notebooks, and secrets, in the emulator by the real databricks-sdk."""

import base64

import pytest
from databricks.sdk.errors import BadRequest, NotFound, PermissionDenied
from databricks.sdk.service.iam import AccessControlRequest, PermissionLevel
from databricks.sdk.service.ml import ExperimentAccessControlRequest, ExperimentPermissionLevel
from databricks.sdk.service.workspace import AclPermission, ImportFormat

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
    return account.workspace("a", metastore="m1")


def test_an_experiments_levels_open_reading_writing_and_deleting(workspace: Workspace) -> None:
    client, ann = sdk(workspace), sdk(workspace, ANN)
    experiment = client.experiments.create_experiment(f"/Users/{ADMIN}/train").experiment_id or ""
    with pytest.raises(PermissionDenied):
        ann.experiments.get_experiment(experiment)
    for level, refused in (("CAN_READ", True), ("CAN_EDIT", False)):
        wanted = ExperimentAccessControlRequest(
            group_name="scientists", permission_level=ExperimentPermissionLevel(level)
        )
        client.experiments.update_permissions(experiment, access_control_list=[wanted])
        assert ann.experiments.get_experiment(experiment).experiment
        if refused:
            with pytest.raises(PermissionDenied):
                ann.experiments.create_run(experiment_id=experiment)
    assert ann.experiments.create_run(experiment_id=experiment).run
    with pytest.raises(PermissionDenied):
        ann.experiments.delete_experiment(experiment)


def test_permissions_are_shown_with_what_is_inherited(workspace: Workspace) -> None:
    client = sdk(workspace)
    application = workspace.account.add_service_principal("ci").client_id
    experiment = client.experiments.create_experiment(f"/Users/{ADMIN}/train").experiment_id or ""
    wanted = [
        AccessControlRequest(user_name=ANN, permission_level=PermissionLevel.CAN_READ),
        AccessControlRequest(service_principal_name=application, permission_level=PermissionLevel.CAN_EDIT),
    ]
    client.permissions.update("experiments", experiment, access_control_list=wanted)
    shown = client.permissions.get("experiments", experiment).as_dict()
    assert (shown["object_id"], shown["object_type"]) == (f"/experiments/{experiment}", "mlflowExperiment")
    entries = shown["access_control_list"]
    assert {"group_name", "all_permissions"} == set(entries[-1])
    assert entries[-1]["all_permissions"] == [
        {"permission_level": "CAN_MANAGE", "inherited": True, "inherited_from_object": ["/directories/"]}
    ]
    named = {
        entry.get("user_name") or entry.get("service_principal_name"): entry["all_permissions"][0]["permission_level"]
        for entry in entries[:-1]
    }
    assert named == {ADMIN: "CAN_MANAGE", ANN: "CAN_READ", application: "CAN_EDIT"}
    client.permissions.set("experiments", experiment, access_control_list=wanted[:1])
    direct = client.permissions.get("experiments", experiment).as_dict()["access_control_list"][:-1]
    assert [entry["user_name"] for entry in direct] == [ANN]


def test_who_does_not_exist_and_levels_that_do_not_apply_are_refused(workspace: Workspace) -> None:
    client = sdk(workspace)
    experiment = client.experiments.create_experiment(f"/Users/{ADMIN}/train").experiment_id or ""

    def give(entry: AccessControlRequest) -> None:
        client.permissions.update("experiments", experiment, access_control_list=[entry])

    level = PermissionLevel.CAN_READ
    with pytest.raises(NotFound, match=r"Principal: UserName\(x\) does not exist"):
        give(AccessControlRequest(user_name="x", permission_level=level))
    with pytest.raises(NotFound, match=r"Principal: GroupName\(x\) does not exist"):
        give(AccessControlRequest(group_name="x", permission_level=level))
    with pytest.raises(NotFound, match=r"Principal: ServicePrincipalName\(x\) does not exist"):
        give(AccessControlRequest(service_principal_name="x", permission_level=level))
    with pytest.raises(BadRequest, match="CAN_RUN is not supported"):
        give(AccessControlRequest(user_name=ANN, permission_level=PermissionLevel.CAN_RUN))
    with pytest.raises(NotFound, match="mlflowExperiment with id 99 does not exist"):
        client.permissions.get("experiments", "99")
    levels = client.permissions.get_permission_levels("experiments", experiment).permission_levels or []
    assert [one.permission_level for one in levels] == [
        PermissionLevel.CAN_READ,
        PermissionLevel.CAN_EDIT,
        PermissionLevel.CAN_MANAGE,
    ]


def test_a_notebooks_permissions_go_by_its_object_id(workspace: Workspace) -> None:
    client = sdk(workspace)
    path = f"/Users/{ADMIN}/note"
    client.workspace.upload(f"{path}.py", b"# Databricks notebook source\n1", format=ImportFormat.AUTO)
    number = str(client.workspace.get_status(path).object_id)
    with pytest.raises(PermissionDenied):
        sdk(workspace, ANN).workspace.export(path)
    wanted = [AccessControlRequest(user_name=ANN, permission_level=PermissionLevel.CAN_READ)]
    client.permissions.update("notebooks", number, access_control_list=wanted)
    assert sdk(workspace, ANN).workspace.export(path).content


def test_secrets_are_kept_listed_without_their_values_and_guarded(workspace: Workspace) -> None:
    client, ann = sdk(workspace), sdk(workspace, ANN)
    client.secrets.create_scope("ci")
    client.secrets.put_secret("ci", "token", string_value="s3cret")
    assert base64.b64decode(client.secrets.get_secret("ci", "token").value or "") == b"s3cret"
    assert [one.key for one in client.secrets.list_secrets("ci")] == ["token"]
    assert [one.name for one in client.secrets.list_scopes()] == ["ci"]
    with pytest.raises(PermissionDenied):
        ann.secrets.get_secret("ci", "token")
    client.secrets.put_acl("ci", ANN, AclPermission.READ)
    assert ann.secrets.get_secret("ci", "token").value
    with pytest.raises(PermissionDenied):
        ann.secrets.put_secret("ci", "token", string_value="other")
    with pytest.raises(NotFound, match="Scope other does not exist"):
        client.secrets.get_secret("other", "token")
    client.secrets.delete_secret("ci", "token")
    with pytest.raises(NotFound, match="Failed to get secret token"):
        client.secrets.get_secret("ci", "token")
    client.secrets.delete_scope("ci")
    assert not list(client.secrets.list_scopes())
