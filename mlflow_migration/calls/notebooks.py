"""What a workspace can be asked about notebooks, which MLflow itself doesn't know."""

from __future__ import annotations

from typing import Protocol

from mlflow_migration.errors import NotFoundError


class NotebookReads(Protocol):
    """Notebooks of a workspace: what runs were made with. Of them MLflow has no more than tags of the runs."""

    def exist(self) -> bool: ...

    def fetch(self, path: str, revision: str, format_: str) -> bytes: ...


class NotebookCalls(NotebookReads, Protocol):
    """`NotebookReads`, and what changes them."""

    def put(self, path: str, content: bytes, format_: str) -> None: ...


class NoNotebooks:
    """A place without notebooks. Implements `NotebookCalls`."""

    def exist(self) -> bool:
        return False

    def fetch(self, path: str, revision: str, format_: str) -> bytes:
        """Raises NotFoundError."""
        raise NotFoundError(f"no such notebook: {path}", "only a Databricks workspace has notebooks")

    def put(self, path: str, content: bytes, format_: str) -> None:
        """Raises NotFoundError."""
        raise NotFoundError(f"no place for the notebook {path}", "only a Databricks workspace has notebooks")
