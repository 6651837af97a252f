"""The registry of MCP servers by MLflow's own reading of its tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from enum import Enum
from functools import partial
from typing import Any

from mlflow_migration.database.reading import Reading, or_none, paged
from mlflow_migration.records import Json

PER_PAGE = 100
TOOL = ("name", "title", "description", "inputSchema", "outputSchema", "annotations", "icons", "execution")


class McpServers:
    """The MCP servers of the workspace. Implements `McpReads`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def list_servers(self) -> Iterator[Json]:
        """The servers with tags, aliases and access endpoints, without versions."""
        search = partial(self._reading.tracking.search_mcp_servers, max_results=PER_PAGE)
        return (_server(each) for each in paged(search))

    def get_server(self, name: str) -> Json | None:
        """One server with tags, aliases and access endpoints, or None."""
        found = or_none(lambda: self._reading.tracking.get_mcp_server(name))
        return None if found is None else _server(found)

    def list_versions(self, name: str) -> Iterator[Json]:
        search = partial(self._reading.tracking.search_mcp_server_versions, name, max_results=PER_PAGE)
        return (_version(each) for each in paged(search))


def _server(found: Any) -> Json:
    return {
        "name": found.name,
        "display_name": found.display_name,
        "description": found.description,
        "icons": found.icons,
        "workspace": found.workspace,
        "status": _word(found.status),
        "access_endpoints": [_endpoint(each) for each in found.access_endpoints],
        "latest_version": found.latest_version,
        "aliases": [{"alias": alias, "version": version} for alias, version in found.aliases.items()],
        "tags": found.tags,
        **_changes(found),
    }


def _version(found: Any) -> Json:
    return {
        "name": found.name,
        "version": found.version,
        "server_json": found.server_json,
        "workspace": found.workspace,
        "status": _word(found.status),
        "tools": [_tool(each.to_dict()) for each in found.tools or ()],
        "aliases": found.aliases,
        "tags": found.tags,
        "connect_options": {name: asdict(each) for name, each in (found.connect_options or {}).items()},
        "source": found.source,
        **_changes(found),
    }


def _endpoint(found: Any) -> Json:
    return {
        "id": found.id,
        "server_name": found.server_name,
        "url": found.url,
        "transport_type": _word(found.transport_type),
        "workspace": found.workspace,
        "server_version": found.server_version,
        "server_alias": found.server_alias,
        "resolved_version": None if found.resolved_version is None else _version(found.resolved_version),
        **_changes(found),
    }


def _changes(found: Any) -> Json:
    fields = ("created_by", "last_updated_by", "creation_timestamp", "last_updated_timestamp")
    return {field: getattr(found, field) for field in fields}


def _tool(found: Json) -> Json:
    """A tool as MLflow's REST API shows it: every field, None for what isn't there."""
    return {field: found.get(field) for field in TOOL}


def _word(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
