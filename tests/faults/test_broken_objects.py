"""One object of each kind broken on purpose: the rest arrives, that one is told with its reason, and the next command
finishes it once it is repaired."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import genai, rest, servers, tables, traces
from tests.conftest import Outcome, ServerPool, Tool, once
from tests.faults import here
from tests.faults.proxy import Proxy, on, status
from tests.fidelity.test_review import schema
from tests.fidelity.test_scorer import register, serialized
from tests.fidelity.test_webhook import content as webhooks
from tests.genai import call
from tests.rest import Api, Json
from tests.servers import Server, Snapshot

IS_PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}
EVENT = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
PURGED = "models:/m-" + "0" * 32
GOOD_TRACE, BAD_TRACE, FAR_TRACE = "a" * 32, "b" * 32, "c" * 32
KINDS = {"run", "logged_model", "trace", "evaluation_dataset", "scorer", "review_queue", "issue"}
NAMES = {
    "experiment": "SELECT name FROM experiments",
    "run": "SELECT name FROM runs",
    "logged_model": "SELECT name FROM logged_models",
    "registered_model": "SELECT name FROM registered_models",
    "version": "SELECT name || '/' || version FROM model_versions WHERE current_stage != 'Deleted_Internal'",
    "issue": "SELECT name FROM issues",
    "trace": "SELECT request_id FROM trace_info",
    "evaluation_dataset": "SELECT name FROM evaluation_datasets",
    "scorer": "SELECT scorer_name FROM scorers",
    "label_schema": "SELECT name FROM label_schemas",
    "review_queue": "SELECT name FROM review_queues",
    "webhook": "SELECT name FROM webhooks",
}


def names(server: Server) -> set[tuple[str, str]]:
    """(kind, name) of every object, straight from the tables."""
    return {(kind, name) for kind, query in NAMES.items() for (name,) in servers.select(server, query)}


def seed(server: Server) -> None:
    """Of each kind a good and a bad object in "alpha"; a trace in "beta"; nothing in "gamma"."""
    api = Api(server.url)
    alpha, beta = genai.experiment(server, "alpha"), genai.experiment(server, "beta")
    genai.experiment(server, "gamma")
    asked = schema(server, alpha, "good schema", {"text": {}})
    for which, trace_id in (("good", GOOD_TRACE), ("bad", BAD_TRACE)):
        _seed_tracking(api, alpha, which)
        traces.log_spans(api, alpha, traces.span(trace_id, 1, attributes={"which": which}))
        traces.start(api, alpha, f"tr-{trace_id}", tags={"mlflow.traceName": f"{which} trace"})
        api.post("registered-models/create", name=f"{which} registered")
        api.post("registered-models/create", name=f"{which} prompt", tags=[IS_PROMPT])
        api.post("webhooks", name=f"{which}-hook", url="https://8.8.8.8/hook", events=[EVENT])
        call(server, "POST", "issues", json={"experiment_id": alpha, "name": f"{which} issue", "description": "d"})
        dataset = call(server, "POST", "datasets/create", json={"name": f"{which} dataset", "experiment_ids": [alpha]})
        records = json.dumps([{"inputs": {"q": which}, "outputs": 1}])
        call(server, "POST", f"datasets/{dataset['dataset']['dataset_id']}/records", json={"records": records})
        register(server, alpha, f"{which} scorer", serialized(f"{which} scorer", "x"))
        body = {"experiment_id": alpha, "name": f"{which} queue", "queue_type": "CUSTOM", "schema_ids": [asked]}
        call(server, "POST", "review-queues/create", json=body)
    schema(server, alpha, "bad schema", {"text": {}})
    call(server, "GET", "label-schemas/list", params={"experiment_id": alpha})
    traces.log_spans(api, beta, traces.span(FAR_TRACE, 1))
    traces.start(api, beta, f"tr-{FAR_TRACE}")
    for text in ("good", "bad"):
        tags = [IS_PROMPT, {"key": "mlflow.prompt.text", "value": f"{text} words"}]
        api.post("model-versions/create", name="good prompt", source="dummy-source", tags=tags)
        api.post("model-versions/create", name="good registered", source=f"s3://bucket/{text}")
    api.close()


def _seed_tracking(api: Api, experiment: str, which: str) -> None:
    body = {"experiment_id": experiment, "start_time": 5, "run_name": f"{which} run"}
    run = api.post("runs/create", **body)["run"]["info"]
    api.post("runs/log-batch", run_id=run["run_id"], params=[{"key": "p", "value": which}])
    rest.upload(api, run["artifact_uri"], f"{which} run.bin", b"of the run")
    api.post("runs/update", run_id=run["run_id"], status="FINISHED", end_time=9)
    body = {"experiment_id": experiment, "name": f"{which} model"}
    model = api.post("logged-models", **body)["model"]["info"]
    rest.upload(api, model["artifact_uri"], f"{which} model.bin", b"of the model")


@dataclass(frozen=True)
class Stage:
    """The source with all of it, an empty destination, a proxy before each, and the tool."""

    source: Server
    destination: Server
    src: Proxy
    dst: Proxy
    tool: Tool

    def copy(self, *more: str) -> Outcome:
        """Copy everything. Webhooks have a secret, which never goes."""
        places = ("--src-mlflow-uri", self.src.url, "--dst-mlflow-uri", self.dst.url)
        return here(self.tool, "copy-all", *places, "--allow-loss", "secret", "--json", *more)

    def export(self) -> Outcome:
        """Export everything."""
        return here(self.tool, "export-all", "--tracking-uri", self.src.url, "--output-dir", self.bundle, "--json")

    @property
    def bundle(self) -> Path:
        """Where `export` writes."""
        return self.tool.home / "bundle"

    def in_bundle(self) -> set[tuple[str, str]]:
        """(kind, name) of every object with a head, and of every line of a shard."""
        heads = [path for path in self.bundle.rglob("*.json") if path.stem in KINDS]
        found = {(path.stem, json.loads(path.read_text("utf-8"))["info"]["name"]) for path in heads}
        lines = [line for path in self.bundle.rglob("traces-*.jsonl") for line in path.read_text("utf-8").splitlines()]
        return found | {("trace", json.loads(line)["info"]["name"]) for line in lines}

    def break_stored(self) -> None:
        """Take away files and spoil rows of the source, as disks and people do."""
        for name in ("bad run.bin", "bad model.bin"):
            path = next(self.source.artifacts.rglob(name))
            path.rename(self.tool.home / name)
            path.symlink_to("nowhere")
        servers.execute(self.source, "UPDATE spans SET content = '{' || content WHERE trace_id = ?", f"tr-{BAD_TRACE}")
        servers.execute(self.source, "UPDATE model_versions SET source = ? WHERE source = 's3://bucket/bad'", PURGED)
        spoil = "UPDATE evaluation_dataset_records SET inputs = '{' || inputs WHERE inputs LIKE '%bad%'"
        servers.execute(self.source, spoil)

    def repair_stored(self) -> None:
        """Undo `break_stored`."""
        for name in ("bad run.bin", "bad model.bin"):
            (path,) = [path for path in self.source.artifacts.rglob("*") if path.name == name]
            path.unlink()
            (self.tool.home / name).rename(path)
        mend = "UPDATE spans SET content = substr(content, 2) WHERE trace_id = ?"
        servers.execute(self.source, mend, f"tr-{BAD_TRACE}")
        servers.execute(self.source, "UPDATE model_versions SET source = 's3://bucket/bad' WHERE source = ?", PURGED)
        mend = "UPDATE evaluation_dataset_records SET inputs = substr(inputs, 2) WHERE inputs LIKE '%bad%'"
        servers.execute(self.source, mend)

    def refuse_reading(self) -> None:
        """Answer 403 where the source is asked for one scorer, one queue, and the traces of one experiment."""
        denied = status(403, "PERMISSION_DENIED", "not yours")
        beta = genai.experiment_id(self.source, "beta")
        ((queue,),) = servers.select(self.source, "SELECT queue_id FROM review_queues WHERE name = 'bad queue'")
        self.src.add(denied, on("GET", "scorers/versions.*bad"), None)
        self.src.add(denied, on("GET", f"review-queues/items.*{queue}"), None)
        self.src.add(denied, on("POST", "traces/search", f'"experiment_id": "{beta}"'), None)


@pytest.fixture
def stage(
    shared_folder: Path,
    template: Path,
    server_pool: ServerPool,
    run_tool: Tool,
    destination: Server,
) -> Iterator[Stage]:
    """Nothing is broken yet."""
    source = server_pool("source")

    def fill(target: Path) -> Json:
        servers.reset(source, Snapshot(template))
        seed(source)
        servers.photograph(source, target)
        return {}

    once(shared_folder, "good-and-bad", fill)
    kept = shared_folder / "good-and-bad"
    servers.reset(source, Snapshot(kept / "mlflow.db", kept / "artifacts"))
    run_tool.home.mkdir(parents=True)
    with Proxy(source.url) as src, Proxy(destination.url) as dst:
        yield Stage(source, destination, src, dst, run_tool)


def failed(ended: Outcome) -> dict[tuple[str, str], str]:
    """(kind, name) → why, of all that failed."""
    return {(row["kind"], row["name"]): row["reason"] for row in ended.json["rows"] if row["state"] == "failed"}


STORED = {
    ("run", "bad run"),
    ("logged_model", "bad model"),
    ("trace", "bad trace"),
    ("evaluation_dataset", "bad dataset"),
}
REFUSED_AT_THE_SOURCE = {
    ("scorer", "bad scorer"),
    ("review_queue", "bad queue"),
    ("trace", "those of experiment 'beta'"),
}
REFUSED_AT_THE_DESTINATION = {
    "experiments/create": ("experiment", "gamma", "gamma"),
    "registered-models/create": ("registered_model", "bad registered", "bad registered"),
    "registered-models/create ": ("prompt", "bad prompt", "bad prompt"),
    "model-versions/create": ("prompt_version", "good prompt/2", "bad words"),
    "issues": ("issue", "bad issue", "bad issue"),
    "label-schemas/create": ("label_schema", "bad schema", "bad schema"),
    "webhooks": ("webhook", "bad-hook", "bad-hook"),
}


def test_one_broken_object_of_each_kind_costs_only_itself(stage: Stage) -> None:
    stage.break_stored()
    stage.refuse_reading()
    for route, (_, _, text) in REFUSED_AT_THE_DESTINATION.items():
        refused = status(403 if "experiments" in route else 400, "INVALID_PARAMETER_VALUE", "not this one")
        stage.dst.add(refused, on("POST", f"{route.strip()}$", text), None)
    ended = stage.copy().expect(1)
    reasons = failed(ended)
    at_destination = {(kind, name) for kind, name, _ in REFUSED_AT_THE_DESTINATION.values()}
    assert set(reasons) == STORED | {("model_version", "good registered/2")} | REFUSED_AT_THE_SOURCE | at_destination
    assert all("not this one" in reasons[key] for key in at_destination)
    assert all("not yours" in reasons[key] for key in REFUSED_AT_THE_SOURCE)
    assert all(len(reason) > 20 and "Traceback" not in reason for reason in reasons.values())
    assert "Traceback" not in ended.stderr
    there = names(stage.destination)
    absent = {(kind, name) for kind, name in names(stage.source) - there}
    assert not {name for _, name in absent if name.startswith("good") and not name.endswith("/2")}
    assert ("trace", f"tr-{GOOD_TRACE}") in there
    assert {("trace", f"tr-{BAD_TRACE}"), ("trace", f"tr-{FAR_TRACE}")} <= absent
    stage.repair_stored()
    stage.src.clear()
    stage.dst.clear()
    stage.copy().expect(0)
    # Nothing else tells which webhook came from which, so that those are looked at by what they say.
    assert [each for each in tables.differences(stage.source, stage.destination) if "webhook" not in each] == []
    assert webhooks(stage.destination) == webhooks(stage.source)
    before = tables.counts(stage.destination)
    again = stage.copy().expect(0).json["kinds"]
    assert tables.counts(stage.destination) == before
    assert {kind: counts for kind, counts in again.items() if counts["done"] or counts["updated"]} == {}


@pytest.mark.slow
def test_an_export_leaves_out_what_is_broken_and_the_next_one_fills_it_in(stage: Stage) -> None:
    stage.break_stored()
    stage.refuse_reading()
    ended = stage.export().expect(1)
    assert set(failed(ended)) == STORED | REFUSED_AT_THE_SOURCE
    listed = [json.loads(line) for line in (stage.bundle / "failures.jsonl").read_text("utf-8").splitlines()]
    assert {(row["kind"], row["name"]) for row in listed if row["state"] == "failed"} == STORED | REFUSED_AT_THE_SOURCE
    here(stage.tool, "verify", stage.bundle).expect(0)
    half = [path for path in stage.bundle.rglob("*") if "bad run.bin" in path.name or path.suffix == ".part"]
    assert half == []
    assert not STORED & stage.in_bundle()
    assert {("run", "good run"), ("logged_model", "good model"), ("issue", "bad issue")} <= stage.in_bundle()
    stage.repair_stored()
    stage.src.clear()
    stage.export().expect(0)
    assert not (stage.bundle / "failures.jsonl").exists()
    assert STORED | {("scorer", "bad scorer"), ("review_queue", "bad queue")} <= stage.in_bundle()
    here(stage.tool, "verify", stage.source.url, stage.bundle).expect(0)
    # What breaks after its export stays in the bundle as it was.
    stage.break_stored()
    stage.export().expect(1)
    here(stage.tool, "verify", stage.bundle).expect(0)
    assert stage.in_bundle() >= STORED


def test_a_listing_that_is_refused_fails_its_kind_and_nothing_else_and_nothing_is_called_equal(stage: Stage) -> None:
    refused = status(403, "PERMISSION_DENIED", "not yours")
    stage.src.add(refused, on("GET", "registered-models/search"), None)
    stage.src.add(refused, on("POST", "runs/search"), None)
    ended = stage.copy().expect(1)
    told = {(row["kind"], row["state"]) for row in ended.json["rows"] if row["kind"] in ("run", "registered_model")}
    assert told == {("run", "failed"), ("registered_model", "failed")}
    assert ("issue", "good issue") in names(stage.destination)
    stage.src.clear()
    stage.copy().expect(0)
    stage.dst.add(refused, on("POST", "issues/search"), None)
    stage.dst.add(refused, on("GET", "registered-models/search"), None)
    compared = here(stage.tool, "verify", stage.src.url, stage.dst.url, "--json").expect(1).json
    reasons = {each["kind"]: each["left"] for each in compared["differences"]}
    assert reasons.keys() == {"issue", "registered_model", "model_version", "prompt", "prompt_version"}
    assert {each["id"] for each in compared["differences"]} == {"*"}
    assert all("not yours" in reason for reason in reasons.values())
    assert compared["kinds"]["run"]["equal"] == 2


@pytest.mark.parametrize("code", [401, 403])
def test_a_server_that_refuses_everything_ends_the_job(stage: Stage, code: int) -> None:
    stage.src.add(status(code, "PERMISSION_DENIED", "not yours"), None, None)
    assert stage.copy().expect(3).json["error"]["code"] == 3
    assert names(stage.destination) == {("experiment", "Default")}
