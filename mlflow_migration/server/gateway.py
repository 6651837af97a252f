"""The AI gateway over REST (`/api/3.0/mlflow/gateway`): endpoints, models, guardrails, budgets; secrets by name."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.features import Features
from mlflow_migration.server.rest import Look, Rest

GATEWAY = pages.V3 + "gateway/"
PER_PAGE = 1000


class Gateway:
    """Implements `GatewayCalls`. A server before MLflow 3.10, or with the gateway switched off, has none of it."""

    def __init__(self, rest: Rest, features: Features) -> None:
        self._rest = rest
        self._features = features

    def list_secrets(self) -> Iterator[Json]:
        """What MLflow tells of the secrets: masked values among it, never the values."""
        return self._listed("secrets/list", "secrets")

    def list_model_definitions(self) -> Iterator[Json]:
        return self._listed("model-definitions/list", "model_definitions")

    def get_model_definition(self, model_definition_id: str) -> Json | None:
        query = {"model_definition_id": model_definition_id}
        return pages.get_or_none(self._rest, GATEWAY + "model-definitions/get", query, "model_definition")

    def create_model_definition(self, body: Json) -> Json:
        """The new model definition's head. Raises ServerError where the name is taken."""

        def look() -> Json | None:
            return next((head for head in self.list_model_definitions() if head["name"] == body["name"]), None)

        return self._create("model-definitions/create", body, "model_definition", look)

    def update_model_definition(self, model_definition_id: str, fields: Json) -> None:
        self._post("model-definitions/update", {"model_definition_id": model_definition_id, **fields})

    def list_endpoints(self) -> Iterator[Json]:
        """The endpoints; MLflow doesn't list those that have no model (found on 3.17.2)."""
        return self._listed("endpoints/list", "endpoints")

    def get_endpoint(self, endpoint_id: str) -> Json | None:
        return pages.get_or_none(self._rest, GATEWAY + "endpoints/get", {"endpoint_id": endpoint_id}, "endpoint")

    def create_endpoint(self, body: Json) -> Json:
        """The new endpoint's head. Raises ServerError where the name is taken."""

        def look() -> Json | None:
            return pages.get_or_none(self._rest, GATEWAY + "endpoints/get", {"name": body["name"]}, "endpoint")

        return self._create("endpoints/create", body, "endpoint", look)

    def update_endpoint(self, endpoint_id: str, fields: Json) -> None:
        self._post("endpoints/update", {"endpoint_id": endpoint_id, **fields})

    def set_endpoint_tag(self, endpoint_id: str, key: str, value: str) -> None:
        self._post("endpoints/set-tag", {"endpoint_id": endpoint_id, "key": key, "value": value})

    def list_bindings(self, endpoint_id: str) -> Iterator[Json]:
        """The scorers that are bound to an endpoint; only administrators may list those of all (found on 3.17.2)."""
        query = {"endpoint_id": endpoint_id}
        return self._features.listed(pages.pages(self._rest, GATEWAY + "endpoints/bindings/list", query, "bindings"))

    def create_binding(self, body: Json, look: Look) -> None:
        pages.post(self._rest, GATEWAY + "endpoints/bindings/create", body, look)

    def list_guardrails(self) -> Iterator[Json]:
        """The guardrails, which only administrators may list (found on 3.17.2)."""
        return self._listed("guardrails/list", "guardrails")

    def get_guardrail(self, guardrail_id: str) -> Json | None:
        return pages.get_or_none(self._rest, GATEWAY + "guardrails/get", {"guardrail_id": guardrail_id}, "guardrail")

    def create_guardrail(self, body: Json, look: Look) -> Json:
        """The new guardrail's head; `look` finds one that a lost answer made."""
        return self._create("guardrails/create", body, "guardrail", look)

    def list_endpoint_guardrails(self, endpoint_id: str) -> Iterator[Json]:
        """The guardrails of an endpoint, each with its `execution_order`."""
        query = {"endpoint_id": endpoint_id}
        found = pages.pages(self._rest, GATEWAY + "guardrails/list-for-endpoint", query, "configs")
        return self._features.listed(found)

    def add_guardrail(self, body: Json) -> None:
        """Put a guardrail before or behind an endpoint."""

        def look() -> Json | None:
            here = self.list_endpoint_guardrails(body["endpoint_id"])
            return next((each for each in here if each["guardrail_id"] == body["guardrail_id"]), None)

        pages.post(self._rest, GATEWAY + "guardrails/add-to-endpoint", body, look)

    def reorder_guardrail(self, body: Json) -> None:
        """Set a guardrail's `execution_order` at an endpoint, or unset it where `body` has none."""
        self._rest.call("PATCH", GATEWAY + "guardrails/update-config", body)

    def list_budgets(self) -> Iterator[Json]:
        return self._listed("budgets/list", "budget_policies")

    def get_budget(self, budget_id: str) -> Json | None:
        return pages.get_or_none(self._rest, GATEWAY + "budgets/get", {"budget_policy_id": budget_id}, "budget_policy")

    def create_budget(self, body: Json, look: Look) -> Json:
        """The new budget's head; `look` finds one that a lost answer made."""
        return self._create("budgets/create", body, "budget_policy", look)

    def update_budget(self, budget_id: str, fields: Json) -> None:
        self._post("budgets/update", {"budget_policy_id": budget_id, **fields})

    def _listed(self, route: str, field: str) -> Iterator[Json]:
        # Only some of these listings have pages; the others give all at once and don't mind being asked.
        return self._features.listed(pages.pages(self._rest, GATEWAY + route, {"max_results": PER_PAGE}, field))

    def _create(self, route: str, body: Json, field: str, look: Look) -> Json:
        def found() -> Json | None:
            there = look()
            return {field: there} if there else None

        head: Json = pages.post(self._rest, GATEWAY + route, body, found)[field]
        return head

    def _post(self, route: str, body: Json) -> None:
        self._rest.call("POST", GATEWAY + route, body)
