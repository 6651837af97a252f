"""`check-access`: what a principal may do in Unity Catalog, by what, and the statements for what it lacks."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Outcome, Tool
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Account, Workspace

UC = "/api/2.1/unity-catalog/"
NEEDED = "USE_CATALOG,USE_SCHEMA,CREATE_MODEL,CREATE_TABLE"


@dataclass
class Catalog:
    """A workspace with a catalog `prod`, a schema `prod.ml`, and plain requests to fill it."""

    account: Account
    workspace: Workspace
    tool: Tool

    def send(self, method: str, path: str, body: Any = None, who: str = ADMIN) -> Any:
        answer = requests.request(
            method, self.workspace.url + UC + path, json=body, headers=dict(self.workspace.headers(who)), timeout=30
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else {}

    def grant(self, kind: str, name: str, principal: str, *privileges: str) -> None:
        changes = [{"principal": principal, "add": list(privileges)}]
        self.send("PATCH", f"permissions/{kind}/{name}", {"changes": changes})

    def own(self, path: str, owner: str) -> None:
        self.send("PATCH", path, {"owner": owner})

    def check(self, *words: str, profile: str = "prod") -> Outcome:
        environment = self.account.environment()
        return self.tool("check-access", f"databricks-uc://{profile}", *words, env=environment)

    def how(self, *words: str) -> dict[str, str]:
        """Privilege → how the principal has it, "" where it hasn't."""
        outcome = self.check(*words, "--json")
        assert outcome.code in (0, 1), outcome.stderr
        return {each["privilege"]: each["how"] for each in outcome.json["privileges"]}


@pytest.fixture
def prod(databricks_account: AccountFactory, run_tool: Tool) -> Catalog:
    account = databricks_account()
    made = Catalog(account, account.workspace("prod", metastore="m1"), run_tool)
    made.send("POST", "catalogs", {"name": "prod"})
    made.send("POST", "schemas", {"name": "ml", "catalog_name": "prod"})
    return made


def test_a_principal_that_lacks_two_grants_is_told_those_two_statements_and_nothing_else(prod: Catalog) -> None:
    ci = prod.account.add_service_principal("ci").client_id
    prod.grant("catalog", "prod", ci, "USE_CATALOG")
    prod.grant("schema", "prod.ml", ci, "USE_SCHEMA")
    outcome = prod.check("--principal", ci, "--schema", "prod.ml", "--for", NEEDED).expect(1)
    assert outcome.stdout.splitlines() == [
        f"GRANT CREATE MODEL ON SCHEMA `prod`.`ml` TO `{ci}`;",
        f"GRANT CREATE TABLE ON SCHEMA `prod`.`ml` TO `{ci}`;",
    ]
    assert f"service principal {ci} (ci)" in outcome.stderr


