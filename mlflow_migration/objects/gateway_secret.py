"""The gateway's secrets: by name and provider only. MLflow never gives a value, and no copy of one is wanted.

A destination that has a secret of that name is taken to have the right one; one that lacks it is told which to make.
What MLflow shows of a secret besides, its masked values and who made it, never leaves the source.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError
from mlflow_migration.objects import forms, kind
from mlflow_migration.places import Ids, Selection, Writing
from mlflow_migration.records import Identity, Json, Loss, Record, Written

NAME = "gateway_secret"
NEEDS: tuple[str, ...] = ()
PARENTS: tuple[str, ...] = ()
ROWS: tuple[str, ...] = ()
COVERAGE = kind.Coverage(
    since="3.10",
    carried="nothing: a secret is made by hand at the destination, under the same name",
    kept_beside="nothing",
    lost="the value, which MLflow never gives",
)
NEW_IDS = False
validate_row = kind.no_row
link = kind.no_link
origin = kind.own_id
swaps_of = kind.no_swaps
comparable = kind.same_file
rows_summary = kind.no_rows_summary
differing_rows = kind.no_differing_rows
choose = kind.choose_unless_of_experiments
SETTINGS = ("api_base", "api_version", "auth_mode", "aws_region_name", "vertex_location", "vertex_project")
"""What of `auth_config` says where requests go, and is no secret (`mlflow/utils/providers.py` of 3.17.2)."""


def validate(head: Json) -> Identity:
    """Check a head from outside; its home and id. Raises pydantic's ValidationError."""
    form = forms.GatewaySecret.model_validate(head)
    return home(form.name), form.name


def home(name: str) -> tuple[str, ...]:
    return ("gateway", "secrets", name)


def read(source: Readable, selection: Selection) -> Iterator[Record]:
    """The names of all secrets; none where only some experiments are asked for."""
    if not kind.of_experiments(selection):
        yield from map(_record, source.gateway.list_secrets())


def record(source: Readable, name: str, selection: Selection) -> Record | None:
    """One secret by name, or None."""
    return next((_record(head) for head in source.gateway.list_secrets() if head["secret_name"] == name), None)


def _record(shown: Json) -> Record:
    name, config = str(shown["secret_name"]), shown.get("auth_config", {})
    settings = {key: str(config[key]) for key in SETTINGS if config.get(key)}
    # An address may hold a password.
    settings = {key: value for key, value in settings.items() if "@" not in value and "?" not in value}
    head = {"name": name, "provider": shown.get("provider", ""), "settings": settings}
    return Record(NAME, name, name, home(name), head)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends: a destination may reach its provider another way."""
    return {"tags": {}, "provider": record.head["provider"]}


def write(sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Look whether the destination has it. Raises ConflictError where its secret is for another provider."""
    there = at(sink, ids).get(record.name)
    if there is None:
        return Written("", "skipped", reason="MLflow never gives a secret's value", losses=(_missing(record, sink),))
    provider = there.get("provider", "")
    if provider != record.head["provider"]:
        raise ConflictError(
            f"the gateway secret {record.name!r} is another one at the destination",
            f"it is for the provider {provider!r}, not {record.head['provider']!r}",
            "delete that one and make it anew, then type the command again",
        )
    return Written(record.id, "same")


def at(sink: Live, ids: Ids) -> dict[str, Json]:
    """What the destination shows of its secrets, by name; asked once."""
    return ids.once("gateway secrets", lambda: {head["secret_name"]: head for head in sink.gateway.list_secrets()})


def _missing(record: Record, sink: Live) -> Loss:
    head = record.head
    settings = {"provider": head["provider"], **head["settings"]}
    words = ", ".join(f"{key} {value}" for key, value in settings.items() if value)
    return Loss("secret", record.name, missing(record.name, sink) + (f" ({words})" if words else ""))


def missing(name: str, sink: Live) -> str:
    """What is to be done about a secret that the destination lacks."""
    return f"make a gateway secret named {name!r} at {sink.address} and type this command again"
