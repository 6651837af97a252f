"""From the two addresses of a copy to the copy that fits them."""

from __future__ import annotations

from mlflow_migration.cli import jobs, opening
from mlflow_migration.cli.jobs import Job
from mlflow_migration.cli.options import Common
from mlflow_migration.engine.config import ROLES
from mlflow_migration.table_copy import Ends


def between(job: Job, common: Common, ends: tuple[str | None, str | None]) -> int:
    """Copy from one place to another; rows go from table to table where both are databases. The exit code."""
    roles = zip(ends, ROLES, strict=True)
    if job.principals:
        # Before a database is opened: an empty one gets tables.
        jobs.check_principals(job, any(opening.is_workspace(end, role, common) for end, role in roles))
    pair = opening.databases(*ends, common) if jobs.applies_to_tables(job) else None
    if pair is not None:
        roots = (common.src_artifact_root or "", common.dst_artifact_root or "")
        return jobs.copy_tables(job, common, Ends(*pair, *roots))
    source = opening.readable(ends[0], "SRC", common)
    return jobs.copy(job, common, source, opening.destination(ends[1], common))
