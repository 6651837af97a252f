"""Unity Catalog's own API, /api/2.1/unity-catalog/: catalogs, schemas, volumes, tables, and the metastore.

Field names are those of databricks-sdk's `service/catalog.py`. Models are in `uc_models`, grants in `grants`.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from tests.databricks import access, calls, catalogue, errors, models, prompts
from tests.databricks.access import Securable
from tests.databricks.calls import Call, Handler
from tests.databricks.catalogue import Entry
from tests.databricks.paging import page
from tests.databricks.state import Metastore, Workspace

PREFIX = "/api/2.1/unity-catalog"
MOST = 1000

Answer = Mapping[str, Any] | None


@dataclass(frozen=True)
class Collection:
    """One kind of object: its path, what one must hold to make one in its parent, and fields of one's own."""

    kind: str
    path: str
    needs: str
    sent: tuple[str, ...]


COLLECTIONS = (
    Collection("catalog", "catalogs", "CREATE_CATALOG", ("comment", "properties", "options", "storage_root")),
    Collection("schema", "schemas", "CREATE_SCHEMA", ("comment", "properties", "storage_root")),
    Collection("volume", "volumes", "CREATE_VOLUME", ("comment", "volume_type", "storage_location")),
    Collection(
        "table", "tables", "CREATE_TABLE", ("comment", "table_type", "data_source_format", "columns", "properties")
    ),
)


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The routes of all kinds of objects and of the metastore."""
    table: dict[str, Handler] = {
        "GET current-metastore-assignment": _assignment,
        "GET metastore_summary": _summary,
        "GET metastores/{id}": _metastore,
        "GET tables/{name}/exists": _table_exists,
    }
    for one in COLLECTIONS:
        table |= {
            f"POST {one.path}": _bound(_create, one),
            f"GET {one.path}": _bound(_list, one),
            f"GET {one.path}/{{name}}": _bound(_get, one),
            f"PATCH {one.path}/{{name}}": _bound(_update, one),
            f"DELETE {one.path}/{{name}}": _bound(_delete, one),
        }
    return calls.routes(workspace, table, f"{PREFIX}/")


def _bound(do: Callable[[Call, Collection], Answer], collection: Collection) -> Handler:
    return lambda call: do(call, collection)


def volume_folder(metastore: Metastore, volume: Securable) -> Path:
    """Where a volume's files are, which the Files API has as /Volumes/<catalog>/<schema>/<volume>."""
    return metastore.folder.joinpath("Volumes", *volume.name.split("."))


def make_volume(metastore: Metastore, name: str) -> None:
    """For tests: a managed volume (`main.ml.files`), its catalog and schema, if they aren't there yet."""
    wanted = catalogue.securable("volume", name)
    catalogue.make(metastore, wanted.ancestry[1].name)
    if wanted not in catalogue.entries(metastore):
        catalogue.add(
            metastore, wanted, access.grants(metastore).owners[wanted.ancestry[1]], {"volume_type": "MANAGED"}
        )
        volume_folder(metastore, wanted).mkdir(parents=True, exist_ok=True)


def shown(metastore: Metastore, entry: Entry) -> dict[str, Any]:
    """What every object's answer has."""
    one = entry.securable
    names = one.name.split(".")
    above = dict(zip(("catalog_name", "schema_name"), names[:-1], strict=False))
    return {
        **{key: value for key, value in entry.shown.items() if value not in (None, "")},
        "name": names[-1],
        "full_name": one.name,
        **above,
        "owner": access.grants(metastore).owners[one],
        "metastore_id": metastore.id,
        "created_at": entry.created,
        "created_by": entry.created_by,
        "updated_at": entry.updated,
        "updated_by": entry.updated_by,
    }


def _full(call: Call, collection: Collection) -> Securable:
    """The object a POST names by its parts."""
    parents = {"schema": ("catalog_name",), "catalog": ()}.get(collection.kind, ("catalog_name", "schema_name"))
    name = call.need("name")
    if "." in name:
        raise errors.invalid(f"'{name}' is not a valid name")
    return catalogue.securable(collection.kind, ".".join([*(call.need(parent) for parent in parents), name]))


def _create(call: Call, collection: Collection) -> Answer:
    workspace, wanted = call.workspace, _full(call, collection)
    if collection.kind == "catalog":
        access.require(workspace, call.principal, collection.needs, metastore_securable(workspace.metastore))
    else:
        parent = wanted.ancestry[1]
        catalogue.existing(workspace, parent)
        access.require_use(workspace, call.principal, wanted)
        access.require(workspace, call.principal, collection.needs, parent)
    kept = {key: call.json[key] for key in collection.sent if key in call.json}
    entry = catalogue.add(workspace.metastore, wanted, call.principal.name, kept)
    if collection.kind == "catalog":
        # A new catalog comes with a schema "default".
        catalogue.add(workspace.metastore, Securable("schema", f"{wanted.name}.default"), call.principal.name)
    if collection.kind == "volume":
        volume_folder(workspace.metastore, wanted).mkdir(parents=True, exist_ok=True)
    return shown(workspace.metastore, entry)


def metastore_securable(metastore: Metastore) -> Securable:
    """The metastore as something grants are made on."""
    return Securable("metastore", metastore.id)


