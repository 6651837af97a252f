"""One step back: what an object is, and what it came from, by MLflow's own links and this tool's origin tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from mlflow_migration.calls import Readable
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import MigrationError
from mlflow_migration.governance import facts, graph, journal, links
from mlflow_migration.governance.environments import Environments
from mlflow_migration.governance.graph import Node, Ref
from mlflow_migration.objects import logged_model, model_metrics, registry, run, sources, version_writer
from mlflow_migration.objects.model_links import links_of
from mlflow_migration.objects.registry import version_id
from mlflow_migration.records import ORIGIN, Json, tags_of

SOURCE = registry.SOURCE
GONE = "it isn't there any more"
FILES_AT = "files at"
PUT_THERE = {"promote": "promoted by", "rollback": "brought back by"}
TRACES_SHOWN = 500
"""Traces of one run or model that are counted: one page of a search."""
EXAMPLES = 5
Way = tuple[str, "Ref | Node"]


@dataclass(frozen=True)
class Step:
    """A node, and the ways from it to what it came from: a label and what to look at next, or a node that ends it."""

    node: Node
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True)
class At:
    """One environment while it is walked through; `memory` keeps what is asked for once."""

    name: str
    place: Readable
    environments: Environments
    memory: dict[tuple[str, str], Any] = field(default_factory=dict)

    def once(self, kind: str, id_: str, load: Callable[[], Any]) -> Any:
        """What `load()` gave when it was first asked for."""
        if (kind, id_) not in self.memory:
            self.memory[kind, id_] = load()
        return self.memory[kind, id_]

    def model(self, name: str) -> Json | None:
        """A registered model's head."""
        found: Json | None = self.once("model", name, lambda: self.place.registry.get_model(name))
        return found

    def promotions(self, name: str, number: str) -> list[journal.Promotion]:
        """What the journal here tells of a version."""
        load = partial(journal.Journal, self.place, self.environments.journal_of(self.name))
        found: journal.Journal = self.once("journal", "", load)
        return found.of(name, number)

    def promotion(self, found: journal.Promotion) -> Node:
        """An entry of the journal here as a node."""
        return journal.node(found, self.name, self.place.address)

    def experiment_name(self, experiment_id: str) -> str:
        """An experiment's name, or its id where it is gone."""
        head = self.once("experiment", experiment_id, lambda: self.place.get_experiment(experiment_id))
        return str(head["name"]) if head else experiment_id

    def ref(self, kind: str, id_: str) -> Ref:
        """Something at this environment."""
        return Ref(kind, self.name, id_)

    def absent(self, ref: Ref) -> Step:
        """What to show for something that a link names and the place doesn't have."""
        return Step(Node(ref.key, ref.kind, ref.id, self.name, missing=GONE))

    def elsewhere(self, kind: str, address: str, id_: str) -> Ref | Node:
        """Something at the place with an address; a node that tells why it isn't looked at where it can't be."""
        name = self.environments.name_of(address)
        if name is None:
            why = f"{graph.UNGIVEN}: add it with --server NAME=ADDRESS"
            return Node(Ref(kind, address, id_).key, kind, id_, address, missing=why)
        if name in self.environments.shut:
            why = f"{graph.SHUT}: {self.environments.shut[name]}"
            return Node(Ref(kind, name, id_).key, kind, id_, name, missing=why)
        return Ref(kind, name, id_)


def version(at: At, ref: Ref) -> Step:
    """A model's version: its run, logged model or files, the version it is a copy of, and its promotions."""
    name, _, number = ref.id.rpartition("/")
    head = at.place.registry.get_version(name, number)
    if head is None:
        return at.absent(ref)
    model = at.model(name) or {}
    aliases = [alias for alias, held in registry.aliases(model).items() if held == number]
    described = dict(facts.of_version(head, aliases))
    if approvals := facts.approvals(tags_of(head.get("tags"))):
        described["approvals"] = approvals
    if about := facts.plain({"description": model.get("description"), **_people(tags_of(model.get("tags")))}):
        described["model"] = about
    link = links.version(at.place.address, name, number)
    ways = [*_origin_of_version(at, head, model), *_made_of(at, head)]
    if all(label == FILES_AT for label, _ in ways):
        why = "no run and no logged model is recorded"
        ways.append(("made by", Node(f"{ref.key}|run", graph.RUN, "unknown", at.name, missing=why)))
    ways += _promotions(at, ref, name, number)
    node = Node(ref.key, graph.VERSION, f"{name} version {number}", at.name, described, link)
    return Step(node, tuple(ways))


