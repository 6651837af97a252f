"""The metrics of logged models: each is a point of some run's history that also counts for a model.

MLflow stores a model's NaN as 0.0 (its table has no column for it, found on 3.17.2), so a zero is looked up in the
run's own history before it is believed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

from mlflow_migration.calls import Live, Readable
from mlflow_migration.objects.kind import run_at
from mlflow_migration.objects.points import bad_key
from mlflow_migration.objects.texts import swap
from mlflow_migration.places import Ids
from mlflow_migration.records import Json, Loss, Record

BATCH = 1000


def with_nan(source: Readable, head: Json) -> Json:
    """The head with NaN where the run's history says so."""
    metrics = (head.get("data") or {}).get("metrics", [])
    zeros = {(metric.get("run_id", ""), metric["key"]) for metric in metrics if metric.get("value", 0) == 0}
    nans = {series: _nans(source, *series) for series in zeros if series[0]}
    if not any(nans.values()):
        return head
    found = [
        {**metric, "value": "NaN"}
        if (metric.get("step", 0), metric["timestamp"]) in nans.get((metric.get("run_id", ""), metric["key"]), ())
        and metric.get("value", 0) == 0
        else metric
        for metric in metrics
    ]
    return {**head, "data": {**head["data"], "metrics": found}}


def _nans(source: Readable, run_id: str, key: str) -> set[tuple[int, int]]:
    """(step, timestamp) of each NaN of a series that has no zero at that moment."""
    nans: set[tuple[int, int]] = set()
    zeros: set[tuple[int, int]] = set()
    for row in source.history(run_id, key):
        nans.update((step, timestamp) for step, timestamp, value in row["points"] if value == "NaN")
        zeros.update((step, timestamp) for step, timestamp, value in row["points"] if value == 0)
    return nans - zeros


def run_ids(head: Json) -> set[str]:
    """The runs whose points a model's metrics are."""
    return {metric.get("run_id", "") for metric in (head.get("data") or {}).get("metrics", [])}


def portable(metrics: Iterable[Json], swaps: dict[str, str] | None) -> list[list[object]]:
    """What must be equal at both ends, in a fixed order."""
    return sorted(
        (
            [
                metric["key"],
                int(metric.get("step", 0)),
                int(metric.get("timestamp", 0)),
                _value(metric),
                swap(metric.get("run_id", ""), swaps),
                metric.get("dataset_name", ""),
                metric.get("dataset_digest", ""),
            ]
            for metric in metrics
        ),
        key=str,
    )


def _value(metric: Json) -> float | str:
    value: float | str = metric.get("value", 0.0)
    return value if isinstance(value, str) else value + 0.0


def write(sink: Live, record: Record, model_id: str, ids: Ids) -> list[Loss]:
    """Log the model's metrics through their runs, where those are there; sent again they change nothing."""
    losses: list[Loss] = []
    by_run: dict[str, list[Json]] = defaultdict(list)
    for metric in (record.head.get("data") or {}).get("metrics", []):
        by_run[metric.get("run_id", "")].append(metric)
    for source_run, metrics in by_run.items():
        run_id = run_at(ids, source_run)
        if not run_id:
            reason = f"its run {source_run} is not at the destination: bring it there, then type this command again"
            losses += [Loss("metric", metric["key"], reason) for metric in metrics]
            continue
        good = [metric for metric in metrics if not bad_key(metric["key"])]
        losses += [
            Loss("metric", metric["key"], bad_key(metric["key"])) for metric in metrics if bad_key(metric["key"])
        ]
        _log(sink, run_id, [_point(metric, model_id) for metric in good])
    return losses


def _point(metric: Json, model_id: str) -> Json:
    names = ("key", "value", "timestamp", "step", "dataset_name", "dataset_digest")
    return {name: metric[name] for name in names if metric.get(name) is not None} | {"model_id": model_id}


def _log(sink: Live, run_id: str, points: list[Json]) -> None:
    head = sink.get_run(run_id)
    deleted = head is not None and head["info"].get("lifecycle_stage") == "deleted"
    if deleted:
        sink.restore_run(run_id)
    rest = iter(points)
    while batch := list(islice(rest, BATCH)):
        sink.log_batch(run_id, {"metrics": batch})
    if deleted:
        sink.delete_run(run_id)
