"""Databases as sources at their limits: long histories, many runs, a lock that stays, a server that goes."""

import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_migration.database import histories
from mlflow_migration.database.connect import open_database
from mlflow_migration.database.place import Database
from mlflow_migration.errors import AccessError
from mlflow_migration.records import Json
from tests import servers
from tests.conftest import Run
from tests.postgres import running
from tests.servers import Server

RUN = "a" * 32
READ = """
import resource, sys
from mlflow_migration.database.connect import open_database
from mlflow_migration.database.place import Database
place = Database(open_database(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 0
for head, rows in place.with_histories(place.search_runs([e["experiment_id"] for e in place.search_experiments()])):
    count += sum(len(row["points"]) for row in rows())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def fill(database: Path, run_id: str, points: int, keys: int = 1) -> None:
    """A run with so many points, awkward ones at the places where pages meet."""
    with closing(sqlite3.connect(database)) as base, base:
        base.execute(
            "INSERT INTO runs (run_uuid, status, lifecycle_stage, experiment_id, start_time) "
            "VALUES (?, 'FINISHED', 'active', 0, 1)",
            (run_id,),
        )
        rows = ((run_id, f"k{n % keys}", float(n % 7), n // 3, -n // 5, n % 11 == 0) for n in range(points))
        base.executemany(
            "INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)", rows
        )


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Path:
    """An empty database of the test's own."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(template.read_bytes())
    return path


def points_of(rows: list[Json]) -> list[list[object]]:
    return [[row["key"], *point] for row in rows for point in row["points"]]


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
def test_a_long_history_is_the_same_in_pages_of_any_size(
    page: int, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, RUN, 200, keys=2)
    monkeypatch.setattr(histories, "PAGE", page)
    place = Database(open_database(f"sqlite:///{database}"))
    ((_, whole),) = place.with_histories(place.search_runs(["0"]))
    monkeypatch.setattr(histories, "BATCH_POINTS", 0)
    ((_, paged),) = place.with_histories(place.search_runs(["0"]))
    expected = servers.select(
        servers.Snapshot(database), "SELECT key, step, timestamp, value, is_nan FROM metrics ORDER BY 1, 3, 2, 4, 5"
    )
    found = points_of(list(paged()))
    assert found == points_of(list(whole()))
    assert found == [[key, step, time, "NaN" if nan else value] for key, step, time, value, nan in expected]


@pytest.mark.slow
def test_a_run_of_a_million_points_is_read_in_little_memory(database: Path) -> None:
    fill(database, RUN, 1_000_000, keys=3)
    answer = subprocess.run(
        [sys.executable, "-c", READ, f"sqlite:///{database}"], check=True, capture_output=True, text=True, timeout=280
    )
    count, grown = map(int, answer.stdout.split())
    assert count == 1_000_000
    assert grown < 60_000, f"{grown} kB more"


@pytest.mark.slow
def test_a_database_that_stays_locked_is_told(source: Server, run_here: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(source.database, isolation_level=None)) as base:
        base.execute("BEGIN EXCLUSIVE")
        told = run_here("export-all", "--tracking-uri", f"sqlite:///{source.database}", "--output-dir", tmp_path / "b")
        base.execute("ROLLBACK")
    assert told.code == 3, told
    assert "database is locked" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.slow
def test_a_database_server_that_goes_while_it_is_read_ends_the_job_with_one_line() -> None:
    with running() as postgres:
        place = Database(open_database(postgres.database(), create=True))
        assert list(place.registry.search_models(prompts=False)) == []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            postgres.stop()
        with pytest.raises(AccessError) as told:
            list(place.search_experiments())
        assert "can't read postgresql:///" in str(told.value)
        assert "\n" not in str(told.value)
        assert "SELECT" not in str(told.value)
