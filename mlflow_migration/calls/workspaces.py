"""What a place can be asked about its workspaces, and what changes them."""

from __future__ import annotations

from typing import Protocol

from mlflow_migration.records import Json


class WorkspaceReads(Protocol):
    """The workspaces of a server."""

    def at_default(self) -> bool: ...

    def exist(self) -> bool: ...

    def list_workspaces(self) -> list[Json]: ...

    def get_workspace(self, name: str) -> Json | None: ...


class WorkspaceCalls(WorkspaceReads, Protocol):
    """`WorkspaceReads`, and what changes them."""

    def create_workspace(self, body: Json) -> None: ...

    def update_workspace(self, name: str, fields: Json) -> None: ...
