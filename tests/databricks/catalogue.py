"""What a Unity Catalog metastore holds: catalogs, schemas, volumes, tables, and the names of models and prompts.

Names are kept in lower case, as Unity Catalog does (Databricks' page "Names"), and a model or prompt is an object of
the type `function`, the namespace they share with functions. Who owns an object and what was granted on it are in
`access.Grants`.
"""

import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.databricks import access, errors
from tests.databricks.access import Securable
from tests.databricks.privileges import GRANTABLE
from tests.databricks.state import ADMIN, Metastore, Principal, Workspace

# How many parts the full name of an object has.
DEPTHS = {"catalog": 1, "schema": 2, "volume": 3, "table": 3, "function": 3}
LONGEST_NAME = 255
# The code of each type in errors; the others share RESOURCE_DOES_NOT_EXIST and RESOURCE_ALREADY_EXISTS.
CODES = {"catalog": "CATALOG", "schema": "SCHEMA", "table": "TABLE"}
CALLED = {"function": "Routine or Model"}


@dataclass
class Entry:
    """One object and what its API shows beside name and owner."""

    securable: Securable
    shown: dict[str, Any]
    created: int
    created_by: str
    updated: int
    updated_by: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def touch(self, principal: str) -> None:
        """It was changed now."""
        self.updated, self.updated_by = now(), principal


@dataclass
class Catalogue:
    """The objects of one metastore."""

    entries: dict[Securable, Entry] = field(default_factory=dict)


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def utc(seconds: int) -> str:
    """A time as ISO 8601 has it, without a zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def entries(metastore: Metastore) -> dict[Securable, Entry]:
    """All objects of a metastore."""
    return metastore.part(Catalogue).entries


def securable(kind: str, name: str) -> Securable:
    """The object of a full name in any case; raises ApiError 400 for a name with the wrong number of parts."""
    if len(name.split(".")) != DEPTHS[kind] or not all(name.split(".")):
        raise errors.invalid(f"'{name}' is not a valid name: a {kind} has {DEPTHS[kind]} levels")
    return Securable(kind, name.lower())


def called(kind: str) -> str:
    """What messages call an object of this type."""
    return CALLED.get(kind, kind.capitalize())


def existing(workspace: Workspace, wanted: Securable) -> Entry:
    """The object; raises ApiError 404 for the first level that isn't there."""
    for level in reversed(wanted.ancestry):
        if level not in entries(workspace.metastore):
            code = f"{CODES.get(level.type, 'RESOURCE')}_DOES_NOT_EXIST"
            raise errors.ApiError(404, code, f"{called(level.type)} '{level.name}' does not exist.")
    return entries(workspace.metastore)[wanted]


def usable(workspace: Workspace, principal: Principal, wanted: Securable) -> Entry:
    """The object, when it is there and the principal may use its catalog and schema; raises ApiError 404 or 403."""
    found = existing(workspace, wanted)
    access.require_use(workspace, principal, wanted)
    return found


def may_see(workspace: Workspace, principal: Principal, wanted: Securable) -> bool:
    """Whether lists show the object: it is the principal's, or a privilege that applies to it is held."""
    if access.is_admin(workspace, principal):
        return True
    return bool(access.privileges(workspace, principal, wanted) & {"OWNER", "BROWSE", *GRANTABLE[wanted.type]})


def require_manage(workspace: Workspace, principal: Principal, wanted: Securable) -> None:
    """Raise ApiError 403 unless the principal owns the object or what it is in, or was granted MANAGE."""
    if access.is_admin(workspace, principal):
        return
    if not access.privileges(workspace, principal, wanted) & {"OWNER", "MANAGE"}:
        raise errors.denied(f"User does not have MANAGE on {called(wanted.type)} '{wanted.name}'.")


def add(metastore: Metastore, wanted: Securable, owner: str, shown: dict[str, Any] | None = None) -> Entry:
    """Put an object into the metastore; raises ApiError 400 when one of that name is there or the name can't be."""
    leaf = wanted.name.rpartition(".")[2]
    if re.search(r"[\s/\x00-\x1f\x7f]", leaf) or len(leaf) > LONGEST_NAME:
        raise errors.invalid(f"'{leaf}' is not a valid name: spaces, slashes and control characters are not allowed")
    with metastore.lock:
        if wanted in entries(metastore):
            code = f"{CODES.get(wanted.type, 'RESOURCE')}_ALREADY_EXISTS"
            raise errors.ApiError(400, code, f"{called(wanted.type)} '{wanted.name}' already exists")
        entry = Entry(wanted, dict(shown or {}), now(), owner, now(), owner)
        entries(metastore)[wanted] = entry
        access.grants(metastore).own(wanted, owner)
        return entry


def remove(metastore: Metastore, gone: Securable) -> None:
    """Take an object out of the metastore, with its owner and grants."""
    with metastore.lock:
        del entries(metastore)[gone]
        access.grants(metastore).forget(gone)


def inside(metastore: Metastore, kind: str, parent: str = "") -> list[Entry]:
    """The objects of a type directly in a catalog or schema, by name."""
    found = [
        entry for one, entry in entries(metastore).items() if one.type == kind and _parent(one.name) == parent.lower()
    ]
    return sorted(found, key=lambda entry: entry.securable.name)


def below(metastore: Metastore, parent: Securable) -> list[Entry]:
    """Everything in a catalog or schema, at any depth."""
    if parent.type not in access.PARENTS:
        return []
    return [entry for one, entry in entries(metastore).items() if one.name.startswith(f"{parent.name}.")]


def make(metastore: Metastore, *names: str, owner: str = ADMIN) -> None:
    """For tests: catalogs (`main`) and schemas (`main.ml`, its catalog too) that aren't there yet."""
    for name in names:
        for wanted in reversed(securable("schema" if "." in name else "catalog", name).ancestry):
            if wanted not in entries(metastore):
                add(metastore, wanted, owner)


def grant(metastore: Metastore, principal: str, on: str, *privileges: str) -> None:
    """For tests: grant on a catalog, schema, or (three levels) model."""
    kinds: Iterable[str] = ("catalog", "schema", "function")
    kind = dict(zip((1, 2, 3), kinds, strict=True))[len(on.split("."))]
    access.grants(metastore).give(securable(kind, on), principal, *privileges)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