def test_the_statements_given_as_grants_are_all_that_lacked(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com").name
    words = ("--principal", user, "--schema", "prod.ml", "--for", "train")
    lacking = prod.check(*words, "--json").expect(1).json
    assert len(lacking["statements"]) == 6
    for each in lacking["privileges"]:
        prod.grant(each["on"]["type"], each["on"]["name"], user, each["privilege"])
    done = prod.check(*words, "--json").expect(0).json
    assert (done["ok"], done["statements"]) == (True, [])
    assert {each["how"] for each in done["privileges"]} == {"granted on it"}


def test_a_right_by_a_group_in_a_group_names_the_whole_way(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com", "ml team").name
    prod.account.add_group("data people", "ml team")
    prod.grant("catalog", "prod", "data people", "USE_CATALOG", "USE_SCHEMA")
    prod.grant("schema", "prod.ml", "ml team", "CREATE_MODEL")
    found = prod.how("--principal", user, "--schema", "prod.ml", "--for", "USE_CATALOG,USE_SCHEMA,CREATE_MODEL")
    assert found == {
        "USE_CATALOG": "granted on it by group ml team in data people",
        "USE_SCHEMA": "granted on catalog prod by group ml team in data people",
        "CREATE_MODEL": "granted on it by group ml team",
    }


def test_a_right_of_everybody_in_the_account_is_one_of_any_user_and_group(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com", "ml").name
    prod.grant("catalog", "prod", "account users", "USE_CATALOG")
    for name in (user, "ml"):
        found = prod.how("--principal", name, "--catalog", "prod", "--for", "USE_CATALOG")
        assert found == {"USE_CATALOG": "granted on it by group account users"}


def test_the_principals_own_grant_is_named_before_a_groups(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com", "ml").name
    prod.grant("schema", "prod.ml", "ml", "SELECT")
    prod.grant("catalog", "prod", user, "SELECT")
    found = prod.how("--principal", user, "--schema", "prod.ml", "--for", "SELECT")
    assert found == {"SELECT": "granted on catalog prod"}


def test_all_privileges_stand_for_each_but_manage(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com").name
    prod.grant("catalog", "prod", user, "ALL_PRIVILEGES")
    found = prod.how("--principal", user, "--schema", "prod.ml", "--for", "train,import,MANAGE")
    assert found.pop("MANAGE") == ""
    assert found.pop("USE_CATALOG") == "ALL_PRIVILEGES granted on it"
    assert set(found.values()) == {"ALL_PRIVILEGES granted on catalog prod"}


def test_the_owner_of_an_object_has_all_of_it_and_of_what_is_in_it_only_the_right_to_grant(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com", "owners").name
    prod.own("schemas/prod.ml", "owners")
    prod.send("POST", "models", {"catalog_name": "prod", "schema_name": "ml", "name": "churn"})
    words = ("--principal", user, "--model", "prod.ml.churn", "--for", "CREATE_MODEL,EXECUTE", "--json")
    found = {each["privilege"]: each for each in prod.check(*words).expect(1).json["privileges"]}
    assert found["CREATE_MODEL"]["how"] == "owns it by group owners"
    assert (found["EXECUTE"]["has"], found["EXECUTE"]["how"]) == (False, "")
    assert found["EXECUTE"]["note"] == "owns schema prod.ml by group owners, so it may grant it to itself"
    assert found["EXECUTE"]["grant"] == f"GRANT EXECUTE ON FUNCTION `prod`.`ml`.`churn` TO `{user}`;"


def test_manage_gives_nothing_but_the_right_to_grant(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com").name
    prod.grant("catalog", "prod", user, "MANAGE")
    words = ("--principal", user, "--schema", "prod.ml", "--for", "SELECT,MANAGE", "--json")
    found = {each["privilege"]: each for each in prod.check(*words).expect(1).json["privileges"]}
    assert found["MANAGE"]["how"] == "granted on catalog prod"
    assert found["SELECT"]["note"] == "has MANAGE granted on catalog prod, so it may grant it to itself"


def test_create_function_lets_one_create_models(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com").name
    prod.grant("schema", "prod.ml", user, "CREATE_FUNCTION")
    found = prod.how("--principal", user, "--schema", "prod.ml", "--for", "CREATE_MODEL")
    assert found == {"CREATE_MODEL": "CREATE_FUNCTION granted on it"}


def test_a_privilege_that_the_sdk_does_not_know_is_seen(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com").name
    prod.grant("catalog", "prod", user, "CREATE_MODEL_VERSION")
    found = prod.how("--principal", user, "--schema", "prod.ml", "--for", "CREATE_MODEL_VERSION")
    assert found == {"CREATE_MODEL_VERSION": "granted on catalog prod"}


def test_volumes_and_tables_are_asked_about_by_name(prod: Catalog) -> None:
    user = prod.account.add_user("a@example.com").name
    body = {"catalog_name": "prod", "schema_name": "ml", "name": "bundles", "volume_type": "MANAGED"}
    prod.send("POST", "volumes", body)
    prod.grant("volume", "prod.ml.bundles", user, "READ_VOLUME")
    words = ("--principal", user, "--volume", "prod.ml.bundles", "--for", "READ_VOLUME,WRITE_VOLUME")
    outcome = prod.check(*words).expect(1)
    assert outcome.stdout.splitlines() == [f"GRANT WRITE VOLUME ON VOLUME `prod`.`ml`.`bundles` TO `{user}`;"]


def test_names_with_backticks_and_dashes_are_quoted(prod: Catalog) -> None:
    prod.account.add_group("a`b team")
    prod.send("POST", "schemas", {"name": "new-churn", "catalog_name": "prod"})
    words = ("--principal", "a`b team", "--catalog", "prod", "--schema", "new-churn", "--for", "USE_SCHEMA")
    assert prod.check(*words).expect(1).stdout == "GRANT USE SCHEMA ON SCHEMA `prod`.`new-churn` TO `a``b team`;\n"


def test_who_asks_is_looked_at_where_nobody_is_named_by_what_only_they_may_ask(prod: Catalog) -> None:
    client = prod.account.add_service_principal("ci", "ml")
    prod.grant("catalog", "prod", client.client_id, "USE_CATALOG")
    prod.grant("schema", "prod.ml", "ml", "USE_SCHEMA")
    environment = {
        **prod.account.environment(),
        "MLFLOW_MIGRATION_SRC_DATABRICKS_HOST": prod.workspace.url,
        "MLFLOW_MIGRATION_SRC_DATABRICKS_CLIENT_ID": client.client_id,
        "MLFLOW_MIGRATION_SRC_DATABRICKS_CLIENT_SECRET": client.client_secret,
    }
    words = ("--schema", "prod.ml", "--for", "USE_CATALOG,USE_SCHEMA,SELECT", "--json")
    found = prod.tool("check-access", "databricks-uc", *words, env=environment).expect(1).json
    assert found["principal"] == {"type": "service_principal", "name": client.client_id, "title": "ci"}
    assert {each["privilege"]: each["how"] for each in found["privileges"]} == {
        "USE_CATALOG": "granted on it",
        "USE_SCHEMA": "granted on it by group ml",
        "SELECT": "",
    }
    assert client.client_secret not in str(found)


def test_who_may_not_ask_is_told_so_by_exit_code_3(prod: Catalog) -> None:
    prod.account.add_user("nobody@example.com")
    environment = {
        "DATABRICKS_HOST": prod.workspace.url,
        "DATABRICKS_TOKEN": prod.workspace.token("nobody@example.com"),
    }
    words = ("--schema", "prod.ml", "--principal", ADMIN)
    outcome = prod.tool("check-access", "databricks-uc", *words, env=environment).expect(3)
    assert "doesn't allow it" in outcome.stderr
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--catalog", "nowhere"), "no such catalog nowhere"),
        (("--schema", "prod.nowhere"), "no such schema prod.nowhere"),
        (("--model", "prod.ml.nowhere"), "no such model prod.ml.nowhere"),
        (("--principal", "who@example.com", "--catalog", "prod"), "no such principal: 'who@example.com'"),
        (("--catalog", "prod", "--for", "FLY"), "neither a purpose nor a privilege: 'FLY'"),
        (("--model", "churn"), "not a full name of a model"),
        (("--catalog", "dev", "--model", "prod.ml.churn"), "--catalog is 'dev' and 'prod'"),
        ((), "no catalog is named"),
    ],
)
def test_what_is_not_there_or_not_sayable_is_told_by_exit_code_2(
    prod: Catalog, words: tuple[str, ...], message: str
) -> None:
    assert message in prod.check(*words).expect(2).stderr


def test_a_place_that_is_no_workspace_is_refused(run_tool: Tool) -> None:
    outcome = run_tool("check-access", "http://127.0.0.1:9", "--catalog", "prod").expect(2)
    assert "not a Databricks workspace" in outcome.stderr


def test_the_real_sdk_agrees_that_the_statements_lack(prod: Catalog, tmp_path: Path) -> None:
    user = prod.account.add_user("a@example.com").name
    prod.grant("schema", "prod.ml", user, "CREATE_TABLE")
    lacking = prod.check("--principal", user, "--schema", "prod.ml", "--for", NEEDED, "--json").expect(1).json
    program = (
        "from databricks.sdk import WorkspaceClient\n"
        "held = WorkspaceClient(profile='prod').grants.get_effective('schema', 'prod.ml', principal='a@example.com')\n"
        "print(sorted(p.privilege.value for a in held.privilege_assignments for p in a.privileges))\n"
    )
    environment = {**prod.account.environment(), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    asked = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "['CREATE_TABLE']"
    assert [each["privilege"] for each in lacking["privileges"] if each["has"]] == ["CREATE_TABLE"]


def test_doctor_tells_who_asks_how_they_logged_in_and_which_grants_importing_lacks(prod: Catalog) -> None:
    client = prod.account.add_service_principal("ci")
    for privilege, kind, name in (("USE_CATALOG", "catalog", "prod"), ("USE_SCHEMA", "schema", "prod.ml")):
        prod.grant(kind, name, client.client_id, privilege)
    environment = {
        "DATABRICKS_HOST": prod.workspace.url,
        "DATABRICKS_CLIENT_ID": client.client_id,
        "DATABRICKS_CLIENT_SECRET": client.client_secret,
    }
    words = ("doctor", "databricks-uc", "--schema", "prod.ml")
    place = prod.tool(*words, "--json", env=environment).expect(1).json["places"][0]
    assert place["who"] == f"service principal {client.client_id} (ci)"
    assert (place["login"], place["registry"], place["metastore"]) == ("oauth-m2m", "Unity Catalog", "m1")
    assert place["may_read"] is True
    wanted = [
        f"GRANT {privilege} ON SCHEMA `prod`.`ml` TO `{client.client_id}`;"
        for privilege in ("CREATE MODEL", "EXECUTE", "CREATE MODEL VERSION", "APPLY TAG")
    ]
    assert place["missing"] == wanted
    shown = prod.tool(*words, env=environment).expect(1)
    assert wanted[0] in shown.stdout
    assert client.client_secret not in shown.stdout + shown.stderr


def test_doctor_finds_nothing_missing_where_nothing_is_and_a_workspaces_own_registry_has_no_grants(
    prod: Catalog,
) -> None:
    environment = prod.account.environment()
    whole = prod.tool("doctor", "databricks-uc://prod", "--schema", "prod.ml", "--json", env=environment)
    assert whole.expect(0).json["places"][0]["missing"] == []
    own = prod.tool("doctor", "databricks://prod", "--schema", "prod.ml", "--json", env=environment).expect(0).json
    assert own["places"][0]["registry"] == "the workspace's own"
    assert "missing" not in own["places"][0]
    assert own["places"][0]["who"] == f"user {ADMIN} (admin)"
