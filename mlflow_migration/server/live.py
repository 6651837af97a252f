"""A tracking server as a place: MLflow's REST methods, taking and giving plain JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import BinaryIO

import tenacity

from mlflow_migration.errors import ForbiddenError, ServerError, UsageError
from mlflow_migration.places import Abilities, Root
from mlflow_migration.records import Broken, File, Json, Rows, pairs_of, tags_of
from mlflow_migration.server import pages
from mlflow_migration.server.histories import page_history
from mlflow_migration.server.parts import parts_of
from mlflow_migration.server.rest import Look, Rest

RUNS_PER_PAGE = 200
"""A page of runs carries all their params and tags; a larger page saves few requests and costs memory."""
EXPERIMENTS_PER_SEARCH = 100
TAKEN = "RESOURCE_ALREADY_EXISTS"


def _is_race(error: BaseException) -> bool:
    # Two runs that log the same dataset at once: one of them gets the database's own error as a 400 (found on 3.17.2).
    return isinstance(error, ServerError) and (
        "UNIQUE constraint" in error.why or "duplicate key" in error.why or "Duplicate entry" in error.why
    )


class Server:
    """One tracking server. Implements `Live`."""

    def __init__(self, rest: Rest, experiment_folder: str = "") -> None:
        """`experiment_folder`: where, in a Databricks workspace, experiments go whose names are no paths; "" for the
        caller's own."""
        self.rest = rest
        self.address = rest.address
        self.abilities = Abilities()
        parts = self._parts = parts_of(rest, experiment_folder)
        self._forms = parts.forms
        self.registry = parts.registry
        self.models = parts.models
        self.traces = parts.traces
        self.rights = parts.rights
        self.evaluation = parts.evaluation
        self.reviews = parts.reviews
        self.webhooks = parts.webhooks
        self.gateway = parts.gateway
        self.mcp = parts.mcp
        self.workspaces = parts.workspaces
        self.users = parts.users
        self.access_lists = parts.access_lists
        self.notebooks = parts.notebooks

    def connect(self) -> None:
        """Ask the server what it is; raises AccessError when it isn't there or isn't MLflow, UsageError where it
        hasn't the workspace that is asked for."""
        with self.rest.hurried():
            if self.rest.workspace:
                self._check_workspace()
            self.abilities = self._parts.connect()

    def _check_workspace(self) -> None:
        # Asked first: a server before 3.10 doesn't look at the header, and would answer from where all things are.
        try:
            has_any = self.rest.call("GET", pages.V3 + "server-info").get("workspaces_enabled")
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            has_any = False
        if not has_any:
            raise UsageError(
                f"the server has no workspaces: {self.address}",
                "it is before MLflow 3.10, or wasn't started with --enable-workspaces",
                "leave --workspace and MLFLOW_WORKSPACE out, or ask who runs the server",
            )
        try:
            self.rest.call("GET", f"{pages.V3}workspaces/{self.rest.workspace}")
        except ServerError as error:
            raise UsageError(f"no such workspace: {self.rest.workspace!r}", error.why, "check --workspace") from error

    @property
    def broken(self) -> Sequence[Broken]:
        """What it holds out of this tool's reach; whatever else it can't give, it tells when it is asked for it."""
        return self._forms.out_of_reach(self.search_experiments)

    def close(self) -> None:
        self.rest.close()

    # Experiments

    def search_experiments(self) -> Iterator[Json]:
        """Experiments in every state, by id."""
        found = pages.posted_pages(self.rest, pages.V2 + "experiments/search", self._forms.search_body(), "experiments")
        yield from self._forms.experiments_in(found)

    def get_experiment(self, experiment_id: str) -> Json | None:
        return self._experiment("experiments/get", {"experiment_id": experiment_id})

    def get_experiment_by_name(self, name: str) -> Json | None:
        found = self._experiment("experiments/get-by-name", {"experiment_name": self._forms.name_out(name)})
        return found if found is not None and self._forms.is_called(found, name) else None

    def _experiment(self, method: str, query: dict[str, str]) -> Json | None:
        found = pages.get_or_none(self.rest, pages.V2 + method, query, "experiment")
        return None if found is None else self._forms.experiment_in(found)

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """The new experiment's id. Raises ServerError where the name is taken, ConflictError where that isn't by an
        experiment."""

        def look() -> Json | None:
            return self.get_experiment_by_name(name)

        self._forms.make_room(name)
        sent = {**self._forms.tags_out(tags), **self._forms.name_tags(name)}
        body = {"name": self._forms.name_out(name), "tags": pairs_of(sent)}
        try:
            return str(self._post("experiments/create", body, look)["experiment_id"])
        except ServerError as error:
            if error.code == TAKEN and look() is None:
                self._forms.taken(name, error)
            raise

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        body = {"experiment_id": experiment_id, "key": self._forms.tag_out(key), "value": value}
        self._post("experiments/set-experiment-tag", body)

    def rename_experiment(self, experiment_id: str, name: str) -> None:
        self._forms.make_room(name)
        self._post("experiments/update", {"experiment_id": experiment_id, "new_name": self._forms.name_out(name)})
        for key, value in self._forms.name_tags(name, renamed=True).items():
            self.set_experiment_tag(experiment_id, key, value)

    def delete_experiment(self, experiment_id: str) -> None:
        pages.unless_gone(self.rest, pages.V2 + "experiments/delete", {"experiment_id": experiment_id})

    def restore_experiment(self, experiment_id: str) -> None:
        pages.unless_gone(self.rest, pages.V2 + "experiments/restore", {"experiment_id": experiment_id})

    # Runs

    def search_runs(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Runs in every state, oldest start first. Ids are searched a hundred experiments at a time."""
        for begin in range(0, len(experiment_ids), EXPERIMENTS_PER_SEARCH):
            body: Json = {
                "experiment_ids": list(experiment_ids[begin : begin + EXPERIMENTS_PER_SEARCH]),
                "run_view_type": "ALL",
                "max_results": limit or RUNS_PER_PAGE,
                "order_by": ["attributes.start_time ASC"],
            }
            if filter_:
                body["filter"] = filter_
            found = pages.posted_pages(self.rest, pages.V2 + "runs/search", body, "runs")
            yield from map(self._forms.run_in, found)

    def get_run(self, run_id: str) -> Json | None:
        found = pages.get_or_none(self.rest, pages.V2 + "runs/get", {"run_id": run_id}, "run")
        return None if found is None else self._forms.run_in(found)

    def with_histories(self, runs: Iterable[Json]) -> Iterator[tuple[Json, Rows]]:
        return self._parts.histories.attach(runs)

    def history(self, run_id: str, key: str) -> Iterator[Json]:
        return page_history(self.rest, run_id, key)

    def create_run(self, info: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json:
        """The new run's head. `origin` is the tag (key, value) by which a run made by a lost answer is found again."""
        key, value = origin

        def look() -> Json | None:
            found = self.search_runs([info["experiment_id"]], f"tags.`{key}` = '{value}'", limit=1)
            run = next(found, None)
            return {"run": run} if run else None

        sent, sent_tags = self._forms.run_out(info, tags)
        return self._forms.run_in(self._post("runs/create", {**sent, "tags": pairs_of(sent_tags)}, look)["run"])

    def update_run(self, run_id: str, fields: Json) -> None:
        self._post("runs/update", {"run_id": run_id, **fields})

    def log_batch(self, run_id: str, batch: Json) -> None:
        if "tags" in batch:
            batch = {**batch, "tags": pairs_of(self._forms.tags_out(tags_of(batch["tags"])))}
        for part in self._forms.batches(batch):
            self._post("runs/log-batch", {"run_id": run_id, **part})

    def log_inputs(self, run_id: str, datasets: list[Json]) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_race),
            stop=tenacity.stop_after_attempt(8),
            wait=tenacity.wait_random(0.02, 0.4),
            reraise=True,
        )
        retrying(self._post, "runs/log-inputs", {"run_id": run_id, "datasets": datasets})

    def delete_tag(self, run_id: str, key: str) -> None:
        pages.unless_gone(self.rest, pages.V2 + "runs/delete-tag", {"run_id": run_id, "key": self._forms.tag_out(key)})

    def delete_run(self, run_id: str) -> None:
        self._post("runs/delete", {"run_id": run_id})

    def restore_run(self, run_id: str) -> None:
        self._post("runs/restore", {"run_id": run_id})

    # Artifacts

    def files(self, root: Root) -> Iterator[File]:
        return self._parts.files.files(root)

    def walk(self, root: Root, folder: str, levels: int) -> Iterator[File]:
        return self._parts.files.walk(root, folder, levels)

    def open_file(self, root: Root, path: str) -> AbstractContextManager[BinaryIO]:
        return self._parts.files.open_file(root, path)

    def put_file(self, root: Root, path: str, file: File) -> None:
        self._parts.files.put_file(root, path, file)

    def cannot_hold(self, path: str) -> str:
        """Why this server can't hold an artifact of that name; "" when it can."""
        return self._parts.files.cannot_hold(path)

    def check_filter(self, filter_: str) -> None:
        """Raise UsageError for a search text this server doesn't understand."""
        try:
            next(self.search_runs(["0"], filter_, limit=1), None)
        except ForbiddenError:
            # That experiment is none of these credentials', or not there: the search itself will tell.
            return
        except ServerError as error:
            if error.code == pages.GONE:
                return
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            raise UsageError(f"not a filter: {filter_}", error.why, "write it like: metrics.acc > 0.9") from error

    def may_write(self) -> bool:
        """Whether these credentials may create: asked by a request the server must refuse for its empty name."""
        try:
            self._post("experiments/create", {"name": ""})
        except ServerError as error:
            return error.status == HTTPStatus.BAD_REQUEST
        return True

    def _post(self, method: str, body: Json, look: Look | None = None) -> Json:
        return pages.post(self.rest, pages.V2 + method, body, look)
