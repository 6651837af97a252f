"""Copying a version into the next environment, with its run, logged model and the runs that evaluated it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from mlflow_migration.engine.ledger import Ledger
from mlflow_migration.engine.lineage import Lineage
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import InterruptedJobError, MigrationError
from mlflow_migration.objects import model_version, registered_model
from mlflow_migration.objects.needed import OF_MODELS, with_needed
from mlflow_migration.pipeline import LiveSink, LiveSource, Tools, transfer
from mlflow_migration.places import Adding, Names, Selection, Versions, Writing
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.step import Manner, Step
from mlflow_migration.report import Report

SHALLOW = (registered_model.NAME, model_version.NAME)
TOLD = 3
"""Losses that an error names."""


def copy(step: Step, version: Version, manner: Manner) -> tuple[str, Report]:
    """Copy a version under the destination's next number, once; its number there, and what was copied.

    On one server the new version shares run and files with the old one. Raises MigrationError where anything of it
    can't be copied, and InterruptedJobError after Ctrl-C.
    """
    report = Report("promote run", step.src.address, step.dst.address, allowed=_allowed(step))
    if step.is_one_model:
        return version.number, report
    asked = _asked(step, version)
    into = step.policy.experiment_in(step.destination, step.model)
    names = Names({("registered_model", step.src_name): step.dst_name}, into=into)
    job = {
        "source": step.src.address,
        "destination": step.dst.address,
        "promotion": version.id,
        "names": names.as_json(),
    }
    # The destination's tags tell what is there; a ledger on disk would be this machine's only.
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as scratch, Progress(manner.quiet) as progress:
        ledger = Ledger(Path(scratch), job)
        try:
            tools = Tools(ledger, report, progress, manner.stop, manner.workers)
            writing = Writing(step.src.address, names, adding=Adding(create=True))
            transfer(LiveSource(step.src), LiveSink(step.dst, Lineage(step.dst, ledger), writing), asked, tools)
            arrived = ledger.destination("model_version", version.id)
        finally:
            ledger.close()
    report.end({})
    if manner.stop.is_set():
        raise InterruptedJobError("interrupted", hint="type the same command again: it goes on where it stopped")
    if report.exit_code or not arrived:
        lines = "; ".join(list(report.lines())[:TOLD]) or "the version did not arrive"
        raise MigrationError(f"{version.id} can't be copied whole", lines, "see allow_loss of the policy")
    return arrived.rpartition("/")[2], report


def _allowed(step: Step) -> frozenset[str]:
    return frozenset() if step.settings.protected else frozenset(step.policy.allow_loss)


def _asked(step: Step, version: Version) -> Selection:
    numbers = Versions(numbers=(version.number,))
    if step.src.address == step.dst.address:
        return with_needed(step.src, Selection(kinds=SHALLOW, models=(step.src_name,), versions=numbers))
    deep = Selection(kinds=OF_MODELS, models=(step.src_name,), versions=numbers, needed=True)
    found = with_needed(step.src, deep, tuple(head["info"]["run_id"] for head in version.evaluations))
    # Without runs the traces of the whole experiments would be meant.
    return replace(found, kinds=(*found.kinds, "trace")) if found.run_ids else found
