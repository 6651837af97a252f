"""Registered models, prompts and their versions: numbers with their holes, what they were made of, tags, aliases."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import databases, rest, servers
from tests.conftest import Tool
from tests.fidelity.test_copy import between
from tests.rest import Api, Json
from tests.servers import Server

OWN = "mlflow_migration."
QUOTES = "\"both\" 'quotes' \\ 中 100% _"
"""A name that no filter can hold."""
PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}
Move = Callable[..., Json]


@dataclass(frozen=True)
class Seeds:
    """What the tests need to know of the source."""

    experiment: str
    run: str
    gone: str


def pairs(**tags: str) -> list[Json]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def version(api: Api, name: str, source: str, **fields: Any) -> str:
    """Make a version; its number."""
    made = api.post("model-versions/create", name=name, source=source, **fields)["model_version"]
    return str(made["version"])


def seed(server: Server) -> Seeds:
    """A registry with every form of source, holes, stages, aliases, and prompts."""
    api = Api(server.url)
    api.post("experiments/create", name="takes a number, so that ids differ at both ends")
    experiment = api.post("experiments/create", name="with models")["experiment_id"]
    run = api.post("runs/create", experiment_id=experiment, start_time=7, run_name="trainer")["run"]["info"]
    rest.upload(api, run["artifact_uri"], "model/MLmodel", b"artifact_path: model\n")
    run_id, folder = run["run_id"], run["artifact_uri"] + "/model"
    api.post("registered-models/create", name=QUOTES)
    version(api, QUOTES, "dbfs:/models/1")
    api.post(
        "registered-models/create",
        name="wine é 'q' x.y",
        description="a\nb",
        tags=pairs(team="ml", empty="", é="ü" * 4000),
    )
    wine = "wine é 'q' x.y"
    for number in range(1, 6):
        version(api, wine, folder, run_id=run_id, description=f"no. {number}", tags=pairs(n=str(number)))
    for gap in ("1", "3", "4"):
        api.call("DELETE", rest.API + "model-versions/delete", json={"name": wine, "version": gap})
    version(
        api, wine, f"runs:/{run_id}/model", run_id=run_id, run_link="http://old:5000/#/runs/1", tags=pairs(run=run_id)
    )
    version(api, wine, "s3://bucket/models/x", description="elsewhere")
    gone = "f" * 32
    version(api, wine, "s3://bucket/models/y", run_id=gone)
    stage = {"archive_existing_versions": False}
    api.post("model-versions/transition-stage", name=wine, version="2", stage="Production", **stage)
    api.post("model-versions/transition-stage", name=wine, version="5", stage="Production", **stage)
    api.post("model-versions/transition-stage", name=wine, version="6", stage="Archived", **stage)
    for alias, of in (("champion", "5"), ("old", "2"), ("also_5", "5")):
        api.post("registered-models/alias", name=wine, alias=alias, version=of)
    # "a copy" comes before the model it was copied from in every listing.
    api.post("registered-models/create", name="a copy", tags=pairs(copied="yes"))
    version(api, "a copy", f"models:/{wine.replace(' ', ' ')}/5")
    prompts(api, experiment, run_id)
    api.close()
    return Seeds(experiment, run_id, gone)


def prompts(api: Api, experiment: str, run_id: str) -> None:
    """A text prompt with holes and a chat prompt, as MLflow's client writes them."""
    tags = [PROMPT, {"key": "_mlflow_experiment_ids", "value": f",{experiment},"}, *pairs(owner="me")]
    api.post("registered-models/create", name="greet", description="says hello", tags=tags)
    for number, text in enumerate(("Hi {{name}}", "gone", "Hello {{ name }},\nüber 'x' \"y\""), 1):
        kinds = {"mlflow.prompt.text": text, "_mlflow_prompt_type": "text", "mlflow.prompt.associatedRunIds": run_id}
        body = [PROMPT, *pairs(**kinds), *pairs(v=str(number), _mlflow_prompt_response_format='{"type": "object"}')]
        version(api, "greet", "dummy-source", description=f"commit {number}", tags=body)
    api.call("DELETE", rest.API + "model-versions/delete", json={"name": "greet", "version": "2"})
    api.post("registered-models/alias", name="greet", alias="production", version="1")
    api.post("registered-models/alias", name="greet", alias="newest", version="3")
    api.post("registered-models/create", name="chat", tags=[PROMPT])
    chat = json.dumps([{"role": "system", "content": "be {{mood}}"}, {"role": "user", "content": run_id}])
    config = json.dumps({"model_name": "gpt", "temperature": 0.7})
    kinds = {"mlflow.prompt.text": chat, "_mlflow_prompt_type": "chat", "_mlflow_prompt_model_config": config}
    version(api, "chat", "dummy-source", tags=[PROMPT, *pairs(**kinds)])


