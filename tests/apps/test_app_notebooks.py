"""The notebooks of `databricks_notebooks/app` run as on a driver: an app's whole life, from a bundle to its end."""

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import requests

from mlflow_migration import notebook
from tests.apps.deploying import NAME, VOLUME, Trial, own_wheel, trial
from tests.conftest import Run
from tests.databricks import notebook_cases
from tests.databricks.app_samples import bearer
from tests.databricks.run_notebook import Ended, run_notebook
from tests.databricks.state import Workspace
from tests.servers import Server


def run(name: str, values: Mapping[str, str | Path]) -> Ended:
    """Run a notebook with values in its widgets."""
    return run_notebook(notebook_cases.FOLDER / f"app/{name}.py", {key: str(value) for key, value in values.items()})


def ran(name: str, **values: str | Path) -> dict[str, Any]:
    """The document a notebook ends with; fails the test where it raised. `_` stands for `-`."""
    ended = run(name, {key.replace("_", "-"): value for key, value in values.items()})
    assert ended.error is None, ended.trace
    return dict(json.loads(ended.exit or ""))


@pytest.fixture
def place(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A workspace whose drivers log in as the deployer."""
    found = trial(workspace)
    monkeypatch.setenv("DATABRICKS_HOST", workspace.url)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", found.client.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", found.client.client_secret)
    return found


@pytest.fixture
def config(place: Trial, tmp_path: Path) -> Path:
    """A configuration whose packages need no index: a wheel, and the MLflow that is installed here."""
    wheel = own_wheel(tmp_path)
    file = tmp_path / "mlflow-app.yml"
    told = {
        "name": NAME,
        "mlflow": metadata.version("mlflow"),
        "volume": VOLUME,
        "snapshots": {"seconds": 1},
        "package": {"wheel": str(wheel)},
    }
    file.write_text(json.dumps(told))
    return file


def experiments(place: Trial) -> set[str]:
    """Names of experiments, as the deployed app tells them."""
    url = f"{place.app()['url']}/api/2.0/mlflow/experiments/search"
    answer = requests.post(url, json={"max_results": 100}, headers=bearer(place.workspace), timeout=30)
    answer.raise_for_status()
    return {str(each["name"]) for each in answer.json()["experiments"]}


def test_a_dry_run_of_a_notebook_says_what_would_be_made_and_makes_nothing(config: Path, place: Trial) -> None:
    report = ran("Create", config=config, dry_run="true")
    assert report["dry_run"] and report["rows"]
    assert place.app() == {}


@pytest.mark.slow
def test_a_notebook_about_an_app_that_is_not_there_raises(place: Trial) -> None:
    ended = run("Status", {"name": "nobody"})
    assert ended.error is not None and "nobody" in ended.error


@pytest.mark.slow
def test_an_app_is_seeded_made_looked_at_changed_saved_and_deleted_by_notebooks(
    config: Path, place: Trial, empty_source: Server, run_here: Run, tmp_path: Path
) -> None:
    notebook_cases.seed(empty_source)
    run_here("export-all", "--tracking-uri", empty_source.url, "--output-dir", tmp_path / "bundle").expect(0)
    seeded = ran("Seed", config=config, input_dir=tmp_path / "bundle")
    assert seeded["generation"] and seeded["verified"]["ok"]
    made = ran("Create", config=config, poll="0.1")
    assert made["status"] == "created" and place.app()["app_status"]["state"] == "RUNNING"
    assert experiments(place) == {"Default", "wine"}
    assert ran("Status", config=config)["healthy"]
    assert ran("Snapshot", config=config, to=tmp_path / "saved")["kinds"]["experiment"]["done"] == 2
    assert (tmp_path / "saved" / "manifest.json").exists()
    steps = ran("Test", config=config, write="true")["steps"]
    assert steps and all(step["ok"] for step in steps)

    told = {**json.loads(config.read_text()), "description": "churn's own"}
    config.write_text(json.dumps(told))
    assert ran("Update", config=config, poll="0.1", rollback="false")["status"] == "updated"
    assert place.app()["description"] == "churn's own"

    generations = ran("Restore", config=config, list="true")["generations"]
    assert seeded["generation"] in json.dumps(generations)

    refused = run("Delete", {"config": config})
    assert refused.error is not None and "has to be confirmed" in refused.error
    assert ran("Delete", config=config, yes="true", poll="0.1")["status"] == "deleted"
    assert place.app() == {}


@pytest.mark.slow
def test_an_option_that_is_on_by_default_can_be_switched_off_by_its_widget() -> None:
    assert notebook.words_of("app update", {"rollback": "false", "yes": "false"}) == ["--no-rollback"]
    assert notebook.words_of("app update", {"rollback": "true", "yes": "true"}) == ["--rollback", "--yes"]
