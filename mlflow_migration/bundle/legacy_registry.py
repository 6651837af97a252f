"""Registered models, prompts and their versions in folders of mlflow-export-import.

`model.json` holds a model and, but for an export of one version, its versions; `version.json` holds one. They name runs
by id. `prompt.json` holds one version of a prompt: of the prompt itself nothing was exported but its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_migration.bundle.legacy_files import MODEL, PROMPT, PROMPT_VERSION, VERSION, Folder, pairs, plain, text
from mlflow_migration.records import Json, Record, pairs_of, tags_of

IS_PROMPT = "mlflow.prompt.is_prompt"
PROMPT_TEXT = "mlflow.prompt.text"
PROMPT_TYPE = "_mlflow_prompt_type"
PROMPT_SOURCE = "dummy-source"
"""What MLflow's client gives as the source of each prompt's version (`mlflow/prompt/constants.py` of 3.17.2)."""
FOLDERS = {MODEL: "models", PROMPT: "prompts"}
OF_VERSION = ("aliases", "metrics", "params", "model_params", "model_metrics", "deployment_job_state")
"""Attributes of MLflow's Python object that are no fields of its REST API, or stand with the model."""


def models(folder: Folder, kind: str) -> Iterator[Record]:
    """The registered models, or the prompts among them, with tags and aliases."""

    def make(path: Path, value: Json) -> Iterator[Record]:
        model = value["registered_model"]
        head = plain(model, "versions", "latest_versions", "permissions")
        head["name"] = name = str(model["name"])
        head["tags"] = pairs(model.get("tags"))
        head["aliases"] = [
            {"alias": each["alias"], "version": str(each["version"])} for each in model.get("aliases") or []
        ]
        if _kind_of(head["tags"]) == kind:
            yield Record(kind, name, name, (FOLDERS[kind], name), head)

    yield from folder.records("model.json", make)
    if kind == PROMPT:
        yield from _prompts(folder)


def _kind_of(tags: list[Json]) -> str:
    return PROMPT if tags_of(tags).get(IS_PROMPT, "").lower() == "true" else MODEL


def _prompts(folder: Folder) -> Iterator[Record]:
    """The prompts of which versions are there."""
    seen = set()
    for version in folder.records("prompt.json", _prompt_version):
        name = version.refs[PROMPT]
        if name not in seen:
            seen.add(name)
            head = {"name": name, "tags": pairs_of({IS_PROMPT: "true"}), "aliases": []}
            yield Record(PROMPT, name, name, (FOLDERS[PROMPT], name), head)


def versions(folder: Folder, kind: str) -> Iterator[Record]:
    """The versions of registered models, or of prompts."""

    def of_model(path: Path, value: Json) -> Iterator[Record]:
        model = value["registered_model"]
        # Releases before 1.2.0 kept all versions under the name of the latest ones.
        for each in model.get("versions") or model.get("latest_versions") or []:
            yield _version(each, str(model["name"]))

    def alone(path: Path, value: Json) -> Iterator[Record]:
        yield _version(value["model_version"], str(value["model_version"]["name"]))

    wanted = VERSION if kind == VERSION else PROMPT_VERSION
    readers = (("model.json", of_model), ("version.json", alone), ("model_version.json", alone))
    for name, make in readers:
        yield from (record for record in folder.records(name, make) if record.kind == wanted)
    if kind == PROMPT_VERSION:
        yield from folder.records("prompt.json", _prompt_version)


def _version(value: Json, name: str) -> Record:
    head = plain(value, *OF_VERSION)
    head |= {"name": name, "version": str(value["version"]), "tags": pairs(value.get("tags"))}
    if value.get("_source") is not None:
        # Its model's files were put among the artifacts of its run, and this is their path there.
        head["source"] = f"runs:/{value['run_id']}/{value['source']}"
    parent = _kind_of(head["tags"])
    return _as_record(VERSION if parent == MODEL else PROMPT_VERSION, parent, head)


def _prompt_version(path: Path, value: Json) -> Iterator[Record]:
    prompt = value["prompt"]
    template: Any = prompt["template"]
    tags = {
        IS_PROMPT: "true",
        PROMPT_TEXT: text(template),
        PROMPT_TYPE: "text" if isinstance(template, str) else "chat",
        **tags_of(pairs(prompt.get("tags"))),
    }
    head = plain(prompt, "template", "variables", "uri", "commit_message", "tags", "aliases")
    head |= {"name": str(prompt["name"]), "version": str(prompt["version"]), "source": PROMPT_SOURCE}
    head |= {"tags": pairs_of(tags), "description": prompt.get("commit_message") or prompt.get("description") or ""}
    yield _as_record(PROMPT_VERSION, PROMPT, head)


def _as_record(kind: str, parent: str, head: Json) -> Record:
    name, number = head["name"], head["version"]
    id_ = f"{name}/{number}"
    return Record(kind, id_, id_, (FOLDERS[parent], name, number), head, {parent: name})


READERS = {
    MODEL: partial(models, kind=MODEL),
    PROMPT: partial(models, kind=PROMPT),
    VERSION: partial(versions, kind=VERSION),
    PROMPT_VERSION: partial(versions, kind=PROMPT_VERSION),
}
