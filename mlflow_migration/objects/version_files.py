"""The files of a version where a registry keeps them with it, and where it has them from.

Open-source MLflow keeps none: a version's files are those of the run or logged model it was made of. Databricks'
registries hold a copy, and Unity Catalog takes it only with a signature of inputs and outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, NotFoundError
from mlflow_migration.objects import logged_model, model_links, registry, run, signature, sources
from mlflow_migration.objects.kind import run_at
from mlflow_migration.objects.texts import rewritten, swap
from mlflow_migration.places import Ids, Root, Selection, Writing
from mlflow_migration.records import ORIGIN, File, Files, Json, Loss, Record, digest_of, no_files, tags_of

KIND = "model_version"
STRAY = "registered_model_meta"
"""A file MLflow leaves in the folder a registered model is loaded from: it names a registry that isn't this one."""
HOLDER = ORIGIN + "version_files"
"""On a logged model that was made to hold the files of a version: a digest of where that came from, name and number."""
HOLDERS = "mlflow_migration model versions"
"""The experiment of those logged models."""
READY = "LOGGED_MODEL_READY"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/[^\s'\"]*?/(m-[0-9a-f]{32}|[0-9a-f]{32})/artifacts(?![0-9A-Za-z])")
"""The address of a run's or logged model's artifacts, as MLmodel holds it."""
_RUN_ID = re.compile(r"(?<![0-9A-Za-z-])[0-9a-f]{32}(?![0-9A-Za-z])")


def of_version(source: Readable, head: Json, selection: Selection) -> Files:
    """The files that the place itself keeps with a version; none where it keeps none."""
    if not source.abilities.registry.version_files or registry.is_prompt(head):
        return no_files
    return partial(selection.files_of, partial(_listed, source, root_of(head["name"], str(head["version"]))))


def root_of(name: str, version: str) -> Root:
    return Root(KIND, registry.version_id(name, version), "")


def _listed(source: Readable, root: Root) -> Iterator[File]:
    return (file for file in source.files(root) if file.path.rpartition("/")[2] != STRAY)


def of_source(live: Readable, head: Json) -> list[File]:
    """The files of what a version was made of, below the folder it was made of. Raises NotFoundError."""
    address = sources.address_of(head)
    if address.kind == sources.VERSION:
        number = address.root.rpartition("/")[2]
        if live.abilities.registry.version_files:
            return list(_listed(live, root_of(address.id, number)))
        made_of = live.registry.get_version(address.id, number)
        if made_of is None:
            raise NotFoundError("what it was made of is not there", address.root, sources.BRING)
        return of_source(live, made_of)
    if not address.kind:
        raise NotFoundError("its files can't be reached", f"they lie outside MLflow: {head.get('source') or ''!r}")
    found = signature.of_object(live, address.kind == sources.RUN, address.id, address.rest.strip("/"))
    folder = f"{found.folder}/".lstrip("/")
    listed = (file for file in _listed(live, found.root) if file.path.startswith(folder))
    return [replace(file, path=file.path.removeprefix(folder)) for file in listed]


def gather(sink: Live, record: Record, target: sources.Target, ids: Ids) -> list[File]:
    """The files a version is to have at a registry that keeps them, with the ids of the destination in MLmodel.

    Raises NotFoundError where there are none, ConflictError where they have no signature and it takes one.
    """
    files = [settled(file, sink, ids) for file in record.files()]
    if not files:
        files = of_source(sink, {"source": target.source, "run_id": target.run_id})
    if not files:
        raise NotFoundError(f"version {record.id} has no files", f"nothing lies at {record.head.get('source')!r}")
    if sink.abilities.registry.needs_signature:
        check(record, files)
    return files


def check(record: Record, files: list[File]) -> None:
    """Raise ConflictError where a version's files have no signature of inputs and outputs, NotFoundError where they are
    no model."""
    address = f"models:/{record.id}"
    found = next((file for file in files if file.path == signature.MLMODEL), None)
    if found is None:
        raise NotFoundError(f"{address} has no {signature.MLMODEL} file", "Unity Catalog takes models alone")
    parts = signature.signature_of(address, signature.parsed(found, address))
    if parts is None or not (parts.get("inputs") and parts.get("outputs")):
        lacking = "no signature" if parts is None else "a signature without inputs and outputs"
        source = record.head.get("source") or ""
        give = source if source.startswith("runs:/") else address
        raise ConflictError(
            f"{address} has {lacking}, and Unity Catalog takes no version without one",
            f"give it one: mlflow-migration set-model-signature --model-uri {give} "
            "--input-file samples.csv --output-file predictions.csv; then type this command again",
        )


def upload(sink: Live, made: Json, files: list[File], checksum: bool) -> tuple[Loss, ...]:
    """Write what a version lacks of its files, and tell the registry that it is whole; what can't go."""
    root = root_of(made["name"], str(made["version"]))
    for file in run.changed_files(sink, root, files, {}, checksum):
        sink.put_file(root, file.path, file)
    sink.registry.finalize_version(made["name"], str(made["version"]))
    return tuple(run.lost_files(sink, files))


def hold(sink: Live, record: Record, name: str, ids: Ids, job: Writing) -> str:
    """The address of a logged model at the destination with the files of a version whose run isn't there.

    One that an earlier job made is completed, not made again. Raises NotFoundError where the destination is too old to
    have logged models.
    """
    if sink.abilities.before("3.0"):
        raise NotFoundError(
            "what it was made of is not at the destination",
            "and the server is before MLflow 3.0, which has no logged model to hold its files",
            sources.BRING,
        )
    tags = tags_of(record.head.get("tags"))
    # A text that any name may stand in would have to be quoted in a search.
    mark = digest_of([tags.get(registry.SOURCE) or job.source, tags.get(registry.SOURCE_VERSION) or record.id])[:32]
    experiment_id = ids.once("experiment of version files", partial(_experiment, sink, job))
    head = next(sink.models.search([experiment_id], f"tags.`{HOLDER}` = '{mark}'", limit=1), None)
    if head is None:
        body: Json = {"experiment_id": experiment_id, "name": _NOT_IN_NAMES.sub("_", name)}
        head = sink.models.create(body, {HOLDER: mark}, (HOLDER, mark))
    root = logged_model.root_of(head)
    files = [settled(file, sink, ids) for file in record.files()]
    for file in run.changed_files(sink, root, files, {}, job.checksum):
        sink.put_file(root, file.path, file)
    if head["info"].get("status") not in {READY, "READY"}:
        sink.models.finalize(root.id, READY)
    return f"models:/{root.id}"


def _experiment(sink: Live, job: Writing) -> str:
    name = job.names.into or HOLDERS
    if sink.abilities.home and not name.startswith("/"):
        name = f"{sink.abilities.home}/{name}"
    found = sink.get_experiment_by_name(name)
    return str(found["experiment_id"]) if found else sink.create_experiment(name, {HOLDER: "true"})


def settled(file: File, sink: Live, ids: Ids) -> File:
    """An MLmodel file with the ids and addresses of the destination's run and logged model, where they are."""
    if not run.is_model_file(file.path):
        return file
    return rewritten(file, lambda text: _at_sink(text, sink, ids))


def comparable(file: File, swaps: dict[str, str]) -> File:
    """A version's file as it would stand at the other end: ids, and the addresses that hold them, seen through."""
    if not run.is_model_file(file.path):
        return file
    return rewritten(file, lambda text: swap(_ADDRESS.sub(r"artifacts of \1", text), swaps))


def _at_sink(text: str, sink: Live, ids: Ids) -> str:
    def address(match: re.Match[str]) -> str:
        if match[1].startswith("m-"):
            there = model_links.locate(sink, match[1], ids)
            head = sink.models.get(there) if there else None
        else:
            there = run_at(ids, match[1])
            head = sink.get_run(there) if there else None
        return str(head["info"].get("artifact_uri") or match[0]) if head else match[0]

    text = _ADDRESS.sub(address, text)
    found = {id_: model_links.locate(sink, id_, ids) for id_ in model_links.model_ids_in(text)}
    found |= {id_: run_at(ids, id_) for id_ in _RUN_ID.findall(text)}
    return swap(text, {old: new for old, new in found.items() if new})
