"""A place shown with other names, and without some tags, params and artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from mlflow_migration.errors import ConflictError
from mlflow_migration.objects import (
    access_list,
    experiment,
    model_version,
    prompt,
    prompt_version,
    registered_model,
    sources,
)
from mlflow_migration.objects.logged_model import VERSIONS
from mlflow_migration.objects.registry import version_id
from mlflow_migration.objects.trace_head import PROMPTS
from mlflow_migration.objects.versions import Queued
from mlflow_migration.places import Selection, Source
from mlflow_migration.records import File, Files, Json, Record

MODELS = frozenset({registered_model.NAME, prompt.NAME})
VERSIONS_OF = {model_version.NAME: registered_model.NAME, prompt_version.NAME: prompt.NAME}
PROMPT_ITSELF = ("mlflow.prompt.", "_mlflow_prompt")
"""How the tags begin in which MLflow keeps a prompt itself: its text, type, format. They are never dropped."""
NAMING = frozenset({VERSIONS, PROMPTS})
"""Tags of JSON that name versions of models or prompts, `[{"name": …, "version": …}]`."""
TAGS_AT: tuple[tuple[str, ...], ...] = (("tags",), ("data", "tags"), ("info", "tags"))
"""Where heads have their tags."""
PARAMS_AT = ("data", "params")


@dataclass(frozen=True)
class Changes:
    """What is shown otherwise: new names of experiments, of models and prompts; globs of what is left out.

    An artifact's glob is compared with its whole path and with its name.
    """

    experiments: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()


class Rewritten:
    """A place with changes. Implements `Source`."""

    def __init__(self, source: Source, changes: Changes) -> None:
        """Raises ConflictError where a new name is another object's already."""
        self.address = source.address
        self.shows_all = source.shows_all
        self.keeps_version_files = source.keeps_version_files
        self._source = source
        self._changes = changes
        self._old_names = {new: old for old, new in changes.models.items()}
        for kinds in ((experiment.NAME,), (registered_model.NAME, prompt.NAME)):
            self._check_names(kinds)

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """The objects of a kind as they are to be."""
        return map(self._rewrite, self._source.records(kind, selection))

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        """One object by the id it is shown under, or None."""
        old = record_id
        if kind in MODELS:
            old = self._old_names.get(record_id, record_id)
        elif kind in VERSIONS_OF:
            name, _, number = record_id.rpartition("/")
            old = version_id(self._old_names.get(name, name), number)
        elif kind == access_list.NAME:
            old = access_list.with_names(record_id, self._old_names)
        found = self._source.record(kind, old, selection)
        return self._rewrite(found) if found is not None else None

    def _check_names(self, kinds: tuple[str, ...]) -> None:
        seen: set[str] = set()
        for kind in kinds:
            for record in self._source.records(kind, Selection()):
                name = self._new_name(record)
                if name in seen:
                    raise ConflictError(
                        f"two of the new bundle would have the name {name!r}", f"a {kind}", "give each its own new name"
                    )
                seen.add(name)

    def _new_name(self, record: Record) -> str:
        names = self._changes.experiments if record.kind == experiment.NAME else self._changes.models
        return names.get(record.name, record.name)

    def _rewrite(self, record: Record) -> Record:
        head = self._without_tags(record.kind, record.head)
        changed = replace(record, head=head, files=partial(self._files, record.files))
        if record.kind == experiment.NAME:
            name = self._new_name(record)
            return replace(changed, name=name, head={**head, "name": name})
        if record.kind in MODELS:
            name = self._new_name(record)
            return replace(changed, id=name, name=name, home=(record.home[0], name), head={**head, "name": name})
        if record.kind in VERSIONS_OF:
            return self._version(changed)
        if record.kind == access_list.NAME:
            return access_list.renamed(changed, self._changes.experiments, self._changes.models)
        return changed

    def _version(self, record: Record) -> Record:
        head = record.head
        address = sources.address_of(head)
        if address.kind == sources.VERSION and address.id in self._changes.models:
            number = head["source"].rpartition("/")[2]
            head = {**head, "source": f"models:/{self._changes.models[address.id]}/{number}"}
        name = self._changes.models.get(head["name"], head["name"])
        if isinstance(record, Queued):
            record = replace(record, after=tuple(map(self._new_id, record.after)))
        id_ = self._new_id(record.id)
        return replace(
            record,
            id=id_,
            name=id_,
            home=(record.home[0], name, record.home[2]),
            head={**head, "name": name},
            refs={**record.refs, VERSIONS_OF[record.kind]: name},
        )

    def _new_id(self, id_: str) -> str:
        name, _, number = id_.rpartition("/")
        return version_id(self._changes.models.get(name, name), number)

    def _without_tags(self, kind: str, head: Json) -> Json:
        for path in TAGS_AT:
            head = _at(head, path, partial(self._tags, kind))
        return _at(head, PARAMS_AT, self._params)

    def _params(self, params: Any) -> Any:
        return [param for param in params or [] if not _means_any(self._changes.params, param["key"])]

    def _tags(self, kind: str, tags: Any) -> Any:
        """Tags as they are to be, in whichever of MLflow's three forms: pairs, an object, the text of an object."""
        if isinstance(tags, list):
            kept = [tag for tag in tags if self._keeps(kind, tag["key"])]
            return [{**tag, "value": self._value(tag["key"], tag.get("value", ""))} for tag in kept]
        if isinstance(tags, dict):
            return {key: self._value(key, value) for key, value in tags.items() if self._keeps(kind, key)}
        return json.dumps(self._tags(kind, json.loads(tags))) if tags and isinstance(tags, str) else tags

    def _keeps(self, kind: str, key: str) -> bool:
        if kind in {prompt.NAME, prompt_version.NAME} and key.startswith(PROMPT_ITSELF):
            return True
        return not _means_any(self._changes.tags, key)

    def _value(self, key: str, value: Any) -> Any:
        if key not in NAMING or not self._changes.models:
            return value
        try:
            named = json.loads(value)
        except (TypeError, ValueError, RecursionError):
            return value
        if not isinstance(named, list) or not all(isinstance(each, dict) for each in named):
            return value
        new = [{**each, "name": self._changes.models.get(str(each.get("name")), each.get("name"))} for each in named]
        return value if new == named else json.dumps(new)

    def _files(self, files: Files) -> Iterator[File]:
        globs = self._changes.artifacts
        return (
            file
            for file in files()
            if not _means_any(globs, file.path) and not _means_any(globs, file.path.rpartition("/")[2])
        )


def _means_any(globs: tuple[str, ...], text: str) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _at(head: Json, path: tuple[str, ...], change: Any) -> Json:
    """The head with what lies at a path changed; the same one where nothing does."""
    key, *rest = path
    if key not in head or (rest and not isinstance(head[key], dict)):
        return head
    return {**head, key: _at(head[key], tuple(rest), change) if rest else change(head[key])}
