"""Experiments and runs in folders of mlflow-export-import.

Runs lie directly below their experiment (releases up to 1.2.0 on PyPI), or below `runs/` (its newest commits).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_migration.bundle import layout, manifest
from mlflow_migration.bundle.legacy_files import EXPERIMENT, RUN, Folder, pairs, plain
from mlflow_migration.records import File, Json, Record

CHUNK = 1000
NOTEBOOKS = {"source": "source", "html": "html", "jupyter": "ipynb", "dbc": "dbc"}
"""Endings of notebooks' files there, and what they are here."""
LISTS = ("experiments.json", "logged_models.json", "traces.json")
"""Summaries that hold ids and names of experiments."""


def experiments(folder: Folder) -> Iterator[Record]:
    """The experiments, and for objects that were exported alone the one they belonged to."""
    known: set[str] = set()

    def make(path: Path, value: Json) -> Iterator[Record]:
        # Releases before 1.2.0 had the experiment's fields one level higher.
        head = plain(value.get("experiment") or {key: value[key] for key in value if key != "runs"})
        head["tags"] = pairs(head.get("tags"))
        head["experiment_id"] = str(head.get("experiment_id", ""))
        known.add(head["experiment_id"])
        yield _experiment(head)

    yield from folder.records("experiment.json", make)
    # Names are only looked for where an object was exported without its experiment.
    found: dict[str, str] | None = None
    for experiment_id, run_id in _owners(folder):
        if experiment_id not in known:
            known.add(experiment_id)
            found = names(folder) if found is None else found
            name = found.get(f"run {run_id}") or found.get(experiment_id) or f"experiment {experiment_id}"
            yield _experiment({"experiment_id": experiment_id, "name": name, "tags": []})


def _experiment(head: Json) -> Record:
    id_ = head["experiment_id"]
    return Record(EXPERIMENT, id_, str(head.get("name", "")), ("experiments", id_), head)


def _owners(folder: Folder) -> Iterator[tuple[str, str]]:
    """(experiment id, run id) of everything that lies outside an experiment's folder; no run's id but for runs."""
    homes = {path.parent for path in folder.heads("experiment.json")}
    for name in ("run.json", "logged_model.json", "trace.json"):
        for path in folder.heads(name):
            if homes.isdisjoint(path.parents):
                value = folder.value(path)
                info = value["info"] if isinstance(value.get("info"), dict) else value
                yield experiment_of(info), str(info.get("run_id", ""))


def experiment_of(info: Json) -> str:
    """The id of an object's experiment; a trace of MLflow 3 has it in its location. "" where there is none."""
    location = info.get("trace_location")
    place = location.get("mlflow_experiment") if isinstance(location, dict) else None
    return str((place if isinstance(place, dict) else info).get("experiment_id", ""))


def names(folder: Folder) -> dict[str, str]:
    """Names of experiments by their id, and by `run ID` for runs that a model's versions came from."""
    found = {}
    for path in (path for name in LISTS for path in folder.heads(name)):
        for entry in _dicts(folder.value(path).get("experiments")):
            found[str(entry.get("id", ""))] = str(entry.get("name") or "")
    for path in folder.heads("model.json"):
        model = folder.value(path).get("registered_model")
        for version in _dicts((model if isinstance(model, dict) else {}).get("versions")):
            found[f"run {version.get('run_id')}"] = str(version.get("_experiment_name") or "")
    for path in folder.heads("experiment.json"):
        value = folder.value(path)
        head = value["experiment"] if isinstance(value.get("experiment"), dict) else value
        found[str(head.get("experiment_id", ""))] = str(head.get("name", ""))
    return found


def _dicts(values: Any) -> Iterator[Json]:
    return (value for value in (values if isinstance(values, list) else ()) if isinstance(value, dict))


def runs(folder: Folder) -> Iterator[Record]:
    """The runs, with their links to logged models and their dataset inputs where those were exported."""
    return folder.records("run.json", partial(_run, folder))


def _run(folder: Folder, path: Path, value: Json) -> Iterator[Record]:
    if not isinstance(value.get("info"), dict):
        raise ValueError("mlflow.info is missing")
    info = plain(value["info"])
    info["experiment_id"] = str(info.get("experiment_id", ""))
    metrics = value.get("metrics") or {}
    if not isinstance(metrics, dict) or not all(isinstance(points, list) for points in metrics.values()):
        raise ValueError("its metrics are not lists of points")
    data = {
        "params": pairs(value.get("params")),
        "tags": pairs(value.get("tags")),
        "metrics": [{"key": key} for key in metrics],
    }
    inputs = value.get("inputs") or {}
    # Between the two layouts inputs were the datasets alone.
    inputs = inputs if isinstance(inputs, dict) else {"dataset_inputs": inputs}
    datasets = [
        {**each, "dataset": plain(each["dataset"]), "tags": pairs(each.get("tags"))}
        for each in inputs.get("dataset_inputs") or []
    ]
    head = {"info": info, "data": data, "inputs": {"dataset_inputs": datasets}}
    if inputs.get("model_inputs"):
        head["inputs"]["model_inputs"] = [plain(each) for each in inputs["model_inputs"]]
    if (value.get("outputs") or {}).get("model_outputs"):
        head["outputs"] = {"model_outputs": [plain(each) for each in value["outputs"]["model_outputs"]]}
    run_id = str(info.get("run_id", ""))
    yield Record(
        kind=RUN,
        id=run_id,
        name=str(info.get("run_name") or ""),
        home=("experiments", info["experiment_id"], run_id),
        head=head,
        refs={EXPERIMENT: info["experiment_id"]},
        rows={"metrics": partial(points, folder, path)},
        files=partial(folder.files, path),
        notebooks=partial(_notebooks, folder, path),
    )


def _notebooks(folder: Folder, path: Path) -> Iterator[File]:
    """The notebooks that lie among a run's artifacts, whose names tell no revision: releases up to 1.2.0 asked for one
    in a way that Databricks doesn't look at (its issue 113), and got the newest."""
    for file in folder.files(path):
        above, _, name = file.path.rpartition("/")
        stem, _, ending = name.rpartition(".")
        if above == layout.NOTEBOOKS and stem and ending in NOTEBOOKS:
            yield replace(file, path=f"{stem}.{NOTEBOOKS[ending]}")


def points(folder: Folder, path: Path) -> Iterator[Json]:
    """A run's metric points as rows."""
    # Read anew each time, so that the points of one run only are held while they are written.
    metrics = folder.value(path).get("metrics") or {}
    for key in sorted(metrics):
        try:
            found = [[int(one["step"]), int(one["timestamp"]), _value(one["value"])] for one in metrics[key]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise manifest.broken(f"{folder.name(path)} metric {key}", error) from error
        found.sort(key=lambda point: (point[1], point[0], str(point[2])))
        for start in range(0, len(found), CHUNK):
            yield {"key": key, "points": found[start : start + CHUNK]}


def _value(value: Any) -> float | str:
    number = float(value)
    return "NaN" if math.isnan(number) else number
