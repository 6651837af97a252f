"""The commands for registered models: what a version was made of comes along, nothing else does."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import databases, genai, rest, servers
from tests.conftest import Tool
from tests.rest import API, Api, Json
from tests.servers import Server

PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Source:
    """The ids of what `seed` made."""

    runs: dict[str, str]
    model: str


def version(api: Api, name: str, source: str, **fields: Any) -> None:
    api.post("model-versions/create", name=name, source=source, **fields)


def seed(server: Server) -> Source:
    """`churn` with five versions: of a nested run, of nothing, of a logged model, of another model, of a lone run."""
    api = Api(server.url)
    train = genai.experiment(server, "train")
    other = genai.experiment(server, "other")
    runs: dict[str, str] = {}
    for label, experiment, tags in (
        ("root", train, []),
        ("parent", train, ["root"]),
        ("child", train, ["parent"]),
        ("lone", other, []),
        ("unrelated", train, []),
    ):
        marks = [{"key": PARENT, "value": runs[tag]} for tag in tags]
        run = api.post("runs/create", experiment_id=experiment, run_name=label, start_time=7, tags=marks)["run"]["info"]
        runs[label] = run["run_id"]
        rest.upload(api, run["artifact_uri"], "model/MLmodel", f"run_id: {run['run_id']}\n".encode())
    made: Json = api.call("POST", f"{API}logged-models", json={"experiment_id": other, "name": "agent"}).json()
    model = made["model"]["info"]["model_id"]
    api.call("PATCH", f"{API}logged-models/{model}", json={"model_id": model, "status": 2})
    for name in ("churn", "base", "unrelated"):
        api.post("registered-models/create", name=name, description=f"about {name}", tags=[{"key": "t", "value": name}])
    version(api, "base", f"runs:/{runs['lone']}/model", run_id=runs["lone"])
    version(api, "unrelated", f"runs:/{runs['unrelated']}/model", run_id=runs["unrelated"])
    version(api, "churn", f"runs:/{runs['child']}/model", run_id=runs["child"], description="of a nested run")
    version(api, "churn", "s3://bucket/model")
    version(api, "churn", f"models:/{model}", model_id=model)
    version(api, "churn", "models:/base/1")
    version(api, "churn", f"runs:/{runs['lone']}/model", run_id=runs["lone"])
    stage = {"archive_existing_versions": False, "name": "churn"}
    api.post("model-versions/transition-stage", version="1", stage="Production", **stage)
    api.post("model-versions/transition-stage", version="2", stage="Production", **stage)
    for alias, number in (("champion", "1"), ("second", "2"), ("agent", "3")):
        api.post("registered-models/alias", name="churn", alias=alias, version=number)
    api.close()
    return Source(runs, model)


@pytest.fixture
def seeded(empty_source: Server) -> Iterator[Source]:
    yield seed(empty_source)


def runs_at(server: Server) -> dict[str, str]:
    """Run name → experiment's name."""
    query = "SELECT r.name, e.name FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id"
    return dict(genai.rows(server, query))


def versions_at(server: Server) -> list[tuple[Any, ...]]:
    """Name, number, stage and the name of the run of each version that isn't deleted."""
    query = (
        "SELECT v.name, v.version, v.current_stage, r.name FROM model_versions v LEFT JOIN runs r"
        " ON r.run_uuid = v.run_id WHERE v.current_stage != 'Deleted_Internal' ORDER BY 1, 2"
    )
    return genai.rows(server, query)


def aliases_at(server: Server) -> dict[str, tuple[str, int]]:
    return {row[0]: row[1:] for row in genai.rows(server, "SELECT alias, name, version FROM registered_model_aliases")}


