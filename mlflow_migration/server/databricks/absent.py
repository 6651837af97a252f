"""What MLflow servers may have and a Databricks workspace never has: nothing is asked for it."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.records import Json
from mlflow_migration.server.gateway import Gateway
from mlflow_migration.server.users import Users
from mlflow_migration.server.workspaces import Workspaces


class NoUsers(Users):
    """Implements `UserCalls`."""

    def exist(self) -> bool:
        return False


class NoWorkspaces(Workspaces):
    """Implements `WorkspaceCalls`."""

    def exist(self) -> bool:
        return False


class NoGateway(Gateway):
    """Implements `GatewayCalls`."""

    def list_endpoints(self) -> Iterator[Json]:
        return iter(())

    def get_endpoint(self, endpoint_id: str) -> Json | None:
        return None
