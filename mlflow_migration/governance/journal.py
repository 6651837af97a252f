"""Who promoted and approved a version: the journal of promotions, read as anybody reads runs.

It is an experiment at the destination of promotions. Each run of it is one promotion, its record
an artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_migration.calls import Readable
from mlflow_migration.errors import ServerError
from mlflow_migration.governance import facts, links
from mlflow_migration.governance.graph import PROMOTION, Node
from mlflow_migration.promotion import record as records
from mlflow_migration.promotion.journal import KIND, MODEL, PREFIX, Entry
from mlflow_migration.records import Json, tags_of

VERSION = PREFIX + "version"


@dataclass(frozen=True)
class Promotion:
    """One run of the journal and its record; `problem` says why the record couldn't be read."""

    run: Json
    record: Json
    problem: str = ""

    @property
    def kind(self) -> str:
        """What was done: promote or rollback."""
        return tags_of(self.run["data"].get("tags")).get(KIND, "")


class Journal:
    """The promotions of one environment, listed when they are first asked for."""

    def __init__(self, place: Readable, experiment: str) -> None:
        self._place = place
        self._experiment = experiment
        self._runs: list[Json] | None = None

    def of(self, name: str, number: str) -> list[Promotion]:
        """The promotions that made a version of a model, oldest first."""
        if self._runs is None:
            head = self._place.get_experiment_by_name(self._experiment)
            runs = self._place.search_runs([head["experiment_id"]]) if head else iter(())
            self._runs = [head for head in runs if head["info"].get("lifecycle_stage") != "deleted"]
        wanted = {MODEL: name, VERSION: number}
        return [self._read(head) for head in self._runs if wanted.items() <= tags_of(head["data"].get("tags")).items()]

    def _read(self, head: Json) -> Promotion:
        """A run with its record, which only those that are asked for are read of."""
        try:
            record = records.get(self._place, Entry(head, 0))
        except ServerError as error:
            return Promotion(head, {}, f"its record can't be read: {error}")
        except (ValueError, RecursionError) as error:
            return Promotion(head, {}, f"its record is no JSON: {error}")
        return Promotion(head, record) if record else Promotion(head, {}, "it has no record: it was cut off")


def node(promotion: Promotion, environment: str, address: str) -> Node:
    """A promotion as a thing of a lineage: who, when, what the gates found, who approved."""
    info = promotion.run["info"]
    record = promotion.record
    parts = {
        "record": facts.plain(
            {key: _text(value) for key, value in record.items() if key not in ("gates", "approvals", "format")}
        ),
        "gates": _listed(record.get("gates"), "name"),
        "approvals": _listed(record.get("approvals"), "by"),
    }
    return Node(
        f"{PROMOTION}|{environment}|{info['run_id']}",
        PROMOTION,
        info.get("run_name") or info["run_id"],
        environment,
        {heading: values for heading, values in parts.items() if values},
        links.run(address, info["experiment_id"], info["run_id"]),
        promotion.problem,
    )


def _listed(entries: Any, name: str) -> Mapping[str, str]:
    """A list of objects by the value that names each."""
    if not isinstance(entries, list):
        return {}
    named = ((each.get(name) or number, each) for number, each in enumerate(entries) if isinstance(each, dict))
    return facts.plain({str(key): _text({k: v for k, v in each.items() if k != name}) for key, each in named})


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(each)}" for key, each in value.items() if each not in (None, "", [], {}))
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
