"""A bundle made from a bundle: a part of it, or all of it under other names. The first one stays as it is."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import databases, rest, servers
from tests.conftest import Outcome, Run, Seeded, Tool
from tests.fidelity.test_legacy import old_export
from tests.fidelity.test_registry import QUOTES, Seeds, registry, seed
from tests.rest import Api
from tests.servers import Server

WINE = "wine é 'q' x.y"
LINKS = ("--allow-loss", "link")
"""One version in the seeds is of a run that is nowhere."""


@pytest.fixture(scope="module")
def seeded(
    small: Seeded, server_pool: Callable[[str], Server], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Seeds]:
    """A bundle with the small corpus, a registry and a nested logged model; tests only read it."""
    server = server_pool("source")
    servers.reset(server, small.content)
    seeds = seed(server)
    api = Api(server.url)
    parent = api.post("runs/create", experiment_id=seeds.experiment, start_time=1)["run"]["info"]["run_id"]
    nested = [{"key": "mlflow.parentRunId", "value": parent}]
    body = {"experiment_id": seeds.experiment, "start_time": 2, "tags": nested}
    child = api.post("runs/create", **body)["run"]["info"]["run_id"]
    made = {"experiment_id": seeds.experiment, "name": "logged", "source_run_id": child}
    model = api.post("logged-models", **made)["model"]["info"]["model_id"]
    api.post("registered-models/create", name="of a logged model")
    api.post("model-versions/create", name="of a logged model", source=f"models:/{model}", model_id=model)
    api.close()
    folder = tmp_path_factory.mktemp("bundle-") / "all"
    tool = Tool(tmp_path_factory.mktemp("home-"))
    tool("export-all", "--tracking-uri", server.url, "--output-dir", folder).expect(0)
    return folder, seeds


@pytest.fixture
def bundle(seeded: tuple[Path, Seeds]) -> Path:
    return seeded[0]


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file with its digest and time of change."""
    return {
        name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for name, path in databases.files(folder).items()
    }


def is_whole(folder: Path) -> None:
    """Assert that coreutils find the folder as its own list says."""
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked
    assert not list(folder.rglob("*.part"))
    named = {line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text("utf-8").splitlines()}
    assert named == set(databases.files(folder)) - {"SHA256SUMS", "manifest.json"}


def content(folder: Path) -> dict[str, Any]:
    """What stands in each file but the lists: of heads all but who wrote them and when."""
    found: dict[str, Any] = {}
    for name, path in databases.files(folder).items():
        if name.count("/") > 1:
            data = path.read_bytes()
            is_head = name.endswith(".json") and "/artifacts/" not in name
            found[name] = {**json.loads(data), "system": None} if is_head else data
    return found


def names(folder: Path, kind: str) -> set[str]:
    """The names of a bundle's objects of a kind."""
    return {json.loads(path.read_text("utf-8"))["info"]["name"] for path in folder.rglob(f"{kind}.json")}


def remade(run_here: Run, bundle: Path, new: Path, command: str, *words: str | Path) -> Outcome:
    """One of the two commands, after which the first bundle is as it was and the second one whole."""
    before = state(bundle)
    outcome = run_here(command, "--input-dir", bundle, "--output-dir", new, *words, "--json")
    assert state(bundle) == before
    if outcome.code == 0:
        is_whole(new)
    return outcome


