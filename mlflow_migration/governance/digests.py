"""Whether a version's files are those that were recorded when it was promoted."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.governance.environments import Environments
from mlflow_migration.records import Json


def differences(environments: Environments, name: str, head: Json) -> Iterator[str]:
    """How the files of a version differ from what its promotions recorded."""
    yield from ()
