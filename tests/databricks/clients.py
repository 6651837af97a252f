"""The real clients as one of the principals, for tests of the emulator and of what the product left behind.

databricks-sdk runs in the tests' process. MLflow's client keeps its address in the environment and in globals, so it
runs scripts in a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config

from tests import servers
from tests.databricks.state import ADMIN, Workspace

# databricks-sdk repeats 429, 503 and cut connections this long; its default hides what is broken for five minutes.
RETRY_SECONDS = 5
SCRIPT_SECONDS = 120
BEGIN = """
import json
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

client = MlflowClient()


def refusal(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except MlflowException as error:
        return str(error)
    return ""


"""


def sdk(workspace: Workspace, principal: str = ADMIN) -> WorkspaceClient:
    """A client with the principal's personal access token."""
    config = Config(
        host=workspace.url, token=workspace.token(principal), auth_type="pat", retry_timeout_seconds=RETRY_SECONDS
    )
    return WorkspaceClient(config=config)


def environment(workspace: Workspace, principal: str = ADMIN, registry: str = "databricks-uc") -> dict[str, str]:
    """The environment in which MLflow's client talks to the workspace as the principal, without repeating requests."""
    return servers.clean_environment(
        {
            "DATABRICKS_HOST": workspace.url,
            "DATABRICKS_TOKEN": workspace.token(principal),
            "DATABRICKS_CONFIG_FILE": "/dev/null",
            "MLFLOW_TRACKING_URI": "databricks",
            "MLFLOW_REGISTRY_URI": registry,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
    )


def mlflow_script(text: str, env: Mapping[str, str]) -> Any:
    """What a script sets `result` to, with `mlflow`, `client` and `refusal` (a call's error as text) at hand.

    Raises AssertionError with the script's output when it fails.
    """
    whole = f"{BEGIN}{text}\nprint(json.dumps(result))\n"
    ended = subprocess.run(
        [sys.executable, "-c", whole],
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=SCRIPT_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return json.loads(ended.stdout.splitlines()[-1])
