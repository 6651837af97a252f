"""Apps for programs and notebooks: `create()`, `update()` and `delete()`.

    from mlflow_migration.apps import create

    create("mlflow-app.yml", profile="PROD")
    create(app_name="tracking", volume="/Volumes/main/mlflow/app", app_compute="MEDIUM")

An argument is given here or in the file, never in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from typing_extensions import Unpack

from mlflow_migration.apps import deploy, health, lifecycle
from mlflow_migration.apps.config import AppConfig, raw, with_arguments
from mlflow_migration.apps.deploy import Options, Outcome
from mlflow_migration.errors import UsageError
from mlflow_migration.server.address import DATABRICKS, Credentials
from mlflow_migration.server.databricks.address import of_config

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

PATIENCE = 120.0
COMPUTE = {"CU_1": 1, "CU_2": 2, "CU_4": 4, "CU_8": 8}
"""The sizes that provisioned instances have, as compute units."""


class AppArguments(TypedDict, total=False):
    """What may be given in place of a file; None is as good as nothing. `app_version` is MLflow's version.

    `encryption_key`: the passphrase MLflow encrypts stored credentials with, where there is one already; it becomes the
    secret where there is none yet. `client`: whose login is used, in place of a `profile`.
    """

    app_name: str
    app_version: str
    backend: str
    volume: str
    artifacts: str
    description: str
    app_compute: str
    app_file_workspace_path: str
    lakebase_name: str
    schema_name: str
    lakebase_compute: str
    use_test_pypi: bool
    encryption_key: str | None
    client: WorkspaceClient | None
    profile: str
    tell: Callable[[str], object]
    dry_run: bool


class Made(TypedDict):
    """What `create` and `update` return."""

    url: str
    app_name: str
    lakebase_name: str
    schema_name: str
    deployment_id: str
    status: str
    database_reset: bool


class Deleted(TypedDict):
    """What `delete` returns."""

    app_name: str
    status: str
    database_reset: bool


def create(config_yaml_path: str | Path | None = None, **given: Unpack[AppArguments]) -> Made:
    """Make an app of a file, of arguments, or of both.

    Returns its URL, names, deployment and `status`: created, updated or same. Raises MigrationError with what is wrong:
    UsageError, ForbiddenError and AccessError before anything was begun.
    """
    return _made(config_yaml_path, given, False, False)


def update(
    config_yaml_path: str | Path | None = None, *, reset_database: bool = False, **given: Unpack[AppArguments]
) -> Made:
    """Make an app what file and arguments say; with `reset_database` its schema of lakebase is dropped first.

    Returns and raises as `create` does; a deployment that failed has been gone back from by then.
    """
    return _made(config_yaml_path, given, True, reset_database)


def delete(
    config_yaml_path: str | Path | None = None,
    *,
    delete_data: bool = False,
    reset_database: bool = False,
    **given: Unpack[AppArguments],
) -> Deleted:
    """Delete an app, with `reset_database` its schema of lakebase, and with `delete_data` all it kept.

    Returns `status` deleted, or same for one that wasn't there.

    Raises MigrationError, and UsageError where the data is to go and nothing says where it is.
    """
    name = _known("delete", given).get("app_name") or ""
    is_named_alone = config_yaml_path is None and not arguments(given).keys() - {"name"}
    if is_named_alone and (delete_data or reset_database):
        asked = "delete_data" if delete_data else "reset_database"
        raise UsageError(f"{asked} needs the configuration", "it says where the data is", "give config_yaml_path")
    config = lifecycle.by_name(name) if is_named_alone else configured(config_yaml_path, given)
    with closing((place := _opened(given)).rest):
        outcome = _whole(lifecycle.delete(place, config, _options(given, reset_database), delete_data))
    return {"app_name": outcome.app_name, "status": outcome.status, "database_reset": outcome.database_reset}


def configured(path: str | Path | None, given: AppArguments) -> AppConfig:
    """The configuration of a file and arguments. Raises UsageError where one thing is said twice, or anything wrong."""
    content, told = raw(Path(path)) if path else {}, arguments(given)
    if given.get("lakebase_name") and "backend" not in {*content, *told}:
        told["backend"] = "lakebase"
    return with_arguments(content, told, str(path or "the arguments"))


def arguments(given: AppArguments) -> dict[str, Any]:
    """Arguments as a configuration has them."""
    told: Mapping[str, Any] = {
        "name": given.get("app_name"),
        "mlflow": given.get("app_version"),
        "backend": given.get("backend"),
        "volume": given.get("volume"),
        "artifacts": given.get("artifacts"),
        "description": given.get("description"),
        "compute": given.get("app_compute"),
        "workspace_path": given.get("app_file_workspace_path"),
        "lakebase": _lakebase(given) or None,
        "package": {"test_index": True} if given.get("use_test_pypi") else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _lakebase(given: AppArguments) -> dict[str, Any]:
    size = given.get("lakebase_compute")
    if size is not None and size not in COMPUTE:
        raise UsageError(f"lakebase_compute is {size!r}", f"it can be {', '.join(COMPUTE)}")
    told = {
        "project": given.get("lakebase_name"),
        "schema": given.get("schema_name"),
        "max_cu": COMPUTE[size] if size else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def _made(path: str | Path | None, given: AppArguments, expects: bool, reset: bool) -> Made:
    config = configured(path, _known("update" if expects else "create", given))
    with closing((place := _opened(given)).rest):
        outcome = _whole(deploy.deploy(place, config, _options(given, reset), expects))
    return {
        "url": outcome.url,
        "app_name": outcome.app_name,
        "lakebase_name": outcome.lakebase_name,
        "schema_name": outcome.schema_name,
        "deployment_id": outcome.deployment_id,
        "status": outcome.status,
        "database_reset": outcome.database_reset,
    }


def _known(function: str, given: AppArguments) -> AppArguments:
    """The arguments. Raises TypeError for one there is none of, as any function does: a misspelt one isn't ignored."""
    if unknown := sorted(given.keys() - AppArguments.__annotations__.keys()):
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown[0]!r}")
    return given


def _options(given: AppArguments, reset: bool = False) -> Options:
    return Options(
        dry_run=bool(given.get("dry_run")),
        reset_database=reset,
        passphrase=given.get("encryption_key") or "",
        tell=given.get("tell") or Options().tell,
    )


def _opened(given: AppArguments) -> health.Workspace:
    profile, client = given.get("profile"), given.get("client")
    if profile and client:
        raise UsageError("give client or profile, not both", "each says who logs in, and where")
    credentials = Credentials(databricks=(of_config(client.config),)) if client else Credentials()
    return health.opened(f"{DATABRICKS}://{profile}" if profile else DATABRICKS, credentials, PATIENCE)


def _whole(outcome: Outcome) -> Outcome:
    if outcome.failure:
        raise outcome.failure
    return outcome
