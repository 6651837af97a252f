"""Walking a lineage forward: everything that was made from a run, a dataset, a prompt or a model's version."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

from mlflow_migration.calls import Readable
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import AccessError, MigrationError, NotFoundError, UsageError
from mlflow_migration.governance import facts, graph
from mlflow_migration.governance.environments import Environments
from mlflow_migration.governance.graph import Graph, Growing, Node, Ref
from mlflow_migration.governance.steps import SOURCE, STEPS, At
from mlflow_migration.objects import logged_model, registry, run, sources, version_writer
from mlflow_migration.objects.registry import version_id
from mlflow_migration.records import Json, tags_of

WORDS = {
    "run": graph.RUN,
    "dataset": graph.DATASET,
    "prompt": graph.PROMPT,
    "model": graph.VERSION,
    "logged-model": graph.LOGGED_MODEL,
}
T = TypeVar("T")
U = TypeVar("U")
Come = tuple[str, "Ref | Node"]
"""A label, and what came of a thing."""


@dataclass(frozen=True)
class Start:
    """What a walk forward begins at: a kind of WORDS, and a name or id; `part` is a digest or a version's number."""

    kind: str
    name: str
    part: str = ""


def parse(text: str) -> Start:
    """`run:ID`, `dataset:NAME[@DIGEST]`, `prompt:NAME[/VERSION]`, `model:NAME/VERSION` or `logged-model:ID`.

    Raises UsageError for anything else.
    """
    word, colon, rest = text.partition(":")
    if not colon or word not in WORDS or not rest:
        raise UsageError(
            f"not something to follow: {text!r}",
            hint="write run:ID, dataset:NAME[@DIGEST], prompt:NAME[/VERSION], model:NAME/VERSION or logged-model:ID",
        )
    name, slash, number = rest.rpartition("/")
    if word in ("prompt", "model") and slash and number.isdigit():
        return Start(WORDS[word], name, number)
    if word == "model":
        raise UsageError(f"no version was given: {text!r}", hint="write model:NAME/VERSION")
    name, at, digest = rest.rpartition("@")
    if word == "dataset" and at and name:
        return Start(WORDS[word], name, digest)
    return Start(WORDS[word], rest)


def forward(environments: Environments, start: Start, limit: int) -> Graph:
    """Everything that came of a thing at all open environments.

    Raises NotFoundError where none of them has it, and nothing came of it.
    """
    walk = _Forward(environments, limit)
    return walk.walk(start)


class _Forward:
    """One walk forward; each environment's versions are listed once."""

    def __init__(self, environments: Environments, limit: int) -> None:
        self._environments = environments
        self._limit = limit
        self._growing = Growing()
        self._at = {name: At(name, place, environments) for name, place in environments.open.items()}
        self._next: deque[Ref] = deque()
        self._met: set[str] = set()

    def walk(self, start: Start) -> Graph:
        starts = self._begin(start)
        for _ in range(self._limit):
            if not self._next:
                break
            ref = self._next.popleft()
            self._growing.add(self._node(ref))
            for label, target in self._results(ref):
                self._take(ref.key, label, target)
        for ref in self._next:
            self._growing.add(Node(ref.key, ref.kind, ref.id, ref.place, missing="not looked at: the limit is reached"))
        cut = f"{len(self._next)} more things were not looked at: --limit is {self._limit}" if self._next else ""
        return self._growing.done(starts, cut)

    def _take(self, origin: str, label: str, target: Ref | Node) -> None:
        if isinstance(target, Ref):
            if target.key not in self._met:
                self._met.add(target.key)
                self._next.append(target)
            self._growing.join(target.key, origin, label)
        else:
            self._growing.add(target)
            self._growing.join(target.id, origin, label)

    def _begin(self, start: Start) -> tuple[str, ...]:
        if start.kind == graph.DATASET:
            return (self._dataset(start),)
        found = [
            at.ref(start.kind, id_) for at in self._at.values() for id_ in self._asked(at, partial(_ids, at, start))
        ]
        if not found:
            raise self._absent(start)
        for ref in found:
            self._met.add(ref.key)
            self._next.append(ref)
        return tuple(ref.key for ref in found)

    def _dataset(self, start: Start) -> str:
        quoted = _quoted(start.name)
        filter_ = f"dataset.name = {quoted}" + (f" AND dataset.digest = {_quoted(start.part)}" if start.part else "")
        id_ = f"{graph.DATASET}||{start.name}|{start.part}"
        about = {"about": {"digest": start.part or "any"}}
        self._growing.add(Node(id_, graph.DATASET, start.name, facts=about))
        for at in self._at.values():
            for head in self._asked(at, partial(_listed, _runs, at, filter_)):
                self._take(id_, "used by", at.ref(graph.RUN, head["info"]["run_id"]))
        if not self._next and not self._environments.shut:
            raise self._absent(start)
        return id_

    def _absent(self, start: Start) -> NotFoundError:
        where = ", ".join(place.address for place in self._environments.open.values())
        return NotFoundError(f"no such {start.kind}: {start.name!r}", f"at {where}", "check the name or id")

    def _node(self, ref: Ref) -> Node:
        found = guarded(lambda: STEPS[ref.kind](self._at[ref.place], ref).node, ref.kind, ref.id, fatal=())
        if isinstance(found, MigrationError):
            return Node(ref.key, ref.kind, ref.id, ref.place, missing=f"{graph.UNREAD}: {found}")
        return found

    def _results(self, ref: Ref) -> Iterator[Come]:
        for at in self._at.values():
            if at.name not in self._environments.shut:
                yield from self._asked(at, partial(_listed, RESULTS[ref.kind], at, ref))

    def _asked(self, at: At, ask: Callable[[], list[T]]) -> list[T]:
        """What an environment answers; one that can't is a node that says so."""
        found = guarded(ask, "environment", at.name, fatal=(UsageError,))
        if not isinstance(found, MigrationError):
            return found
        if isinstance(found, AccessError):
            self._environments.shut[at.name] = str(found)
        id_ = f"environment|{at.name}|{found}"
        self._growing.add(Node(id_, "environment", at.place.address, at.name, missing=f"{graph.SHUT}: {found}"))
        return []


