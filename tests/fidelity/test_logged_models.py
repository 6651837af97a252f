"""Logged models arrive whole: params, tags, metrics with datasets, artifacts, state, and their links with runs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import databases, servers
from tests.conftest import Tool
from tests.rest import API, Api, Json
from tests.servers import Server

T0 = 1_600_000_000_000
MODELS = API + "logged-models"


@dataclass(frozen=True)
class Made:
    """Ids at the source by label."""

    runs: dict[str, str]
    models: dict[str, str]


def create(api: Api, experiment: str, **body: Any) -> Json:
    """A logged model's info."""
    made: Json = api.call("POST", MODELS, json={"experiment_id": experiment, **body}).json()["model"]["info"]
    return made


def seed(server: Server) -> Made:
    """Two experiments; models that were given out, taken in across experiments, deleted, pending, without a run."""
    api = Api(server.url)
    first = api.post("experiments/create", name="training")["experiment_id"]
    second = api.post("experiments/create", name="evaluation")["experiment_id"]
    runs = {}
    for label, experiment in (("train", first), ("gone", first), ("evaluate", second)):
        run = api.post("runs/create", experiment_id=experiment, run_name=label, start_time=T0)["run"]["info"]
        runs[label] = run["run_id"]
    params = [{"key": f"p{n}", "value": "é" * n} for n in range(150)]
    tags = [{"key": "team", "value": "ä"}, {"key": "mlflow.note.content", "value": "a note"}]
    models = {}
    best = create(api, first, name="best", model_type="agent", source_run_id=runs["train"], params=params, tags=tags)
    models["best"] = best["model_id"]
    models["pending"] = create(api, first, name="pending")["model_id"]
    models["failed"] = create(api, second, name="failed", source_run_id=runs["evaluate"])["model_id"]
    models["deleted"] = create(api, first, name="deleted", source_run_id=runs["train"])["model_id"]
    models["of gone"] = create(api, first, name="of gone", source_run_id=runs["gone"])["model_id"]
    api.call("PATCH", f"{MODELS}/{models['best']}", json={"model_id": models["best"], "status": 2})
    api.call("PATCH", f"{MODELS}/{models['failed']}", json={"model_id": models["failed"], "status": 3})
    dataset = {"dataset_name": "d", "dataset_digest": "abc"}
    metrics = [
        {"key": "acc", "value": 0.5, "timestamp": T0, "step": 1, "model_id": models["best"], **dataset},
        {"key": "acc", "value": 0.0, "timestamp": T0, "step": 2, "model_id": models["best"]},
        {"key": "nan", "value": "NaN", "timestamp": T0, "step": 0, "model_id": models["best"]},
        {"key": "plain", "value": 1.0, "timestamp": T0, "step": 0},
    ]
    api.post("runs/log-batch", run_id=runs["train"], metrics=metrics)
    gone = [{"key": "loss", "value": 2.5, "timestamp": T0, "step": 7, "model_id": models["of gone"]}]
    api.post("runs/log-batch", run_id=runs["gone"], metrics=gone)
    outputs = [{"model_id": models["best"], "step": 3}, {"model_id": models["deleted"], "step": 4}]
    api.post("runs/outputs", run_id=runs["train"], models=outputs)
    api.post("runs/log-inputs", run_id=runs["evaluate"], models=[{"model_id": models["best"]}])
    text = json.dumps([{"run_id": runs["train"], "model_uuid": models["best"]}])
    api.post("runs/set-tag", run_id=runs["train"], key="mlflow.log-model.history", value=text)
    put(server, f"{best['artifact_uri']}/MLmodel", f"model_id: {best['model_id']}\nrun_id: {runs['train']}\n".encode())
    put(server, f"{best['artifact_uri']}/data/weights é.bin", bytes(range(256)) * 100)
    api.call("DELETE", f"{MODELS}/{models['deleted']}")
    api.post("runs/delete", run_id=runs["gone"])
    api.close()
    return Made(runs, models)


