"""Three servers that hold things of the same names, merged into one: nothing lost, nothing mixed up, nothing twice."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_migration.engine import naming
from mlflow_migration.errors import UsageError
from mlflow_migration.pipeline import BundleSource, bundle_folder
from mlflow_migration.places import Selection
from tests import databases, genai, rest, servers, traces
from tests.conftest import Outcome, ServerFactory, ServerPool, Tool
from tests.fidelity.test_registry import PROMPT, pairs, version
from tests.rest import Api, Json
from tests.servers import Options, Server, Snapshot

KINDS = ("registered_model", "model_version", "prompt", "prompt_version", "experiment", "run", "trace")


def seed(server: Server, mark: str, versions: int = 1) -> None:
    """What all three have, under the same names and with the same dataset digest, and `mark` in whatever may differ."""
    with contextlib.closing(Api(server.url)) as api:
        api.post("experiments/create", name=f"only {mark}")
        experiment = api.post("experiments/create", name="churn", tags=pairs(team=mark, **{mark: "x"}))["experiment_id"]
        linked = json.dumps([{"name": "greet", "version": "1"}])
        tags = pairs(**{"mlflow.linkedPrompts": linked})
        info = api.post("runs/create", experiment_id=experiment, start_time=1, run_name=mark, tags=tags)["run"]["info"]
        rest.upload(api, info["artifact_uri"], "model/MLmodel", mark.encode())
        dataset = {"name": "d", "digest": "same", "source_type": "s3", "source": f"s3://{mark}"}
        api.post("runs/log-inputs", run_id=info["run_id"], datasets=[{"dataset": dataset, "tags": []}])
        api.post("runs/update", run_id=info["run_id"], status="FINISHED", end_time=2)
        api.post("registered-models/create", name="wine", description=f"wine of {mark}", tags=pairs(of=mark))
        for number in range(versions):
            version(api, "wine", f"runs:/{info['run_id']}/model", run_id=info["run_id"], tags=pairs(n=str(number)))
        api.post("registered-models/alias", name="wine", alias="champion", version="1")
        api.post("registered-models/create", name="copied")
        version(api, "copied", f"models:/wine/{versions}")
        api.post("registered-models/create", name="greet", tags=[PROMPT])
        text = {"mlflow.prompt.text": f"Hi {mark}", "_mlflow_prompt_type": "text"}
        version(api, "greet", "dummy-source", tags=[PROMPT, *pairs(**text)])
        trace = f"tr-{mark.encode().hex():0>32}"
        traces.start(api, experiment, trace, tags={"mlflow.linkedPrompts": linked})
        api.post("traces/link-prompts", trace_id=trace, prompt_versions=[{"name": "greet", "version": "1"}])
        genai.call(server, "POST", "datasets/create", json={"name": "golden", "experiment_ids": [experiment]})


@pytest.fixture(scope="module")
def bundles(template: Path, server_pool: ServerPool, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A bundle of each of three servers. It is one server, that is given another address in the bundle."""
    folder, server = tmp_path_factory.mktemp("three"), server_pool("source")
    tool, found = Tool(folder / "home"), []
    for number, mark in enumerate(("one", "two", "three"), 1):
        servers.reset(server, Snapshot(template))
        seed(server, mark, versions=number)
        bundle = folder / mark
        tool("export-all", "--tracking-uri", server.url, "--output-dir", bundle).expect(0)
        manifest = bundle / "manifest.json"
        manifest.write_text(manifest.read_text().replace(server.url, f"http://{mark}:5000"))
        found.append(bundle)
    return found


@dataclass(frozen=True)
class Merge:
    """Bundles on their way into one server."""

    tool: Tool
    destination: Server

    def __call__(self, bundle: Path, *options: str) -> Outcome:
        place = ("--tracking-uri", self.destination.url, "--input-dir", bundle, "--json")
        return self.tool("import-all", *place, *options)

    def verify(self, bundle: Path, *options: str) -> Outcome:
        return self.tool("verify", bundle, self.destination.url, "--json", *options)

    def select(self, query: str) -> list[tuple[object, ...]]:
        return servers.select(self.destination, query)

    def names(self, table: str = "experiments") -> set[object]:
        query = "SELECT name FROM {}"
        return {name for (name,) in self.select(query.format(table))}


