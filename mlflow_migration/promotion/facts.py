"""What is known of a version: its run, its logged model, the runs that evaluated it, and its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from mlflow_migration.calls import Readable
from mlflow_migration.errors import ConflictError, NotFoundError
from mlflow_migration.objects import logged_model, registry, run, sources
from mlflow_migration.objects.texts import LARGEST_MODEL_FILE, localized
from mlflow_migration.places import Root
from mlflow_migration.records import ORIGIN, File, Json, tags_of

EVALUATED_BY = "evaluation_run_id"
"""A version's tag that names a run that evaluated it, where the logged model's metrics don't."""
MLMODEL = "MLmodel"
DEEPEST = 10
"""Versions made of versions: how many are followed."""


@dataclass(frozen=True)
class Stored:
    """Where a version's files lie: below `folder` of `root`. `ids` are what its MLmodel may name of this place."""

    root: Root
    folder: str
    ids: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Version:
    """One version of a registered model at a place. What takes requests is asked for once, when it is first used."""

    live: Readable
    head: Json

    @property
    def name(self) -> str:
        return str(self.head["name"])

    @property
    def number(self) -> str:
        return str(self.head["version"])

    @property
    def id(self) -> str:
        return registry.version_id(self.name, self.number)

    @property
    def tags(self) -> dict[str, str]:
        return tags_of(self.head.get("tags"))

    @cached_property
    def _made_of(self) -> tuple[Json, sources.Address]:
        """The head that names a run or a logged model, through versions that were made of versions."""
        head = self.head
        for _ in range(DEEPEST):
            address = sources.address_of(head)
            if address.kind != sources.VERSION:
                return head, address
            below = self.live.registry.get_version(address.id, address.root.rpartition("/")[2])
            if below is None:
                raise NotFoundError(f"what {self.id} was made of is gone", f"{address.root} at {self.live.address}")
            head = below
        raise ConflictError(f"{self.id} was made of versions made of versions", f"more than {DEEPEST} deep")

    @cached_property
    def model(self) -> Json | None:
        """The logged model it was made of."""
        address = self._made_of[1]
        found = self.live.models.get(address.id) if address.kind == sources.LOGGED_MODEL else None
        if found is None and address.kind == sources.RUN:
            found = self._beside_the_run(address)
        return found

    def _beside_the_run(self, address: sources.Address) -> Json | None:
        """The model that MLflow 3 logged for a version whose source is written `runs:/ID/NAME`."""
        head = self.live.get_run(address.id)
        name = address.rest.strip("/")
        if address.folder or head is None or not name or set(name) & set("'\"\\/"):
            return None
        found = self.live.models.search([head["info"]["experiment_id"]], f"name = '{name}'")
        return next((model for model in found if model["info"].get("source_run_id") == address.id), None)

    @cached_property
    def run(self) -> Json | None:
        """The run that made it."""
        head, address = self._made_of
        ids = [str(head.get("run_id") or ""), address.id if address.kind == sources.RUN else ""]
        ids.append(str(self.model["info"].get("source_run_id", "")) if self.model else "")
        run_id = next((each for each in ids if each), "")
        return self.live.get_run(run_id) if run_id else None

    @cached_property
    def evaluations(self) -> tuple[Json, ...]:
        """The other runs that measured it, oldest first."""
        made_by = self.run["info"]["run_id"] if self.run else ""
        metrics = (self.model.get("data") or {}).get("metrics", []) if self.model else []
        ids = {str(metric.get("run_id", "")): None for metric in metrics}
        heads = [self.live.get_run(id_) for id_ in ids if id_ and id_ != made_by]
        if named := self.tags.get(EVALUATED_BY):
            heads.append(self._run_called(named))
        found = {head["info"]["run_id"]: head for head in heads if head is not None}
        return tuple(sorted(found.values(), key=lambda head: int(head["info"].get("start_time", 0))))

    def _run_called(self, run_id: str) -> Json | None:
        """The run of an id, or the one that was copied from it."""
        if found := self.live.get_run(run_id):
            return found
        if not run_id.isalnum():
            return None
        ids = [head["experiment_id"] for head in self.live.search_experiments()]
        return next(self.live.search_runs(ids, f"tags.`{ORIGIN}run_id` = '{run_id}'", limit=1), None)

    @cached_property
    def stored(self) -> Stored:
        """Where its files lie. Raises NotFoundError where that is gone."""
        head, address = self._made_of
        made_by = self.run
        swaps: list[tuple[str, str]] = []
        if made_by is not None:
            swaps += [(made_by["info"].get("artifact_uri", ""), "run/artifacts"), (made_by["info"]["run_id"], "run")]
        if self.model is not None:
            root = logged_model.root_of(self.model)
            folder = address.rest.strip("/") if address.kind == sources.LOGGED_MODEL else ""
            return Stored(root, folder, (*swaps, (root.uri, "model/artifacts"), (root.id, "model")))
        if address.kind == sources.LOGGED_MODEL:
            raise NotFoundError(f"what {self.id} was made of is gone", f"{address.root} at {self.live.address}")
        if address.kind == sources.RUN:
            owner = self.live.get_run(address.id)
            if owner is None:
                raise NotFoundError(f"what {self.id} was made of is gone", f"{address.root} at {self.live.address}")
            return Stored(run.root_of(owner), address.rest.strip("/"), tuple(swaps))
        uri = self.live.registry.download_uri(str(head["name"]), str(head["version"]))
        root = Root("model_version", registry.version_id(str(head["name"]), str(head["version"])), uri)
        return Stored(root, "", (*swaps, (uri, "version/artifacts")))

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Its files by path. Raises NotFoundError where there are none, ConflictError where one can't be read."""
        prefix = f"{self.stored.folder}/" if self.stored.folder else ""
        found = [
            File(file.path[len(prefix) :], file.size, file.open, file.problem, file.sha256)
            for file in self.live.files(self.stored.root)
            if file.path.startswith(prefix)
        ]
        if not found:
            raise NotFoundError(f"version {self.id} has no files", f"at {self.live.address}: {self.head['source']}")
        for file in found:
            if file.open is None:
                raise ConflictError(f"{file.path} of version {self.id} can't be read", file.problem)
        return tuple(sorted(found, key=lambda file: file.path))

    @cached_property
    def sums(self) -> tuple[tuple[str, str], ...]:
        """Path and SHA-256 of each file, read as streams. In MLmodel the ids of this place are left out, so that
        equal models have equal sums wherever they are."""
        swaps = {old: new for old, new in self.stored.ids if old}
        comparable = (localized(file, swaps) if file.path == MLMODEL else file for file in self.files)
        return tuple((file.path, file.digest()) for file in comparable)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the sorted lines `SHA-256, two spaces, path` of all files, as coreutils' sha256sum writes them."""
        lines = sorted(f"{digest}  {path}\n" for path, digest in self.sums)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def mlmodel(self) -> Json:
        """What stands in MLmodel; empty where there is no such file. Raises ConflictError where it is broken."""
        data = self.read(MLMODEL, LARGEST_MODEL_FILE)
        try:
            value = yaml.safe_load(data.decode("utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConflictError(
                f"the MLmodel file of {self.id} is broken", " ".join(str(error).split())[:300]
            ) from error
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ConflictError(f"the MLmodel file of {self.id} is broken", "it is not a mapping")
        return value

    def read(self, path: str, most: int) -> bytes:
        """The first `most` bytes of a file; empty where there is none."""
        for file in self.files:
            if file.path == path and file.open is not None:
                with file.open() as reader:
                    return b"".join(_blocks(reader, most))
        return b""

    def authors(self) -> set[str]:
        """Who made it: the users of its run and of the version, as far as MLflow knows them."""
        heads = [self.run] if self.run else []
        users = {str(head["info"].get("user_id") or "") for head in heads}
        users |= {tags_of(head["data"].get("tags")).get("mlflow.user", "") for head in heads}
        return (users | {str(self.head.get("user_id") or "")}) - {""}


def _blocks(reader: Any, most: int) -> Iterator[bytes]:
    while most > 0 and (block := reader.read(min(most, 1 << 16))):
        yield block
        most -= len(block)


def version(live: Readable, name: str, number: str) -> Version:
    """One version. Raises NotFoundError where there is none, or it is a prompt's."""
    head = live.registry.get_version(name, number)
    if head is None or registry.is_prompt(head):
        raise NotFoundError(f"no such version: {name}/{number}", f"at {live.address}", "check the name and the number")
    return Version(live, head)


def aliases(live: Readable, name: str) -> dict[str, str]:
    """Alias → number of the version, of a model; empty where there is no such model."""
    return registry.aliases(live.registry.get_model(name) or {})


def holder(live: Readable, name: str, alias: str) -> Version | None:
    """The version an alias points at, or None."""
    number = aliases(live, name).get(alias)
    return version(live, name, number) if number else None


def metric(version: Version, key: str, evidence: str, dataset: str = "") -> float | None:
    """The last value of a metric, or None. It is looked for in the evaluating runs, the newest first, then at the
    logged model, then in the run that made it; with `dataset` at the logged model only."""
    if dataset:
        return _of_model(version.model, key, dataset)
    found: list[float | None] = []
    if evidence in {"any", "evaluation"}:
        found += [_of_run(head, key) for head in reversed(version.evaluations)]
    if evidence in {"any", "model"}:
        found.append(_of_model(version.model, key, ""))
    if evidence in {"any", "run"}:
        found.append(_of_run(version.run, key))
    return next((value for value in found if value is not None), None)


def metric_keys(version: Version) -> set[str]:
    """The keys of every metric known of a version."""
    heads = [head for head in (*version.evaluations, version.model, version.run) if head is not None]
    return {str(entry["key"]) for head in heads for entry in (head.get("data") or {}).get("metrics", [])}


def params(version: Version) -> dict[str, str]:
    """The params of the run and the logged model."""
    heads = [head for head in (version.run, version.model) if head is not None]
    return {key: value for head in heads for key, value in tags_of((head.get("data") or {}).get("params")).items()}


def all_tags(version: Version) -> dict[str, str]:
    """The tags of the registered model, the run, the logged model and the version; the later ones first where two
    have the same."""
    found = tags_of((version.live.registry.get_model(version.name) or {}).get("tags"))
    found.update(tags_of(version.run["data"].get("tags")) if version.run else {})
    found.update(tags_of(version.model["info"].get("tags")) if version.model else {})
    return {**found, **version.tags}


def artifact_paths(version: Version) -> set[str]:
    """The paths of all artifacts of the model, of its run and of the runs that evaluated it."""
    heads = [head for head in (version.run, *version.evaluations) if head is not None]
    found = {file.path for head in heads for file in version.live.files(run.root_of(head))}
    return found | {file.path for file in version.files}


def _of_run(head: Json | None, key: str) -> float | None:
    entries = head["data"].get("metrics", []) if head is not None else []
    return next((float(entry["value"]) for entry in entries if entry["key"] == key), None)


def _of_model(head: Json | None, key: str, dataset: str) -> float | None:
    entries = (head.get("data") or {}).get("metrics", []) if head is not None else []
    fitting = [each for each in entries if each["key"] == key and dataset in {"", each.get("dataset_name", "")}]
    latest = max(fitting, key=lambda each: (int(each.get("timestamp", 0)), int(each.get("step", 0))), default=None)
    return None if latest is None else float(latest["value"])
