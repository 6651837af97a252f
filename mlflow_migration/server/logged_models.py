"""Logged models of a live server, and the links between them and runs. Servers before 3.0 have none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mlflow_migration.records import Json, pairs_of
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Rest

MODELS = pages.V2 + "logged-models"
PER_PAGE = 100
EXPERIMENTS_PER_SEARCH = 100


class LoggedModels:
    """The logged models of one server. Implements `LoggedModelCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._any: bool | None = None

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]:
        """Models that aren't deleted, with params, tags and metrics; none where the server doesn't know them."""
        for begin in range(0, len(experiment_ids), EXPERIMENTS_PER_SEARCH):
            body: Json = {
                "experiment_ids": list(experiment_ids[begin : begin + EXPERIMENTS_PER_SEARCH]),
                "max_results": limit or PER_PAGE,
                "order_by": [{"field_name": "creation_timestamp", "ascending": True}],
            }
            if filter_:
                body["filter"] = filter_
            yield from pages.where_known(pages.posted_pages(self._rest, f"{MODELS}/search", body, "models"))

    def get(self, model_id: str) -> Json | None:
        """A model in whatever state, deleted ones too."""
        return pages.get_or_none(self._rest, f"{MODELS}/{model_id}", {"allow_deleted": "true"}, "model")

    def deleted(self, experiment_ids: Sequence[str]) -> Iterator[Json] | None:
        """None: no request lists the deleted ones."""
        return None

    def create(self, body: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json:
        """The new model's head. `origin` is the tag by which one made by a lost answer is found again."""
        key, value = origin

        def look() -> Json | None:
            found = next(self.search([body["experiment_id"]], f"tags.`{key}` = '{value}'", limit=1), None)
            return {"model": found} if found else None

        made: Json = pages.post(self._rest, MODELS, {**body, "tags": pairs_of(tags)}, look)["model"]
        return made

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        self._rest.call("PATCH", f"{MODELS}/{model_id}/tags", {"model_id": model_id, "tags": pairs_of(tags)})

    def finalize(self, model_id: str, status: str) -> None:
        self._rest.call("PATCH", f"{MODELS}/{model_id}", {"model_id": model_id, "status": status})

    def delete(self, model_id: str) -> None:
        pages.unless_gone(self._rest, f"{MODELS}/{model_id}", {}, "DELETE")

    def log_inputs(self, run_id: str, model_ids: Sequence[str]) -> None:
        """Link models as inputs of a run; repeating it changes nothing."""
        models = [{"model_id": model_id} for model_id in model_ids]
        self._rest.call("POST", pages.V2 + "runs/log-inputs", {"run_id": run_id, "models": models})

    def log_outputs(self, run_id: str, outputs: Sequence[Json]) -> None:
        """Link models as outputs of a run, each `{model_id, step}`. The server refuses one that is there already."""
        self._rest.call("POST", pages.V2 + "runs/outputs", {"run_id": run_id, "models": list(outputs)})

    def with_inputs(self, run: Json) -> Json:
        """A run with the models it took in, which `runs/search` leaves out."""
        whole = pages.get_or_none(self._rest, pages.V2 + "runs/get", {"run_id": run["info"]["run_id"]}, "run")
        return whole or run

    def exist(self) -> bool:
        """Whether the server holds a model in any experiment, deleted experiments too; asked once."""
        if self._any is None:
            body = {"view_type": "ALL", "max_results": 1000}
            found = pages.posted_pages(self._rest, pages.V2 + "experiments/search", body, "experiments")
            ids = [experiment["experiment_id"] for experiment in found]
            self._any = next(self.search(ids, limit=1), None) is not None
        return self._any
