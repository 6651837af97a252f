"""Who promoted and approved a version: the journal of promotions, read as anybody reads runs.

It is an experiment at the destination of promotions. Each run of it is one promotion, its record
an artifact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_migration.calls import Readable
from mlflow_migration.errors import ServerError
from mlflow_migration.governance import facts, links
from mlflow_migration.governance.graph import PROMOTION, Node
from mlflow_migration.objects import run
from mlflow_migration.records import Json

RECORD = "promotion.json"
LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True)
class Promotion:
    """One run of the journal and its record; `problem` says why the record couldn't be read."""

    run: Json
    record: Json
    problem: str = ""


class Journal:
    """The promotions of one environment, listed when they are first asked for."""

    def __init__(self, place: Readable, experiment: str) -> None:
        self._place = place
        self._experiment = experiment
        self._promotions: list[Promotion] | None = None

    def of(self, name: str, number: str) -> list[Promotion]:
        """The promotions that made a version of a model, oldest first."""
        if self._promotions is None:
            head = self._place.get_experiment_by_name(self._experiment)
            runs = self._place.search_runs([head["experiment_id"]]) if head else iter(())
            self._promotions = [self._read(each) for each in runs if each["info"].get("lifecycle_stage") != "deleted"]
        return [each for each in self._promotions if _destination(each) == (name, number)]

    def _read(self, head: Json) -> Promotion:
        try:
            with self._place.open_file(run.root_of(head), RECORD) as reader:
                record = json.loads(reader.read(LARGEST))
        except ServerError as error:
            return Promotion(head, {}, f"its record can't be read: {error}")
        except (ValueError, RecursionError) as error:
            return Promotion(head, {}, f"its record is no JSON: {error}")
        return Promotion(head, record) if isinstance(record, dict) else Promotion(head, {}, "its record is no object")


def _destination(promotion: Promotion) -> tuple[str, str]:
    """The model and the number of the version that a promotion made; empty where its record doesn't tell."""
    there = promotion.record.get("to")
    if not isinstance(there, dict):
        return "", ""
    return str(there.get("model", "")), str(there.get("version", ""))


def node(promotion: Promotion, environment: str, address: str) -> Node:
    """A promotion as a thing of a lineage: who, when, what the gates found, who approved."""
    info = promotion.run["info"]
    record = promotion.record
    parts = {
        "record": facts.plain(
            {key: _text(value) for key, value in record.items() if key not in ("gates", "approvals")}
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
