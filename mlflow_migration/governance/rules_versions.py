"""Rules about registered models and their versions; versions are looked at side by side."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from mlflow_migration.engine import parallel
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import MigrationError, NotFoundError
from mlflow_migration.governance import digests, facts, graph, links, walk
from mlflow_migration.governance.graph import Graph, Ref
from mlflow_migration.governance.looking import Looking, Thing, age_in_days
from mlflow_migration.governance.rules_runs import unfit
from mlflow_migration.objects import registry, signature, sources
from mlflow_migration.objects.registry import version_id
from mlflow_migration.records import ORIGIN, Json, tags_of

OF_VERSIONS = (
    "version-description",
    "version-signature",
    "version-evidence",
    "version-owner",
    "version-unused",
    "origin-untraceable",
    "bytes-differ",
    "champion-stale",
    "naming",
)
STEPS_BACK = 200
MAKERS = (graph.RUN, graph.LOGGED_MODEL, graph.VERSION)
NO_STAGE = frozenset({"", "None", "Archived"})


@dataclass(frozen=True)
class _Version:
    """A version with what its model tells of it. `made_from` are the versions of this server that others come from."""

    head: Json
    model: Json
    newest: bool
    made_from: frozenset[str]

    @property
    def id(self) -> str:
        return version_id(self.head["name"], str(self.head["version"]))

    @property
    def aliases(self) -> list[str]:
        number = str(self.head["version"])
        return sorted(alias for alias, held in registry.aliases(self.model).items() if held == number)

    @property
    def stage(self) -> str:
        return self.head.get("current_stage") or ""


def look(looking: Looking) -> None:
    """All rules about models and versions; prompts are left out."""
    models = {
        head["name"]: head for head in looking.place.registry.search_models(False) if not registry.is_prompt(head)
    }
    looking.looked["registered model"] = len(models)
    for head in models.values():
        if why := unfit(head["name"], looking.settings.names.models, looking.settings.names):
            link = links.model(looking.place.address, head["name"])
            looking.note("naming", Thing("registered model", head["name"], head["name"], link), why)
    versions = list(_versions(looking, models))
    looking.looked["model version"] = len(versions)
    stop = threading.Event()
    for _ in parallel.each(iter(versions), partial(_look_at, looking), looking.workers, stop):
        pass


def _versions(looking: Looking, models: dict[str, Json]) -> Iterator[_Version]:
    heads: dict[str, list[Json]] = defaultdict(list)
    made_from = set()
    for head in looking.place.registry.search_versions(False):
        if head["name"] in models and not registry.is_prompt(head):
            heads[head["name"]].append(head)
            address = sources.address_of(head)
            if address.kind == sources.VERSION:
                made_from.add(version_id(address.id, address.root.rpartition("/")[2]))
    for name, found in heads.items():
        newest = max(int(head["version"]) for head in found)
        for head in found:
            yield _Version(head, models[name], int(head["version"]) == newest, frozenset(made_from))


def _look_at(looking: Looking, version: _Version) -> None:
    """Every rule about one version. What can't be read costs only the rules that need it."""
    head, name, number = version.head, version.head["name"], str(version.head["version"])
    tags = tags_of(head.get("tags"))
    thing = Thing("model version", version.id, version.id, links.version(looking.place.address, name, number))
    if not (head.get("description") or tags.get(facts.NOTE)):
        looking.note("version-description", thing, "nothing says what it is for")
    owners = {**tags_of(version.model.get("tags")), **tags}
    if not (head.get("user_id") or facts.first(owners, looking.settings.owner_tags)):
        looking.note("version-owner", thing, f"no tag {' or '.join(looking.settings.owner_tags)}, and no user")
    days = age_in_days(looking, int(head.get("creation_timestamp") or looking.now))
    in_use = bool(version.aliases) or version.stage not in NO_STAGE
    idle = not in_use and not version.newest and version.id not in version.made_from
    if idle and days > looking.settings.unused_days:
        looking.note("version-unused", thing, f"no alias, no stage, not the newest, {days:.0f} days old")
    rules = {"version-signature": _signature, "version-evidence": _evidence}
    held = [word for word in (*version.aliases, version.stage) if word and looking.is_production(word)]
    if held:
        rules |= {"origin-untraceable": _origin, "champion-stale": _stale}
    if held or looking.settings.digests == "all":
        rules["bytes-differ"] = _bytes
    for rule, check in rules.items():
        if looking.asks(rule):
            found = guarded(partial(check, looking, version, thing), thing.kind, thing.id)
            if isinstance(found, MigrationError):
                looking.miss((rule,), f"{thing.kind} {thing.name}: {found}")