@pytest.fixture
def merge(destination: Server, run_tool: Tool) -> Merge:
    return Merge(run_tool, destination)


def states(report: Json, kind: str) -> Json:
    return {state: count for state, count in report["kinds"][kind].items() if count and state not in {"asked", "bytes"}}


def all_equal(outcome: Outcome) -> None:
    assert outcome.json["differences"] == [each for each in outcome.json["differences"] if each["sign"] == "+"]
    outcome.expect(0)
    for kind in KINDS:
        counts = outcome.json["kinds"][kind]
        assert counts["equal"] and not counts["different"] and not counts["missing"], (kind, counts)


UNTOUCHED = ("experiments", "runs", "trace_info", "registered_models", "registered_model_tags", "model_versions")
LINKS = "SELECT value FROM {} WHERE key = 'mlflow.linkedPrompts' ORDER BY value"


@pytest.mark.slow
def test_each_source_keeps_its_own_under_a_new_name(bundles: Sequence[Path], merge: Merge) -> None:
    option = ("--on-conflict", "new-name")
    for bundle in bundles:
        merge(bundle, *option).expect(0)
    before = databases.dump(merge.destination)
    for bundle in bundles:
        report = merge(bundle, *option).expect(0).json
        assert {kind: list(states(report, kind)) for kind in KINDS} == {kind: ["same"] for kind in KINDS}
    assert databases.dump(merge.destination) == before
    assert {"churn", "churn (2)", "churn (3)", "only one", "only two"} <= merge.names()
    assert merge.names("registered_models") == {f"{name}{n}" for name in ("wine", "copied", "greet") for n in END}
    query = "SELECT r.description, count(*) FROM registered_models r JOIN model_versions v USING (name) GROUP BY r.name"
    assert {("wine of one", 1), ("wine of two", 2), ("wine of three", 3)} <= set(merge.select(query))
    texts = "SELECT name, value FROM model_version_tags WHERE key = 'mlflow.prompt.text'"
    assert set(merge.select(texts)) == {("greet", "Hi one"), ("greet (2)", "Hi two"), ("greet (3)", "Hi three")}
    for table in ("tags", "trace_tags"):
        found = [json.loads(str(value))[0]["name"] for (value,) in merge.select(LINKS.format(table))]
        assert sorted(found) == ["greet", "greet (2)", "greet (3)"], table
    sources = set(merge.select("SELECT name, source FROM model_versions WHERE name LIKE 'copied%'"))
    assert sources == {("copied", "models:/wine/1"), ("copied (2)", "models:/wine (2)/2")} | {
        ("copied (3)", "models:/wine (3)/3")
    }
    for bundle in bundles:
        all_equal(merge.verify(bundle, *option))


END = ("", " (2)", " (3)")


def test_a_thing_renamed_or_freed_at_the_destination_is_found_by_where_it_came_from(
    bundles: Sequence[Path], merge: Merge
) -> None:
    option = ("--on-conflict", "new-name")
    merge(bundles[0], *option).expect(0)
    merge(bundles[1], *option).expect(0)
    with contextlib.closing(Api(merge.destination.url)) as api:
        experiment = rest.experiment(api, "churn (2)")["experiment_id"]
        api.post("experiments/update", experiment_id=experiment, new_name="churn of two")
        api.post("registered-models/rename", name="wine", new_name="wine of one")
    before = databases.counts(merge.destination)
    merge(bundles[1], *option).expect(0)
    assert databases.counts(merge.destination) == before
    assert {"churn", "churn of two"} <= merge.names()
    assert "wine" not in merge.names("registered_models")