def _ids(at: At, start: Start) -> list[str]:
    """The ids of what a walk begins at, as far as this environment has it."""
    if start.kind == graph.RUN:
        return [start.name] if at.place.get_run(start.name) else []
    if start.kind == graph.LOGGED_MODEL:
        return [start.name] if at.place.models.get(start.name) else []
    head = at.place.registry.get_model(start.name)
    if head is None or registry.is_prompt(head) != (start.kind == graph.PROMPT):
        return []
    if start.part:
        return [version_id(start.name, start.part)] if at.place.registry.get_version(start.name, start.part) else []
    heads = at.place.registry.search_versions(registry.is_prompt(head), start.name)
    return [version_id(start.name, str(each["version"])) for each in heads]


def _listed(ask: Callable[[At, U], Iterator[T]], at: At, what: U) -> list[T]:
    return list(ask(at, what))


def _quoted(text: str) -> str:
    """A text as a filter takes it. Raises UsageError for one that no filter can hold: its grammar has no escapes."""
    found = next((quote + text + quote for quote in ("'", '"') if quote not in text), "")
    if not found or "\\" in text:
        raise UsageError(f"MLflow can't search for this name: {text!r}")
    return found


def _experiments(at: At) -> list[str]:
    found: list[str] = at.once(
        "experiments", "", lambda: [head["experiment_id"] for head in at.place.search_experiments()]
    )
    return found


def _runs(at: At, filter_: str) -> Iterator[Json]:
    return at.place.search_runs(_experiments(at), filter_)


def _versions(at: At) -> list[Json]:
    """Every version of models and prompts here, each with the place it came from: one listing for all questions."""

    def load() -> list[Json]:
        place: Readable = at.place
        models = chain(place.registry.search_models(False), place.registry.search_models(True))
        from_ = {head["name"]: tags_of(head.get("tags")).get(SOURCE, "") for head in models}
        heads = {
            version_id(head["name"], str(head["version"])): head
            for head in chain(place.registry.search_versions(False), place.registry.search_versions(True))
        }
        return [{**head, "from": from_.get(head["name"], "")} for head in heads.values()]

    found: list[Json] = at.once("versions", "", load)
    return found


def _ref_of(at: At, head: Json) -> Ref:
    kind = graph.PROMPT if registry.is_prompt(head) else graph.VERSION
    return at.ref(kind, version_id(head["name"], str(head["version"])))