def _promotions(at: At, ref: Ref, name: str, number: str) -> Iterator[Way]:
    found = guarded(partial(at.promotions, name, number), graph.PROMOTION, ref.id)
    if isinstance(found, MigrationError):
        why = f"{graph.UNREAD}: {found}"
        yield PUT_THERE["promote"], Node(f"{ref.key}|journal", graph.PROMOTION, "unknown", at.name, missing=why)
    else:
        yield from ((PUT_THERE.get(each.kind, "put there by"), at.promotion(each)) for each in found)


def _people(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(("mlflow.", ORIGIN))}


def _origin_of_version(at: At, head: Json, model: Json) -> Iterator[Way]:
    """The version at another place, or of another model, that this one is a copy of."""
    tags = tags_of(head.get("tags"))
    kind = graph.PROMPT if registry.is_prompt(head) else graph.VERSION
    if added := tags.get(version_writer.ADDED_FROM):
        address, id_ = at.environments.split(added)
    elif id_ := tags.get(registry.SOURCE_VERSION, ""):
        address = tags.get(SOURCE) or tags_of(model.get("tags")).get(SOURCE, "")
    else:
        return
    yield "copy of", at.elsewhere(kind, address, id_)


def _made_of(at: At, head: Json) -> Iterator[Way]:
    """The run, logged model, other version or files that a version was made of here."""
    run_id, source = head.get("run_id") or "", head.get("source") or ""
    address = sources.address_of(head)
    if run_id:
        yield "made by", at.ref(graph.RUN, run_id)
    if address.kind == sources.RUN and address.id != run_id:
        yield "files of", at.ref(graph.RUN, address.id)
    elif address.kind == sources.LOGGED_MODEL:
        yield "files of", at.ref(graph.LOGGED_MODEL, address.id)
    elif address.kind == sources.VERSION:
        yield "copy of", at.ref(graph.VERSION, version_id(address.id, address.root.rpartition("/")[2]))
    elif not address.kind and source:
        yield FILES_AT, Node(f"{graph.FILES}||{source}", graph.FILES, source)


def prompt(at: At, ref: Ref) -> Step:
    """A prompt's version: the version it is a copy of."""
    name, _, number = ref.id.rpartition("/")
    head = at.place.registry.get_version(name, number)
    if head is None or not registry.is_prompt(head):
        return at.absent(ref)
    model = at.model(name) or {}
    aliases = [alias for alias, held in registry.aliases(model).items() if held == number]
    link = links.prompt(at.place.address, name)
    node = Node(ref.key, graph.PROMPT, f"{name} version {number}", at.name, facts.of_prompt(head, aliases), link)
    return Step(node, tuple(_origin_of_version(at, head, model)))


def of_run(at: At, ref: Ref) -> Step:
    """A run: its parent, data, code, prompts, models it took in, traces, and the run it is a copy of."""
    head = at.place.get_run(ref.id)
    if head is None:
        return at.absent(ref)
    info, tags = head["info"], tags_of((head.get("data") or {}).get("tags"))
    experiment_id = info["experiment_id"]
    described = facts.of_run(head, at.experiment_name(experiment_id))
    link = links.run(at.place.address, experiment_id, ref.id)
    ways: list[Way] = [*_copy_of(at, ref, tags, run.SOURCE_ID)]
    if tags.get(run.PARENT):
        ways.append(("child of", at.ref(graph.RUN, tags[run.PARENT])))
    ways += _data_of(at, head)
    ways += _code_of(at, tags)
    ways += _prompts_of(at, tags)
    taken = links_of(head) or {"inputs": []}
    ways += [("took in", at.ref(graph.LOGGED_MODEL, model_id)) for model_id in taken["inputs"]]
    ways += _traces(at, [experiment_id], f"attributes.run_id = '{ref.id}'", ref)
    node = Node(ref.key, graph.RUN, info.get("run_name") or ref.id, at.name, described, link)
    return Step(node, tuple(ways))


def of_logged_model(at: At, ref: Ref) -> Step:
    """A logged model: the run that made it, the runs that evaluated it, its traces, prompts, and its original."""
    head = at.place.models.get(ref.id)
    if head is None:
        return at.absent(ref)
    info = head["info"]
    tags = tags_of(info.get("tags"))
    ways: list[Way] = [*_copy_of(at, ref, tags, logged_model.SOURCE_ID)]
    maker = info.get("source_run_id") or ""
    if maker:
        ways.append(("made by", at.ref(graph.RUN, maker)))
    others = sorted(model_metrics.run_ids(head) - {"", maker})
    ways += [("evaluated by", at.ref(graph.RUN, run_id)) for run_id in others]
    ways += _prompts_of(at, tags)
    ways += _traces(at, [info["experiment_id"]], f"request_metadata.`mlflow.modelId` = '{ref.id}'", ref)
    link = links.logged_model(at.place.address, info["experiment_id"], ref.id)
    node = Node(ref.key, graph.LOGGED_MODEL, info.get("name") or ref.id, at.name, facts.of_logged_model(head), link)
    return Step(node, tuple(ways))


