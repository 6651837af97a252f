"""The parts of a Databricks workspace, and what it can do."""

from __future__ import annotations

from dataclasses import replace

from mlflow_migration.places import UNITY_CATALOG, WORKSPACE, Abilities, RegistryAbilities
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.address import DATABRICKS_UC
from mlflow_migration.server.databricks.artifacts import WorkspaceArtifacts
from mlflow_migration.server.databricks.notebooks import WorkspaceNotebooks
from mlflow_migration.server.parts import Parts, mlflow_parts
from mlflow_migration.server.rest import Rest

ME = "/api/2.0/preview/scim/v2/Me"
NO_ROUTES = "Databricks has no routes for them"
LACKS = {
    kind: NO_ROUTES
    for kind in (
        "evaluation_dataset",
        "gateway_budget",
        "gateway_endpoint",
        "gateway_guardrail",
        "gateway_model_definition",
        "gateway_secret",
        "grant",
        "issue",
        "label_schema",
        "mcp_server",
        "review_queue",
        "role",
        "user",
        "webhook",
        "workspace",
    )
}
UNITY_CATALOG_ABILITIES = RegistryAbilities(
    UNITY_CATALOG, three_levels=True, stages=False, version_files=True, needs_signature=True
)
WORKSPACE_ABILITIES = RegistryAbilities(WORKSPACE, aliases=False, version_files=True)


def databricks_parts(rest: Rest) -> Parts:
    """Those of a workspace, with the registry that its address names."""
    unity = rest.dialect == DATABRICKS_UC
    registry = UNITY_CATALOG_ABILITIES if unity else WORKSPACE_ABILITIES

    def connect() -> Abilities:
        me = caller(rest)
        pages.post(rest, pages.V2 + "experiments/search", {"max_results": 1, "view_type": "ALL"})
        return Abilities(
            bulk_history=False,
            proxied_artifacts=False,
            registry=registry,
            lacks=LACKS,
            home=f"/Users/{me['userName']}",
        )

    return replace(
        mlflow_parts(rest),
        connect=connect,
        files=WorkspaceArtifacts(rest),
        notebooks=WorkspaceNotebooks(rest),
    )


def caller(rest: Rest) -> Json:
    """Whom these credentials stand for: SCIM's user or service principal, with `userName` and `groups`."""
    return rest.call("GET", ME)
