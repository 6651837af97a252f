"""The runs that every candidate moves: made from their index alone, and written into a stopped server's SQLite file."""

import contextlib
import hashlib
import json
import math
import sqlite3
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy.dialects import sqlite

from benchmarks.row import Amount
from demo import servers

EXPERIMENT_ID = 1
EXPERIMENT = "benchmark corpus"
START_MS = 1_700_000_000_000
RUN_MS = 60_000
# Two folders and the root: three listings per run, as for a run with plots and a model folder.
ARTIFACTS = ("notes.txt", "plots/curve.png", "plots/confusion.png", "model/weights.bin")
DATASET = {
    "name": "corpus",
    "digest": "0f1e2d3c",
    "source_type": "local",
    "source": json.dumps({"uri": "corpus.csv"}),
    "schema": json.dumps({"mlflow_colspec": [{"type": "double", "name": "x", "required": True}]}),
    "profile": json.dumps({"num_rows": 1000}),
}
Point = tuple[str, float, int, int]


@dataclass(frozen=True)
class Shape:
    """How much there is to move."""

    runs: int = 400
    metrics: int = 8
    steps: int = 100
    params: int = 20
    artifacts: int = 4
    artifact_bytes: int = 120_000

    @property
    def points(self) -> int:
        return self.runs * self.metrics * self.steps

    @property
    def bytes(self) -> int:
        return self.runs * self.artifacts * self.artifact_bytes

    @property
    def amount(self) -> Amount:
        return Amount(self.runs, self.points, self.bytes)


def run_id(index: int) -> str:
    """The id of run number `index` at the source."""
    return hashlib.sha256(f"run {index}".encode()).hexdigest()[:32]


def run_name(index: int) -> str:
    """The name of run number `index`."""
    return f"run-{index:05d}"


def tags_of(index: int) -> dict[str, str]:
    """The tags a run logged by a script has, and one of its own."""
    return {
        "mlflow.runName": run_name(index),
        "mlflow.user": "bench",
        "mlflow.source.name": "train.py",
        "fold": str(index),
    }


def params_of(index: int, shape: Shape) -> dict[str, str]:
    """Parameters with values of ordinary length."""
    return {f"param_{number:02d}": f"value {index} {number}" for number in range(shape.params)}


def points_of(index: int, shape: Shape) -> Iterator[Point]:
    """(key, value, timestamp in ms, step) of every metric point of a run."""
    for number in range(shape.metrics):
        for step in range(shape.steps):
            yield f"metric_{number}", math.sin(index + number + step / 10), START_MS + index + step, step


def artifact_names(shape: Shape) -> list[str]:
    """The paths of one run's artifacts; beyond four they go on in the model folder."""
    return [*ARTIFACTS, *(f"model/part-{number}.bin" for number in range(len(ARTIFACTS), shape.artifacts))][
        : shape.artifacts
    ]