def registry(server: Server) -> dict[str, list[tuple[Any, ...]]]:
    """The registry's rows as one would write them down, without what MLflow chooses itself."""
    queries = {
        "model": "SELECT name, coalesce(description, '') FROM registered_models",
        "model tag": "SELECT name, key, value FROM registered_model_tags",
        "alias": "SELECT name, alias, version FROM registered_model_aliases",
        "version": "SELECT name, version, coalesce(description, ''), source, coalesce(run_id, ''), run_link,"
        " current_stage, status FROM model_versions WHERE current_stage != 'Deleted_Internal'",
        "version tag": "SELECT name, version, key, value FROM model_version_tags",
    }
    found = {key: servers.select(server, query) for key, query in queries.items()}
    left = {row[:2] for row in found["version"]}
    found["version tag"] = [row for row in found["version tag"] if row[:2] in left]
    for key in ("model tag", "version tag"):
        found[key] = [row for row in found[key] if not str(row[-2]).startswith(OWN)]
    return {key: sorted(rows) for key, rows in found.items()}


def expected(source: Server, destination: Server) -> dict[str, list[tuple[Any, ...]]]:
    """The source's rows with the destination's ids in them."""
    query = "SELECT value, run_uuid, artifact_uri FROM tags JOIN runs USING (run_uuid) WHERE key = ?"
    arrived = {old: (new, uri) for old, new, uri in servers.select(destination, query, OWN + "run_id")}
    mine = dict(servers.select(source, "SELECT run_uuid, artifact_uri FROM runs"))
    ids = {old: new for old, (new, _) in arrived.items()}
    uris: dict[str, str] = {mine[old]: uri for old, (_, uri) in arrived.items()}
    names = "SELECT name, experiment_id FROM experiments"
    there = dict(servers.select(destination, names))
    numbers = {str(number): str(there[name]) for name, number in servers.select(source, names) if name in there}

    def run(text: str) -> str:
        return re.sub(r"[0-9a-f]{32}", lambda match: ids.get(match[0], match[0]), text)

    def place(text: str) -> str:
        for old, new in uris.items():
            if text.startswith(old):
                return new + text.removeprefix(old)
        return run(text)

    found = registry(source)
    found["version"] = [(*row[:3], place(row[3]), run(row[4]), *row[5:]) for row in found["version"]]
    found["version tag"] = [
        (*row[:3], run(row[3]) if row[2] == "mlflow.prompt.associatedRunIds" else row[3])
        for row in found["version tag"]
    ]
    found["model tag"] = [
        (*row[:2], re.sub(r"\d+", lambda match: numbers[match[0]], row[2]))
        if row[1] == "_mlflow_experiment_ids"
        else row
        for row in found["model tag"]
    ]
    return {key: sorted(rows) for key, rows in found.items()}


def same(source: Server, destination: Server) -> None:
    """Assert that the destination's registry is the source's, row by row."""
    wanted, got = expected(source, destination), registry(destination)
    for key, rows in wanted.items():
        assert got[key] == rows, key


COPY = ("copy-all", "--experiments", "all", "--json", "--allow-loss", "link")


def verified(tool: Tool, source: Server | Path, destination: Server) -> Json:
    left = source if isinstance(source, Path) else source.url
    return tool("verify", str(left), destination.url, "--json").json


@pytest.mark.parametrize("through_bundle", [False, True])
def test_a_registry_arrives_whole_and_a_second_time_adds_nothing(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path, through_bundle: bool
) -> None:
    seeds = seed(empty_source)
    bundle = tmp_path / "bundle"

    def move() -> Json:
        if not through_bundle:
            return run_tool(*COPY, *between(empty_source, destination)).expect(0).json
        place = ("--tracking-uri", empty_source.url, "--experiments", "all", "--output-dir", bundle)
        run_tool("export-all", *place).expect(0)
        target = ("--tracking-uri", destination.url, "--input-dir", bundle, "--json", "--allow-loss", "link")
        return run_tool("import-all", *target).expect(0).json

    report = move()
    same(empty_source, destination)
    # The version of the run that is nowhere keeps its id, and that is said.
    assert [row["reason"] for row in report["rows"]] == [f"run {seeds.gone} is not at the destination"]
    counts = {kind: report["kinds"][kind]["done"] for kind in ("registered_model", "model_version", "prompt")}
    assert counts == {"registered_model": 3, "model_version": 7, "prompt": 2}
    assert report["kinds"]["prompt_version"]["done"] == 3
    before = databases.dump(destination)
    again = move()
    assert databases.dump(destination) == before
    for kind, count in (("registered_model", 3), ("model_version", 7), ("prompt", 2), ("prompt_version", 3)):
        assert again["kinds"][kind]["same"] == count, again["rows"]
    for left in (empty_source, bundle) if through_bundle else (empty_source,):
        result = verified(run_tool, left, destination)
        assert result["ok"], result["differences"]
        assert result["kinds"]["model_version"]["equal"] == 7
