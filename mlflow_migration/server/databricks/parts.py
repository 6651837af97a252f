"""The parts of a Databricks workspace, and what it can do."""

from __future__ import annotations

from dataclasses import replace

from mlflow_migration.places import UNITY_CATALOG, WORKSPACE, Abilities, RegistryAbilities, TagRules
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.address import DATABRICKS_UC
from mlflow_migration.server.databricks import absent
from mlflow_migration.server.databricks.artifacts import WorkspaceArtifacts
from mlflow_migration.server.databricks.hidden import Hidden
from mlflow_migration.server.databricks.logged_models import WorkspaceModels
from mlflow_migration.server.databricks.notebooks import WorkspaceNotebooks
from mlflow_migration.server.databricks.permissions import AccessLists
from mlflow_migration.server.databricks.tag_keys import RESERVED
from mlflow_migration.server.databricks.traces import WorkspaceTraces
from mlflow_migration.server.databricks.tracking import WorkspaceTracking
from mlflow_migration.server.databricks.unity_catalog import UnityCatalog
from mlflow_migration.server.databricks.version_files import CatalogFiles, VersionFiles, WorkspaceFiles
from mlflow_migration.server.databricks.workspace_registry import WorkspaceRegistry
from mlflow_migration.server.features import Features
from mlflow_migration.server.histories import Histories
from mlflow_migration.server.parts import Parts, mlflow_parts
from mlflow_migration.server.rest import Rest

METASTORE = "/api/2.1/unity-catalog/metastore_summary"
ME = "/api/2.0/preview/scim/v2/Me"
NO_ROUTES = "Databricks has no such kind"
GROUPS = "Databricks has groups in place of roles, which are its account's"
LACKS = {
    "evaluation_dataset": "Databricks keeps them as tables of Unity Catalog, made by its own library",
    "gateway_budget": NO_ROUTES,
    "gateway_endpoint": "Databricks serves models by endpoints of its own",
    "gateway_guardrail": NO_ROUTES,
    "gateway_model_definition": NO_ROUTES,
    "gateway_secret": "Databricks keeps secrets in scopes of its own",
    "issue": NO_ROUTES,
    "label_schema": "Databricks keeps them in labeling sessions, made by its own library",
    "mcp_server": NO_ROUTES,
    "review_queue": "Databricks has labeling sessions in their place, made by its own library",
    "role": GROUPS,
    "scorer": "Databricks keeps them by its own library",
    "webhook": NO_ROUTES,
    "workspace": "a Databricks workspace has none in it",
}
NO_PROMPTS = "a workspace's own registry has none: databricks-uc:// has"
UNITY_CATALOG_ABILITIES = RegistryAbilities(
    UNITY_CATALOG,
    three_levels=True,
    stages=False,
    version_files=True,
    needs_signature=True,
    # docs.databricks.com, "Apply tags to Unity Catalog securable objects".
    tags=TagRules(RESERVED, key=255, value=1000, most=50),
)
WORKSPACE_ABILITIES = RegistryAbilities(WORKSPACE, aliases=False, version_files=True)


def databricks_parts(rest: Rest, folder: str) -> Parts:
    """Those of a workspace, with the registry that its address names."""
    unity = rest.dialect == DATABRICKS_UC
    hidden = Hidden()
    forms = WorkspaceTracking(rest, (folder or rest.folder).rstrip("/"))

    def connect() -> Abilities:
        home = f"/Users/{caller(rest)['userName']}"
        forms.folder = forms.folder or home
        pages.post(rest, pages.V2 + "experiments/search", {"max_results": 1, "view_type": "ALL"})
        return Abilities(
            bulk_history=False,
            proxied_artifacts=False,
            registry=_of_catalog(rest) if unity else WORKSPACE_ABILITIES,
            lacks=LACKS if unity else {**LACKS, **dict.fromkeys(("prompt", "prompt_version"), NO_PROMPTS)},
            home=home,
        )

    return replace(
        mlflow_parts(rest),
        connect=connect,
        access_lists=AccessLists(rest, unity),
        registry=UnityCatalog(rest, hidden) if unity else WorkspaceRegistry(rest),
        files=VersionFiles(WorkspaceArtifacts(rest), CatalogFiles(rest) if unity else WorkspaceFiles(rest)),
        forms=forms,
        histories=Histories(rest, bulk=False),
        notebooks=WorkspaceNotebooks(rest),
        traces=WorkspaceTraces(rest),
        models=WorkspaceModels(rest, forms),
        rights=hidden,
        workspaces=absent.NoWorkspaces(rest),
        users=absent.NoUsers(rest),
        gateway=absent.NoGateway(rest, Features(rest)),
    )


def _of_catalog(rest: Rest) -> RegistryAbilities:
    """What Unity Catalog can do, and which metastore it is."""
    found = rest.call("GET", METASTORE)
    return replace(UNITY_CATALOG_ABILITIES, metastore=str(found.get("metastore_id", "")))


def caller(rest: Rest) -> Json:
    """Whom these credentials stand for: SCIM's user or service principal, with `userName` and `groups`."""
    return rest.call("GET", ME)
