"""What tests of looking at an app share: an app that is an MLflow server, and the tool of whoever may manage it."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.conftest import Tool
from tests.databricks.app_proxy import oauth
from tests.databricks.state import Account, Workspace


def tool_of(run_tool: Tool, account: Account, workspace: Workspace, *groups: str) -> Tool:
    """The tool of a service principal, logged in by OAuth."""
    return Tool(run_tool.home, {**run_tool.env, **oauth(account, workspace, *groups)})


def personal(run_tool: Tool, workspace: Workspace, account: Account) -> Tool:
    """The tool of the admin, by a personal token."""
    env = {"DATABRICKS_HOST": workspace.url, "DATABRICKS_TOKEN": workspace.token()}
    env["DATABRICKS_CONFIG_FILE"] = str(account.config_file.with_name("none"))
    return Tool(run_tool.home, {**run_tool.env, **env})


def status_document(**changed: Any) -> str:
    """The status document of a runtime on SQLite, written this moment."""
    now = datetime.now(timezone.utc)
    document: Mapping[str, Any] = {
        "app": "mlflow",
        "backend": "sqlite",
        "state": "serving",
        "message": "",
        "mlflow": "3.17.2",
        "package": "0.1.0",
        "restarts": 0,
        "supervised": True,
        "loss_seconds": 12.5,
        "snapshot_seconds": 30.0,
        "snapshot": {"generation": "G7", "time": (now - timedelta(minutes=9)).isoformat(), "age_seconds": 540.0},
        "database": {"bytes": 1048576, "free_bytes": 5 * 1024**3},
        "notes": ["a note"],
    }
    return json.dumps({**document, **changed})
