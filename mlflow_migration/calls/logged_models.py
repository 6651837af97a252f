"""What a place can be asked about logged models, and what changes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from mlflow_migration.records import Json


class LoggedModelReads(Protocol):
    """What a running MLflow can be asked about logged models."""

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]: ...

    def get(self, model_id: str) -> Json | None: ...

    def deleted(self, experiment_ids: Sequence[str]) -> Iterator[Json] | None: ...

    def with_inputs(self, run: Json) -> Json: ...

    def exist(self) -> bool: ...


class LoggedModelCalls(LoggedModelReads, Protocol):
    """`LoggedModelReads`, and what changes them."""

    def create(self, body: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json: ...

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None: ...

    def finalize(self, model_id: str, status: str) -> None: ...

    def delete(self, model_id: str) -> None: ...

    def log_inputs(self, run_id: str, model_ids: Sequence[str]) -> None: ...

    def log_outputs(self, run_id: str, outputs: Sequence[Json]) -> None: ...
