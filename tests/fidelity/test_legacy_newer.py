"""Folders as the newest commits of mlflow-export-import lay them out: every kind that they hold arrives.

What they lose at the export is named: spans in a database, and what a prompt has besides its versions' text.
"""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_migration.errors import BundleError
from mlflow_migration.pipeline import BundleSource, bundle_folder
from mlflow_migration.places import Selection
from mlflow_migration.records import Record
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
        {"inputs": {"q": 2}, "source": {"source_type": "TRACE", "source_data": {"trace_id": f"tr-{STORED}"}}},
        {"inputs": {"q": float("nan")}, "tags": {"t": ""}},
    ]
    path = f"{genai.V3}datasets/{made['dataset_id']}/records"
    for record in records:
        # One by one: MLflow gives those made at once in any order, and its schema of them depends on that.
        api.call("POST", path, json={"records": json.dumps([record])})


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
    shutil.copytree(folder / "old", target)
    return target


def lost(report: Json) -> list[tuple[str, str]]:
    return sorted((row["kind"], row["name"]) for row in report["rows"])


EXPECTED = [("artifact", f"trace tr-{STORED} spans"), ("link", "what belongs to prompts")]
COUNTS = {"experiment": 2, "run": 1, "logged_model": 2, "registered_model": 1, "model_version": 1, "prompt": 2}
COUNTS |= {"prompt_version": 3, "trace": 2, "evaluation_dataset": 1}


def test_everything_arrives_but_what_the_old_tool_lost_and_that_is_named(
    empty_source: Server, old: Path, destination: Server, run_tool: Tool
) -> None:
    load = ("import-all", "--input-dir", old, "--tracking-uri", destination.url, "--json")
    report = run_tool(*load, "--allow-loss", "artifact", "--allow-loss", "link").expect(0).json
    assert lost(report) == EXPECTED
    assert {kind: entry["done"] for kind, entry in report["kinds"].items() if entry["done"]} == COUNTS
    differences = tables.differences(empty_source, destination)
    # The spans that were only in the source's database, the tag that says they are there, and what took a number up.
    gone = [text for text in differences if STORED in text and "missing" in text]
    assert {text.split()[0] for text in gone} == {"spans", "trace_tags"}, gone
    assert [text for text in differences if text not in gone and "Deleted_Internal" not in text] == []
    before = databases.dump(destination)
    again = run_tool(*load).expect(1).json
    assert lost(again) == EXPECTED
    same = {kind: entry["same"] for kind, entry in again["kinds"].items() if entry["same"]}
    assert same == COUNTS | {"experiment": 3}
    assert databases.dump(destination) == before
    result = run_tool("verify", old, destination.url, "--json").expect(0).json
    assert result["differences"] == []
    assert result["kinds"]["trace"]["equal"] == 2
    assert spans_by_mlflow(destination, f"tr-{IN_ARTIFACT}") == "{'q': 'ü', 'n': [1, None]}"


def spans_by_mlflow(server: Server, trace_id: str) -> str:
    """The inputs of a trace's span as MLflow's own client reads them."""
    code = "import mlflow, sys; print(mlflow.MlflowClient().get_trace(sys.argv[1]).data.spans[0].inputs)"
    env = servers.clean_environment({"MLFLOW_TRACKING_URI": server.url})
    command = [sys.executable, "-c", code, trace_id]
    return subprocess.run(command, check=True, env=env, stdout=subprocess.PIPE, text=True, timeout=120).stdout.strip()


def test_what_is_lost_ends_up_in_the_list_of_a_folder_that_is_looked_at_alone(old: Path, run_tool: Tool) -> None:
    shown = run_tool("verify", old).expect(0).stderr
    assert f"not in it since its export: artifact trace tr-{STORED} spans" in shown
    assert "no checksums" in shown


def read(folder: Path, kind: str) -> list[Record]:
    """The objects of a kind that a proven folder holds."""
    return list(BundleSource(bundle_folder(folder)).records(kind, Selection()))


def test_a_trace_in_the_form_of_mlflow_2_is_the_same_trace(old: Path) -> None:
    path = next(old.glob(f"experiments/*/traces/tr-{IN_ARTIFACT}/trace.json"))
    before = {trace.id: trace.head for trace in read(old, "trace")}
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
    assert {trace.id: trace.head for trace in read(old, "trace")} == before


def test_a_logged_model_that_two_runs_name_is_one_unless_the_two_differ(old: Path) -> None:
    model = next(old.glob("experiments/*/logged_models/m-*"))
    shutil.copytree(model, old / "once more")
    assert len(read(old, "logged_model")) == 2
    changed("once more/logged_model.json", "name", "another")(old)
    with pytest.raises(BundleError, match="twice"):
        read(old, "logged_model")


def test_an_object_that_was_exported_alone_belongs_to_an_experiment_all_the_same(old: Path, tmp_path: Path) -> None:
    shutil.copytree(next(old.glob(f"experiments/*/traces/tr-{IN_ARTIFACT}")), tmp_path / "alone")
    [trace], [experiment] = read(tmp_path / "alone", "trace"), read(tmp_path / "alone", "experiment")
    assert trace.refs == {"experiment": experiment.id}
    assert experiment.name == f"experiment {experiment.id}"


