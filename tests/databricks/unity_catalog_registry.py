"""The model registry in Unity Catalog as MLflow's client has it: /api/2.0/mlflow/unity-catalog/.

Paths, verbs and bodies are those of mlflow/protos/databricks_uc_registry_service.proto; what a search leaves out
(aliases, tags) is what mlflow/utils/_unity_catalog_utils.py doesn't read of it. Here are no stages, no run links, no
filters but a version's name or run, and no order.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import access, calls, catalogue, errors, models, tags
from tests.databricks.calls import Call, Handler
from tests.databricks.models import Model, Version
from tests.databricks.paging import page
from tests.databricks.state import Workspace

PREFIX = "/api/2.0/mlflow/unity-catalog"
MOST_MODELS = 100
MOST_VERSIONS = 10_000
LINEAGE_HEADER = "x-databricks-lineage-identifier"
CREDENTIAL_SECONDS = 3600
ALIAS = re.compile(r"[\w-]{1,255}", re.ASCII)
RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
# What a version shows of what its creator sent.
SENT = ("source", "run_id", "run_tracking_server_id", "model_id", "model_version_dependencies", "feature_deps")

Answer = Mapping[str, Any] | None


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The registry's routes."""
    table: dict[str, Handler] = {
        "POST registered-models/create": _create_model,
        "GET registered-models/get": _get_model,
        "PATCH registered-models/update": _update_model,
        "DELETE registered-models/delete": _delete_model,
        "GET registered-models/search": _search_models,
        "POST registered-models/alias": _set_alias,
        "DELETE registered-models/alias": _delete_alias,
        "GET registered-models/alias": _get_by_alias,
        "POST registered-models/set-tag": _set_model_tag,
        "DELETE registered-models/delete-tag": _delete_model_tag,
        "POST model-versions/create": _create_version,
        "GET model-versions/get": _get_version,
        "PATCH model-versions/update": _update_version,
        "DELETE model-versions/delete": _delete_version,
        "GET model-versions/search": _search_versions,
        "POST model-versions/finalize": _finalize,
        "POST model-versions/set-tag": _set_version_tag,
        "DELETE model-versions/delete-tag": _delete_version_tag,
        "GET model-versions/get-download-uri": _download_uri,
        "POST model-versions/generate-temporary-credentials": _credentials,
        "POST model-versions/emit-lineage": _emit_lineage,
        "GET registered-models:is-databricks-sdk-models-artifact-repository-enabled": _sdk_files,
    }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _create_model(call: Call) -> Answer:
    sent = call.json
    own = tags.read(sent.get("tags"))
    model = models.create(call.workspace, call.principal, call.need("name"), {"comment": sent.get("description", "")})
    model.tags = own
    model.entry.shown["deployment_job_id"] = sent.get("deployment_job_id", "")
    return {"registered_model": _model(model, whole=True)}


def _get_model(call: Call) -> Answer:
    return {"registered_model": _model(models.readable(call.workspace, call.principal, call.need("name")), whole=True)}


def _update_model(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.need("name"))
    sent = call.json
    if sent.get("new_name"):
        models.rename(call.workspace.metastore, model, sent["new_name"])
    for field, shown in (("description", "comment"), ("deployment_job_id", "deployment_job_id")):
        if field in sent:
            model.entry.shown[shown] = sent[field]
    model.entry.touch(call.principal.name)
    return {"registered_model": _model(model, whole=True)}


def _delete_model(call: Call) -> Answer:
    models.delete(call.workspace.metastore, models.manageable(call.workspace, call.principal, call.need("name")))
    return None


def _search_models(call: Call) -> Answer:
    _refuse(call, "filter", "order_by")
    """What one may not see is left out of a page after it was cut, so that a page may be short or empty."""
    state = models.models(call.workspace.metastore)
    every = [model for _, model in sorted(state.held.items())]
    found, following = page(call, every, min(MOST_MODELS, state.page_size))
    seen = [_model(model, whole=False) for model in found if _visible(call, model)]
    return {"registered_models": seen, **following}


def _visible(call: Call, model: Model) -> bool:
    """Lists are silent about what one may not see."""
    usable = all(
        access.holds(call.workspace, call.principal, f"USE_{level.type.upper()}", level)
        for level in model.entry.securable.ancestry[1:]
    )
    return usable and catalogue.may_see(call.workspace, call.principal, model.entry.securable)


