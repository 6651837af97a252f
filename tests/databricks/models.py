"""Registered models of a Unity Catalog metastore, their versions and files, without HTTP."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.databricks import access, catalogue, errors, tags
from tests.databricks.access import Securable
from tests.databricks.catalogue import Entry
from tests.databricks.state import Metastore, Principal, Workspace

PENDING, READY, FAILED = "PENDING_REGISTRATION", "READY", "FAILED_REGISTRATION"


@dataclass
class Version:
    """One version of a model; `fields` is what its creator sent (source, run_id, model_id, …)."""

    number: int
    fields: dict[str, Any]
    created: int
    created_by: str
    updated: int
    tags: dict[str, str] = field(default_factory=dict)
    status: str = PENDING
    message: str = ""


@dataclass
class Model:
    """A registered model. The number of a deleted version isn't given again."""

    entry: Entry
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    versions: dict[int, Version] = field(default_factory=dict)
    last: int = 0

    @property
    def name(self) -> str:
        """Its full name."""
        return self.entry.securable.name


@dataclass
class Models:
    """The models of one metastore, and what tests switch.

    `sdk_files` is the answer to "is-databricks-sdk-models-artifact-repository-enabled"; `customer_hosted` gives out
    credentials of a cloud's bucket instead of Databricks' storage. `lineage` is what readers and creators reported.
    """

    held: dict[str, Model] = field(default_factory=dict)
    sdk_files: bool = True
    customer_hosted: bool = False
    page_size: int = 100
    lineage: list[dict[str, Any]] = field(default_factory=list)


def models(metastore: Metastore) -> Models:
    """The models of a metastore."""
    return metastore.part(Models)


def named(name: str) -> Securable:
    """The securable of a model's name; raises ApiError 400 unless it has three levels."""
    if name.count(".") != 2 or not all(name.split(".")):
        raise errors.invalid(
            "Bad model name: please specify all three levels of the model in the form"
            " `catalog_name.schema_name.model_name`"
        )
    return Securable("function", name.lower())


def find(workspace: Workspace, principal: Principal, name: str) -> Model:
    """The model, for someone who may use its catalog and schema; raises ApiError 404 or 403."""
    wanted = named(name)
    catalogue.usable(workspace, principal, wanted)
    held = models(workspace.metastore).held
    if wanted.name not in held:
        raise errors.missing(f"Routine or Model '{wanted.name}' does not exist.")
    return held[wanted.name]


def readable(workspace: Workspace, principal: Principal, name: str) -> Model:
    """The model, for someone who may read it (EXECUTE); raises ApiError 404 or 403."""
    model = find(workspace, principal, name)
    access.require(workspace, principal, "EXECUTE", model.entry.securable)
    return model


def manageable(workspace: Workspace, principal: Principal, name: str) -> Model:
    """The model, for someone who may change it (its owner, MANAGE); raises ApiError 404 or 403."""
    model = find(workspace, principal, name)
    catalogue.require_manage(workspace, principal, model.entry.securable)
    return model


def taggable(workspace: Workspace, principal: Principal, name: str) -> Model:
    """The model, for someone who may set its tags (APPLY_TAG); raises ApiError 404 or 403."""
    model = find(workspace, principal, name)
    access.require(workspace, principal, "APPLY_TAG", model.entry.securable)
    return model


def extendable(workspace: Workspace, principal: Principal, name: str) -> Model:
    """The model, for someone who may add versions (CREATE_MODEL_VERSION, owner); raises ApiError 404 or 403."""
    model = find(workspace, principal, name)
    access.require(workspace, principal, "CREATE_MODEL_VERSION", model.entry.securable)
    return model


def create(workspace: Workspace, principal: Principal, name: str, shown: dict[str, Any]) -> Model:
    """A new model; `shown` may have a comment. Raises ApiError 400, 403 or 404."""
    wanted = named(name)
    schema = wanted.ancestry[1]
    catalogue.usable(workspace, principal, schema)
    access.require(workspace, principal, "USE_SCHEMA", schema)
    access.require(workspace, principal, "CREATE_MODEL", schema)
    metastore = workspace.metastore
    with metastore.lock:
        model = Model(catalogue.add(metastore, wanted, principal.name, shown))
        models(metastore).held[wanted.name] = model
        return model


