"""The registry of MCP servers over REST (`/api/3.0/mlflow/mcp-servers`, MLflow 3.15)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from mlflow_migration.errors import ServerError
from mlflow_migration.records import Json
from mlflow_migration.server import pages
from mlflow_migration.server.features import Features
from mlflow_migration.server.rest import Look, Rest

ROUTE = pages.V3 + "mcp-servers"
PER_PAGE = 100


class McpServers:
    """Implements `McpCalls`."""

    def __init__(self, rest: Rest, features: Features) -> None:
        self._rest = rest
        self._features = features

    def list_servers(self) -> Iterator[Json]:
        """The servers with tags, aliases and access endpoints, without versions."""
        return self._features.listed(pages.pages(self._rest, ROUTE, {"max_results": PER_PAGE}, "mcp_servers"))

    def get_server(self, name: str) -> Json | None:
        """One server with tags, aliases and access endpoints, or None."""

        def asked() -> Iterator[Json]:
            found = self._got(_path(name))
            yield from [] if found is None else [found]

        return next(self._features.listed(asked()), None)

    def list_versions(self, name: str) -> Iterator[Json]:
        query = {"max_results": PER_PAGE}
        return pages.pages(self._rest, _path(name, "versions"), query, "mcp_server_versions")

    def create_server(self, body: Json) -> None:
        """Raises ServerError where the name is taken."""
        self._rest.call("POST", ROUTE, body, look=lambda: self.get_server(body["name"]))

    def update_server(self, name: str, fields: Json) -> None:
        self._rest.call("PATCH", _path(name), fields)

    def set_server_tag(self, name: str, key: str, value: str) -> None:
        self._rest.call("POST", _path(name, "tags"), {"key": key, "value": value})

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._rest.call("POST", _path(name, "aliases"), {"alias": alias, "version": version})

    def create_version(self, name: str, body: Json) -> None:
        """Raises ServerError where the server has that version, or had it and deleted it."""
        made = _path(name, "versions", body["server_json"]["version"])
        self._rest.call("POST", _path(name, "versions"), body, look=lambda: self._got(made))

    def update_version(self, name: str, version: str, fields: Json) -> None:
        self._rest.call("PATCH", _path(name, "versions", version), fields)

    def set_version_tag(self, name: str, version: str, tag: tuple[str, str]) -> None:
        key, value = tag
        self._rest.call("POST", _path(name, "versions", version, "tags"), {"key": key, "value": value})

    def create_access_endpoint(self, name: str, body: Json, look: Look) -> Json:
        """A new way to reach the server; `look` finds one that a lost answer made."""
        return self._rest.call("POST", _path(name, "endpoints"), body, look=look)

    def update_access_endpoint(self, name: str, endpoint_id: str, fields: Json) -> None:
        self._rest.call("PATCH", _path(name, "endpoints", endpoint_id), fields)

    def _got(self, route: str) -> Json | None:
        try:
            return self._rest.call("GET", route)
        except ServerError as error:
            if error.code == pages.GONE:
                return None
            raise


def _path(name: str, *parts: str) -> str:
    """A name has one slash, which is part of the route."""
    return "/".join([ROUTE, quote(name, safe="/"), *(quote(part, safe="") for part in parts)])
