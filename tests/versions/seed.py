"""Fills a server by its own version's client, with everything that version has.

It runs alone, in the virtual environment of that version: `python seed.py URL`.
"""

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking import MlflowClient

T0 = 1_700_000_000_000
VERSION = tuple(int(part) for part in mlflow.__version__.split(".")[:2])
MODELS, GENAI, LATEST = (3, 0), (3, 2), (3, 4)
"""The versions that brought logged models; assessments; evaluation datasets, scorers and webhooks."""


def predict(model_input: Any) -> Any:
    """A model that gives back what it gets."""
    return model_input


def runs(client: MlflowClient, experiment_id: str) -> list[str]:
    """A parent, its child, a failed and a deleted run; their ids."""
    tags = {"team": "ünï", "empty": "", "mlflow.note.content": "# note"}
    parent = client.create_run(experiment_id, start_time=T0, tags=tags, run_name="parent").info.run_id
    for begin in range(0, 2100, 700):
        points = [Metric("loss", 1 / (step + 1), T0 + step, step) for step in range(begin, begin + 700)]
        client.log_batch(parent, metrics=points, params=[Param(f"p{begin}", "x" * 400)])
    odd = [Metric("odd/key", value, T0 + n, n - 2) for n, value in enumerate((math.nan, math.inf, -0.1, 5e-324))]
    client.log_batch(parent, metrics=odd, params=[Param("leer", "")], tags=[RunTag("k é", "v\n2")])
    source = json.dumps({"url": "http://example.com/d.csv"})
    # A server of 2.22 takes the dataset of another experiment for one of the same name and digest.
    dataset = Dataset(f"data {experiment_id}", "abc123", "http", source, '{"cols": []}', '{"rows": 3}')
    client.log_inputs(parent, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    client.log_text(parent, "hello é", "notes/deep/a b.txt")
    client.log_text(parent, "", "leer.txt")
    client.log_dict(parent, {"a": [1]}, "conf.json")
    child = client.create_run(experiment_id, start_time=T0 + 5, tags={"mlflow.parentRunId": parent}).info.run_id
    client.log_metric(child, "acc", 0.5, T0 + 9, 0)
    client.set_terminated(child, "FAILED", T0 + 77)
    client.set_terminated(parent, "FINISHED", T0 + 99)
    trash = client.create_run(experiment_id, start_time=T0 + 7, run_name="trash").info.run_id
    client.log_param(trash, "p", "1")
    client.log_metric(trash, "acc", 0.25, T0 + 9, 3)
    client.delete_run(trash)
    running = client.create_run(experiment_id, start_time=T0 + 8).info.run_id
    return [parent, child, trash, running]


def fluent(experiment_id: str) -> str:
    """A run by the fluent API, with a model and its dataset; returns its id."""
    mlflow.set_experiment(experiment_id=experiment_id)
    with mlflow.start_run(run_name="fluent", description="by hand") as run:
        mlflow.log_input(MetaDataset(HTTPDatasetSource("http://example.com/x.csv"), "meta"), context="eval")
        where: dict[str, Any] = {"name": "model"} if VERSION >= MODELS else {"artifact_path": "model"}
        mlflow.pyfunc.log_model(**where, python_model=predict, pip_requirements=[], input_example=None)
        mlflow.log_metrics({"m1": 1.5, "m2": -2}, step=4)
    found: str = run.info.run_id
    return found


def registry(client: MlflowClient, run_ids: list[str]) -> None:
    """Two models: one with versions, stages, aliases and holes, one empty."""
    client.create_registered_model("shop.model", tags={"owner": "ann"}, description="a model\n2")
    client.create_registered_model("empty one")
    for number in range(1, 5):
        source = f"runs:/{run_ids[0]}/notes"
        made = client.create_model_version("shop.model", source, run_ids[0], tags={"n": str(number)})
        client.update_model_version("shop.model", made.version, f"version {number}")
    client.transition_model_version_stage("shop.model", "1", "Archived")
    client.transition_model_version_stage("shop.model", "3", "Production")
    client.delete_model_version("shop.model", "2")
    client.set_registered_model_alias("shop.model", "champion", "3")
    client.set_registered_model_alias("shop.model", "next-one", "4")
    mlflow.register_model(f"runs:/{run_ids[-1]}/model", "fluent-model")


def prompts() -> None:
    """One prompt with two versions and an alias."""
    where: Any = mlflow.genai if VERSION >= MODELS else mlflow
    message: dict[str, Any] = {"commit_message": "first"}
    where.register_prompt(name="greet", template="Hello {{name}} é", **message, tags={"author": "me"})
    where.register_prompt(name="greet", template="Hi {{name}}\n", commit_message="second")
    where.set_prompt_alias("greet", "prod", 2)


def traces(client: MlflowClient, experiment_id: str) -> None:
    """Traces of a run, with nested spans and events, a failed one, one that never ends, and one with huge values."""
    mlflow.set_experiment(experiment_id=experiment_id)
    with mlflow.start_run(run_name="traced"), mlflow.start_span("root é", span_type="AGENT") as root:
        root.set_inputs({"q": "what is it? ü", "numbers": [1, 2.5, None, True]})
        with mlflow.start_span("child", span_type="TOOL", attributes={"k": "v", "n": 1 << 40}) as span:
            span.add_event(_event())
            span.set_inputs("x" * 400)
        root.set_outputs({"a": "y" * 400})
    ids = [_last()]
    client.set_trace_tag(ids[0], "team", "ünï")
    client.set_trace_tag(ids[0], "long", "l" * 300)
    try:
        with mlflow.start_span("breaks"):
            raise ValueError("bad\nluck")
    except ValueError:
        ids.append(_last())
    span = client.start_trace("unended", inputs={"a": 1}, tags={"t": "1"}, experiment_id=experiment_id)
    client.start_span("inner", span.request_id, span.span_id)
    for number in range(3):
        with mlflow.start_span(f"many {number}"):
            pass
    if VERSION >= GENAI:
        assessments(ids[0])


def assessments(trace_id: str) -> None:
    """Feedback with metadata and errors, and an expectation."""
    from mlflow.entities import AssessmentError, AssessmentSource

    human = AssessmentSource(source_type="HUMAN", source_id="ann@example.com")
    judge = AssessmentSource(source_type="LLM_JUDGE", source_id="gpt")
    more = {"rationale": "weil ü", "metadata": {"a": "b"}}
    mlflow.log_feedback(trace_id=trace_id, name="good", value=0.5, source=human, **more)
    mlflow.log_feedback(trace_id=trace_id, name="bad", error=AssessmentError("E", "no"), source=judge)
    mlflow.log_expectation(trace_id=trace_id, name="want", value={"x": [1, "é"]}, source=human)


def _event() -> Any:
    from mlflow.entities import SpanEvent

    return SpanEvent("something", timestamp=1_700_000_000_123_456_789, attributes={"e": 1, "t": "é"})


def _last() -> str:
    found: str = mlflow.get_last_active_trace_id()
    return found


def logged_models(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """A ready model with params, tags, metrics on a dataset, and artifacts; a failed one; a deleted one."""
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    options: dict[str, Any] = {"source_run_id": run_id, "tags": {"a": "b"}, "params": {"p": "1"}, "model_type": "Agent"}
    ready = client.create_logged_model(experiment_id, name="ready", **options).model_id
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights.bin").write_bytes(bytes(range(256)))
        client.log_model_artifacts(ready, folder)
    client.finalize_logged_model(ready, "READY")
    dataset = {"dataset_name": f"data {experiment_id}", "dataset_digest": "abc123"}
    client.log_metric(run_id, "quality", 0.75, T0 + 3, 1, model_id=ready, **dataset)
    client.log_outputs(run_id, [LoggedModelOutput(ready, 2)])
    client.log_inputs(run_id, models=[LoggedModelInput(ready)])
    failed = client.create_logged_model(experiment_id, name="failed").model_id
    client.finalize_logged_model(failed, "FAILED")
    client.create_logged_model(experiment_id, name="pending")
    client.create_model_version("shop.model", f"models:/{ready}", model_id=ready)


def otlp(url: str, experiment_id: str) -> None:
    """A trace whose spans the server keeps in its database."""
    import requests
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    texts = {"mlflow.spanInputs": '{"a": "é"}', "plain": "text", "empty": ""}
    attributes: list[Any] = [{"key": key, "value": {"string_value": text}} for key, text in texts.items()]
    attributes += [{"key": "int", "value": {"int_value": 1 << 60}}, {"key": "half", "value": {"double_value": 0.5}}]
    attributes += [{"key": "yes", "value": {"bool_value": True}}]
    event = {"name": "happened", "time_unix_nano": T0 * 10**6 + 5, "attributes": attributes}
    span: dict[str, Any] = {"trace_id": "EjRWeJCrze8SNFZ4kKvN7w==", "span_id": "EjRWeJCrze8=", "name": "by otlp"}
    span |= {"start_time_unix_nano": T0 * 10**6 + 1, "end_time_unix_nano": T0 * 10**6 + 999_999_999, "kind": 1}
    span |= {"attributes": attributes, "events": [event], "status": {"code": 2, "message": "no\nluck"}}
    child = {**span, "span_id": "EjRWeJCrze4=", "parent_span_id": "EjRWeJCrze8=", "name": "child", "status": {}}
    body = ParseDict({"resource_spans": [{"scope_spans": [{"spans": [span, child]}]}]}, ExportTraceServiceRequest())
    headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment_id}
    requests.post(f"{url}/v1/traces", body.SerializeToString(), headers=headers, timeout=60).raise_for_status()


def latest(client: MlflowClient, url: str, experiment_id: str, run_id: str) -> None:
    """What 3.4 brought."""
    from mlflow.genai.datasets import create_dataset
    from mlflow.genai.scorers import RelevanceToQuery, Safety

    made = create_dataset(name="questions", experiment_id=[experiment_id], tags={"a": "b"})
    made.merge_records([{"inputs": {"q": str(n)}, "expectations": {"e": n}, "tags": {"t": "1"}} for n in range(5)])
    Safety(model="openai:/gpt-4o").register(name="safe", experiment_id=experiment_id)
    RelevanceToQuery(model="openai:/gpt-4o").register(name="relevant", experiment_id=experiment_id)
    trace_id = client.search_traces([experiment_id], max_results=1)[0].info.trace_id
    client.link_traces_to_run([trace_id], run_id)
    otlp(url, experiment_id)
    client.create_webhook("hook", "https://8.8.8.8/hook", ["registered_model.created"], status="DISABLED")


def main(url: str) -> None:
    """Fill the server at `url`."""
    mlflow.set_tracking_uri(url)
    client = MlflowClient()
    main_id = client.create_experiment("shop/main é", tags={"team": "a", "mlflow.note.content": "text"})
    client.create_experiment("empty")
    gone = client.create_experiment("gone")
    run_ids = runs(client, main_id)
    runs(client, gone)
    run_ids.append(fluent(main_id))
    registry(client, run_ids)
    prompts()
    traces(client, main_id)
    traces(client, gone)
    if VERSION >= MODELS:
        logged_models(client, main_id, run_ids[3])
    if VERSION >= LATEST:
        latest(client, url, main_id, run_ids[3])
    client.delete_experiment(gone)


if __name__ == "__main__":
    main(sys.argv[1])
