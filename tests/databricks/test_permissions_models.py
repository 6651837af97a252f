"""Permissions of registered models at Databricks, between its two registries, and with MLflow's own basic-auth."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests import servers
from tests.basic_auth import Guarded, guarded
from tests.conftest import Outcome, Tool
from tests.databricks import catalogue
from tests.databricks.clients import sdk
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Account, Workspace

UC = "/api/2.1/unity-catalog/"
V2 = "/api/2.0/mlflow/"
V3 = "/api/3.0/mlflow/"
WORD = "Pass-of-a-user-12345"


@dataclass
class Models:
    """Two workspaces with metastores of their own, each with the schema `main.ml`."""

    account: Account
    a: Workspace
    b: Workspace
    tool: Tool

    def ask(self, workspace: Workspace, method: str, path: str, body: Any) -> Any:
        where = {"params": body} if method == "GET" else {"json": body}
        answer = requests.request(method, workspace.url + path, headers=dict(workspace.headers()), timeout=30, **where)
        assert answer.ok, answer.text
        return answer.json() if answer.content else {}

    def in_catalog(self, workspace: Workspace, name: str, **given: tuple[str, ...]) -> None:
        """A model of Unity Catalog, and privileges on it by principal."""
        self.ask(workspace, "POST", V2 + "unity-catalog/registered-models/create", {"name": name})
        changes = [{"principal": who, "add": list(privileges)} for who, privileges in given.items()]
        self.ask(workspace, "PATCH", f"{UC}permissions/function/{name}", {"changes": changes})

    def granted(self, workspace: Workspace, name: str) -> dict[str, list[str]]:
        """The privileges on a model of Unity Catalog by principal, but for those of the admin who makes models."""
        answer = self.ask(workspace, "GET", f"{UC}permissions/function/{name}", None)
        rows = answer.get("privilege_assignments", [])
        return {row["principal"]: row["privileges"] for row in rows if row["principal"] != ADMIN}

    def _internal(self, workspace: Workspace, name: str) -> str:
        found = self.ask(workspace, "GET", V2 + "databricks/registered-models/get", {"name": name})
        return "/api/2.0/permissions/registered-models/" + str(found["registered_model_databricks"]["id"])

    def in_workspace(self, workspace: Workspace, name: str, *rows: dict[str, str]) -> None:
        """A model of the workspace's own registry, and what is given on it."""
        self.ask(workspace, "POST", V2 + "registered-models/create", {"name": name})
        self.ask(workspace, "PATCH", self._internal(workspace, name), {"access_control_list": list(rows)})

    def levels(self, workspace: Workspace, name: str) -> dict[str, str]:
        """The direct levels on a model of the workspace's own registry."""
        found = {}
        for row in self.ask(workspace, "GET", self._internal(workspace, name), None)["access_control_list"]:
            who = row.get("user_name") or row.get("group_name") or row["service_principal_name"]
            direct = [each["permission_level"] for each in row["all_permissions"] if not each["inherited"]]
            if direct and who != ADMIN:
                found[who] = direct[0]
        return found

    def copy(self, source: str, destination: str, *words: str) -> Outcome:
        places = ("--src-mlflow-uri", source, "--dst-mlflow-uri", destination)
        asked = ("copy-models", "--models", "all", *places, "--permissions", "--json")
        return self.tool(*asked, *words, env=self.account.environment())

    def verify(self, source: str, destination: str, *words: str) -> Outcome:
        asked = ("verify", source, destination, "--models", "all", "--permissions", "--json")
        return self.tool(*asked, *words, env=self.account.environment())


@pytest.fixture
def two(databricks_account: AccountFactory, run_tool: Tool) -> Models:
    account = databricks_account()
    a, b = account.workspace("a", metastore="m1"), account.workspace("b", metastore="m2")
    for workspace in (a, b):
        catalogue.make(workspace.metastore, "main.ml")
    return Models(account, a, b, run_tool)


