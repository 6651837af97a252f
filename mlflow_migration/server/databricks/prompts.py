"""Prompts of Unity Catalog, which has a registry of its own for them, shown as MLflow keeps prompts everywhere else.

Routes and bodies are those of MLflow's own client (the prompt methods of `UcModelRegistryStore` in 3.17.2). A template
is a field there, as JSON; elsewhere it is the text of a tag. Which texts are chats a tag tells at both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from mlflow_migration.errors import ForbiddenError, ServerError
from mlflow_migration.records import Json, pairs_of, tags_of
from mlflow_migration.server import pages
from mlflow_migration.server.databricks import grants_needed, tag_keys
from mlflow_migration.server.databricks.hidden import PROMPTS as KIND
from mlflow_migration.server.databricks.hidden import Hidden
from mlflow_migration.server.rest import Rest

PROMPTS = pages.V2 + "unity-catalog/prompts"
CATALOGS = "/api/2.1/unity-catalog/catalogs"
SCHEMAS = "/api/2.1/unity-catalog/schemas"
IS_PROMPT = "mlflow.prompt.is_prompt"
TEXT = "mlflow.prompt.text"
TYPE = "_mlflow_prompt_type"
CHAT = "chat"
SOURCE = "dummy-source"
"""What MLflow writes as the source of a prompt's version (`MlflowClient.register_prompt` of 3.17.2)."""
PER_PAGE = 100
WITHOUT: Mapping[str, frozenset[str]] = {
    CATALOGS: frozenset({"system", "samples", "__databricks_internal"}),
    SCHEMAS: frozenset({"information_schema"}),
}
"""Catalogs of the platform's own, and the one schema that it puts into each: no prompt can be made in them."""
EVERYTHING_IN = ".*"
"""Behind the name of a catalog or schema: all prompts it may hold."""
MISSING = frozenset({pages.GONE, "NOT_FOUND", "CATALOG_DOES_NOT_EXIST", "SCHEMA_DOES_NOT_EXIST"})
GONE = MISSING | {"ENDPOINT_NOT_FOUND", "FEATURE_DISABLED"}
"""A workspace without the preview answers that there is no such route."""
NUMBERS = ("creation_timestamp", "last_updated_timestamp")


