"""The model registry of Unity Catalog, with the requests of MLflow's own client for `databricks-uc`.

`mlflow/store/_unity_catalog/registry/rest_store.py` of MLflow 3.17.2 tells verbs, paths and bodies. Models and prompts
are two registries there; here they are one, as everywhere else, where a tag tells a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from mlflow_migration.errors import ForbiddenError, ServerError, UsageError
from mlflow_migration.records import Json, pairs_of, tags_of
from mlflow_migration.server import pages
from mlflow_migration.server.databricks import grants_needed, tag_keys
from mlflow_migration.server.databricks.hidden import MODELS, Hidden
from mlflow_migration.server.databricks.prompts import EVERYTHING_IN, IS_PROMPT, MISSING, Prompts
from mlflow_migration.server.registry import quoted
from mlflow_migration.server.rest import Look, Rest

UC = pages.V2 + "unity-catalog/"
MODELS_PER_PAGE = 100
VERSIONS_PER_PAGE = 1000
LEVELS = 3
NUMBERS = ("creation_timestamp", "last_updated_timestamp")


class UnityCatalog:
    """The registry of one workspace's metastore. Implements `RegistryCalls`."""

    def __init__(self, rest: Rest, hidden: Hidden) -> None:
        self._rest = rest
        self._hidden = hidden
        self._prompts = Prompts(rest, hidden)

    def search_models(self, prompts: bool) -> Iterator[Json]:
        """Every registered model, or every prompt, these credentials may read, with tags and aliases."""
        if prompts:
            yield from self._prompts.search()
            return
        for head in self._names():
            # A search leaves tags and aliases out.
            try:
                whole = self._model(head["name"])
            except ForbiddenError:
                self._hidden.note(MODELS, head["name"])
                continue
            if whole is not None:
                yield whole

    def get_model(self, name: str) -> Json | None:
        """A registered model, or the prompt of that name, or None. Raises ForbiddenError where it may not be read, or,
        for `main.*`, where a catalog's or schema's prompts may not be listed."""
        if name.endswith(EVERYTHING_IN):
            self._prompts.check(name.removesuffix(EVERYTHING_IN))
            return None
        if not three_levels(name):
            return None
        return self._model(name) or self._prompts.get(name)

    def create_model(self, name: str, description: str, tags: Mapping[str, str]) -> None:
        """Raises ServerError where the name is taken, ForbiddenError with the GRANT that is missing."""
        if IS_PROMPT in tags:
            self._prompts.create(name, description, tags)
            return

        def look() -> Json | None:
            found = self._model(name)
            return {} if found and tags_of(found.get("tags")).items() >= tags.items() else None

        body = {"name": name, "description": description, "tags": tag_keys.outgoing(pairs_of(tags))}
        try:
            self._send("POST", "registered-models/create", body, look)
            self._prompts.is_none(name)
        except ForbiddenError as error:
            raise grants_needed.to_create(self._rest, name, error) from error
        except ServerError as error:
            if error.code in MISSING or error.status == HTTPStatus.NOT_FOUND:
                raise grants_needed.no_schema(name, error) from error
            raise

    def update_model(self, name: str, description: str) -> None:
        if self._prompts.has(name):
            self._prompts.update(name, description)
        else:
            self._owned("PATCH", "registered-models/update", {"name": name, "description": description})

    def delete_model(self, name: str) -> None:
        """Delete a model or prompt with all its versions."""
        if self._prompts.has(name):
            self._prompts.delete(name)
        else:
            self._delete("registered-models/delete", {"name": name})
            self._prompts.forget(name)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        if self._prompts.has(name):
            self._prompts.set_tag(name, key, value)
        else:
            body = {"name": name, "key": tag_keys.encoded(key), "value": value}
            self._tag("registered-models/set-tag", body)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; one that is there moves."""
        if self._prompts.has(name):
            self._prompts.set_alias(name, alias, version)
        else:
            body = {"name": name, "alias": alias, "version": version}
            self._owned("POST", "registered-models/alias", body)

    def delete_alias(self, name: str, alias: str) -> None:
        if self._prompts.has(name):
            self._prompts.delete_alias(name, alias)
        else:
            self._owned("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def search_versions(self, prompts: bool, name: str = "") -> Iterator[Json]:
        """Every version of all models or prompts, or of one of them, each with its tags."""
        if prompts:
            yield from self._prompts.search_versions(name)
            return
        names = [name] if name else [head["name"] for head in self._names()]
        for each in filter(three_levels, names):
            try:
                found = self._whole_versions(each)
            except ForbiddenError:
                # Who may read a model may read its versions: the model is told, and with it what belongs to it.
                self._hidden.note(MODELS, each)
                continue
            yield from found

    def get_version(self, name: str, version: str) -> Json | None:
        if not three_levels(name):
            return None
        if self._prompts.has(name):
            return self._prompts.get_version(name, version)
        return self._version(name, version)

    def filter_versions(self, filter_: str) -> Iterator[Json]:
        """The versions of models that a search text finds; "" for all. Raises UsageError for one that is refused."""
        if not filter_:
            yield from self.search_versions(False)
            return
        query = {"filter": filter_, "max_results": VERSIONS_PER_PAGE}
        try:
            yield from map(_shown, pages.pages(self._rest, UC + "model-versions/search", query, "model_versions"))
        except ServerError as error:
            if error.status != HTTPStatus.BAD_REQUEST:
                raise
            hint = "Unity Catalog takes name = 'main.ml.wine' or run_id = '…' alone"
            raise UsageError(f"not a filter: {filter_}", error.why, hint) from error

    def download_uri(self, name: str, version: str) -> str:
        """Where the files of a version lie in the cloud's storage."""
        query = {"name": name, "version": version}
        return str(self._rest.call("GET", UC + "model-versions/get-download-uri", query=query)["artifact_uri"])

    def create_version(self, body: Json, origin: tuple[str, str]) -> Json:
        """The new version's head; without files it stays PENDING_REGISTRATION until `finalize_version`.

        `origin` is the tag by which one made by a lost answer is found again. Raises ForbiddenError with the GRANT
        that is missing.
        """
        key, value = origin
        if any(tag["key"] == IS_PROMPT for tag in body["tags"]):
            return self._prompts.create_version(body, origin)

        def look() -> Json | None:
            for head in self._whole_versions(body["name"]):
                if tags_of(head.get("tags")).get(key) == value:
                    return {"model_version": head}
            return None

        sent = {key: value for key, value in body.items() if key != "run_link"}
        sent.update(tags=tag_keys.outgoing(body["tags"]), feature_deps="")
        if body.get("run_id") and self._rest.workspace_id:
            # Whose run it is: a metastore is shared by workspaces.
            sent["run_tracking_server_id"] = self._rest.workspace_id
        try:
            return _shown(self._send("POST", "model-versions/create", sent, look)["model_version"])
        except ForbiddenError as error:
            raise grants_needed.on_model(self._rest, body["name"], "CREATE MODEL VERSION", error) from error

    def finalize_version(self, name: str, version: str) -> None:
        """All files of a version are there: it becomes READY."""
        self._send("POST", "model-versions/finalize", {"name": name, "version": version})

    def update_version(self, name: str, version: str, description: str) -> None:
        if self._prompts.has(name):
            self._prompts.update_version(name, version, description)
        else:
            body = {"name": name, "version": version, "description": description}
            self._owned("PATCH", "model-versions/update", body)

    def set_version_tag(self, name: str, version: str, tag: tuple[str, str]) -> None:
        if self._prompts.has(name):
            self._prompts.set_version_tag(name, version, tag)
        else:
            body = {"name": name, "version": version, "key": tag_keys.encoded(tag[0]), "value": tag[1]}
            self._tag("model-versions/set-tag", body)

    def set_stage(self, name: str, version: str, stage: str) -> None:
        """Raises ServerError: Unity Catalog has none."""
        raise ServerError("Unity Catalog has no stages", f"{name}/{version} can't be {stage}", 0, "")

    def delete_version(self, name: str, version: str) -> None:
        if self._prompts.has(name):
            self._prompts.delete_version(name, version)
        else:
            self._delete("model-versions/delete", {"name": name, "version": version})

    def _names(self) -> Iterator[Json]:
        query = {"max_results": MODELS_PER_PAGE}
        return pages.pages(self._rest, UC + "registered-models/search", query, "registered_models")

    def _versions(self, name: str) -> list[Json]:
        query = {"filter": f"name = {quoted(name)}", "max_results": VERSIONS_PER_PAGE}
        try:
            return list(pages.pages(self._rest, UC + "model-versions/search", query, "model_versions"))
        except ServerError as error:
            if error.code not in MISSING:
                raise
            return []

    def _whole_versions(self, name: str) -> list[Json]:
        # A search leaves tags out.
        found = (self._version(name, str(head["version"])) for head in self._versions(name))
        return [version for version in found if version is not None]

    def _version(self, name: str, version: str) -> Json | None:
        found = self._or_none("model-versions/get", {"name": name, "version": version}, "model_version")
        return _shown(found) if found is not None else None

    def _model(self, name: str) -> Json | None:
        found = self._or_none("registered-models/get", {"name": name}, "registered_model")
        if found is None:
            return None
        self._prompts.is_none(name)
        return _shown(found)

    def _or_none(self, method: str, query: Mapping[str, str], field: str) -> Json | None:
        try:
            found: Json = self._rest.call("GET", UC + method, query=query)[field]
        except ForbiddenError as error:
            raise grants_needed.to_read(self._rest, query["name"], error) from error
        except ServerError as error:
            if error.code not in MISSING:
                raise
            return None
        return found

    def _delete(self, method: str, body: Json) -> None:
        try:
            self._owned("DELETE", method, body)
        except ServerError as error:
            if error.code not in MISSING:
                raise

    def _owned(self, verb: str, method: str, body: Json) -> None:
        """A change that takes the model's owner, or MANAGE."""
        try:
            self._send(verb, method, body)
        except ForbiddenError as error:
            raise grants_needed.on_model(self._rest, body["name"], "MANAGE", error) from error

    def _tag(self, method: str, body: Json) -> None:
        try:
            self._send("POST", method, body)
        except ForbiddenError as error:
            raise grants_needed.on_model(self._rest, body["name"], "APPLY TAG", error) from error

    def _send(self, verb: str, method: str, body: Json, look: Look | None = None) -> Json:
        return self._rest.call(verb, UC + method, body, look=look)


def three_levels(name: str) -> bool:
    """Whether a name is one of Unity Catalog, `catalog.schema.model`."""
    parts = name.split(".")
    return len(parts) == LEVELS and all(parts)


def _shown(head: Json) -> Json:
    """A head as open-source MLflow shows it: 64-bit numbers, which protobuf writes as texts, and the tool's tags."""
    shown: dict[str, Any] = {key: value for key, value in head.items() if value not in ("", None, [])}
    shown.update({key: int(head[key]) for key in NUMBERS if head.get(key)})
    if "version" in head:
        shown["version"] = str(head["version"])
    if head.get("aliases"):
        shown["aliases"] = [{**alias, "version": str(alias["version"])} for alias in head["aliases"]]
    if head.get("tags"):
        shown["tags"] = tag_keys.incoming(head["tags"])
    return shown
