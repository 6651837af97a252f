"""The seams between places, kinds and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mlflow_migration.records import File, Files, Json, Record, Rows, Written

T = TypeVar("T")


@dataclass(frozen=True)
class Abilities:
    """What a place can do, as found by asking it. `version` is MLflow's, "" where it doesn't tell."""

    version: str = ""
    bulk_history: bool = True
    keeps_ids: bool = False
    keeps_times: bool = False
    proxied_artifacts: bool = True


@dataclass(frozen=True)
class Selection:
    """What of a place is asked for.

    `kinds`: empty for all. `experiments`: names, ids or globs, empty for all.
    Times are ms since 1970 UTC, compared with a run's start.
    `files` is "copy", "skip" or "reference"; `max_file` is in bytes.
    """

    experiments: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    filter: str = ""
    since: int | None = None
    until: int | None = None
    deleted: bool = True
    nested: bool = False
    files: str = "copy"
    max_file: int | None = None

    def takes(self, kind: str) -> bool:
        """Whether objects of a kind are asked for."""
        return not self.kinds or kind in self.kinds

    def files_of(self, files: Files) -> Iterator[File]:
        """The artifacts asked for; one that is too large comes without its bytes."""
        if self.files != "copy":
            return
        for file in files():
            if self.max_file is not None and file.size > self.max_file and not file.problem:
                reason = f"{file.size} bytes, more than --max-artifact-size {self.max_file}"
                yield File(file.path, file.size, problem=reason, wanted=False)
            else:
                yield file


@dataclass(frozen=True)
class Writing:
    """How objects are to be written. `names` maps a source experiment's name to the destination's;
    with `checksum` artifacts that are there already are compared byte for byte, not only by their size."""

    source: str
    names: Mapping[str, str]
    lineage: bool = False
    source_user: bool = True
    dry_run: bool = False
    checksum: bool = False


@dataclass
class Found:
    """A run a destination already has. `digest` is what it was completed with, "" for a half-made one."""

    id: str
    digest: str
    deleted: bool
    itself: bool = False


class Ids(Protocol):
    """What of the source the destination has, and under which id."""

    def get(self, kind: str, source_id: str) -> str | None: ...

    def put(self, kind: str, source_id: str, destination_id: str) -> None: ...

    def made(self, experiment_id: str, source_id: str) -> None: ...

    def find_experiment(self, source: str, source_id: str) -> Json | None: ...

    def find_run(self, experiment_id: str, source_id: str, root: str) -> Found | None: ...

    def locate_run(self, source_id: str) -> str | None: ...

    def reopen(self, experiment_id: str, will_delete: bool) -> None: ...

    def is_deleted(self, experiment_id: str) -> bool: ...

    def has_foreign_runs(self, experiment_id: str) -> bool: ...

    def once(self, key: str, load: Callable[[], T]) -> T: ...


@dataclass(frozen=True)
class Root:
    """Where one object's artifacts live: `kind` and `id` of the object, `uri` its artifact URI."""

    kind: str
    id: str
    uri: str


class TraceCalls(Protocol):
    """The traces of a live place."""

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]: ...

    def get(self, trace_id: str) -> Json | None: ...

    def with_spans(self, infos: Iterable[Json]) -> Iterator[tuple[Json, Rows, Files]]: ...

    def log_spans(self, experiment_id: str, spans: list[Json], tags: Mapping[str, str]) -> None: ...

    def start(self, info: Json) -> Json: ...

    def set_tag(self, trace_id: str, key: str, value: str) -> None: ...

    def delete_tag(self, trace_id: str, key: str) -> None: ...

    def create_assessment(self, trace_id: str, assessment: Json) -> None: ...

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None: ...

    def link_to_run(self, trace_id: str, run_id: str) -> None: ...

    def link_prompts(self, trace_id: str, versions: list[Json]) -> None: ...


class Live(Protocol):
    """A running MLflow, spoken to in plain JSON heads and lazy rows; calls are named after MLflow's REST methods."""

    address: str
    abilities: Abilities

    @property
    def traces(self) -> TraceCalls: ...

    def search_experiments(self) -> Iterator[Json]: ...

    def get_experiment(self, experiment_id: str) -> Json | None: ...

    def get_experiment_by_name(self, name: str) -> Json | None: ...

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str: ...

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None: ...

    def rename_experiment(self, experiment_id: str, name: str) -> None: ...

    def delete_experiment(self, experiment_id: str) -> None: ...

    def restore_experiment(self, experiment_id: str) -> None: ...

    def search_runs(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]: ...

    def get_run(self, run_id: str) -> Json | None: ...

    def with_histories(self, runs: Iterable[Json]) -> Iterator[tuple[Json, Rows]]: ...

    def history(self, run_id: str, key: str) -> Iterator[Json]: ...

    def create_run(self, info: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json: ...

    def update_run(self, run_id: str, fields: Json) -> None: ...

    def log_batch(self, run_id: str, batch: Json) -> None: ...

    def log_inputs(self, run_id: str, datasets: list[Json]) -> None: ...

    def delete_tag(self, run_id: str, key: str) -> None: ...

    def delete_run(self, run_id: str) -> None: ...

    def restore_run(self, run_id: str) -> None: ...

    def files(self, root: Root) -> Iterator[File]: ...

    def put_file(self, root: Root, path: str, file: File) -> None: ...

    def cannot_hold(self, path: str) -> str: ...


class Source(Protocol):
    """A place to read from."""

    address: str

    def records(self, kind: str, selection: Selection) -> Iterator[Record]: ...

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None: ...


class Sink(Protocol):
    """A place to write to."""

    address: str

    def put(self, record: Record) -> Written: ...
