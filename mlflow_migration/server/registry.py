"""The model registry of a server over REST: models, prompts (which are models with a tag) and their versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from mlflow_migration.errors import ServerError, UsageError
from mlflow_migration.records import Json, pairs_of, tags_of
from mlflow_migration.server import pages
from mlflow_migration.server.rest import Look, Rest

MODELS_PER_PAGE = 100
VERSIONS_PER_PAGE = 1000
PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""Without these words in the filter a search leaves prompts out (store/model_registry/sqlalchemy_store.py)."""
LACKING: frozenset[int] = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
"""What a server without a model registry answers to a search."""
KNOWS_NO_PROMPTS = LACKING | {HTTPStatus.BAD_REQUEST}
"""What a registry that can't search by the prompts' tag answers: Unity Catalog takes no filters."""


class Registry:
    """One server's model registry. Implements `RegistryCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def search_models(self, prompts: bool) -> Iterator[Json]:
        """Every registered model, or every prompt, with tags and aliases; none where the server has no registry."""
        query = {"max_results": MODELS_PER_PAGE, **({"filter": PROMPTS} if prompts else {})}
        return self._search(
            "registered-models/search", query, "registered_models", KNOWS_NO_PROMPTS if prompts else LACKING
        )

    def get_model(self, name: str) -> Json | None:
        """A registered model or prompt, or None."""
        return pages.get_or_none(self._rest, pages.V2 + "registered-models/get", {"name": name}, "registered_model")

    def create_model(self, name: str, description: str, tags: Mapping[str, str]) -> None:
        """Raises ServerError where the name is taken."""

        def look() -> Json | None:
            found = self.get_model(name)
            return {} if found and tags_of(found.get("tags")).items() >= tags.items() else None

        body = {"name": name, "description": description, "tags": pairs_of(tags)}
        self._send("POST", "registered-models/create", body, look)

    def update_model(self, name: str, description: str) -> None:
        self._send("PATCH", "registered-models/update", {"name": name, "description": description})

    def delete_model(self, name: str) -> None:
        """Delete a model with all its versions; the numbers of a new one of that name begin at 1 again."""
        pages.unless_gone(self._rest, pages.V2 + "registered-models/delete", {"name": name}, "DELETE")

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        self._send("POST", "registered-models/set-tag", {"name": name, "key": key, "value": value})

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; one that is there moves."""
        self._send("POST", "registered-models/alias", {"name": name, "alias": alias, "version": version})

    def delete_alias(self, name: str, alias: str) -> None:
        pages.unless_gone(self._rest, pages.V2 + "registered-models/alias", {"name": name, "alias": alias}, "DELETE")

    def search_versions(self, prompts: bool, name: str = "") -> Iterator[Json]:
        """Every version of all models or prompts, or of one of them, without its aliases."""
        words = [PROMPTS] if prompts else []
        asked = _quoted(name) if name else ""
        if asked:
            words.append(f"name = {asked}")
        query: dict[str, Any] = {"max_results": VERSIONS_PER_PAGE}
        if words:
            query["filter"] = " AND ".join(words)
        lacking = KNOWS_NO_PROMPTS if prompts and not name else LACKING
        for head in self._search("model-versions/search", query, "model_versions", lacking):
            if not name or head["name"] == name:
                yield head

    def get_version(self, name: str, version: str) -> Json | None:
        query = {"name": name, "version": version}
        return pages.get_or_none(self._rest, pages.V2 + "model-versions/get", query, "model_version")

    def filter_versions(self, filter_: str) -> Iterator[Json]:
        """The versions of models that a search text finds; "" for all. Raises UsageError for one the server refuses."""
        query = {"max_results": VERSIONS_PER_PAGE, **({"filter": filter_} if filter_ else {})}
        try:
            yield from self._search("model-versions/search", query, "model_versions", LACKING)
        except ServerError as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            raise UsageError(f"not a filter: {filter_}", error.why, "write it like: name LIKE 'wine%'") from error

    def download_uri(self, name: str, version: str) -> str:
        """Where the files of a version lie."""
        query = {"name": name, "version": version}
        return str(self._rest.call("GET", pages.V2 + "model-versions/get-download-uri", query=query)["artifact_uri"])

    def create_version(self, body: Json, origin: tuple[str, str]) -> Json:
        """The new version's head. `origin` is the tag by which one made by a lost answer is found again."""
        key, value = origin

        def look() -> Json | None:
            prompt = any(tag["key"] == "mlflow.prompt.is_prompt" for tag in body["tags"])
            for head in self.search_versions(prompt, body["name"]):
                if tags_of(head.get("tags")).get(key) == value:
                    return {"model_version": head}
            return None

        head: Json = self._send("POST", "model-versions/create", body, look)["model_version"]
        return head

    def update_version(self, name: str, version: str, description: str) -> None:
        body = {"name": name, "version": version, "description": description}
        self._send("PATCH", "model-versions/update", body)

    def set_version_tag(self, name: str, version: str, tag: tuple[str, str]) -> None:
        body = {"name": name, "version": version, "key": tag[0], "value": tag[1]}
        self._send("POST", "model-versions/set-tag", body)

    def set_stage(self, name: str, version: str, stage: str) -> None:
        """Move one version to a stage and leave all others where they are."""
        body = {"name": name, "version": version, "stage": stage, "archive_existing_versions": False}
        self._send("POST", "model-versions/transition-stage", body)

    def delete_version(self, name: str, version: str) -> None:
        body = {"name": name, "version": version}
        pages.unless_gone(self._rest, pages.V2 + "model-versions/delete", body, "DELETE")

    def _search(self, method: str, query: Mapping[str, Any], field: str, lacking: frozenset[int]) -> Iterator[Json]:
        try:
            yield from pages.pages(self._rest, pages.V2 + method, query, field)
        except ServerError as error:
            if error.status not in lacking:
                raise

    def _send(self, verb: str, method: str, body: Json, look: Look | None = None) -> Json:
        return self._rest.call(verb, pages.V2 + method, body, look=look)


def _quoted(name: str) -> str:
    """A name as a filter takes it; "" for one that no filter can hold, as its grammar has no escapes."""
    if "\\" in name:
        return ""
    return next((quote + name + quote for quote in ("'", '"') if quote not in name), "")