def losses(report: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted(
        (row["state"], row["name"].rpartition(" ")[2]) for row in report["rows"] if row["kind"] == "permission"
    )


def test_grants_on_a_model_arrive_in_another_metastore_and_its_owner_is_told(two: Models) -> None:
    ann = two.account.add_user("ann@example.com", "ml team").name
    given = {ann: ("CREATE_MODEL_VERSION", "EXECUTE"), "ml team": ("EXECUTE",), "account users": ("APPLY_TAG",)}
    two.in_catalog(two.a, "main.ml.churn", **given)
    report = two.copy("databricks-uc://a", "databricks-uc://b").expect(0).json
    assert two.granted(two.b, "main.ml.churn") == {who: sorted(privileges) for who, privileges in given.items()}
    assert losses(report) == [("skipped", ADMIN)]
    again = two.copy("databricks-uc://a", "databricks-uc://b").expect(0).json
    assert again["kinds"]["access_list"]["same"] == 1
    two.verify("databricks-uc://a", "databricks-uc://b").expect(0)
    known = sdk(two.b).grants.get("function", "main.ml.churn", principal="ml team").privilege_assignments or []
    assert [each.value for row in known for each in row.privileges or []] == ["EXECUTE"]


def test_grants_go_with_a_model_under_its_new_name_and_to_whom_the_file_says(two: Models, tmp_path: Any) -> None:
    for name in ("ann@old.com", "ann@new.com"):
        two.account.add_user(name)
    catalogue.make(two.b.metastore, "prod.ml")
    two.in_catalog(two.a, "main.ml.churn", **{"ann@old.com": ("EXECUTE",)})
    people = tmp_path / "people.csv"
    people.write_text("ann@old.com,ann@new.com\n")
    words = ("--rename", "main.ml.churn=prod.ml.churn", "--principals", str(people))
    two.copy("databricks-uc://a", "databricks-uc://b", *words).expect(0)
    assert two.granted(two.b, "prod.ml.churn") == {"ann@new.com": ["EXECUTE"]}
    two.verify("databricks-uc://a", "databricks-uc://b", *words).expect(0)


def test_only_what_was_granted_on_the_model_itself_goes_along(two: Models) -> None:
    ann = two.account.add_user("ann@example.com").name
    catalogue.grant(two.a.metastore, ann, "main.ml", "EXECUTE")
    two.in_catalog(two.a, "main.ml.churn")
    two.copy("databricks-uc://a", "databricks-uc://b").expect(0)
    assert two.granted(two.b, "main.ml.churn") == {}


def test_a_principal_unity_catalog_refuses_costs_nobody_else_theirs(two: Models) -> None:
    ann = two.account.add_user("ann@example.com").name
    rows = ({"user_name": ann, "permission_level": "CAN_READ"}, {"group_name": "users", "permission_level": "CAN_READ"})
    two.in_workspace(two.a, "churn", *rows)
    report = two.copy("databricks://a", "databricks-uc://b", "--prefix", "main.ml.").expect(1).json
    assert two.granted(two.b, "main.ml.churn") == {ann: ["EXECUTE"]}
    assert losses(report) == [("unsupported", "users")]
    reason = next(row["reason"] for row in report["rows"] if row["kind"] == "permission")
    assert "Could not find principal with name users" in reason


def test_levels_of_a_workspaces_registry_become_privileges_that_allow_no_more(two: Models) -> None:
    names = {level: two.account.add_user(f"{level.lower()}@example.com").name for level in LEVELS}
    rows = [{"user_name": who, "permission_level": level} for level, who in names.items()]
    two.in_workspace(two.a, "churn", *rows)
    report = two.copy("databricks://a", "databricks-uc://b", "--prefix", "main.ml.").expect(1).json
    assert two.granted(two.b, "main.ml.churn") == {names[level]: privileges for level, privileges in LEVELS.items()}
    assert losses(report) == [
        ("unsupported", "can_manage_production_versions@example.com"),
        ("unsupported", "can_manage_staging_versions@example.com"),
    ]
    words = ("--prefix", "main.ml.", "--allow-loss", "permission")
    two.copy("databricks://a", "databricks-uc://b", *words).expect(0)
    two.verify("databricks://a", "databricks-uc://b", *words).expect(0)


EDITS = ["APPLY_TAG", "CREATE_MODEL_VERSION", "EXECUTE"]
LEVELS = {
    "CAN_READ": ["EXECUTE"],
    "CAN_EDIT": EDITS,
    "CAN_MANAGE_STAGING_VERSIONS": EDITS,
    "CAN_MANAGE_PRODUCTION_VERSIONS": EDITS,
    "CAN_MANAGE": [*EDITS, "MANAGE"],
}


def test_privileges_become_the_highest_level_that_allows_no_more_and_the_rest_is_told(two: Models) -> None:
    given: dict[str, tuple[str, ...]] = {
        "reader@x.com": ("EXECUTE",),
        "editor@x.com": tuple(EDITS),
        "all@x.com": ("ALL_PRIVILEGES",),
        "manager@x.com": ("ALL_PRIVILEGES", "MANAGE"),
        "tagger@x.com": ("APPLY_TAG",),
        "writer@x.com": ("CREATE_MODEL_VERSION", "EXECUTE"),
    }
    for who in given:
        two.account.add_user(who)
    two.in_catalog(two.a, "main.ml.churn", **given)
    report = two.copy("databricks-uc://a", "databricks://b", "--rename", "main.ml.churn=churn").expect(1).json
    assert two.levels(two.b, "churn") == {
        "reader@x.com": "CAN_READ",
        "editor@x.com": "CAN_EDIT",
        "all@x.com": "CAN_EDIT",
        "manager@x.com": "CAN_MANAGE",
        "writer@x.com": "CAN_READ",
    }
    assert [who for state, who in losses(report) if state == "unsupported"] == ["tagger@x.com", "writer@x.com"]


@pytest.fixture(scope="module")
def users_server(template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with users: ann reads, edits and manages, the group-less way."""
    server = guarded(tmp_path_factory.mktemp("guarded-") / "one", template)
    try:
        for name in ("ann@example.com", "bob@example.com"):
            server.call("POST", V2 + "users/create", username=name, password=WORD)
        yield server
    finally:
        servers.stop(server.server)


def signed_in(end: Guarded, role: str) -> dict[str, str]:
    return {
        f"MLFLOW_MIGRATION_{role}_USERNAME": end.admin[0],
        f"MLFLOW_MIGRATION_{role}_PASSWORD": end.admin[1],
    }


def own_permissions(end: Guarded, user: str, experiment: str) -> list[tuple[str, str, str]]:
    query = (
        "SELECT p.resource_type, p.resource_pattern, p.permission FROM role_permissions p "
        "JOIN user_role_assignments a ON a.role_id = p.role_id JOIN users u ON u.id = a.user_id "
        "WHERE u.username = ? AND p.resource_pattern = ?"
    )
    return [(str(a), str(b), str(c)) for a, b, c in end.select(query, user, experiment)]


def test_permissions_of_mlflows_own_users_arrive_in_a_workspace_and_go_back(two: Models, users_server: Guarded) -> None:
    two.account.add_user("ann@example.com")
    made = users_server.call("POST", V2 + "experiments/create", name="/Shared/churn")["experiment_id"]
    for who, level in (("ann@example.com", "EDIT"), ("bob@example.com", "READ")):
        body = {"username": who, "resource_type": "experiment", "resource_id": made, "permission": level}
        users_server.call("POST", V3 + "users/permissions/grant", **body)
    env = {**two.account.environment(), **signed_in(users_server, "SRC")}
    places = ("--src-mlflow-uri", users_server.server.url, "--dst-mlflow-uri", "databricks-uc://b")
    report = two.tool("copy-all", *places, "--permissions", "--json", env=env).expect(1).json
    there = two.ask(two.b, "GET", V2 + "experiments/get-by-name", {"experiment_name": "/Shared/churn"})
    id_ = there["experiment"]["experiment_id"]
    listed = two.ask(two.b, "GET", f"/api/2.0/permissions/experiments/{id_}", None)["access_control_list"]
    direct = {
        row["user_name"]: each["permission_level"]
        for row in listed
        for each in row["all_permissions"]
        if "user_name" in row and not each["inherited"]
    }
    assert direct == {"ann@example.com": "CAN_EDIT", ADMIN: "CAN_MANAGE"}
    told = {(row["kind"], row["state"], row["name"]) for row in report["rows"] if row["kind"] in {"user", "grant"}}
    assert ("user", "unsupported", "bob@example.com") in told
    assert any(kind == "grant" and name.startswith("bob@example.com") for kind, _, name in told)

    names = two.tool.home.with_name("names.csv")
    names.write_text(f"{ADMIN},\n")
    back = ("--src-mlflow-uri", "databricks-uc://b", "--dst-mlflow-uri", users_server.server.url)
    asked = ("copy-experiments", "--experiments", "/Shared/*", "--permissions", "--principals", str(names))
    words = (*asked, "--rename", "/Shared/churn=back", "--json")
    env = {**two.account.environment(), **signed_in(users_server, "DST")}
    two.tool(*words, *back, env=env).expect(0)
    arrived = users_server.server.url + V2 + "experiments/get-by-name"
    answer = requests.get(arrived, {"experiment_name": "back"}, auth=users_server.admin, timeout=30).json()
    found = own_permissions(users_server, "ann@example.com", answer["experiment"]["experiment_id"])
    assert found == [("experiment", answer["experiment"]["experiment_id"], "EDIT")]
