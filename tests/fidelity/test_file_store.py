"""A file store (`./mlruns`) as a source of every command, judged by what MLflow's own client says of it."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests import file_stores
from tests.conftest import Run, Tool, once
from tests.file_stores import Json
from tests.servers import Server

NOWHERE = "/nowhere/of/all/mlruns"
GOLDEN = Path(__file__).parents[1] / "golden" / "format-1"


@pytest.fixture(scope="session")
def made(shared_folder: Path) -> Json:
    """A file store, and what it holds; tests only read it."""

    def fill(folder: Path) -> Json:
        folder.mkdir()
        store = file_stores.make(folder)
        return {"path": str(store), "told": file_stores.tell(store.as_uri(), folder)}

    return once(shared_folder, "file-store", fill)


@pytest.fixture
def store(made: Json) -> Path:
    return Path(made["path"])


@pytest.fixture
def copied(store: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed, as it looks on another machine: the folder it names isn't there."""
    target = tmp_path / "mlruns"
    shutil.copytree(store, target)
    for path in target.rglob("*"):
        if path.is_file() and path.name in {"meta.yaml", "mlflow.artifactLocation"}:
            path.write_text(path.read_text().replace(str(store), NOWHERE))
    return target


def without_times(told: Json) -> Json:
    """What a server can be told: not when an assessment was made."""
    found: Json = json.loads(json.dumps(told))
    for name, each in found.items():
        if name.startswith("trace "):
            each["assessments"] = [values[:-1] for values in each["assessments"]]
    return found


def with_artifacts_of_trash(told: Json, other: Json) -> Json:
    """MLflow's file store doesn't find the artifacts of a deleted experiment, which lie in its trash."""
    assert [*other["run in gone"]["files"]] == ["g.txt"]
    return {**told, "run in gone": {**told["run in gone"], "files": other["run in gone"]["files"]}}


def rows(database: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(database)) as base:
        return base.execute(statement).fetchall()


def folder_of(store: Path, name: str) -> Path:
    """The folder of the run, model or experiment of a name."""
    return next(
        path.parent for path in store.rglob("meta.yaml") if f"name: {name}\n" in path.read_text(encoding="utf-8")
    )


def test_a_file_store_becomes_a_database_with_its_ids_and_times(
    made: Json, store: Path, run_tool: Tool, tmp_path: Path
) -> None:
    database = tmp_path / "new.db"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ("copy-all", "--src-mlflow-uri", store, "--dst-mlflow-uri", f"sqlite:///{database}", "--json")
    first = run_tool.module("mlflow_migration", *words, env={"TMPDIR": str(scratch)}).expect(0).json
    assert first["source"] == str(store)
    assert not list(scratch.iterdir())
    told = file_stores.tell(f"sqlite:///{database}", tmp_path)
    assert told == with_artifacts_of_trash(made["told"], told)
    experiments = {path.parent.name for path in store.glob("*/meta.yaml")} | {
        path.parent.name for path in store.glob(".trash/*/meta.yaml")
    }
    runs = {path.parent.name for path in store.rglob("meta.yaml") if len(path.parent.name) == 32}
    assert {str(id_) for (id_,) in rows(database, "SELECT experiment_id FROM experiments")} == experiments
    assert {id_ for (id_,) in rows(database, "SELECT run_uuid FROM runs")} <= runs
    deleted = rows(database, "SELECT count(*) FROM runs WHERE deleted_time IS NOT NULL")
    assert deleted == [(2,)]
    run_tool("verify", store, f"sqlite:///{database}").expect(0)
    again = run_tool(*words).expect(0).json
    assert {kind: counts["done"] for kind, counts in again["kinds"].items() if counts["done"]} == {}


def test_artifacts_are_copied_where_a_root_is_given(store: Path, run_tool: Tool, tmp_path: Path) -> None:
    database, root = tmp_path / "new.db", tmp_path / "root"
    ends = ("--src-mlflow-uri", store.as_uri(), "--dst-mlflow-uri", f"sqlite:///{database}")
    run_tool("copy-all", *ends, "--dst-artifact-root", root).expect(0)
    assert all(str(uri).startswith(str(root)) for (uri,) in rows(database, "SELECT artifact_uri FROM runs"))
    assert {path.name for path in root.rglob("*") if path.is_file()} >= {"x.txt", "weights.bin", "g.txt", "traces.json"}


