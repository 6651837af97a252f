"""Who may use or manage an app: `/api/2.0/permissions/apps/NAME`, by fields of databricks-sdk's `service/apps.py`.

PATCH adds somebody, or gives another level; it takes nothing away. What takes something away is PUT, which replaces
everything given on the app itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from mlflow_migration.errors import UsageError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks.permissions import FIELDS, ROUTE
from mlflow_migration.server.databricks.principals import likely_type
from mlflow_migration.server.rest import Rest

LEVELS = ("CAN_USE", "CAN_MANAGE")
APPS = "apps/"


@dataclass(frozen=True)
class Holder:
    """Somebody who has a level on an app. `type` is user, group or service_principal; `inherited` from where, or ""."""

    type: str
    name: str
    level: str
    inherited: str = ""


def parsed(text: str) -> Holder:
    """`PRINCIPAL=LEVEL`, or a principal alone: a mail address, an application id, or a group's name.

    `user:`, `group:` or `service_principal:` before it says which it is. Raises UsageError for no such level.
    """
    principal, separator, level = text.rpartition("=") if "=" in text else (text, "", "")
    type_, colon, name = principal.partition(":")
    if not colon or type_ not in FIELDS:
        type_, name = likely_type(principal), principal
    if not name or (separator and level not in LEVELS):
        raise UsageError(
            f"not a principal and its level: {text!r}", hint=f"write it ann@example.com={LEVELS[0]} or data={LEVELS[1]}"
        )
    return Holder(type_, name, level)


def held(rest: Rest, name: str) -> Sequence[Holder]:
    """Everybody's levels on an app. Raises ServerError where there is none, ForbiddenError."""
    return tuple(_holders(rest.call("GET", _route(name))))


def grant(rest: Rest, name: str, wanted: Sequence[Holder], dry_run: bool = False) -> Sequence[Holder]:
    """Give what isn't given yet; what was, or would be, given. One request at most."""
    there = {(each.type, each.name): each.level for each in held(rest, name) if not each.inherited}
    new = [each for each in wanted if there.get((each.type, each.name)) != each.level]
    if new and not dry_run:
        rest.call("PATCH", _route(name), {"access_control_list": _rows(new)})
    return new


def revoke(rest: Rest, name: str, unwanted: Sequence[Holder], dry_run: bool = False) -> Sequence[Holder]:
    """Take away what is given on the app itself; what was, or would be, taken. One request at most.

    The workspace's admins manage it all the same: they have that by inheritance.
    """
    there = held(rest, name)
    gone = {(each.type, each.name) for each in unwanted}
    taken = [each for each in there if not each.inherited and (each.type, each.name) in gone]
    left = [each for each in there if each not in taken]
    if taken and not dry_run:
        body = {"access_control_list": _rows([each for each in left if not each.inherited])}
        rest.call("PUT", _route(name), body)
    return taken


def _holders(answer: Json) -> Iterator[Holder]:
    for row in answer.get("access_control_list") or ():
        type_ = next(type_ for type_, field in FIELDS.items() if row.get(field))
        for each in row.get("all_permissions") or ():
            origin = ", ".join(map(str, each.get("inherited_from_object") or ())) or "elsewhere"
            inherited = origin if each.get("inherited") else ""
            yield Holder(type_, str(row[FIELDS[type_]]), str(each["permission_level"]), inherited)


def _rows(entries: Sequence[Holder]) -> list[Json]:
    return [{FIELDS[each.type]: each.name, "permission_level": each.level} for each in entries]


def _route(name: str) -> str:
    return f"{ROUTE}{APPS}{quote(name, safe='')}"
