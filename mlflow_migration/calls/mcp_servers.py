"""What a running MLflow can be asked about its registry of MCP servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from mlflow_migration.records import Json


class McpReads(Protocol):
    """The registry of MCP servers."""

    def list_servers(self) -> Iterator[Json]: ...

    def get_server(self, name: str) -> Json | None: ...

    def list_versions(self, name: str) -> Iterator[Json]: ...


class McpCalls(McpReads, Protocol):
    """`McpReads`, and what changes them."""

    def create_server(self, body: Json) -> None: ...

    def update_server(self, name: str, fields: Json) -> None: ...

    def set_server_tag(self, name: str, key: str, value: str) -> None: ...

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def create_version(self, name: str, body: Json) -> None: ...

    def update_version(self, name: str, version: str, fields: Json) -> None: ...

    def set_version_tag(self, name: str, version: str, tag: tuple[str, str]) -> None: ...

    def create_access_endpoint(self, name: str, body: Json, look: Callable[[], Json | None]) -> Json: ...

    def update_access_endpoint(self, name: str, endpoint_id: str, fields: Json) -> None: ...
