"""Logged models of a workspace: MLflow's routes, and its runs as the workspace shows them."""

from __future__ import annotations

from mlflow_migration.records import Json
from mlflow_migration.server.databricks.tracking import WorkspaceTracking
from mlflow_migration.server.logged_models import LoggedModels
from mlflow_migration.server.rest import Rest


class WorkspaceModels(LoggedModels):
    """Implements `LoggedModelCalls`."""

    def __init__(self, rest: Rest, forms: WorkspaceTracking) -> None:
        super().__init__(rest)
        self._forms = forms

    def with_inputs(self, run: Json) -> Json:
        """A run with the models it took in, which `runs/search` leaves out."""
        return self._forms.run_in(super().with_inputs(run))
