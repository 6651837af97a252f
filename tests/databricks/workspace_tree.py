"""The workspace's tree: folders, files, notebooks with their revisions, and experiments."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from tests.databricks import access, acl, errors
from tests.databricks.acl import Acls
from tests.databricks.state import Principal, Workspace

# MLflow's client takes `/Workspace/Users/x` and `/Users/x` for the same; so does the platform for files.
PREFIX = "/Workspace"
PROTECTED = ("/", "/Users", "/Shared", "/Repos")
KINDS = {"NOTEBOOK": "notebooks", "DIRECTORY": "directories", "FILE": "files", "MLFLOW_EXPERIMENT": "experiments"}


@dataclass(frozen=True)
class Node:
    """One object of the tree; a notebook's revisions are (milliseconds, source), the last one counts."""

    path: str
    type: str
    id: int
    language: str = ""
    content: bytes = b""
    created: int = field(default_factory=lambda: int(time.time() * 1000))
    modified: int = field(default_factory=lambda: int(time.time() * 1000))
    revisions: tuple[tuple[int, bytes], ...] = ()


@dataclass
class Tree:
    """The nodes of a workspace by path."""

    nodes: dict[str, Node] = field(default_factory=dict)


def tree(workspace: Workspace) -> dict[str, Node]:
    """The nodes by path; homes of users and of service principals are there from the start: a bundle of Databricks'
    CLI goes below either by default."""
    nodes = workspace.part(Tree).nodes
    users = list(workspace.account.principals)
    for path in (*PROTECTED, *(f"/Users/{name}" for name in users)):
        if path not in nodes:
            nodes[path] = Node(path, "DIRECTORY", workspace.account.new_id())
    return nodes


def clean(path: object) -> str:
    """An absolute path as the tree has it; raises ApiError 400 for anything else."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise errors.invalid(f"Path ({path}) doesn't start with '/'" if path else "Missing required field: path")
    if path == PREFIX or path.startswith(f"{PREFIX}/"):
        path = path.removeprefix(PREFIX)
    return str(PurePosixPath("/" + path.strip("/")))


def get(workspace: Workspace, path: str) -> Node:
    """The object at a path; raises ApiError 404."""
    found = tree(workspace).get(path)
    if not found:
        raise errors.missing(f"Path ({path}) doesn't exist.")
    return found


def by_id(workspace: Workspace, object_id: int) -> Node | None:
    """The object with this id."""
    return next((node for node in tree(workspace).values() if node.id == object_id), None)


def children(workspace: Workspace, path: str) -> Iterator[Node]:
    """What is directly in a folder, by name."""
    for one in sorted(tree(workspace)):
        if one != "/" and parent(one) == path:
            yield tree(workspace)[one]


def parent(path: str) -> str:
    """The folder a path is in."""
    return str(PurePosixPath(path).parent)


def make_folder(workspace: Workspace, principal: Principal, path: str) -> None:
    """The folder and those above it; raises ApiError for a path that has something else, or is protected."""
    nodes, above = tree(workspace), [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]
    for folder in map(str, above):
        if folder in nodes:
            if nodes[folder].type != "DIRECTORY":
                raise errors.taken(f"{folder} already exists and it is not a folder")
            continue
        require_edit(workspace, principal, folder)
        nodes[folder] = Node(folder, "DIRECTORY", workspace.account.new_id())


def require_edit(workspace: Workspace, principal: Principal, path: str) -> None:
    """Raise ApiError unless the principal may make something at that path."""
    if parent(path) == "/Users" or path in PROTECTED:
        name = PurePosixPath(path).parts[1] if path != "/" else "/"
        raise errors.ApiError(400, "DIRECTORY_PROTECTED", f"Folder {name} is protected")
    if access.is_admin(workspace, principal) or path.startswith((f"/Users/{principal.name}/", "/Shared/", "/Repos/")):
        return
    folder = tree(workspace).get(parent(path))
    if not folder or acl.level(workspace, principal, "directories", str(folder.id)) not in ("CAN_EDIT", "CAN_MANAGE"):
        raise errors.denied(f"{principal.name} does not have Manage permissions on {parent(path)}.")


def require_read(workspace: Workspace, principal: Principal, node: Node) -> None:
    """Raise ApiError 403 unless the principal may see what is there; folders are listed by all."""
    if node.type != "DIRECTORY":
        acl.require(workspace, principal, "CAN_READ", (KINDS[node.type], str(node.id)))


def put(workspace: Workspace, principal: Principal, node: Node, overwrite: bool) -> Node:
    """Store an object, over one of the same type if `overwrite`; raises ApiError 400 or 404 when it can't be there."""
    nodes, path = tree(workspace), node.path
    require_edit(workspace, principal, path)
    if nodes.get(parent(path), node).type != "DIRECTORY":
        raise errors.missing(f"The parent folder ({parent(path)}) does not exist.")
    old = nodes.get(path)
    if old and (not overwrite or old.type != node.type):
        raise errors.taken(f"Node named '{PurePosixPath(path).name}' already exists")
    revisions = (*(old.revisions if old else ()), (_later(old), node.content)) if node.type == "NOTEBOOK" else ()
    if old:
        node = replace(node, id=old.id, created=old.created)
    node = replace(node, revisions=revisions, modified=revisions[-1][0] if revisions else node.modified)
    nodes[path] = node
    acls, key = workspace.part(Acls), (KINDS[node.type], str(node.id))
    acls.paths[key] = path
    if not old:
        acls.give(*key, principal.name, "CAN_MANAGE")
    return node


def _later(old: Node | None) -> int:
    """Now, and after the newest revision there is."""
    return max(int(time.time() * 1000), old.revisions[-1][0] + 1 if old and old.revisions else 0)


def remove(workspace: Workspace, path: str) -> list[Node]:
    """Take an object and all below it out; returns them."""
    nodes = tree(workspace)
    gone = [one for one in nodes if one == path or one.startswith(path.rstrip("/") + "/")]
    return [nodes.pop(one) for one in gone]


def move(workspace: Workspace, node: Node, path: str) -> None:
    """The object is at another path from now on."""
    nodes = tree(workspace)
    nodes[path] = replace(nodes.pop(node.path), path=path)
    workspace.part(Acls).paths[(KINDS[node.type], str(node.id))] = path


def revision(node: Node, moment: str | None) -> bytes:
    """A notebook's source at a revision (its milliseconds), the newest without one; raises ApiError 404."""
    if not moment:
        return node.content
    for at, source in node.revisions:
        if str(at) == moment:
            return source
    raise errors.missing(f"Revision {moment} of {node.path} doesn't exist.")
