"""A folder as mlflow-export-import's newest commits lay it out; they can't be installed here, so it is written anew.

`python -m tests.old_layout FOLDER` exports everything of the server in MLFLOW_TRACKING_URI as these files of its
repository do: bulk/export_all.py (the folders), common/io_utils.py (`system`, `info`, `mlflow`), common/utils.py (an
object becomes its attributes, without their first character), experiment/export_experiment.py, run/export_run.py,
logged_model/export_logged_model.py with common/logged_model_utils.py, bulk/export_logged_models.py,
trace/export_trace.py with trace/trace_utils.py, bulk/export_traces.py, common/model_utils.py, prompt/export_prompt.py,
bulk/export_prompts.py, evaluation_dataset/export_evaluation_dataset.py, bulk/export_evaluation_datasets.py.
"""

import enum
import json
import os
import sys
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Assessment, Expectation, Experiment, Feedback
from mlflow.genai import datasets as evaluation

Json = dict[str, Any]


def write(path: Path, value: Json, info: Json | None = None) -> None:
    """One file; `info` is left out where it is empty."""
    system = {"package_version": "1.2.0", "script": "x.py", "export_file_version": "2"}
    system["mlflow_tracking_uri"] = os.environ["MLFLOW_TRACKING_URI"]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"system": system, **({"info": info} if info else {}), "mlflow": value}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def attributes(found: Any) -> Json:
    """The attributes of an object, each without its first character, which is an underscore."""
    return {key[1:]: value for key, value in vars(found).items()}


def download(uri: str, folder: Path) -> None:
    """The artifacts below an address, where there are any; they come into a folder called `artifacts`."""
    if mlflow.artifacts.list_artifacts(uri):
        folder.mkdir(parents=True, exist_ok=True)
        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))


