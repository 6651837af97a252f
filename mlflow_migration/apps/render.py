"""The files of an app's source: `app.yaml`, `requirements.txt`, and what lies beside them.

`app.yaml` holds what Databricks' page "Configure a Databricks app's execution with app.yaml" describes: a command that
no shell sees, and variables with a value or the key of a resource. Nothing secret stands in any file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import yaml

from mlflow_migration.apps.config import KEK, AppConfig, FromResource
from mlflow_migration.errors import UsageError

COMMAND = ("python", "-m", "mlflow_migration.apps.runtime")
LARGEST_FILE = 10 * 1024**2
"""A larger file fails the whole deployment."""
UI_FOLDER = "mlflow_ui"
"""Beside `app.yaml`: MLflow's pages, where the package that is installed has none."""


@dataclass(frozen=True)
class Packages:
    """What is installed in the app: the lines of `requirements.txt`, files they name, and what a person should hear.

    `channel.packages(config)` makes it; `mlflow` is the version, or the address, that `latest` or a branch came to.
    """

    mlflow: str
    requirements: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Database:
    """The PostgreSQL of `lakebase`: `endpoint` (projects/P/branches/B/endpoints/E) or `instance` gives passwords.

    `host` and `user` are for where no resource of the app brings PGHOST and PGUSER along.
    """

    endpoint: str = ""
    instance: str = ""
    host: str = ""
    user: str = ""


@dataclass(frozen=True)
class Deployment:
    """What the configuration can't know: what is installed, and what the platform gave the app.

    `url` is the app's address. `passphrase_key` and `volume_key` are keys of the app's resources, "" where it has none.
    """

    packages: Packages
    url: str = ""
    passphrase_key: str = ""
    volume_key: str = ""
    database: Database | None = None


def render(config: AppConfig, deployment: Deployment) -> dict[str, bytes]:
    """Every file of the app's source by its path there.

    Raises UsageError where one is larger than the platform takes.
    """
    files = {
        "app.yaml": app_yaml(config, deployment).encode(),
        "requirements.txt": "".join(f"{line}\n" for line in deployment.packages.requirements).encode(),
        **deployment.packages.files,
    }
    large = [f"{name}: {len(content)} bytes" for name, content in sorted(files.items()) if len(content) > LARGEST_FILE]
    if large:
        raise UsageError("files are too large for an app", f"{'; '.join(large)}; {LARGEST_FILE} at most")
    return files


def app_yaml(config: AppConfig, deployment: Deployment) -> str:
    """The text of `app.yaml`."""
    env: list[dict[str, str]] = []
    for name, value in {**variables(config, deployment), **config.environment}.items():
        if isinstance(value, FromResource):
            env.append({"name": name, "valueFrom": value.value_from})
        else:
            env.append({"name": name, "value": value})
    return yaml.safe_dump({"command": list(COMMAND), "env": env}, sort_keys=False, allow_unicode=True, width=1000)


def variables(config: AppConfig, deployment: Deployment) -> dict[str, str | FromResource]:
    """The runtime's variables (docs/explanation/app-runtime.md, "Settings"); defaults stand there too, as they are."""
    told: dict[str, str | FromResource] = {
        "MLFLOW_APP_BACKEND": config.backend,
        "MLFLOW_APP_WORKERS": str(config.workers),
        "MLFLOW_APP_REQUIRE_IDENTITY": _truth(config.require_identity),
        "MLFLOW_APP_JOB_EXECUTION": _truth(config.job_execution),
    }
    if config.volume:
        told["MLFLOW_APP_VOLUME"] = _volume(config.volume, deployment.volume_key)
    if config.artifacts:
        told["MLFLOW_APP_ARTIFACTS"] = config.artifacts
    if hosts := _hosts(config, deployment.url):
        told["MLFLOW_APP_ALLOWED_HOSTS"] = ",".join(hosts)
    if config.experiment_prefix:
        told["MLFLOW_APP_EXPERIMENT_PREFIX"] = config.experiment_prefix
    if config.backend == "sqlite":
        told["MLFLOW_APP_SNAPSHOT_SECONDS"] = f"{config.snapshots.seconds:g}"
        told["MLFLOW_APP_KEEP"] = str(config.snapshots.keep)
        told["MLFLOW_APP_KEEP_DAYS"] = str(config.snapshots.keep_days)
    if config.backend == "lakebase":
        told |= _database(config, deployment.database or Database())
    if any(name.startswith(f"{UI_FOLDER}/") for name in deployment.packages.files):
        told["MLFLOW_APP_UI"] = UI_FOLDER
    if deployment.passphrase_key:
        told[KEK] = FromResource(value_from=deployment.passphrase_key)
    return told


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _volume(path: str, key: str) -> str | FromResource:
    """A resource gives the Volume's own path; a folder in it has to be named."""
    whole = re.fullmatch(r"/Volumes/[^/]+/[^/]+/[^/]+/?", path)
    return FromResource(value_from=key) if key and whole else path


def _hosts(config: AppConfig, url: str) -> list[str]:
    own = urlsplit(url if "://" in url or not url else f"https://{url}").netloc
    return list(dict.fromkeys([*([own] if own else []), *config.allowed_hosts]))


def _database(config: AppConfig, database: Database) -> dict[str, str]:
    lakebase = config.lakebase_or_default
    told = {
        "MLFLOW_APP_LAKEBASE_ENDPOINT": database.endpoint,
        "MLFLOW_APP_LAKEBASE_INSTANCE": database.instance or lakebase.instance,
        "MLFLOW_APP_DATABASE": lakebase.database,
        "MLFLOW_APP_SCHEMA": lakebase.schema_name,
        "PGHOST": database.host,
        "PGUSER": database.user,
    }
    return {name: value for name, value in told.items() if value}
