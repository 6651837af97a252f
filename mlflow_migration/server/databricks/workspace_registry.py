"""The model registry of a Databricks workspace: MLflow's own routes, with stages, without aliases or prompts.

MLflow's client for it (`store/model_registry/databricks_workspace_model_registry_rest_store.py` of 3.17.2) refuses
aliases, and awaits versions, which the workspace makes by copying files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from mlflow_migration.errors import ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.registry import Registry
from mlflow_migration.server.rest import Rest

READY, PENDING = "READY", "PENDING_REGISTRATION"
IN_USE, ARCHIVED = frozenset({"Staging", "Production"}), "Archived"
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
PATIENCE = 300.0
"""Seconds that MLflow's client waits for a version (`DEFAULT_AWAIT_MAX_SLEEP_SECONDS`)."""


class WorkspaceRegistry(Registry):
    """One workspace's own registry. Implements `RegistryCalls`."""

    def __init__(self, rest: Rest, patience: float = PATIENCE) -> None:
        super().__init__(rest)
        self._patience = patience

    def search_models(self, prompts: bool) -> Iterator[Json]:
        """Every registered model; there are no prompts."""
        return iter(()) if prompts else super().search_models(False)

    def search_versions(self, prompts: bool, name: str = "") -> Iterator[Json]:
        """Every version of all models, or of one of them: a search has to be of one model."""
        if prompts:
            return
        names = [name] if name else [str(head["name"]) for head in super().search_models(False)]
        for each in names:
            yield from super().search_versions(False, each)

    def filter_versions(self, filter_: str) -> Iterator[Json]:
        """The versions a search text finds; "" for all. Raises UsageError for one the workspace refuses."""
        return super().filter_versions(filter_) if filter_ else self.search_versions(False)

    def delete_model(self, name: str) -> None:
        """Delete a model with all its versions: a workspace keeps those that are in a stage in use."""
        for head in self.search_versions(False, name):
            if head.get("current_stage") in IN_USE:
                self.set_stage(name, str(head["version"]), ARCHIVED)
        super().delete_model(name)

    def delete_version(self, name: str, version: str) -> None:
        """Delete a version; one that is in a stage in use is archived first."""
        head = self.get_version(name, version)
        if head is not None and head.get("current_stage") in IN_USE:
            self.set_stage(name, version, ARCHIVED)
        super().delete_version(name, version)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Raises ServerError: the registry has none."""
        raise ServerError("a workspace's registry has no aliases", f"{alias} of {name}/{version}", 0, "")

    def create_version(self, body: Json, origin: tuple[str, str]) -> Json:
        """The new version's head once the workspace has copied its files. Raises ServerError where it could not."""
        head = super().create_version(body, origin)
        wait, ends = FIRST_WAIT, time.monotonic() + self._patience
        while head.get("status", READY) == PENDING and time.monotonic() < ends:
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)
            head = self.get_version(body["name"], str(head["version"])) or head
        if head.get("status", READY) != READY:
            why = str(head.get("status_message") or head["status"])
            raise ServerError(f"version {head['version']} of {body['name']!r} did not become ready", why, 0, "")
        return head
