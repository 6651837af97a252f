"""Folders written by mlflow-export-import: read as if they were bundles, as far as they go.

Both layouts are known: runs directly below their experiment (releases up to 1.2.0 on PyPI), and below `runs/` (its
newest commits); a whole export, one experiment, or one run. Nothing in such a folder proves it whole, so that only what
can be seen is checked: links, malformed files, ids given twice, runs that its experiment names and that aren't there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_migration.bundle import layout, manifest
from mlflow_migration.bundle.reader import Validate, ValidateRow
from mlflow_migration.errors import BundleError
from mlflow_migration.places import Selection
from mlflow_migration.records import File, Identity, Json, Record

EXPERIMENT, RUN = "experiment", "run"
HEADS = {EXPERIMENT: "experiment.json", RUN: "run.json"}
OTHERS = {
    "registered_model": "model.json",
    "model_version": "version.json",
    "logged_model": "logged_model.json",
    "trace": "trace.json",
    "prompt": "prompt.json",
    "evaluation_dataset": "evaluation_dataset.json",
}
"""Files of kinds that aren't read from such folders yet."""
LARGEST_RUN = 4 * 1024**3
"""A run's file holds all its metric points, so that it may be far larger than a head of a bundle."""
CHUNK = 1000


def is_legacy(root: Path) -> bool:
    """Whether a folder looks like an export of mlflow-export-import and not like a bundle of this tool."""
    if not root.is_dir() or (root / layout.SUMS).exists():
        return False
    found = next(_heads(root, HEADS[EXPERIMENT]), None) or next(_heads(root, HEADS[RUN]), None)
    if found is None:
        return False
    head = _read(found, found.name)
    return isinstance(head.get("mlflow"), dict) and "home" not in (head.get("info") or {})


