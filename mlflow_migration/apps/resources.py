"""What an app is bound to, and its other fields: what the configuration says in the words of the Apps API.

A resource gives the app's service principal its rights, and `app.yaml` its value by the resource's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_migration.apps.config import AppConfig
from mlflow_migration.apps.lakebase import Connection
from mlflow_migration.apps.secrets import scope_of
from mlflow_migration.errors import UsageError
from mlflow_migration.records import Json

VOLUME, ARTIFACTS, PASSPHRASE, DATABASE = "volume", "artifacts", "passphrase", "database"
"""Names of the resources that every configuration brings along, as far as it needs them."""


def volumes(config: AppConfig) -> dict[str, str]:
    """The Volumes by the names of their resources: full names, CATALOG.SCHEMA.VOLUME."""
    found = {VOLUME: volume_of(config.volume), ARTIFACTS: volume_of(config.artifacts.removeprefix("dbfs:"))}
    if found[ARTIFACTS] == found[VOLUME]:
        del found[ARTIFACTS]
    return {name: volume for name, volume in found.items() if volume}


def volume_of(path: str) -> str:
    """The full name of the Volume a path is in, "" for any other path."""
    told = re.match(r"/Volumes/([^/]+)/([^/]+)/([^/]+)(?:/|$)", path)
    return ".".join(told.groups()) if told else ""


def of(config: AppConfig, database: Connection | None) -> list[Json]:
    """All resources of an app."""
    found: list[Json] = [
        {
            "name": name,
            "uc_securable": {"securable_full_name": volume, "securable_type": "VOLUME", "permission": "WRITE_VOLUME"},
        }
        for name, volume in volumes(config).items()
    ]
    secret = {"scope": scope_of(config), "key": config.encryption.key, "permission": "READ"}
    found.append({"name": PASSPHRASE, "secret": secret})
    if database:
        found.append({"name": DATABASE, **database.resource})
    return [*found, *map(dict, config.resources)]


def check(config: AppConfig) -> None:
    """Raise UsageError where a resource has no name, or two have the same."""
    own = [*volumes(config), PASSPHRASE, *([DATABASE] if config.backend == "lakebase" else [])]
    names = [*own, *(str(each.get("name") or "") for each in config.resources)]
    faults = [f"{name or 'one without a name'} is there twice" for name in names if names.count(name) > 1]
    if "" in names:
        faults.append("each needs a name")
    if faults:
        hint = f"names of the app's own: {', '.join(own)}"
        raise UsageError("resources are wrong", "; ".join(dict.fromkeys(faults)), hint)


def fields(config: AppConfig, database: Connection | None) -> Json:
    """The fields of an app that its configuration says.

    With `sqlite` it is one instance, always: a second one would write a database of its own.
    """
    told: Json = {
        "description": config.description,
        "compute_size": config.compute,
        "resources": of(config, database),
    }
    return {**told, "compute_min_instances": 1, "compute_max_instances": 1} if config.backend == "sqlite" else told


def changed(app: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """The names of the fields that aren't yet as they are told. What the platform adds to one doesn't count."""
    return [name for name, value in told.items() if not _holds(app.get(name), value)]


def before(app: Mapping[str, Any], names: Sequence[str]) -> Json:
    """What these fields of an app are now; what it has none of is None."""
    return {name: app.get(name) for name in names}


def _holds(shown: object, told: object) -> bool:
    if isinstance(told, Mapping):
        return isinstance(shown, Mapping) and all(_holds(shown.get(key), value) for key, value in told.items())
    if isinstance(told, list):
        there = shown if isinstance(shown, list) else []
        return len(there) == len(told) and all(any(_holds(each, one) for each in there) for one in told)
    return shown == told
