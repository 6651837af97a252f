"""What versions of models were made of, so that it comes along with them: runs with those above them, logged models,
other versions."""

from __future__ import annotations

from dataclasses import replace

from mlflow_migration.calls import Readable
from mlflow_migration.objects import logged_model, model_version, prompt_version, registered_model, run, sources
from mlflow_migration.objects.model_links import links_of
from mlflow_migration.objects.registry import version_id
from mlflow_migration.places import Selection, Versions
from mlflow_migration.records import Json, tags_of

OF_MODELS = ("experiment", run.NAME, logged_model.NAME, registered_model.NAME, model_version.NAME)
"""Models and the kinds of what they are made of."""

NONE = ("",)
"""A choice of no version, where an empty one would mean all: no version has this id."""


def with_needed(source: Readable, selection: Selection, runs: tuple[str, ...] = ()) -> Selection:
    """The selection with exact versions, and with what they were made of at the source where that is asked for; then
    with these further runs too, and what those need.

    Raises NotFoundError when a model or a version that was named isn't there.
    """
    if selection.takes(model_version.NAME) and selection.needed:
        # What a model of this shard needs may lie in another one: the whole is looked at, and then shared out.
        return replace(_Closure(source).of(replace(selection, shard=None), runs), shard=selection.shard)
    if selection.versions == Versions():
        return selection
    kinds = [kind for kind in (model_version, prompt_version) if selection.takes(kind.NAME)]
    ids = tuple(record.id for kind in kinds for record in kind.read(source, replace(selection, shard=None)))
    return replace(selection, versions=Versions(ids=ids or NONE))


class _Closure:
    """What has been found to be needed so far. A run or model that is gone is left to the version that names it."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._versions: dict[str, str] = {}
        self._runs: dict[str, None] = {}
        self._models: dict[str, None] = {}
        self._experiments: dict[str, None] = {}
        self._seen: set[tuple[str, str]] = set()

    def of(self, selection: Selection, runs: tuple[str, ...] = ()) -> Selection:
        names = {record.id: None for record in registered_model.read(self._source, selection)}
        for record in model_version.read(self._source, selection):
            self._add_version(record.head)
        for run_id in runs:
            self._add_run(run_id)
        names.update(dict.fromkeys(self._versions.values()))
        kinds = [registered_model.NAME, model_version.NAME]
        whole = bool(selection.all_runs and self._experiments)
        if self._models or whole:
            kinds.insert(0, logged_model.NAME)
        if self._runs or whole:
            kinds.insert(0, run.NAME)
        if self._experiments:
            kinds.insert(0, "experiment")
        return replace(
            selection,
            kinds=tuple(kinds),
            models=tuple(names),
            versions=Versions(ids=tuple(self._versions) or NONE),
            experiments=tuple(self._experiments),
            run_ids=() if whole else tuple(self._runs),
            logged_models=() if whole else tuple(self._models),
        )

    def _new(self, kind: str, id_: str) -> bool:
        if not id_ or (kind, id_) in self._seen:
            return False
        self._seen.add((kind, id_))
        return True

    def _add_version(self, head: Json) -> None:
        id_ = version_id(head["name"], str(head["version"]))
        if not self._new(model_version.NAME, id_):
            return
        self._versions[id_] = head["name"]
        self._add_run(head.get("run_id") or "")
        address = sources.address_of(head)
        if address.kind == sources.RUN:
            self._add_run(address.id)
        elif address.kind == sources.LOGGED_MODEL:
            self._add_model(address.id)
        elif address.kind == sources.VERSION:
            made_of = self._source.registry.get_version(address.id, address.root.rpartition("/")[2])
            if made_of is not None:
                self._add_version(made_of)

    def _add_model(self, model_id: str) -> None:
        head = self._source.models.get(model_id) if self._new(logged_model.NAME, model_id) else None
        if head is None:
            return
        self._models[model_id] = None
        self._experiments[head["info"]["experiment_id"]] = None
        self._add_run(head["info"].get("source_run_id") or "")

    def _add_run(self, run_id: str) -> None:
        head = self._source.get_run(run_id) if self._new(run.NAME, run_id) else None
        if head is None:
            return
        self._add_run(tags_of(head["data"].get("tags")).get(run.PARENT, ""))
        self._runs[run_id] = None
        self._experiments[head["info"]["experiment_id"]] = None
        links = links_of(head) or {"inputs": [], "outputs": []}
        for model_id in (*links["inputs"], *(model_id for model_id, _ in links["outputs"])):
            self._add_model(model_id)
