"""Scorers: every version with its number, gaps included, and when MLflow runs one by itself.

A scorer has no tags. At a destination it is the one of the same name in the same experiment, and its versions are
known by number and content. Scorers of a deleted experiment can't be read: MLflow doesn't give them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, NotFoundError, ServerError
from mlflow_migration.objects import experiment, forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "scorer"
NEEDS: tuple[str, ...] = ("experiment", "gateway_endpoint")
PARENTS: tuple[str, ...] = ("experiment",)
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.4",
    carried="every version under its number, online scoring",
    kept_beside="nothing: MLflow gives scorers no tags",
    lost="ids, creation times; one of one's own code where the server refuses it",
)
NEW_IDS = False
choose = kind.choose_unless_by_run
validate_row = kind.no_row
link = kind.no_link
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
FOLDER = "scorers"
CONFIG = ("sample_rate", "filter_string")


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises ValueError."""
    form = forms.Scorer.model_validate(head)
    numbers = [version.version for version in form.versions]
    if numbers != sorted(set(numbers)):
        raise ValueError("its versions are not in order")
    return home(form.experiment_id, form.name), id_of(form.experiment_id, form.name)


def home(experiment_id: str, name: str) -> tuple[str, ...]:
    return (*experiment.home(experiment_id), FOLDER, name)


def id_of(experiment_id: str, name: str) -> str:
    return f"{experiment_id}/{FOLDER}/{name}"


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The scorers of the selected experiments."""
    if selection.run_ids:
        return
    chosen = Selection(selection.experiments, deleted=False, shard=selection.shard)
    ids = [found.id for found in experiment.readable(source, chosen)]
    for latest in source.evaluation.list_scorers(ids):
        experiment_id, name = str(latest["experiment_id"]), latest["scorer_name"]
        listed = Record(NAME, id_of(experiment_id, name), name, home(experiment_id, name), latest)
        yield replace(listed, refs={experiment.NAME: experiment_id}, whole=partial(_whole, source, experiment_id, name))


def record(source: Readable, record_id: str, selection: Selection) -> Record | None:
    """One scorer by id, or None."""
    experiment_id, _, name = record_id.partition(f"/{FOLDER}/")
    return _record(source, experiment_id, name)


def _whole(source: Readable, experiment_id: str, name: str) -> Record:
    found = _record(source, experiment_id, name)
    if found is None:
        raise NotFoundError("the scorer vanished while it was read", id_of(experiment_id, name), "run it again")
    return found


def _record(source: Readable, experiment_id: str, name: str) -> Record | None:
    found = source.evaluation.list_scorer_versions(experiment_id, name)
    if not found:
        return None
    versions = [
        {
            "version": version["scorer_version"],
            "serialized_scorer": version["serialized_scorer"],
            "creation_time": version.get("creation_time", 0),
        }
        for version in found
    ]
    # MLflow 3.4 gives scorers no ids, and runs none of them by itself.
    scorer_id = found[0].get("scorer_id", "")
    configs = source.evaluation.get_online_configs(scorer_id) if scorer_id else []
    head = {
        "experiment_id": experiment_id,
        "name": name,
        "versions": versions,
        "online_configs": [{key: config.get(key) for key in CONFIG} for config in configs],
    }
    refs = {experiment.NAME: experiment_id}
    return Record(NAME, id_of(experiment_id, name), name, home(experiment_id, name), head, refs)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends."""
    return {
        "name": record.name,
        "tags": {},
        "versions": {str(version["version"]): _meaning(version) for version in record.head["versions"]},
        "online_configs": sorted(map(_config, record.head["online_configs"]), key=repr),
    }


def origin(record: Record) -> str:
    """Its name: in one experiment there is one scorer of it."""
    return record.name


def _meaning(version: Json) -> Any:
    # A server that knows the gateway's endpoints writes the JSON anew, with their ids or names.
    try:
        return json.loads(version["serialized_scorer"])
    except ValueError:
        return version["serialized_scorer"]


def _config(config: Json) -> Json:
    return {"sample_rate": float(config["sample_rate"]), "filter_string": config.get("filter_string")}


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Add the versions that the destination lacks. Raises ConflictError where it has others under the same numbers."""
    experiment_id = kind.experiment_at(ids, record)
    # In a rehearsal an experiment that would be made has no id.
    there = _record(sink, experiment_id, record.head["name"]) if experiment_id else None
    target = _Target(sink, experiment_id, record.head)
    plan = target.plan(there.head["versions"] if there else [])
    configs = [config for config in map(_config, record.head["online_configs"]) if not _has(there, config)]
    losses = [Loss("link", f"version {number}", "the destination has later ones already") for number in plan.late]
    begun = bool(plan.new or plan.surplus or configs)
    if not job.dry_run:
        target.carry_out(plan)
        losses += [loss for config in configs if (loss := target.set_config(config))]
        begun = bool(plan.new or plan.surplus or len(configs) > len(losses) - len(plan.late))
    state = "done" if there is None else "updated" if begun else "same"
    return Written(id_of(experiment_id, record.name), state, losses=tuple(losses))


def _has(there: Record | None, config: Json) -> bool:
    return there is not None and config in map(_config, there.head["online_configs"])


@dataclass(frozen=True)
class _Plan:
    """`new` are (number, content) to be registered in order, `surplus` numbers to be deleted then; `late` can't be."""

    new: list[tuple[int, str]]
    surplus: list[int]
    late: list[int]


@dataclass(frozen=True)
class _Target:
    sink: Live
    experiment_id: str
    head: Json

    def plan(self, there: list[Json]) -> _Plan:
        """What is to be done so that numbers agree: MLflow counts on from the highest there is.

        A gap is made by a placeholder that is deleted again. One that an interrupted job left has the content of the
        version after it.
        """
        here = {version["version"]: version for version in self.head["versions"]}
        present = {version["version"]: version for version in there}
        for number in here.keys() & present.keys():
            if _meaning(here[number]) != _meaning(present[number]):
                raise ConflictError(
                    f"the scorer {self.head['name']!r} has another version {number} at the destination",
                    f"experiment {self.experiment_id} at {self.sink.address}",
                    "delete or rename that one, or give the experiment another name",
                )
        highest = max(present, default=0)
        new, surplus = [], []
        for number in range(1, max(here) + 1):
            following = here[min(other for other in here if other >= number)]
            if number > highest:
                new.append((number, following["serialized_scorer"]))
            leftover = number in present and _meaning(present[number]) == _meaning(following)
            if number not in here and (number > highest or leftover):
                surplus.append(number)
        return _Plan(new, surplus, [number for number in here if number <= highest and number not in present])

    def carry_out(self, plan: _Plan) -> None:
        calls, name = self.sink.evaluation, self.head["name"]
        for number, serialized in plan.new:
            made = calls.register_scorer(self.experiment_id, name, serialized, number)
            if made != number:
                raise ConflictError(
                    f"version {number} of the scorer {name!r} became version {made}",
                    f"somebody else registers versions in experiment {self.experiment_id} at the same time",
                    "type the command again when nobody does",
                )
        for number in plan.surplus:
            calls.delete_scorer(self.experiment_id, name, number)

    def set_config(self, config: Json) -> Loss | None:
        """Let MLflow run the scorer by itself as at the source; a Loss where the destination refuses."""
        try:
            self.sink.evaluation.set_online_config(self.experiment_id, self.head["name"], config)
        except ServerError as error:
            return Loss("link", "online scoring", error.why)
        return None
