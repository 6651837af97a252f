"""Who may use an app's Volume: whether whoever deploys can give it to the app, and whether the app has it.

Binding a Volume to an app grants the app's service principal USE CATALOG, USE SCHEMA, READ VOLUME and WRITE VOLUME,
where the one who binds it has MANAGE there (Databricks' page "Add a Unity Catalog volume resource to an app").
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from mlflow_migration.check_access import ALL_PRIVILEGES, ALSO, MANAGE, Securable, check
from mlflow_migration.errors import ForbiddenError, MigrationError, UsageError
from mlflow_migration.server.databricks.grants import CATALOG, ROUTE, SCHEMA, VOLUME, Grants, statement
from mlflow_migration.server.databricks.principals import EVERYBODY, Principals
from mlflow_migration.server.rest import Rest

OF_APP = (("USE_CATALOG", CATALOG), ("USE_SCHEMA", SCHEMA), ("READ_VOLUME", VOLUME), ("WRITE_VOLUME", VOLUME))
"""What the app needs, and on what."""


def securable(type_: str, volume: str) -> Securable:
    """The Volume, its schema or its catalog."""
    depth = {CATALOG: 1, SCHEMA: 2, VOLUME: 3}[type_]
    return Securable(type_, ".".join(volume.split(".")[:depth]))


def require_grantable(rest: Rest, volume: str) -> None:
    """Raise UsageError where there is no such Volume, ForbiddenError where the caller can't give an app its rights."""
    try:
        lacking, why = _not_grantable(rest, volume), ""
    except ForbiddenError as error:
        lacking, why = list(OF_APP), error.why
    if not lacking:
        return
    me = Principals(rest).me().name
    on = list(dict.fromkeys(securable(type_, volume) for _, type_ in lacking))
    words = ", ".join(f"{privilege} on {securable(type_, volume)}" for privilege, type_ in lacking)
    raise ForbiddenError(
        f"the app can't be given the Volume {volume}",
        why or f"{me} may not grant {words}",
        "who may, types: " + " ".join(statement(MANAGE, each.type, each.name, me) for each in on),
    )


def _not_grantable(rest: Rest, volume: str) -> list[tuple[str, str]]:
    """What of `OF_APP` the caller can't grant, and not everybody has already."""
    if _owns_metastore(rest):
        check(rest, "", [(MANAGE, securable(VOLUME, volume))])
        return []
    wanted = [(MANAGE, securable(type_, volume)) for type_ in (CATALOG, SCHEMA, VOLUME)]
    can_manage = {each.securable.type: bool(each.how or each.note) for each in check(rest, "", wanted).findings}
    return [
        (privilege, type_)
        for privilege, type_ in OF_APP
        if not can_manage[type_] and not _holds(rest, privilege, securable(type_, volume), (EVERYBODY,))
    ]


def missing(rest: Rest, volume: str, client_id: str) -> list[tuple[str, Securable]]:
    """What an app's service principal lacks on a Volume.

    Only its own grants and everybody's are looked at: nobody but administrators may ask which groups it is in.
    """
    wanted = [(privilege, securable(type_, volume)) for privilege, type_ in OF_APP]
    return [(privilege, on) for privilege, on in wanted if not _holds(rest, privilege, on, (client_id, EVERYBODY))]


def give(rest: Rest, client_id: str, lacking: list[tuple[str, Securable]]) -> None:
    """Grant it. Raises ForbiddenError with the statements for somebody who may."""
    try:
        for privilege, on in lacking:
            path = f"{ROUTE}permissions/{on.type}/{quote(on.name, safe='')}"
            rest.call("PATCH", path, {"changes": [{"principal": client_id, "add": [privilege]}]})
    except ForbiddenError as error:
        statements = " ".join(statement(privilege, on.type, on.name, client_id) for privilege, on in lacking)
        raise ForbiddenError(
            "the app lacks rights on its Volume", error.why, f"who may, types: {statements}"
        ) from error


def take(rest: Rest, client_id: str, volume: str) -> Iterator[tuple[str, str]]:
    """Take what was granted to a principal directly: what was taken in words, and why it couldn't be, "" where it was.

    Grants to a service principal that is deleted stay with nobody's name, and can't be taken away any more.
    """
    for type_ in (VOLUME, SCHEMA, CATALOG):
        target = securable(type_, volume)
        try:
            rows = [row for row in Grants(rest).direct(type_, target.name) if row.get("principal") == client_id]
            held = [str(each) for row in rows for each in row.get("privileges", ())]
            if held:
                path = f"{ROUTE}permissions/{type_}/{quote(target.name, safe='')}"
                rest.call("PATCH", path, {"changes": [{"principal": client_id, "remove": held}]})
        except MigrationError as error:
            yield f"of {client_id} on {target}", str(error)
            continue
        if held:
            yield f"{', '.join(held)} on {target} from {client_id}", ""


def _owns_metastore(rest: Rest) -> bool:
    head = Grants(rest).metastore()
    if head is None:
        raise UsageError("the workspace has no Unity Catalog", "Volumes are part of it", "use a workspace that has it")
    principals = Principals(rest)
    me = principals.me()
    names = {me.name, *(each.group for each in principals.memberships(me).all)}
    return str(head.get("owner", "")) in names


def _holds(rest: Rest, privilege: str, target: Securable, principals: tuple[str, ...]) -> bool:
    """Whether one of these principals has a privilege, or the old name of it, or all."""
    held = {
        str(each.get("privilege"))
        for row in Grants(rest).effective(target.type, target.name, principals)
        if row.get("principal") in principals
        for each in row.get("privileges", ())
    }
    return bool(held & {privilege, ALL_PRIVILEGES, *ALSO.get(privilege, ())})
