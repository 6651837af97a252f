"""Database → database: the loop over whole objects, each ending in counts or a row of the report."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from mlflow_migration.database import copying, parts, rows, targets
from mlflow_migration.database.connect import Connected
from mlflow_migration.database.copying import Copier
from mlflow_migration.database.tally import Tally
from mlflow_migration.database.targets import Planned
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import InterruptedJobError, MigrationError
from mlflow_migration.objects import OF_EXPERIMENTS, experiment, prompt, user
from mlflow_migration.pipeline import Tools
from mlflow_migration.places import SAME_NAMES, Selection, Writing
from mlflow_migration.report import Row

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


def copy(source: Connected, destination: Connected, selection: Selection, policy: str, tools: Tools) -> None:
    """Copy what is asked for. Raises ConflictError, before anything is written, where the destination has other
    experiments in their places and `policy`, one of POLICIES, doesn't say what to do; InterruptedJobError after Ctrl-C.
    """
    with rows.opened(source, destination, tools.report.dry_run) as flow:
        copier = Copier(flow, copying.held(flow))
        everything = not selection.kinds
        if everything:
            for unit in parts.BEFORE:
                _copy(copier, targets.planned(copier, unit, policy), tools)
        there = targets.Experiments(copier, policy)
        chosen = there.planned(_asked(there.names, selection, source.address))
        _copy(copier, chosen, tools)
        for each in chosen:
            _tie(copier, each, tools)
        if everything:
            for unit in parts.AFTER:
                _copy(copier, targets.planned(copier, unit, policy), tools)
            _say_rest(copier, selection, tools)
        copying.advance_sequences(flow)


def _asked(names: dict[int, str], selection: Selection, address: str) -> list[int]:
    """The ids asked for. Raises NotFoundError where a name or glob meets none."""
    heads = ({"experiment_id": str(id_), "name": name} for id_, name in names.items())
    records = (experiment.record_of(head) for head in heads)
    return [int(record.id) for record in experiment.choose(records, selection, address)]


def _copy(copier: Copier, planned: Iterable[Planned], tools: Tools) -> None:
    for each in planned:
        _check_stop(tools)
        if each.move is None:
            tools.report.add(Row(each.kind, each.id, each.name, each.state, each.reason))
            continue
        move = each.move
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


def _check_stop(tools: Tools) -> None:
    if tools.stop.is_set():
        raise InterruptedJobError(
            "interrupted", "what was begun has been ended", "type the same command again: it goes on where it stopped"
        )
