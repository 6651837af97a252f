"""The seams between places, kinds and the loop."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from mlflow_migration.records import File, Files, Json, Record, Written

T = TypeVar("T")


MLFLOW, WORKSPACE, UNITY_CATALOG = "mlflow", "workspace", "unity_catalog"
"""The dialects of model registries: open-source MLflow's, that of a Databricks workspace, and Unity Catalog."""


@dataclass(frozen=True)
class TagRules:
    """Which tags a registry takes: no key with one of the characters `reserved` or longer than `key`, no value longer
    than `value`, so many of an object as `most`; 0 where there is no limit."""

    reserved: str = ""
    key: int = 0
    value: int = 0
    most: int = 0

    def takes(self, key: str, value: str) -> bool:
        """Whether a tag may have this key and value, whatever their length; no spaces begin or end them."""
        plain = not self.reserved or (key, value) == (key.strip(), value.strip())
        plain = plain and not set(key) & set(self.reserved)
        return plain and (not self.key or len(key) <= self.key)


@dataclass(frozen=True)
class RegistryAbilities:
    """What a model registry can do. `three_levels`: names are `catalog.schema.model`, in lower case. `stages`,
    `aliases`: versions have them. `version_files`: versions hold files of their own, which come with them.
    `needs_signature`: a version's files are uploaded, and one without a signature is refused. `metastore`: the id of
    what holds it where several places share one, else ""."""

    dialect: str = MLFLOW
    three_levels: bool = False
    stages: bool = True
    aliases: bool = True
    version_files: bool = False
    needs_signature: bool = False
    tags: TagRules = TagRules()
    metastore: str = ""


@dataclass(frozen=True)
class Abilities:
    """What a place can do, as found by asking it.

    `version` is MLflow's, "" where it doesn't tell. `lacks`: kinds it has no routes for, and why. `home`: where
    experiments are workspace paths, the caller's own folder; "" where names are free.
    """

    version: str = ""
    bulk_history: bool = True
    keeps_ids: bool = False
    keeps_times: bool = False
    proxied_artifacts: bool = True
    registry: RegistryAbilities = RegistryAbilities()
    lacks: Mapping[str, str] = field(default_factory=dict)
    home: str = ""

    def before(self, version: str) -> bool:
        """Whether it is known to be an older MLflow than `version`, given as "3.4"."""
        return bool(self.version) and _numbers(self.version) < _numbers(version)


def _numbers(version: str) -> list[int]:
    """The first two numbers of a version."""
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


@dataclass(frozen=True)
class Versions:
    """Which versions of the chosen models or prompts are asked for: all that meet each of these, where given.

    `numbers`: exact ones. `stages`: in one of them, in any case. `latest`: the highest number of each stage only.
    `ids`: exact ones of exact models, `NAME/NUMBER`.
    """

    numbers: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    latest: bool = False
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shard:
    """Part `number`, counted from 1, of `of` parts of what is asked for; all parts together hold it exactly once."""

    number: int
    of: int

    def holds(self, key: str) -> bool:
        """Whether what goes by this id or name is in it: the same in every process and on every machine."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1


@dataclass(frozen=True)
class Selection:
    """What of a place is asked for.

    `kinds`: empty for all. `experiments`: names, ids or globs, empty for all.
    `models`, `prompts`: names or globs, empty for all; `versions` of them.
    `logged_models`, `traces`: ids, empty for all. `datasets`: names, ids or globs of evaluation datasets.
    With `needed` what the chosen versions were made of comes along; with `all_runs` every run of those experiments.
    Times are ms since 1970 UTC, compared with a run's start.
    `files` is "copy", "skip" or "reference"; `max_file` is in bytes.
    With `permissions` what is given on experiments and models too, and a whole server's users and roles.
    `shard`: of all this one part, experiments and models each with what belongs to it.
    `notebooks`: the formats in which notebooks of runs are taken along.
    """

    experiments: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    filter: str = ""
    since: int | None = None
    until: int | None = None
    deleted: bool = True
    nested: bool = False
    files: str = "copy"
    max_file: int | None = None
    models: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    versions: Versions = Versions()
    logged_models: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    needed: bool = False
    all_runs: bool = False
    permissions: bool = False
    shard: Shard | None = None
    notebooks: tuple[str, ...] = ()

    def holds(self, key: str) -> bool:
        """Whether what goes by this id or name is in the shard asked for, if one is."""
        return self.shard is None or self.shard.holds(key)

    def takes(self, kind: str) -> bool:
        """Whether objects of a kind are asked for."""
        return not self.kinds or kind in self.kinds

    def files_of(self, files: Files) -> Iterator[File]:
        """The artifacts asked for; one that is too large comes without its bytes."""
        if self.files != "copy":
            return
        for file in files():
            if self.max_file is not None and file.size > self.max_file and not file.problem:
                reason = f"{file.size} bytes, more than --max-artifact-size {self.max_file}"
                yield File(file.path, file.size, problem=reason, wanted=False)
            else:
                yield file


PRINCIPAL = "principal"
"""What stands for a kind where users, groups and service principals are named: they are no objects that are moved."""
NAMED = ("experiment", "registered_model", "prompt", "evaluation_dataset")
"""The kinds whose names a person may change on the way."""
OF_REGISTRY = ("registered_model", "prompt")
"""Those of them that a model registry holds."""
SCHEMA = re.compile(r"[^./]+\.[^./]+\.")
"""A prefix that makes names of Unity Catalog."""
FAIL, SKIP, NEW_NAME, UPDATE = "fail", "skip", "new-name", "update"
POLICIES = (SKIP, FAIL, NEW_NAME, UPDATE)
"""What to do where a destination has a thing of the same name that didn't come from this source; "" for each kind's
own way: experiments are added to, models and prompts fail unless they are equal."""


def free_name(name: str, is_free: Callable[[str], bool], form: str = "{} ({})") -> str:
    """The first of `NAME (2)`, `NAME (3)` and so on that is free: what NEW_NAME gives."""
    return next(text for text in (form.format(name, n) for n in itertools.count(2)) if is_free(text))


@dataclass(frozen=True)
class Names:
    """What things are called at a destination.

    `new` maps (kind, name at the source) to a name, kind "" meaning every kind. `prefix` goes before all names, new
    ones too. `typed` are the keys of `new` that a person typed one by one, so that each has to be met. `into` is the
    one experiment that everything goes into, whatever experiment it comes from. With `lower` the destination is Unity
    Catalog, where models and prompts have names in lower case, and a prefix `catalog.schema.` is for them alone.
    """

    new: Mapping[tuple[str, str], str] = field(default_factory=dict)
    prefix: str = ""
    typed: frozenset[tuple[str, str]] = frozenset()
    into: str = ""
    lower: bool = False

    def of(self, kind: str, name: str) -> str:
        """The name at the destination; kinds that can't be renamed keep theirs."""
        if kind not in NAMED:
            return name
        if kind == "experiment" and self.into:
            return self.prefix + self.into
        prefix = "" if self.lower and kind not in OF_REGISTRY and SCHEMA.fullmatch(self.prefix) else self.prefix
        found = prefix + self.new.get((kind, name), self.new.get(("", name), name))
        return found.lower() if self.lower and kind in OF_REGISTRY else found

    def names(self, kind: str, name: str) -> bool:
        """Whether a person gave this very thing a new name."""
        return (kind, name) in self.new or ("", name) in self.new or (kind == "experiment" and bool(self.into))

    def as_json(self) -> Json:
        return {"new": sorted([*key, name] for key, name in self.new.items()), "prefix": self.prefix, "into": self.into}


