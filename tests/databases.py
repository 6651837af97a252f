"""Two MLflow SQLite databases and artifact folders, compared row by row after a migration.

This judges the tool, so it shares nothing with it: it reads the tables with sqlite3 and the files from disk.
Experiments are matched by name, runs by the origin tag. What no server lets a client choose (ids, creation times,
artifact roots) is not compared; ids inside MLflow's own tags and in MLmodel files are mapped first.
"""

import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

ORIGIN = "mlflow_migration.run_id"
Row = tuple[Any, ...]
Rows = Counter[Row]

PER_RUN = {
    "run": "SELECT run_uuid, name, user_id, status, start_time, end_time, lifecycle_stage FROM runs",
    "tag": "SELECT run_uuid, key, value FROM tags WHERE key NOT LIKE 'mlflow\\_migration.%' ESCAPE '\\'",
    "param": "SELECT run_uuid, key, value FROM params",
    "metric": "SELECT run_uuid, key, step, timestamp, value, is_nan FROM metrics",
    "latest metric": "SELECT run_uuid, key, step, timestamp, value, is_nan FROM latest_metrics",
    "input": (
        "SELECT i.destination_id, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema,"
        " d.dataset_profile, i.step FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"
        " WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN'"
    ),
    "input tag": (
        "SELECT i.destination_id, d.name, d.digest, t.name, t.value FROM input_tags t"
        " JOIN inputs i ON i.input_uuid = t.input_uuid JOIN datasets d ON d.dataset_uuid = i.source_id"
    ),
}


class Stored(Protocol):
    """Anything with a database and an artifact folder: a Server or a Snapshot."""

    @property
    def database(self) -> Path:
        """The SQLite file."""

    @property
    def artifacts(self) -> Path | None:
        """The folder behind the artifact proxy."""


@dataclass(frozen=True)
class Run:
    """One run with all its rows; `origin` is the source run id a migration left on it."""

    id: str
    experiment: str
    origin: str | None
    artifact_uri: str
    folder: Path
    rows: dict[str, Rows] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """What a database holds: {name: rows} of experiments and {id: Run}."""

    experiments: dict[str, Rows]
    datasets: dict[str, int]
    runs: dict[str, Run]


def read(place: Stored) -> Content:
    """Read a whole database; artifacts are only located."""
    with contextlib.closing(sqlite3.connect(place.database)) as base:
        experiments: dict[str, Rows] = {}
        names: dict[int, str] = {}
        for number, name, stage in base.execute("SELECT experiment_id, name, lifecycle_stage FROM experiments"):
            names[number] = name
            experiments[name] = Counter([("lifecycle", stage)])
        for number, key, value in base.execute("SELECT experiment_id, key, value FROM experiment_tags"):
            if not key.startswith("mlflow_migration."):
                experiments[names[number]][("tag", key, value)] += 1
        datasets = {
            names[number]: count
            for number, count in base.execute("SELECT experiment_id, count(*) FROM datasets GROUP BY 1")
        }
        origins = dict(base.execute("SELECT run_uuid, value FROM tags WHERE key = ?", [ORIGIN]))
        runs = {}
        for run_id, number, uri in base.execute("SELECT run_uuid, experiment_id, artifact_uri FROM runs"):
            runs[run_id] = Run(run_id, names[number], origins.get(run_id), uri, _folder(place, uri))
        for kind, query in PER_RUN.items():
            for run_id, *columns in base.execute(query):
                runs[run_id].rows.setdefault(kind, Counter())[tuple(map(_exact, columns))] += 1
    return Content(experiments, datasets, runs)


def _folder(place: Stored, uri: str) -> Path:
    if uri.startswith("mlflow-artifacts:/"):
        return (place.artifacts or Path("nowhere")) / uri.removeprefix("mlflow-artifacts:/")
    return Path(uri.removeprefix("file://"))


def _exact(value: Any) -> Any:
    """A float as text, so that -0.0 and 0.0, and any last bit, count."""
    return repr(value) if isinstance(value, float) else value


