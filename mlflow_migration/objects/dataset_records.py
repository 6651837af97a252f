"""The records of an evaluation dataset: one row each, told apart by their inputs as MLflow does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mlflow_migration.objects.texts import run_ids_in, swap
from mlflow_migration.records import Json, Record, Rows, digest_of

NAME = "records"
USER = "mlflow.user"
"""The tag from which MLflow takes who made and who last changed a record or dataset."""
COMPARED = ("inputs", "outputs", "expectations", "tags", "source", "created_by", "last_updated_by")
MOST = 500
"""Records sent at once, and …"""
MOST_CHARACTERS = 4_000_000
"""… characters of them: a record may hold whole documents."""
SHOWN = 20
MODULUS = 1 << 256
FIELDS, PLAIN, NEITHER = "fields", "plain", "neither"


def row_of(record: Json) -> Json:
    """A record as a row. One with NaN or infinity, which plain JSON has no word for, is kept as MLflow's own text."""
    try:
        json.dumps(record, allow_nan=False)
    except ValueError:
        return {"json": json.dumps(record)}
    return record


def record_of(row: Json) -> Json:
    """The inverse of `row_of`."""
    found: Json = json.loads(row["json"]) if "json" in row else row
    return found


def validate_row(name: str, row: Json) -> None:
    """Check a row from outside. Raises ValueError."""
    try:
        record = record_of(row) if isinstance(row.get("json", ""), str) else None
    except RecursionError as error:
        raise ValueError("a record is nested too deeply") from error
    if not isinstance(record, dict) or not isinstance(record.get("inputs"), dict):
        raise ValueError("a record needs inputs")
    for key in ("expectations", "tags", "source"):
        if not isinstance(record.get(key) or {}, dict):
            raise ValueError(f"{key} of a record are no JSON object")


def key_of(record: Json) -> str:
    """What tells a record from the others of its dataset."""
    return digest_of(record["inputs"])


def portable(record: Json, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends. A trace named as source keeps its id everywhere; a run's id is replaced."""
    found = {key: record[key] for key in COMPARED if record.get(key) is not None}
    if record.get("source"):
        found["source"] = _swapped(record["source"], lambda text: swap(text, swaps))
    return found


def summary(rows: Rows, swaps: dict[str, str]) -> Json:
    """Equal exactly when all records are, in whatever order: those made at once have none."""
    count = total = 0
    for row in rows():
        count += 1
        total += int(digest_of(portable(record_of(row), swaps)), 16)
    return {"count": count, "digest": f"{total % MODULUS:064x}"}


def differing(left: Record, right: Record) -> Iterator[tuple[str, str, str]]:
    """(field, left, right) of the first records that differ; run ids in sources are not looked at here."""
    ours, theirs = ({key: digest for key, digest, _ in _digests(side)} for side in (left, right))
    shown = 0
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        if ours.get(key) != theirs.get(key) and shown < SHOWN:
            shown += 1
            both = key in ours and key in theirs
            values = [side.get(key, "absent")[:12] if both or key not in side else "there" for side in (ours, theirs)]
            yield f"records.{key[:12]}", values[0], values[1]


def _digests(record: Record) -> Iterator[tuple[str, str, Json]]:
    for row in record.rows[NAME]():
        found = record_of(row)
        known = {id_: "run" for id_ in source_runs(found)}
        yield key_of(found), digest_of(portable(found, known)), found


def source_runs(record: Json) -> set[str]:
    """What looks like a run's id in the place a record came from."""
    return {id_ for text in _texts(record.get("source")) for id_ in run_ids_in(text)}


def localized(record: Json, run: Callable[[str], str | None]) -> Json:
    """The record as it is sent: `run` gives the other end's id of a run, where there is one."""
    source = record.get("source")
    if source:
        swaps = {id_: there for id_ in source_runs(record) if (there := run(id_))}
        source = _swapped(source, lambda text: swap(text, swaps))
    # Absent outputs are sent as null: MLflow would make {} of them (store/tracking/sqlalchemy_store.py).
    sent = {"inputs": record["inputs"], "outputs": record.get("outputs"), "tags": record.get("tags") or {}}
    if record.get("expectations") is not None:
        sent["expectations"] = record["expectations"]
    return {**sent, "source": source} if source else sent


def _swapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _swapped(inner, change) for key, inner in value.items()}
    return change(value) if isinstance(value, str) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


@dataclass(frozen=True)
class There:
    """A record the destination has."""

    id: str
    digest: str


class Sending:
    """Records on their way, in batches of one creation time: MLflow lists them by it, so that their order stays."""

    def __init__(self, send: Callable[[list[Json]], None], run: Callable[[str], str | None]) -> None:
        self._send = send
        self._run = run

    def batches(self, rows: Rows, wanted: Callable[[Json], bool]) -> Iterator[list[Json]]:
        """The wanted records as they are at the source.

        Outputs of several types need those with named fields first, else MLflow fails: it notes the type of the
        first outputs as the dataset's (`_update_dataset_schema`).
        """
        kinds = {_fields_of(record_of(row)) for row in rows()}
        for fields in ({FIELDS}, {PLAIN, NEITHER}) if {FIELDS, PLAIN} <= kinds else (kinds,):
            chosen = (record for row in rows() if _fields_of(record := record_of(row)) in fields and wanted(record))
            for _, group in groupby(chosen, key=lambda record: record.get("created_time", 0)):
                yield from _limited(group)

    def send(self, batch: list[Json]) -> None:
        """Make the records: first under the name of who made them, then changed by who changed them last."""
        sent = [localized(record, self._run) for record in batch]
        made = []
        for record, body in zip(batch, sent, strict=True):
            tags = {key: value for key, value in body["tags"].items() if key != USER}
            if record.get("created_by"):
                tags[USER] = record["created_by"]
            made.append({**body, "tags": tags})
        self._send(made)
        changed = [body for body, first in zip(sent, made, strict=True) if body["tags"] != first["tags"]]
        if changed:
            self._send(changed)


def _fields_of(record: Json) -> str:
    """Whether a record's outputs have named fields, are one plain value or list, or neither."""
    outputs = record.get("outputs")
    if outputs is None or outputs == {}:
        return NEITHER
    return FIELDS if isinstance(outputs, dict) else PLAIN


def _limited(group: Iterator[Json]) -> Iterator[list[Json]]:
    batch: list[Json] = []
    size = 0
    for record in group:
        batch.append(record)
        size += len(json.dumps(record))
        if len(batch) >= MOST or size >= MOST_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
