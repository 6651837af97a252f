"""The comparer that judges the migrations is itself judged: it finds each kind of damage, and nothing else."""

import shutil
from pathlib import Path

import pytest

from tests import databases, servers
from tests.conftest import Seeded
from tests.servers import Snapshot

SELECT_PARENT = "SELECT run_uuid FROM runs WHERE name = 'parent'"


@pytest.fixture
def twins(small: Seeded, tmp_path: Path) -> tuple[Snapshot, Snapshot]:
    """The small corpus, and a copy of it that looks migrated: the same rows and an origin tag on every run."""
    copy = Snapshot(tmp_path / "mlflow.db", tmp_path / "artifacts")
    assert small.content.artifacts
    shutil.copy(small.content.database, copy.database)
    shutil.copytree(small.content.artifacts, tmp_path / "artifacts")
    servers.execute(copy, "INSERT INTO tags SELECT ?, run_uuid, run_uuid FROM runs", databases.ORIGIN)
    return small.content, copy


def test_a_faithful_copy_has_no_differences(twins: tuple[Snapshot, Snapshot]) -> None:
    assert databases.compare(*twins) == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE params SET value = '0.50' WHERE key = 'alpha'", "param missing"),
        ("DELETE FROM params WHERE key = 'empty'", "param missing: ('empty', '')"),
        (
            "INSERT INTO params SELECT 'new', 'x', run_uuid FROM runs WHERE name = 'parent'",
            "param surplus: ('new', 'x')",
        ),
        ("UPDATE metrics SET value = value + 1e-15 WHERE key = 'loss' AND step = 25", "metric missing"),
        ("DELETE FROM metrics WHERE key = 'loss' AND step = 25", "metric missing: ('loss', 25"),
        ("UPDATE metrics SET is_nan = 0 WHERE is_nan = 1", "metric surplus"),
        ("UPDATE latest_metrics SET step = 7", "latest metric missing"),
        ("UPDATE tags SET value = 'w' WHERE key = 'k'", "tag missing: ('k', 'v')"),
        ("INSERT INTO tags SELECT 'extra', '', run_uuid FROM runs WHERE name = 'parent'", "tag surplus: ('extra', '')"),
        ("UPDATE runs SET user_id = 'bob' WHERE name = 'parent'", "run missing"),
        ("UPDATE runs SET end_time = end_time + 1 WHERE name = 'parent'", "run missing"),
        ("UPDATE runs SET lifecycle_stage = 'active' WHERE name = 'gone'", "run missing"),
        ("UPDATE runs SET experiment_id = 2 WHERE name = 'parent'", "in experiment 'two/é', not 'one'"),
        ("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'one'", "experiment 'one'"),
        ("UPDATE experiments SET name = 'uno' WHERE name = 'one'", "experiment 'one': missing"),
        ("UPDATE experiment_tags SET value = 'blue' WHERE key = 'team'", "row missing: ('tag', 'team', 'red')"),
        ("UPDATE datasets SET dataset_source = 'other'", "input missing"),
        ("UPDATE input_tags SET value = 'other'", "input tag missing"),
        ("DELETE FROM inputs", "input missing"),
        (
            "INSERT INTO datasets SELECT 'u', experiment_id, 'n', 'd', 't', 's', '', '' FROM datasets",
            "1 datasets became",
        ),
        ("UPDATE tags SET value = 'nobody' WHERE key = 'mlflow_migration.run_id'", "0 copies"),
    ],
)
def test_one_changed_row_is_found(twins: tuple[Snapshot, Snapshot], statement: str, words: str) -> None:
    assert servers.execute(twins[1], statement) > 0
    assert words in "\n".join(databases.compare(*twins))


def test_a_second_copy_of_a_run_is_found(twins: tuple[Snapshot, Snapshot]) -> None:
    ((parent,),) = servers.select(twins[1], SELECT_PARENT)
    servers.execute(
        twins[1],
        "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, artifact_uri, experiment_id)"
        " SELECT 'twin', name, status, lifecycle_stage, artifact_uri, experiment_id FROM runs WHERE run_uuid = ?",
        parent,
    )
    servers.execute(twins[1], "INSERT INTO tags VALUES (?, ?, 'twin')", databases.ORIGIN, parent)
    assert any("2 copies" in text for text in databases.compare(*twins))


def test_changed_missing_and_surplus_artifacts_are_found(twins: tuple[Snapshot, Snapshot]) -> None:
    folder = next(run.folder for run in databases.read(twins[1]).runs.values() if (run.folder / "plain.bin").exists())
    content = (folder / "plain.bin").read_bytes()
    (folder / "plain.bin").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (folder / "a b" / "é.txt").rename(folder / "new")
    found = [text.rsplit(": ", 2)[-2:] for text in databases.compare(*twins)]
    assert found == [
        ["artifact missing", "'a b/é.txt'"],
        ["artifact surplus", "'new'"],
        ["artifact changed", "'plain.bin'"],
    ]


def test_new_ids_in_mlflow_tags_and_mlmodel_files_are_expected(twins: tuple[Snapshot, Snapshot]) -> None:
    source, copy = twins
    ((old,),) = servers.select(source, SELECT_PARENT)
    assert source.artifacts
    assert copy.artifacts
    new = "e" * 32
    for statement in (
        "UPDATE tags SET run_uuid = ? WHERE run_uuid = ?",
        "UPDATE params SET run_uuid = ? WHERE run_uuid = ?",
        "UPDATE metrics SET run_uuid = ? WHERE run_uuid = ?",
        "UPDATE latest_metrics SET run_uuid = ? WHERE run_uuid = ?",
        "UPDATE inputs SET destination_id = ? WHERE destination_id = ?",
        "UPDATE runs SET run_uuid = ? WHERE run_uuid = ?",
    ):
        servers.execute(copy, statement, new, old)
    servers.execute(copy, "UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", old, new)
    (copy.artifacts / "1" / old).rename(copy.artifacts / "1" / new)
    children = "child", "scheduled"
    assert [any(f"'{name}'" in text for text in databases.compare(*twins)) for name in children] == [True, True]
    servers.execute(copy, "UPDATE tags SET value = ? WHERE value = ? AND key <> ?", new, old, databases.ORIGIN)
    assert databases.compare(*twins) == []


def test_a_dump_notices_any_write(twins: tuple[Snapshot, Snapshot]) -> None:
    copy = twins[1]
    before = databases.dump(copy)
    assert databases.dump(copy) == before
    servers.execute(copy, "UPDATE experiments SET last_update_time = 1")
    assert databases.dump(copy) != before
    assert databases.counts(copy) == {table: len(rows) for table, rows in before.items()}