def _set_alias(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.need("name"))
    alias = call.need("alias")
    if not ALIAS.fullmatch(alias) or RESERVED_ALIAS.fullmatch(alias):
        raise errors.invalid(f"Invalid alias name: '{alias}'")
    model.aliases[alias] = models.version_of(model, call.need("version")).number
    model.entry.touch(call.principal.name)
    return None


def _delete_alias(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.need("name"))
    model.aliases.pop(call.need("alias"), None)
    return None


def _get_by_alias(call: Call) -> Answer:
    model = models.readable(call.workspace, call.principal, call.need("name"))
    alias = call.need("alias")
    if alias not in model.aliases:
        raise errors.missing(f"Alias '{alias}' does not exist for registered model '{model.name}'.")
    return {"model_version": _version(call, model, model.versions[model.aliases[alias]], whole=True)}


def _set_model_tag(call: Call) -> Answer:
    model = models.taggable(call.workspace, call.principal, call.need("name"))
    tags.put(model.tags, call.need("key"), str(call.json.get("value", "")))
    return None


def _delete_model_tag(call: Call) -> Answer:
    models.taggable(call.workspace, call.principal, call.need("name")).tags.pop(call.need("key"), None)
    return None


def _create_version(call: Call) -> Answer:
    sent = call.json
    if "run_link" in sent:
        raise errors.invalid("Argument 'run_link' is unsupported for models in the Unity Catalog.")
    call.need("source")
    model = models.extendable(call.workspace, call.principal, call.need("name"))
    kept = {key: sent[key] for key in (*SENT, "description", "tags") if key in sent}
    with call.workspace.metastore.lock:
        version = models.add_version(model, call.principal, kept)
    _note_lineage(call, model, version, {"direction": "UPSTREAM"})
    return {"model_version": _version(call, model, version, whole=True)}


def _get_version(call: Call) -> Answer:
    model = models.readable(call.workspace, call.principal, call.need("name"))
    version = models.version_of(model, call.need("version"))
    return {"model_version": _version(call, model, version, whole=True)}


def _update_version(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.need("name"))
    version = models.version_of(model, call.need("version"))
    if "description" in call.json:
        version.fields["description"] = call.json["description"]
    version.updated = catalogue.now()
    return {"model_version": _version(call, model, version, whole=True)}


def _delete_version(call: Call) -> Answer:
    model = models.manageable(call.workspace, call.principal, call.need("name"))
    models.delete_version(call.workspace.metastore, model, models.version_of(model, call.need("version")))
    return None


def _search_versions(call: Call) -> Answer:
    _refuse(call, "order_by")
    condition = call.fields.get("filter") or ""
    if not condition:
        raise errors.invalid("Missing filter: please specify a filter parameter in the format `name = 'model_name'`.")
    parsed = re.fullmatch(r"""\s*(name|run_id)\s*=\s*(['"])([^'"]+)\2\s*""", condition)
    if not parsed:
        raise errors.invalid(
            f"Unsupported filter query : `{condition}`. Please specify your filter parameter in the format"
            " `name = 'model_name'` or `run_id = 'run_id'`."
        )
    field, _, value = parsed.groups()
    state = models.models(call.workspace.metastore)
    if field == "name":
        searched = [models.readable(call.workspace, call.principal, value)]
    else:
        searched = [model for _, model in sorted(state.held.items()) if _visible(call, model)]
    pairs = [(model, version) for model in searched for version in reversed(model.versions.values())]
    pairs = [pair for pair in pairs if field == "name" or pair[1].fields.get("run_id") == value]
    found, following = page(call, pairs, MOST_VERSIONS, state.page_size)
    return {"model_versions": [_version(call, *pair, whole=False) for pair in found], **following}


def _finalize(call: Call) -> Answer:
    model = models.extendable(call.workspace, call.principal, call.need("name"))
    version = models.version_of(model, call.need("version"))
    models.finalize(call.workspace.metastore, model, version)
    return {"model_version": _version(call, model, version, whole=True)}


def _set_version_tag(call: Call) -> Answer:
    model = models.taggable(call.workspace, call.principal, call.need("name"))
    version = models.version_of(model, call.need("version"))
    tags.put(version.tags, call.need("key"), str(call.json.get("value", "")))
    return None


def _delete_version_tag(call: Call) -> Answer:
    model = models.taggable(call.workspace, call.principal, call.need("name"))
    models.version_of(model, call.need("version")).tags.pop(call.need("key"), None)
    return None


