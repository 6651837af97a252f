"""The workspace's own model registry: what it keeps of models and versions beside the MLflow server's database.

A version's files are copied from its source some time after it was created, as on the platform.
"""

import re
import shutil
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.databricks import errors, tracking_artifacts
from tests.databricks.state import Workspace

ROOT = "dbfs:/databricks/mlflow-registry"
PENDING, READY, FAILED = "PENDING_REGISTRATION", "READY", "FAILED_REGISTRATION"
# Sources MLflow's clients name: a run's artifacts, a logged model's, another version.
RUN = re.compile(r"dbfs:/databricks/mlflow-tracking/\d+/([0-9a-f]{32})/artifacts(?:/(.*))?")
LOGGED_MODEL = re.compile(r"dbfs:/databricks/mlflow-tracking/\d+/(?:logged_)?models/(m-[^/]+)/artifacts/?")
VERSION = re.compile(r"models:/([^/]+)/(\d+)")


@dataclass
class Copy:
    """The files of one version, and how far copying them has come."""

    creator: str
    location: str
    status: str = PENDING
    message: str = ""


@dataclass
class Registry:
    """The ids and creators of a workspace's models, and the files of their versions.

    `copy_seconds` is how long a new version stays PENDING_REGISTRATION.
    """

    ids: dict[str, str] = field(default_factory=dict)
    creators: dict[str, str] = field(default_factory=dict)
    copies: dict[tuple[str, str], Copy] = field(default_factory=dict)
    copy_seconds: float = 0.2


def registry(workspace: Workspace) -> Registry:
    """The registry of a workspace."""
    return workspace.part(Registry)


def add_model(workspace: Workspace, name: str, creator: str) -> str:
    """The internal id of a new model, which permissions go by."""
    held = registry(workspace)
    held.ids[name], held.creators[name] = uuid.uuid4().hex, creator
    return held.ids[name]


def rename_model(workspace: Workspace, old: str, new: str) -> None:
    """Everything of the model goes by its new name."""
    held = registry(workspace)
    held.ids[new], held.creators[new] = held.ids.pop(old), held.creators.pop(old)
    for name, version in [key for key in held.copies if key[0] == old]:
        held.copies[new, version] = held.copies.pop((name, version))


def remove_model(workspace: Workspace, name: str) -> None:
    """The model is gone, with its versions' files."""
    held = registry(workspace)
    held.ids.pop(name, None)
    held.creators.pop(name, None)
    for key in [key for key in held.copies if key[0] == name]:
        remove_version(workspace, *key)


def remove_version(workspace: Workspace, name: str, version: str) -> None:
    """The version's files are gone."""
    if copy := registry(workspace).copies.pop((name, version), None):
        shutil.rmtree(disk(workspace, copy.location), ignore_errors=True)


def add_version(workspace: Workspace, key: tuple[str, str], source: str, creator: str) -> None:
    """Begin to copy a new version's files; `key` is its model's name and its number."""
    held = registry(workspace)
    copy = held.copies[key] = Copy(creator, f"{ROOT}/{uuid.uuid4().hex}/models/{key[0]}")
    timer = threading.Timer(held.copy_seconds, _copy, (workspace, copy, source))
    timer.daemon = True
    timer.start()


def disk(workspace: Workspace, location: str) -> Path:
    """Where an address of DBFS is on this disk."""
    return workspace.folder / location.removeprefix("dbfs:/").strip("/")


def files(workspace: Workspace, name: str, version: str) -> Path:
    """The folder with a version's files; raises ApiError 404 or, while they aren't there, 400."""
    copy = registry(workspace).copies.get((name, version))
    if copy is None:
        raise errors.missing(f"Model Version (name={name}, version={version}) not found")
    if copy.status != READY:
        raise errors.ApiError(400, "INVALID_STATE", f"Model version {name}/{version} is {copy.status}")
    return disk(workspace, copy.location)


def _copy(workspace: Workspace, copy: Copy, source: str) -> None:
    target = disk(workspace, copy.location)
    try:
        folder = _source(workspace, source)
        if not folder.is_dir() or not any(folder.iterdir()):
            raise errors.missing(f"No files at {source}")
        shutil.copytree(folder, target)
    except (errors.ApiError, OSError) as error:
        copy.status, copy.message = FAILED, f"Failed registration: {error}"
    else:
        copy.status = READY


def _source(workspace: Workspace, source: str) -> Path:
    if found := RUN.fullmatch(source):
        return tracking_artifacts.below(tracking_artifacts.run_folder(workspace, found[1]), found[2] or "")
    if found := LOGGED_MODEL.fullmatch(source):
        return tracking_artifacts.model_folder(workspace, found[1])
    if found := VERSION.fullmatch(source):
        return files(workspace, found[1], found[2])
    if source.startswith("dbfs:/"):
        return disk(workspace, source)
    raise errors.invalid(f"{source} can't be read from this workspace")