def _list(call: Call, collection: Collection) -> Answer:
    workspace = call.workspace
    depth = catalogue.DEPTHS[collection.kind]
    parent = ".".join(call.need(name) for name in ("catalog_name", "schema_name")[: depth - 1])
    if parent:
        above = catalogue.securable("catalog" if depth == 2 else "schema", parent)
        catalogue.existing(workspace, above)
        access.require_use(workspace, call.principal, above)
        access.require(workspace, call.principal, f"USE_{above.type.upper()}", above)
    seen = [
        entry
        for entry in catalogue.inside(workspace.metastore, collection.kind, parent)
        if catalogue.may_see(workspace, call.principal, entry.securable)
    ]
    found, following = page(call, seen, MOST)
    return {collection.path: [shown(workspace.metastore, entry) for entry in found], **following}


def _named(call: Call, collection: Collection) -> Entry:
    return catalogue.usable(call.workspace, call.principal, catalogue.securable(collection.kind, call.names["name"]))


def _get(call: Call, collection: Collection) -> Answer:
    entry = _named(call, collection)
    if not catalogue.may_see(call.workspace, call.principal, entry.securable):
        needed = {"catalog": "USE CATALOG", "schema": "USE SCHEMA", "volume": "READ VOLUME", "table": "SELECT"}
        kind = catalogue.called(collection.kind)
        raise errors.denied(f"User does not have {needed[collection.kind]} on {kind} '{entry.securable.name}'.")
    return shown(call.workspace.metastore, entry)


def _update(call: Call, collection: Collection) -> Answer:
    entry = _named(call, collection)
    catalogue.require_manage(call.workspace, call.principal, entry.securable)
    if "new_name" in call.json:
        raise errors.ApiError(400, "FEATURE_DISABLED", "This emulator doesn't rename catalogs, schemas and volumes")
    change_owner(call, entry)
    entry.shown |= {key: call.json[key] for key in collection.sent if key in call.json}
    entry.touch(call.principal.name)
    return shown(call.workspace.metastore, entry)


def change_owner(call: Call, entry: Entry) -> None:
    """Make the `owner` of the request, if there is one, the owner; raises ApiError 404 for an unknown principal."""
    if owner := call.json.get("owner"):
        require_principal(call.workspace, owner)
        access.grants(call.workspace.metastore).own(entry.securable, owner)


def require_principal(workspace: Workspace, name: str) -> None:
    """Raise ApiError 404 unless the account has a principal or group of that name.

    A workspace's own groups, `users` and `admins`, are none to Unity Catalog.
    """
    account = workspace.account
    known = {*account.principals, *account.groups, "account users"} - {"users", "admins"}
    if name not in known:
        raise errors.ApiError(404, "PRINCIPAL_DOES_NOT_EXIST", f"Could not find principal with name {name}")


def _delete(call: Call, collection: Collection) -> Answer:
    entry, metastore = _named(call, collection), call.workspace.metastore
    catalogue.require_manage(call.workspace, call.principal, entry.securable)
    content = [one for one in catalogue.below(metastore, entry.securable) if not _comes_along(entry, one)]
    if content and call.query.get("force") != "true":
        code = f"{collection.kind.upper()}_NOT_EMPTY"
        kind = catalogue.called(collection.kind)
        raise errors.ApiError(
            400, code, f"{kind} '{entry.securable.name}' is not empty. The {collection.kind} has objects."
        )
    for one in [*catalogue.below(metastore, entry.securable), entry]:
        _forget(metastore, one)
    return None


def _comes_along(parent: Entry, one: Entry) -> bool:
    """The schema `default` that a catalog came with goes with it."""
    return parent.securable.type == "catalog" and one.securable.name == f"{parent.securable.name}.default"


def _forget(metastore: Metastore, entry: Entry) -> None:
    name = entry.securable.name
    if model := models.models(metastore).held.get(name):
        models.delete(metastore, model)
        return
    prompts.prompts(metastore).held.pop(name, None)
    catalogue.remove(metastore, entry.securable)
    if entry.securable.type == "volume":
        shutil.rmtree(volume_folder(metastore, entry.securable), ignore_errors=True)


def _table_exists(call: Call) -> Answer:
    return {
        "table_exists": catalogue.securable("table", call.names["name"]) in catalogue.entries(call.workspace.metastore)
    }


def _assignment(call: Call) -> Answer:
    return {
        "workspace_id": call.workspace.id,
        "metastore_id": call.workspace.metastore.id,
        "default_catalog_name": "main",
    }


def _summary(call: Call) -> Answer:
    metastore = call.workspace.metastore
    cloud = call.workspace.cloud.lower()
    return {
        "metastore_id": metastore.id,
        "name": metastore.name,
        "owner": "admins",
        "cloud": cloud,
        "region": "emulated-1",
        "global_metastore_id": f"{cloud}:emulated-1:{metastore.id}",
        "privilege_model_version": "1.0",
    }


def _metastore(call: Call) -> Answer:
    if call.names["id"] != call.workspace.metastore.id:
        raise errors.ApiError(404, "METASTORE_DOES_NOT_EXIST", f"Metastore '{call.names['id']}' does not exist.")
    return _summary(call)
