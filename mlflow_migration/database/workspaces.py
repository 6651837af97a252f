"""Workspaces straight from their table; who may do what is in a database of its own, and nothing is hidden here."""

from __future__ import annotations

import sqlalchemy as sa

from mlflow_migration.database.connect import DEFAULT_WORKSPACE
from mlflow_migration.database.reading import Reading
from mlflow_migration.records import Json


class Workspaces:
    """Implements `WorkspaceReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def at_default(self) -> bool:
        """Whether what is read is what lies in the default workspace."""
        return self._reading.workspace == DEFAULT_WORKSPACE

    def exist(self) -> bool:
        """Whether there is another workspace than the one that every database has."""
        return any(head["name"] != DEFAULT_WORKSPACE for head in self.list_workspaces())

    def list_workspaces(self) -> list[Json]:
        """Every workspace, by name."""
        return self._heads(sa.true())

    def get_workspace(self, name: str) -> Json | None:
        return next(iter(self._heads(self._reading.tables["workspaces"].c.name == name)), None)

    def _heads(self, which: sa.ColumnElement[bool]) -> list[Json]:
        from mlflow.store.workspace.dbmodels.models import SqlWorkspace

        from mlflow_migration.database.reading import as_json

        with self._reading.session() as session:
            rows = session.query(SqlWorkspace).filter(which).order_by(SqlWorkspace.name).all()
            return [as_json(row.to_mlflow_entity().to_proto()) for row in rows]


class Users:
    """MLflow's basic-auth keeps its users in a database of its own: here are none. Implements `UserReads`."""

    def __init__(self, reading: Reading) -> None:
        self.workspace = reading.workspace

    def exist(self) -> bool:
        return False

    def list_users(self) -> list[Json]:
        return []

    def list_roles(self) -> list[Json]:
        return []

    def resource_names(self, resource_type: str) -> dict[str, str]:
        return {}


class Rights:
    """Whoever reads the tables reads all of them. Implements `RightsReads`."""

    def denied(self, kind: str) -> tuple[str, ...]:
        return ()

    def are_limited(self) -> bool:
        return False