def _download_uri(call: Call) -> Answer:
    model = models.readable(call.workspace, call.principal, call.need("name"))
    version = models.version_of(model, call.need("version"))
    return {"artifact_uri": models.storage_location(call.workspace.metastore, model, version)}


def _credentials(call: Call) -> Answer:
    """Databricks' own storage needs no credentials of a cloud: the client then asks for signed URLs of /Models/…."""
    writing = call.need("operation") == "MODEL_VERSION_OPERATION_READ_WRITE"
    find = models.extendable if writing else models.readable
    model = find(call.workspace, call.principal, call.need("name"))
    version = models.version_of(model, call.need("version"))
    if writing and version.status != models.PENDING:
        raise errors.denied(f"Model version {version.number} of {model.name} is {version.status}: it can't be written")
    if not writing:
        _note_lineage(call, model, version, {"direction": "DOWNSTREAM"})
    until = int((time.time() + CREDENTIAL_SECONDS) * 1000)
    if models.models(call.workspace.metastore).customer_hosted:
        keys = {"access_key_id": "ASIAEMULATED", "secret_access_key": "emulated", "session_token": "emulated"}
        mode = {"storage_mode": "CUSTOMER_HOSTED", "aws_temp_credentials": keys}
        return {"credentials": {"expiration_time": until, **mode}}
    return {"credentials": {"expiration_time": until, "storage_mode": "DEFAULT_STORAGE"}}


def _emit_lineage(call: Call) -> Answer:
    model = models.readable(call.workspace, call.principal, call.need("name"))
    version = models.version_of(model, call.need("version"))
    _note_lineage(call, model, version, call.json.get("model_version_lineage_info") or {})
    return None


def _sdk_files(call: Call) -> Answer:
    enabled = models.models(call.workspace.metastore).sdk_files
    return {"is_databricks_sdk_models_artifact_repository_enabled": enabled}


def _note_lineage(call: Call, model: Model, version: Version, told: Mapping[str, Any]) -> None:
    """Remember who read or made the version, with what the lineage header says of notebook, job and source tables."""
    header = call.headers.get(LINEAGE_HEADER)
    try:
        origin = json.loads(base64.b64decode(header, validate=True)) if header else {}
    except (binascii.Error, ValueError) as error:
        raise errors.invalid(f"Malformed {LINEAGE_HEADER}: {error}") from error
    note = {"name": model.name, "version": version.number, "principal": call.principal.name, **told, "origin": origin}
    models.models(call.workspace.metastore).lineage.append(note)


def _refuse(call: Call, *arguments: str) -> None:
    for name in arguments:
        if call.fields.get(name):
            raise errors.invalid(f"Argument '{name}' is unsupported for models in the Unity Catalog.")


def _model(model: Model, whole: bool) -> dict[str, Any]:
    """A model as `get` shows it (whole), or as searches do."""
    entry = model.entry
    shown: dict[str, Any] = {
        "name": model.name,
        "creation_timestamp": entry.created,
        "last_updated_timestamp": entry.updated,
        "user_id": entry.created_by,
        "description": entry.shown.get("comment", ""),
    }
    if whole:
        aliases = sorted(model.aliases.items())
        shown["aliases"] = [{"alias": alias, "version": str(number)} for alias, number in aliases]
        shown["tags"] = tags.shown(model.tags)
        shown["deployment_job_id"] = entry.shown.get("deployment_job_id", "")
    return {key: value for key, value in shown.items() if value not in ("", [])}


def _version(call: Call, model: Model, version: Version, whole: bool) -> dict[str, Any]:
    """A version as `get` shows it (whole), or as searches do."""
    shown: dict[str, Any] = {
        "name": model.name,
        "version": str(version.number),
        "creation_timestamp": version.created,
        "last_updated_timestamp": version.updated,
        "user_id": version.created_by,
        "description": version.fields.get("description", ""),
        "status": version.status,
        "status_message": version.message,
        "storage_location": models.storage_location(call.workspace.metastore, model, version),
    }
    shown |= {key: version.fields[key] for key in SENT if key in version.fields and key != "feature_deps"}
    if whole:
        names = sorted(models.aliases_of(model, version))
        shown["aliases"] = [{"alias": alias, "version": str(version.number)} for alias in names]
        shown["tags"] = tags.shown(version.tags)
    return {key: value for key, value in shown.items() if value not in ("", [])}
