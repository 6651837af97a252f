"""Filling a run at a destination: full batches, only what is missing, and a last batch that completes it."""

from __future__ import annotations

from itertools import groupby

from mlflow_migration.calls import Live
from mlflow_migration.objects.points import Outgoing, bad_key, metrics_of, missing
from mlflow_migration.objects.texts import Texts
from mlflow_migration.records import Json, Loss, Record, pairs_of, tags_of

BATCH_ENTITIES = 1000
BATCH_PARAMS = 100
BATCH_TAGS = 100
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
"""Longer values `log-batch` cuts off and answers 200 (MLFLOW_TRUNCATE_LONG_VALUES is the default; tried on 3.17.2)."""


class Filling:
    """The batches of one run. What is given to `start`, `add` and `end` leaves in the fewest `log-batch` calls."""

    def __init__(self, sink: Live, record: Record, texts: Texts) -> None:
        self.sink = sink
        self.record = record
        self.texts = texts
        self.losses: list[Loss] = []
        self._run_id = ""
        self._params: list[Json] = []
        self._metrics: list[Json] = []

    @staticmethod
    def bad_param(key: str, value: str) -> str:
        """Why a destination can't hold this param whole; "" when it can."""
        if len(value) > LONGEST_PARAM:
            return f"its value has {len(value)} characters, MLflow takes {LONGEST_PARAM}"
        return bad_key(key)

    def log_inputs(self, run_id: str) -> None:
        """The run's dataset inputs, as the source shows them."""
        inputs = (self.record.head.get("inputs") or {}).get("dataset_inputs", [])
        datasets = [{"tags": entry.get("tags", []), "dataset": entry["dataset"]} for entry in inputs]
        if datasets:
            self.sink.log_inputs(run_id, datasets)

    def start(self, run_id: str, params: list[tuple[str, str]]) -> None:
        self._run_id = run_id
        self._params = [{"key": key, "value": value} for key, value in params]
        while len(self._params) > BATCH_PARAMS:
            self.sink.log_batch(run_id, {"params": self._params[:BATCH_PARAMS]})
            del self._params[:BATCH_PARAMS]

    def add(self, metrics: list[Json]) -> None:
        self._metrics += metrics
        while len(self._metrics) > BATCH_ENTITIES:
            self._send({})

    def set_status(self, head: Json) -> None:
        """Status and end time, where they differ from what the destination's run has."""
        info, there = self.record.head["info"], head["info"]
        fields = {}
        if info.get("status", "RUNNING") != there.get("status", "RUNNING"):
            fields["status"] = info["status"]
        if info.get("end_time") and info["end_time"] != there.get("end_time"):
            fields["end_time"] = info["end_time"]
        if fields:
            self.sink.update_run(self._run_id, fields)

    def end(self, tags: dict[str, str], completion: dict[str, str]) -> None:
        """The remaining points, then `tags`: within a call MLflow writes tags last.

        `completion` goes with them unless something was lost on the way: then the next job tries, and tells, again.
        """
        for key in [key for key, value in tags.items() if len(value) > LONGEST_TAG]:
            self.losses.append(
                Loss("tag", key, f"its value has {len(tags.pop(key))} characters, MLflow takes {LONGEST_TAG}")
            )
        pairs = pairs_of(tags if self.losses else {**tags, **completion})
        while len(pairs) > BATCH_TAGS:
            self.sink.log_batch(self._run_id, {"tags": pairs[:BATCH_TAGS]})
            del pairs[:BATCH_TAGS]
        while len(self._metrics) + len(self._params) + len(pairs) > BATCH_ENTITIES:
            self._send({})
        if pairs or self._metrics or self._params:
            self._send({"tags": pairs})

    def _send(self, rest: Json) -> None:
        room = BATCH_ENTITIES - len(self._params)
        batch = {**rest, "params": self._params, "metrics": self._metrics[:room]}
        self.sink.log_batch(self._run_id, {key: value for key, value in batch.items() if value})
        self._params = []
        del self._metrics[:room]


def update_run(filling: Filling, head: Json, points: Outgoing) -> None:
    """Bring the destination's run up to date: its missing params, changed tags and missing points."""
    run_id = head["info"]["run_id"]
    here = tags_of(head["data"].get("params"))
    params = []
    for key, value in tags_of(filling.record.head["data"].get("params")).items():
        if filling.bad_param(key, value) or here.get(key) == value:
            continue
        if key in here:
            filling.losses.append(Loss("param", key, "the destination has another value, and params can't be changed"))
        else:
            params.append((key, value))
    filling.start(run_id, params)
    there = tags_of(head["data"].get("tags"))
    changed = {key: value for key, value in filling.texts.early.items() if there.get(key) != value}
    filling.texts.late.update(changed)
    keys = {metric["key"] for metric in head["data"].get("metrics", [])}
    for key, rows in groupby(points, key=lambda row: str(row["key"])):
        present = {key: filling.sink.history(run_id, key)} if key in keys else {}
        for row in missing(rows, present):
            filling.add(metrics_of(row))
