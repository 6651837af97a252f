"""Folders as the newest commits of mlflow-export-import lay them out: every kind that they hold arrives.

What they lose at the export is named: spans in a database, and what a prompt has besides its versions' text.
"""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import databases, genai, rest, servers, tables, traces
from tests.conftest import Tool, once
from tests.fidelity.test_logged_models import create, put
from tests.fidelity.test_registry import PROMPT, pairs, version
from tests.rest import API, Api, Json
from tests.servers import Server, Snapshot

T0 = 1_600_000_000_123
STORED, IN_ARTIFACT = "1" * 32, "2" * 32


def span(trace: str) -> Json:
    """A span as MLflow's clients write it into `traces.json`."""
    texts = {"mlflow.traceRequestId": f"tr-{trace}", "mlflow.spanInputs": {"q": "ü", "n": [1, None]}}
    return {
        "trace_id": base64.b64encode(bytes.fromhex(trace)).decode(),
        "span_id": base64.b64encode(bytes(range(8))).decode(),
        "parent_span_id": None,
        "name": "whole é",
        "start_time_unix_nano": 1_700_000_000_123_456_789,
        "end_time_unix_nano": 1_700_000_001_987_654_321,
        "events": [{"name": "seen", "time_unix_nano": 1_700_000_000_500_000_001, "attributes": {"x": 1}}],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {key: json.dumps(value) for key, value in texts.items()},
        "links": [],
    }


