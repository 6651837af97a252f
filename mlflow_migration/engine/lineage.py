"""Which object of a destination came from which at the source.

The origin tags at the destination are the truth; the ledger only remembers this job's own writes. Runs of an
experiment are indexed once, when the first of them is looked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mlflow_migration.calls import Live
from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.places import Found
from mlflow_migration.records import ORIGIN, Json, digest_of, tags_of

EXPERIMENT_ID = ORIGIN + "experiment_id"
RUN_ID = ORIGIN + "run_id"
ROOT_ID = ORIGIN + "root_run_id"
COMPLETE = ORIGIN + "complete"
T = TypeVar("T")


@dataclass
class _Index:
    """The runs of one destination experiment, by the ids they came from."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    loaded: bool = False
    deleted: bool = False
    foreign: int = 0
    by_origin: dict[str, Found] = field(default_factory=dict)
    by_root: dict[str, list[Found]] = field(default_factory=dict)
    own: dict[str, Found] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    datasets: dict[tuple[str, str], str] = field(default_factory=dict)


class Lineage:
    """Implements `Ids` for one job and one live destination."""

    def __init__(self, live: Live, ledger: Ledger, rehearsal: bool = False) -> None:
        self._live = live
        self._rehearsal = rehearsal
        self._ledger = ledger
        self._experiments: dict[str, str] = {}
        self._indexes: dict[str, _Index] = {}
        self._origins: dict[tuple[str, str], Json] | None = None
        self._memory: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def once(self, key: str, load: Callable[[], T]) -> T:
        """What `load()` gave when it was first asked for under this key; others wait for it meanwhile."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._memory:
                self._memory[key] = load()
            found: T = self._memory[key]
            return found

    def get(self, kind: str, source_id: str) -> str | None:
        if kind == "experiment":
            return self._experiments.get(source_id)
        return self._ledger.destination(kind, source_id)

    def earlier(self, kind: str, source_id: str) -> str | None:
        """The id that this or an earlier attempt of the job noted, for kinds that can't be tagged: a hint, to be
        looked up at the destination before it is believed."""
        return self._ledger.earlier(kind, source_id)

    def put(self, kind: str, source_id: str, destination_id: str) -> None:
        if kind == "experiment":
            self._experiments[source_id] = destination_id
        else:
            self._ledger.arrived(kind, source_id, destination_id)

    def made(self, experiment_id: str, source_id: str) -> None:
        """A new experiment: nothing needs to be looked for in it."""
        self._experiments[source_id] = experiment_id
        self._index(experiment_id).loaded = True

    def find_experiment(self, source: str, source_id: str) -> Json | None:
        """The experiment that was made from this one; asked of the destination once, for all experiments."""
        with self._lock:
            if self._origins is None:
                self._origins = {}
                for head in self._live.search_experiments():
                    tags = tags_of(head.get("tags"))
                    if EXPERIMENT_ID in tags:
                        self._origins[tags.get(ORIGIN + "source", ""), tags[EXPERIMENT_ID]] = head
            return self._origins.get((source, source_id))

    def find_run(self, experiment_id: str, source_id: str, root: str) -> Found | None:
        """The run that came from `source_id`, or else one that came from the same root; each is given once."""
        index = self._loaded(experiment_id)
        with index.lock:
            found = index.by_origin.get(source_id) or index.own.get(source_id)
            if found is None:
                near = [index.by_origin.get(root), index.own.get(root), *index.by_root.get(source_id, ())]
                found = next((run for run in near if run is not None and run.id not in index.claimed), None)
            if found is not None:
                index.claimed.add(found.id)
            return found

    def locate_run(self, source_id: str) -> str | None:
        """The run that came from `source_id`, wherever it is at the destination."""
        experiments = [head["experiment_id"] for head in self._live.search_experiments()]
        runs = self._live.search_runs(experiments, f"tags.`{RUN_ID}` = '{source_id}'", limit=1)
        found = next(runs, None)
        return str(found["info"]["run_id"]) if found else None

    def is_deleted(self, experiment_id: str) -> bool:
        return self._loaded(experiment_id).deleted

    def has_foreign_runs(self, experiment_id: str) -> bool:
        return self._loaded(experiment_id).foreign > 0

    def is_other_dataset(self, experiment_id: str, dataset: Json) -> bool:
        """Whether the experiment has a dataset input of the same name and digest that is another one: MLflow keeps
        the first and takes it for both (tried on 3.17.2)."""
        if not experiment_id:
            # A rehearsal's new experiment.
            return False
        index = self._loaded(experiment_id)
        with index.lock:
            key, content = _dataset(dataset)
            return index.datasets.setdefault(key, content) != content

    def reopen(self, experiment_id: str, will_delete: bool) -> None:
        """Restore a deleted experiment and nothing else: MLflow restores all its runs with it.

        With `will_delete` the experiment is deleted again at the job's end, and its runs with it.
        """
        index = self._loaded(experiment_id)
        with index.lock:
            if not index.deleted:
                return
            before = [] if will_delete else [run["info"]["run_id"] for run in self._live.search_runs([experiment_id])]
            self._live.restore_experiment(experiment_id)
            for run_id in before:
                self._live.delete_run(run_id)
            index.deleted = False
            self._load(experiment_id, index)

    def _index(self, experiment_id: str) -> _Index:
        with self._lock:
            return self._indexes.setdefault(experiment_id, _Index())

    def _loaded(self, experiment_id: str) -> _Index:
        index = self._index(experiment_id)
        with index.lock:
            if not index.loaded:
                if experiment_id:
                    head = self._live.get_experiment(experiment_id)
                    index.deleted = head is not None and head.get("lifecycle_stage") == "deleted"
                    self._load(experiment_id, index)
                index.loaded = True
        return index

    def _load(self, experiment_id: str, index: _Index) -> None:
        index.foreign = 0
        index.by_origin, index.by_root, index.own = {}, {}, {}
        for head in self._live.search_runs([experiment_id]):
            tags = tags_of(head["data"].get("tags"))
            deleted = head["info"].get("lifecycle_stage") == "deleted"
            for entry in (head.get("inputs") or {}).get("dataset_inputs", []):
                index.datasets.setdefault(*_dataset(entry["dataset"]))
            found = Found(head["info"]["run_id"], tags.get(COMPLETE, ""), deleted)
            if RUN_ID in tags:
                found = self._kept(index.by_origin.get(tags[RUN_ID]), found)
                index.by_origin[tags[RUN_ID]] = found
                if ROOT_ID in tags:
                    index.by_root.setdefault(tags[ROOT_ID], []).append(found)
            elif ORIGIN + "source" in tags:
                # A twin whose origin tag is off already, by a job that ended before it could delete it.
                if not deleted and not self._rehearsal:
                    self._live.delete_run(found.id)
            else:
                index.own[found.id] = Found(found.id, "", deleted, itself=True)
                index.foreign += not deleted

    def _kept(self, one: Found | None, other: Found) -> Found:
        """Of two runs with one origin the whole one; a half-made twin, of a request delivered twice, is deleted."""
        if one is None:
            return other
        kept, twin = (one, other) if one.digest or not other.digest else (other, one)
        if not twin.digest and not twin.deleted and not self._rehearsal:
            self._live.delete_tag(twin.id, RUN_ID)
            self._live.delete_run(twin.id)
        return kept


def _dataset(dataset: Json) -> tuple[tuple[str, str], str]:
    """What MLflow knows a dataset input by, and a digest of all of it."""
    rest = [dataset.get(key) or "" for key in ("source_type", "source", "schema", "profile")]
    return (dataset["name"], dataset["digest"]), digest_of(rest)
