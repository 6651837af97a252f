"""The real clients as one of the principals, for tests of the emulator and of what the product left behind.

databricks-sdk may run in the tests' process. MLflow's client keeps its address in the environment and in globals, so
its scripts run in a process of their own, with an environment of their own.
"""

import json
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config

from tests import servers
from tests.databricks.state import ADMIN, Workspace

SECONDS = 240
# What a script gets: the SDK and MLflow's client, and `tell(…)` for the one answer the test looks at.
PROLOGUE = """
import io, json, os, sys, tempfile
from pathlib import Path
def tell(answer):
    Path(sys.argv[1]).write_text(json.dumps(answer))
"""
# databricks-sdk repeats 429, 503 and cut connections this long; its default hides what is broken for five minutes.
RETRY_SECONDS = 5
# What `mlflow_script` gets beside it.
BEGIN = """
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
# A little model with a signature, for scripts.
MODEL = """
import pandas
from mlflow.models import infer_signature


class AddOne(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["x"] + 1


frame = pandas.DataFrame({"x": [1.0, 2.0]})
signature = infer_signature(frame, frame["x"])
"""
# It in a local `folder`.
SAVE = f"""{MODEL}
import tempfile
from pathlib import Path

folder = str(Path(tempfile.mkdtemp()) / "model")
mlflow.pyfunc.save_model(folder, python_model=AddOne(), signature=signature, pip_requirements=[])
"""
# It `logged` by a `run` of an experiment in the admin's home.
LOG = f"""{MODEL}
mlflow.set_experiment("/Users/admin@example.com/train")
with mlflow.start_run() as run:
    logged = mlflow.pyfunc.log_model(name="model", python_model=AddOne(), signature=signature, pip_requirements=[])
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


def run(folder: Path, script: str, environment: Mapping[str, str]) -> Any:
    """What `script` told; fails the test with its output when it fails. Nothing of the caller's environment gets in."""
    folder.mkdir(parents=True, exist_ok=True)
    told, file = folder / "told.json", folder / "script.py"
    told.unlink(missing_ok=True)
    file.write_text(PROLOGUE + textwrap.dedent(script))
    home = {"HOME": str(folder), "MLFLOW_TRACKING_URI": "databricks", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = subprocess.run(
        [sys.executable, str(file), str(told)],
        cwd=folder,
        env=servers.clean_environment({**home, **environment}),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return json.loads(told.read_text())


def mlflow_script(text: str, env: Mapping[str, str]) -> Any:
    """What a script sets `result` to, with `mlflow`, `client` and `refusal` (a call's error as text) at hand."""
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), f"{BEGIN}{text}\ntell(result)\n", env)
