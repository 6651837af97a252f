"""`cicd check --access`: what the service principals of a repository's CI lack, environment by environment."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.conftest import Outcome, Tool
from tests.databricks.fixtures import AccountFactory
from tests.databricks.state import ADMIN, Account, Client, Workspace

UC = "/api/2.1/unity-catalog/"
WRITING = ("CREATE MODEL", "EXECUTE", "CREATE MODEL VERSION", "APPLY TAG")


@dataclass
class Repository:
    """A repository with its CI's files, and the workspace that holds the catalogs of its environments."""

    folder: Path
    account: Account
    workspace: Workspace
    ci: Client
    tool: Tool

    def send(self, method: str, path: str, body: Any) -> None:
        url, headers = self.workspace.url + UC + path, dict(self.workspace.headers(ADMIN))
        answer = requests.request(method, url, json=body, headers=headers, timeout=30)
        assert answer.ok, answer.text

    def grant(self, kind: str, name: str, *privileges: str, to: str = "") -> None:
        changes = [{"principal": to or self.ci.client_id, "add": list(privileges)}]
        self.send("PATCH", f"permissions/{kind}/{name}", {"changes": changes})

    def grant_everything(self) -> None:
        self.grant("catalog", "dev", "USE_CATALOG", "USE_SCHEMA", "EXECUTE")
        self.grant("catalog", "prod", "USE_CATALOG", "USE_SCHEMA")
        self.grant("schema", "prod.ml", *(each.replace(" ", "_") for each in WRITING))

    def policy(self, **environments: dict[str, str]) -> None:
        content = {"version": 1, "environments": environments, "path": list(environments)}
        (self.folder / "promotion.yml").write_text(yaml.safe_dump(content))

    def check(self, *words: str) -> Outcome:
        env = {**self.account.environment(), "CI_SECRET": self.ci.client_secret}
        return self.tool("cicd", "check", "--access", "--repository", self.folder, *words, env=env)


@pytest.fixture
def repository(databricks_account: AccountFactory, run_tool: Tool, tmp_path: Path) -> Repository:
    account = databricks_account()
    workspace = account.workspace("a", metastore="m1")
    made = Repository(tmp_path, account, workspace, account.add_service_principal("ci"), run_tool)
    for catalog in ("dev", "prod"):
        made.send("POST", "catalogs", {"name": catalog})
        made.send("POST", "schemas", {"name": "ml", "catalog_name": catalog})
    place = {
        "uri": "databricks-uc",
        "host": workspace.url,
        "client_id": made.ci.client_id,
        "client_secret_env": "CI_SECRET",
    }
    (tmp_path / "mlflow-migration.yml").write_text(yaml.safe_dump({"places": {"as_ci": place}}))
    model = "{environment}.ml.{model}"
    made.policy(dev={"server": "@as_ci", "model": model}, prod={"server": "@as_ci", "model": model})
    run_tool("cicd", "init", "--models", "churn", "--repository", tmp_path).expect(0)
    return made


def test_a_service_principal_is_told_by_itself_what_each_environment_lacks(repository: Repository) -> None:
    ci = repository.ci.client_id
    repository.grant("catalog", "dev", "USE_CATALOG", "USE_SCHEMA")
    repository.grant("catalog", "prod", "USE_CATALOG", "USE_SCHEMA")
    found = repository.check().expect(1)
    assert found.stdout.splitlines() == [
        f"GRANT EXECUTE ON SCHEMA `dev`.`ml` TO `{ci}`;",
        *(f"GRANT {privilege} ON SCHEMA `prod`.`ml` TO `{ci}`;" for privilege in WRITING),
    ]
    assert f"dev: service principal {ci} lacks 1 of 3 privileges" in found.stderr
    assert repository.ci.client_secret not in found.stdout + found.stderr


def test_nothing_is_missing_once_all_is_granted(repository: Repository) -> None:
    repository.grant_everything()
    found = repository.check("--json").expect(0).json
    assert found["ok"]
    assert [(each["environment"], each["statements"], each["problem"]) for each in found["access"]] == [
        ("dev", [], ""),
        ("prod", [], ""),
    ]


def test_a_model_that_is_there_and_somebody_elses_is_to_be_managed_too_for_its_alias_is_moved(
    repository: Repository,
) -> None:
    ci = repository.ci.client_id
    repository.grant_everything()
    repository.send("POST", "models", {"catalog_name": "prod", "schema_name": "ml", "name": "churn"})
    lacking = repository.check("--models", "churn,fraud").expect(1)
    assert lacking.stdout == f"GRANT MANAGE ON FUNCTION `prod`.`ml`.`churn` TO `{ci}`;\n"
    repository.send("PATCH", "models/prod.ml.churn", {"owner": ci})
    repository.check("--models", "churn,fraud").expect(0)


def test_an_admin_asks_for_others_by_environment(repository: Repository) -> None:
    other = repository.account.add_service_principal("deployer").client_id
    repository.grant_everything()
    server = {"server": "databricks-uc://a", "model": "{environment}.ml.{model}"}
    repository.policy(dev=server, prod=server)
    who = ("--principal", repository.ci.client_id, "--principal", f"prod={other}")
    found = repository.check(*who, "--json").expect(1).json["access"]
    named = [access["principal"]["name"] for each in found for access in each["found"]]
    assert named == [repository.ci.client_id, other]
    assert [len(each["statements"]) for each in found] == [0, 2 + len(WRITING)]


def test_an_environment_that_is_wrong_keeps_none_of_the_others_from_being_asked(repository: Repository) -> None:
    repository.grant_everything()
    repository.policy(
        dev={"server": "http://127.0.0.1:9"},
        two={"server": "@as_ci", "model": "ml.{model}"},
        gone={"server": "@as_ci", "model": "prod.absent.{model}"},
        prod={"server": "http://127.0.0.1:9", "registry": "@as_ci", "model": "prod.ml.{model}"},
    )
    found = {each["environment"]: each for each in repository.check("--json").expect(1).json["access"]}
    assert [name for name, each in found.items() if each["asked"]] == ["two", "gone", "prod"]
    assert "not a full name of a model" in found["two"]["problem"]
    assert "no such schema prod.absent" in found["gone"]["problem"]
    assert (found["prod"]["problem"], found["prod"]["statements"]) == ("", [])


def test_a_policy_without_unity_catalog_has_nothing_to_ask(repository: Repository) -> None:
    repository.policy(dev={"server": "http://127.0.0.1:9"}, prod={"server": "databricks://a"})
    assert "leave --access out" in repository.check().expect(2).stderr


def test_who_may_not_look_others_up_is_told_so_by_exit_code_3(repository: Repository) -> None:
    repository.grant_everything()
    assert "doesn't allow it" in repository.check("--principal", ADMIN).expect(3).stderr


def test_whom_to_ask_about_is_nothing_without_access(repository: Repository) -> None:
    refused = repository.tool("cicd", "check", "--models", "churn", "--repository", repository.folder).expect(2)
    assert "--access" in refused.stderr