def test_a_chosen_experiment_is_taken_byte_by_byte_and_nothing_else(
    bundle: Path, small: Seeded, run_here: Run, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    report = remade(run_here, bundle, new, "filter-export", "--experiments", "one").expect(0).json
    assert {kind: counts["done"] for kind, counts in report["kinds"].items()} == {"experiment": 1, "run": 3}
    home = f"experiments/{small.corpus.experiments['one']}/"
    assert content(new) == {name: value for name, value in content(bundle).items() if name.startswith(home)}
    run_here("verify", new).expect(0)


def test_all_of_everything_is_the_same_bundle(bundle: Path, run_here: Run, tmp_path: Path) -> None:
    new = tmp_path / "new"
    every = ("--experiments", "all", "--models", "all", "--prompts", "all")
    remade(run_here, bundle, new, "filter-export", *every).expect(0)
    assert content(new) == content(bundle)


@pytest.mark.slow
def test_the_hostile_corpus_passes_through_unchanged(
    hostile_bundle: tuple[Path, Outcome], run_here: Run, tmp_path: Path
) -> None:
    bundle = hostile_bundle[0]
    part, whole = tmp_path / "part", tmp_path / "whole"
    remade(run_here, bundle, part, "filter-export", "--experiments", "all").expect(0)
    remade(run_here, bundle, whole, "rewrite-export", "--drop-tags", "no such tag").expect(0)
    assert content(part) == content(whole) == content(bundle)


def test_a_chosen_model_brings_what_its_versions_were_made_of(
    seeded: tuple[Path, Seeds], destination: Server, run_here: Run, tmp_path: Path
) -> None:
    bundle, seeds = seeded
    new = tmp_path / "new"
    report = remade(run_here, bundle, new, "filter-export", "--models", "a copy").expect(0).json
    # The copy was made of a version of the other model, that one and those before it of a run's artifacts.
    assert names(new, "registered_model") == {"a copy", WINE}
    assert names(new, "experiment") == {"with models"}
    assert [path.parent.name for path in new.rglob("run.json")] == [seeds.run]
    assert report["kinds"]["model_version"]["done"] == 6
    run_here("import-all", "--tracking-uri", destination.url, "--input-dir", new, *LINKS).expect(0)
    there = registry(destination)
    assert [row[0] for row in there["model"]] == ["a copy", WINE]
    assert [row[:2] for row in there["version"]] == [("a copy", 1), *((WINE, number) for number in (2, 5, 6, 7, 8))]
    assert dict(there)["alias"] == [(WINE, "also_5", 5), (WINE, "champion", 5), (WINE, "old", 2)]


def test_a_model_of_a_logged_model_brings_its_run_and_the_runs_parent(
    bundle: Path, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    report = remade(run_here, bundle, new, "filter-export", "--models", "of a *").expect(0).json
    counts = {kind: row["done"] for kind, row in report["kinds"].items()}
    assert counts == {"experiment": 1, "run": 2, "logged_model": 1, "registered_model": 1, "model_version": 1}
    run_here("import-all", "--tracking-uri", destination.url, "--input-dir", new).expect(0)
    query = "SELECT count(*) FROM runs a JOIN tags t USING (run_uuid) JOIN runs b ON b.run_uuid = t.value"
    assert servers.select(destination, query + " WHERE t.key = 'mlflow.parentRunId'") == [(1,)]


def test_prompts_and_kinds_are_chosen_too(bundle: Path, destination: Server, run_here: Run, tmp_path: Path) -> None:
    new = tmp_path / "prompts"
    remade(run_here, bundle, new, "filter-export", "--prompts", "gre*").expect(0)
    assert (names(new, "prompt"), names(new, "registered_model")) == ({"greet"}, set())
    run_here("import-all", "--tracking-uri", destination.url, "--input-dir", new).expect(0)
    assert [row[:2] for row in registry(destination)["version"]] == [("greet", 1), ("greet", 3)]
    heads = tmp_path / "heads"
    words = ("--kinds", "model_version,experiment", "--models", WINE)
    report = remade(run_here, bundle, heads, "filter-export", *words).expect(0).json
    assert set(report["kinds"]) == {"experiment", "registered_model", "model_version"}
    only = tmp_path / "only"
    report = remade(run_here, bundle, only, "filter-export", "--kinds", "run").expect(0).json
    assert set(report["kinds"]) == {"experiment", "run"}
    assert {path.parent.name for path in only.rglob("run.json")} == {
        path.parent.name for path in bundle.rglob("run.json")
    }


def test_a_choice_that_meets_nothing_leaves_nothing_behind(bundle: Path, run_here: Run, tmp_path: Path) -> None:
    new = tmp_path / "new"
    for words, code, message in (
        (("--experiments", "nobody"), 1, "no such experiment"),
        (("--models", "nobody"), 1, "no such registered_model"),
        (("--kinds", "rum"), 2, "no such kind"),
        ((), 2, "nothing is chosen"),
    ):
        assert message in remade(run_here, bundle, new, "filter-export", *words).expect(code).stderr
        assert not new.exists()


def test_folders_that_could_be_spoiled_are_refused(bundle: Path, run_here: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("mine")
    for new in (bundle, bundle / "inside", bundle.parent, own):
        remade(run_here, bundle, new, "filter-export", "--experiments", "one").expect(2)
    assert [path.name for path in own.iterdir()] == ["thesis.txt"]
    rehearsed = tmp_path / "rehearsed"
    remade(run_here, bundle, rehearsed, "rewrite-export", "--drop-tags", "k")
    shutil.rmtree(rehearsed)
    words = ("--input-dir", bundle, "--output-dir", rehearsed, "--drop-tags", "k", "--dry-run", "--json")
    assert run_here("rewrite-export", *words).expect(0).json["kinds"]["run"]["done"] > 0
    assert not rehearsed.exists()


def test_a_hurt_bundle_is_refused_and_nothing_is_made_of_it(bundle: Path, run_here: Run, tmp_path: Path) -> None:
    hurt, new = tmp_path / "hurt", tmp_path / "new"
    shutil.copytree(bundle, hurt)
    next(hurt.rglob("plain.bin")).write_bytes(b"changed")
    assert "is changed" in remade(run_here, hurt, new, "filter-export", "--experiments", "one").expect(4).stderr
    assert not new.exists()


def test_everything_arrives_under_its_new_names_without_what_is_dropped(
    bundle: Path, source: Server, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    experiments, models = tmp_path / "experiments.csv", tmp_path / "models.json"
    experiments.write_text("one,first\nwith models,models é\n", "utf-8")
    models.write_text(json.dumps({WINE: "vin", "greet": "bonjour"}), "utf-8")
    renames = ("--experiment-rename-file", experiments, "--model-rename-file", models)
    dropped = ("--drop-tags", "mlflow.*,team", "--drop-params", "alph?", "--drop-artifacts", "*.bin,model/MLmodel")
    remade(run_here, bundle, new, "rewrite-export", *renames, *dropped).expect(0)
    run_here("verify", new).expect(0)
    assert {path.name for path in new.rglob("artifacts/**/*") if path.is_file()} == {"é.txt"}
    run_here("import-all", "--tracking-uri", destination.url, "--input-dir", new, *LINKS).expect(0)
    there = registry(destination)
    assert {row[0] for row in there["model"]} == {"vin", "a copy", "bonjour", "chat", "of a logged model", QUOTES}
    versions = {row[:2]: row[3] for row in there["version"]}
    assert versions["a copy", 1] == "models:/vin/5"
    assert {number for name, number in versions if name == "vin"} == {2, 5, 6, 7, 8}
    assert there["alias"][:2] == [("bonjour", "newest", 3), ("bonjour", "production", 1)]
    # What makes up a prompt stays, though the globs mean it.
    texts = [row[3] for row in there["version tag"] if row[0] == "bonjour" and row[2] == "mlflow.prompt.text"]
    assert texts == ["Hi {{name}}", "Hello {{ name }},\nüber 'x' \"y\""]
    assert ("vin", "é", "ü" * 4000) in there["model tag"]
    assert not [row for row in there["model tag"] if row[1] == "team"]
    query = "SELECT name FROM experiments ORDER BY name"
    found = {row[0] for row in servers.select(destination, query)}
    assert found == {"Default", "first", "two/é", "models é", "takes a number, so that ids differ at both ends"}
    api = Api(destination.url)
    runs = rest.runs(api, rest.experiment(api, "first")["experiment_id"])
    assert len(runs) == 3
    (parent,) = (run for run in runs if run["info"]["run_name"] == "parent")
    tags = {tag["key"]: tag["value"] for tag in parent["data"]["tags"]}
    own = {key: value for key, value in tags.items() if not key.startswith("mlflow_migration.")}
    assert own == {"k": "v"}
    assert parent["data"]["params"] == [{"key": "empty", "value": ""}]
    assert len(rest.history(api, parent["info"]["run_id"], "loss")) == 50
    assert rest.artifacts(api, parent["info"]["run_id"]) == ["a b/é.txt"]
    api.close()


def test_two_names_never_become_one(bundle: Path, run_here: Run, tmp_path: Path) -> None:
    names_file, new = tmp_path / "names.csv", tmp_path / "new"
    names_file.write_text("one,two/é\n", "utf-8")
    outcome = remade(run_here, bundle, new, "rewrite-export", "--experiment-rename-file", names_file).expect(1)
    assert "'two/é'" in outcome.stderr
    assert not new.exists()
    names_file.write_text("chat,a copy\n", "utf-8")
    remade(run_here, bundle, new, "rewrite-export", "--model-rename-file", names_file).expect(1)


def test_a_folder_of_the_old_tool_becomes_a_bundle(
    source: Server, destination: Server, run_here: Run, tmp_path: Path
) -> None:
    old, part, renamed = tmp_path / "old", tmp_path / "part", tmp_path / "renamed"
    old_export(source, "bulk.export_experiments", "--experiments", "all", "--output-dir", old)
    remade(run_here, old, part, "filter-export", "--experiments", "two*").expect(0)
    assert names(part, "experiment") == {"two/é"}
    names_file = tmp_path / "names.csv"
    names_file.write_text("two/é,due\n", "utf-8")
    remade(run_here, part, renamed, "rewrite-export", "--experiment-rename-file", names_file).expect(0)
    run_here("import-all", "--tracking-uri", destination.url, "--input-dir", renamed, *LINKS).expect(0)
    # One run's parent is in the other experiment: its tag keeps the id.
    assert databases.compare(source, destination, {"two/é": "due"}) == []
