"""What changes at the source after a migration arrives with the next one, once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import databases, seeding
from tests.conftest import Seeded, Tool
from tests.rest import Api
from tests.seeding import T0, Seed
from tests.servers import Server

Move = Callable[[], dict[str, dict[str, int]]]


@pytest.fixture(params=["copy", "export and import", "copy, ledger lost"])
def move(request: pytest.FixtureRequest, source: Server, destination: Server, run_tool: Tool, tmp_path: Path) -> Move:
    """Bring everything from source to destination by the way under test; returns the counts of the last command."""
    bundle = tmp_path / "bundle"
    calls = iter(range(100))

    def copy() -> dict[str, dict[str, int]]:
        places = ("--src-mlflow-uri", source.url, "--dst-mlflow-uri", destination.url)
        tool = Tool(tmp_path / f"home {next(calls)}") if "lost" in request.param else run_tool
        done = tool("copy-experiments", *places, "--experiments", "all", "--json").expect(0)
        kinds: dict[str, dict[str, int]] = done.json["kinds"]
        return kinds

    def export_and_import() -> dict[str, dict[str, int]]:
        place = ("--tracking-uri", source.url)
        run_tool("export-experiments", *place, "--experiments", "all", "--output-dir", bundle).expect(0)
        place = ("--tracking-uri", destination.url)
        done = run_tool("import-experiments", *place, "--input-dir", bundle, "--json").expect(0)
        kinds: dict[str, dict[str, int]] = done.json["kinds"]
        return kinds

    return export_and_import if "export" in request.param else copy


def test_every_change_at_the_source_arrives_once(
    source: Server, small: Seeded, destination: Server, move: Move
) -> None:
    move()
    assert databases.compare(source, destination) == []
    change(source, small)
    kinds = move()
    assert databases.compare(source, destination) == []
    run = kinds["run"]
    assert run["asked"] == 7
    assert run["done"] == 2
    assert run["updated"] == 5, kinds
    before = databases.dump(destination)
    assert move()["run"]["same"] == 7
    assert databases.dump(destination) == before


def change(source: Server, small: Seeded) -> None:
    """Change all five runs of the small corpus, each in its own ways, and add two, one of them in a new experiment."""
    api = Api(source.url)
    seed = Seed(api, source, small.corpus.__class__(dict(small.corpus.experiments), dict(small.corpus.names)))
    runs = small.corpus.runs
    running = runs["running"]
    seeding.log_metric(api, running, "loss", [(2, T0 + 2, 1.0), (1, T0 + 1, 1.75), (0, T0 - 1, 9.0)])
    seeding.log_metric(api, running, "new key", [(step, T0, float(step)) for step in range(1500)])
    seeding.log_params(api, running, {"late": "param"})
    seeding.log_dataset(api, running, "late data", {"a": "b"})
    seed.file(running, "late/é.txt", b"new artifact")
    seed.end(running, "KILLED")
    parent = runs["parent"]
    api.post("runs/set-tag", run_id=parent, key="k", value="changed é")
    api.post("runs/set-tag", run_id=parent, key="mlflow.note.content", value="rewritten")
    api.post("runs/update", run_id=parent, run_name="parent, renamed")
    # Another size: REST shows neither checksum nor time of an artifact, so only `verify` finds one of the same size.
    seed.file(parent, "plain.bin", seeding.noise(5001, "other content"))
    api.post("runs/delete", run_id=runs["child"])
    api.post("runs/restore", run_id=runs["gone"])
    api.post("runs/set-tag", run_id=runs["gone"], key="back", value="again")
    seed.end(runs["scheduled"], "FAILED")
    api.post("experiments/set-experiment-tag", experiment_id=seed.corpus.experiments["one"], key="team", value="blue")
    api.post("experiments/set-experiment-tag", experiment_id=seed.corpus.experiments["two"], key="new", value="tag")
    seed.experiment("three", "three")
    seed.end(seed.run("new one", "one", {"mlflow.parentRunId": parent}))
    seed.end(seed.run("new three", "three"))
    api.close()


def test_a_deleted_run_that_changed_is_brought_up_to_date_and_stays_deleted(
    source: Server, small: Seeded, destination: Server, move: Move
) -> None:
    move()
    api, gone = Api(source.url), small.corpus.runs["gone"]
    api.post("runs/restore", run_id=gone)
    seeding.log_metric(api, gone, "m", [(1, T0, 1.0)])
    api.post("runs/set-tag", run_id=gone, key="why", value="another reason")
    api.post("runs/delete", run_id=gone)
    api.close()
    move()
    assert databases.compare(source, destination) == []


def test_an_experiment_deleted_and_restored_at_the_source_follows(
    source: Server, small: Seeded, destination: Server, move: Move
) -> None:
    move()
    api, number = Api(source.url), small.corpus.experiments["one"]
    api.post("experiments/delete", experiment_id=number)
    move()
    assert databases.compare(source, destination) == []
    api.post("experiments/restore", experiment_id=number)
    api.post("runs/delete", run_id=small.corpus.runs["gone"])
    move()
    assert databases.compare(source, destination) == []
    api.close()