def seed(server: Server) -> None:
    """One of everything that such a folder can hold."""
    api = Api(server.url)
    api.post("experiments/create", name="takes a number")
    experiment = api.post("experiments/create", name="all/é", tags=pairs(k="v"))["experiment_id"]
    run = api.post("runs/create", experiment_id=experiment, run_name="trainer", start_time=T0, user_id="ann")["run"]
    run_id = run["info"]["run_id"]
    dataset = {"name": "d", "digest": "abc", "source_type": "local", "source": '{"uri": "s"}', "schema": "{}"}
    api.post("runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset, "tags": pairs(use="train")}])
    best = create(api, experiment, name="best", model_type="agent", source_run_id=run_id, params=pairs(p="1"))
    api.call("PATCH", f"{API}logged-models/{best['model_id']}", json={"model_id": best["model_id"], "status": 2})
    pending = create(api, experiment, name="pending", tags=pairs(team="ä"))
    metrics = [
        {"key": "acc", "value": 0.0, "timestamp": T0, "step": 1, "model_id": best["model_id"]},
        {"key": "nan", "value": "NaN", "timestamp": T0, "step": 2, "model_id": best["model_id"]},
    ]
    api.post("runs/log-batch", run_id=run_id, metrics=metrics, params=pairs(lr="0.1"))
    api.post("runs/outputs", run_id=run_id, models=[{"model_id": best["model_id"], "step": 3}])
    api.post("runs/log-inputs", run_id=run_id, models=[{"model_id": pending["model_id"]}])
    api.post("runs/update", run_id=run_id, status="FINISHED", end_time=T0 + 5)
    rest.upload(api, run["info"]["artifact_uri"], "a b/c.txt", b"plain")
    put(server, f"{best['artifact_uri']}/MLmodel", f"model_id: {best['model_id']}\nrun_id: {run_id}\n".encode())
    api.post("registered-models/create", name="wine", description="a\nb", tags=pairs(team="ml"))
    version(api, "wine", "s3://elsewhere/1", run_id=run_id)
    version(api, "wine", f"models:/{best['model_id']}", run_id=run_id, model_id=best["model_id"], tags=pairs(n="2"))
    api.call("DELETE", API + "model-versions/delete", json={"name": "wine", "version": "1"})
    api.post("registered-models/alias", name="wine", alias="champion", version="2")
    seed_genai(api, experiment, run_id)
    api.close()


def seed_genai(api: Api, experiment: str, run_id: str) -> None:
    """Prompts, two traces, an evaluation dataset."""
    api.post("registered-models/create", name="greet", tags=[PROMPT])
    for number, text in enumerate(("Hi {{name}}", "Hello {{ name }},\nüber"), 1):
        tags = pairs(**{"mlflow.prompt.text": text, "_mlflow_prompt_type": "text", "v": str(number)})
        version(api, "greet", "dummy-source", description=f"commit {number}", tags=[PROMPT, *tags])
    chat = json.dumps([{"role": "user", "content": "be {{mood}}"}])
    api.post("registered-models/create", name="chat", tags=[PROMPT])
    tags = pairs(**{"mlflow.prompt.text": chat, "_mlflow_prompt_type": "chat"})
    version(api, "chat", "dummy-source", tags=[PROMPT, *tags])
    times = {"create_time": traces.WHEN, "last_update_time": "2024-02-04T04:05:06Z"}
    judged = {"mlflow.assessment.sourceRunId": run_id, "k": "v"}
    value = {"error": {"error_code": "E", "error_message": "no", "stack_trace": "at"}}
    assessments: list[Json] = [
        {"assessment_name": "good", "source": traces.JUDGE, "feedback": {"value": 0.5}, "rationale": "because ü"},
        {"assessment_name": "yes", "source": traces.HUMAN, "feedback": {"value": True}, "metadata": judged},
        {"assessment_name": "n", "source": traces.HUMAN, "feedback": {"value": {"deep": [3, "x"]}}},
        {"assessment_name": "bad", "source": traces.JUDGE, "feedback": value, "span_id": f"{1:016x}"},
        {"assessment_name": "want", "source": traces.HUMAN, "expectation": {"value": {"x": [1]}}},
        {"assessment_name": "also", "source": traces.HUMAN, "expectation": {"value": "text"}},
    ]
    fields: Json = {
        "tags": {"mlflow.traceName": "näme", "team": "ünï", "empty": ""},
        "trace_metadata": {"mlflow.sourceRun": run_id, "own": "meta"},
        "request_preview": "wie spät?",
        "client_request_id": "client é",
        "assessments": [{"assessment_id": f"a-{n}", **each, **times} for n, each in enumerate(assessments)],
    }
    traces.log_spans(api, experiment, traces.span(STORED, 1, attributes={"x": 1}))
    traces.start(api, experiment, f"tr-{STORED}", **fields)
    info = traces.start(api, experiment, f"tr-{IN_ARTIFACT}", state="ERROR", execution_duration="2s", tags={"t": "1"})
    traces.put_file(api, info, "traces.json", json.dumps({"spans": [span(IN_ARTIFACT)]}).encode())
    body = {"name": "questions", "experiment_ids": [experiment], "tags": json.dumps({"k": "é", "mlflow.user": "ann"})}
    made = api.call("POST", genai.V3 + "datasets/create", json=body).json()["dataset"]
    records = [
        {"inputs": {"q": 1, "deep": {"é": [None, True]}}, "outputs": "text", "expectations": {"e": 1e300}},
        {"inputs": {"q": 2}, "source": {"source_type": "CODE", "source_data": {"source_id": run_id}}},
        {"inputs": {"q": float("nan")}, "tags": {"mlflow.user": "bob", "t": ""}},
    ]
    path = f"{genai.V3}datasets/{made['dataset_id']}/records"
    api.call("POST", path, json={"records": json.dumps(records)})


@pytest.fixture
def old(shared_folder: Path, template: Path, empty_source: Server, tmp_path: Path) -> Path:
    """Such a folder of `empty_source`, which holds then what was exported; both are made once."""

    def fill(folder: Path) -> Json:
        seed(empty_source)
        servers.photograph(empty_source, folder)
        env = servers.clean_environment({"MLFLOW_TRACKING_URI": empty_source.url})
        command = [sys.executable, "-m", "tests.old_layout", str(folder / "old")]
        subprocess.run(command, check=True, env=env, timeout=240)
        return {"made": True}

    once(shared_folder, "old-layout", fill)
    folder = shared_folder / "old-layout"
    servers.reset(empty_source, Snapshot(folder / "mlflow.db", folder / "artifacts"))
    target = tmp_path / "old"
    subprocess.run(["cp", "-r", folder / "old", target], check=True)
    return target


def imported(tool: Tool, folder: Path, destination: Server, *more: str) -> Json:
    """The report of an import of everything, in which nothing but what the old tool lost may be missing."""
    place = ("--input-dir", folder, "--tracking-uri", destination.url, "--json")
    return tool("import-all", *place, "--allow-loss", "artifact", "--allow-loss", "link", *more).expect(0).json


def lost(report: Json) -> list[tuple[str, str]]:
    return sorted((row["kind"], row["name"]) for row in report["rows"])


EXPECTED = [("artifact", f"trace tr-{STORED} spans"), ("link", "what belongs to prompts")]


def test_everything_arrives_but_what_the_old_tool_lost_and_that_is_named(
    empty_source: Server, old: Path, destination: Server, run_tool: Tool
) -> None:
    report = imported(run_tool, old, destination)
    assert lost(report) == EXPECTED
    counts = {kind: entry["done"] for kind, entry in report["kinds"].items() if entry["done"]}
    assert counts == {"experiment": 2, "run": 1, "logged_model": 2, "registered_model": 1, "model_version": 1} | {
        "prompt": 2,
        "prompt_version": 3,
        "trace": 2,
        "evaluation_dataset": 1,
    }
    differences = tables.differences(empty_source, destination)
    # The spans that were only in the source's database, and the tag that says they are there.
    gone = [text for text in differences if STORED in text and "missing" in text]
    assert {text.split()[0] for text in gone} == {"spans", "trace_tags"}, gone
    assert [text for text in differences if text not in gone] == []
    before = databases.dump(destination)
    again = imported(run_tool, old, destination)
    assert lost(again) == EXPECTED
    assert {kind: entry["same"] for kind, entry in again["kinds"].items() if entry["same"]} == counts | {
        "experiment": 3
    }
    assert databases.dump(destination) == before
    result = run_tool("verify", old, destination.url, "--json").expect(0).json
    assert result["differences"] == []
    assert result["kinds"]["trace"]["equal"] == 2


def test_the_losses_of_the_old_tool_end_the_import_with_an_error_unless_they_are_allowed(
    old: Path, destination: Server, run_tool: Tool
) -> None:
    outcome = run_tool("import-all", "--input-dir", old, "--tracking-uri", destination.url).expect(1)
    assert "exported no spans of it" in outcome.stderr
    assert "not in it since its export" in run_tool("verify", old).expect(0).stderr


def test_mlflow_reads_the_spans_of_an_imported_trace(old: Path, destination: Server, run_tool: Tool) -> None:
    imported(run_tool, old, destination)
    code = "import mlflow, sys; print(mlflow.MlflowClient().get_trace(sys.argv[1]).data.spans[0].inputs)"
    env = servers.clean_environment({"MLFLOW_TRACKING_URI": destination.url})
    command = [sys.executable, "-c", code, f"tr-{IN_ARTIFACT}"]
    shown = subprocess.run(command, check=True, env=env, capture_output=True, encoding="utf-8", timeout=120).stdout
    assert shown.strip() == "{'q': 'ü', 'n': [1, None]}"


def test_a_trace_in_the_form_of_mlflow_2_arrives_alike(
    empty_source: Server, old: Path, destination: Server, run_tool: Tool
) -> None:
    path = next(old.glob(f"experiments/*/traces/tr-{IN_ARTIFACT}/trace.json"))
    head = json.loads(path.read_text())
    info = head["mlflow"]["info"]
    head["mlflow"]["info"] = {
        "request_id": info["trace_id"],
        "experiment_id": info["trace_location"]["mlflow_experiment"]["experiment_id"],
        "timestamp_ms": info["request_time"],
        "execution_time_ms": info["execution_duration"],
        "status": info["state"],
        "request_metadata": info["trace_metadata"],
        "tags": info["tags"],
    }
    path.write_text(json.dumps(head))
    imported(run_tool, old, destination)
    found = traces.compare(empty_source, destination)
    assert [text for text in found if IN_ARTIFACT in text] == []


def test_a_logged_model_that_two_runs_name_is_one(old: Path, destination: Server, run_tool: Tool) -> None:
    model = next(old.glob("experiments/*/logged_models/m-*"))
    subprocess.run(["cp", "-r", model, old / "once more"], check=True)
    report = imported(run_tool, old, destination)
    assert report["kinds"]["logged_model"]["done"] == 2


def one(folder: Path, pattern: str) -> Path:
    return min(folder.glob(pattern))


def changed(pattern: str, *steps: Any) -> Any:
    """What sets one field (the path of keys to it, then its new value) in the first file that matches."""

    def change(folder: Path) -> None:
        path = one(folder, pattern)
        head = json.loads(path.read_text())
        place = head["mlflow"]
        for key in steps[:-2]:
            place = place[key]
        place[steps[-2]] = steps[-1]
        path.write_text(json.dumps(head))

    return change


def linked(folder: Path) -> None:
    path = one(folder, "experiments/*/traces/*/artifacts/traces.json")
    path.unlink()
    path.symlink_to("/etc/hostname")


TRACE, DATASET = "experiments/*/traces/*/trace.json", "evaluation_datasets/*/evaluation_dataset.json"
MODEL, LOGGED = "models/*/model.json", "experiments/*/logged_models/*/logged_model.json"
WOUNDS = {
    "model without a name": (changed(MODEL, "registered_model", {}), "name is missing"),
    "version 0": (changed(MODEL, "registered_model", "versions", 0, "version", "0"), "version"),
    "version far away": (changed(MODEL, "registered_model", "versions", 0, "version", "9" * 9), "version"),
    "a stage of its own": (changed(MODEL, "registered_model", "versions", 0, "current_stage", "x"), "stage"),
    "tags as a text": (changed(MODEL, "registered_model", "tags", "x"), "tags"),
    "model that isn't listed so": (changed("models/models.json", "models", ["another"]), "is missing"),
    "logged model of another status": (changed(LOGGED, "status", "FINE"), "FINE"),
    "logged model that is gone": (lambda folder: one(folder, LOGGED).unlink(), "is missing"),
    "trace without a time": (changed(TRACE, "info", "request_time", "yesterday"), "trace.json is broken"),
    "trace of no time": (changed(TRACE, "info", "request_time", 1 << 80), "trace.json is broken"),
    "trace that is gone": (lambda folder: one(folder, TRACE).unlink(), "is missing"),
    "spans that are a link": (linked, "link"),
    "prompt without a text": (changed("prompts/*/prompt.json", "prompt", {"name": "x"}), "is missing"),
    "dataset of no records": (changed(DATASET, "evaluation_dataset", "records", [1]), "no JSON object"),
    "record of no inputs": (changed(DATASET, "evaluation_dataset", "records", [{}]), "inputs"),
    "no JSON": (lambda folder: one(folder, DATASET).write_text("{"), "is broken"),
    "deep": (lambda folder: one(folder, DATASET).write_text('{"mlflow":' + "[" * 99999), "is broken"),
}


def test_a_hurt_folder_is_refused_before_anything_is_written(
    old: Path, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    before = databases.dump(destination)
    for name, (wound, message) in WOUNDS.items():
        hurt = tmp_path / name
        subprocess.run(["cp", "-r", old, hurt], check=True)
        wound(hurt)
        outcome = run_tool("import-all", "--tracking-uri", destination.url, "--input-dir", hurt)
        assert outcome.code == 4, (name, str(outcome))
        assert message in outcome.stderr, (name, outcome.stderr)
    assert databases.dump(destination) == before


def test_what_the_export_itself_calls_failed_is_named(old: Path, destination: Server, run_tool: Tool) -> None:
    changed("models/models.json", "models", ["wine"])(old)
    for pattern, key, ids in (
        ("models/models.json", "failed_models", ["beer"]),
        (MODEL, "failed_versions", [{"version": "7", "run_id": "f" * 32, "error": "no such run"}]),
        ("experiments/*/experiment.json", "failed_runs", ["e" * 32]),
    ):
        for path in old.glob(pattern):
            head = json.loads(path.read_text())
            path.write_text(json.dumps({**head, "info": {key: ids}}))
    (old / "prompts" / "torn_v1").mkdir()
    (old / "prompts" / "torn_v1" / "prompt.json").touch()
    report = imported(run_tool, old, destination, "--allow-loss", "all")
    named = {("registered_model", "beer"), ("model_version", "wine/7"), ("run", "e" * 32)}
    assert named | {("prompt_version", "prompts/torn_v1/prompt.json")} == set(lost(report)) - set(EXPECTED)
