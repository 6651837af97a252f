"""`verify` and `diff` find every kind of damage, and nothing where there is none."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import databases, servers
from tests.conftest import Outcome, Seeded, ServerPool, Tool
from tests.rest import Json
from tests.servers import Server, Snapshot


@dataclass(frozen=True)
class Pair:
    """Two servers with equal content; the right one is a migrated copy that a test may damage."""

    left: Server
    right: Server
    tool: Tool
    bundle: Path

    def run(self, command: str, *args: str | Path) -> Outcome:
        """The command over both servers."""
        return self.tool(command, self.left.url, self.right.url, "--json", *args)

    def run_id(self, name: str) -> str:
        """The id a run of that name has on the right."""
        ((run_id,),) = servers.select(self.right, "SELECT run_uuid FROM runs WHERE name = ?", name)
        return str(run_id)


@dataclass(frozen=True)
class Migrated:
    """A destination after a migration, and the bundle made on the way."""

    content: Snapshot
    bundle: Path


@pytest.fixture(scope="module")
def migrated(
    small: Seeded, template: Path, server_pool: ServerPool, tmp_path_factory: pytest.TempPathFactory
) -> Migrated:
    """The small corpus, moved once by export and import."""
    left, right = server_pool("source"), server_pool("destination")
    servers.reset(left, small.content)
    servers.reset(right, Snapshot(template))
    folder = tmp_path_factory.mktemp("migrated-")
    tool, bundle = Tool(folder / "home"), folder / "bundle"
    tool("export-experiments", "--tracking-uri", left.url, "--experiments", "all", "--output-dir", bundle).expect(0)
    tool("import-experiments", "--tracking-uri", right.url, "--input-dir", bundle).expect(0)
    return Migrated(servers.photograph(right, folder / "content"), bundle)


@pytest.fixture
def pair(migrated: Migrated, source: Server, destination: Server, run_tool: Tool) -> Pair:
    """Two equal servers; the tool has no ledger of how they became so."""
    servers.reset(destination, migrated.content)
    return Pair(source, destination, run_tool, migrated.bundle)


@pytest.mark.parametrize("command", ["verify", "diff"])
def test_equal_places_are_equal(pair: Pair, command: str) -> None:
    assert databases.compare(pair.left, pair.right) == []
    report = pair.run(command).expect(0).json
    assert report["ok"] is True
    assert report["differences"] == []
    assert report["kinds"]["run"]["equal"] == 5
    assert report["kinds"]["experiment"]["equal"] == 3


def test_a_bundle_equals_both_servers(pair: Pair) -> None:
    for place in (pair.left.url, pair.right.url):
        report = pair.tool("verify", pair.bundle, place, "--json").expect(0).json
        assert report["kinds"]["run"]["equal"] == 5


def test_a_bundle_alone_is_whole(pair: Pair) -> None:
    pair.tool("verify", pair.bundle).expect(0)


# (statement, kind, what a difference must name); what is in one group is done at once and must all be found.
DAMAGE: dict[str, list[tuple[str, str, str]]] = {
    "tags and params": [
        ("UPDATE tags SET value = 'changed' WHERE key = 'why'", "run", "why"),
        ("DELETE FROM tags WHERE key = 'k'", "run", "k"),
        ("UPDATE tags SET value = '0' WHERE key = 'mlflow.parentRunId'", "run", "mlflow.parentRunId"),
        ("UPDATE params SET value = '0.50' WHERE key = 'alpha'", "run", "alpha"),
        ("DELETE FROM params WHERE key = 'empty'", "run", "empty"),
    ],
    "a missing point": [("DELETE FROM metrics WHERE key = 'loss' AND step = 25", "run", "loss")],
    "a value in the middle": [
        ("UPDATE metrics SET value = value + 1e-12 WHERE key = 'loss' AND step = 25", "run", "loss")
    ],
    "a time in the middle": [
        ("UPDATE metrics SET timestamp = timestamp + 1 WHERE key = 'loss' AND step = 25", "run", "loss")
    ],
    "a NaN": [("UPDATE metrics SET is_nan = 0 WHERE is_nan = 1", "run", "acc é")],
    "columns of runs": [
        ("UPDATE runs SET end_time = end_time + 1 WHERE name = 'parent'", "run", "end_time"),
        ("UPDATE runs SET start_time = 1 WHERE name = 'scheduled'", "run", "start_time"),
        ("UPDATE runs SET status = 'FINISHED' WHERE name = 'running'", "run", "status"),
        ("UPDATE runs SET user_id = 'bob' WHERE name = 'child'", "run", "user"),
        ("UPDATE runs SET lifecycle_stage = 'active' WHERE name = 'gone'", "run", "lifecycle"),
    ],
    "a tag of a dataset input": [("UPDATE input_tags SET value = 'changed'", "run", "iris")],
    "dataset inputs": [("DELETE FROM inputs", "run", "iris")],
    "experiments": [
        ("UPDATE experiment_tags SET value = 'blue' WHERE key = 'team'", "experiment", "team"),
        ("DELETE FROM experiment_tags WHERE key = 'mlflow.note.content'", "experiment", "mlflow.note.content"),
    ],
}


@pytest.mark.parametrize("group", DAMAGE)
def test_every_damaged_row_is_found(pair: Pair, group: str) -> None:
    for statement, _, _ in DAMAGE[group]:
        assert servers.execute(pair.right, statement) > 0
    report = pair.run("verify").expect(1).json
    assert report["ok"] is False
    for _, kind, named in DAMAGE[group]:
        assert any(
            row["kind"] == kind and named in f"{row['field']} {row['left']} {row['right']}"
            for row in report["differences"]
        ), (named, report["differences"])
    kinds = {kind for _, kind, _ in DAMAGE[group]}
    assert {row["kind"] for row in report["differences"]} == kinds
    assert all(report["kinds"][kind]["different"] >= 1 for kind in kinds)


def test_diff_finds_what_verify_finds(pair: Pair) -> None:
    servers.execute(pair.right, "UPDATE metrics SET value = 7 WHERE key = 'loss' AND step = 25")
    servers.execute(pair.right, "UPDATE experiment_tags SET value = 'blue' WHERE key = 'team'")

    def found(report: Json) -> list[Json]:
        return sorted(report["differences"], key=repr)

    assert found(pair.run("diff").expect(1).json) == found(pair.run("verify").expect(1).json)


def test_a_changed_byte_in_an_artifact_of_the_same_size_is_found(pair: Pair) -> None:
    path = next(pair.right.artifacts.rglob("plain.bin"))
    content = bytearray(path.read_bytes())
    content[2500] ^= 1
    path.write_bytes(bytes(content))
    report = pair.run("verify").expect(1).json
    assert any("plain.bin" in str(row) for row in report["differences"])


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.rename(path.with_name("other"))])
def test_a_missing_artifact_is_found(pair: Pair, damage: Callable[[Path], object]) -> None:
    damage(next(pair.right.artifacts.rglob("plain.bin")))
    report = pair.run("verify").expect(1).json
    assert any("plain.bin" in str(row) for row in report["differences"])


def test_a_missing_run_is_found(pair: Pair, small: Seeded) -> None:
    run_id = pair.run_id("child")
    for statement in (
        "DELETE FROM tags WHERE run_uuid = ?",
        "DELETE FROM metrics WHERE run_uuid = ?",
        "DELETE FROM latest_metrics WHERE run_uuid = ?",
        "DELETE FROM inputs WHERE destination_id = ?",
        "DELETE FROM runs WHERE run_uuid = ?",
    ):
        servers.execute(pair.right, statement, run_id)
    report = pair.run("verify").expect(1).json
    assert [(row["sign"], row["kind"], row["id"]) for row in report["differences"]] == [
        ("-", "run", small.corpus.runs["child"])
    ]
    assert report["kinds"]["run"]["missing"] == 1
    assert report["kinds"]["run"]["equal"] == 4


def test_a_missing_experiment_is_found_with_its_runs(pair: Pair) -> None:
    servers.execute(pair.right, "UPDATE experiments SET name = 'elsewhere' WHERE name = 'two/é'")
    report = pair.run("verify").expect(1).json
    assert any("two/é" in str(row) for row in report["differences"])


def test_a_second_copy_of_a_run_is_found(pair: Pair) -> None:
    run_id = pair.run_id("parent")
    servers.execute(
        pair.right,
        "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri,"
        " experiment_id, source_type) SELECT ?, name, user_id, status, start_time, end_time, lifecycle_stage,"
        " artifact_uri, experiment_id, source_type FROM runs WHERE run_uuid = ?",
        "d" * 32,
        run_id,
    )
    servers.execute(pair.right, "INSERT INTO tags SELECT key, value, ? FROM tags WHERE run_uuid = ?", "d" * 32, run_id)
    report = pair.run("verify").expect(1).json
    assert "+" in [row["sign"] for row in report["differences"]]
    assert report["kinds"]["run"]["extra"] == 1


def test_damage_at_the_source_side_is_found_too(pair: Pair) -> None:
    servers.execute(pair.left, "DELETE FROM metrics WHERE key = 'loss' AND step = 25")
    report = pair.run("verify").expect(1).json
    assert any("loss" in row["field"] for row in report["differences"])


def test_a_bundle_that_differs_from_a_server_is_found(pair: Pair) -> None:
    servers.execute(pair.right, "UPDATE metrics SET value = 7 WHERE key = 'loss' AND step = 25")
    report = pair.tool("verify", pair.bundle, pair.right.url, "--json").expect(1).json
    assert any("loss" in row["field"] for row in report["differences"])
