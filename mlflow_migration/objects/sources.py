"""What a model version was made of: a run's or logged model's artifacts, another version, or files elsewhere.

MLflow takes an address inside its own storage only from the run or logged model it belongs to (`_validate_source_run`
and `_validate_source_model` in server/handlers.py), so an address is turned into that of the destination's object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from mlflow_migration.calls import Live
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import held, model_links, registry
from mlflow_migration.objects.kind import Known, run_at
from mlflow_migration.objects.registry import MODELS
from mlflow_migration.places import Ids, Writing
from mlflow_migration.records import ORIGIN, Json, Loss, Record, tags_of

RUN = "run"
LOGGED_MODEL = "logged_model"
VERSION = "version"
SOURCE_MODEL = ORIGIN + "source_model"
"""On a version made from another version: the name its model had before a rename."""
NEEDING_AN_OWNER = frozenset({"", "file", "mlflow-artifacts", "http", "https", "runs", "models"})
"""Schemes of addresses that a server takes only together with the run or logged model they belong to."""
_FOLDER_OF_MODEL = re.compile(r".*/(?:logged_)?models/(m-[0-9a-f]{32})/artifacts(?=/|$)")
_FOLDER_OF_RUN = re.compile(r".*/([0-9a-f]{32})/artifacts(?=/|$)")
_RUNS = re.compile(r"runs:/+([^/]+)")
_LOGGED = re.compile(r"models:/+(m-[^/]+)(?=/|$)")
_NAMED = re.compile(r"models:/+([^/]+)/([0-9]+)$")
BRING = "bring it there, then type this command again"


@dataclass(frozen=True)
class Address:
    """A source taken apart. `root` is the text that stands for the object, `rest` what follows it.

    `folder` is True where `root` is the address of its artifacts, not its id.
    """

    kind: str = ""
    id: str = ""
    root: str = ""
    rest: str = ""
    folder: bool = False


def address_of(head: Json) -> Address:
    """What a version's source points at; an Address without a kind where it is outside MLflow."""
    source, run_id = head.get("source") or "", head.get("run_id") or ""
    for pattern, kind in ((_RUNS, RUN), (_LOGGED, LOGGED_MODEL), (_NAMED, VERSION)):
        if found := pattern.match(source):
            return Address(kind, found[1], found[0], source[found.end() :])
    folders = [(_FOLDER_OF_MODEL, LOGGED_MODEL), (_FOLDER_OF_RUN, RUN)]
    if run_id:
        folders.insert(1, (re.compile(rf".*/({re.escape(run_id)})/artifacts(?=/|$)"), RUN))
    for pattern, kind in folders:
        if found := pattern.match(source):
            return Address(kind, found[1], found[0], source[found.end() :], folder=True)
    return Address()


@dataclass(frozen=True)
class Target:
    """What a version is made of at the destination, and what of it can't be tied there."""

    source: str
    run_id: str
    model_id: str = ""
    losses: tuple[Loss, ...] = ()


def resolve(sink: Live, record: Record, ids: Ids, job: Writing) -> Target:
    """The destination's objects for a version's source and run.

    Raises NotFoundError where what it was made of isn't there and the source can't stand without it.
    """
    head = record.head
    source, run_id = head.get("source") or "", held.run_of(head)
    address = address_of(head)
    run = run_at(ids, run_id) if run_id else ""
    losses: tuple[Loss, ...] = ()
    if run is None and job.source == sink.address:
        run = run_id
    elif run is None:
        # The id stays as the source has it: it tells where the version comes from though it leads nowhere here.
        run = run_id
        losses = (Loss("link", "run_id", f"run {run_id} is not at the destination"),)
    if address.kind == RUN:
        return Target(_of_run(sink, source, address, (ids, job)), run or run_at(ids, address.id) or "", losses=losses)
    if address.kind == LOGGED_MODEL:
        return _of_model(sink, Target(source, run, losses=losses), address, (ids, job))
    if address.kind == VERSION:
        return Target(_of_version(sink, record, address, ids, job), run, losses=losses)
    return Target(source, run, losses=losses)


