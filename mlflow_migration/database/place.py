"""A database of MLflow's as a place to read from, as a server on it would answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import BinaryIO

from mlflow_migration.calls.access_lists import AccessListReads
from mlflow_migration.calls.notebooks import NoNotebooks
from mlflow_migration.database import filters
from mlflow_migration.database.artifacts import Artifacts, Storage
from mlflow_migration.database.connect import DEFAULT_WORKSPACE, Connected
from mlflow_migration.database.evaluation import Evaluation
from mlflow_migration.database.experiments import Experiments
from mlflow_migration.database.gateway import Gateway
from mlflow_migration.database.histories import Histories
from mlflow_migration.database.logged_models import LoggedModels
from mlflow_migration.database.mcp_servers import McpServers
from mlflow_migration.database.reading import Reading
from mlflow_migration.database.registry import Registry
from mlflow_migration.database.reviews import Reviews
from mlflow_migration.database.runs import Runs
from mlflow_migration.database.traces import Traces
from mlflow_migration.database.webhooks import Webhooks
from mlflow_migration.database.workspaces import Rights, Users, Workspaces
from mlflow_migration.errors import UsageError
from mlflow_migration.places import Abilities, Root
from mlflow_migration.records import Broken, File, Json, Rows


class Database:
    """One workspace of a database. Implements `Readable`. Safe to share between threads.

    `artifact_root` is where the server of this database keeps what it proxies (its `--artifacts-destination`).
    Raises UsageError where that is a folder that isn't there, or where there is no such workspace.
    """

    def __init__(self, connected: Connected, artifact_root: str | Storage = "") -> None:
        from mlflow.version import VERSION

        self._connected = connected
        self.address = connected.address
        self.broken: Sequence[Broken] = connected.broken
        if connected.workspace not in {"", DEFAULT_WORKSPACE}:
            # As a server's: names are unique within a workspace only.
            self.address += f"#{connected.workspace}"
        self.abilities = Abilities(version=VERSION, keeps_ids=True, keeps_times=True, proxied_artifacts=False)
        reading = self._reading = Reading(connected)
        self._artifacts = Artifacts(artifact_root)
        self._experiments = Experiments(reading)
        self._runs = Runs(reading)
        self._histories = Histories(reading)
        self.models = LoggedModels(reading)
        self.registry = Registry(reading)
        self.traces = Traces(reading, self._artifacts)
        self.evaluation = Evaluation(reading)
        self.reviews = Reviews(reading)
        self.webhooks = Webhooks(reading)
        self.gateway = Gateway(reading)
        self.mcp = McpServers(reading)
        self.workspaces = Workspaces(reading)
        self.users = Users(reading)
        self.access_lists: AccessListReads | None = None
        self.rights = Rights()
        self.notebooks = NoNotebooks()
        if self.workspaces.get_workspace(reading.workspace) is None and not self.workspaces.at_default():
            raise UsageError(f"no such workspace: {reading.workspace!r}", self.address, "check --workspace")

    def close(self) -> None:
        self._connected.close()

    def search_experiments(self) -> Iterator[Json]:
        """Experiments in every state, by id."""
        return self._experiments.search()

    def get_experiment(self, experiment_id: str) -> Json | None:
        return self._experiments.get(experiment_id)

    def get_experiment_by_name(self, name: str) -> Json | None:
        return self._experiments.get_by_name(name)

    def search_runs(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Runs in every state, oldest start first. Raises UsageError for a filter that MLflow doesn't understand."""
        return self._runs.search(experiment_ids, filter_, limit)

    def get_run(self, run_id: str) -> Json | None:
        return self._runs.get(run_id)

    def with_histories(self, runs: Iterable[Json]) -> Iterator[tuple[Json, Rows]]:
        return self._histories.attach(runs)

    def history(self, run_id: str, key: str) -> Iterator[Json]:
        return self._histories.page(run_id, key)

    def check_filter(self, filter_: str) -> None:
        """Raise UsageError for a search text that MLflow doesn't understand."""
        filters.run_ids(self._reading, filter_)

    def files(self, root: Root) -> Iterator[File]:
        return self._artifacts.files(root)

    def open_file(self, root: Root, path: str) -> AbstractContextManager[BinaryIO]:
        return self._artifacts.open_file(self._with_address(root), path)

    def _with_address(self, root: Root) -> Root:
        """A version of a model is asked for by its name alone."""
        if root.kind != "model_version" or root.uri:
            return root
        name, _, version = root.id.rpartition("/")
        return replace(root, uri=self.registry.download_uri(name, version))
