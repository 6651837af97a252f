"""A file store's objects as rows of MLflow's tables: by MLflow's own migration, one object at a time.

MLflow's own command writes all or nothing, and leaves out what it can't read with a warning. Here what is broken costs
only itself, and is told. What its migration of 3.17.2 loses is put right: times and structured values of assessments,
line ends of CR LF, ids of datasets that are others each time.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from mlflow.store.fs2db import _registry, _tracking
from mlflow.store.fs2db._utils import MigrationStats, for_each_experiment
from mlflow.store.tracking.dbmodels.models import SqlDataset, SqlInput, SqlInputTag
from sqlalchemy.orm import Session

from mlflow_migration.database import store_folders as at
from mlflow_migration.database.connect import reason
from mlflow_migration.database.store_folders import Exact, Some
from mlflow_migration.records import Broken, Json

log = logging.getLogger(__name__)

Work = Callable[[Session], None]
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What MLflow's code raises where a file says something else than it expects."""
IDS = uuid.UUID("6f0a3c1e-52d7-4d0b-9a5e-0c7f1b7d9a44")
"""Where the ids of datasets and inputs come from, which a file store doesn't keep."""
ABOVE = "its experiment can't be read"
NO_PART = "MLflow's tables have no place for it"


class StoreRows:
    """Writes a file store into an empty database; `broken` is what can't be."""

    def __init__(self, root: Path, engine: sa.Engine) -> None:
        self._root = Exact(root)
        self._engine = engine
        self._stats = MigrationStats()
        self._experiment = ""
        self.broken: list[Broken] = []

    def write(self) -> None:
        """Write all of it. Raises SQLAlchemy's OperationalError where the disk is full."""
        for folder, id_ in for_each_experiment(self._root):
            log.info("reading experiment %s of %s", id_, self._root)
            self._experiment = id_
            self._of_experiment(folder)
        self._experiment = ""
        for folder in (*at.folders(self._root), *at.folders(self._root / at.TRASH)):
            if not folder.name.isdecimal() and (folder / at.META).is_file() and folder.name != at.MODELS:
                self._lose("experiment", folder, "its id is no number, as MLflow's tables need it")
                self._lose_below(folder)
        for folder in _registry.list_registered_models(self._root):
            self._model(folder)

    def _put(self, work: Work) -> str:
        """Write one object in a transaction of its own; why it can't be, "" where it is written."""
        try:
            with Session(self._engine, autoflush=False) as session, session.begin():
                work(session)
        except sa.exc.OperationalError:
            # The disk is full: it concerns all of it.
            raise
        except sa.exc.DBAPIError as error:
            return f"MLflow's tables refuse it: {reason(error)}"
        except (sa.exc.SQLAlchemyError, *UNREADABLE) as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return ""

    def _lose(self, kind: str, folder: Path, why: str, name: str = "") -> None:
        if folder.name in {at.MODELS, at.TRASH}:
            return
        self.broken.append(Broken(kind, folder.name, name or folder.name, "failed", why, kind, self._experiment))

    def _lose_part(self, kind: str, of: tuple[str, str], name: str, why: str) -> None:
        self.broken.append(Broken(kind, of[1], f"{of[0]} {of[1]} {name}", "unsupported", why, of[0], self._experiment))

    def _lose_undescribed(self, kind: str, folder: Path) -> None:
        """Tell of a folder in which a description is missing."""
        if at.is_only_artifacts(folder):
            why = f"only artifacts lie in {folder}: no {kind} of the file store"
            self.broken.append(Broken(kind, folder.name, folder.name, "skipped", why, kind, self._experiment))
        else:
            self._lose(kind, folder, f"it is half made: {folder} has no {at.TRACE if kind == 'trace' else at.META}")

    def _lose_below(self, folder: Path) -> None:
        for kind, each in _below(folder):
            self._lose(kind, each, ABOVE)

    def _of_experiment(self, folder: Path) -> None:
        meta, why = at.described(folder)
        if not (folder / at.META).exists() and not any(_below(folder)):
            self._lose_undescribed_experiment(folder)
            return
        why = why or self._put(
            lambda session: _tracking._migrate_one_experiment(session, folder, self._experiment, self._stats)
        )
        if why:
            self._lose("experiment", folder, why, str(meta.get("name") or ""))
            self._lose_below(folder)
            return
        runs = [each.name for each in at.folders(folder) if each.name not in at.NO_RUNS and self._run(each)]
        self._inputs(folder, runs, f"{self._experiment}/{meta.get('creation_time')}")
        self._outputs(folder, runs)
        for each in at.folders(folder / at.MODELS):
            self._logged_model(folder, each)
        for each in at.folders(folder / at.TRACES):
            self._trace(folder, each)

    def _lose_undescribed_experiment(self, folder: Path) -> None:
        why = f"{folder} has no {at.META}, nor has anything in it: no experiment of the file store"
        kind = "experiment"
        self.broken.append(Broken(kind, folder.name, folder.name, "skipped", why, kind, self._experiment))

    def _run(self, folder: Path) -> bool:
        """Write a run without its inputs; whether it is written."""
        if not (folder / at.META).exists():
            self._lose_undescribed("run", folder)
            return False
        meta, why = at.described(folder)
        id_ = meta.get("run_id") or meta.get("run_uuid")
        if not why and id_ != folder.name:
            why = f"{folder / at.META} is that of run {id_}"
        shown = Some(folder, (), {"metrics": at.Points(folder / "metrics")})
        why = why or self._put(
            lambda session: _tracking._migrate_one_run(session, shown, int(self._experiment), self._stats)
        )
        if why:
            self._lose("run", folder, at.bad_point(folder / "metrics") or why, str(meta.get("run_name") or ""))
        return not why

    def _inputs(self, folder: Path, runs: Iterable[str], seed: str) -> None:
        datasets = folder / at.DATASETS
        whole = [each.name for each in at.folders(datasets) if self._is_whole(each, ("input", f"dataset {each.name}"))]

        def problem(meta: Json) -> str:
            kind, id_ = meta.get("source_type", "DATASET"), meta.get("source_id")
            if kind not in {"DATASET", "MODEL"}:
                return f"{NO_PART}: {kind}"
            return "" if kind == "MODEL" or id_ in whole else f"the dataset {id_} isn't there"

        shown = dict(self._parts(folder, runs, "inputs", problem))
        if not whole and not shown:
            return
        # Were there no datasets, the migration would pass over the models that went into runs.
        view = Some(folder, tuple(shown), {**shown, at.DATASETS: Some(datasets, whole, there=True)})

        def work(session: Session) -> None:
            _tracking._migrate_datasets_for_experiment(session, view, int(self._experiment), self._stats)
            _settle(session, seed)

        if why := self._put(work):
            self._lose_part("input", ("experiment", self._experiment), "datasets and inputs of its runs", why)

    def _outputs(self, folder: Path, runs: Iterable[str]) -> None:
        shown = dict(self._parts(folder, runs, "outputs", lambda meta: ""))

        def work(session: Session) -> None:
            _tracking._migrate_outputs_for_experiment(session, Some(folder, tuple(shown), shown), self._stats)
            _settle(session, "")

        why = self._put(work) if shown else ""
        if why:
            self._lose_part("link", ("experiment", self._experiment), "models that its runs made", why)

    def _parts(
        self, folder: Path, runs: Iterable[str], name: str, problem: Callable[[Json], str]
    ) -> Iterator[tuple[str, Some]]:
        """The runs that have inputs or outputs, with those that can be written."""
        for run in runs:
            good = []
            for each in at.folders(folder / run / name):
                meta, why = at.described(each)
                if why := why or problem(meta):
                    self._lose_part("input" if name == "inputs" else "link", ("run", run), f"{name} {each.name}", why)
                else:
                    good.append(each.name)
            if good:
                yield run, Some(folder / run, (), {name: Some(folder / run / name, good)})

    def _is_whole(self, folder: Path, part: tuple[str, str]) -> bool:
        _, why = at.described(folder)
        if why:
            self._lose_part(part[0], ("experiment", self._experiment), part[1], why)
        return not why

    def _logged_model(self, experiment: Path, folder: Path) -> None:
        if not (folder / at.META).exists():
            self._lose_undescribed("logged_model", folder)
            return
        meta, why = at.described(folder)
        metrics = at.ModelPoints(folder / "metrics")
        shown = Some(folder, (), {"metrics": metrics})
        models = Some(experiment / at.MODELS, (folder.name,), {folder.name: shown})
        why = why or self._put(
            lambda session: _tracking._migrate_logged_models_for_experiment(
                session, Some(experiment, (), {at.MODELS: models}), int(self._experiment), self._stats
            )
        )
        if why:
            self._lose("logged_model", folder, why, str(meta.get("name") or ""))
            return
        for key, count in at.unholdable(metrics):
            reason_ = "MLflow's tables hold numbers only, and one for each time, step and run of a model"
            self._lose_part("metric", ("logged_model", folder.name), f"{key}: {count} points", reason_)

    def _trace(self, experiment: Path, folder: Path) -> None:
        if not (folder / at.TRACE).exists():
            self._lose_undescribed("trace", folder)
            return
        meta, why = at.described(folder, at.TRACE)
        shown = Some(experiment, (), {at.TRACES: Some(experiment / at.TRACES, (folder.name,))})
        lost: list[tuple[str, str]] = []

        def work(session: Session) -> None:
            _tracking._migrate_traces_for_experiment(session, shown, int(self._experiment), self._stats)
            session.flush()
            lost.extend(self._assessments(session, folder, meta))

        if why := why or self._put(work):
            self._lose("trace", folder, why)
            return
        for name, problem in lost:
            self._lose_part("assessment", ("trace", folder.name), name, problem)

    def _assessments(self, session: Session, folder: Path, trace: Json) -> Iterator[tuple[str, str]]:
        """Write a trace's assessments; those that can't be, and why."""
        for path in sorted((folder / "assessments").glob("*.yaml")):
            meta, why = at.described(path.parent, path.name)
            before = self._stats.assessments
            if not why:
                try:
                    told = _whole_assessment(meta)
                except (ValueError, TypeError, KeyError) as error:
                    yield path.stem, f"{path} can't be read: {error}"
                    continue
                _tracking._migrate_one_assessment(
                    session,
                    told,
                    str(trace.get("trace_id") or trace.get("request_id") or folder.name),
                    path.stem,
                    int(self._experiment),
                    _tracking._get_trace_timestamp_ms(trace),
                    self._stats,
                )
            if why or self._stats.assessments == before:
                yield path.stem, why or f"{path} is neither feedback nor expectation"

    def _model(self, folder: Path) -> None:
        """A registered model or prompt with its versions."""
        kind = "prompt" if at.is_prompt(folder) else "registered_model"
        if not (folder / at.META).exists():
            self._lose_undescribed(kind, folder)
            return
        meta, why = at.described(folder)
        shown = Some(folder)
        why = why or self._put(partial(_registry._migrate_one_registered_model, model_dir=shown, stats=self._stats))
        if why:
            self._lose(kind, folder, why)
        name = str(meta.get("name") or folder.name)
        for each in at.folders(folder):
            if each.name.startswith("version-"):
                self._version(each, name, why and "its model can't be read")
        for alias in sorted((folder / "aliases").glob("*")):
            if not why and not Exact(alias).read_text().strip().isdecimal():
                self._lose_part("link", (kind, name), f"alias {alias.name}", f"{alias} names no version")

    def _version(self, folder: Path, model: str, why: str) -> None:
        _, unread = at.described(folder)
        if (
            why := why
            or unread
            or self._put(
                partial(_registry._migrate_model_version, version_dir=folder, model_name=model, stats=self._stats)
            )
        ):
            kind = "prompt_version" if at.is_prompt(folder.parent) else "model_version"
            id_ = f"{model}/{folder.name.removeprefix('version-')}"
            self.broken.append(Broken(kind, id_, id_, "failed", why, kind))


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    """The objects in an experiment's folder."""
    for each in at.folders(folder):
        if each.name not in at.NO_RUNS and (each / at.META).exists():
            yield "run", each
    for kind, name, file in (("logged_model", at.MODELS, at.META), ("trace", at.TRACES, at.TRACE)):
        yield from ((kind, each) for each in at.folders(folder / name) if (each / file).exists())


