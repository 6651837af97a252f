"""What a user of MLflow's basic-auth has: a role, or a permission of their own on one thing. Each is a grant.

MLflow gives whoever makes a thing all rights on it, so that at a destination the user who writes has grants of their
own, and people go on to get more. So each grant is an object: what only the destination has is left alone. A grant
taken back at the source stays at a destination, where `verify` lists it.

A user's own permissions stand in a role named `__user_7__` after the user's number (MLflow 3.17), which differs between
servers; roles and permissions are those of the job's workspace.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from mlflow_migration.calls import Live, Readable
from mlflow_migration.calls.access_lists import BASIC_AUTH, AccessList, Entry
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import access, access_forms, experiment, giving, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Record, Written

NAME = "grant"
NEEDS: tuple[str, ...] = ("experiment", "registered_model", "prompt", "user", "role")
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.17",
    carried="a user's role; a user's own permission on the destination's own thing (with --permissions)",
    kept_beside="nothing: MLflow gives permissions no tags",
    lost="id; a user's own permission on a workspace, which REST can't set",
)
NEW_IDS = False
validate_row = kind.no_row
link = kind.no_link
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
WORKSPACE = "workspace"
ROLE = "role"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    access_forms.Grant.model_validate(head)
    return home(head), id_of(head)


def home(head: Json) -> tuple[str, ...]:
    return ("grants", id_of(head))


def id_of(head: Json) -> str:
    """The user, and what is granted: two places' ids of one grant differ where those of its experiment do."""
    thing = (ROLE, head[ROLE]) if head.get(ROLE) else access.thing(head["permission"])
    return "/".join(quote(part, safe="*") for part in (head["username"], *thing))


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All grants in the workspace, where they are asked for."""
    if access.wanted(selection) and source.users.exist():
        yield from _records(source)


def record(source: Readable, grant_id: str, selection: Selection) -> Record | None:
    """One grant by id, or None."""
    return next((found for found in _records(source) if found.id == grant_id), None)


def _records(source: Readable) -> Iterator[Record]:
    described = access.Described(source)
    for user in source.users.list_users():
        for role in _roles(source, user):
            if not role["name"].startswith(access.OWN_PREFIX):
                yield _record({"username": user["username"], ROLE: role["name"]})
                continue
            for permission in described(role["permissions"]):
                yield _record({"username": user["username"], "permission": permission})


def _roles(live: Readable, user: Json) -> Iterator[Json]:
    return (role for role in user["roles"] if role["workspace"] == live.users.workspace)


def _record(head: Json) -> Record:
    permission, refs = head.get("permission"), {}
    if permission and (experiment_id := access.experiment_of(permission)):
        refs[experiment.NAME] = experiment_id
    elif permission and (model := access.model_of(permission)):
        refs[permission["resource_type"]] = model
    return Record(NAME, id_of(head), _words(head), home(head), head, refs)


def _words(head: Json) -> str:
    if head.get(ROLE):
        return f"{head['username']}: role {head[ROLE]}"
    return f"{head['username']}: {head['permission']['permission']} on {access.about(head['permission'], {})}"


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those of a bundle, as `read` gives them."""
    return (record for record in records if access.wanted(selection))


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    permission = record.head.get("permission")
    levels = {access.about(permission, swaps or {}): permission["permission"]} if permission else {}
    return {"user": record.head["username"], ROLE: record.head.get(ROLE), "permissions": levels, "tags": {}}


def origin(record: Record) -> str:
    """What is granted to whom; grants on an experiment, model or prompt are pairs where those are."""
    permission = record.head.get("permission")
    if permission and (access.experiment_of(permission) or access.model_of(permission)):
        within = access.within_experiment(permission) if access.experiment_of(permission) else ""
        thing = (permission["resource_type"], within)
    else:
        thing = (ROLE, record.head[ROLE]) if not permission else ("", access.about(permission, {}))
    return "/".join(quote(part, safe="") for part in (record.head["username"], *thing))