def test_a_prefix_and_new_names_keep_sources_apart_and_every_mention_follows(
    bundles: Sequence[Path], merge: Merge, tmp_path: Path
) -> None:
    file = tmp_path / "names.csv"
    file.write_text("model:wine,vino\ngreet,salute\n", encoding="utf-8")
    options = {
        bundles[0]: ("--prefix", "a-", "--rename", str(file), "--rename", "experiment:churn=left = right"),
        bundles[1]: ("--prefix", "b-"),
    }
    for bundle, chosen in options.items():
        merge(bundle, *chosen).expect(0)
    before = databases.dump(merge.destination)
    for bundle, chosen in options.items():
        merge(bundle, *chosen).expect(0)
        all_equal(merge.verify(bundle, *chosen))
    assert databases.dump(merge.destination) == before
    merge.verify(bundles[0]).expect(1)
    assert {"a-left = right", "b-churn", "a-Default", "b-Default", "a-only one"} <= merge.names()
    models = {"a-vino", "a-salute", "a-copied", "b-wine", "b-greet", "b-copied"}
    assert merge.names("registered_models") == models
    assert merge.names("evaluation_datasets") == {"a-golden", "b-golden"}
    for table in ("tags", "trace_tags"):
        found = [json.loads(str(value))[0]["name"] for (value,) in merge.select(LINKS.format(table))]
        assert sorted(found) == ["a-salute", "b-greet"], table
    linked = "SELECT destination_id FROM entity_associations WHERE destination_type = 'prompt_version' ORDER BY 1"
    assert merge.select(linked) == [("a-salute/1",), ("b-greet/1",)]
    copied = "SELECT source FROM model_versions WHERE name LIKE '%copied' ORDER BY 1"
    assert merge.select(copied) == [("models:/a-vino/1",), ("models:/b-wine/2",)]


def test_skip_writes_nothing_of_what_has_a_name_that_is_taken_and_fail_says_so(
    bundles: Sequence[Path], merge: Merge
) -> None:
    merge(bundles[0], "--on-conflict", "skip").expect(0)
    counts = {table: databases.counts(merge.destination)[table] for table in UNTOUCHED}
    failed = merge(bundles[1], "--on-conflict", "fail", "--experiments", "churn").expect(1).json
    assert {table: databases.counts(merge.destination)[table] for table in UNTOUCHED} == counts
    assert states(failed, "experiment") == states(failed, "run") == states(failed, "trace") == {"failed": 1}
    assert states(failed, "registered_model") == {"failed": 2}
    report = merge(bundles[1], "--on-conflict", "skip").expect(0).json
    assert states(report, "experiment") == {"skipped": 1, "updated": 1, "done": 1}
    for kind, count in (("run", 1), ("trace", 1), ("registered_model", 2), ("model_version", 3), ("prompt", 1)):
        assert states(report, kind) == {"skipped": count}, kind
    assert states(report, "evaluation_dataset") == {"skipped": 1}
    assert merge.names() == {"Default", "churn", "only one", "only two"}
    before = databases.dump(merge.destination)
    merge(bundles[1], "--on-conflict", "skip").expect(0)
    assert databases.dump(merge.destination) == before
    result = merge.verify(bundles[1], "--on-conflict", "skip").expect(0).json
    assert {each["field"] for each in result["differences"] if each["sign"] == "-"} == {"left out"}
    all_equal(merge.verify(bundles[0], "--on-conflict", "skip"))


def test_update_adds_what_can_be_added_and_overwrites_nothing(bundles: Sequence[Path], merge: Merge) -> None:
    merge(bundles[0]).expect(0)
    option = ("--on-conflict", "update")
    report = merge(bundles[2], *option).expect(1).json
    rows = {(row["kind"], row["state"], row["name"].rpartition(" ")[2]) for row in report["rows"]}
    # Version 1 is another one; what the dataset input, a tag and the description say is kept as it is.
    assert ("model_version", "failed", "wine/1") in rows
    assert {("tag", "unsupported", "team"), ("tag", "unsupported", "of"), ("input", "unsupported", "same")} <= rows
    assert states(report, "model_version") == {"failed": 2, "done": 2}
    assert states(report, "run") == {"done": 1}
    wine = "SELECT version, value FROM model_version_tags WHERE name = 'wine' AND key = 'n' ORDER BY version"
    assert merge.select(wine) == [(1, "0"), (2, "1"), (3, "2")]
    assert merge.select("SELECT description FROM registered_models WHERE name = 'wine'") == [("wine of one",)]
    assert merge.select("SELECT count(*) FROM runs") == [(2,)]
    before = databases.dump(merge.destination)
    again = merge(bundles[2], *option).expect(1).json
    assert again["rows"] == report["rows"]
    assert databases.dump(merge.destination) == before
    # What was there before has not changed, and the source it came from goes on to be brought up to date.
    merge(bundles[0]).expect(0)
    assert databases.dump(merge.destination) == before
    all_equal(merge.verify(bundles[0]))


