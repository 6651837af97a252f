"""Registered models, prompts, their versions, and webhooks as rows. MLflow keeps a prompt as a registered model."""

from __future__ import annotations

from collections.abc import Callable

from mlflow_migration.database.made import Guess, Made, Part, Values, number, pairs, told
from mlflow_migration.database.settled import Settled
from mlflow_migration.records import Json, Loss, Record, tags_of

MODEL = (
    Part("registered_models", ("workspace", "name"), ("workspace", "name")),
    Part("registered_model_tags", ("workspace", "name"), ("workspace", "name", "key")),
    Part("registered_model_aliases", ("workspace", "name"), ("workspace", "name", "alias")),
)
VERSION = (
    Part("model_versions", ("workspace", "name", "version"), ("workspace", "name", "version")),
    Part("model_version_tags", ("workspace", "name", "version"), ("workspace", "name", "version", "key")),
)
WEBHOOK = (
    Part("webhooks", ("webhook_id",), ("webhook_id",)),
    Part("webhook_events", ("webhook_id",), ("webhook_id", "entity", "action")),
)
EXPERIMENTS = "_mlflow_experiment_ids"
"""A prompt's experiments, as ",8,9,"."""
MODEL_OF = {"model_version": "registered_model", "prompt_version": "prompt"}


def model(record: Record, to: Settled, marks: Json) -> Made:
    """A model or prompt under its name at the database, with further tags."""
    head = record.head
    owner = {"workspace": to.workspace, "name": to.name(record.kind, record.id)}
    row = {
        **owner,
        "creation_time": told(head, "creation_timestamp"),
        "last_updated_time": told(head, "last_updated_timestamp"),
        "description": head.get("description") or None,
    }
    tags = tags_of(head.get("tags"))
    if EXPERIMENTS in tags:
        ids = [id_ for id_ in tags[EXPERIMENTS].split(",") if id_]
        found = [str(to.experiments[id_].id) if id_ in to.experiments else id_ for id_ in ids]
        tags[EXPERIMENTS] = f",{','.join(found)},"
    aliases = [{**owner, "alias": each["alias"], "version": int(each["version"])} for each in head.get("aliases") or ()]
    rows = {
        "registered_models": [row],
        "registered_model_tags": pairs({**to.own_tags(tags), **marks}, owner),
        "registered_model_aliases": aliases,
    }
    return Made((owner["workspace"], owner["name"]), rows)


def version(record: Record, to: Settled, stored_at: Callable[[str], str]) -> Made:
    """A version; `stored_at` gives where what a source names lies."""
    head = record.head
    owner: Values = {
        "workspace": to.workspace,
        "name": to.name(MODEL_OF[record.kind], head["name"]),
        "version": int(head["version"]),
    }
    source = _source(head.get("source") or "", to)
    row = {
        **owner,
        "creation_time": told(head, "creation_timestamp"),
        "last_updated_time": told(head, "last_updated_timestamp"),
        "description": head.get("description") or None,
        "user_id": head.get("user_id") or Guess(None),
        "current_stage": head.get("current_stage") or "None",
        "source": source,
        "storage_location": head.get("storage_location") or Guess(stored_at(source)),
        "run_id": head.get("run_id") or None,
        "run_link": head.get("run_link") or None,
        "status": head.get("status") or "READY",
        "status_message": head.get("status_message") or None,
    }
    if "storage_location" in head:
        row["storage_location"] = to.text(head["storage_location"])
    tags = pairs(to.own_tags(tags_of(head.get("tags"))), owner)
    key = (owner["workspace"], owner["name"], owner["version"])
    return Made(key, {"model_versions": [row], "model_version_tags": tags})


def _source(source: str, to: Settled) -> str:
    """An address of artifacts, or `models:/NAME/3` under the name that model has there."""
    if not source.startswith("models:/"):
        return to.text(source)
    name, slash, number_ = source.removeprefix("models:/").partition("/")
    return f"models:/{to.name('registered_model', name)}{slash}{number_}"


def webhook(record: Record, to: Settled) -> Made:
    """A webhook without its secret, which MLflow never gives."""
    head = record.head
    row = {
        "workspace": to.workspace,
        "webhook_id": record.id,
        "name": head["name"],
        "description": head.get("description") or None,
        "url": head["url"],
        "status": head.get("status", "ACTIVE"),
        "secret": Guess(None),
        "creation_timestamp": told(head, "creation_timestamp"),
        "last_updated_timestamp": told(head, "last_updated_timestamp"),
        "deleted_timestamp": number(head.get("deleted_timestamp")),
    }
    events = [
        {"webhook_id": record.id, "entity": each["entity"].lower(), "action": each["action"].lower()}
        for each in head.get("events", ())
    ]
    loss = Loss("secret", record.id, "MLflow never gives it: set it at the destination if there was one")
    return Made((record.id,), {"webhooks": [row], "webhook_events": events}, losses=[loss])