def _copy_of(at: At, ref: Ref, tags: dict[str, str], key: str) -> Iterator[Way]:
    if id_ := tags.get(key):
        yield "copy of", at.elsewhere(ref.kind, tags.get(SOURCE, ""), id_)


def _data_of(at: At, head: Json) -> Iterator[Way]:
    for entry in (head.get("inputs") or {}).get("dataset_inputs") or ():
        dataset = entry["dataset"]
        name = str(dataset.get("name") or "unnamed")
        # The same name and digest are the same data at whatever place.
        id_ = f"{graph.DATASET}||{name}|{dataset.get('digest', '')}"
        context = tags_of(entry.get("tags")).get("mlflow.data.context", "")
        node = Node(id_, graph.DATASET, name, facts=facts.of_dataset(entry))
        yield (f"data for {context}" if context else "data"), node


def _code_of(at: At, tags: dict[str, str]) -> Iterator[Way]:
    if commit := facts.first(tags, facts.COMMITS):
        about = facts.plain(
            {"repository": facts.first(tags, facts.REPOSITORIES), "branch": facts.first(tags, facts.BRANCHES)}
        )
        node = Node(f"{graph.COMMIT}||{commit}", graph.COMMIT, commit, facts={"about": about} if about else {})
        yield "code at", node
    if code := facts.first(tags, (*facts.NOTEBOOKS, facts.SOURCE_NAME)):
        yield "run from", Node(f"{graph.CODE}||{code}", graph.CODE, code)


def _prompts_of(at: At, tags: dict[str, str]) -> Iterator[Way]:
    """The prompts that a tag names. A copy may have come without them: its original leads to them."""
    for name, number in facts.prompts_in(tags.get(facts.LINKED_PROMPTS, "")):
        id_ = version_id(name, number)
        came = tags.get(SOURCE)
        if came is None or at.once("prompt", id_, partial(at.place.registry.get_version, name, number)):
            yield "prompt", at.ref(graph.PROMPT, id_)
        elif at.environments.name_of(came) is None:
            yield "prompt", at.elsewhere(graph.PROMPT, came, id_)


def _traces(at: At, experiment_ids: list[str], filter_: str, ref: Ref) -> Iterator[Way]:
    """The traces that a search finds, as one node; what people and judges said of them, and their prompts."""
    id_ = f"{graph.TRACES}|{at.name}|{ref.id}"

    def search() -> list[Json]:
        return list(islice(at.place.traces.search(experiment_ids, filter_, TRACES_SHOWN), TRACES_SHOWN))

    # A search that fails costs the evidence, not the thing it is about.
    found = guarded(search, graph.TRACES, ref.id)
    if isinstance(found, MigrationError):
        yield "traces", Node(id_, graph.TRACES, "unknown", at.name, missing=f"{graph.UNREAD}: {found}")
        return
    if not found:
        return
    number = f"{TRACES_SHOWN} or more" if len(found) == TRACES_SHOWN else str(len(found))
    about = {"traces": number, "some of them": ", ".join(info["trace_id"] for info in found[:EXAMPLES])}
    parts = {"about": about, "assessments": facts.plain(_assessments(found))}
    link = links.traces(at.place.address, experiment_ids[0])
    node = Node(id_, graph.TRACES, number, at.name, parts, link)
    yield "traces", node
    prompts = {
        each for info in found for each in facts.prompts_in((info.get("tags") or {}).get(facts.LINKED_PROMPTS, ""))
    }
    for name, version_number in sorted(prompts):
        yield "prompt", at.ref(graph.PROMPT, version_id(name, version_number))


def _assessments(infos: list[Json]) -> dict[str, str]:
    """By name: how many there are, and how many by people."""
    counts: dict[str, list[int]] = {}
    for info in infos:
        for each in info.get("assessments") or ():
            tally = counts.setdefault(str(each.get("assessment_name", "unnamed")), [0, 0])
            tally[0] += 1
            tally[1] += (each.get("source") or {}).get("source_type") == "HUMAN"
    return {name: f"{all_}, {human} of them by people" for name, (all_, human) in sorted(counts.items())}


STEPS: dict[str, Callable[[At, Ref], Step]] = {
    graph.VERSION: version,
    graph.PROMPT: prompt,
    graph.RUN: of_run,
    graph.LOGGED_MODEL: of_logged_model,
}