def put(server: Server, uri: str, content: bytes) -> None:
    """An artifact straight into the server's folder."""
    path = server.artifacts / uri.removeprefix("mlflow-artifacts:/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def facts(server: Server) -> list[str]:
    """Everything about models in a database and its artifact folder, with ids replaced by what they stand for."""
    names = dict(servers.select(server, "SELECT model_id, name FROM logged_models"))
    names |= dict(servers.select(server, "SELECT run_uuid, name FROM runs"))
    names |= {str(row[0]): row[1] for row in servers.select(server, "SELECT experiment_id, name FROM experiments")}
    queries = (
        "SELECT 'model', model_id, experiment_id, name, status, model_type, source_run_id, lifecycle_stage"
        " FROM logged_models",
        "SELECT 'param', model_id, param_key, param_value FROM logged_model_params",
        "SELECT 'tag', model_id, tag_key, tag_value FROM logged_model_tags WHERE tag_key NOT GLOB 'mlflow_migration.*'",
        "SELECT 'metric', model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, run_id, dataset_name,"
        " dataset_digest FROM logged_model_metrics",
        "SELECT 'edge', source_type, source_id, destination_type, destination_id, step FROM inputs"
        " WHERE source_type LIKE '%MODEL%' OR destination_type LIKE '%MODEL%'",
        "SELECT 'point', run_uuid, key, step, timestamp, value, is_nan FROM metrics",
        "SELECT 'history', run_uuid, value FROM tags WHERE key = 'mlflow.log-model.history'",
        "SELECT 'run', name, lifecycle_stage FROM runs",
    )
    found = []
    for query in queries:
        for row in servers.select(server, query):
            found.append(replaced(" | ".join(map(repr, row)), names))
    for path, file in databases.files(server.artifacts).items():
        content = replaced(file.read_text(), names) if file.name == "MLmodel" else repr(file.read_bytes())
        found.append(f"file {replaced(re.sub('^[0-9]+/', '', path), names)} {content}")
    return sorted(found)


def replaced(text: str, names: dict[str, str]) -> str:
    """`text` with the ids in it by name."""
    text = re.sub(r"m-[0-9a-f]{32}|(?<![0-9a-f])[0-9a-f]{32}", lambda match: names.get(match[0], match[0]), text)
    return re.sub(r"^('model' \| '[^']*' \| )([0-9]+)", lambda match: match[1] + names[match[2]], text)


@pytest.fixture
def made(empty_source: Server) -> Made:
    """A source with models."""
    return seed(empty_source)


def copy(tool: Tool, source: Server, destination: Server, *more: str) -> Json:
    """Copy everything; the report."""
    places = ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", destination.url)
    return tool("copy-experiments", *places, "--experiments", "all", "--json", *more).expect(0).json


def test_models_arrive_whole_by_copy_and_a_second_run_adds_nothing(
    empty_source: Server, made: Made, destination: Server, run_tool: Tool
) -> None:
    report = copy(run_tool, empty_source, destination)
    assert report["kinds"]["logged_model"]["done"] == 5, report
    assert sum("'edge'" in fact for fact in facts(empty_source)) == 3
    assert facts(destination) == facts(empty_source)
    before = databases.dump(destination)
    report = copy(run_tool, empty_source, destination)
    assert report["kinds"]["logged_model"]["same"] == 5, report
    assert databases.dump(destination) == before
    run_tool("verify", empty_source.url, destination.url).expect(0)


def test_models_arrive_whole_through_a_bundle(
    empty_source: Server, made: Made, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    place = ("--tracking-uri", empty_source.url)
    run_tool("export-experiments", *place, "--experiments", "all", "--output-dir", bundle).expect(0)
    run_tool("verify", empty_source.url, bundle).expect(0)
    run_tool("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle).expect(0)
    assert facts(destination) == facts(empty_source)
    before = databases.dump(destination)
    run_tool("import-experiments", "--tracking-uri", destination.url, "--input-dir", bundle).expect(0)
    assert databases.dump(destination) == before
    run_tool("verify", bundle, destination.url).expect(0)


def test_a_changed_model_is_brought_up_to_date(
    empty_source: Server, made: Made, destination: Server, run_tool: Tool
) -> None:
    copy(run_tool, empty_source, destination)
    api = Api(empty_source.url)
    model = made.models["pending"]
    api.call("PATCH", f"{MODELS}/{model}/tags", json={"model_id": model, "tags": [{"key": "new", "value": "tag"}]})
    api.call("PATCH", f"{MODELS}/{model}", json={"model_id": model, "status": 2})
    api.close()
    report = copy(run_tool, empty_source, destination)
    assert report["kinds"]["logged_model"]["updated"] == 1, report
    assert facts(destination) == facts(empty_source)


def test_verify_names_what_differs_in_a_model(
    empty_source: Server, made: Made, destination: Server, run_tool: Tool
) -> None:
    copy(run_tool, empty_source, destination)
    servers.execute(destination, "UPDATE logged_model_params SET param_value = 'x' WHERE param_key = 'p7'")
    outcome = run_tool("verify", empty_source.url, destination.url, "--json").expect(1)
    assert [row["field"] for row in outcome.json["differences"]] == ["params.p7"]


def test_experiments_that_come_one_by_one_are_tied_in_the_end(
    empty_source: Server, made: Made, destination: Server, run_tool: Tool
) -> None:
    places = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", destination.url)
    first = run_tool("copy-experiment", *places, "--experiment", "evaluation", "--json").expect(1)
    assert "logged model" in str(first.json["rows"])
    run_tool("copy-experiment", *places, "--experiment", "training").expect(0)
    run_tool("copy-experiment", *places, "--experiment", "evaluation").expect(0)
    assert facts(destination) == facts(empty_source)


def test_the_id_map_lists_models_too(empty_source: Server, made: Made, destination: Server, run_tool: Tool) -> None:
    copy(run_tool, empty_source, destination)
    rows = json.loads(run_tool("id-map", destination.url, "--json").expect(0).stdout)
    found = {row["source_id"]: row["destination_id"] for row in rows if row["kind"] == "logged_model"}
    query = "SELECT model_id FROM logged_models WHERE name = ?"
    for name in ("best", "pending", "failed", "of gone"):
        ((model_id,),) = servers.select(destination, query, name)
        assert found[made.models[name]] == model_id
