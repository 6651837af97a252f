"""An export on a Spark cluster, as a command."""

from __future__ import annotations

import os
import shlex
from functools import partial
from typing import Any

from mlflow_migration.cli import jobs, opening
from mlflow_migration.cli.jobs import Job
from mlflow_migration.cli.options import Common
from mlflow_migration.errors import MigrationError, UsageError
from mlflow_migration.report import Report, check_report_path

SPARK = "spark"


def export(job: Job, common: Common, given: dict[str, Any]) -> int:
    """Export on this machine, or where `--engine` says; the exit code."""
    if given["engine"] == SPARK:
        return _export(job, common, given)
    if given["shards"] is not None:
        raise UsageError("--shards goes with --engine spark", hint="for one shard by hand: --shard N/M")
    return jobs.export(job, common, opening.readable(given["tracking_uri"], "SRC", common), given["output_dir"])


def _export(job: Job, common: Common, given: dict[str, Any]) -> int:
    from mlflow_migration.spark import engine

    if job.selection.shard is not None:
        raise UsageError("--engine spark makes its own shards", hint="leave --shard out; --shards M says how many")
    if common.checksum:
        raise UsageError("--engine spark writes new bundles only", hint="leave --checksum out")
    check_report_path(common.report)
    place = given["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI", "")
    output = jobs.checked_folder(given["output_dir"])
    opened = partial(opening.readable, engine.public(place), "SRC", common)
    made_here = engine.active_session() is None
    session = engine.spark_session()
    how = engine.How(given["shards"], common.workers, common.dry_run, session)
    try:
        report = engine.export_with_spark(opened, output, job.selection, how, job.command).report
        report.next_command = f"mlflow-migration verify {shlex.quote(report.source)} {shlex.quote(report.destination)}"
    except MigrationError as error:
        report = Report(job.command, place, output, common.dry_run, error=error)
    finally:
        if made_here:
            session.stop()
    report.allowed = frozenset(common.allow_loss)
    jobs.show(report, common)
    return report.exit_code