def artifact_bytes(index: int, size: int) -> bytes:
    """Content that differs from run to run and costs nothing to make."""
    head = f"{run_id(index)}\n".encode()
    filler = string.printable.encode()
    return (head + filler * (size // len(filler) + 1))[:size]


def seed(folder: Path, shape: Shape) -> None:
    """Write the corpus into the fresh server folder `folder` while no server runs on it."""
    database = sqlite3.connect(servers.database_of(folder))
    with database:
        add_experiment(database)
        add_dataset(database)
        for index in range(shape.runs):
            add_run(database, index, shape)
            add_artifacts(folder, index, shape)
    database.close()


def add_experiment(database: sqlite3.Connection) -> None:
    """The one experiment of the corpus."""
    row = (EXPERIMENT_ID, EXPERIMENT, f"mlflow-artifacts:/{EXPERIMENT_ID}", "active", START_MS, START_MS)
    columns = "experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time"
    insert(database, "experiments", columns, [row])


def add_dataset(database: sqlite3.Connection) -> None:
    """The dataset that every run has as its input."""
    columns = "dataset_uuid, experiment_id, name, digest"
    columns += ", dataset_source_type, dataset_source, dataset_schema, dataset_profile"
    given = [DATASET[name] for name in ("name", "digest", "source_type", "source", "schema", "profile")]
    insert(database, "datasets", columns, [(dataset_uuid(), EXPERIMENT_ID, *given)])


def dataset_uuid() -> str:
    """The dataset's id inside the source's database."""
    return hashlib.sha256(b"dataset").hexdigest()[:32]


def add_run(database: sqlite3.Connection, index: int, shape: Shape) -> None:
    """One finished run with everything but its artifacts."""
    add_run_head(database, index, tags_of(index), params_of(index, shape))
    run = run_id(index)
    points = list(points_of(index, shape))
    metric_columns = "key, value, timestamp, step, is_nan, run_uuid"
    insert(database, "metrics", metric_columns, [(*point, 0, run) for point in points])
    latest = {point[0]: point for point in points}
    insert(database, "latest_metrics", metric_columns, [(*point, 0, run) for point in latest.values()])
    source = ("DATASET", dataset_uuid(), "RUN", run, 0)
    input_columns = "input_uuid, source_type, source_id, destination_type, destination_id, step"
    insert(database, "inputs", input_columns, [(run, *source)])
    insert(database, "input_tags", "input_uuid, name, value", [(run, "mlflow.data.context", "training")])


def add_run_head(database: sqlite3.Connection, index: int, tags: dict[str, str], params: dict[str, str]) -> None:
    """The row of a finished run, its tags and params."""
    run = run_id(index)
    columns = "run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id"
    columns += ", source_type, source_name, entry_point_name, source_version"
    times = (START_MS + index, START_MS + index + RUN_MS)
    place = (f"mlflow-artifacts:/{EXPERIMENT_ID}/{run}/artifacts", EXPERIMENT_ID)
    row = (run, run_name(index), "bench", "FINISHED", *times, "active", *place, "UNKNOWN", "", "", "")
    insert(database, "runs", columns, [row])
    insert(database, "tags", "key, value, run_uuid", [(key, value, run) for key, value in tags.items()])
    insert(database, "params", "key, value, run_uuid", [(key, value, run) for key, value in params.items()])


def insert(database: sqlite3.Connection, table: str, columns: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Add rows to one of MLflow's tables."""
    bare = sqlalchemy.table(table, *(sqlalchemy.column(name.strip('"')) for name in columns.split(", ")))
    statement = bare.insert().values(dict.fromkeys(bare.c.keys())).compile(dialect=sqlite.dialect())
    database.executemany(str(statement), rows)


def columns_of(database: sqlite3.Connection, table: str) -> str:
    """The columns of a table that take values; MLflow has some that the database computes."""
    return ", ".join(f'"{row[1]}"' for row in database.execute(f'PRAGMA table_info("{table}")'))


def run_folder(folder: Path, index: int) -> Path:
    """Where the server of `folder` keeps the artifacts of a run."""
    return servers.artifacts_of(folder) / str(EXPERIMENT_ID) / run_id(index) / "artifacts"


def add_artifacts(folder: Path, index: int, shape: Shape) -> None:
    """The files of one run."""
    content = artifact_bytes(index, shape.artifact_bytes)
    for name in artifact_names(shape):
        path = run_folder(folder, index) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def tally(folder: Path) -> dict[str, int]:
    """Count what a server's folder holds, without asking the server.

    `times` counts the runs that still say how long they took at the source.
    """
    found = counted(
        folder,
        {
            "runs": "SELECT count(*) FROM runs",
            "times": "SELECT count(*) FROM runs WHERE end_time - start_time = 60000",  # RUN_MS
            "params": "SELECT count(*) FROM params",
            "points": "SELECT count(*) FROM metrics",
            "inputs": "SELECT count(*) FROM inputs",
        },
    )
    files = [path for path in servers.artifacts_of(folder).rglob("*") if path.is_file()]
    return found | {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def counted(folder: Path, queries: dict[str, str]) -> dict[str, int]:
    """The one number that each query of a server's database gives."""
    with contextlib.closing(sqlite3.connect(servers.database_of(folder))) as database:
        return {name: int(database.execute(query).fetchone()[0]) for name, query in queries.items()}