def test_names_that_would_become_one_or_that_nothing_has_are_refused_before_anything_is_written(
    bundles: Sequence[Path], merge: Merge
) -> None:
    before = databases.dump(merge.destination)
    for options, word in (
        (("--rename", "wine=copied"), "two names become one"),
        (("--rename", "chrun=x"), "nothing at the source is called 'chrun'"),
    ):
        assert word in merge(bundles[0], *options).expect(2).stderr, options
    assert databases.dump(merge.destination) == before
    source = BundleSource(bundle_folder(bundles[0]))
    for typed, prefix, word in (
        (["model:wine=x", "prompt:greet=x"], "", "two names become one"),
        (["churn=only one"], "", "two names become one"),
        ([], "team/", "no registered model can be called"),
        (["=x"], "", "not a new name"),
        (["a="], "", "not a new name"),
        (["a=b", "a=c"], "", "is given two new names"),
    ):
        with pytest.raises(UsageError, match=word):
            naming.check(naming.given(typed, prefix), source.records, Selection())


def test_an_experiment_that_holds_the_runs_of_others_is_not_deleted_with_its_first_source(
    bundles: Sequence[Path], destination: Server, empty_source: Server, run_tool: Tool
) -> None:
    seed(empty_source, "first")
    place = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", destination.url, "--experiments", "churn")
    run_tool("copy-experiments", *place).expect(0)
    target = ("--tracking-uri", destination.url, "--input-dir", bundles[1], "--experiments", "churn")
    run_tool("import-experiments", *target, "--allow-loss", "tag", "--allow-loss", "input").expect(0)
    with contextlib.closing(Api(empty_source.url)) as api:
        api.post("experiments/delete", experiment_id=rest.experiment(api, "churn")["experiment_id"])
    run_tool("copy-experiments", *place).expect(1)
    query = "SELECT name, lifecycle_stage FROM runs ORDER BY name"
    assert servers.select(destination, query) == [("first", "deleted"), ("two", "active")]


@pytest.mark.slow
def test_workspaces_are_places_of_their_own(
    template: Path, make_server: ServerFactory, destination: Server, run_tool: Tool
) -> None:
    env = {"MLFLOW_ENABLE_WORKSPACES": "true"}
    server = make_server(Options(template=template, env=env))
    for name in ("aa", "bb"):
        genai.call(server, "POST", "workspaces", json={"name": name})
        with contextlib.closing(Api(server.url)) as api:
            api.session.headers["X-MLFLOW-WORKSPACE"] = name
            experiment = api.post("experiments/create", name="churn")["experiment_id"]
            run = api.post("runs/create", experiment_id=experiment, start_time=1, run_name=name)["run"]["info"]
            rest.upload(api, run["artifact_uri"], "file", name.encode())
            api.post("registered-models/create", name="wine")
            version(api, "wine", f"runs:/{run['run_id']}/file", run_id=run["run_id"], description=name)
    genai.call(server, "POST", "workspaces", json={"name": "cc"})
    place = ("--src-mlflow-uri", server.url, "--dst-mlflow-uri", server.url, "--json")
    for number, name in enumerate(("aa", "bb", "aa", "bb")):
        options = ("--workspace", f"{name}=cc", "--on-conflict", "new-name")
        before = databases.dump(server)
        run_tool("copy-all", *place, *options).expect(0)
        assert (databases.dump(server) == before) == (number > 1)
        run_tool("verify", server.url, server.url, *options).expect(0)
    query = "SELECT name FROM {} WHERE workspace = 'cc' ORDER BY name"
    assert servers.select(server, query.format("registered_models")) == [("wine",), ("wine (2)",)]
    assert servers.select(server, query.format("experiments"))[-2:] == [("churn",), ("churn (2)",)]
    runs = "SELECT r.name FROM runs r JOIN experiments USING (experiment_id) WHERE workspace = 'cc' ORDER BY 1"
    assert servers.select(server, runs) == [("aa",), ("bb",)]
    refused = run_tool("copy-all", *place[:2], "--dst-mlflow-uri", destination.url, "--workspace", "aa=bb").expect(2)
    assert "has no workspaces" in refused.stderr
    assert "no such workspace" in run_tool("copy-all", *place, "--workspace", "aa=nope").expect(2).stderr
    run_tool("copy-all", *place[:2], "--dst-mlflow-uri", destination.url, "--workspace", "aa=").expect(0)
    run_tool("verify", f"{server.url}#aa", destination.url).expect(0)
