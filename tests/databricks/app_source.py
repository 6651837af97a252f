"""An app's source code: its snapshot in the workspace, its `app.yaml`, and whether its requirements can be installed.

Requirements are looked up, not installed: what an app runs is what is installed beside these tests. So a package's
version can be had when it is that one, or one that a test put into `Apps.index`; a wheel's when it is in the source.
"""

import importlib.metadata
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from tests.databricks import errors, workspace_tree
from tests.databricks.app_state import App, Apps, Deployment
from tests.databricks.state import Workspace
from tests.databricks.workspace_tree import Node

LARGEST_FILE = 10 * 1024**2
FILES = ("app.yaml", "app.yml")
PORT = "$DATABRICKS_APP_PORT"
# Options of pip that name other indexes or ways; those that change what is installed aren't understood here.
OPTIONS = ("-i", "--index-url", "--extra-index-url", "--find-links", "-f", "--no-index", "--pre", "--prefer-binary")

Files = Mapping[str, bytes]


class Failed(Exception):
    """The deployment fails, for this reason."""


@dataclass(frozen=True)
class Plan:
    """What runs: a command, and its variables with a `value` or the key of a resource in `value_from`."""

    command: tuple[str, ...]
    variables: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)


def snapshot(workspace: Workspace, app: App, deployment: Deployment) -> Files:
    """The source's files by relative path, also kept as the deployment's artifacts; raises Failed."""
    files = _read(workspace, app, deployment)
    home = f"/Users/{app.client.client_id}/src/{deployment.id}"
    nodes = workspace_tree.tree(workspace)
    for name, content in {"": None, **files}.items():
        path = f"{home}/{name}".rstrip("/")
        kind = "DIRECTORY" if content is None else "FILE"
        for above in (*reversed(PurePosixPath(path).parents[:-1]), PurePosixPath(path)):
            last = str(above) == path
            node = Node(str(above), kind if last else "DIRECTORY", workspace.account.new_id(), content=content or b"")
            nodes.setdefault(str(above), node)
    deployment.artifacts = f"/Workspace{home}"
    return files


def _read(workspace: Workspace, app: App, deployment: Deployment) -> Files:
    principal = workspace.account.principals[deployment.creator]
    try:
        root = workspace_tree.clean(deployment.sent["source_code_path"])
        if workspace_tree.get(workspace, root).type != "DIRECTORY":
            raise Failed(f"Failed to snapshot source code: {root} is not a folder")
        found = {
            path.removeprefix(f"{root}/"): node
            for path, node in workspace_tree.tree(workspace).items()
            if path.startswith(f"{root}/") and node.type in ("FILE", "NOTEBOOK")
        }
        if not root.startswith(f"/Users/{app.client.client_id}/src/"):
            for node in found.values():
                workspace_tree.require_read(workspace, principal, node)
    except errors.ApiError as error:
        raise Failed(f"Failed to snapshot source code: {error.message}") from error
    for name, node in found.items():
        if len(node.content) > LARGEST_FILE:
            raise Failed(
                f"Failed to snapshot source code: file {name} is {len(node.content)} bytes, larger than the maximum"
                f" allowed file size of {LARGEST_FILE} bytes"
            )
    return {name + (".py" if node.type == "NOTEBOOK" else ""): node.content for name, node in found.items()}


def plan(files: Files, sent: Mapping[str, Any]) -> Plan:
    """What `app.yaml` says, or the request in its place; raises Failed for a file that can't be read."""
    told = next((_yaml(name, files[name]) for name in FILES if name in files), {})
    command = sent.get("command") or told.get("command")
    if not command:
        scripts = sorted(name for name in files if name.endswith(".py") and "/" not in name)
        if not scripts:
            raise Failed("No command to run: neither app.yaml with a command nor a Python file in the source code")
        command = ["python", scripts[0]]
    if isinstance(command, str) or not all(isinstance(word, str) for word in command):
        raise Failed("Error reading app.yaml: command must be a list of strings")
    by_name = {str(one["name"]): one for one in _variables(told)}
    by_name |= {str(one["name"]): one for one in sent.get("env_vars") or ()}
    return Plan(tuple(command), tuple(by_name.values()))


