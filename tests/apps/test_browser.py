"""MLflow's pages and the status page of an app on this machine, in a real browser.

`make screenshots` keeps what it sees: the pictures of docs/how-to.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import servers
from tests.apps.run_local import started
from tests.databricks import catalogue
from tests.databricks.fixtures import AccountFactory
from tests.governance import browser

pytestmark = browser.NEEDED
RUNS = {"first attempt": 0.71, "more trees": 0.78, "balanced classes": 0.84}


@dataclass(frozen=True)
class Shown:
    """An app, and where its experiment and best run are."""

    url: str
    experiment: str
    run: str

    def post(self, path: str, **document: Any) -> dict[str, Any]:
        """POST JSON to its API."""
        answer = requests.post(f"{self.url}/api/2.0/mlflow/{path}", json=document, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """An app with an experiment of three runs."""
    folder, port = tmp_path_factory.mktemp("shown"), servers.free_port()
    (folder / "mlflow-app.yml").write_text(
        "name: tracking\nvolume: /Volumes/main/mlflow/app\nsnapshots: {seconds: 5}\n"
    )
    words = ["app", "run-local", "--config", "mlflow-app.yml", "--port", str(port)]
    with started([sys.executable, "-m", "mlflow_migration", *words], folder, port):
        app = Shown(f"http://127.0.0.1:{port}", "", "")
        experiment = app.post("experiments/create", name="churn")["experiment_id"]
        run = ""
        for name, auc in RUNS.items():
            made = app.post("runs/create", experiment_id=experiment, run_name=name, start_time=1_790_000_000_000)
            run = made["run"]["info"]["run_id"]
            metrics = [
                {"key": "auc", "value": auc - 0.2 / step, "timestamp": 1_790_000_000_000 + step, "step": step}
                for step in range(1, 30)
            ]
            app.post("runs/log-batch", run_id=run, metrics=metrics, params=[{"key": "depth", "value": "7"}])
            app.post("runs/update", run_id=run, status="FINISHED", end_time=1_790_000_060_000)
        yield Shown(app.url, experiment, run)


@pytest.fixture
def on_volume(databricks_account: AccountFactory, tmp_path: Path) -> Iterator[str]:
    """The address of an app whose data is in a Volume."""
    workspace = databricks_account().workspace("a", metastore="m1")
    catalogue.make(workspace.metastore, "main.mlflow")
    requests.post(
        f"{workspace.url}/api/2.1/unity-catalog/volumes",
        json={"catalog_name": "main", "schema_name": "mlflow", "name": "app", "volume_type": "MANAGED"},
        headers=workspace.headers(),
        timeout=10,
    ).raise_for_status()
    port, env = servers.free_port(), {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    (tmp_path / "mlflow-app.yml").write_text("name: tracking\nvolume: /Volumes/main/mlflow/app\n")
    words = ["app", "run-local", "--volume", "/Volumes/main/mlflow/app", "--port", str(port)]
    with started([sys.executable, "-m", "mlflow_migration", *words], tmp_path, port, env):
        yield f"http://127.0.0.1:{port}"


def without_assistant(page: Any) -> None:
    """Close the panel that MLflow's pages open with."""
    page.get_by_role("button", name="Close").first.click()


def keep(page: Any, name: str, height: int = 600) -> None:
    """Keep a picture where the environment names a folder for it."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
        page.wait_for_timeout(1500)  # what a page draws without a request
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_experiments_page_lists_what_is_there(shown: Shown) -> None:
    with browser.opened(f"{shown.url}/#/experiments", width=1200) as found:
        found.page.get_by_role("link", name="churn").first.wait_for(timeout=60_000)
        without_assistant(found.page)
        keep(found.page, "mlflow-app-experiments", 400)


def test_the_page_of_a_run_shows_its_metric(shown: Shown) -> None:
    with browser.opened(f"{shown.url}/#/experiments/{shown.experiment}/runs/{shown.run}", width=1200) as found:
        found.page.get_by_text("balanced classes").first.wait_for(timeout=60_000)
        found.page.get_by_text("auc").first.wait_for(timeout=60_000)
        # The last step: 0.84 - 0.2 / 29.
        found.page.get_by_text("0.833").first.wait_for(timeout=60_000)
        without_assistant(found.page)
        found.page.get_by_text("Model metrics").click()
        keep(found.page, "mlflow-app-run", 520)


@pytest.mark.parametrize("width", [1000, 380])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_status_page_shows_how_much_would_be_lost_and_asks_for_nothing_else(
    shown: Shown, scheme: str, width: int
) -> None:
    url = f"{shown.url}/mlflow-app/status"
    with browser.opened(url, "dark" if scheme == "dark" else "light", width) as found:
        page = found.page
        assert page.locator(".state").inner_text() == "serving"
        assert "In no snapshot yet" in page.locator(".figure").first.inner_text()
        # Nothing is wider than the window.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (browser.background(found) == "rgb(244, 246, 248)") == (scheme == "light")
        assert (found.said, found.asked) == ([], [url])
        page.get_by_role("link", name="MLflow").click()
        page.get_by_text("churn").first.wait_for(timeout=60_000)


@pytest.mark.slow
def test_the_status_page_says_where_in_the_workspace_snapshots_are(on_volume: str) -> None:
    with browser.opened(f"{on_volume}/mlflow-app/status", width=1000) as found:
        assert found.page.get_by_text("/Volumes/main/mlflow/app", exact=True).count() == 1
        found.page.get_by_text("seconds ago").wait_for(timeout=60_000)
        keep(found.page, "mlflow-app-status", 560)
