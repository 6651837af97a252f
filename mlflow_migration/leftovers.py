"""What a job for a whole server leaves where it is, said in rows of its report: who may do what, other workspaces."""

from __future__ import annotations

from dataclasses import replace

from mlflow_migration.calls import Readable
from mlflow_migration.errors import ConflictError, ForbiddenError, ServerError, UsageError
from mlflow_migration.objects import OF_USERS, access_list, user, workspace
from mlflow_migration.pipeline import BundleSource, LiveSource, row_of
from mlflow_migration.places import Selection
from mlflow_migration.report import Report, Row

OPTIONS = {"export-all": "--export-permissions", "import-all": "--import-permissions"}
WHOLE = ("export-all", "copy-all", "plan")
NO_LISTS = "it keeps them with its users: export-all and copy-all of the whole server take them"
USERS = "users, roles and permissions"


def of_server(live: Readable, command: str, selection: Selection, report: Report) -> Selection:
    """What is asked for and can be read; rows for the rest."""
    part = bool(selection.kinds or selection.experiments or selection.run_ids)
    if part and selection.permissions and live.access_lists is None:
        return _without_lists(live, command, selection, report)
    if live.access_lists is not None:
        if not part and not selection.permissions:
            report.add(Row(access_list.NAME, "*", "permissions of the source", "skipped", _taken_by(command)))
        return selection
    if part:
        return selection
    _say_workspaces(live, report)
    try:
        there = live.users.exist()
    except (ForbiddenError, ConflictError, ServerError) as error:
        if not selection.permissions:
            there = True
        else:
            report.add(Row(user.NAME, "*", f"{USERS} of the source", "unsupported", str(error)))
            return replace(selection, permissions=False)
    if there and not selection.permissions:
        report.add(_left(command))
    return selection


def _without_lists(live: Readable, command: str, selection: Selection, report: Report) -> Selection:
    """What is chosen of a place that keeps no permissions with each experiment and model: old commands give the option
    to any. Raises UsageError for commands that would take everything."""
    if command in WHOLE:
        check_permissions(live, selection)
    report.add(Row(access_list.NAME, "*", "permissions at the source", "skipped", NO_LISTS))
    return replace(selection, permissions=False)


def check_permissions(live: Readable, selection: Selection) -> None:
    """Raise UsageError where permissions of a part are asked of a place that keeps them with its users."""
    part = selection.kinds or selection.experiments or selection.run_ids
    if part and selection.permissions and live.access_lists is None:
        hint = "leave out what chooses experiments, models or runs"
        raise UsageError("permissions go with a whole server only", f"of {live.address}", hint)


def tell_broken(live: Readable, selection: Selection, report: Report) -> None:
    """Rows for what the place holds of what is asked for and can't give."""
    for each in LiveSource(live).broken(selection):
        report.add(row_of(each))


def of_bundle(source: BundleSource, command: str, selection: Selection, report: Report) -> None:
    """A row where a bundle holds users that aren't asked for."""
    if selection.kinds or selection.permissions:
        return
    if any(source.counts.get(kind) for kind in OF_USERS):
        report.add(_left(command))
    if source.counts.get(access_list.NAME):
        report.add(Row(access_list.NAME, "*", "permissions of the source", "skipped", _taken_by(command)))


def _left(command: str) -> Row:
    return Row(user.NAME, "*", f"{USERS} of the source", "skipped", _taken_by(command))


def _taken_by(command: str) -> str:
    return f"{OPTIONS.get(command, '--permissions')} takes them"


def _say_workspaces(live: Readable, report: Report) -> None:
    if not live.workspaces.at_default() or not live.workspaces.exist():
        return
    others = [head["name"] for head in live.workspaces.list_workspaces() if head["name"] != workspace.DEFAULT]
    if others:
        reason = f"each goes by a job of its own with --workspace NAME: {', '.join(others)}"
        report.add(Row(workspace.NAME, "*", "what the other workspaces hold", "unsupported", reason))
