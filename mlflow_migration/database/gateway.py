"""The AI gateway by MLflow's own reading of its tables: endpoints, models, guardrails, budgets; secrets by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from mlflow_migration.database.reading import Reading, as_json, or_none, paged
from mlflow_migration.records import Json

PER_PAGE = 1000


class Gateway:
    """The gateway of the workspace. Implements `GatewayReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    @property
    def _store(self) -> Any:
        return self._reading.tracking

    def list_secrets(self) -> Iterator[Json]:
        """What MLflow tells of the secrets: masked values among it, never the values."""
        return _heads(self._store.list_secret_infos())

    def list_model_definitions(self) -> Iterator[Json]:
        return _heads(self._store.list_gateway_model_definitions())

    def get_model_definition(self, model_definition_id: str) -> Json | None:
        return _head(or_none(lambda: self._store.get_gateway_model_definition(model_definition_id)))

    def list_endpoints(self) -> Iterator[Json]:
        """The endpoints that have a model, as a server lists them."""
        return _heads(self._store.list_gateway_endpoints())

    def get_endpoint(self, endpoint_id: str) -> Json | None:
        return _head(or_none(lambda: self._store.get_gateway_endpoint(endpoint_id)))

    def list_bindings(self, endpoint_id: str) -> Iterator[Json]:
        """The scorers that are bound to an endpoint."""
        return _heads(self._store.list_endpoint_bindings(endpoint_id))

    def list_guardrails(self) -> Iterator[Json]:
        return _heads(paged(partial(self._store.list_gateway_guardrails, max_results=PER_PAGE)))

    def get_guardrail(self, guardrail_id: str) -> Json | None:
        return _head(or_none(lambda: self._store.get_gateway_guardrail(guardrail_id)))

    def list_endpoint_guardrails(self, endpoint_id: str) -> Iterator[Json]:
        """The guardrails of an endpoint, each with its `execution_order`."""
        return _heads(self._store.list_endpoint_guardrail_configs(endpoint_id))

    def list_budgets(self) -> Iterator[Json]:
        return _heads(paged(partial(self._store.list_budget_policies, max_results=PER_PAGE)))

    def get_budget(self, budget_id: str) -> Json | None:
        return _head(or_none(lambda: self._store.get_budget_policy(budget_id)))


def _heads(found: Iterable[Any]) -> Iterator[Json]:
    return (as_json(each.to_proto()) for each in found)


def _head(found: Any) -> Json | None:
    return None if found is None else as_json(found.to_proto())
