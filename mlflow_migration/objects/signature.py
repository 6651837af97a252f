"""A model's signature: found by the model's address, read from its MLmodel file, and put into it.

MLflow keeps a signature nowhere but in MLmodel, as YAML whose `signature` holds inputs, outputs and params as texts of
JSON (`mlflow/models/signature.py`).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import yaml

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, MigrationError, NotFoundError, ServerError, UsageError
from mlflow_migration.objects import logged_model, registry, run, sources
from mlflow_migration.objects.texts import LARGEST_MODEL_FILE
from mlflow_migration.places import Root
from mlflow_migration.records import File, Json

MLMODEL = "MLmodel"
PARTS = ("inputs", "outputs", "params")
LATEST = "latest"
_RUNS = re.compile(r"runs:/+([^/]+)/?(.*)")
_MODELS = re.compile(r"models:/+(.+)")


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of a model lie: the folder `folder` below `root`; `address` names the model to a person."""

    address: str
    root: Root
    folder: str = ""

    @property
    def mlmodel(self) -> str:
        """The path of MLmodel below the root."""
        return f"{self.folder}/{MLMODEL}".lstrip("/")


def locate(live: Readable, address: str) -> ModelFiles:
    """The files of the model at `models:/name/1`, `models:/name@alias`, `models:/m-…` or `runs:/id/path`.

    Also takes a stage, or `latest`, in place of a version's number. Raises UsageError for another form, NotFoundError
    where there is no such model.
    """
    if found := _RUNS.fullmatch(address):
        return _of_run(live, found[1], found[2].strip("/"), address)
    found = _MODELS.fullmatch(address)
    if not found:
        raise UsageError(
            f"not a model's address: {address}",
            hint="write models:/name/1, models:/name@alias, models:/m-… or runs:/id/path",
        )
    name, at, alias = found[1].rpartition("@")
    if not at and "/" not in found[1]:
        return _logged(live.models.get(found[1]), address, live)
    if not at:
        name, _, alias = found[1].rpartition("/")
    number = alias if alias.isdigit() and not at else _number(live, name, alias, bool(at))
    head = live.registry.get_version(name, number)
    if head is None:
        raise _absent(address, live)
    return of_version(live, head)


def _absent(address: str, live: Readable) -> NotFoundError:
    return NotFoundError(
        f"no such model: {address}", f"at {live.address}", "list-registered-models shows what is there"
    )


def _number(live: Readable, name: str, word: str, is_alias: bool) -> str:
    """The version that an alias, a stage or `latest` means."""
    head = live.registry.get_model(name)
    number = None
    if head is not None and is_alias:
        number = registry.aliases(head).get(word)
    elif head is not None:
        # The newest version of each stage.
        newest = {each["current_stage"].lower(): str(each["version"]) for each in head.get("latest_versions", [])}
        number = max(newest.values(), key=int, default=None) if word == LATEST else newest.get(word.lower())
    if number is None:
        raise _absent(f"models:/{name}{'@' if is_alias else '/'}{word}", live)
    return number


def of_version(live: Readable, head: Json) -> ModelFiles:
    """The files of a version of a registered model. Raises NotFoundError for a prompt's, which has none."""
    address = f"models:/{head['name']}/{head['version']}"
    if registry.is_prompt(head):
        raise NotFoundError(f"{address} is a prompt", "prompts have no signature")
    source = sources.address_of(head)
    if source.kind == sources.RUN and not source.folder and not live.abilities.registry.version_files:
        # Asked for the files of such a version, MLflow 3.17.2 answers 500.
        return _of_run(live, source.id, source.rest.strip("/"), address)
    return ModelFiles(address, Root("model_version", registry.version_id(head["name"], str(head["version"])), ""))


def of_object(live: Readable, is_run: bool, id_: str, folder: str) -> ModelFiles:
    """The files of a run's or logged model's folder. Raises NotFoundError."""
    if is_run:
        return _of_run(live, id_, folder, f"runs:/{id_}/{folder}")
    return _logged(live.models.get(id_), f"models:/{id_}", live, folder)


def _of_run(live: Readable, run_id: str, path: str, address: str) -> ModelFiles:
    head = live.get_run(run_id)
    if head is None:
        raise NotFoundError(f"no such run: {run_id}", f"{address} at {live.address}", "check the run's id")
    name, _, rest = path.partition("/")
    # A model that MLflow 3 logged lies beside its run; where both have the path MLflow takes the model.
    if name and not set(name) & set("'\"\\"):
        for model in live.models.search([head["info"]["experiment_id"]], f"name = '{name}'"):
            if model["info"].get("source_run_id") == run_id:
                return _logged(model, address, live, rest)
    return ModelFiles(address, run.root_of(head), path)


