"""File stores, made and read by MLflow's own client: `python -m tests.file_stores make|tell`, as a process of its own.

What `tell` prints judges the tool: it shares nothing with it, and says of a file store, a database and a server the
same things in the same words. Ids are replaced by names, for a server gives its own.
"""

import hashlib
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests import servers

Json = dict[str, Any]
LARGEST = sys.float_info.max
SHORT = 10


def run(what: str, uri: str, folder: Path) -> str:
    """Run one of this module's words with MLflow's client for `uri`; what it prints."""
    env = servers.clean_environment({"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true"})
    env["PYTHONPATH"] = str(Path(__file__).parent.parent)
    env["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    done = subprocess.run(
        [sys.executable, "-m", "tests.file_stores", what],
        cwd=folder,
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def make(folder: Path) -> Path:
    """A file store in `folder` with something of everything that one can hold."""
    run("make", (folder / "mlruns").as_uri(), folder)
    return folder / "mlruns"


def tell(uri: str, folder: Path) -> Json:
    """What a place holds, as MLflow's client shows it."""
    found: Json = json.loads(run("tell", uri, folder))
    return found


def _make() -> None:
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput, Metric

    client = mlflow.MlflowClient()
    one = client.create_experiment("one/é", tags={"team": "red"})
    gone = client.create_experiment("gone")
    parent = client.create_run(one, run_name="parent", tags={"k": "line 1\r\nline 2\n"}).info.run_id
    client.log_param(parent, "a/b", "1")
    client.log_param(parent, "empty", "")
    points = [Metric("loss", 1 / (step + 1), 1000 + step, step) for step in range(1200)]
    client.log_batch(parent, points[:1000])
    client.log_batch(parent, points[1000:])
    client.log_batch(
        parent,
        [
            Metric("loss", float("nan"), 5000, 1300),
            Metric("bounds", float("inf"), 1, 0),
            Metric("bounds", float("-inf"), 2, 1),
            # Logged twice: tables hold it once.
            Metric("twice/deep", 1.0, 1, 0),
            Metric("twice/deep", 1.0, 1, 0),
        ],
    )
    client.log_text(parent, "hello", "dir/x.txt")
    child = client.create_run(one, run_name="child", tags={"mlflow.parentRunId": parent}).info.run_id
    source = Dataset("rows", "d1", "local", '{"uri": "x"}', "{}", "{}")
    client.log_inputs(parent, [DatasetInput(source, [InputTag("mlflow.data.context", "train")])])
    model = client.create_logged_model(one, name="net", source_run_id=parent, params={"p": "1"}, tags={"t": "u"})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights.bin").write_bytes(bytes(range(256)))
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(parent, [LoggedModelOutput(model.model_id, 3)])
    client.log_inputs(child, models=[LoggedModelInput(model.model_id)])
    client.log_metric(parent, "acc", 0.5, 5, 0, model_id=model.model_id, dataset_name="rows", dataset_digest="d1")
    client.set_terminated(child, "FAILED", 7000)
    client.set_terminated(parent, "FINISHED", 8000)
    client.delete_run(client.create_run(one, run_name="dead").info.run_id)
    lost = client.create_run(gone, run_name="in gone").info.run_id
    client.log_text(lost, "bye", "g.txt")
    client.set_terminated(lost)
    client.delete_experiment(gone)
    client.create_registered_model("reg", {"a": "b"}, "about it")
    client.create_model_version("reg", model.artifact_location, parent)
    client.create_model_version("reg", f"models:/{model.model_id}", parent, {"x": "y"})
    client.set_registered_model_alias("reg", "champion", "2")
    client.register_prompt("greeting", "hi {{name}}", "first")
    mlflow.set_experiment("one/é")
    with mlflow.start_span("root") as span:
        span.set_inputs({"q": 1})
        span.set_outputs("answer")
        with mlflow.start_span("inner"):
            pass
    mlflow.log_feedback(trace_id=span.trace_id, name="good", value=True, rationale="so")
    mlflow.log_expectation(trace_id=span.trace_id, name="wanted", value={"a": [1, 2]})


def _tell() -> None:
    import mlflow
    from mlflow.entities import ViewType

    client = mlflow.MlflowClient()
    names: dict[str, str] = {}
    told: Json = {}
    experiments = [each for each in client.search_experiments(ViewType.ALL) if each.name != "Default"]
    for each in experiments:
        names[each.experiment_id] = f"experiment {each.name}"
        told[f"experiment {each.name}"] = {"tags": _own(each.tags), "stage": each.lifecycle_stage}
    ids = [each.experiment_id for each in experiments]
    # One by one: a search in a database leaves out the models that went into a run.
    runs = [client.get_run(each.info.run_id) for each in client.search_runs(ids, run_view_type=ViewType.ALL)]
    models = client.search_logged_models(ids)
    names.update({each.info.run_id: f"run {each.info.run_name}" for each in runs})
    names.update({each.model_id: f"model {each.name}" for each in models})
    for each in runs:
        told[f"run {each.info.run_name}"] = {
            "info": [each.info.status, each.info.end_time, each.info.lifecycle_stage, names[each.info.experiment_id]],
            "start": each.info.start_time,
            "user": each.info.user_id,
            "params": each.data.params,
            "tags": _own(each.data.tags),
            "latest": {key: _number(value) for key, value in each.data.metrics.items()},
            "metrics": {key: _history(client, each.info.run_id, key) for key in each.data.metrics},
            "datasets": [
                [vars(given.dataset), {tag.key: tag.value for tag in given.tags}]
                for given in each.inputs.dataset_inputs
            ],
            "models in": [names[given.model_id] for given in each.inputs.model_inputs],
            "models out": [[names[given.model_id], given.step] for given in each.outputs.model_outputs],
            "files": _files(each.info.artifact_uri),
        }
    for each in models:
        told[f"model {each.name}"] = {
            "head": [each.status, names[each.source_run_id], each.params, _own(each.tags), each.model_type or ""],
            "metrics": [
                [given.key, given.value, given.timestamp, given.step, given.dataset_name, given.dataset_digest]
                for given in each.metrics or ()
            ],
            "files": _files(each.artifact_location),
        }
    for each in client.search_registered_models():
        aliases = {name: str(number) for name, number in each.aliases.items()}
        told[f"registered {each.name}"] = [each.description, _own(each.tags), aliases]
    for each in client.search_model_versions():
        head = [each.description or "", each.current_stage, each.status, names.get(each.run_id or "", "")]
        told[f"version {each.name} {each.version}"] = [
            head,
            _own(each.tags),
            _files(f"models:/{each.name}/{each.version}"),
        ]
    prompt = client.get_prompt_version("greeting", "1")
    told["prompt greeting"] = [prompt.template, prompt.commit_message] if prompt else None
    for trace in client.search_traces(locations=ids):
        info = trace.info
        told[f"trace {info.trace_id}"] = {
            "info": [info.request_time, info.execution_duration, info.state, info.request_preview],
            "spans": [[span.name, span.inputs, span.outputs, span.start_time_ns] for span in trace.data.spans],
            "assessments": sorted(
                [given.name, given.value, str(given.source), given.rationale, given.create_time_ms]
                for given in info.assessments
            ),
        }
    sys.stdout.write(json.dumps(_named(told, names), sort_keys=True))


def _own(tags: dict[str, str]) -> dict[str, str]:
    """Those a person set. A server tells a model of its versions by itself."""
    mine = {key: value for key, value in tags.items() if not key.startswith("mlflow_migration.")}
    return {key: value for key, value in mine.items() if key != "mlflow.modelVersions"}


def _number(value: float) -> str:
    """As tables hold it: the largest number stands for infinity."""
    return repr(value if math.isnan(value) else max(-LARGEST, min(LARGEST, value)))


def _history(client: Any, run_id: str, key: str) -> list[Any]:
    points = {(point.step, point.timestamp, _number(point.value)) for point in client.get_metric_history(run_id, key)}
    return sorted(points)


def _files(uri: str) -> dict[str, str]:
    """Artifacts with their checksums; none where the client doesn't find the folder."""
    import mlflow

    try:
        folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=tempfile.mkdtemp(dir=Path.cwd())))
    except mlflow.MlflowException as error:
        if "No such artifact" not in str(error):
            raise
        return {}
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _named(told: Json, names: dict[str, str]) -> Json:
    text = json.dumps(told, default=str)
    for id_, name in names.items():
        if len(id_) < SHORT:
            # The number of a server's experiment, which stands in other numbers.
            continue
        text = text.replace(id_, json.dumps(name)[1:-1])
    found: Json = json.loads(text)
    return found


if __name__ == "__main__":
    {"make": _make, "tell": _tell}[sys.argv[1]]()
