"""Rules about experiments and runs; all runs are gone through once, as a stream."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlflow_migration.governance import facts, links
from mlflow_migration.governance.looking import HOUR, Looking, Thing, counted, is_active
from mlflow_migration.objects import run
from mlflow_migration.promotion.audit_forms import Names, Runs
from mlflow_migration.promotion.journal import PREFIX
from mlflow_migration.records import Json, tags_of

OF_RUNS = ("experiment-of-one", "run-metadata", "run-stuck", "naming")
NOTEBOOK = "NOTEBOOK"
EXPERIMENT_TYPES = ("mlflow.experimentType", "mlflow.experiment.sourceType")
UNENDED = frozenset({"RUNNING", "SCHEDULED"})
_WORDS = re.compile(r"[^\w@.+-]+|[_-]+")
_NOTEBOOK_FILE = re.compile(r".*\.(ipynb|dbc)", re.IGNORECASE)


@dataclass
class _Seen:
    """What the runs of one experiment tell about it."""

    users: set[str] = field(default_factory=set)
    runs: int = 0


def look(looking: Looking) -> None:
    """All rules about experiments and runs."""
    experiments = {head["experiment_id"]: head for head in looking.place.search_experiments() if is_active(head)}
    looking.looked["experiment"] = len(experiments)
    for head in experiments.values():
        name_of_experiment(looking, head)
    seen: Mapping[str, _Seen] = defaultdict(_Seen)
    for head in looking.place.search_runs(list(experiments)):
        if not is_active(head["info"]):
            continue
        looking.looked["run"] += 1
        tags = tags_of((head.get("data") or {}).get("tags"))
        if any(key.startswith(PREFIX) for key in tags):
            continue
        of = seen[head["info"]["experiment_id"]]
        of.runs += 1
        of.users.add(head["info"].get("user_id") or tags.get("mlflow.user", ""))
        _look_at_run(looking, head, tags)
    for id_, head in experiments.items():
        if why := _of_one(head, seen[id_]):
            looking.note("experiment-of-one", _experiment(looking, head), why)


def _experiment(looking: Looking, head: Json) -> Thing:
    id_ = head["experiment_id"]
    return Thing("experiment", id_, head["name"], links.experiment(looking.place.address, id_))


def name_of_experiment(looking: Looking, head: Json) -> None:
    """Whether an experiment's name says something and meets the pattern."""
    why = unfit(head["name"], looking.settings.names.experiments, looking.settings.names)
    if why:
        looking.note("naming", _experiment(looking, head), why)


def unfit(name: str, pattern: str, names: Names) -> str:
    """What is wrong with a name, "" for nothing."""
    if names.throwaway and re.fullmatch(names.throwaway, name):
        return f"the name {name!r} says nothing"
    if pattern and not re.fullmatch(pattern, name):
        return f"the name {name!r} doesn't meet {pattern!r}"
    return ""


def _of_one(head: Json, seen: _Seen) -> str:
    """Why an experiment counts as one of a person or a notebook, "" where it doesn't."""
    tags = tags_of(head.get("tags"))
    if any(tags.get(key, "").upper() == NOTEBOOK for key in EXPERIMENT_TYPES) or _NOTEBOOK_FILE.fullmatch(head["name"]):
        return f"it belongs to a notebook; {counted(seen.runs, 'run')}"
    users = seen.users - {""}
    if len(users) != 1:
        return ""
    (user,) = users
    mine = {user.lower(), user.partition("@")[0].lower()}
    parts = [word for part in head["name"].lower().split("/") for word in (part, *_WORDS.split(part))]
    words = {*parts, *(part.partition("@")[0] for part in parts)}
    return f"all {counted(seen.runs, 'run')} are of {user}, whose name it bears" if mine & words else ""


def _look_at_run(looking: Looking, head: Json, tags: Mapping[str, str]) -> None:
    info, settings = head["info"], looking.settings
    name = info.get("run_name") or info["run_id"]
    link = links.run(looking.place.address, info["experiment_id"], info["run_id"])
    thing = Thing("run", info["run_id"], name, link)
    if settings.names.runs and not re.fullmatch(settings.names.runs, name):
        looking.note("naming", thing, f"the name {name!r} doesn't meet {settings.names.runs!r}")
    if info.get("status") in UNENDED:
        hours = (looking.now - int(info.get("start_time") or 0)) / HOUR
        if hours > settings.runs.stuck_hours:
            looking.note("run-stuck", thing, f"{info['status']} since {facts.moment(info.get('start_time')) or 'ever'}")
    elif info.get("status") == "FINISHED" and (settings.runs.children or run.PARENT not in tags):
        lacking = list(_lacking(head, tags, settings.runs, settings.owner_tags))
        if lacking:
            looking.note("run-metadata", thing, f"it lacks {', '.join(lacking)}")


def _lacking(head: Json, tags: Mapping[str, str], asked: Runs, owner_tags: tuple[str, ...]) -> Iterator[str]:
    data = head.get("data") or {}
    params = tags_of(data.get("params"))
    metrics = {each["key"] for each in data.get("metrics") or ()}
    if not params:
        yield "params"
    if not metrics:
        yield "metrics"
    yield from (f"param {name}" for name in asked.params if name not in params)
    yield from (f"metric {name}" for name in asked.metrics if name not in metrics)
    yield from (f"tag {name}" for name in asked.tags if not tags.get(name))
    if asked.owner and not (head["info"].get("user_id") or facts.first(tags, ("mlflow.user", *owner_tags))):
        yield "an owner"
    if asked.code and not facts.first(tags, (*facts.COMMITS, *facts.NOTEBOOKS)):
        yield "a git commit or notebook"
    documented = (head.get("inputs") or {}).get("dataset_inputs") or any(
        name.lower().startswith("data") for name in (*params, *tags)
    )
    if asked.data and not documented:
        yield "the data it was trained on"
