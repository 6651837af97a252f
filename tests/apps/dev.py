"""A team's server before it moves into an app: runs with files, models with aliases, traces, prompts, datasets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import servers
from tests.databricks.clients import mlflow_script
from tests.databricks.registry_samples import CHURN
from tests.servers import Server

MORE = """
import mlflow.genai
from mlflow.genai import datasets

with mlflow.start_run(run_name="with files") as run:
    mlflow.log_param("depth", 3)
    for step in range(5):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    mlflow.log_text("a plot, in words", "plots/loss.txt")
    Path("weights.bin").write_bytes(bytes(range(256)) * 4096)
    mlflow.log_artifact("weights.bin", "deep/down here")


@mlflow.trace(name="answer", span_type="LLM")
def answer(question):
    return question[::-1]


answer("who?")
answer("what?")
mlflow.flush_trace_async_logging()
prompt = mlflow.genai.register_prompt(name="greet", template="Say hello to {{name}}", tags={"team": "growth"})
mlflow.genai.set_prompt_alias("greet", alias="live", version=1)
experiment = mlflow.get_experiment_by_name("churn").experiment_id
made = datasets.create_dataset(name="questions", experiment_id=[experiment], tags={"kind": "smoke"})
made.merge_records([{"inputs": {"question": "who?"}, "expectations": {"answer": "?ohw"}}])
result = {"experiment": experiment, "runs": runs, "files": run.info.run_id, "dataset": made.dataset_id}
"""
ASKED = """
import mlflow.genai
import pandas
from mlflow.genai import datasets

frame = pandas.DataFrame({"x": [1.0]})
model = mlflow.pyfunc.load_model("models:/MODEL@best")
experiment = mlflow.get_experiment_by_name(EXPERIMENT)
runs = client.search_runs([experiment.experiment_id])
traces = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list")
files = next(run for run in runs if run.info.run_name == "with files")
folder = Path(client.download_artifacts(files.info.run_id, ""))
result = {
    "model": float(model.predict(frame)[0]),
    "runs": sorted(run.info.run_id for run in runs),
    "made": files.info.run_id,
    "uri": files.info.artifact_uri,
    "losses": [point.value for point in client.get_metric_history(files.info.run_id, "loss")],
    "files": {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()},
    "answers": sorted(span.outputs for trace in traces for span in trace.data.spans),
}
"""
GENAI = """
result["prompt"] = mlflow.genai.load_prompt("prompts:/greet@live").template
result["dataset"] = [row["inputs"] for row in datasets.get_dataset(name="questions").to_df().to_dict("records")]
"""
FILES = {"plots/loss.txt": 16, "deep/down here/weights.bin": 1 << 20}
"""The artifacts of the run "with files", by size."""


@dataclass(frozen=True)
class Dev:
    """What was made, by its ids."""

    experiment: str
    runs: tuple[str, ...]
    files: str
    dataset: str


@dataclass(frozen=True)
class Team:
    """The server as it runs, what was made in it, and its bundle."""

    made: Dev
    server: Server
    bundle: Path


def fill(server: Server, folder: Path) -> Dev:
    """Fill a server by the real client."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"import os\nos.chdir({str(folder)!r})\n" + CHURN.replace("UNSIGNED", "0").replace("result = runs\n", "")
    made = mlflow_script(text + MORE, environment(server.url))
    return Dev(made["experiment"], tuple(made["runs"]), made["files"], made["dataset"])


def asked(env: Mapping[str, str], experiment: str = "churn", model: str = "churn") -> dict[str, Any]:
    """What a real client sees of it: the model by its alias, files, histories, traces; a prompt and a dataset, where
    the model has its own name."""
    text = ASKED.replace("EXPERIMENT", repr(experiment)).replace("MODEL", model) + (GENAI if model == "churn" else "")
    found: dict[str, Any] = mlflow_script("from pathlib import Path\n" + text, dict(env))
    return found


def environment(url: str, **more: str) -> dict[str, str]:
    """The environment of MLflow's client for a server."""
    return servers.clean_environment({"MLFLOW_TRACKING_URI": url, "MLFLOW_REGISTRY_URI": url, **more})