def _yaml(name: str, content: bytes) -> dict[str, Any]:
    try:
        told = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise Failed(f"Error reading {name}: {error}") from error
    if not isinstance(told, dict):
        raise Failed(f"Error reading {name}: expected a mapping")
    return told


def _variables(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for one in told.get("env") or ():
        if not isinstance(one, dict) or "name" not in one or ("value" in one) == ("valueFrom" in one):
            raise Failed("Error reading app.yaml: each env entry needs a name and either value or valueFrom")
        if "value" in one and not isinstance(one["value"], str):
            raise Failed(f"Error reading app.yaml: the value of env {one['name']} is not a string")
        value = {"value": one["value"]} if "value" in one else {"value_from": one["valueFrom"]}
        found.append({"name": one["name"], **value})
    return found


def write(files: Files, folder: Path) -> None:
    """The files on disk."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def check_requirements(held: Apps, files: Files) -> list[str]:
    """What `requirements.txt` asks for; raises Failed with pip's words for what can't be had.

    Without that file there is nothing to install: `pyproject.toml` with `uv.lock` is taken as it is.
    """
    listed = _lines(files, "requirements.txt") if "requirements.txt" in files else []
    versions: dict[str, str] = {}
    for line in listed:
        found = _wheel(files, line) if _is_path(line) else _named(held, line)
        if not found:
            continue
        name, version = found
        if versions.setdefault(name, version) != version:
            raise Failed(f"ERROR: Cannot install {name}=={versions[name]} and {name}=={version}: conflicting versions")
    return listed


def _lines(files: Files, name: str) -> list[str]:
    found = []
    for raw in files[name].decode("utf-8").splitlines():
        line = raw.partition(" #")[0].strip()
        if not line or line.startswith(("#", *OPTIONS)):
            continue
        if line.startswith(("-r ", "--requirement ")):
            other = line.split(maxsplit=1)[1]
            if other not in files:
                raise Failed(f"ERROR: Could not open requirements file: No such file or directory: '{other}'")
            found += _lines(files, other)
        elif line.startswith("-"):
            raise Failed(f"ERROR: Invalid requirement: {line!r}")
        else:
            found.append(line)
    return found


def _is_path(line: str) -> bool:
    return line.partition("[")[0].partition(" @ ")[0].strip().endswith(".whl") or line.startswith(("./", "../", "/"))


def _wheel(files: Files, line: str) -> tuple[str, str]:
    """Name and version of a wheel in the source."""
    path = str(PurePosixPath(line.partition("[")[0].strip()))
    if path not in files:
        raise Failed(f"ERROR: Requirement '{line}' looks like a filename, but the file does not exist")
    try:
        name, version, _, _ = parse_wheel_filename(PurePosixPath(path).name)
        with zipfile.ZipFile(io.BytesIO(files[path])) as archive:
            whole = archive.testzip() is None
    except (InvalidWheelFilename, zipfile.BadZipFile) as error:
        raise Failed(f"ERROR: {path} is not a valid wheel: {error}") from error
    if not whole:
        raise Failed(f"ERROR: Wheel '{path}' is invalid.")
    return name, str(version)


def _named(held: Apps, line: str) -> tuple[str, str] | None:
    """Name and version of a package that can be had; None for one that isn't for this Python or system."""
    try:
        wanted = Requirement(line)
    except InvalidRequirement as error:
        raise Failed(f"ERROR: Invalid requirement: {line!r}: {error}") from error
    name = canonicalize_name(wanted.name)
    if wanted.url:
        return name, wanted.url
    if wanted.marker and not wanted.marker.evaluate():
        return None
    versions = sorted({*held.index.get(name, ()), *_installed(name)})
    fitting = [one for one in versions if wanted.specifier.contains(one, prereleases=True)]
    if not fitting:
        shown = ", ".join(versions) or "none"
        raise Failed(
            f"ERROR: Could not find a version that satisfies the requirement {line} (from versions: {shown})\n"
            f"ERROR: No matching distribution found for {line}"
        )
    return name, fitting[-1]


def _installed(name: str) -> set[str]:
    try:
        return {importlib.metadata.version(name)}
    except importlib.metadata.PackageNotFoundError:
        return set()
