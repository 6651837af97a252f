"""Models in Unity Catalog's own API, /api/2.1/unity-catalog/models: the same models as the MLflow registry's.

Field names are those of databricks-sdk's RegisteredModelInfo and ModelVersionInfo.
"""

from collections.abc import Mapping
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import access, calls, catalogue, errors, models
from tests.databricks.calls import Call, Handler
from tests.databricks.models import Model, Version
from tests.databricks.paging import page
from tests.databricks.state import Workspace
from tests.databricks.unity_catalog import PREFIX, change_owner, shown

MOST = 1000

Answer = Mapping[str, Any] | None


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of models and their versions."""
    table: dict[str, Handler] = {
        "POST models": _create,
        "GET models": _list,
        "GET models/{name}": _get,
        "PATCH models/{name}": _update,
        "DELETE models/{name}": _delete,
        "PUT models/{name}/aliases/{alias}": _set_alias,
        "DELETE models/{name}/aliases/{alias}": _delete_alias,
        "GET models/{name}/aliases/{alias}": _get_by_alias,
        "GET models/{name}/versions": _list_versions,
        "GET models/{name}/versions/{version}": _get_version,
        "PATCH models/{name}/versions/{version}": _update_version,
        "DELETE models/{name}/versions/{version}": _delete_version,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _create(call: Call) -> Answer:
    name = ".".join(call.need(part) for part in ("catalog_name", "schema_name", "name"))
    kept = {"comment": call.json.get("comment", "")}
    return _model(call, models.create(call.workspace, call.principal, name, kept))


def _list(call: Call) -> Answer:
    """Those of a schema, or of the whole metastore when none is named."""
    place = ".".join(call.query[part] for part in ("catalog_name", "schema_name") if call.query.get(part))
    if place.count(".") == 1:
        catalogue.usable(call.workspace, call.principal, catalogue.securable("schema", place))
    prefix = f"{place.lower()}." if place else ""
    seen = [
        model
        for name, model in sorted(models.models(call.workspace.metastore).held.items())
        if name.startswith(prefix) and catalogue.may_see(call.workspace, call.principal, model.entry.securable)
    ]
    found, following = page(call, seen, MOST)
    return {"registered_models": [_model(call, model) for model in found], **following}


def _get(call: Call) -> Answer:
    return _model(call, models.readable(call.workspace, call.principal, call.names["name"]))


def _update(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.names["name"])
    if "comment" in call.json:
        model.entry.shown["comment"] = call.json["comment"]
    if call.json.get("new_name"):
        models.rename(call.workspace.metastore, model, call.json["new_name"])
    change_owner(call, model.entry)
    model.entry.touch(call.principal.name)
    return _model(call, model)


def _delete(call: Call) -> Answer:
    models.delete(call.workspace.metastore, models.manageable(call.workspace, call.principal, call.names["name"]))
    return None


def _set_alias(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.names["name"])
    version = models.version_of(model, call.need("version_num"))
    model.aliases[call.names["alias"]] = version.number
    return _alias(model, call.names["alias"])


def _delete_alias(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.names["name"])
    model.aliases.pop(call.names["alias"], None)
    return None


def _get_by_alias(call: Call) -> Answer:
    model, alias = models.readable(call.workspace, call.principal, call.names["name"]), call.names["alias"]
    if alias not in model.aliases:
        raise errors.missing(f"Alias '{alias}' does not exist for registered model '{model.name}'.")
    return _version(call, model, model.versions[model.aliases[alias]])


def _list_versions(call: Call) -> Answer:
    model = models.readable(call.workspace, call.principal, call.names["name"])
    found, following = page(call, list(model.versions.values()), MOST)
    return {"model_versions": [_version(call, model, version) for version in found], **following}


def _get_version(call: Call) -> Answer:
    model = models.readable(call.workspace, call.principal, call.names["name"])
    return _version(call, model, models.version_of(model, call.names["version"]))


def _update_version(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.names["name"])
    version = models.version_of(model, call.names["version"])
    if "comment" in call.json:
        version.fields["description"] = call.json["comment"]
    version.updated = catalogue.now()
    return _version(call, model, version)


def _delete_version(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.names["name"])
    models.delete_version(call.workspace.metastore, model, models.version_of(model, call.names["version"]))
    return None


def _model(call: Call, model: Model) -> dict[str, Any]:
    body = shown(call.workspace.metastore, model.entry)
    aliases = [_alias(model, alias) for alias in sorted(model.aliases)]
    return {**body, "aliases": aliases} if aliases else body


def _alias(model: Model, alias: str) -> dict[str, Any]:
    return {"alias_name": alias, "version_num": model.aliases[alias]}


def _version(call: Call, model: Model, version: Version) -> dict[str, Any]:
    catalog, schema, name = model.name.split(".")
    sent = version.fields
    body = {
        "catalog_name": catalog,
        "schema_name": schema,
        "model_name": name,
        "version": version.number,
        "comment": sent.get("description", ""),
        "source": sent.get("source", ""),
        "run_id": sent.get("run_id", ""),
        "status": version.status,
        "storage_location": models.storage_location(call.workspace.metastore, model, version),
        "metastore_id": call.workspace.metastore.id,
        "owner": access.grants(call.workspace.metastore).owners[model.entry.securable],
        "created_at": version.created,
        "created_by": version.created_by,
        "updated_at": version.updated,
        "aliases": [_alias(model, alias) for alias in sorted(models.aliases_of(model, version))],
    }
    return {key: value for key, value in body.items() if value not in ("", [])}
