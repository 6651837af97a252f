"""Roles of MLflow's basic-auth: a name, and what those who have it may do. Who has it is told by grants.

Roles belong to a workspace; a job moves those of its own. A role is known by name: one that the destination had before
is left alone, since to add to it would give its members rights that nobody meant them to have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, NotFoundError
from mlflow_migration.objects import access, access_forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "role"
NEEDS: tuple[str, ...] = ("experiment", "registered_model", "prompt")
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.17",
    carried="name, description, permissions, each on the destination's own thing (with --permissions)",
    kept_beside="nothing: MLflow gives roles no tags",
    lost="id; permissions on what isn't at the destination",
)
NEW_IDS = False
validate_row = kind.no_row
link = kind.no_link
origin = kind.own_id
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises ValueError."""
    form = access_forms.Role.model_validate(head)
    things = {(each.resource_type, each.resource_pattern) for each in form.permissions}
    if len(things) < len(form.permissions):
        raise ValueError("it has two permissions on one thing")
    return home(form.name), form.name


def home(name: str) -> tuple[str, ...]:
    return ("roles", name)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All roles of the workspace, where they are asked for."""
    if access.wanted(selection) and source.users.exist():
        yield from _records(source)


def record(source: Readable, name: str, selection: Selection) -> Record | None:
    """One role by name, or None."""
    return next((found for found in _records(source) if found.id == name), None)


def _records(source: Readable) -> Iterator[Record]:
    described = access.Described(source)
    for role in source.users.list_roles():
        if not role["name"].startswith(access.OWN_PREFIX):
            head = {
                "name": role["name"],
                "description": role.get("description") or "",
                "permissions": sorted(described(role["permissions"]), key=access.thing),
            }
            yield Record(NAME, role["name"], role["name"], home(role["name"]), head)


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those of a bundle, as `read` gives them."""
    return (record for record in records if access.wanted(selection))


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    levels = {access.about(each, swaps or {}): each["permission"] for each in record.head.get("permissions", [])}
    return {"name": record.name, "description": record.head.get("description", ""), "permissions": levels, "tags": {}}


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns experiments' ids and models' names into those that both ends share."""
    return access.swaps_of(record.head.get("permissions", []), known)


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the role, or bring the one this job made up to date. Raises ConflictError for another one of that name."""
    target = access.Destination(sink, ids, job.dry_run)
    if not target.has_users():
        return Written("", "unsupported", reason=access.NO_USERS)
    roles = ids.once("roles before", lambda: {role["name"]: role for role in sink.users.list_roles()})
    there, plan = roles.get(record.id), _Plan(target, record.head)
    if there is None:
        if not job.dry_run:
            made = sink.users.create_role(record.id, plan.description)
            target.claim(NAME, record.id, str(made["id"]))
            plan.carry_out(made)
        return Written("" if job.dry_run else record.id, "done", losses=tuple(plan.losses))
    if plan.is_there(there):
        return Written(record.id, "same", losses=tuple(plan.losses))
    if not target.is_ours(NAME, record.id, str(there["id"])):
        raise ConflictError(
            f"the role {record.id!r} is another one at the destination",
            f"it allows or says something else at {sink.address}",
            "rename or delete that one, then type the command again",
        )
    if not job.dry_run:
        plan.carry_out(there)
    return Written(record.id, "updated", losses=tuple(plan.losses))


@dataclass
class _Plan:
    """What a role must be at the destination; `losses` are the permissions that it can't have there."""

    target: access.Destination
    head: Json
    losses: list[Loss] = field(default_factory=list)
    wanted: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        for permission in self.head.get("permissions", []):
            try:
                self.wanted.append(self.target.there(permission))
            except NotFoundError as error:
                self.losses.append(Loss("permission", access.about(permission, {}), error.what))

    @property
    def description(self) -> str:
        return str(self.head.get("description", ""))

    def is_there(self, role: Json) -> bool:
        """Whether the destination's role is just this."""
        levels = {access.thing(row): row["permission"] for row in role["permissions"]}
        wanted = {access.thing(row): row["permission"] for row in self.wanted}
        return levels == wanted and (role.get("description") or "") == self.description

    def carry_out(self, role: Json) -> None:
        """Make the destination's role this one: what the source has taken away since is taken away there too."""
        calls = self.target.sink.users
        if (role.get("description") or "") != self.description:
            calls.update_role(role["id"], self.description)
        present = {access.thing(row): row for row in role["permissions"]}
        for permission in self.wanted:
            found = present.pop(access.thing(permission), None)
            if found is None:
                calls.add_role_permission(role["id"], permission)
            elif found["permission"] != permission["permission"]:
                calls.update_permission(found["id"], permission["permission"])
        for surplus in present.values():
            calls.remove_permission(surplus["id"])