def test_a_model_brings_what_its_versions_were_made_of_and_nothing_else(
    seeded: Source, empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "churn"
    run_tool("export-model", "--model", "churn", "--output-dir", bundle, "--tracking-uri", empty_source.url).expect(0)
    run_tool("verify", empty_source.url, bundle).expect(0)
    into = ("import-models", "--input-dir", bundle, "--tracking-uri", destination.url)
    run_tool(*into).expect(0)
    assert runs_at(destination) == {"root": "train", "parent": "train", "child": "train", "lone": "other"}
    assert versions_at(destination) == [
        ("base", 1, "None", "lone"),
        ("churn", 1, "Production", "child"),
        ("churn", 2, "Production", None),
        ("churn", 3, "None", None),
        ("churn", 4, "None", "lone"),
        ("churn", 5, "None", "lone"),
    ]
    assert aliases_at(destination) == aliases_at(empty_source)
    ((model, experiment),) = genai.rows(destination, "SELECT model_id, experiment_id FROM logged_models")
    assert genai.names(destination)[str(experiment)] == "other"
    sources = dict(genai.rows(destination, "SELECT version, source FROM model_versions WHERE name = 'churn'"))
    assert sources[3] == f"models:/{model}"
    assert sources[4] == "models:/base/1"
    api = Api(destination.url)
    (child,) = (run for run in rest.runs(api, genai.experiment_id(destination, "train")) if _name(run) == "child")
    assert rest.download(api, child["info"]["artifact_uri"], "model/MLmodel").decode() == f"run_id: {_id(child)}\n"
    api.close()
    run_tool("verify", bundle, destination.url).expect(0)
    run_tool("verify", empty_source.url, destination.url, "--models", "churn").expect(0)
    before = databases.dump(destination)
    run_tool(*into).expect(0)
    assert databases.dump(destination) == before


def _name(run: Json) -> str:
    return str(run["info"]["run_name"])


def _id(run: Json) -> str:
    return str(run["info"]["run_id"])


def test_chosen_versions_keep_their_numbers_under_a_new_name(
    seeded: Source, empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "some"
    chosen = ("--model", "churn", "--versions", "2,5")
    run_tool("export-model", *chosen, "--output-dir", bundle, "--tracking-uri", empty_source.url).expect(0)
    run_tool("verify", empty_source.url, bundle).expect(0)
    into = ("import-model", "--model", "new", "--experiment-name", "elsewhere", "--input-dir", bundle)
    run_tool(*into, "--tracking-uri", destination.url).expect(0)
    assert runs_at(destination) == {"lone": "elsewhere"}
    assert versions_at(destination) == [("new", 2, "Production", None), ("new", 5, "None", "lone")]
    assert aliases_at(destination) == {"second": ("new", 2)}
    # Another export is refused what can't be made any more, and says what to do; --delete-model does it.
    whole = tmp_path / "whole"
    run_tool("export-models", "--models", "churn", "--output-dir", whole, "--tracking-uri", empty_source.url).expect(0)
    again = ("import-model", "--model", "new", "--experiment-name", "elsewhere", "--input-dir", whole)
    refused = run_tool(*again, "--tracking-uri", destination.url, "--json").expect(1).json
    assert {row["name"] for row in refused["rows"] if "can't be made any more" in row["reason"]} == {
        "churn/1",
        "churn/3",
        "churn/4",
    }
    before = databases.dump(destination)
    run_tool(*again, "--tracking-uri", destination.url, "--delete-model", "--dry-run").expect(0)
    assert databases.dump(destination) == before
    run_tool(*again, "--tracking-uri", destination.url, "--delete-model").expect(0)
    assert [row[1] for row in versions_at(destination) if row[0] == "new"] == [1, 2, 3, 4, 5]


def test_stages_and_latest_versions_choose(
    seeded: Source, empty_source: Server, run_tool: Tool, tmp_path: Path
) -> None:
    def exported(folder: str, *chosen: str) -> set[str]:
        target = tmp_path / folder
        command = ("export-models", "--models", "churn", "--output-dir", target, "--tracking-uri", empty_source.url)
        run_tool(*command, *chosen).expect(0)
        return {path.parent.name for path in target.glob("models/churn/*/model_version.json")}

    assert exported("stage", "--stages", "PRODUCTION") == {"1", "2"}
    assert exported("latest", "--export-latest-versions", "True") == {"2", "5"}
    assert exported("both", "--stages", "Production", "--export-latest-versions") == {"2"}
    assert exported("runs", "--stages", "Production", "--export-all-runs", "True") == {"1", "2"}
    assert len(list((tmp_path / "stage").glob("experiments/*/*/run.json"))) == 3
    assert len(list((tmp_path / "runs").glob("experiments/*/*/run.json"))) == 4
    assert not list((tmp_path / "both").glob("experiments/*"))
    wrong = ("export-model", "--output-dir", tmp_path / "none", "--tracking-uri", empty_source.url)
    assert "no such version: 99" in run_tool(*wrong, "--model", "churn", "--versions", "1,99").expect(1).stderr
    assert "no such registered_model: 'nothing'" in run_tool(*wrong, "--model", "nothing").expect(1).stderr
    assert not (tmp_path / "none").exists()


def test_a_version_is_added_to_another_model_once(
    seeded: Source, empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "one"
    export = ("export-model-version", "--model", "churn", "--version", "1", "--output-dir", bundle)
    run_tool(*export, "--tracking-uri", empty_source.url).expect(0)
    api = Api(destination.url)
    api.post("registered-models/create", name="prod", description="ours")
    version(api, "prod", "s3://bucket/ours")
    add = ("import-model-version", "--experiment-name", "prod runs", "--input-dir", bundle)
    to = ("--tracking-uri", destination.url)
    unknown = run_tool(*add, "--model", "missing", *to, "--json").expect(1).json
    assert any("--create-model" in row["reason"] for row in unknown["rows"])
    run_tool(*add, "--model", "prod", *to).expect(0)
    assert versions_at(destination) == [("prod", 1, "None", None), ("prod", 2, "None", "child")]
    assert set(runs_at(destination).values()) == {"prod runs"}
    assert aliases_at(destination) == {}
    assert genai.rows(destination, "SELECT description FROM registered_models") == [("ours",)]
    before = databases.dump(destination)
    run_tool(*add, "--model", "prod", *to).expect(0)
    assert databases.dump(destination) == before
    whole = ("--create-model", "True", "--import-stages-and-aliases", "True", "--import-metadata", "True")
    run_tool(*add, "--model", "new", *to, *whole).expect(0)
    assert aliases_at(destination) == {"champion": ("new", 1)}
    assert ("new", 1, "Production", "child") in versions_at(destination)
    assert ("about churn",) in genai.rows(destination, "SELECT description FROM registered_models")
    api.close()


def test_a_version_is_copied_on_one_server_and_across_two(
    seeded: Source, empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    here, there = ("--src-registry-uri", empty_source.url), ("--dst-registry-uri", empty_source.url)
    shallow = ("copy-model-version", "--src-model", "churn", "--src-version", "1", "--dst-model", "prod", *here, *there)
    run_tool(*shallow, "--copy-stages-and-aliases", "True").expect(0)
    assert ("prod", 1, "Production", "child") in versions_at(empty_source)
    assert genai.rows(empty_source, "SELECT count(*) FROM runs") == [(5,)]
    before = databases.dump(empty_source)
    run_tool(*shallow, "--copy-stages-and-aliases", "True").expect(0)
    assert databases.dump(empty_source) == before
    model = ("copy-model-version", "--src-model", "churn", "--src-version", "3", "--dst-model", "prod", *here, *there)
    run_tool(*model).expect(0)
    assert genai.rows(empty_source, "SELECT source FROM model_versions WHERE name = 'prod' AND version = 2") == [
        (f"models:/{seeded.model}",)
    ]
    far = ("--dst-registry-uri", destination.url)
    deep = (
        "copy-model-version",
        "--src-model",
        "churn",
        "--src-version",
        "1",
        "--dst-model",
        "churn-prod",
        *here,
        *far,
    )
    lost = run_tool(*deep, "--json").expect(1).json
    assert any("not at the destination" in row["reason"] for row in lost["rows"])
    run_tool(*deep, "--dst-experiment-name", "prod", "--copy-lineage-tags", "True").expect(0)
    assert versions_at(destination) == [("churn-prod", 1, "None", "child")]
    assert runs_at(destination) == {"root": "prod", "parent": "prod", "child": "prod"}
    tags = dict(servers.select(destination, "SELECT key, value FROM model_version_tags"))
    assert tags["mlflow_exim.field.version"] == "1"
