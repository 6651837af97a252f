"""Gates on what is recorded of a version: params, tags, artifacts, run, data, age."""

from __future__ import annotations

import fnmatch
from datetime import datetime, timezone

from mlflow_migration.promotion import facts
from mlflow_migration.promotion.gate_forms import (
    DataDocumented,
    MaximumAge,
    Reproducible,
    Required,
    RunFinished,
    TagValue,
)
from mlflow_migration.promotion.verdicts import Case, Verdict
from mlflow_migration.records import tags_of

DAY = 86_400_000
FINISHED = "FINISHED"
ENVIRONMENT_FILES = ("requirements.txt", "conda.yaml", "python_env.yaml")
SHOWN = 5


def required(gate: Required, case: Case, name: str) -> Verdict:
    """Params, metrics, tags and artifacts that have to be there, and be something."""
    version = case.version
    missing = []
    if gate.params:
        has = facts.params(version)
        missing += [f"param {key}" for key in gate.params if not has.get(key)]
    if gate.metrics:
        missing += [f"metric {key}" for key in gate.metrics if facts.metric(version, key, "any") is None]
    if gate.tags:
        tags = facts.all_tags(version)
        missing += [f"tag {key}" for key in gate.tags if not tags.get(key, "").strip()]
    if gate.artifacts:
        paths = facts.artifact_paths(version)
        missing += [f"artifact {glob}" for glob in gate.artifacts if not fnmatch.filter(paths, glob)]
    asked = [*gate.params, *gate.metrics, *gate.tags, *gate.artifacts]
    found = f"{len(asked) - len(missing)} of {len(asked)}"
    return Verdict(
        gate.gate, name, not missing, ", ".join(asked), found, f"missing: {', '.join(missing)}" if missing else ""
    )


def tag_value(gate: TagValue, case: Case, name: str) -> Verdict:
    """A tag with one of the values allowed."""
    value = facts.all_tags(case.version).get(gate.tag)
    passed = value in gate.one_of
    reason = "" if passed else f"tag {gate.tag!r} is missing" if value is None else f"{value!r} is not among them"
    return Verdict(gate.gate, name, passed, f"one of {', '.join(gate.one_of)}", value or "none", reason)


def run_finished(gate: RunFinished, case: Case, name: str) -> Verdict:
    """The run is there and FINISHED."""
    head = case.version.run
    if head is None:
        return Verdict(gate.gate, name, False, FINISHED, "no run", "the run that made it is gone, or was never known")
    status = str(head["info"].get("status", ""))
    deleted = head["info"].get("lifecycle_stage") == "deleted"
    reason = f"run {head['info']['run_id']} is {'deleted' if deleted else status}"
    passed = status == FINISHED and not deleted
    return Verdict(gate.gate, name, passed, FINISHED, "deleted" if deleted else status, "" if passed else reason)


def maximum_age(gate: MaximumAge, case: Case, name: str) -> Verdict:
    """Counted from the end of the run; from the version's making where that isn't known. By this machine's clock."""
    head = case.version.run
    since = int((head["info"].get("end_time") if head else 0) or case.version.head.get("creation_timestamp") or 0)
    days = (datetime.now(timezone.utc).timestamp() * 1000 - since) / DAY
    passed = days <= gate.days
    when = datetime.fromtimestamp(since / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    wanted = f"at most {gate.days:g} days"
    return Verdict(gate.gate, name, passed, wanted, f"{days:.1f} days", "" if passed else f"it was made {when}")


def data_documented(gate: DataDocumented, case: Case, name: str) -> Verdict:
    """The run names its datasets, one of them with the context asked for."""
    wanted = f"datasets with context {gate.context}" if gate.context else "datasets"
    inputs = ((case.version.run or {}).get("inputs") or {}).get("dataset_inputs", [])
    fitting = [
        entry["dataset"]["name"]
        for entry in inputs
        if not gate.context or tags_of(entry.get("tags")).get("mlflow.data.context") == gate.context
    ]
    found = ", ".join(fitting[:SHOWN]) or "none"
    return Verdict(gate.gate, name, bool(fitting), wanted, found, "" if fitting else "the run logged no such dataset")


def reproducible(gate: Reproducible, case: Case, name: str) -> Verdict:
    """Commit, params and environment."""
    commit = facts.all_tags(case.version).get(gate.commit_tag, "")
    paths = {file.path for file in case.version.files}
    environment = next((path for path in ENVIRONMENT_FILES if path in paths), "")
    missing = [] if commit else [f"no commit (tag {gate.commit_tag})"]
    missing += [] if facts.params(case.version) else ["no params"]
    missing += [] if environment else [f"no environment ({', '.join(ENVIRONMENT_FILES)})"]
    found = ", ".join(text for text in (commit[:12] and f"commit {commit[:12]}", environment) if text) or "none"
    return Verdict(gate.gate, name, not missing, "commit, params, environment", found, "; ".join(missing))
