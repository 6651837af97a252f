"""Where the paths of the Files API are on this disk, and who may read and write there.

Volumes and models' files belong to the metastore, so every workspace attached to it sees them; run artifacts belong to
their workspace.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.databricks import access, acl, errors, models
from tests.databricks.access import Securable
from tests.databricks.calls import Call

ARTIFACTS = "/WorkspaceInternal/Mlflow/Artifacts"
NAME_BYTES = 255


@dataclass(frozen=True)
class Place:
    """A path of the Files API, already allowed to the caller, and its file or folder here."""

    path: str
    disk: Path


def place(call: Call, path: str, write: bool) -> Place:
    """Where `path` is; raises ApiError 400, 403 or 404 for one that can't be, isn't allowed, or has no volume."""
    parts = _parts(path)
    for prefix, (depth, guard) in TREES.items():
        begin = _parts(prefix)
        if parts[: len(begin)] == begin:
            if len(parts) < len(begin) + depth:
                raise errors.invalid(f"Invalid path: {path}")
            guard(call, parts[len(begin) :], write)
            shared = parts[0] in ("Volumes", "Models")
            root = call.workspace.metastore.folder if shared else call.workspace.folder
            # Unity Catalog keeps catalog, schema and name in lower case; the rest of a path is as it was sent.
            kept = [parts[0], *(part.lower() for part in parts[1:4]), *parts[4:]] if shared else parts
            return Place("/" + "/".join(parts), root.joinpath(*kept))
    raise errors.invalid(f"Invalid path: {path}. Expected a path below /Volumes, /Models or {ARTIFACTS}.")


def _parts(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part:
            raise errors.invalid(f"Invalid path: {path!r}")
        if len(part.encode()) > NAME_BYTES:
            raise errors.invalid(f"Path component too long: {part[:20]}…")
    return parts


def _volume(call: Call, parts: list[str], write: bool) -> None:
    """A path below /Volumes/catalog/schema/volume: the volume is there, and the privilege on it."""
    volume = Securable("volume", ".".join(parts[:3]).lower())
    if volume not in access.grants(call.workspace.metastore).owners:
        raise errors.ApiError(404, "NOT_FOUND", f"Volume '{volume.name}' does not exist.")
    access.require_use(call.workspace, call.principal, volume)
    access.require(call.workspace, call.principal, "WRITE_VOLUME" if write else "READ_VOLUME", volume)


def _model(call: Call, parts: list[str], write: bool) -> None:
    """A path below /Models/catalog/schema/model/version: EXECUTE reads; who may make versions writes."""
    model = Securable("function", ".".join(parts[:3]).lower())
    if model not in access.grants(call.workspace.metastore).owners:
        raise errors.ApiError(404, "NOT_FOUND", f"Registered model '{model.name}' does not exist.")
    access.require_use(call.workspace, call.principal, model)
    access.require(call.workspace, call.principal, "CREATE_MODEL_VERSION" if write else "EXECUTE", model)
    models.require_files(call.workspace.metastore, model, parts[3], write)


def _experiment(call: Call, parts: list[str], write: bool) -> None:
    """A path below an experiment: its permissions count."""
    acl.require(call.workspace, call.principal, "CAN_EDIT" if write else "CAN_READ", ("experiments", parts[0]))


Guard = Callable[[Call, list[str], bool], None]
# Each tree: how many names follow its root at least, and what has to hold.
TREES: dict[str, tuple[int, Guard]] = {
    "/Volumes": (3, _volume),
    "/Models": (4, _model),
    ARTIFACTS: (3, _experiment),
}
