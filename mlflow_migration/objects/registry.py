"""What registered models and prompts have in common: MLflow keeps a prompt as a registered model with a tag.

A model's name is its identity. At a destination it is known as the same one by two origin tags: the place and the
name it had where it was made, which stay the same however often it is copied on.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import NotFoundError
from mlflow_migration.objects import experiment, forms, held
from mlflow_migration.objects.kind import Known
from mlflow_migration.objects.refused import IsRefused, Refused, nothing
from mlflow_migration.objects.texts import NAMES_IN, renamed
from mlflow_migration.places import NEW_NAME, UPDATE, Ids, Selection, Writing
from mlflow_migration.records import (
    LINEAGE,
    ORIGIN,
    Identity,
    Json,
    Record,
    digest_of,
    tags_of,
)

IS_PROMPT = "mlflow.prompt.is_prompt"
EXPERIMENTS = "_mlflow_experiment_ids"
"""A prompt's experiments, as ",8,9,"."""
SOURCE = ORIGIN + "source"
SOURCE_NAME = ORIGIN + "model_name"
SOURCE_VERSION = ORIGIN + "model_version"
KEPT = ("creation_timestamp", "last_updated_timestamp", "deployment_job_id")
"""What REST can't set at a destination, or is another thing there, kept there as `mlflow_migration.*` tags."""
OWN_FIELDS = frozenset({"tags", "aliases", "description"})
"""Fields that arrive as such, so that no lineage tag repeats them."""
TAKEN = "RESOURCE_ALREADY_EXISTS"
ITSELF = "it is the source itself, or what the source's was made from"
HOLDS = ORIGIN + "holds."
"""Followed by a digest of a source model's place and name, which are the value: its versions were added to this one."""
PLACE = ".*"
"""How the name of all that a refused catalog or schema may hold ends."""
LEFT_OUT = "left out"
REFUSED = "refused"


@dataclass(frozen=True)
class Family:
    """Registered models or prompts: the names of the two kinds, and the folder of a bundle they lie in."""

    model: str
    version: str
    folder: str
    prompts: bool

    def chosen(self, selection: Selection) -> tuple[str, ...]:
        """The names and globs that are asked for; empty for all."""
        return selection.prompts if self.prompts else selection.models

    def takes(self, head: Json) -> bool:
        """Whether an object is one of this family."""
        return is_prompt(head) == self.prompts


MODELS = Family("registered_model", "model_version", "models", prompts=False)
PROMPTS = Family("prompt", "prompt_version", "prompts", prompts=True)
FAMILIES = {family.model: family for family in (MODELS, PROMPTS)}


def is_prompt(head: Json) -> bool:
    """Whether a registered model or version is a prompt's, in MLflow's own words."""
    return tags_of(head.get("tags")).get(IS_PROMPT, "").lower() == "true"


def validate(family: Family, head: Json) -> Identity:
    """Check a model's head from outside; its home and id. Raises ValueError."""
    name = forms.RegisteredModel.model_validate(head).name
    if not family.takes(head):
        raise ValueError(f"it is no {family.model}")
    return (family.folder, name), name


def read(family: Family, source: Readable, selection: Selection) -> Iterator[Record]:
    """The selected models, and last those the server refuses to give. Raises NotFoundError for a name it hasn't."""
    refused = Refused(family.model, lambda name: (family.folder, name), source.registry.get_model)
    records = (_record(family, head) for head in filter(family.takes, source.registry.search_models(family.prompts)))
    yield from choose(family, records, selection, source.address, refused.note)
    for name in source.rights.denied(family.model):
        if may_name(family.chosen(selection), name) and name not in family.chosen(selection):
            refused.note(name)
    yield from refused.records


def _with_chosen_aliases(record: Record, ids: frozenset[str]) -> Record:
    """The model with the aliases of those of its versions that are asked for."""
    entries = record.head.get("aliases") or ()
    kept = [entry for entry in entries if version_id(record.id, entry["version"]) in ids]
    return replace(record, head={**record.head, "aliases": kept})


