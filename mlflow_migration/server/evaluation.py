"""Evaluation datasets and scorers over REST (`/api/3.0/mlflow/datasets`, `…/scorers`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.features import Features
from mlflow_migration.server.rest import Rest

SCORERS = pages.V3 + "scorers/"
DATASETS = pages.V3 + "datasets"
DATASETS_PER_PAGE = 200
RECORDS_PER_PAGE = 500
EXPERIMENTS_PER_SEARCH = 100


class Evaluation:
    """Implements `EvaluationCalls`."""

    def __init__(self, rest: Rest, features: Features) -> None:
        self._rest = rest
        self._features = features

    def search_datasets(self, experiment_ids: Sequence[str] | None = None) -> Iterator[Json]:
        """Datasets tied to one of these experiments, each once; all that may be read where None is given."""
        if experiment_ids is None:
            try:
                yield from self._search({})
                return
            except ForbiddenError:
                # A server with users lists all of them to administrators only (found on 3.17.2).
                experiment_ids = list(self._experiments())
        seen: set[str] = set()
        for begin in range(0, len(experiment_ids), EXPERIMENTS_PER_SEARCH):
            for head in self._search({"experiment_ids": experiment_ids[begin : begin + EXPERIMENTS_PER_SEARCH]}):
                if head["dataset_id"] not in seen:
                    seen.add(head["dataset_id"])
                    yield head

    def _experiments(self) -> Iterator[str]:
        body = {"view_type": "ALL", "max_results": 1000}
        for head in pages.posted_pages(self._rest, pages.V2 + "experiments/search", body, "experiments"):
            yield str(head["experiment_id"])

    def _search(self, body: Json) -> Iterator[Json]:
        body = {**body, "max_results": DATASETS_PER_PAGE, "order_by": ["created_time ASC"]}
        return self._features.listed(pages.posted_pages(self._rest, f"{DATASETS}/search", body, "datasets"))

    def get_dataset(self, dataset_id: str) -> Json | None:
        return pages.get_or_none(self._rest, _dataset(dataset_id), {}, "dataset")

    def delete_dataset(self, dataset_id: str) -> None:
        pages.unless_gone(self._rest, _dataset(dataset_id), {}, "DELETE")

    def get_dataset_experiment_ids(self, dataset_id: str) -> list[str]:
        answer = self._rest.call("GET", f"{_dataset(dataset_id)}/experiment-ids")
        return [str(id_) for id_ in answer.get("experiment_ids", [])]

    def get_dataset_records(self, dataset_id: str) -> Iterator[Json]:
        """Every record, in the order of creation. MLflow sends them as a JSON text of its own, NaN included."""
        query: Json = {"max_results": RECORDS_PER_PAGE}
        while True:
            answer = self._rest.call("GET", f"{_dataset(dataset_id)}/records", query=query)
            yield from json.loads(answer.get("records") or "[]")
            token = answer.get("next_page_token")
            if not token:
                return
            query = {**query, "page_token": token}

    def create_dataset(self, body: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json:
        """The new dataset's head. `origin` is the tag (key, value) by which one of a lost answer is found again."""
        key, value = origin

        def look() -> Json | None:
            heads = self.search_datasets(body["experiment_ids"] or None)
            found = next((head for head in heads if json.loads(head.get("tags") or "{}").get(key) == value), None)
            return {"dataset": found} if found else None

        sent = {**body, "tags": json.dumps(dict(tags))}
        head: Json = pages.post(self._rest, f"{DATASETS}/create", sent, look)["dataset"]
        return head

    def set_dataset_tags(self, dataset_id: str, tags: Mapping[str, str]) -> None:
        self._rest.call("PATCH", f"{_dataset(dataset_id)}/tags", {"tags": json.dumps(dict(tags))})

    def delete_dataset_tag(self, dataset_id: str, key: str) -> None:
        pages.unless_gone(self._rest, f"{_dataset(dataset_id)}/tags/{quote(key, safe='')}", {}, "DELETE")

    def add_dataset_to_experiments(self, dataset_id: str, experiment_ids: Sequence[str]) -> None:
        self._rest.call("POST", f"{_dataset(dataset_id)}/add-experiments", {"experiment_ids": list(experiment_ids)})

    def upsert_dataset_records(self, dataset_id: str, records: Sequence[Json]) -> None:
        self._rest.call("POST", f"{_dataset(dataset_id)}/records", {"records": json.dumps(list(records))})

    def delete_dataset_records(self, dataset_id: str, record_ids: Sequence[str]) -> None:
        body = {"dataset_record_ids": list(record_ids)}
        pages.unless_gone(self._rest, f"{_dataset(dataset_id)}/records", body, "DELETE")

    # Scorers

    def list_scorers(self, experiment_ids: Sequence[str]) -> Iterator[Json]:
        """The latest version of each scorer. MLflow lists none of deleted experiments."""
        for begin in range(0, len(experiment_ids), EXPERIMENTS_PER_SEARCH):
            yield from self._features.listed(self._scorers(experiment_ids[begin : begin + EXPERIMENTS_PER_SEARCH]))

    def _scorers(self, experiment_ids: Sequence[str]) -> Iterator[Json]:
        query = [("experiment_ids", id_) for id_ in experiment_ids]
        try:
            yield from pages.pages(self._rest, SCORERS + "list", query, "scorers")
        except ServerError as error:
            if "'experiment_id'" not in error.why:
                raise
            # Servers of 3.4 to 3.9 list one experiment at a time (tried on 3.4.0).
            for id_ in experiment_ids:
                yield from pages.pages(self._rest, SCORERS + "list", {"experiment_id": id_}, "scorers")

    def list_scorer_versions(self, experiment_id: str, name: str) -> list[Json]:
        """Every version, oldest first; none where there is no such scorer."""
        query = {"experiment_id": experiment_id, "name": name}
        try:
            found: list[Json] = self._rest.call("GET", SCORERS + "versions", query=query).get("scorers", [])
        except ServerError as error:
            if error.code == pages.GONE:
                return []
            raise
        return found

    def register_scorer(self, experiment_id: str, name: str, serialized: str, version: int) -> int:
        """The new version's number. `version` is the one it should get: a lost answer is known by it."""

        def look() -> Json | None:
            there = self.list_scorer_versions(experiment_id, name)
            return {"version": version} if any(found["scorer_version"] == version for found in there) else None

        body = {"experiment_id": experiment_id, "name": name, "serialized_scorer": serialized}
        return int(pages.post(self._rest, SCORERS + "register", body, look)["version"])

    def delete_scorer(self, experiment_id: str, name: str, version: int) -> None:
        body = {"experiment_id": experiment_id, "name": name, "version": version}
        pages.unless_gone(self._rest, SCORERS + "delete", body, "DELETE")

    def get_online_configs(self, scorer_id: str) -> list[Json]:
        """When MLflow runs a scorer by itself; none from a server too old to do so."""
        query = {"scorer_ids": scorer_id}
        return list(self._features.listed(pages.pages(self._rest, SCORERS + "online-configs", query, "configs")))

    def set_online_config(self, experiment_id: str, name: str, config: Json) -> None:
        self._rest.call("PUT", SCORERS + "online-config", {"experiment_id": experiment_id, "name": name, **config})


def _dataset(dataset_id: str) -> str:
    return f"{DATASETS}/{quote(dataset_id, safe='')}"
