"""Promotion out of an open-source server into Unity Catalog."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import Tool
from tests.databricks.clients import environment
from tests.databricks.registry_samples import Made, catalog, loads, tags
from tests.databricks.state import Workspace
from tests.servers import Server


@pytest.fixture
def policy(churn: Made, empty_source: Server, workspace: Workspace, tmp_path: Path) -> Path:
    prod = {"server": "databricks-uc://a", "model": "main.ml.{model}", "journal": "/Shared/promotions"}
    content = {
        "version": 1,
        "environments": {"dev": {"server": empty_source.url}, "prod": prod},
        "path": ["dev", "prod"],
        "rules": [{"models": "churn", "gates": [{"gate": "run_finished"}, {"gate": "signature"}]}],
    }
    path = tmp_path / "promotion.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def _aliases(workspace: Workspace) -> dict[str, str]:
    model = catalog(workspace, "registered-models/get", name="main.ml.churn")["registered_model"]
    return {each["alias"]: str(each["version"]) for each in model.get("aliases", [])}


def test_versions_go_into_unity_catalog_by_the_policy_and_back_out_of_use(
    policy: Path, in_catalog: Tool, workspace: Workspace
) -> None:
    said = ("--to", "prod", "--policy", policy)
    for number in ("1", "2"):
        in_catalog("promote", "run", f"churn/{number}", *said).expect(0)
    assert _aliases(workspace) == {"champion": "2", "previous": "1"}
    assert loads("models:/main.ml.churn@champion", environment(workspace)) == [3.0, True]
    head = catalog(workspace, "model-versions/get", name="main.ml.churn", version="2")["model_version"]
    assert tags(head)["mlflow_migration_added_from"].endswith(" churn/2")

    workspace.requests.clear()
    in_catalog("promote", "run", "churn/2", *said).expect(0)
    assert _aliases(workspace) == {"champion": "2", "previous": "1"}
    status = in_catalog("promote", "status", "churn", "--policy", policy, "--verify", "--json").expect(0).json
    assert status["ok"]
    back = ("promote", "rollback", "churn", "--environment", "prod", "--policy", policy, "--reason", "alerts")
    in_catalog(*back).expect(0)
    assert _aliases(workspace) == {"champion": "1", "previous": "2"}
    told = in_catalog("promote", "history", "churn", "--policy", policy, "--json").expect(0).json["events"]
    assert [(each["kind"], each["outcome"], each["version"]) for each in told][:2] == [
        ("promote", "done", "1"),
        ("promote", "done", "2"),
    ]
    assert told[-1]["kind"] == "rollback"


def test_an_audit_of_unity_catalog_traces_what_was_promoted_and_names_what_it_cannot_check(
    policy: Path, in_catalog: Tool
) -> None:
    in_catalog("promote", "run", "churn/1", "--to", "prod", "--policy", policy).expect(0)
    words = ("audit", "run", "--tracking-uri", "databricks-uc://a", "--policy", policy, "--format", "json")
    report = in_catalog(*words).expect(1).json
    assert report["looked"]["model version"] == 1
    assert list(report["unlooked"]) == ["permissions-wide"]
    assert "check-access" in report["unlooked"]["permissions-wide"]
    assert not {"origin-untraceable", "bytes-differ"} & {each["rule"] for each in report["findings"]}
