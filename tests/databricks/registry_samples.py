"""A registered model of an open-source server as people have them, and what registries answer about one."""

from dataclasses import dataclass
from typing import Any

import requests

from tests import servers
from tests.databricks.clients import mlflow_script
from tests.databricks.state import ADMIN, Workspace
from tests.servers import Server

CHURN = '''
import tempfile
from pathlib import Path
import pandas
from mlflow.models import infer_signature

Path("add.py").write_text("""
import mlflow


class Add(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["x"] + NUMBER


mlflow.models.set_model(Add())
""")
code = Path("add.py").read_text()
frame = pandas.DataFrame({"x": [1.0, 2.0]})
mlflow.set_experiment("churn")
runs = []
for number in (1, 2, 3, 4):
    Path("add.py").write_text(code.replace("NUMBER", str(number)))
    with mlflow.start_run(run_name=f"run {number}") as run:
        mlflow.log_metric("accuracy", number / 10)
        mlflow.pyfunc.log_model(
            name="model",
            python_model="add.py",
            signature=infer_signature(frame, frame["x"]) if number != UNSIGNED else None,
            registered_model_name="churn",
            pip_requirements=[],
        )
        runs.append(run.info.run_id)
client.update_registered_model("churn", "who leaves")
client.set_registered_model_tag("churn", "team", "growth")
client.set_registered_model_tag("churn", "mlflow.owner", " ann ")
client.delete_model_version("churn", "3")
client.set_model_version_tag("churn", "2", "checked", "yes")
client.set_model_version_tag("churn", "2", "data.set", "2024-05")
client.update_model_version("churn", "2", "the good one")
client.transition_model_version_stage("churn", "1", "Staging")
client.transition_model_version_stage("churn", "2", "Production")
client.set_registered_model_alias("churn", "best", "2")
result = runs
'''
"""Versions 1, 2 and 4 of `churn`, each adding its number to a column; 2 has an alias and a tag that is refused."""
LOADED = """
import pandas
model = mlflow.pyfunc.load_model("{uri}")
result = [float(model.predict(pandas.DataFrame({{"x": [1.0]}}))[0]), model.metadata.signature is not None]
"""


@dataclass(frozen=True)
class Made:
    """The runs of the versions, by number."""

    runs: dict[str, str]


def make_churn(server: Server, folder: Any, unsigned: int = 0) -> Made:
    """Fill an open-source server. Version `unsigned`, if any, has no signature."""
    text = f"import os\nos.chdir({str(folder)!r})\n" + CHURN.replace("UNSIGNED", str(unsigned))
    runs = mlflow_script(text, own(server.url))
    return Made({str(number): run for number, run in enumerate(runs, start=1)})


def own(url: str) -> dict[str, str]:
    """The environment of MLflow's client for an open-source server."""
    return servers.clean_environment({"MLFLOW_TRACKING_URI": url, "MLFLOW_REGISTRY_URI": url})


def loads(uri: str, env: dict[str, str]) -> list[Any]:
    """What the model at an address makes of 1.0, and whether it has a signature, by the real client."""
    answer: list[Any] = mlflow_script(LOADED.format(uri=uri), env)
    return answer


def catalog(workspace: Workspace, path: str, **query: str) -> dict[str, Any]:
    """An answer of Unity Catalog's registry to the admin, by a plain request."""
    return got(f"{workspace.url}/api/2.0/mlflow/unity-catalog/{path}", workspace, query)


def registry(workspace: Workspace, path: str, **query: str) -> dict[str, Any]:
    """An answer of the workspace's own registry to the admin, by a plain request."""
    return got(f"{workspace.url}/api/2.0/mlflow/{path}", workspace, query)


def got(url: str, workspace: Workspace, query: dict[str, str]) -> dict[str, Any]:
    response = requests.get(url, params=query, headers=dict(workspace.headers(ADMIN)), timeout=30)
    assert response.ok, response.text
    answer: dict[str, Any] = response.json()
    return answer


def tags(head: dict[str, Any]) -> dict[str, str]:
    """Tags as a dict."""
    return {tag["key"]: tag["value"] for tag in head.get("tags", [])}


def users(head: dict[str, Any]) -> dict[str, str]:
    """The tags that aren't the tool's own."""
    return {key: value for key, value in tags(head).items() if not key.startswith("mlflow_migration")}


def writes(workspace: Workspace) -> list[str]:
    """What changed something since the requests were last cleared."""
    reading = ("/search", "/create-download-url", "/generate-temporary-credentials", "/batchGetInfos")
    return [
        f"{method} {path}"
        for method, path, _ in workspace.requests
        if method not in {"GET", "HEAD"} and not path.partition("?")[0].endswith(reading)
    ]


def versions_of(workspace: Workspace, name: str) -> dict[str, str]:
    """Number → status of a model's versions in Unity Catalog; none where there is no such model."""
    url = f"{workspace.url}/api/2.0/mlflow/unity-catalog/model-versions/search"
    query = {"filter": f"name = '{name}'"}
    response = requests.get(url, params=query, headers=dict(workspace.headers(ADMIN)), timeout=30)
    return {str(each["version"]): each["status"] for each in response.json().get("model_versions", [])}


def plain(server: Server, path: str, **query: str) -> dict[str, Any]:
    """An answer of an open-source server, by a plain request."""
    answer: dict[str, Any] = requests.get(f"{server.url}/api/2.0/mlflow/{path}", params=query, timeout=30).json()
    return answer
