"""The memory scenario: one run with a very long history and one very large artifact, moved by this tool."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import corpus, ours, speed
from benchmarks.measure import Bench
from benchmarks.row import Row
from demo import servers

NAME = "memory"
PEAK_LIMIT = 300 * 1000 * 1000
KEYS = 5
CHUNK = 1 << 20


@dataclass(frozen=True)
class Giant:
    """How long the history and how large the artifact is."""

    points: int = 5_000_000
    artifact_bytes: int = 2_000_000_000

    @property
    def shape(self) -> corpus.Shape:
        """The same size in the words of the result table."""
        return corpus.Shape(1, KEYS, self.points // KEYS, 0, 1, self.artifact_bytes)


def rows(bench: Bench, giant: Giant) -> Iterator[Row]:
    """Export, import and copy of the giant run."""
    folder = servers.copy_folder(bench.template, bench.folder / "giant source")
    seed(folder_database(folder), giant)
    add_artifact(folder, giant)
    with servers.serving(folder, bench.server_workers) as source:
        yield from speed.there_and_back(bench, NAME, (source, giant.shape), ours.NAME)
        yield speed.copied(bench, NAME, source, giant.shape)


def seed(database: sqlite3.Connection, giant: Giant) -> None:
    """One run; rows in the order of the primary key and the other indexes made afterwards take minutes less."""
    index_query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'metrics' AND sql IS NOT NULL"
    )
    indexes = database.execute(index_query).fetchall()
    with database:
        for name, _ in indexes:
            database.execute(f'DROP INDEX "{name}"')
        corpus.add_experiment(database)
        corpus.add_run_head(database, 0, corpus.tags_of(0), {})
        columns = "key, value, timestamp, step, is_nan, run_uuid"
        corpus.insert(database, "metrics", columns, points(giant))
        latest = [point(number, giant.points // KEYS - 1) for number in range(KEYS)]
        corpus.insert(database, "latest_metrics", columns, latest)
        for _, statement in indexes:
            database.execute(statement)
    database.close()


def folder_database(folder: Path) -> sqlite3.Connection:
    """A connection to the database of a stopped server."""
    return sqlite3.connect(servers.database_of(folder))


def points(giant: Giant) -> Iterator[tuple[object, ...]]:
    """The whole history, one row at a time."""
    return (point(number, step) for number in range(KEYS) for step in range(giant.points // KEYS))


def point(number: int, step: int) -> tuple[object, ...]:
    """One row of the history; values rise, as the primary key does."""
    return f"metric_{number}", step / 1000, corpus.START_MS + step, step, 0, corpus.run_id(0)


def add_artifact(folder: Path, giant: Giant) -> None:
    """One file of the wanted size, written a chunk at a time."""
    path = corpus.run_folder(folder, 0) / "weights.bin"
    path.parent.mkdir(parents=True)
    chunk = corpus.artifact_bytes(0, CHUNK)
    with path.open("wb") as stream:
        for begin in range(0, giant.artifact_bytes, CHUNK):
            stream.write(chunk[: giant.artifact_bytes - begin])


def too_large(row: Row) -> bool:
    """Whether a move held more than it may."""
    return row.peak_bytes > PEAK_LIMIT
