"""Back to the deployment before one that failed: the app's fields, its files, and what runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_migration.apps import platform, running, upload, wait
from mlflow_migration.apps.health import Workspace
from mlflow_migration.apps.steps import DONE, FAILED, SAME, Steps
from mlflow_migration.apps.wait import Waiting
from mlflow_migration.errors import InterruptedJobError, MigrationError
from mlflow_migration.records import Json

STEP = "go back"


@dataclass(frozen=True)
class Previous:
    """What there was: the deployment that ran (`id` "" for none), the files it came from, fields that were changed."""

    source: upload.Source
    id: str = ""
    artifacts: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)

    @property
    def has_files(self) -> bool:
        """Whether the files of that deployment are those that were in the folder: others may have been put there since,
        and a start deploys the platform's copy."""
        return bool(self.source.files) and self.source.deployment == self.id

    @property
    def place(self) -> str:
        """What is deployed again: the files put back, or the copy the platform made of them then."""
        return self.source.path if self.has_files else self.artifacts


def previous(app: Json, source: upload.Source, fields: Mapping[str, object]) -> Previous:
    """What there is now, before a deployment."""
    active = app.get("active_deployment") or {}
    return Previous(
        source=source,
        id=str(active.get("deployment_id") or ""),
        artifacts=str((active.get("deployment_artifacts") or {}).get("source_code_path") or ""),
        fields=fields,
    )


def back(workspace: Workspace, then: Previous, steps: Steps, waiting: Waiting) -> str:
    """Bring an app back to what there was; a sentence that says how that went. Raises InterruptedJobError."""
    if not then.id:
        return "there is no deployment before it to go back to: it stays as it is"
    try:
        return _back(workspace, then, steps, waiting)
    except InterruptedJobError:
        raise
    except MigrationError as error:
        steps.add(STEP, f"deployment {then.id}", FAILED, str(error))
        return f"going back to deployment {then.id} failed too: {error}"


def _back(workspace: Workspace, then: Previous, steps: Steps, waiting: Waiting) -> str:
    rest = workspace.rest
    if then.fields:
        platform.change(rest, waiting.name, dict(then.fields))
        wait.updated(rest, waiting)
        steps.add(STEP, f"fields {', '.join(then.fields)}", DONE)
    if then.has_files:
        upload.put(rest, waiting.name, then.source.files, upload.read(rest, then.source.path))
        steps.add(STEP, f"files in {then.source.path}", DONE)
    app = wait.settled(rest, waiting)
    active = str((app.get("active_deployment") or {}).get("deployment_id") or "")
    if active == then.id and platform.state_of(app, "app_status")[0] == "RUNNING":
        _mark(workspace, then, active, waiting)
        steps.add(STEP, f"deployment {then.id}", SAME, "it runs still")
        return f"the deployment before it, {then.id}, runs still"
    if not then.place:
        raise MigrationError("neither its files nor the platform's copy of them are known")
    ended = running.deployed(workspace, then.place, waiting)
    if ended.fault:
        raise MigrationError(f"deployment {ended.id}", ended.fault)
    _mark(workspace, then, ended.id, waiting)
    steps.add(STEP, f"deployment {ended.id}", DONE, f"with the files of {then.id}")
    return f"the app runs as before: deployment {ended.id} has the files of {then.id}"


def _mark(workspace: Workspace, then: Previous, id_: str, waiting: Waiting) -> None:
    if then.has_files:
        upload.mark_deployed(workspace.rest, waiting.name, then.source.files, then.source, id_)