def swaps_of(record: Record, known: kind.Known) -> dict[str, str]:
    """What turns the experiment's id or the model's name into the one that both ends share."""
    permission = record.head.get("permission")
    return access.swaps_of([permission] if permission else [], known)


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Give the user what the source gave. Raises NotFoundError where user, role or thing isn't at the destination."""
    if sink.access_lists is not None:
        return _entered(sink, record, ids, job)
    target = access.Destination(sink, ids, job.dry_run)
    if not target.has_users():
        return Written("", "unsupported", reason=access.NO_USERS)
    users = ids.once("users after", lambda: {head["username"]: head for head in sink.users.list_users()})
    user = users.get(record.head["username"])
    if user is None and not job.dry_run:
        raise NotFoundError("its user did not arrive", f"user {record.head['username']!r}")
    if record.head.get(ROLE):
        return _assign(target, record, user)
    return _grant(target, record, user)


def _entered(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Put a user's permission into the access list of the thing, where the destination keeps such lists."""
    permission = record.head.get("permission")
    if not permission:
        return Written("", "unsupported", reason="Databricks has groups in place of roles: make one, and grant to it")
    type_, pattern = access.thing(permission)
    if type_ not in giving.SECURABLES or pattern == access.ALL or access.within_experiment(permission).strip("/"):
        return Written("", "unsupported", reason=f"Databricks keeps no permissions on {access.about(permission, {})}")
    entry = Entry("user", record.head["username"], (permission["permission"],))
    thing = giving.thing_at(sink, type_, pattern, ids, job)
    result = giving.give(sink, thing, AccessList(BASIC_AUTH, (entry,)), ids, job)
    untold = [loss for loss in result.losses if loss.wanted]
    if untold and not result.changed:
        return Written("", "unsupported", reason="; ".join(loss.reason for loss in untold))
    state = "updated" if result.raised else "done" if result.changed else "skipped" if result.losses else "same"
    reason = result.losses[0].reason if state == "skipped" else ""
    return Written("" if job.dry_run else record.id, state, reason=reason, losses=tuple(untold))


def _assign(target: access.Destination, record: Record, user: Json | None) -> Written:
    name, sink = record.head[ROLE], target.sink
    if user is not None and any(role["name"] == name for role in _roles(sink, user)):
        return Written(record.id, "same")
    if target.dry_run:
        return Written("", "done")
    # A role that this job did not find to be the source's may be another one: nobody is given that.
    if target.ids.get(ROLE, name) is None:
        raise NotFoundError("its role did not arrive", f"role {name!r}")
    roles = target.ids.once("roles after", lambda: {role["name"]: role["id"] for role in sink.users.list_roles()})
    sink.users.assign_role(record.head["username"], roles[name])
    return Written(record.id, "done")


def _grant(target: access.Destination, record: Record, user: Json | None) -> Written:
    permission = record.head["permission"]
    if permission["resource_type"] == WORKSPACE:
        return Written("", "unsupported", reason="MLflow's REST API gives this to roles only: make it one")
    wanted = target.there(permission)
    there_id = id_of({"username": record.head["username"], "permission": wanted})
    found = _present(target.sink, user, wanted)
    if found is None:
        if not target.dry_run:
            target.sink.users.grant(record.head["username"], wanted)
            target.claim(NAME, record.id, there_id)
        return Written("" if target.dry_run else there_id, "done")
    if found["permission"] == wanted["permission"]:
        return Written(there_id, "same")
    if not target.is_ours(NAME, record.id, there_id):
        reason = f"the user has {found['permission']} there already, which stays"
        return Written(there_id, "unsupported", reason=reason)
    if not target.dry_run:
        target.sink.users.update_permission(found["id"], wanted["permission"])
    return Written(there_id, "updated")


def _present(sink: Live, user: Json | None, wanted: Json) -> Json | None:
    """The user's own permission on the same thing."""
    for role in _roles(sink, user) if user else ():
        if role["name"].startswith(access.OWN_PREFIX):
            for row in role["permissions"]:
                if access.thing(row) == access.thing(wanted):
                    found: Json = row
                    return found
    return None
