"""What an app's service principal may do beyond its resources, and who may use the app."""

from __future__ import annotations

from urllib.parse import quote

from mlflow_migration.apps import resources, volume_rights
from mlflow_migration.apps.config import AppConfig, Grant
from mlflow_migration.apps.steps import DONE, SAME, TOLD, Steps
from mlflow_migration.errors import ConflictError, ForbiddenError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks import workspace_files
from mlflow_migration.server.databricks.permissions import FIELDS, ROUTE
from mlflow_migration.server.databricks.principals import GROUP, SERVICE_PRINCIPAL, USER
from mlflow_migration.server.rest import Rest

STEP = "rights"
EDIT = "CAN_EDIT"
OF_MODELS = "USE CATALOG, USE SCHEMA, CREATE MODEL, EXECUTE, CREATE MODEL VERSION, APPLY TAG"
"""What registering and loading models takes in Unity Catalog (check-access, `import`)."""


def give(rest: Rest, config: AppConfig, client_id: str, steps: Steps, dry_run: bool = False) -> None:
    """Give the app what it lacks, or with `dry_run` tell it. Raises ForbiddenError with the statements that somebody
    else has to type."""
    for volume in resources.volumes(config).values():
        lacking = volume_rights.missing(rest, volume, client_id)
        if not dry_run:
            volume_rights.give(rest, client_id, lacking)
        words = ", ".join(privilege for privilege, _ in lacking)
        steps.add(STEP, f"Volume {volume}", DONE if lacking else SAME, words)
    if config.backend == "databricks":
        _experiments(rest, config, client_id, steps, dry_run)
    if config.permissions:
        _users(rest, config, steps, dry_run)


def _experiments(rest: Rest, config: AppConfig, client_id: str, steps: Steps, dry_run: bool) -> None:
    """The app's own experiments are its; those of others are where the folder says."""
    steps.add(
        STEP, f"Unity Catalog for {client_id}", TOLD, f"the app's users act as it: grant {OF_MODELS} where models are"
    )
    if not config.experiment_prefix:
        return
    if not dry_run:
        workspace_files.mkdirs(rest, config.experiment_prefix)
    head = workspace_files.status(rest, config.experiment_prefix)
    if head is None and dry_run:
        steps.add(STEP, f"{EDIT} on {config.experiment_prefix}")
        return
    if head is None:
        raise ConflictError(f"there is no folder {config.experiment_prefix}", "it was made, and is gone again")
    wanted = {"service_principal_name": client_id, "permission_level": EDIT}
    added = _add(rest, f"directories/{quote(str(head['object_id']))}", [wanted], dry_run)
    steps.add(STEP, f"{EDIT} on {config.experiment_prefix}", DONE if added else SAME)


def _users(rest: Rest, config: AppConfig, steps: Steps, dry_run: bool) -> None:
    """Who may use or manage it; nobody loses anything."""
    wanted = [_row(grant) for grant in config.permissions]
    added = _add(rest, f"apps/{quote(config.name)}", wanted, dry_run)
    steps.add("permissions", config.name, DONE if added else SAME, f"{added} of {len(wanted)} given")


def _row(grant: Grant) -> Json:
    told = {USER: grant.user, GROUP: grant.group, SERVICE_PRINCIPAL: grant.service_principal}
    named = {FIELDS[type_]: name for type_, name in told.items() if name}
    return {**named, "permission_level": grant.level}


def _add(rest: Rest, target: str, wanted: list[Json], dry_run: bool) -> int:
    """Give what isn't given yet, in one request; how many that are."""
    try:
        there = rest.call("GET", ROUTE + target).get("access_control_list", ())
    except ForbiddenError as error:
        raise ForbiddenError(f"permissions on {target} may not be given", error.why, "ask for CAN_MANAGE") from error
    lacking = [row for row in wanted if not any(_gives(each, row) for each in there)]
    if lacking and not dry_run:
        rest.call("PATCH", ROUTE + target, {"access_control_list": lacking})
    return len(lacking)


def _gives(shown: Json, wanted: Json) -> bool:
    level = wanted["permission_level"]
    is_same = all(shown.get(key) == value for key, value in wanted.items() if key != "permission_level")
    return is_same and any(each.get("permission_level") == level for each in shown.get("all_permissions", ()))