def _signature(looking: Looking, version: _Version, thing: Thing) -> None:
    try:
        files = signature.of_version(looking.place, version.head)
        found = signature.signature_of(files.address, signature.read(looking.place, files))
    except NotFoundError as error:
        looking.note("version-signature", thing, f"its MLmodel file can't be found: {error}")
        return
    if found is None:
        looking.note("version-signature", thing, "its MLmodel file has no signature")


def _evidence(looking: Looking, version: _Version, thing: Thing) -> None:
    tags = tags_of(version.head.get("tags"))
    if any(fnmatchcase(key, pattern) for key in tags for pattern in looking.settings.evidence_tags):
        return
    place, address = looking.place, sources.address_of(version.head)
    if address.kind == sources.LOGGED_MODEL:
        model = place.models.get(address.id)
        if model is not None and (model.get("data") or {}).get("metrics"):
            return
    run_id = version.head.get("run_id") or (address.id if address.kind == sources.RUN else "")
    head = place.get_run(run_id) if run_id else None
    if head is None or not (head.get("data") or {}).get("metrics"):
        looking.note("version-evidence", thing, "no metric at its run or logged model, and no tag of an evaluation")


def _origin(looking: Looking, version: _Version, thing: Thing) -> None:
    ref = Ref(graph.VERSION, looking.name, version.id)
    found = walk.back(looking.environments, (ref,), STEPS_BACK)
    unread = [
        node for node in found.missing if node.kind in MAKERS and node.missing.startswith((graph.UNREAD, graph.SHUT))
    ]
    if unread or found.cut:
        why = found.cut or f"{unread[0].kind} {unread[0].name}: {unread[0].missing}"
        looking.miss(("origin-untraceable",), f"{thing.kind} {thing.name}: {why}")
        return
    reasons = list(dict.fromkeys(_breaks(found)))
    if reasons:
        looking.note("origin-untraceable", thing, "; ".join(reasons))


def _breaks(found: Graph) -> Iterator[str]:
    """Why a walk didn't come to an end at runs that are there. A place that wasn't given isn't held against it, as
    long as a run of this server was found."""
    missing = [node for node in found.missing if node.kind in MAKERS]
    runs = [node for node in found.nodes.values() if node.kind == graph.RUN and not node.missing]
    for node in missing:
        if not runs or not node.missing.startswith(graph.UNGIVEN):
            yield f"{node.kind} {node.name}: {node.missing}"
    for node in runs:
        if node.facts.get("about", {}).get("deleted"):
            yield f"run {node.name} is deleted"
    if not runs and not missing:
        yield "no run is recorded"


def _stale(looking: Looking, version: _Version, thing: Thing) -> None:
    head = version.head
    moments = [int(head.get("creation_timestamp") or 0)]
    kept = tags_of(head.get("tags")).get(f"{ORIGIN}creation_timestamp", "")
    moments += [int(kept)] if kept.isdigit() else []
    if head.get("run_id") and (maker := looking.place.get_run(head["run_id"])):
        # A copied run keeps its times, a copied version doesn't.
        moments.append(int(maker["info"].get("start_time") or 0))
    days = age_in_days(looking, min(moment for moment in moments if moment) if any(moments) else looking.now)
    if days > looking.settings.stale_days:
        looking.note(
            "champion-stale", thing, f"{', '.join(version.aliases) or version.stage}: made {days:.0f} days ago"
        )


def _bytes(looking: Looking, version: _Version, thing: Thing) -> None:
    if found := list(digests.differences(looking.environments, looking.name, version.head)):
        looking.note("bytes-differ", thing, "; ".join(found))
