"""MLflow as an app: what deploys it and looks after it, and `runtime`, which runs inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_migration.apps.functions import create, delete, update

__all__ = ["create", "delete", "update"]


def __getattr__(name: str) -> Any:
    # The runtime is a part of this package too, and is to import nothing of what deploys it.
    if name not in __all__:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module("mlflow_migration.apps.functions"), name)