def record(family: Family, source: Readable, name: str, selection: Selection) -> Record | None:
    """One model by name, or None."""
    head = source.registry.get_model(name)
    return _record(family, head) if head and family.takes(head) else None


def choose(
    family: Family, records: Iterator[Record], selection: Selection, where: str, is_refused: IsRefused = nothing
) -> Iterator[Record]:
    """Those that are asked for; raises NotFoundError at the end where a name or glob meets none of them."""
    patterns = family.chosen(selection)
    unmet = set(patterns)
    ids = frozenset(selection.versions.ids)
    for each in records:
        unmet -= {pattern for pattern in unmet if _matches(pattern, each.name)}
        if named(patterns, each.name):
            yield _with_chosen_aliases(each, ids) if ids else each
    unmet = {pattern for pattern in sorted(unmet) if experiment.is_glob(pattern) or not is_refused(pattern)}
    if unmet:
        raise NotFoundError(
            f"no such {family.model}: {', '.join(repr(name) for name in sorted(unmet))}",
            f"at {where}",
            "check the name: upper and lower case differ",
        )


def named(patterns: tuple[str, ...], name: str) -> bool:
    """Whether a name is asked for."""
    return not patterns or any(_matches(pattern, name) for pattern in patterns)


def may_name(patterns: tuple[str, ...], name: str) -> bool:
    """Whether what is refused may be asked for; of a place, `main.*`, whether anything in it may be."""
    if named(patterns, name) or not name.endswith(PLACE):
        return named(patterns, name)
    folder = name.removesuffix(PLACE[1:])
    beginnings = (re.split(r"[*?[]", pattern)[0] for pattern in patterns if experiment.is_glob(pattern))
    return any(beginning.startswith(folder) or folder.startswith(beginning) for beginning in beginnings)


def _matches(pattern: str, name: str) -> bool:
    return pattern == name or (any(char in pattern for char in "*?[") and fnmatch.fnmatchcase(name, pattern))


def _record(family: Family, head: Json) -> Record:
    # The latest versions are records of their own.
    kept = {key: value for key, value in head.items() if key != "latest_versions"}
    return Record(family.model, head["name"], head["name"], (family.folder, head["name"]), kept)


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends: the name may be another one after a rename."""
    tags = held.restored(tags_of(record.head.get("tags")))
    if EXPERIMENTS in tags:
        shared = [experiment.shared_id(id_) for id_ in experiment_ids_in(tags[EXPERIMENTS])]
        tags[EXPERIMENTS] = ",".join(sorted((swaps or {}).get(id_, id_) for id_ in shared))
    return {"description": record.head.get("description") or "", "tags": tags, "aliases": aliases(record.head)}


def swaps_of(record: Record, known: Known) -> dict[str, str]:
    """What turns the experiments' ids into those that both ends share."""
    listed = experiment_ids_in(tags_of(record.head.get("tags")).get(EXPERIMENTS, ""))
    return {id_: known(id_) or id_ for id_ in map(experiment.shared_id, listed)}


def origin(record: Record) -> str:
    """The name of the model this one came from in the first place, or its own."""
    return tags_of(record.head.get("tags")).get(SOURCE_NAME) or record.id


def aliases(head: Json) -> dict[str, str]:
    """Alias → version."""
    return {entry["alias"]: str(entry["version"]) for entry in head.get("aliases") or ()}


def experiment_ids_in(text: str) -> list[str]:
    """The ids in a prompt's list of experiments."""
    return [id_ for id_ in text.split(",") if id_]


@dataclass(frozen=True)
class Standing:
    """How a destination's model stands to the source's: made from it, the one it was made from, one of its own that
    the source's is added to, or none of these. `source` is the place where the source's was made; with `shared` both
    places show one and the same model."""

    ours: bool
    itself: bool
    joined: bool = False
    source: str = ""
    shared: bool = False

    @property
    def foreign(self) -> bool:
        return not (self.ours or self.itself or self.joined)


