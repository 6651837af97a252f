"""Deployed apps for tests that move data: the real runtime behind the platform's front, by the product's own deploy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from mlflow_migration.apps.deploy import Options, deploy
from mlflow_migration.apps.preflight import Making
from mlflow_migration.apps.render import Packages, render
from tests.apps import dev
from tests.apps.deploying import NAME, PLAIN, Trial, configured
from tests.conftest import Tool
from tests.databricks.app_samples import bearer, until
from tests.databricks.app_state import App, apps

ADDRESS = f"databricks-app://{NAME}"
FAST: Mapping[str, Any] = {"snapshots": {"seconds": 1}}
"""A loss window that tests can wait for."""


@dataclass(frozen=True)
class Living:
    """A workspace in which an app is to live: its configuration, and the tool of whoever deploys it."""

    trial: Trial
    tool: Tool
    changes: Mapping[str, Any]

    def deploy(self) -> None:
        """Make the app, or make it what the configuration says. Packages aren't installed here: the pins are few."""
        making = Making(lambda config: Packages("3.17.2", ("click",)), render, lambda config: "")
        told = Options(first=0.1, seconds=180.0, steady=1.0, tell=self.trial.told.append, force=True, making=making)
        outcome = deploy(self.trial.place(), configured(**self.changes), told)
        assert outcome.failure is None, f"{outcome.failure}\n{self.log()[-3000:]}"

    @property
    def url(self) -> str:
        """Where it answers."""
        return str(self.trial.app()["url"])

    @property
    def held(self) -> App:
        """The emulator's own view of it."""
        return apps(self.trial.workspace).held[NAME]

    def kill(self) -> None:
        """SIGKILL to all of it, its disk gone: as when the machine goes."""
        container = self.held.container
        assert container is not None
        container.kill()

    def log(self) -> str:
        """What it said."""
        app = apps(self.trial.workspace).held.get(NAME)
        return "\n".join(line.message for line in app.lines) if app else ""

    def environment(self) -> dict[str, str]:
        """The environment of MLflow's client for it."""
        token = bearer(self.trial.workspace)["Authorization"].partition(" ")[2]
        return dev.environment(self.url, MLFLOW_TRACKING_TOKEN=token)

    def headers(self) -> dict[str, str]:
        """What a plain client sends."""
        return bearer(self.trial.workspace)

    def status(self) -> dict[str, Any]:
        """The runtime's own word."""
        answer = requests.get(f"{self.url}/mlflow-app/status.json", headers=self.headers(), timeout=10)
        return dict(answer.json()) if answer.ok else {}

    def serving(self) -> None:
        """Wait until it serves."""
        until(self.status, lambda found: found.get("state") == "serving", 90)


def states(document: dict[str, Any]) -> set[str]:
    """How objects ended."""
    return {state for counts in document["kinds"].values() for state, count in counts.items() if count} - {
        "asked",
        "bytes",
    }


def signed_in(trial: Trial, run_tool: Tool) -> Tool:
    """The tool of whoever deploys, by a service principal's login as a CI has it."""
    login = {
        "DATABRICKS_HOST": trial.workspace.url,
        "DATABRICKS_CLIENT_ID": trial.client.client_id,
        "DATABRICKS_CLIENT_SECRET": trial.client.client_secret,
        "DATABRICKS_CONFIG_FILE": str(run_tool.home / "no-profiles"),
    }
    run_tool.home.mkdir(parents=True, exist_ok=True)
    return Tool(run_tool.home, {**run_tool.env, **login})


def living(trial: Trial, run_tool: Tool, **changes: Any) -> Living:
    """The configuration lies where the tool looks for it."""
    tool = signed_in(trial, run_tool)
    told = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    Path(tool.home / "mlflow-app.yml").write_text(yaml.safe_dump(told))
    return Living(trial, tool, changes)
