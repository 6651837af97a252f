"""Issues, label schemas and review queues over REST (`issues`, `label-schemas`, `review-queues` of API 3.0)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from mlflow_migration.errors import ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.features import Features
from mlflow_migration.server.rest import Look, Rest

ISSUES = pages.V3 + "issues"
SCHEMAS = pages.V3 + "label-schemas/"
QUEUES = pages.V3 + "review-queues/"
PER_PAGE = 500


class Reviews:
    """Implements `ReviewCalls`."""

    def __init__(self, rest: Rest, features: Features) -> None:
        self._rest = rest
        self._features = features

    # Issues

    def search_issues(self, experiment_id: str = "") -> Iterator[Json]:
        """The issues of an experiment, or of all, deleted experiments too."""
        body = {"max_results": PER_PAGE, **({"experiment_id": experiment_id} if experiment_id else {})}
        return self._features.listed(pages.posted_pages(self._rest, f"{ISSUES}/search", body, "issues"))

    def get_issue(self, issue_id: str) -> Json | None:
        return pages.get_or_none(self._rest, f"{ISSUES}/{quote(issue_id, safe='')}", {}, "issue")

    def create_issue(self, body: Json, look: Look) -> Json:
        """The new issue's head; `look` finds one that a lost answer made."""

        def found() -> Json | None:
            there = look()
            return {"issue": there} if there else None

        head: Json = pages.post(self._rest, ISSUES, body, found)["issue"]
        return head

    def update_issue(self, issue_id: str, fields: Json) -> None:
        # MLflow wants the id in the body too.
        self._rest.call("PATCH", f"{ISSUES}/{quote(issue_id, safe='')}", {**fields, "issue_id": issue_id})

    # Label schemas

    def list_label_schemas(self, experiment_id: str) -> Iterator[Json]:
        """The schemas of an active experiment. MLflow makes the experiment's default one where it is not there yet."""
        query = {"experiment_id": experiment_id, "max_results": PER_PAGE}
        return self._of_active(pages.pages(self._rest, SCHEMAS + "list", query, "label_schemas"))

    def get_label_schema(self, schema_id: str) -> Json | None:
        return self._one(SCHEMAS + "get", {"schema_id": schema_id}, "label_schema")

    def get_label_schema_by_name(self, experiment_id: str, name: str) -> Json | None:
        return self._one(SCHEMAS + "get-by-name", {"experiment_id": experiment_id, "name": name}, "label_schema")

    def create_label_schema(self, body: Json) -> Json:
        """The new schema's head. Raises ServerError where the name is taken."""

        def look() -> Json | None:
            there = self.get_label_schema_by_name(body["experiment_id"], body["name"])
            return {"label_schema": there} if there else None

        head: Json = pages.post(self._rest, SCHEMAS + "create", body, look)["label_schema"]
        return head

    def update_label_schema(self, schema_id: str, fields: Json) -> None:
        self._rest.call("PATCH", SCHEMAS + "update", {"schema_id": schema_id, **fields})

    # Review queues

    def list_review_queues(self, experiment_id: str) -> Iterator[Json]:
        """The queues of an active experiment."""
        query = {"experiment_id": experiment_id, "max_results": PER_PAGE}
        return self._of_active(pages.pages(self._rest, QUEUES + "list", query, "review_queues"))

    def get_review_queue(self, queue_id: str) -> Json | None:
        return self._one(QUEUES + "get", {"queue_id": queue_id}, "review_queue")

    def get_review_queue_by_name(self, experiment_id: str, name: str) -> Json | None:
        return self._one(QUEUES + "get-by-name", {"experiment_id": experiment_id, "name": name}, "review_queue")

    def create_review_queue(self, body: Json) -> Json:
        """The new queue's head; that of a user is the one MLflow keeps for that person."""

        def look() -> Json | None:
            there = self.get_review_queue_by_name(body["experiment_id"], body["name"])
            return {"review_queue": there} if there else None

        if body["queue_type"] == "USER":
            mine = {"experiment_id": body["experiment_id"], "user": body["name"]}
            head: Json = pages.post(self._rest, QUEUES + "get-or-create-user", mine)["review_queue"]
            return head
        head = pages.post(self._rest, QUEUES + "create", body, look)["review_queue"]
        return head

    def update_review_queue(self, queue_id: str, fields: Json) -> None:
        self._rest.call("POST", QUEUES + "update", {"queue_id": queue_id, **fields})

    def list_queue_items(self, queue_id: str) -> Iterator[Json]:
        query = {"queue_id": queue_id, "max_results": PER_PAGE}
        return pages.pages(self._rest, QUEUES + "items/list", query, "items")

    def add_queue_items(self, queue_id: str, item_ids: Sequence[str]) -> None:
        """Put traces into the queue; raises ServerError, and adds none, where one isn't in the queue's experiment."""
        self._rest.call("POST", QUEUES + "items/add", {"queue_id": queue_id, "item_ids": list(item_ids)})

    def set_queue_item_status(self, queue_id: str, item: Json) -> None:
        keys = ("item_id", "status", "completed_by")
        body = {"queue_id": queue_id, **{key: item[key] for key in keys if item.get(key)}}
        self._rest.call("POST", QUEUES + "items/set-status", body)

    def _one(self, route: str, query: dict[str, str], field: str) -> Json | None:
        return next(self._of_active(self._asked(route, query, field)), None)

    def _of_active(self, found: Iterator[Json]) -> Iterator[Json]:
        """What an experiment has; nothing where it is deleted, for then MLflow gives none of it."""
        try:
            yield from self._features.listed(found)
        except ServerError as error:
            if error.code != pages.GONE:
                raise

    def _asked(self, route: str, query: dict[str, str], field: str) -> Iterator[Json]:
        yield self._rest.call("GET", route, query=query)[field]
