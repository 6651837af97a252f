"""Issues, label schemas, review queues, scorers and evaluation datasets as rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial

from mlflow_migration.database.made import Guess, Made, Part, Values, made_up_id, now, number, pairs, told
from mlflow_migration.database.settled import Settled
from mlflow_migration.database.trace_rows import tie
from mlflow_migration.records import Json, Loss, Record

ISSUE = (Part("issues", ("issue_id",), ("issue_id",)),)
SCHEMA = (Part("label_schemas", ("schema_id",), ("schema_id",)),)
QUEUE = (
    Part("review_queues", ("queue_id",), ("queue_id",)),
    Part("review_queue_users", ("queue_id",), ("queue_id", "user_id")),
    Part("review_queue_label_schemas", ("queue_id",), ("queue_id", "schema_id")),
    Part("review_queue_items", ("queue_id",), ("queue_id", "item_id")),
)
SCORER = (
    Part("scorers", ("experiment_id", "scorer_name"), ("experiment_id", "scorer_name")),
    Part("scorer_versions", ("scorer_id",), ("scorer_id", "scorer_version")),
    Part("online_scoring_configs", ("scorer_id",), ("scorer_id", "experiment_id", "sample_rate", "filter_string")),
)
DATASET = (
    Part("evaluation_datasets", ("dataset_id",), ("dataset_id",)),
    Part("evaluation_dataset_tags", ("dataset_id",), ("dataset_id", "key")),
    Part(
        "entity_associations",
        ("source_id",),
        ("source_type", "source_id", "destination_type", "destination_id"),
        shared=True,
    ),
)
RECORD = Part("evaluation_dataset_records", ("dataset_id", "input_hash"), ("dataset_id", "input_hash"))
WRAPPED = "mlflow_wrapped"
"""MLflow keeps a record's outputs under this key (`DATASET_RECORD_WRAPPED_OUTPUT_KEY`)."""


def issue(record: Record, to: Settled) -> Made:
    head = record.head
    row = {
        "issue_id": record.id,
        "experiment_id": to.place(head["experiment_id"]).id,
        "name": head["name"],
        "description": head.get("description", ""),
        "status": head.get("status", ""),
        "severity": head.get("severity") or None,
        "root_causes": _list(head.get("root_causes")),
        "source_run_id": head.get("source_run_id") or None,
        "categories": _list(head.get("categories")),
        "created_timestamp": told(head, "created_timestamp"),
        "last_updated_timestamp": told(head, "last_updated_timestamp"),
        "created_by": head.get("created_by") or None,
    }
    return Made((record.id,), {"issues": [row]})


def _list(values: list[str] | None) -> str | None:
    return json.dumps(values) if values else None


def label_schema(record: Record, to: Settled) -> Made:
    """A label schema; MLflow's own class gives the form its `input` is kept in."""
    from google.protobuf.json_format import ParseDict
    from mlflow.genai.label_schemas.label_schemas import LabelSchema
    from mlflow.protos.label_schemas_pb2 import LabelSchema as Proto
    from mlflow.store.tracking.dbmodels.models import SqlLabelSchema

    head = record.head
    made = SqlLabelSchema.from_mlflow_entity(
        LabelSchema.from_proto(ParseDict(head, Proto(), ignore_unknown_fields=True))
    )
    row = {column.name: getattr(made, column.name) for column in SqlLabelSchema.__table__.columns}
    row["experiment_id"] = to.place(head["experiment_id"]).id
    row["is_default"] = bool(head.get("is_default"))
    row["created_time"] = told(head, "created_at")
    row["last_update_time"] = told(head, "last_updated_at")
    return Made((record.id,), {"label_schemas": [row]})


def queue(record: Record, to: Settled) -> Made:
    """A review queue; MLflow keeps in small letters what REST shows in capitals."""
    head = record.head
    row = {
        "queue_id": record.id,
        "experiment_id": to.place(head["experiment_id"]).id,
        "name": head["name"],
        "name_key": head["name"].lower(),
        "queue_type": head["queue_type"].lower(),
        "created_by": head.get("created_by") or None,
        "creation_time_ms": told(head, "creation_time_ms"),
        "last_update_time_ms": told(head, "last_update_time_ms"),
    }
    items = [
        {
            "queue_id": record.id,
            "item_type": item.get("item_type", "TRACE").lower(),
            "item_id": item["item_id"],
            "status": item.get("status", "PENDING").lower(),
            "completed_by": item.get("completed_by") or None,
            "completed_time_ms": number(item.get("completed_time_ms")) or None,
            "creation_time_ms": told(item, "creation_time_ms"),
            "last_update_time_ms": told(item, "last_update_time_ms"),
        }
        for item in head.get("items", ())
    ]
    rows = {
        "review_queues": [row],
        "review_queue_users": [{"queue_id": record.id, "user_id": user} for user in head.get("users", ())],
        "review_queue_label_schemas": [
            {"queue_id": record.id, "schema_id": schema_id} for schema_id in head.get("schema_ids", ())
        ],
        "review_queue_items": items,
    }
    return Made((record.id,), rows)