def delete(metastore: Metastore, model: Model) -> None:
    """The model, its versions and their files are gone."""
    with metastore.lock:
        del models(metastore).held[model.name]
        catalogue.remove(metastore, model.entry.securable)
        shutil.rmtree(model_folder(metastore, model), ignore_errors=True)


def rename(metastore: Metastore, model: Model, name: str) -> None:
    """The model has another name in the same schema; its grants and files go along. Raises ApiError 400."""
    before, after = model.entry.securable, named(name if "." in name else f"{model.name.rpartition('.')[0]}.{name}")
    if before.ancestry[1] != after.ancestry[1]:
        raise errors.invalid("Renaming a model to another catalog or schema is not supported")
    with metastore.lock:
        grants, folder = access.grants(metastore), model_folder(metastore, model)
        owner, direct = grants.owners[before], grants.direct.get(before, {})
        entry = catalogue.add(metastore, after, owner, model.entry.shown)
        entry.created, entry.created_by, entry.id = model.entry.created, model.entry.created_by, model.entry.id
        for principal, privileges in direct.items():
            grants.give(after, principal, *privileges)
        catalogue.remove(metastore, before)
        held = models(metastore).held
        model.entry = entry
        held[after.name] = held.pop(before.name)
        if folder.exists():
            folder.rename(model_folder(metastore, model))


def add_version(model: Model, principal: Principal, fields: dict[str, Any]) -> Version:
    """A new version that waits for its files; raises ApiError 400 for tags the platform refuses."""
    own = tags.read(fields.pop("tags", None))
    model.last += 1
    version = Version(model.last, fields, catalogue.now(), principal.name, catalogue.now(), own)
    model.versions[version.number] = version
    model.entry.touch(principal.name)
    return version


def version_of(model: Model, number: Any) -> Version:
    """The version of a number; raises ApiError 400 or 404."""
    if not str(number).isdigit():
        raise errors.invalid(f"Model version must be an integer, got '{number}'")
    if int(number) not in model.versions:
        raise errors.missing(f"Model version '{model.name}' version {number} does not exist.")
    return model.versions[int(number)]


def delete_version(metastore: Metastore, model: Model, version: Version) -> None:
    """The version, its files and the aliases that point at it are gone."""
    with metastore.lock:
        del model.versions[version.number]
        for alias in aliases_of(model, version):
            del model.aliases[alias]
        shutil.rmtree(folder(metastore, model, version), ignore_errors=True)


def finalize(metastore: Metastore, model: Model, version: Version) -> None:
    """The version is READY; raises ApiError 400 when it is already, or has no files."""
    if version.status != PENDING:
        raise errors.ApiError(
            400, "INVALID_STATE", f"Model version {version.number} of {model.name} is {version.status}"
        )
    if not any(one.is_file() for one in folder(metastore, model, version).rglob("*")):
        raise errors.ApiError(
            400, "INVALID_STATE", f"Model version {version.number} of {model.name} can't be finalized: it has no files"
        )
    version.status, version.updated = READY, catalogue.now()


def require_files(metastore: Metastore, model: Securable, number: str, write: bool) -> None:
    """Raise ApiError unless the version is there and, for writing, still waits for its files."""
    held = models(metastore).held.get(model.name)
    if held is None:
        raise errors.ApiError(404, "NOT_FOUND", f"Registered model '{model.name}' does not exist.")
    version = version_of(held, number)
    if write and version.status != PENDING:
        raise errors.denied(f"Model version {number} of {model.name} is {version.status}: its files can't be changed")


def aliases_of(model: Model, version: Version) -> list[str]:
    """The aliases that point at a version."""
    return [alias for alias, number in model.aliases.items() if number == version.number]


def folder(metastore: Metastore, model: Model, version: Version) -> Path:
    """Where the files of a version are: what the Files API has as /Models/<catalog>/<schema>/<model>/<version>."""
    return model_folder(metastore, model) / str(version.number)


def model_folder(metastore: Metastore, model: Model) -> Path:
    """The folder of all versions' files."""
    return metastore.folder.joinpath("Models", *model.name.split("."))


def storage_location(metastore: Metastore, model: Model, version: Version) -> str:
    """The bucket's address answers show; nothing but temporary credentials opens it."""
    return f"s3://metastore-{metastore.name}/models/{model.entry.id}/versions/{version.number}"