class Prompts:
    """The prompts of one metastore."""

    def __init__(self, rest: Rest, hidden: Hidden) -> None:
        self._rest = rest
        self._hidden = hidden
        self._known: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        """Whether a name is a prompt's. The workspace is asked once for each that was not met as one or the other: a
        prompt and a model can't share a name."""
        if name not in self._known:
            self._known[name] = self._or_none(_path(name)) is not None
        return self._known[name]

    def is_none(self, name: str) -> None:
        """A name was met as a model's."""
        self._known[name] = False

    def forget(self, name: str) -> None:
        """A name is free again."""
        self._known.pop(name, None)

    def check(self, place: str) -> None:
        """Raises ForbiddenError, with the GRANT that is missing, where the prompts of a catalog or schema may not be
        listed."""
        catalog, _, schema = place.partition(".")
        try:
            if schema:
                self._search(catalog, schema)
            else:
                self._names(SCHEMAS, {"catalog_name": catalog}, "schemas")
        except ForbiddenError as error:
            raise grants_needed.to_list(self._rest, place, error) from error

    def search(self) -> Iterator[Json]:
        """Every prompt, schema by schema: a search takes one at a time."""
        for head in self._heads():
            try:
                whole = self.get(head["name"])
            except ForbiddenError:
                self._hidden.note(KIND, head["name"])
                continue
            if whole is not None:
                yield whole

    def get(self, name: str) -> Json | None:
        """A prompt as a registered model, or None."""
        try:
            found = self._or_none(_path(name))
        except ForbiddenError as error:
            raise grants_needed.to_read(self._rest, name, error) from error
        if found is None:
            return None
        self._known[name] = True
        tags = [{"key": IS_PROMPT, "value": "true"}, *tag_keys.incoming(found.get("tags"))]
        return _plain({**found, "tags": tags})

    def create(self, name: str, description: str, tags: Mapping[str, str]) -> None:
        """Raises ServerError where the name is taken, ForbiddenError with the GRANT that is missing."""
        kept = _kept(tags)

        def look() -> Json | None:
            found = self.get(name)
            return {} if found and tags_of(found.get("tags")).items() >= tags.items() else None

        prompt = {"name": name, "description": description, "tags": kept}
        body = {"name": name, "prompt": {key: value for key, value in prompt.items() if value}}
        try:
            self._rest.call("POST", PROMPTS, body, look=look)
        except ForbiddenError as error:
            raise grants_needed.to_create(self._rest, name, error) from error
        self._known[name] = True

    def update(self, name: str, description: str) -> None:
        body = {"name": name, "prompt": {"name": name, "description": description}}
        self._rest.call("PATCH", _path(name), body)

    def delete(self, name: str) -> None:
        pages.unless_gone(self._rest, _path(name), {"name": name}, "DELETE")
        self.forget(name)

    def set_tag(self, name: str, key: str, value: str) -> None:
        key = tag_keys.encoded(key)
        self._rest.call("POST", _path(name, "tags"), {"name": name, "key": key, "value": value})

    def set_alias(self, name: str, alias: str, version: str) -> None:
        body = {"name": name, "alias": alias, "version": version}
        self._rest.call("POST", _path(name, "aliases", alias), body)

    def delete_alias(self, name: str, alias: str) -> None:
        body = {"name": name, "alias": alias}
        pages.unless_gone(self._rest, _path(name, "aliases", alias), body, "DELETE")

    def search_versions(self, name: str = "") -> Iterator[Json]:
        """Every version of one prompt or of all."""
        names = [name] if name else [head["name"] for head in self._heads()]
        for each in names:
            route = _path(each, "versions", "search")
            body = {"name": each, "max_results": PER_PAGE}
            try:
                heads = list(pages.posted_pages(self._rest, route, body, "prompt_versions"))
            except ServerError as error:
                if error.code not in GONE:
                    raise
                continue
            except ForbiddenError:
                # The prompt is told, and with it what belongs to it.
                self._hidden.note(KIND, each)
                continue
            self._known[each] = True
            yield from (_version(head) for head in heads)

    def get_version(self, name: str, version: str) -> Json | None:
        found = self._or_none(_path(name, "versions", version))
        return _version(found) if found is not None else None

    def create_version(self, body: Json, origin: tuple[str, str]) -> Json:
        """The new version's head; `origin` is the tag by which one made by a lost answer is found again."""
        name, tags = body["name"], tags_of(body["tags"])
        key, value = origin

        def look() -> Json | None:
            found = (head for head in self.search_versions(name) if tags_of(head["tags"]).get(key) == value)
            return next(found, None)

        text = tags.get(TEXT, "")
        template = json.loads(text) if tags.get(TYPE) == CHAT and text else text
        version: dict[str, Any] = {"name": name, "template": json.dumps(template), "tags": _kept(tags)}
        if body.get("description"):
            version["description"] = body["description"]
        sent = {"name": name, "prompt_version": version}
        return _version(self._rest.call("POST", _path(name, "versions"), sent, look=look))

    def update_version(self, name: str, version: str, description: str) -> None:
        changed = {"name": name, "version": version, "description": description}
        body = {"name": name, "version": version, "prompt_version": changed}
        self._rest.call("PATCH", _path(name, "versions", version), body)

    def set_version_tag(self, name: str, version: str, tag: tuple[str, str]) -> None:
        body = {"name": name, "version": version, "key": tag_keys.encoded(tag[0]), "value": tag[1]}
        self._rest.call("POST", _path(name, "versions", version, "tags"), body)

    def delete_version(self, name: str, version: str) -> None:
        pages.unless_gone(self._rest, _path(name, "versions", version), {"name": name, "version": version}, "DELETE")

    def _heads(self) -> Iterator[Json]:
        """What searches show of the prompts of every schema that may be looked into; the other ones are noted."""
        for catalog in self._names(CATALOGS, {}, "catalogs"):
            try:
                schemas = self._names(SCHEMAS, {"catalog_name": catalog}, "schemas")
            except ForbiddenError:
                self._hidden.note(KIND, catalog + EVERYTHING_IN)
                continue
            for schema in schemas:
                try:
                    found = self._search(catalog, schema)
                except ForbiddenError:
                    self._hidden.note(KIND, f"{catalog}.{schema}{EVERYTHING_IN}")
                    continue
                yield from found

    def _names(self, route: str, query: Mapping[str, str], field: str) -> list[str]:
        found = pages.pages(self._rest, route, query, field)
        return sorted(str(each["name"]) for each in found if each["name"] not in WITHOUT[route])

    def _search(self, catalog: str, schema: str) -> list[Json]:
        body = {"catalog_schema": {"catalog_name": catalog, "schema_name": schema}, "max_results": PER_PAGE}
        try:
            return list(pages.posted_pages(self._rest, f"{PROMPTS}/search", body, "prompts"))
        except ServerError as error:
            if error.code not in GONE:
                raise
            return []

    def _or_none(self, route: str) -> Json | None:
        try:
            return self._rest.call("GET", route)
        except ServerError as error:
            if error.code not in GONE:
                raise
            return None


def _path(*parts: str) -> str:
    return "/".join([PROMPTS, *(quote(part, safe="") for part in parts)])


def _kept(tags: Mapping[str, str]) -> list[Json]:
    """The tags that stay tags: a prompt is one by its route, and its text is a field."""
    return tag_keys.outgoing(pairs_of({key: value for key, value in tags.items() if key not in {IS_PROMPT, TEXT}}))


def _version(head: Json) -> Json:
    """A prompt's version as a model's: the text of a chat is JSON, any other the text itself."""
    template = json.loads(head.get("template") or '""')
    text = template if isinstance(template, str) else json.dumps(template)
    tags = tag_keys.incoming(head.get("tags"))
    own = [{"key": IS_PROMPT, "value": "true"}, {"key": TEXT, "value": text}]
    kept = {key: value for key, value in head.items() if key not in {"template", "aliases"}}
    return _plain({**kept, "source": SOURCE, "status": "READY", "tags": [*own, *tags]})


def _plain(head: Json) -> Json:
    """64-bit numbers, which protobuf writes as texts, as numbers; times of other forms are left out."""
    numbers = {key: int(head[key]) for key in NUMBERS if str(head.get(key, "")).isdecimal()}
    shown = {key: value for key, value in head.items() if value not in ("", None) and key not in NUMBERS}
    shown.update(numbers)
    if "version" in head:
        shown["version"] = str(head["version"])
    if head.get("aliases"):
        shown["aliases"] = [{**alias, "version": str(alias["version"])} for alias in head["aliases"]]
    return shown
