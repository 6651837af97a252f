"""Modules that commands work with, imported when they are first used: `--help` and `--version` need none of them.

`from mlflow_migration.cli.later import jobs` gives what stands for the module `mlflow_migration.cli.jobs`; its first
attribute that is asked for imports it. Type checkers and the linter of layers see plain imports.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_migration import check_access, compare, leftovers, objects, pipeline, submitting
    from mlflow_migration.apps import (
        channel,
        client,
        data,
        deploy,
        elsewhere,
        health,
        lifecycle,
        local,
        logs,
        opened,
        permissions,
        platform,
        questions,
        render,
        resources,
        restore,
        seed,
        snapshot,
        status,
    )
    from mlflow_migration.bundle import layout
    from mlflow_migration.cicd import access, proof, steps, workflows
    from mlflow_migration.cli import copies, jobs, opening, spreading
    from mlflow_migration.engine import config, id_map, ledger, naming, parallel, principals, progress, samples
    from mlflow_migration.governance import auditing, environments, findings, inventory, lineage, settings, trend
    from mlflow_migration.objects import filtered, needed, registry, rewritten, run, run_notebooks, signature, versions
    from mlflow_migration.promotion import (
        approvals,
        audit_forms,
        facts,
        flow,
        history,
        policy,
        rollback,
        step,
        watch,
        webhooks,
    )
    from mlflow_migration.server import live, pages

__all__ = [
    "access",
    "approvals",
    "audit_forms",
    "auditing",
    "channel",
    "check_access",
    "client",
    "compare",
    "config",
    "copies",
    "data",
    "deploy",
    "elsewhere",
    "environments",
    "facts",
    "filtered",
    "findings",
    "flow",
    "health",
    "history",
    "id_map",
    "inventory",
    "jobs",
    "layout",
    "ledger",
    "leftovers",
    "lifecycle",
    "lineage",
    "live",
    "local",
    "logs",
    "naming",
    "needed",
    "objects",
    "opened",
    "opening",
    "pages",
    "parallel",
    "permissions",
    "pipeline",
    "platform",
    "policy",
    "principals",
    "progress",
    "proof",
    "questions",
    "registry",
    "render",
    "resources",
    "restore",
    "rewritten",
    "rollback",
    "run",
    "run_notebooks",
    "samples",
    "seed",
    "settings",
    "signature",
    "snapshot",
    "spreading",
    "status",
    "step",
    "steps",
    "submitting",
    "trend",
    "versions",
    "watch",
    "webhooks",
    "workflows",
]
_FOLDERS = {
    "": (
        "check_access",
        "compare",
        "leftovers",
        "objects",
        "pipeline",
        "submitting",
    ),
    "apps.": (
        "channel",
        "client",
        "data",
        "deploy",
        "elsewhere",
        "health",
        "lifecycle",
        "local",
        "logs",
        "opened",
        "permissions",
        "platform",
        "questions",
        "render",
        "resources",
        "restore",
        "seed",
        "snapshot",
        "status",
    ),
    "bundle.": ("layout",),
    "cicd.": (
        "access",
        "proof",
        "steps",
        "workflows",
    ),
    "cli.": (
        "copies",
        "jobs",
        "opening",
        "spreading",
    ),
    "engine.": (
        "config",
        "id_map",
        "ledger",
        "naming",
        "parallel",
        "principals",
        "progress",
        "samples",
    ),
    "governance.": (
        "auditing",
        "environments",
        "findings",
        "inventory",
        "lineage",
        "settings",
        "trend",
    ),
    "objects.": (
        "filtered",
        "needed",
        "registry",
        "rewritten",
        "run",
        "run_notebooks",
        "signature",
        "versions",
    ),
    "promotion.": (
        "approvals",
        "audit_forms",
        "facts",
        "flow",
        "history",
        "policy",
        "rollback",
        "step",
        "watch",
        "webhooks",
    ),
    "server.": (
        "live",
        "pages",
    ),
}


class _Later(ModuleType):
    """Stands for the module of its name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def module(name: str) -> ModuleType:
    """What stands for a module whose last name another one here has already."""
    return _Later(name)


globals().update(
    {name: _Later(f"mlflow_migration.{folder}{name}") for folder, names in _FOLDERS.items() for name in names}
)