def standing(head: Json, record: Record, sink: Live, job: Writing) -> Standing:
    here = tags_of(head.get("tags"))
    root = root_of(record, job.source)
    if job.metastore and job.metastore == sink.abilities.registry.metastore and head["name"] == record.id:
        return Standing(ours=False, itself=True, source=root[0], shared=True)
    same = root == (here.get(SOURCE) or sink.address, here.get(SOURCE_NAME) or head["name"])
    joined = not same and (job.on_conflict == UPDATE or hold_of(root) in here)
    return Standing(ours=same and SOURCE in here, itself=same and SOURCE not in here, joined=joined, source=root[0])


def root_of(record: Record, source: str) -> tuple[str, str]:
    """The place where a model was made in the first place, and its name there."""
    return tags_of(record.head.get("tags")).get(SOURCE) or source, origin(record)


def hold_of(root: tuple[str, str]) -> str:
    """The tag of a model that another one's versions were added to: tag keys can't hold any name."""
    return HOLDS + digest_of(list(root))[:32]


def is_shared(record: Record) -> bool:
    """Whether other models' versions were added to this one."""
    return any(key.startswith(HOLDS) for key in tags_of(record.head.get("tags")))


def kept(head: Json) -> dict[str, str]:
    """The origin tags for what a destination can't keep otherwise; those of an earlier move stay as they are."""
    there = tags_of(head.get("tags"))
    return {
        ORIGIN + field: there.get(ORIGIN + field) or str(head[field])
        for field in KEPT
        if head.get(field) or ORIGIN + field in there
    }


def lineage(head: Json, job: Writing) -> dict[str, str]:
    """The lineage tags, where they are asked for."""
    if not job.lineage:
        return {}
    return {f"{LINEAGE}field.{key}": str(value) for key, value in head.items() if key not in OWN_FIELDS}


def refusal(family: Family, name: str, ids: Ids) -> str:
    """LEFT_OUT or REFUSED where this job was not to write the model, or could not for another one of its name."""
    return ids.once(refusal_key(family, name), lambda: "")


def refusal_key(family: Family, name: str) -> str:
    """The key of `Ids.once` under which stands why this job doesn't write a model."""
    return f"refusal of {family.model} {name}"


def name_at(family: Family, name: str, sink: Live, ids: Ids, job: Writing) -> str:
    """The name of a source's model at the destination: models are written before whatever names them."""

    def load() -> str:
        # It isn't part of this job; an earlier one may have given it a name that was free.
        known = by_origin(family, sink, ids).get((job.source, name)) if job.on_conflict == NEW_NAME else None
        return known or job.names.of(family.model, name)

    return ids.once(name_key(family, name), load)


def name_key(family: Family, name: str) -> str:
    """The key of `Ids.once` under which stands what a source's model is called at the destination."""
    return f"name of {family.model} {name}"


def rename_in(tags: Mapping[str, str], sink: Live, ids: Ids, job: Writing) -> dict[str, str]:
    """Tags of another object, with the destination's names in MLflow's lists of versions."""

    def there(family: Family, name: str) -> str:
        return name_at(family, name, sink, ids, job)

    kinds = {key: FAMILIES[kind] for key, kind in NAMES_IN.items() if key in tags}
    return {**tags, **{key: renamed(tags[key], partial(there, family)) for key, family in kinds.items()}}


def by_origin(family: Family, sink: Live, ids: Ids) -> dict[tuple[str, str], str]:
    """The names of the destination's models that came from elsewhere, by place and name there."""

    def load() -> dict[tuple[str, str], str]:
        found = {}
        for head in filter(family.takes, sink.registry.search_models(family.prompts)):
            tags = tags_of(head.get("tags"))
            if SOURCE in tags and SOURCE_NAME in tags:
                found[tags[SOURCE], tags[SOURCE_NAME]] = str(head["name"])
        return found

    return ids.once(f"{family.model}s by origin", load)


def fresh(name: str) -> str:
    """The key of `Ids.once` under which stands that this job made a model, or would: no number of it has been used."""
    return f"fresh model {name}"


def standing_of(name: str) -> str:
    """The key of `Ids.once` under which stands how a destination's model stands to the source's."""
    return f"standing of model {name}"


def unknown() -> Standing | None:
    """What is known of a model that this job has not written."""
    return None


def version_id(name: str, version: str) -> str:
    return f"{name}/{version}"
