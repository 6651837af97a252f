"""Users of MLflow's basic-auth: the name, and whether it is an administrator's.

MLflow gives nobody's password, so that a new user gets a random one, which is thrown away: an administrator sets
another. A user is known by name. One that the destination had before keeps its password, and is made an administrator
by nobody's copy.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.calls.access_lists import AccessListCalls
from mlflow_migration.objects import access, access_forms, giving, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "user"
NEEDS: tuple[str, ...] = ()
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.17",
    carried="name, administrator or not (with --permissions)",
    kept_beside="nothing: MLflow gives users no tags",
    lost="password, id",
)
NEW_IDS = False
validate_row = kind.no_row
link = kind.no_link
origin = kind.own_id
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
NEW_ONE = "it has a random password that nobody knows: MLflow never gives the old one. Set a new one"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    username = access_forms.User.model_validate(head).username
    return home(username), username


def home(username: str) -> tuple[str, ...]:
    return ("users", username)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All users, where they are asked for."""
    if access.wanted(selection) and source.users.exist():
        yield from map(_record, source.users.list_users())


def record(source: Readable, username: str, selection: Selection) -> Record | None:
    """One user by name, or None."""
    found = (head for head in source.users.list_users() if head["username"] == username)
    return next(map(_record, found), None)


def _record(head: Json) -> Record:
    name = head["username"]
    return Record(NAME, name, name, home(name), {"username": name, "is_admin": bool(head["is_admin"])})


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those of a bundle, as `read` gives them."""
    return (record for record in records if access.wanted(selection))


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    return {"name": record.name, "permissions": {"administrator": bool(record.head.get("is_admin"))}, "tags": {}}


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the user, or leave the one of that name as it is but for what this job made of it."""
    if sink.access_lists is not None:
        return _known(sink.access_lists, record, job)
    target = access.Destination(sink, ids, job.dry_run)
    if not target.has_users():
        return Written("", "unsupported", reason=access.NO_USERS)
    users = ids.once("users before", lambda: {head["username"]: head for head in sink.users.list_users()})
    there, is_admin = users.get(record.id), bool(record.head.get("is_admin"))
    if there is None:
        return _make(target, record.id, is_admin)
    if there["is_admin"] == is_admin:
        return Written(record.id, "same")
    if not target.is_ours(NAME, record.id, str(there["id"])):
        words = ("no administrator", "an administrator")
        reason = f"it is {words[is_admin]} at the source and {words[not is_admin]} at the destination, as it stays"
        return Written(record.id, "same", losses=(Loss("permission", "administrator", reason),))
    if not job.dry_run:
        sink.users.set_admin(record.id, is_admin)
    return Written(record.id, "updated")


def _known(lists: AccessListCalls, record: Record, job: Writing) -> Written:
    """Whether a workspace knows the user: who is in it, its account's administrators say."""
    name = job.principals.get(record.id, record.id)
    if not name:
        return Written("", "skipped", reason=giving.NOBODY)
    if lists.known(name, "user") is None:
        return Written("", "unsupported", reason=giving.UNKNOWN)
    reason = "who manages a workspace is in its group admins, which an administrator of it adds to"
    losses = (Loss("permission", "administrator", reason),) if record.head.get("is_admin") else ()
    return Written(name, "same", losses=losses)


def _make(target: access.Destination, username: str, is_admin: bool) -> Written:
    if not target.dry_run:
        head = target.sink.users.create_user(username)
        target.claim(NAME, username, str(head["id"]))
        if is_admin:
            target.sink.users.set_admin(username, True)
    return Written("" if target.dry_run else username, "done", losses=(Loss("secret", "password", NEW_ONE),))