def _settle(session: Session, seed: str) -> None:
    """Give datasets and inputs, whose ids a file store doesn't keep, ids that are the same each time."""
    ids: dict[str, str] = {}
    # A list: what changes while it is gone through would change the order.
    new: list[Any] = sorted(session.new, key=lambda each: [SqlDataset, SqlInput, SqlInputTag].index(type(each)))
    for each in new:
        if isinstance(each, SqlDataset):
            old, each.dataset_uuid = each.dataset_uuid, _id(seed, each.name, each.digest)
            ids[old] = each.dataset_uuid
        elif isinstance(each, SqlInput):
            if each.source_type == "DATASET":
                each.source_id = ids[each.source_id]
            ends = (each.source_type, each.source_id, each.destination_type, each.destination_id)
            old, each.input_uuid = each.input_uuid, _id(*ends)
            ids[old] = each.input_uuid
        else:
            each.input_uuid = ids[each.input_uuid]


def _id(*parts: str) -> str:
    return uuid.uuid5(IDS, json.dumps(parts)).hex


def _whole_assessment(meta: Json) -> Json:
    """An assessment with its times and value where the migration looks for them (it looks elsewhere in 3.17.2)."""
    found = dict(meta)
    for name in ("create_time", "last_update_time"):
        if name in meta:
            found.setdefault(f"{name}_ms", _milliseconds(meta[name]))
    serialized = (meta.get("expectation") or {}).get("serialized_value")
    if serialized is not None:
        found["expectation"] = {"value": json.loads(serialized["value"])}
    return found


def _milliseconds(time: Any) -> int:
    """A time as protobuf's JSON writes it, in ms since 1970 UTC."""
    from mlflow.utils.proto_json_utils import proto_timestamp_to_milliseconds

    if isinstance(time, datetime):
        return int(time.timestamp() * 1000)
    return int(proto_timestamp_to_milliseconds(time))
