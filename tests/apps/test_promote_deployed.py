"""Promotion and single imports by address into deployed apps with the real runtime, for each of the three backends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.apps import dev
from tests.apps.deploying import trial
from tests.apps.dev import Team
from tests.apps.living import ADDRESS, FAST, Living, living
from tests.conftest import Tool
from tests.databricks import catalogue
from tests.databricks.registry_samples import catalog, loads
from tests.databricks.state import Workspace

pytestmark = pytest.mark.slow


def policy(team: Team, folder: Path, **prod: str) -> Path:
    """From the team's server into the app."""
    content = {
        "version": 1,
        "environments": {"dev": {"server": team.server.url}, "prod": {"server": ADDRESS, **prod}},
        "path": ["dev", "prod"],
        "rules": [{"models": "churn", "gates": [{"gate": "run_finished"}, {"gate": "signature"}]}],
    }
    path = folder / "promotion.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def promoted(app: Living, rules: Path) -> None:
    """Two versions go up, the same again changes nothing, and the app goes back to the first."""
    said = ("--to", "prod", "--policy", rules)
    for number in ("1", "2", "2"):
        app.tool("promote", "run", f"churn/{number}", *said).expect(0)
    status = ("promote", "status", "churn", "--policy", rules, "--verify", "--json")
    assert app.tool(*status).expect(0).json["ok"]
    back = ("promote", "rollback", "churn", "--environment", "prod", "--policy", rules, "--reason", "alerts")
    app.tool(*back).expect(0)
    told = app.tool("promote", "history", "churn", "--policy", rules, "--json").expect(0).json["events"]
    assert [each["kind"] for each in told] == ["promote", "promote", "rollback"]


def aliases(head: Mapping[str, Any]) -> dict[str, str]:
    """Aliases and their versions."""
    return {each["alias"]: str(each["version"]) for each in head["registered_model"].get("aliases", [])}


def run_names(url: str, headers: Mapping[str, str], experiment: str) -> set[str]:
    """The runs of an experiment, as a server or workspace tells them."""

    def asked(method: str, path: str, **more: Any) -> Any:
        answer = requests.request(method, f"{url}/api/2.0/mlflow/{path}", headers=headers, timeout=30, **more)
        answer.raise_for_status()
        return answer.json()

    found = asked("GET", "experiments/get-by-name", params={"experiment_name": experiment})["experiment"]
    body = {"experiment_ids": [found["experiment_id"]], "max_results": 1000}
    return {run["info"]["run_name"] for run in asked("POST", "runs/search", json=body)["runs"]}


@pytest.mark.parametrize("changes", [FAST, {"backend": "lakebase"}], ids=["sqlite", "lakebase"])
def test_versions_are_promoted_into_an_app_and_an_experiment_is_imported_beside_them(
    team: Team, workspace: Workspace, run_tool: Tool, tmp_path: Path, changes: Mapping[str, Any]
) -> None:
    app = living(trial(workspace), run_tool, **changes)
    app.deploy()
    promoted(app, policy(team, tmp_path))
    url = f"{app.url}/api/2.0/mlflow/registered-models/get"
    head = requests.get(url, params={"name": "churn"}, headers=app.headers(), timeout=30).json()
    assert aliases(head) == {"champion": "1", "previous": "2"}
    assert loads("models:/churn@champion", app.environment()) == [2.0, True]

    bundle = tmp_path / "churn"
    words = ("--experiment", "churn", "--output-dir", bundle, "--tracking-uri", team.server.url)
    app.tool("export-experiment", *words).expect(0)
    into = ("import-experiment", "--input-dir", bundle, "--experiment-name", "moved", "--tracking-uri", ADDRESS)
    app.tool(*into).expect(0)
    there = run_names(app.url, app.headers(), "moved")
    assert there == run_names(team.server.url, {}, "churn") and len(there) == len(team.made.runs) + 1


def test_versions_are_promoted_into_unity_catalog_through_the_app_that_shows_it(
    team: Team, workspace: Workspace, run_tool: Tool, tmp_path: Path
) -> None:
    catalogue.make(workspace.metastore, "main.ml")
    app = living(trial(workspace), run_tool, backend="databricks", volume=None, experiment_prefix="/Shared/mlflow")
    app.deploy()
    promoted(app, policy(team, tmp_path, model="main.ml.{model}"))
    head = catalog(workspace, "registered-models/get", name="main.ml.churn")
    assert aliases(head) == {"champion": "1", "previous": "2"}
    login = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    env = dev.environment("databricks", **login) | {"MLFLOW_REGISTRY_URI": "databricks-uc"}
    assert loads("models:/main.ml.churn@champion", env) == [2.0, True]

    bundle = tmp_path / "churn"
    words = ("--experiment", "churn", "--output-dir", bundle, "--tracking-uri", team.server.url)
    app.tool("export-experiment", *words).expect(0)
    into = ("import-experiment", "--input-dir", bundle, "--experiment-name", "moved", "--tracking-uri", ADDRESS)
    app.tool(*into).expect(0)
    there = run_names(workspace.url, workspace.headers(), "/Shared/mlflow/moved")
    assert there == run_names(team.server.url, {}, "churn")