def scorer(record: Record, to: Settled) -> Made:
    head = record.head
    experiment_id = to.place(head["experiment_id"]).id
    id_ = head.get("scorer_id") or ""
    scorer_id = Guess(id_) if id_ else made_up_id("scorer", experiment_id, head["name"])
    versions = [
        {
            "scorer_id": scorer_id.value,
            "scorer_version": number(each["version"]),
            "serialized_scorer": each["serialized_scorer"],
            "creation_time": told(each, "creation_time"),
        }
        for each in head["versions"]
    ]
    configs = [
        {
            "online_scoring_config_id": _id_of(config, scorer_id.value),
            "scorer_id": scorer_id.value,
            "sample_rate": config["sample_rate"],
            "experiment_id": experiment_id,
            "filter_string": config.get("filter_string"),
        }
        for config in head.get("online_configs", ())
    ]
    row = {"experiment_id": experiment_id, "scorer_name": head["name"], "scorer_id": scorer_id}
    rows = {"scorers": [row], "scorer_versions": versions, "online_scoring_configs": configs}
    return Made((experiment_id, head["name"]), rows)


def _id_of(config: Json, scorer_id: str) -> Guess:
    known = config.get("online_scoring_config_id")
    if known:
        return Guess(known)
    return made_up_id("online", scorer_id, config["sample_rate"], config.get("filter_string"))


def dataset(record: Record, to: Settled) -> Made:
    """An evaluation dataset; its records are a stream."""
    head = record.head
    owner = {"dataset_id": record.id}
    row = {
        **owner,
        "workspace": to.workspace,
        "name": to.name("evaluation_dataset", head["name"]),
        "schema": head.get("schema") or None,
        "profile": head.get("profile") or None,
        "digest": head.get("digest") or None,
        "created_time": told(head, "created_time"),
        "last_update_time": told(head, "last_update_time"),
        "created_by": head.get("created_by") or None,
        "last_updated_by": head.get("last_updated_by") or None,
    }
    ties, losses = [], []
    for id_ in head.get("experiment_ids", ()):
        if id_ in to.experiments:
            ties.append(tie(("evaluation_dataset", record.id), ("experiment", str(to.experiments[id_].id))))
        else:
            losses.append(Loss("link", f"experiment {id_}", "it is not at the destination"))
    tags = pairs(json.loads(head.get("tags") or "{}"), owner)
    rows = {"evaluation_datasets": [row], "evaluation_dataset_tags": tags, "entity_associations": ties}
    return Made((record.id,), rows, partial(_records, record), losses)


def _records(record: Record) -> Iterator[Values]:
    for shown in record.rows["records"]() if "records" in record.rows else ():
        # What plain JSON has no word for is kept as a text.
        row = json.loads(shown["json"]) if "json" in shown else shown
        source = row.get("source") or None
        hashed = hashlib.sha256(json.dumps(row["inputs"], sort_keys=True).encode()).hexdigest()
        outputs = row.get("outputs")
        known = row.get("dataset_record_id")
        yield {
            "dataset_record_id": Guess(known) if known else made_up_id(record.id, hashed, prefix="dr-"),
            "dataset_id": record.id,
            "inputs": row["inputs"],
            "outputs": None if outputs is None else {WRAPPED: outputs},
            "expectations": row.get("expectations"),
            "tags": row.get("tags"),
            "source": source,
            "source_id": row.get("source_id") or None,
            "source_type": (source or {}).get("source_type"),
            "created_time": told(row, "created_time"),
            "last_update_time": Guess(number(row.get("last_update_time")) or now()),
            "created_by": row.get("created_by") or None,
            "last_updated_by": row.get("last_updated_by") or None,
            "input_hash": hashed,
        }
