"""The rule about permissions, on a server with MLflow's own basic-auth."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.basic_auth import Guarded, guarded
from tests.conftest import Run
from tests.governance.test_audit import found_in, write
from tests.live.test_users import OLD_WORD, V2, V3


@pytest.fixture(scope="module")
def office(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with an administrator too many, a role that edits every experiment, and people with too much."""
    found = guarded(tmp_path_factory.mktemp("office-") / "office", template)
    for name in ("second", "reader", "editor", "plain"):
        found.call("POST", V2 + "users/create", username=name, password=OLD_WORD)
    found.call("PATCH", V2 + "users/update-admin", username="second", is_admin=True)
    rights = {"readers": "READ", "editors": "EDIT"}
    for role, level in rights.items():
        made = found.call("POST", V3 + "roles/create", name=role, workspace="default")["role"]
        permission = {"resource_type": "experiment", "resource_pattern": "*", "permission": level}
        found.call("POST", V3 + "roles/permissions/add", role_id=made["id"], **permission)
    everything = {"resource_type": "registered_model", "resource_id": "*", "permission": "MANAGE"}
    found.call("POST", V3 + "users/permissions/grant", username="plain", **everything)
    one = {"resource_type": "experiment", "resource_id": "0", "permission": "MANAGE"}
    found.call("POST", V3 + "users/permissions/grant", username="reader", **one)
    yield found
    servers.stop(found.server)


def signed_in(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    """The credentials of the next command."""
    monkeypatch.setenv("MLFLOW_MIGRATION_SRC_USERNAME", name)
    monkeypatch.setenv("MLFLOW_MIGRATION_SRC_PASSWORD", password)


def test_wide_permissions_and_unnamed_administrators_are_found_and_no_others(
    run_here: Run, office: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(monkeypatch, *office.admin)
    policy = write(tmp_path, {"admins": [office.admin[0]]})
    asked = ("audit", "run", "--tracking-uri", office.server.url, "--policy", policy, "--json")
    document = run_here(*asked).expect(0).json
    assert found_in(document) == {
        ("permissions-wide", "user", "second"),
        ("permissions-wide", "role", "editors"),
        ("permissions-wide", "user", "plain"),
    }
    messages = {each["name"]: each["message"] for each in document["findings"]}
    assert messages["editors"] == "EDIT on every experiment"
    assert messages["plain"] == "MANAGE on every registered_model"
    assert office.admin[1] not in str(document)


def test_a_policy_may_allow_more(
    run_here: Run, office: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(monkeypatch, *office.admin)
    policy = write(tmp_path, {"widest": "EDIT"})
    asked = ("audit", "run", "--tracking-uri", office.server.url, "--policy", policy, "--json")
    assert found_in(run_here(*asked).expect(0).json) == {("permissions-wide", "user", "plain")}


def test_a_rule_that_only_an_administrator_can_check_is_told_as_not_checked(
    run_here: Run, office: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(monkeypatch, "plain", OLD_WORD)
    asked = ("audit", "run", "--tracking-uri", office.server.url)
    document = run_here(*asked, "--json").expect(1).json
    assert list(document["unlooked"]) == ["permissions-wide"]
    assert "administrator" in document["unlooked"]["permissions-wide"]
    assert "not checked: permissions-wide" in run_here(*asked).expect(1).stdout
    policy = write(tmp_path, {"rules": {"permissions-wide": "off"}})
    assert run_here(*asked, "--policy", policy, "--json").expect(0).json["unlooked"] == {}