def _logged(head: Json | None, address: str, live: Readable, folder: str = "") -> ModelFiles:
    if head is None:
        raise _absent(address, live)
    return ModelFiles(address, logged_model.root_of(head), folder)


def read(live: Readable, files: ModelFiles) -> Json:
    """What stands in MLmodel. Raises NotFoundError where there is no such file, ConflictError where it is broken."""
    return _parsed(_bytes(live, files), files.address)


def parsed(file: File, address: str) -> Json:
    """What stands in an MLmodel file. Raises ConflictError where it is broken, NotFoundError where it can't be read."""
    if file.open is None:
        raise NotFoundError(f"the {MLMODEL} file of {address} can't be read", file.problem)
    with file.open() as reader:
        return _parsed(b"".join(_blocks(reader)), address)


def _parsed(data: bytes, address: str) -> Json:
    try:
        value = yaml.safe_load(data.decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _broken(address, " ".join(str(error).split())) from error
    if not isinstance(value, dict):
        raise _broken(address, "it is not a mapping")
    return value


def _bytes(live: Readable, files: ModelFiles) -> bytes:
    try:
        with live.open_file(files.root, files.mlmodel) as reader:
            return b"".join(_blocks(reader))
    except ServerError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise NotFoundError(f"{files.address} has no {MLMODEL} file", error.why, "check the path") from error


def _blocks(reader: BinaryIO) -> Iterator[bytes]:
    left = LARGEST_MODEL_FILE
    while block := reader.read(min(left, 1 << 16)):
        yield block
        left -= len(block)
        if not left:
            raise ConflictError(f"{MLMODEL} is too large", f"more than {LARGEST_MODEL_FILE} bytes")


def _broken(address: str, why: str) -> MigrationError:
    return ConflictError(f"the {MLMODEL} file of {address} is broken", why[:300])


def signature_of(address: str, mlmodel: Json) -> Json | None:
    """The signature with its parts as lists, or None. Raises ConflictError where it isn't one."""
    value = mlmodel.get("signature")
    if not value:
        return None
    if not isinstance(value, dict):
        raise _broken(address, "signature is not a mapping")
    try:
        return {str(part): json.loads(text) if text else None for part, text in value.items()}
    except (TypeError, ValueError, RecursionError) as error:
        raise _broken(address, f"signature: {error}") from error


def checked(value: Any, where: str) -> Json:
    """A signature as `signature_of` gives it, from outside. Raises UsageError where it isn't one."""
    if (
        not isinstance(value, dict)
        or not value
        or not value.keys() <= set(PARTS)
        or not all(
            part is None or (isinstance(part, list) and all(isinstance(one, dict) for one in part))
            for part in value.values()
        )
        or not any(value.values())
    ):
        raise UsageError(f"not a signature: {where}", hint="get-model-signature --output-file writes one")
    return {part: value.get(part) for part in PARTS}


def put(live: Live, files: ModelFiles, mlmodel: Json, signature: Json) -> None:
    """Write MLmodel anew with this signature, and look whether it arrived.

    Raises ServerError or UsageError where the files can't be written over the server.
    """
    texts = {part: json.dumps(value) if value else None for part, value in signature.items()}
    # As MLflow writes it (`Model.to_yaml`).
    data = yaml.safe_dump({**mlmodel, "signature": texts}, default_flow_style=False).encode()

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        yield io.BytesIO(data)

    root = _writable(live, files)
    live.put_file(root, files.mlmodel, File(files.mlmodel, len(data), opened))
    if _bytes(live, files) != data:
        raise ConflictError(f"{files.address} did not take the signature", "its MLmodel file still is another one")


def _writable(live: Live, files: ModelFiles) -> Root:
    """The root as something that can be written to."""
    if files.root.kind != "model_version":
        return files.root
    name, _, version = files.root.id.rpartition("/")
    uri = live.registry.download_uri(name, version)
    parts = urlsplit(uri)
    if parts.scheme != "mlflow-artifacts" or parts.netloc:
        raise UsageError(
            f"the files of {files.address} can't be written over the server",
            f"they lie at {uri}, which it doesn't proxy",
            "give what the version was made of: runs:/id/path or models:/m-…",
        )
    return Root(files.root.kind, files.root.id, uri)
