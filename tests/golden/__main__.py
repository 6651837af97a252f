"""Write a golden bundle: one object, and not much more, of each kind. `python -m tests.golden FOLDER`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import genai, rest, servers, traces
from tests.rest import API, Api, Json
from tests.servers import Server

RUN_TAGS = [{"key": "mlflow.runName", "value": "golden é"}, {"key": "team", "value": "red"}]
T0 = 1_600_000_000_000


def seed(server: Server) -> None:
    """Every kind, each with what is special of it."""
    api = Api(server.url)
    experiment = api.post("experiments/create", name="golden", tags=[{"key": "why", "value": "ü"}])["experiment_id"]
    run = _run(api, experiment)
    _models(api, server, experiment, run)
    issue = {"experiment_id": experiment, "name": "slow", "description": "d", "source_run_id": run["run_id"]}
    genai.call(server, "POST", "issues", json=issue)
    _traces(api, experiment, run["run_id"])
    _evaluation(server, experiment)
    body = {"name": "hook", "url": "https://8.8.8.8/hook", "status": "DISABLED"}
    event = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
    genai.call(server, "POST", "../../2.0/mlflow/webhooks", json={**body, "events": [event]})
    api.close()


def _run(api: Api, experiment: str) -> Json:
    info: Json = api.post("runs/create", experiment_id=experiment, start_time=T0, tags=RUN_TAGS)["run"]["info"]
    points = [{"key": "loss", "value": 1 / (n + 1), "timestamp": T0 + n, "step": n} for n in range(5)]
    params = [{"key": "rate", "value": "0.1"}]
    api.post("runs/log-batch", run_id=info["run_id"], params=params, metrics=points)
    rest.upload(api, info["artifact_uri"], "notes/day 1.txt", b"sunny\n")
    api.post("runs/update", run_id=info["run_id"], status="FINISHED", end_time=T0 + 9)
    return info


def _models(api: Api, server: Server, experiment: str, run: Json) -> None:
    body = {"experiment_id": experiment, "name": "forest", "model_type": "tree", "source_run_id": run["run_id"]}
    model = api.call("POST", API + "logged-models", json=body).json()["model"]["info"]
    api.call("PATCH", f"{API}logged-models/{model['model_id']}", json={"model_id": model["model_id"], "status": 2})
    api.post("registered-models/create", name="wine", description="red", tags=[{"key": "t", "value": "v"}])
    api.post("model-versions/create", name="wine", source=run["artifact_uri"] + "/notes", run_id=run["run_id"])
    api.post("registered-models/alias", name="wine", alias="champion", version="1")
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    api.post("registered-models/create", name="greet", tags=prompt)
    text = [*prompt, {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}]
    api.post("model-versions/create", name="greet", source="prompt-template", tags=text)


def _traces(api: Api, experiment: str, run_id: str) -> None:
    for number in (1, 2):
        hex_id = f"{number:032x}"
        attached = f"mlflow-attachment://{traces.IMAGE}?content_type=image%2Fpng&trace_id=tr-{hex_id}&size=4"
        spans = [traces.span(hex_id, index + 1, attributes={"mlflow.spanOutputs": attached}) for index in range(2)]
        traces.log_spans(api, experiment, *spans)
        tags = {"mlflow.traceName": f"näme {number}"}
        info = traces.start(api, experiment, f"tr-{hex_id}", tags=tags, trace_metadata={"mlflow.sourceRun": run_id})
        traces.put_file(api, info, f"attachments/{traces.IMAGE}", b"\x00PNG")
    body = {"assessment_id": "a-1", "assessment_name": "good", "source": traces.HUMAN, "feedback": {"value": True}}
    times = {"create_time": traces.WHEN, "last_update_time": traces.WHEN}
    traces.assess(api, f"tr-{1:032x}", **body, **times)


def _evaluation(server: Server, experiment: str) -> None:
    body = {"name": "questions", "experiment_ids": [experiment], "tags": json.dumps({"k": "v"})}
    dataset = genai.call(server, "POST", "datasets/create", json=body)["dataset"]["dataset_id"]
    record = {"inputs": {"q": "why?"}, "outputs": {"a": 42}}
    genai.call(server, "POST", f"datasets/{dataset}/records", json={"records": json.dumps([record])})
    parts = {"name": "polite", "mlflow_version": "3.17.2", "builtin_scorer_class": "Guidelines"}
    scorer = {**parts, "builtin_scorer_pydantic_data": {"name": "polite", "guidelines": ["be kind"]}}
    body = {"experiment_id": experiment, "name": "polite", "serialized_scorer": json.dumps(scorer)}
    genai.call(server, "POST", "scorers/register", json=body)
    schema = {"experiment_id": experiment, "name": "fine?", "type": "FEEDBACK", "input": {"text": {"max_length": 5}}}
    made = genai.call(server, "POST", "label-schemas/create", json=schema)["label_schema"]["schema_id"]
    queue = {"experiment_id": experiment, "name": "to do", "queue_type": "CUSTOM", "schema_ids": [made]}
    made = genai.call(server, "POST", "review-queues/create", json=queue)["review_queue"]["queue_id"]
    genai.call(server, "POST", "review-queues/items/add", json={"queue_id": made, "item_ids": [f"tr-{1:032x}"]})


def main(target: str) -> None:
    """Seed a server of its own and export it."""
    with tempfile.TemporaryDirectory() as folder:
        server = servers.start(Path(folder) / "server")
        try:
            seed(server)
            words = ["-m", "mlflow_migration", "export-all", "--tracking-uri", server.url, "--output-dir", target]
            subprocess.run([sys.executable, *words, "--state-dir", f"{folder}/state"], check=True)
        finally:
            servers.stop(server)


if __name__ == "__main__":
    main(sys.argv[1])
