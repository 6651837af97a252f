"""Database → database: the loop over whole objects, each ending in counts or a row of the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from mlflow_migration.database import copying, parts, rows, targets
from mlflow_migration.database.artifacts import Artifacts
from mlflow_migration.database.connect import Connected, advance_sequences
from mlflow_migration.database.copying import Copier
from mlflow_migration.database.tally import Tally
from mlflow_migration.database.targets import Planned
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import MigrationError
from mlflow_migration.objects import OF_EXPERIMENTS, experiment, prompt, user
from mlflow_migration.pipeline import Tools, check_stop, row_of
from mlflow_migration.places import SAME_NAMES, Selection, Writing
from mlflow_migration.report import Row
from mlflow_migration.table_files import Files

PART_OF = {
    "params": "param",
    "logged_model_params": "param",
    "tags": "tag",
    "metrics": "metric",
    "latest_metrics": "metric",
    "inputs": "input",
    "datasets": "input",
    "assessments": "assessment",
    "trace_request_metadata": "metadata",
    "entity_associations": "link",
}
AS_PROMPT = {"registered_model": "prompt", "model_version": "prompt_version"}
USERS_ELSEWHERE = "MLflow keeps users, roles and permissions in a database of their own: copy that one by its own tools"


def applies(selection: Selection, job: Writing) -> bool:
    """Whether a job asks for whole objects, as they are: then rows go from table to table."""
    plain = Selection(selection.experiments, selection.kinds, files=selection.files, permissions=selection.permissions)
    as_they_are = job.names == SAME_NAMES and not job.lineage and not job.replace and job.adding is None
    whole = not selection.kinds and not selection.experiments
    return as_they_are and selection == plain and (whole or selection.kinds == OF_EXPERIMENTS)


@dataclass(frozen=True)
class Ends:
    """Two open databases, and the roots of their artifacts, "" where none was given."""

    source: Connected
    destination: Connected
    source_root: str = ""
    destination_root: str = ""


def copy(ends: Ends, selection: Selection, policy: str, tools: Tools) -> None:
    """Copy what is asked for. Raises ConflictError, before anything is written, where the destination has other
    experiments in their places and `policy`, one of POLICIES, doesn't say what to do; InterruptedJobError after Ctrl-C.

    Artifacts are copied where a root is given at the destination; else they stay, and so do their addresses.
    """
    with rows.opened(ends.source, ends.destination, tools.report.dry_run) as flow:
        copier = Copier(flow, copying.held(flow))
        files = _files(ends, selection, tools)
        everything = not selection.kinds
        # First what may be refused as a whole, before anything is written.
        there = targets.Experiments(copier, policy, ends.destination_root if files else "")
        asked = _asked(there.names, selection, ends.source.address)
        chosen = there.planned(asked)
        if everything:
            for unit in parts.BEFORE:
                _copy(copier, targets.planned(copier, unit, policy), tools)
        _say_broken(ends.source, {*map(str, asked)} if selection.experiments else set(), selection, tools)
        _copy(copier, chosen, tools, files)
        for each in chosen:
            _tie(copier, each, tools)
        if everything:
            for unit in parts.AFTER:
                _copy(copier, targets.planned(copier, unit, policy), tools)
            _say_rest(copier, selection, tools)
        if not tools.report.dry_run:
            with flow.writer.begin():
                advance_sequences(flow.writer, ends.destination.tables)


def _asked(names: dict[int, str], selection: Selection, address: str) -> list[int]:
    """The ids asked for. Raises NotFoundError where a name or glob meets none."""
    heads = ({"experiment_id": str(id_), "name": name} for id_, name in names.items())
    records = (experiment.record_of(head) for head in heads)
    return [int(record.id) for record in experiment.choose(records, selection, address)]


def _say_broken(source: Connected, experiments: set[str], selection: Selection, tools: Tools) -> None:
    """Rows for what the source can't give; with `experiments` for what is in these."""
    for each in source.broken:
        if selection.takes(each.of) and (not experiments or each.experiment in experiments):
            tools.report.add(row_of(each))


def _files(ends: Ends, selection: Selection, tools: Tools) -> Files | None:
    """How artifacts are copied; None, and a row that says so, where they stay."""
    if selection.files != "copy":
        return None
    if not ends.destination_root:
        reason = "they stay where they are, for both databases: --dst-artifact-root DIR copies them"
        tools.report.add(Row("artifact", "*", "artifacts", "skipped", reason))
        return None
    return Files(Artifacts(ends.source_root), Artifacts(ends.destination_root, writing=True), selection)


def _copy(copier: Copier, planned: Iterable[Planned], tools: Tools, files: Files | None = None) -> None:
    for each in planned:
        check_stop(tools)
        if each.move is None:
            tools.report.add(Row(each.kind, each.id, each.name, each.state, each.reason))
            continue
        move = each.move
        outcome: Tally | MigrationError | None = None
        if files is not None:
            # Before the rows: what a row names is there.
            outcome = guarded(partial(files.copy, copier, move, tools), each.kind, each.id)
            check_stop(tools)
        if outcome is None:
            outcome = guarded(partial(copier.copy, move), each.kind, each.id)
        if isinstance(outcome, MigrationError):
            tools.report.add(Row(each.kind, each.id, each.name, "failed", str(outcome)))
        else:
            _account(outcome, each, tools)


def _tie(copier: Copier, each: Planned, tools: Tools) -> None:
    move = each.move
    if move is None:
        return
    outcome = guarded(partial(copier.tie, move), each.kind, each.id)
    if isinstance(outcome, MigrationError):
        what = f"what refers to runs of other experiments, in {each.name!r}"
        tools.report.add(Row("link", each.id, what, "failed", str(outcome)))
    else:
        _account(outcome, each, tools)


def _account(tally: Tally, each: Planned, tools: Tools) -> None:
    counts = tally.counts()
    for (written, state), number in counts.items():
        kind = AS_PROMPT.get(written, written) if each.kind == prompt.NAME else written
        tools.report.count(kind, state, number)
        tools.progress.advance(kind, number=number)
    for what, why in tally.lost:
        tools.report.add(Row(_part_of(what), each.id, f"{each.name}: {what}", "unsupported", why))


def _part_of(row: str) -> str:
    """What a row of a table is of an object, in the words of --allow-loss."""
    table = row.partition(" ")[0]
    return PART_OF.get(table) or ("tag" if table.endswith("_tags") else "input" if "record" in table else "name")


def _say_rest(copier: Copier, selection: Selection, tools: Tools) -> None:
    """Rows for what a database holds and isn't moved."""
    if "jobs" in copier.held:
        reason = "the server's own list of its work: what waits there would be done twice"
        tools.report.add(Row("job", "*", "jobs of the server", "skipped", reason))
    if selection.permissions:
        tools.report.add(Row(user.NAME, "*", "users, roles and permissions", "unsupported", USERS_ELSEWHERE))