SAME_NAMES = Names()


@dataclass(frozen=True)
class Adding:
    """Versions are added to a destination's own model under its next numbers, not kept under theirs.

    `create`: the model is made where it isn't there. `metadata`: it takes description and tags of the source's model.
    `aliases`: the versions take stages and aliases.
    """

    create: bool = False
    metadata: bool = False
    aliases: bool = False


@dataclass(frozen=True)
class Writing:
    """How objects are to be written. `on_conflict` is one of POLICIES or "";
    with `checksum` artifacts that are there already are compared byte for byte, not only by their size;
    objects of the kinds in `replace` that have the name at the destination are deleted first;
    `stages_to_aliases` and `aliases_to_stages` tell what becomes of stages and aliases where the destination has
    none; `principals`: who of the source is who at the destination, "" for nobody;
    into `notebook_dir`, a folder of the workspace, go the notebooks of runs; `metastore` is that of
    the source."""

    source: str
    names: Names = SAME_NAMES
    lineage: bool = False
    source_user: bool = True
    dry_run: bool = False
    checksum: bool = False
    on_conflict: str = ""
    replace: frozenset[str] = frozenset()
    adding: Adding | None = None
    stages_to_aliases: Mapping[str, str] = field(default_factory=dict)
    aliases_to_stages: Mapping[str, str] = field(default_factory=dict)
    principals: Mapping[str, str] = field(default_factory=dict)
    notebook_dir: str = ""
    metastore: str = ""

    def name_of(self, kind: str, name: str) -> str:
        """What a thing or a principal of the source is called at the destination."""
        return self.principals.get(name, name) if kind == PRINCIPAL else self.names.of(kind, name)


@dataclass
class Found:
    """A run a destination already has. `digest` is what it was completed with, "" for a half-made one."""

    id: str
    digest: str
    deleted: bool
    itself: bool = False


class Ids(Protocol):
    """What of the source the destination has, and under which id."""

    def get(self, kind: str, source_id: str) -> str | None: ...

    def earlier(self, kind: str, source_id: str) -> str | None: ...

    def put(self, kind: str, source_id: str, destination_id: str) -> None: ...

    def made(self, experiment_id: str, source_id: str) -> None: ...

    def find_experiment(self, source: str, source_id: str) -> Json | None: ...

    def find_run(self, experiment_id: str, source_id: str, root: str) -> Found | None: ...

    def locate_run(self, source_id: str) -> str | None: ...

    def reopen(self, experiment_id: str, will_delete: bool) -> None: ...

    def is_deleted(self, experiment_id: str) -> bool: ...

    def has_foreign_runs(self, experiment_id: str) -> bool: ...

    def is_other_dataset(self, experiment_id: str, dataset: Json) -> bool: ...

    def once(self, key: str, load: Callable[[], T]) -> T: ...


@dataclass(frozen=True)
class Root:
    """Where one object's artifacts live: `kind` and `id` of the object, `uri` its artifact URI."""

    kind: str
    id: str
    uri: str


class Source(Protocol):
    """A place to read from. `shows_all` tells whether it shows what MLflow's REST API never does,
    `keeps_version_files` whether versions of models have files of their own there."""

    address: str
    shows_all: bool

    @property
    def keeps_version_files(self) -> bool: ...

    def records(self, kind: str, selection: Selection) -> Iterator[Record]: ...

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None: ...


class Sink(Protocol):
    """A place to write to."""

    address: str

    def put(self, record: Record) -> Written: ...
