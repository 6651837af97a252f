"""Workspaces: the rooms of one server. A job moves what is in one of them, by default the server's default one.

A job in the default workspace carries the others as empty rooms, so that a job for each can follow; one in another
workspace is about that room alone and carries none. A workspace is known by name. Where it keeps artifacts and archived
traces is the server's own business, as it is for experiments.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError
from mlflow_migration.objects import access_forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "workspace"
NEEDS: tuple[str, ...] = ()
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.10",
    carried="name, description, how long traces stay before they are archived",
    kept_beside="nothing: MLflow gives workspaces no tags",
    lost="where artifacts and archived traces go: the destination's own; what is in it goes by a job of its own",
)
NEW_IDS = False
validate_row = kind.no_row
link = kind.no_link
origin = kind.own_id
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
ARCHIVAL = "trace_archival_config"
RETENTION = "retention"
DEFAULT = "default"
NO_WORKSPACES = "the destination has no workspaces: it runs without --enable-workspaces"
MADE = f"{NAME} made"


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    name = access_forms.Workspace.model_validate(head).name
    return home(name), name


def home(name: str) -> tuple[str, ...]:
    return ("workspaces", name)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """All workspaces these credentials may see; none for a job in one of them, or about some experiments."""
    if _whole(selection) and source.workspaces.at_default() and source.workspaces.exist():
        yield from map(_record, source.workspaces.list_workspaces())


def record(source: Readable, name: str, selection: Selection) -> Record | None:
    """One workspace by name, or None."""
    head = source.workspaces.get_workspace(name)
    return _record(head) if head else None


def _record(head: Json) -> Record:
    return Record(NAME, head["name"], head["name"], home(head["name"]), head)


def _whole(selection: Selection) -> bool:
    return not selection.experiments and not selection.run_ids


def choose(records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those of a bundle, as `read` gives them."""
    return (record for record in records if _whole(selection))


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    return {"name": record.name, "tags": {}, **_fields(record.head)}


def _fields(head: Json) -> Json:
    return {"description": head.get("description", ""), RETENTION: head.get(ARCHIVAL, {}).get(RETENTION, "")}


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the workspace, or bring the one this job made up to date. Raises ConflictError for somebody else's."""
    if not sink.workspaces.exist():
        if record.id == DEFAULT:
            # A server without workspaces is one room, this one.
            return Written("", "same")
        return Written("", "unsupported", reason=NO_WORKSPACES)
    there = sink.workspaces.get_workspace(record.id)
    before = _fields(there or {})
    changes = {key: value for key, value in _fields(record.head).items() if value != before[key]}
    if there is None:
        if not job.dry_run:
            sink.workspaces.create_workspace({"name": record.id, **_body(changes)})
            ids.put(MADE, record.id, record.id)
        return Written("" if job.dry_run else record.id, "done", losses=tuple(_addresses(record.head)))
    if not changes:
        return Written(record.id, "same")
    if ids.earlier(MADE, record.id) is None:
        raise ConflictError(
            f"the workspace {record.id!r} is another one at the destination",
            f"its description or trace archival differs at {sink.address}",
            "make them equal, then type the command again",
        )
    if not job.dry_run:
        sink.workspaces.update_workspace(record.id, _body(changes))
    return Written(record.id, "updated")


def _body(changes: Json) -> Json:
    """Fields as the REST API takes them; those that aren't named stay as they are."""
    body = {key: value for key, value in changes.items() if key != RETENTION}
    return {**body, ARCHIVAL: {RETENTION: changes[RETENTION]}} if RETENTION in changes else body


def _addresses(head: Json) -> Iterator[Loss]:
    """What the new workspace keeps elsewhere than at the source."""
    named = {"default_artifact_root": head.get("default_artifact_root")}
    named[f"{ARCHIVAL}.location"] = head.get(ARCHIVAL, {}).get("location")
    for name, address in named.items():
        if address:
            reason = f"at the source it is {address}; at the destination that server's own, until you set another"
            yield Loss("link", name, reason)
