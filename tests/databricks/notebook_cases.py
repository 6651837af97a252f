"""What each notebook is run with: content for a server, and for each notebook the values of its widgets."""

from dataclasses import dataclass
from pathlib import Path

from tests import rest, traces
from tests.fidelity import test_evaluation_dataset, test_genai_commands, test_logged_models
from tests.live.test_tools import mlmodel
from tests.rest import Api
from tests.servers import Server

FOLDER = Path(__file__).resolve().parents[2] / "databricks_notebooks"


@dataclass(frozen=True)
class Made:
    """The source's address, and ids there."""

    url: str
    run: str
    logged_model: str
    trace: str


def seed(server: Server) -> Made:
    """One of each kind that has notebooks: in an experiment "wine" a run with a model, and what came of it."""
    api = Api(server.url)
    experiment = api.post("experiments/create", name="wine")["experiment_id"]
    info = api.post("runs/create", experiment_id=experiment, run_name="train", start_time=5)["run"]["info"]
    run = info["run_id"]
    api.post("runs/log-batch", run_id=run, params=[{"key": "depth", "value": "3"}])
    api.post("runs/log-metric", run_id=run, key="loss", value=0.5, timestamp=6, step=1)
    rest.upload(api, info["artifact_uri"], "model/MLmodel", mlmodel())
    rest.upload(api, info["artifact_uri"], "model/data.bin", b"weights")
    api.post("runs/update", run_id=run, status="FINISHED", end_time=9)
    api.post("registered-models/create", name="churn", description="who leaves")
    source = f"{info['artifact_uri']}/model"
    api.post("model-versions/create", name="churn", source=source, run_id=run, tags=[{"key": "t", "value": "1"}])
    logged = test_logged_models.create(api, experiment, name="best")["model_id"]
    trace = traces.start(api, experiment, "tr-" + "b" * 32)["trace_id"]
    test_genai_commands.prompt(api, "greet", "Hi", "Hello {{name}}")
    dataset = test_evaluation_dataset.create(server, "questions", [experiment], {"k": "v"})
    test_evaluation_dataset.add(server, dataset, {"inputs": {"q": 1}, "outputs": "a"})
    api.close()
    return Made(server.url, run, logged, trace)


def exports(made: Made) -> dict[str, dict[str, str]]:
    """Notebook → widgets, but for the places, of those that write a bundle."""
    return {
        "single/Export_Run": {"run-id": made.run},
        "single/Export_Experiment": {"experiment": "wine"},
        "single/Export_Model": {"model": "churn"},
        "single/Export_Model_Version": {"model": "churn", "version": "1"},
        "single/Export_Logged_Model": {"model-id": made.logged_model},
        "single/Export_Trace": {"request-id": made.trace},
        "single/Export_Prompt": {"prompt-name": "greet"},
        "single/Export_Evaluation_Dataset": {"dataset-name": "questions"},
        "bulk/Export_Experiments": {"experiments": "all", "workers": "2"},
        "bulk/Export_Models": {"models": "all"},
        "bulk/Export_Logged_Models": {"experiment-ids": "all"},
        "bulk/Export_Traces": {"experiment-ids": "all"},
        "bulk/Export_Prompts": {"prompts": "all"},
        "bulk/Export_Evaluation_Datasets": {"evaluation-datasets": "all"},
        "bulk/Export_All": {"allow-loss": "none,name,link"},
    }


IMPORTS = {
    "single/Import_Run": ("single/Export_Run", {"experiment-name": "elsewhere"}),
    "single/Import_Experiment": ("single/Export_Experiment", {"experiment-name": "elsewhere"}),
    "single/Import_Model": ("single/Export_Model", {"model": "leaving", "experiment-name": "elsewhere"}),
    "single/Import_Model_Version": (
        "single/Export_Model_Version",
        {"model": "leaving", "experiment-name": "elsewhere", "create-model": "true"},
    ),
    "single/Import_Logged_Model": (
        "single/Export_Logged_Model",
        {"experiment-name": "elsewhere"},
    ),
    "single/Import_Trace": ("single/Export_Trace", {"experiment-name": "elsewhere"}),
    "single/Import_Prompt": ("single/Export_Prompt", {"prompt-name": "hello"}),
    "single/Import_Evaluation_Dataset": (
        "single/Export_Evaluation_Dataset",
        {"evaluation-dataset-name": "asked", "allow-loss": "link"},
    ),
    "bulk/Import_Experiments": ("bulk/Export_Experiments", {"rename": "wine=vino; Default=first"}),
    "bulk/Import_Models": ("bulk/Export_Models", {}),
    "bulk/Import_Logged_Models": ("bulk/Export_Logged_Models", {}),
    "bulk/Import_Traces": ("bulk/Export_Traces", {}),
    "bulk/Import_Prompts": ("bulk/Export_Prompts", {}),
    "bulk/Import_Evaluation_Datasets": ("bulk/Export_Evaluation_Datasets", {"allow-loss": "link"}),
    "bulk/Import_All": ("bulk/Export_All", {"allow-loss": "name,link"}),
}
"""Notebook → the notebook that made its bundle, and its widgets."""


def copies(made: Made) -> dict[str, dict[str, str]]:
    """Notebook → widgets of those that move from server to server."""
    return {
        "copy/Copy_Run": {"run-id": made.run, "experiment-name": "elsewhere"},
        "copy/Copy_Experiment": {"experiment": "wine"},
        "copy/Copy_Experiments": {"experiments": "all"},
        "copy/Copy_Models": {"models": "all"},
        "copy/Copy_Model_Version": {
            "src-model": "churn",
            "src-version": "1",
            "dst-model": "leaving",
            "dst-experiment-name": "elsewhere",
        },
        "copy/Copy_All": {"import-source-tags": "true", "verbose": "1"},
    }


def looks(made: Made, bundle: Path) -> dict[str, dict[str, str]]:
    """Notebook → widgets of those that look and write nothing at a server."""
    return {
        "tools/Doctor": {"places": f"{made.url} {bundle}"},
        "tools/Plan": {"places": f"{made.url} '{bundle}'"},
        "tools/Verify": {"places": f"{made.url} {bundle}"},
        "tools/Diff": {"places": f"{made.url} {bundle}"},
        "tools/List_Registered_Models": {"tracking-uri": made.url},
        "tools/Find_Artifacts": {"tracking-uri": made.url, "run-id": made.run, "target": "MLmodel"},
        "tools/Http_Client": {"tracking-uri": made.url, "resource": "experiments/search", "data": '{"max_results": 5}'},
    }


OTHERS = {
    "tools/Check_Access",
    "tools/Id_Map",
    "tools/Filter_Export",
    "tools/Rewrite_Export",
    "tools/Get_Model_Signature",
    "tools/Set_Model_Signature",
    "tools/List_Model_Versions_Without_Signatures",
    "tools/Download_Notebook",
    "scripts/Run_Submit",
    "scripts/Console_Scripts",
    *(f"app/{name}" for name in ("Create", "Seed", "Test", "Status", "Update", "Snapshot", "Restore", "Delete")),
}
"""Those that tests of their own run."""