def _came_from(at: At, tags: dict[str, str], ref: Ref) -> bool:
    """Whether an origin tag's place is that of `ref`. One that no environment has is taken for it: the ids of runs and
    logged models are unique."""
    return at.environments.name_of(tags.get(SOURCE, "")) in (ref.place, None)


def _of_run(at: At, ref: Ref) -> Iterator[Come]:
    for head in _runs(at, f"tags.`{run.SOURCE_ID}` = {_quoted(ref.id)}"):
        if _came_from(at, tags_of(head["data"].get("tags")), ref):
            yield "copied to", at.ref(graph.RUN, head["info"]["run_id"])
    if at.name != ref.place:
        return
    for head in _runs(at, f"tags.`{run.PARENT}` = {_quoted(ref.id)}"):
        yield "parent of", at.ref(graph.RUN, head["info"]["run_id"])
    for head in at.place.models.search(_experiments(at), f"source_run_id = {_quoted(ref.id)}"):
        yield "made", at.ref(graph.LOGGED_MODEL, head["info"]["model_id"])
    for head in _versions(at):
        if ref.id in (head.get("run_id"), sources.address_of(head).id):
            yield "made", _ref_of(at, head)


def _of_logged_model(at: At, ref: Ref) -> Iterator[Come]:
    for head in at.place.models.search(_experiments(at), f"tags.`{logged_model.SOURCE_ID}` = {_quoted(ref.id)}"):
        if _came_from(at, tags_of(head["info"].get("tags")), ref):
            yield "copied to", at.ref(graph.LOGGED_MODEL, head["info"]["model_id"])
    if at.name == ref.place:
        for head in _versions(at):
            if sources.address_of(head).id == ref.id:
                yield "registered as", _ref_of(at, head)


def _of_version(at: At, ref: Ref) -> Iterator[Come]:
    for head in _versions(at):
        tags = tags_of(head.get("tags"))
        if added := tags.get(version_writer.ADDED_FROM):
            address, id_ = at.environments.split(added)
            if id_ == ref.id and at.environments.name_of(address) == ref.place:
                yield "copied to", _ref_of(at, head)
        elif tags.get(registry.SOURCE_VERSION) == ref.id:
            # Names and numbers may be the same anywhere: only the place tells.
            if at.environments.name_of(tags.get(SOURCE) or head["from"]) == ref.place and _ref_of(at, head) != ref:
                yield "copied to", _ref_of(at, head)
        elif at.name == ref.place and _made_from(head) == ref.id:
            yield "copied to", _ref_of(at, head)
    if at.name == ref.place and ref.kind == graph.VERSION:
        name, _, number = ref.id.rpartition("/")
        yield from (("put there by", at.promotion(each)) for each in at.promotions(name, number))


def _made_from(head: Json) -> str:
    """The version of the same registry that a version is a copy of; "" for one that isn't."""
    address = sources.address_of(head)
    return version_id(address.id, address.root.rpartition("/")[2]) if address.kind == sources.VERSION else ""


def _of_prompt(at: At, ref: Ref) -> Iterator[Come]:
    yield from _of_version(at, ref)
    if at.name != ref.place:
        return
    name, _, number = ref.id.rpartition("/")
    for head in _runs(at, f"tags.`{facts.LINKED_PROMPTS}` LIKE '%[%'"):
        if (name, number) in facts.prompts_in(tags_of(head["data"].get("tags")).get(facts.LINKED_PROMPTS, "")):
            yield "used by", at.ref(graph.RUN, head["info"]["run_id"])
    for head in at.place.models.search(_experiments(at)):
        if (name, number) in facts.prompts_in(tags_of(head["info"].get("tags")).get(facts.LINKED_PROMPTS, "")):
            yield "used by", at.ref(graph.LOGGED_MODEL, head["info"]["model_id"])
    tied = [trace_id for _, trace_id in at.place.traces.tied_to(_experiments(at), ref.id)]
    if tied:
        about = {"about": {"traces": str(len(tied)), "some of them": ", ".join(tied[:5])}}
        yield "used by", Node(f"{graph.TRACES}|{at.name}|{ref.id}", graph.TRACES, f"{len(tied)} traces", at.name, about)


RESULTS: dict[str, Callable[[At, Ref], Iterator[Come]]] = {
    graph.RUN: _of_run,
    graph.LOGGED_MODEL: _of_logged_model,
    graph.VERSION: _of_version,
    graph.PROMPT: _of_prompt,
}