class LegacyBundle:
    """Such a folder. Implements `Source`, and what else commands ask of a bundle."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = str(root)
        first = next(_heads(root, HEADS[EXPERIMENT]), None) or next(_heads(root, HEADS[RUN]))
        self.origin = str((_read(first, first.name).get("system") or {}).get("mlflow_tracking_uri", ""))

    def check(self, validate: dict[str, Validate], validate_row: dict[str, ValidateRow]) -> dict[str, int]:
        """What can be checked; counts of "file"s and objects by kind. Raises BundleError naming the first bad file."""
        counts = {"file": sum(1 for _ in layout.walk(self.root)), **dict.fromkeys(validate, 0)}
        seen: set[tuple[str, str]] = set()
        there = set()
        for kind in HEADS:
            for record in self.records(kind, Selection()):
                name = f"{kind} {record.id}"
                try:
                    identity: Identity = validate[kind](record.head)
                    if identity != (record.home, record.id):
                        raise ValueError("its ids are not those of its experiment")
                    if (kind, record.id) in seen:
                        raise ValueError("it is in the folder twice")
                    for stream in record.rows:
                        for row in record.rows[stream]():
                            validate_row[kind](stream, row)
                except ValueError as error:
                    raise manifest.broken(name, error) from error
                seen.add((kind, record.id))
                there.add(record.id)
                counts[kind] += 1
        missing = [run_id for run_id in self._promised() if run_id not in there]
        if missing:
            raise BundleError(
                f"run {missing[0]} is missing in {self.root}",
                f"{len(missing)} of the runs that experiment.json lists are not there",
                "export it again, or take the run's id out of experiment.json",
            )
        return counts

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """Every object of a kind that such a folder holds."""
        if kind == EXPERIMENT:
            yield from self._experiments()
        elif kind == RUN:
            for path in _heads(self.root, HEADS[RUN]):
                yield self._run(path)

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        """One object by id, or None."""
        return next((found for found in self.records(kind, selection) if found.id == record_id), None)

    def asked_for(self) -> Selection:
        """The kinds that are read from it: nothing tells what else its export was asked for."""
        return Selection(kinds=tuple(HEADS))

    def failures(self) -> Iterator[Json]:
        """Runs whose export had failed."""
        for path in _heads(self.root, HEADS[EXPERIMENT]):
            for run_id in (self._head(path).get("info") or {}).get("failed_runs") or []:
                reason = "mlflow-export-import could not export it"
                yield {"kind": RUN, "id": str(run_id), "name": str(run_id), "state": "failed", "reason": reason}

    def others(self) -> list[tuple[str, int]]:
        """(kind, how many) of what the folder holds besides: none of it is read."""
        counts = [(kind, sum(1 for _ in _heads(self.root, name))) for kind, name in OTHERS.items()]
        return [(kind, count) for kind, count in counts if count]

    def _promised(self) -> Iterator[str]:
        for path in _heads(self.root, HEADS[EXPERIMENT]):
            yield from map(str, self._head(path)["mlflow"].get("runs") or [])

    def _experiments(self) -> Iterator[Record]:
        known = set()
        for path in _heads(self.root, HEADS[EXPERIMENT]):
            value = self._head(path)["mlflow"]
            # Releases before 1.2.0 had the experiment's fields one level higher.
            head = dict(value.get("experiment") or {key: value[key] for key in value if key != "runs"})
            head["tags"] = _pairs(head.get("tags"), self._name(path))
            head["experiment_id"] = str(head.get("experiment_id", ""))
            known.add(head["experiment_id"])
            yield _experiment(head)
        for path in _heads(self.root, HEADS[RUN]):
            experiment_id = str(self._info(path).get("experiment_id", ""))
            if experiment_id not in known:
                known.add(experiment_id)
                yield _experiment({"experiment_id": experiment_id, "name": f"experiment {experiment_id}", "tags": []})

    def _run(self, path: Path) -> Record:
        name = self._name(path)
        value = self._head(path)["mlflow"]
        info = {key: part for key, part in self._info(path).items() if not key.startswith("_") and part is not None}
        info["experiment_id"] = str(info.get("experiment_id", ""))
        metrics = value.get("metrics") or {}
        if not isinstance(metrics, dict) or not all(isinstance(points, list) for points in metrics.values()):
            raise BundleError(f"{name} is broken", "its metrics are not lists of points", "export it again")
        data = {
            "params": _pairs(value.get("params"), name),
            "tags": _pairs(value.get("tags"), name),
            "metrics": [{"key": key} for key in metrics],
        }
        inputs = value.get("inputs")
        datasets = inputs.get("dataset_inputs", []) if isinstance(inputs, dict) else inputs or []
        head = {"info": info, "data": data, "inputs": {"dataset_inputs": datasets}}
        run_id = str(info.get("run_id", ""))
        return Record(
            kind=RUN,
            id=run_id,
            name=str(info.get("run_name") or ""),
            home=("experiments", info["experiment_id"], run_id),
            head=head,
            refs={EXPERIMENT: info["experiment_id"]},
            rows={"metrics": partial(self._points, path)},
            files=partial(_files, path.parent / layout.ARTIFACTS),
        )

    def _points(self, path: Path) -> Iterator[Json]:
        # Read anew each time, so that the points of one run only are held while they are written.
        metrics = self._head(path)["mlflow"].get("metrics") or {}
        for key in sorted(metrics):
            try:
                points = [[int(one["step"]), int(one["timestamp"]), _value(one["value"])] for one in metrics[key]]
            except (KeyError, TypeError, ValueError) as error:
                raise manifest.broken(f"{self._name(path)} metric {key}", error) from error
            points.sort(key=lambda point: (point[1], point[0], str(point[2])))
            for start in range(0, len(points), CHUNK):
                yield {"key": key, "points": points[start : start + CHUNK]}

    def _info(self, path: Path) -> Json:
        info = self._head(path)["mlflow"].get("info")
        if not isinstance(info, dict):
            raise BundleError(f"{self._name(path)} is broken", "mlflow.info is missing", "export it again")
        return info

    def _head(self, path: Path) -> Json:
        head = _read(path, self._name(path))
        if not isinstance(head.get("mlflow"), dict):
            raise BundleError(f"{self._name(path)} is broken", "mlflow is missing", "export it again")
        return head

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _experiment(head: Json) -> Record:
    id_ = head["experiment_id"]
    return Record(EXPERIMENT, id_, str(head.get("name", "")), ("experiments", id_), head)


def _heads(root: Path, name: str) -> Iterator[Path]:
    """The files of that name, sorted; artifacts are not looked into, and links never followed."""
    if (root / name).is_file() and not (root / name).is_symlink():
        yield root / name
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        if entry.is_dir() and not entry.is_symlink() and entry.name != layout.ARTIFACTS:
            yield from _heads(entry, name)


def _files(folder: Path) -> Iterator[File]:
    if folder.is_dir():
        for path, file in layout.walk(folder):
            yield File(path, file.stat().st_size, partial(_open, file))


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _pairs(values: Any, name: str) -> list[Json]:
    """`{key: value}` as MLflow's REST API has it."""
    if not isinstance(values, dict):
        if values:
            raise BundleError(f"{name} is broken", "params or tags are not an object", "export it again")
        return []
    return [
        {"key": str(key), "value": value if isinstance(value, str) else json.dumps(value)}
        for key, value in values.items()
    ]


def _value(value: Any) -> float | str:
    number = float(value)
    return "NaN" if math.isnan(number) else number


def _read(path: Path, name: str) -> Json:
    if path.stat().st_size > LARGEST_RUN:
        raise BundleError(f"{name} is too large", f"more than {LARGEST_RUN} bytes", "")
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise manifest.broken(name, error) from error
    if not isinstance(head, dict):
        raise BundleError(f"{name} is broken", "not a JSON object", "export it again")
    return head