def test_the_export_of_one_version_is_read(old: Path, tmp_path: Path) -> None:
    """As model_version/export_model_version.py has it: tags of the experiment as pairs, the run in `run/`."""
    folder = tmp_path / "version"
    head = json.loads(one(old, MODEL).read_text())
    [found] = head["mlflow"]["registered_model"].pop("versions")
    copied = {**found, "source": "model", "_source": found["source"]}
    head["mlflow"]["registered_model"]["aliases"].append({"alias": "other", "version": "9"})
    shutil.copytree(one(old, "experiments/*/runs/*"), folder / "run")
    (folder / "version_model").mkdir()
    (folder / "version_model" / "model.json").write_text("{")
    experiment = json.loads(next(path for path in old.glob("experiments/*/experiment.json") if runs(path)).read_text())
    value = experiment["mlflow"]["experiment"]
    value["tags"] = [{"key": "k", "value": "v"}, {"key": "k", "value": "v"}]
    for name, content in (("model", head), ("version", {"mlflow": {"model_version": copied}}), ("experiment", None)):
        (folder / f"{name}.json").write_text(json.dumps(content or {"mlflow": {"experiment": value}}))
    [version_] = read(folder, "model_version")
    assert version_.head["source"] == f"runs:/{found['run_id']}/model"
    assert version_.id == "wine/2"
    assert [len(read(folder, kind)) for kind in ("experiment", "run", "registered_model")] == [1, 1, 1]
    assert [row.kind for row in BundleSource(bundle_folder(folder)).lost(Selection())] == ["artifact"]


def runs(path: Path) -> list[str]:
    found: list[str] = json.loads(path.read_text())["mlflow"]["runs"]
    return found


def one(folder: Path, pattern: str) -> Path:
    return min(folder.glob(pattern))


def changed(pattern: str, *steps: Any) -> Callable[[Path], object]:
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
WOUNDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "model without a name": (changed(MODEL, "registered_model", {}), "name is missing"),
    "version 0": (changed(MODEL, "registered_model", "versions", 0, "version", "0"), "version"),
    "version far away": (changed(MODEL, "registered_model", "versions", 0, "version", "9" * 9), "version"),
    "a stage of its own": (changed(MODEL, "registered_model", "versions", 0, "current_stage", "x"), "stage"),
    "tags as a text": (changed(MODEL, "registered_model", "tags", "x"), "tags"),
    "model that isn't listed so": (changed("models/models.json", "models", ["another"]), "is missing"),
    "logged model of another status": (changed(LOGGED, "status", "FINE"), "FINE"),
    "logged model of no id": (changed(LOGGED, "model_id", {"a": 1}), "logged_model"),
    "logged model that is gone": (lambda folder: one(folder, LOGGED).unlink(), "is missing"),
    "trace without a time": (changed(TRACE, "info", "request_time", "yesterday"), "trace.json is broken"),
    "trace of no time": (changed(TRACE, "info", "request_time", 1 << 80), "trace.json is broken"),
    "trace of another experiment": (
        changed(TRACE, "info", "trace_location", "mlflow_experiment", {"experiment_id": "77"}),
        "the folder of another experiment",
    ),
    "trace that is gone": (lambda folder: one(folder, TRACE).unlink(), "is missing"),
    "spans that are a link": (linked, "link"),
    "prompt without a text": (changed("prompts/*/prompt.json", "prompt", {"name": "x"}), "is missing"),
    "prompt of another version": (changed("prompts/*/prompt.json", "prompt", "version", "x"), "version"),
    "dataset of no records": (changed(DATASET, "evaluation_dataset", "records", [1]), "no JSON object"),
    "record of no inputs": (changed(DATASET, "evaluation_dataset", "records", [{}]), "inputs"),
    "info of another form": (lambda folder: one(folder, TRACE).write_text('{"info": 5, "mlflow": {}}'), "is broken"),
    "first info of another form": (
        lambda folder: one(folder, "experiments/*/experiment.json").write_text('{"info": 5, "mlflow": {}}'),
        "is broken",
    ),
    "no JSON": (lambda folder: one(folder, DATASET).write_text("{"), "is broken"),
    "deep": (lambda folder: one(folder, DATASET).write_text('{"mlflow":' + '{"a":' * 80 + "1" + "}" * 81), "deeper"),
    "deeper": (lambda folder: one(folder, DATASET).write_text('{"mlflow":' + "[" * 99999), "is broken"),
}


def test_a_hurt_folder_is_refused_as_a_whole(old: Path, tmp_path: Path) -> None:
    for name, (wound, message) in WOUNDS.items():
        hurt = tmp_path / name
        shutil.copytree(old, hurt)
        wound(hurt)
        with pytest.raises(BundleError) as refused:
            BundleSource(bundle_folder(hurt))
        assert message in f"{refused.value} {refused.value.why}", name


def test_what_the_export_itself_calls_failed_is_named(old: Path) -> None:
    failed = {"version": "7", "run_id": "f" * 32, "error": "no such run"}
    for pattern, info in (
        ("models/models.json", {"failed_models": ["beer"]}),
        (MODEL, {"failed_versions": [failed]}),
        ("experiments/*/traces/traces.json", {"failed_traces": ["tr-gone"]}),
        ("experiments/*/experiment.json", {"failed_runs": ["e" * 32]}),
    ):
        path = one(old, pattern)
        path.write_text(json.dumps({**json.loads(path.read_text()), "info": info}))
    (old / "prompts" / "torn_v1").mkdir()
    (old / "prompts" / "torn_v1" / "prompt.json").touch()
    source = BundleSource(bundle_folder(old))
    named = {(row.kind, row.id) for row in source.lost(Selection())}
    assert named >= {("registered_model", "beer"), ("model_version", "wine/7"), ("run", "e" * 32)}
    assert named >= {("prompt_version", "torn_v1"), ("trace", "tr-gone")}
    # Of what isn't asked for nothing is said.
    assert {row.kind for row in source.lost(Selection(kinds=("run",)))} == {"run"}