def _of_version(sink: Live, record: Record, address: Address, ids: Ids, job: Writing) -> str:
    """The destination's version. Raises NotFoundError where another model has its name and the number means another."""
    number = address.root.rpartition("/")[2]
    if job.adding is not None:
        # Under the number it got here; on one and the same server the version itself is there as well.
        there_id = ids.get(record.kind, f"{address.id}/{number}")
        if there_id is None and job.source != sink.address:
            raise NotFoundError("what it was made of is not at the destination", address.root, BRING)
        return f"models:/{there_id or f'{address.id}/{number}'}"
    name = registry.name_at(MODELS, address.id, sink, ids, job)
    stands = ids.once(registry.standing_of(name), registry.unknown)
    joined = stands is not None and stands.joined
    there = sink.registry.get_version(name, number) if joined else None
    mark = tags_of(there.get("tags")).get(registry.SOURCE_VERSION) if there else None
    if registry.refusal(MODELS, address.id, ids) or (joined and mark != registry.version_id(address.id, number)):
        raise NotFoundError("what it was made of is not at the destination", f"model version {address.root}", BRING)
    return f"models:/{name}/{number}"


def _model_uri(sink: Live, model_id: str) -> str:
    head = sink.models.get(model_id)
    return str(head["info"].get("artifact_uri", "")) if head else ""


def _of_model(sink: Live, target: Target, address: Address, at: tuple[Ids, Writing]) -> Target:
    ids, job = at
    there = model_links.locate(sink, address.id, ids)
    if not there and job.source == sink.address:
        return replace(target, model_id=address.id)
    if not there and urlsplit(target.source).scheme not in NEEDING_AN_OWNER:
        return target
    if not there:
        raise NotFoundError("what it was made of is not at the destination", f"logged model {address.id}", BRING)
    root = f"models:/{there}"
    if address.folder:
        root = ids.once(f"artifacts of {there}", partial(_model_uri, sink, there))
    return replace(target, source=root + address.rest, model_id=there)


def _of_run(sink: Live, source: str, address: Address, at: tuple[Ids, Writing]) -> str:
    ids, job = at
    there = run_at(ids, address.id)
    if there is None:
        if job.source == sink.address:
            return source
        if urlsplit(source).scheme not in NEEDING_AN_OWNER:
            return source
        raise NotFoundError("what it was made of is not at the destination", f"run {address.id}", BRING)
    return (_artifact_uri(sink, there, ids) if address.folder else f"runs:/{there}") + address.rest


def _artifact_uri(sink: Live, run_id: str, ids: Ids) -> str:
    def load() -> str:
        head = sink.get_run(run_id)
        return str(head["info"].get("artifact_uri", "")) if head else ""

    return ids.once(f"artifacts of {run_id}", load)


def marks(sink: Live, record: Record, ids: Ids, job: Writing) -> dict[str, str]:
    """The origin tags of a version whose source names a model that has another name here."""
    address = address_of(record.head)
    there = tags_of(record.head.get("tags")).get(SOURCE_MODEL)
    renamed = address.kind == VERSION and registry.name_at(MODELS, address.id, sink, ids, job) != address.id
    if there or renamed:
        return {SOURCE_MODEL: there or address.id}
    return {}


def swaps_of(record: Record, known: Known) -> dict[str, str]:
    """What turns the run and the source into what both ends share."""
    address = address_of(record.head)
    named = (
        held.run_of(record.head),
        record.head.get("model_id"),
        address.id if address.kind in {RUN, LOGGED_MODEL} else "",
    )
    swaps = {id_: known(id_) or id_ for id_ in named if id_}
    if address.kind == VERSION:
        name = tags_of(record.head.get("tags")).get(SOURCE_MODEL, address.id)
        swaps[address.root] = f"models:/{name}/{address.root.rpartition('/')[2]}"
    elif address.kind:
        mine = known(address.id) or address.id
        # The same object by its id or by where its artifacts lie: registries differ in which one they take.
        swaps[address.root] = f"{address.kind}:{mine}"
    return swaps
