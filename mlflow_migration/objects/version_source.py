"""What a version is made of at a registry: the destination's run or logged model where that is there, else the
version's own files, where the source keeps some."""

from __future__ import annotations

from dataclasses import replace

from mlflow_migration.calls import Live
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import held, registry, signature, sources, version_files
from mlflow_migration.objects.kind import run_at
from mlflow_migration.objects.sources import Target
from mlflow_migration.places import MLFLOW, WORKSPACE, Ids, Writing
from mlflow_migration.records import Json, Loss, Record, pairs_of, tags_of

DBFS = "dbfs:/databricks/"
"""Where a workspace keeps files of its own, which no other server reaches."""


def find(sink: Live, record: Record, ids: Ids, job: Writing) -> Target:
    """What a version is to be made of, as far as it is there. Raises NotFoundError where it can't be made without."""
    if registry.is_prompt(record.head):
        return sources.resolve(sink, record, ids, job)
    try:
        target = sources.resolve(sink, record, ids, job)
        if _leads_nowhere(sink, record, target, job):
            raise NotFoundError("what it was made of is not at the destination", target.source, sources.BRING)
    except NotFoundError as error:
        if not (sink.abilities.registry.needs_signature and has_files(record)):
            raise
        # The files go with the version: its source only tells where it came from.
        lost = Loss("link", "source", f"{error.what}: {error.why}")
        target = Target(record.head.get("source") or "", held.run_of(record.head), losses=(lost,))
    return _tied(sink, record, target, ids, job)


def settle(sink: Live, record: Record, ids: Ids, job: Writing) -> Target:
    """As `find`; where that can't be, the version's own files are put into a logged model of their own."""
    try:
        return find(sink, record, ids, job)
    except NotFoundError:
        if sink.abilities.registry.needs_signature or not has_files(record):
            raise
        name = registry.name_at(registry.MODELS, record.head["name"], sink, ids, job)
        address = version_files.hold(sink, record, name, ids, job)
        model_id = address.rpartition("/")[2]
        run_id = held.run_of(record.head)
        there = run_at(ids, run_id) if run_id else ""
        lost = () if there is not None else (Loss("link", "run_id", f"run {run_id} is not at the destination"),)
        return _tied(sink, record, Target(address, there or run_id, model_id, lost), ids, job)


def has_files(record: Record) -> bool:
    """Whether the version brings files of its own."""
    return next(iter(record.files()), None) is not None


def _leads_nowhere(sink: Live, record: Record, target: Target, job: Writing) -> bool:
    """Whether the address of a version's source means nothing at the destination, though it can be written there."""
    if sink.abilities.registry.needs_signature:
        return False
    address = sources.address_of({"source": target.source, "run_id": target.run_id})
    if job.source == sink.address:
        return not address.kind and has_files(record)
    if address.kind == sources.VERSION:
        number = address.root.rpartition("/")[2]
        return has_files(record) and sink.registry.get_version(address.id, number) is None
    unchanged = target.source == record.head.get("source")
    return unchanged and (
        has_files(record) or (target.source.startswith(DBFS) and sink.abilities.registry.dialect == MLFLOW)
    )


def _tied(sink: Live, record: Record, target: Target, ids: Ids, job: Writing) -> Target:
    """The target in the form the registry takes."""
    if sink.abilities.registry.needs_signature and loose_run(sink, record, ids, job):
        return replace(target, run_id="", model_id="" if target.losses else target.model_id)
    if sink.abilities.registry.dialect == WORKSPACE:
        return replace(target, source=_folder(sink, target))
    return target


def _folder(sink: Live, target: Target) -> str:
    """Where the files lie: a workspace copies them from there."""
    address = sources.address_of({"source": target.source, "run_id": target.run_id})
    if address.folder or address.kind not in {sources.RUN, sources.LOGGED_MODEL}:
        return target.source
    found = signature.of_object(sink, address.kind == sources.RUN, address.id, address.rest.strip("/"))
    return "/".join(part for part in (found.root.uri, found.folder) if part)


def loose_run(sink: Live, record: Record, ids: Ids, job: Writing) -> str:
    """The id of the version's run where that isn't at the destination; "" where it is, or there is none."""
    run_id = held.run_of(record.head)
    return run_id if run_id and job.source != sink.address and run_at(ids, run_id) is None else ""


def at_home(record: Record) -> Record:
    """A model or version as open-source MLflow's own tables hold it, from whichever registry it comes.

    Raises NotFoundError for a version whose files are nowhere but in the registry that it comes from.
    """
    head = record.head
    tags = {**tags_of(head.get("tags")), **held.restored(tags_of(head.get("tags")))}
    if "version" not in head:
        aliases = [{"alias": alias, "version": number} for alias, number in held.aliases_of(head).items()]
        return replace(record, head={**head, "tags": _pairs(tags), "aliases": aliases})
    stage, run_id, link = held.stage_of(head), held.run_of(head), held.run_link_of(head)
    fields = {key: value for key, value in (("current_stage", stage), ("run_id", run_id), ("run_link", link)) if value}
    shown = {**head, **fields, "tags": _pairs(tags)}
    if has_files(record):
        if not sources.address_of(head).kind:
            why = f"it was made of {head.get('source')!r}, and a database keeps no files of a version"
            raise NotFoundError("its files have no place at the destination", why, sources.BRING)
        # Where the files lie that the registry keeps for itself.
        shown.pop("storage_location", None)
    return replace(record, head=shown)


def _pairs(tags: dict[str, str]) -> list[Json]:
    own = (held.TAG, held.STAGE, held.ALIAS, held.RUN, held.RUN_LINK)
    return pairs_of({key: value for key, value in tags.items() if key in held.OF_PROMPTS or not key.startswith(own)})