def compare(source: Stored, destination: Stored, names: Mapping[str, str] | None = None) -> list[str]:
    """Differences as sentences; none means that nothing is missing, changed or surplus at the destination.

    `names` maps the names of the experiments that should have moved to those they should have there; without it, all
    experiments should be there under their own names.
    """
    left, right = read(source), read(destination)
    renamed = {name: name for name in left.experiments} if names is None else names
    expected = {run.id: run for run in left.runs.values() if run.experiment in renamed}
    found = _experiments(left, right, renamed)
    arrived: dict[str, list[Run]] = {}
    for run in right.runs.values():
        if run.origin in expected:
            arrived.setdefault(str(run.origin), []).append(run)
        else:
            found.append(f"run {run.id}: surplus, its origin is {run.origin!r}")
    new_ids = {run_id: twins[0].id for run_id, twins in arrived.items()}
    uris = {left.runs[old].artifact_uri: right.runs[new].artifact_uri for old, new in new_ids.items()}
    translation = Translation(new_ids, uris)
    for run in expected.values():
        twins = arrived.get(run.id, [])
        if len(twins) != 1:
            found.append(f"run {run.id} {_name(run)}: {len(twins)} copies at the destination")
        for twin in twins[:1]:
            if twin.experiment != renamed[run.experiment]:
                found.append(f"run {run.id}: in experiment {twin.experiment!r}, not {renamed[run.experiment]!r}")
            found += [f"run {run.id} {_name(run)}: {text}" for text in _run(run, twin, translation)]
    return found


@dataclass(frozen=True)
class Translation:
    """Source ids and artifact roots, and what they are at the destination."""

    ids: Mapping[str, str]
    uris: Mapping[str, str]

    def text(self, value: str) -> str:
        """`value` as it must read at the destination."""
        if "artifacts" in value:
            for old, new in self.uris.items():
                value = value.replace(old, new)
        return re.sub(r"[0-9a-f]{32}", lambda match: self.ids.get(match[0], match[0]), value)


def _experiments(left: Content, right: Content, renamed: Mapping[str, str]) -> list[str]:
    found = []
    for name, new in renamed.items():
        if new not in right.experiments:
            found.append(f"experiment {name!r}: missing")
            continue
        rows = _rows("row", left.experiments[name], right.experiments[new])
        found += [f"experiment {name!r}: {text}" for text in rows]
        if left.datasets.get(name, 0) != right.datasets.get(new, 0):
            counts = f"{left.datasets.get(name, 0)} datasets became {right.datasets.get(new, 0)}"
            found.append(f"experiment {name!r}: {counts}")
    surplus = set(right.experiments) - set(renamed.values()) - {"Default"}
    return found + [f"experiment {name!r}: surplus" for name in sorted(surplus)]


def _run(run: Run, twin: Run, translation: Translation) -> list[str]:
    found = []
    for kind in PER_RUN:
        expected = run.rows.get(kind, Counter())
        if kind == "tag":
            expected = Counter({_map_tag(row, translation): count for row, count in expected.items()})
        found += _rows(kind, expected, twin.rows.get(kind, Counter()))
    return found + _files(run.folder, twin.folder, translation)


def _map_tag(row: Row, translation: Translation) -> Row:
    key, value = row
    return (key, translation.text(value)) if key.startswith("mlflow.") and value else row


def _rows(kind: str, expected: Rows, got: Rows) -> list[str]:
    missing = [f"{kind} missing: {_short(row)}" for row in (expected - got).elements()]
    return missing + [f"{kind} surplus: {_short(row)}" for row in (got - expected).elements()]


def _files(source: Path, destination: Path, translation: Translation) -> list[str]:
    left, right = files(source), files(destination)
    found = [f"artifact missing: {path!r}" for path in sorted(left.keys() - right.keys())]
    found += [f"artifact surplus: {path!r}" for path in sorted(right.keys() - left.keys())]
    for path in sorted(left.keys() & right.keys()):
        content = left[path].read_bytes()
        if Path(path).name == "MLmodel":
            content = translation.text(content.decode()).encode()
        if content != right[path].read_bytes():
            found.append(f"artifact changed: {path!r}")
    return found


def files(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by its relative path."""
    if not folder.is_dir():
        return {}
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def _name(run: Run) -> str:
    return next((repr(row[0]) for row in run.rows.get("run", ())), "?")


def _short(row: Iterable[Any]) -> str:
    text = repr(tuple(row))
    return text if len(text) <= 200 else f"{text[:120]}…{text[-60:]}"


def dump(place: Stored) -> dict[str, list[Row]]:
    """Every row of every table as SQL, sorted, and under "files" every artifact with its size and time of change.

    Equal dumps before and after a command mean that it wrote nothing at all.
    """
    content: dict[str, list[Row]] = {}
    with contextlib.closing(sqlite3.connect(place.database)) as base:
        for line in base.iterdump():
            if match := re.match(r'INSERT INTO "([^"]+)"', line):
                content.setdefault(match[1], []).append((line,))
    found = files(place.artifacts) if place.artifacts else {}
    content["files"] = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in found.items()]
    return {name: sorted(rows) for name, rows in content.items()}


def counts(place: Stored) -> dict[str, int]:
    """Number of rows of every table that has any, and of artifacts under "files"."""
    return {table: len(rows) for table, rows in dump(place).items() if rows}
