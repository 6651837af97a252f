"""An app's source files in the workspace: what differs is written, what is no longer among them is removed.

A file beside them lists what this tool has put there, so that it never removes anybody else's: the folder's name is a
setting, and may be that of a folder with other things in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from mlflow_migration.apps.platform import found
from mlflow_migration.errors import ConflictError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks import workspace_files
from mlflow_migration.server.rest import Rest

LISTED = ".mlflow-migration-app.json"
FORMAT = 1


@dataclass(frozen=True)
class Source:
    """What is in the folder now: `files` this tool has put there, with their content, and the sizes of `others`.

    `deployment` is the one these files were deployed by and ran with; `app` whose they are, "" for nobody's.
    """

    path: str
    app: str = ""
    deployment: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    is_there: bool = False

    def changed(self, files: Mapping[str, bytes]) -> list[str]:
        """The names of files that differ or aren't there yet."""
        return [name for name, content in files.items() if self.files.get(name) != content]

    def stale(self, files: Mapping[str, bytes]) -> list[str]:
        """The names of files that are no longer among them."""
        return sorted(self.files.keys() - files.keys())


def read(rest: Rest, path: str) -> Source:
    """What is in an app's folder. Raises ConflictError where no folder is at that path, ForbiddenError."""
    head = workspace_files.status(rest, path)
    if head is None:
        return Source(path)
    if head.get("object_type") != "DIRECTORY":
        raise ConflictError(f"no folder: {path}", f"it is a {head.get('object_type')}")
    there = dict(_below(rest, path, ""))
    listed = _listed(rest, path) if LISTED in there else {}
    own = {name: size for name, size in there.items() if name in listed.get("files", {})}
    return Source(
        path=path,
        app=str(listed.get("app", "")),
        deployment=str(listed.get("deployment", "")),
        files={name: fetch(rest, f"{path}/{name}") for name in own},
        others={name: size for name, size in there.items() if name not in own and name != LISTED},
        is_there=True,
    )


def put(rest: Rest, name: str, files: Mapping[str, bytes], source: Source) -> None:
    """Bring the folder to hold these files of the app `name`: changed ones are written, stale ones removed.

    The list is written first with all names, old and new, so that what is cut off is still known as this tool's.
    """
    changed, stale = source.changed(files), source.stale(files)
    if not changed and not stale and source.app == name:
        return
    workspace_files.mkdirs(rest, source.path)
    _list(rest, source.path, name, {**source.files, **files}, "")
    for folder in sorted({workspace_files.parent_of(f"{source.path}/{each}") for each in changed} - {source.path}):
        workspace_files.mkdirs(rest, folder)
    for each in changed:
        write(rest, f"{source.path}/{each}", files[each])
    for each in stale:
        remove(rest, f"{source.path}/{each}")
    _list(rest, source.path, name, files, "")


def mark_deployed(rest: Rest, name: str, files: Mapping[str, bytes], source: Source, deployment: str) -> None:
    """Note that these files run as that deployment: the next one is made only when something differs."""
    _list(rest, source.path, name, files, deployment)


def clear(rest: Rest, source: Source) -> bool:
    """Remove what this tool has put there, and the folder where nothing else is in it; whether it was removed."""
    if source.others:
        for name in (*source.files, LISTED):
            remove(rest, f"{source.path}/{name}")
        return False
    remove(rest, source.path, recursive=True)
    return True


def write(rest: Rest, path: str, content: bytes) -> None:
    """Write one file, over one that is there: the route of the CLI's `sync`, which takes any content as it is."""
    rest.send(f"/api/2.0/workspace-files/import-file/{quote(path.lstrip('/'))}?overwrite=true", content, _BINARY)


def fetch(rest: Rest, path: str) -> bytes:
    """A file's content."""
    with rest.open(workspace_files.WORKSPACE + "export", {"path": path, "direct_download": "true"}) as answer:
        return bytes(answer.content)


def remove(rest: Rest, path: str, recursive: bool = False) -> None:
    """Remove a file or folder; one that isn't there is left at that."""
    if found(rest, workspace_files.WORKSPACE + "get-status", {"path": path}) is not None:
        rest.call("POST", workspace_files.WORKSPACE + "delete", {"path": path, "recursive": recursive})


_BINARY = {"Content-Type": "application/octet-stream"}


def _below(rest: Rest, path: str, prefix: str) -> Iterator[tuple[str, int]]:
    """Every file below a folder with its size, by relative name; what is no file has size 0."""
    answer = rest.call("GET", workspace_files.WORKSPACE + "list", query={"path": path})
    for each in answer.get("objects", ()):
        base = str(each["path"]).rpartition("/")[2]
        if each.get("object_type") == "DIRECTORY":
            yield from _below(rest, f"{path}/{base}", f"{prefix}{base}/")
        else:
            yield prefix + base, int(each.get("size") or 0)


def _listed(rest: Rest, path: str) -> Json:
    try:
        answer = json.loads(fetch(rest, f"{path}/{LISTED}"))
    except ValueError:
        return {}
    is_ours = isinstance(answer, dict) and answer.get("format") == FORMAT and isinstance(answer.get("files"), dict)
    return answer if is_ours else {}


def _list(rest: Rest, path: str, name: str, files: Mapping[str, bytes], deployment: str) -> None:
    digests = {each: hashlib.sha256(content).hexdigest() for each, content in sorted(files.items())}
    document = {"format": FORMAT, "app": name, "deployment": deployment, "files": digests}
    write(rest, f"{path}/{LISTED}", json.dumps(document, indent=1).encode())