@pytest.mark.slow
def test_a_file_store_is_copied_to_a_server(
    made: Json, store: Path, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    run_tool("copy-all", "--src-mlflow-uri", store, "--dst-mlflow-uri", destination.url).expect(0)
    told = file_stores.tell(destination.url, tmp_path)
    assert without_times(told) == without_times(with_artifacts_of_trash(made["told"], told))
    # A server notes at a model which versions were made of it, which a file store doesn't.
    run_tool("verify", store, destination.url, "--allow-loss", "tag").expect(0)


@pytest.mark.slow
def test_a_moved_file_store_goes_to_a_server_by_a_bundle(
    made: Json, copied: Path, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    run_tool("export-all", "--tracking-uri", copied, "--output-dir", bundle).expect(0)
    run_tool("verify", copied, bundle).expect(0)
    run_tool("import-all", "--tracking-uri", destination.url, "--input-dir", bundle).expect(0)
    told = file_stores.tell(destination.url, tmp_path)
    assert without_times(told) == without_times(with_artifacts_of_trash(made["told"], told))


def test_what_is_broken_costs_only_itself_and_is_told(made: Json, copied: Path, run_tool: Tool, tmp_path: Path) -> None:
    database = tmp_path / "new.db"
    one = folder_of(copied, "net").parent.parent
    child, dead = (
        next(each.parent for each in one.glob("*/meta.yaml") if f"run_name: {name}" in each.read_text())
        for name in ("child", "dead")
    )
    (child / "meta.yaml").write_text("{ no yaml")
    (dead / "metrics").mkdir(exist_ok=True)
    (dead / "metrics" / "torn").write_text("1000 0.5 0\n10")
    (one / ("f" * 32) / "tags").mkdir(parents=True)
    (one / ("e" * 32) / "artifacts").mkdir(parents=True)
    gone = next((copied / ".trash").iterdir())
    (gone / "meta.yaml").write_text("")
    net = folder_of(copied, "net")
    with (net / "metrics" / "acc").open("a") as metric:
        metric.write("6 nan 1 " + child.name + "\n")
    assessments = next(one.glob("traces/*/assessments"))
    (assessments / "a-other.yaml").write_text("assessment_name: other\n")
    (copied / "models" / "reg" / "version-1" / "meta.yaml").write_text("name: reg\n")
    (copied / "models" / "half" / "tags").mkdir(parents=True)
    words = ("copy-all", "--src-mlflow-uri", copied, "--dst-mlflow-uri", f"sqlite:///{database}", "--json")
    document = run_tool(*words).expect(1).json
    told = {(row["kind"], row["id"], row["state"]) for row in document["rows"] if row["kind"] != "artifact"}
    trace = assessments.parent.name
    assert told == {
        ("run", child.name, "failed"),
        ("run", dead.name, "failed"),
        ("run", "f" * 32, "failed"),
        ("run", "e" * 32, "skipped"),
        ("experiment", gone.name, "failed"),
        ("run", next(each.parent.name for each in gone.glob("*/meta.yaml")), "failed"),
        ("metric", net.name, "unsupported"),
        ("assessment", trace, "unsupported"),
        ("model_version", "reg/1", "failed"),
        ("registered_model", "half", "failed"),
    }
    torn = next(row["reason"] for row in document["rows"] if row["id"] == dead.name)
    assert "line 2" in torn
    assert "torn" in torn
    assert {name for (name,) in rows(database, "SELECT name FROM runs")} == {"parent"}
    whole = made["told"]["run parent"]["metrics"]
    points = sum(map(len, whole.values()))
    assert rows(database, "SELECT count(*) FROM metrics") == [(points,)]
    differences = run_tool("verify", copied, f"sqlite:///{database}", "--json").expect(1).json["differences"]
    assert {each["id"] for each in differences} >= {child.name, dead.name, gone.name, trace, "reg/1"}
    run_tool("copy-experiments", "--experiments", "Default", *words[1:5]).expect(0)


def test_a_file_store_is_only_read(store: Path, destination: Server, run_here: Run, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for words in (
        ("copy-all", "--src-mlflow-uri", database, "--dst-mlflow-uri", store),
        ("copy-all", "--src-mlflow-uri", store, "--dst-mlflow-uri", store.as_uri()),
        ("plan", store, store),
        ("import-all", "--tracking-uri", store, "--input-dir", GOLDEN),
        ("export-all", "--tracking-uri", store, "--output-dir", store),
    ):
        assert "file stores are only read" in run_here(*words).expect(2).stderr, words
    assert (
        "a file store is no bundle" in run_here("import-all", "--tracking-uri", "http://x", "--input-dir", store).stderr
    )


def test_a_folder_that_is_neither_is_a_broken_bundle(run_here: Run, tmp_path: Path) -> None:
    # What a server on a database leaves in ./mlruns: artifacts only.
    (tmp_path / "mlruns" / "0" / ("a" * 32) / "artifacts").mkdir(parents=True)
    assert "no file store" not in run_here("verify", tmp_path / "mlruns").expect(4).stderr
    assert "no file store" in run_here("doctor", f"file://{tmp_path}/mlruns", "--json").expect(2).stdout


def test_looking_at_a_file_store(store: Path, run_here: Run, tmp_path: Path) -> None:
    place = run_here("doctor", store, "--json").expect(0).json["places"][0]
    assert (place["kind"], place["place"], place["experiments"], place["broken"]) == ("file store", str(store), 3, 0)
    planned = run_here("plan", store, tmp_path / "bundle", "--json").expect(0).json
    assert planned["kinds"]["run"]["done"] == 4
    assert not (tmp_path / "bundle").exists()
    assert "alone" in run_here("verify", store).expect(2).stderr
    listed = run_here("list-registered-models", "--tracking-uri", store, "--json").expect(0).json
    assert [model["name"] for model in listed["registered_models"]] == ["reg"]
    chosen = run_here("export-model", "--tracking-uri", store, "--model", "reg", "--output-dir", tmp_path / "reg")
    chosen.expect(0)