class Export:
    """An export of a whole server on its way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.client = mlflow.MlflowClient()

    def write(self) -> None:
        """Everything, in the order of export-all."""
        self._models()
        for experiment in self.client.search_experiments():
            self._experiment(experiment)
        self._prompts()
        self._datasets()
        write(self.root / "manifest.json", {}, {"options": {}, "status": {}})

    def _experiment(self, experiment: Experiment) -> None:
        folder, id_ = self.root / "experiments" / experiment.experiment_id, experiment.experiment_id
        runs = [run.info.run_id for run in self.client.search_runs([id_])]
        for run_id in runs:
            self._run(run_id, folder / "runs" / run_id)
        models = [model.model_id for model in self.client.search_logged_models([id_])]
        for model_id in models:
            self._logged_model(model_id, folder / "logged_models" / model_id)
        listed = {"experiments": [{"id": id_, "name": experiment.name, "logged_models": models}]}
        write(folder / "logged_models" / "logged_models.json", listed, {"failed_logged_models": []})
        traces = [trace.info.trace_id for trace in self.client.search_traces(locations=[id_], include_spans=False)]
        for trace_id in traces:
            self._trace(trace_id, folder / "traces" / trace_id)
        if traces:
            listed = {"experiments": [{"id": id_, "name": experiment.name, "traces": traces}]}
            write(folder / "traces" / "traces.json", listed, {"failed_traces": []})
        value = {"experiment": attributes(experiment), "runs": runs, "logged_models": models}
        write(folder / "experiment.json", value, {"failed_runs": []})

    def _run(self, run_id: str, folder: Path) -> None:
        run = self.client.get_run(run_id)
        metrics: dict[str, list[Json]] = {}
        for key in run.data.metrics:
            metrics[key] = [attributes(point) for point in self.client.get_metric_history(run_id, key)]
            for point in metrics[key]:
                del point["key"]
        inputs = {
            "dataset_inputs": [
                {"dataset": attributes(each.dataset), "tags": [attributes(tag) for tag in each.tags]}
                for each in run.inputs.dataset_inputs
            ],
            "model_inputs": [attributes(model) for model in run.inputs.model_inputs],
        }
        outputs = {"model_outputs": [attributes(model) for model in run.outputs.model_outputs]}
        value = {"info": attributes(run.info), "params": run.data.params, "metrics": metrics}
        value |= {"tags": dict(sorted(run.data.tags.items())), "inputs": inputs, "outputs": outputs}
        write(folder / "run.json", value)
        download(run.info.artifact_uri, folder)

    def _logged_model(self, model_id: str, folder: Path) -> None:
        model = self.client.get_logged_model(model_id)
        value = attributes(model)
        value["status"] = model.status.value
        value["metrics"] = [attributes(metric) for metric in model.metrics or []]
        write(folder / "logged_model.json", value)
        download(model.artifact_location, folder)

    def _trace(self, trace_id: str, folder: Path) -> None:
        trace = self.client.get_trace(trace_id)
        names = ("name", "trace_id", "span_id", "parent_id")
        spans = [{name: getattr(span, name) for name in names} for span in trace.data.spans]
        write(folder / "trace.json", {"info": _tree(trace.info), "data": spans})
        download(trace.info.tags["mlflow.artifactLocation"], folder)

    def _models(self) -> None:
        names = []
        for model in self.client.search_registered_models():
            names.append(model.name)
            value = {
                "name": model.name,
                "creation_timestamp": model.creation_timestamp,
                "description": model.description,
                "aliases": [{"alias": key, "version": number} for key, number in model.aliases.items()],
                "tags": [{"key": key, "value": text} for key, text in model.tags.items()],
                "versions": [],
            }
            for version in self.client.search_model_versions(f"name='{model.name}'"):
                found = attributes(version)
                found["creation_timestamp"] = found.pop("creation_time")
                value["versions"].append({**found, "aliases": list(found["aliases"])})
            write(
                self.root / "models" / model.name / "model.json", {"registered_model": value}, {"failed_versions": []}
            )
        write(self.root / "models" / "models.json", {"models": names}, {"failed_models": []})

    def _prompts(self) -> None:
        count = 0
        for prompt in mlflow.genai.search_prompts():
            for version in self.client.search_prompt_versions(prompt.name):
                found = mlflow.genai.load_prompt(prompt.name, version.version)
                value = {key: getattr(found, key, None) for key in ("name", "version", "template", "user_id", "uri")}
                value |= {"tags": dict(found.tags), "variables": list(found.variables)}
                for key in ("creation_timestamp", "last_updated_timestamp", "description", "commit_message"):
                    value[key] = getattr(found, key, None)
                write(self.root / "prompts" / f"{found.name}_v{found.version}" / "prompt.json", {"prompt": value})
                count += 1
        summary = {"total_prompts": count, "successful_exports": count, "failed_exports": 0}
        write(self.root / "prompts" / "prompts_summary.json", summary)

    def _datasets(self) -> None:
        for each in evaluation.search_datasets():
            dataset = evaluation.get_dataset(dataset_id=each.dataset_id)
            folder = self.root / "evaluation_datasets" / f"{dataset.name}_{dataset.dataset_id}"
            write(folder / "evaluation_dataset.json", {"evaluation_dataset": dataset.to_dict()})


def _tree(found: Any) -> Json:
    """A trace's info, or a part of it, with all that hangs on it, and of which class an assessment is."""
    made: Json = {}
    if isinstance(found, Assessment):
        kinds = {Feedback: "feedback", Expectation: "expectation"}
        made["assessment_type"] = kinds.get(type(found))
    for key, value in vars(found).items():
        if isinstance(value, enum.Enum) or (hasattr(value, "value") and key != "feedback"):
            made[key] = value.value
        elif hasattr(value, "__dict__"):
            made[key] = _tree(value)
        elif isinstance(value, list):
            made[key] = [_tree(each) if hasattr(each, "__dict__") else each for each in value]
        else:
            made[key] = value
    return made


if __name__ == "__main__":
    Export(Path(sys.argv[1])).write()
