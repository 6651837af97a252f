"""The areas beside files and tracking: Unity Catalog, registries, permissions, secrets, jobs."""

from collections.abc import Callable

from starlette.routing import BaseRoute

from tests.databricks import (
    apps,
    grants,
    jobs,
    lakebase,
    lakebase_instances,
    permissions,
    prompts,
    secrets,
    uc_models,
    unity_catalog,
    unity_catalog_registry,
    workspace_registry,
)
from tests.databricks.state import Workspace

AREAS: tuple[Callable[[Workspace], list[BaseRoute]], ...] = (
    unity_catalog.routes,
    uc_models.routes,
    grants.routes,
    unity_catalog_registry.routes,
    workspace_registry.routes,
    prompts.routes,
    permissions.routes,
    secrets.routes,
    jobs.routes,
    apps.routes,
    lakebase.routes,
    lakebase_instances.routes,
)
