"""Where the artifacts of whole objects lie, and how their addresses change when they are copied to another root.

Below an experiment's own address MLflow puts those of its runs, logged models and traces; each object has its address
in a column or tag of its own, too (found on 3.17.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_migration.database import parts
from mlflow_migration.database.parts import Key, Unit
from mlflow_migration.database.rows import Change, Flow
from mlflow_migration.places import Root

if TYPE_CHECKING:
    import sqlalchemy as sa

LOCATION = "mlflow.artifactLocation"
PROXIED = "mlflow-artifacts:"
HOLDING = (
    ("experiments", "artifact_location"),
    ("experiment_tags", "value"),
    ("runs", "artifact_uri"),
    ("tags", "value"),
    ("logged_models", "artifact_location"),
    ("logged_model_tags", "tag_value"),
    ("trace_tags", "value"),
)
"""The columns of an experiment's rows in which addresses of its artifacts stand, alone or within a text."""
OF_VERSIONS = (("model_versions", "source"), ("model_versions", "storage_location"))


def is_proxied(uri: str) -> bool:
    """Whether a server gives the artifacts from its own root, so that the address says nothing of where that is."""
    return uri.startswith(PROXIED)


def moved(location: str, root: str, experiment_id: object) -> str:
    """An experiment's address below another root; one that a server resolves stays as it is."""
    if is_proxied(location):
        return location
    folder = root if "://" in root or is_proxied(root) else str(Path(root).absolute())
    return f"{folder.rstrip('/')}/{experiment_id}"


def changes(old: str, new: str) -> dict[tuple[str, str], Change]:
    """What changes in the rows of an experiment whose address becomes another one."""
    return dict.fromkeys(HOLDING, partial(_within, old, new)) if old != new else {}


def version_changes(addresses: Mapping[str, str]) -> dict[tuple[str, str], Change]:
    """What changes in the rows of model versions: each of these addresses of experiments becomes another one."""
    return dict.fromkeys(OF_VERSIONS, partial(_below, addresses)) if addresses else {}


def _within(old: str, new: str, text: Any) -> Any:
    if not isinstance(text, str) or old not in text:
        return text
    return new if text == old else text.replace(f"{old}/", f"{new}/")


def _below(addresses: Mapping[str, str], uri: Any) -> Any:
    if not isinstance(uri, str):
        return uri
    head, rest = uri, ""
    while "/" in head:
        if head in addresses:
            return addresses[head] + rest
        head, _, last = head.rpartition("/")
        rest = f"/{last}{rest}"
    return uri


def roots(flow: Flow, unit: Unit, key: Key) -> Iterator[Root]:
    """The addresses of the runs, logged models and traces of an experiment, as they are at the source."""
    import sqlalchemy as sa

    if unit is not parts.EXPERIMENT:
        return
    tables = flow.source.tables
    runs, models, traces, tags = (tables[name] for name in ("runs", "logged_models", "trace_info", "trace_tags"))
    yield from _listed(flow, "run", sa.select(runs.c.run_uuid, runs.c.artifact_uri).where(_in(runs, key)))
    located = sa.select(models.c.model_id, models.c.artifact_location).where(_in(models, key))
    yield from _listed(flow, "logged_model", located)
    joined = tags.join(traces, traces.c.request_id == tags.c.request_id)
    located = sa.select(tags.c.request_id, tags.c.value).select_from(joined).where(_in(traces, key))
    yield from _listed(flow, "trace", located.where(tags.c.key == LOCATION))


def _in(table: sa.Table, key: Key) -> sa.ColumnElement[bool]:
    return table.c.experiment_id == key[0]


def _listed(flow: Flow, kind: str, statement: sa.Select[Any]) -> Iterator[Root]:
    for id_, uri in flow.reader.execute(statement, execution_options={"yield_per": 1000}):
        if uri:
            yield Root(kind, id_, uri)
