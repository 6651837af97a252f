"""What is on a server: how many of each kind, how many bytes, whose, since when. Runs are a stream, none is kept."""

from __future__ import annotations

import heapq
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import chain

from mlflow_migration.calls import Readable
from mlflow_migration.engine import parallel
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import DONE, INCOMPLETE, MigrationError
from mlflow_migration.governance import facts, links, made_by, stock_page
from mlflow_migration.governance.looking import counted, is_active
from mlflow_migration.governance.stock_page import shown_size
from mlflow_migration.objects import logged_model, registry, run
from mlflow_migration.places import Root
from mlflow_migration.records import File, Json, tags_of
from mlflow_migration.report import visible

OWNER_TAGS = ("owner", "team")
NOBODY = "(nobody)"
MONTHS = ("runs", "logged models", "model versions", "traces", "bytes")
"""What growth is told of, by the month it began in."""
SHOWN = 15


@dataclass(frozen=True)
class Asked:
    """Whether artifacts are looked at, how many of the biggest are kept, and how many requests go at once."""

    sizes: bool = True
    biggest: int = 20
    workers: int = 8


@dataclass(frozen=True, order=True)
class Artifact:
    """One file. `kind` and `id` are those of the run or logged model it belongs to."""

    size: int
    path: str
    kind: str
    id: str
    name: str = ""
    link: str = ""

    def as_json(self) -> Json:
        """The artifact in the document."""
        return {key: getattr(self, key) for key in ("path", "size", "kind", "id", "name", "link")}


@dataclass(frozen=True)
class _Holder:
    """A run or logged model: whose it is, where its artifacts lie, and when it began."""

    head: Json
    owner: str
    name: str
    link: str
    root: Root
    began: object


@dataclass
class Inventory:
    """What was counted. `counts` is kind → how many in all, and in which states; `unlisted` is what couldn't be listed
    → why, so that its numbers are too low."""

    address: str
    at: str
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sizes: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    owners: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    months: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    biggest: list[Artifact] = field(default_factory=list)
    unlisted: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Non-zero where something couldn't be listed."""
        return INCOMPLETE if self.unlisted else DONE

    def as_json(self) -> Json:
        """The document of --json and `--format json`. Sizes are in bytes, months are YYYY-MM in UTC."""
        return {
            "address": self.address,
            "at": self.at,
            "counts": {kind: dict(found) for kind, found in self.counts.items()},
            "sizes": dict(self.sizes),
            "files": dict(self.files),
            "owners": {name: dict(found) for name, found in sorted(self.owners.items())},
            "months": {month: dict(found) for month, found in sorted(self.months.items())},
            "biggest": [each.as_json() for each in self.biggest],
            "unlisted": dict(self.unlisted),
        }


def take(place: Readable, asked: Asked) -> Inventory:
    """Count everything. Raises AccessError where the server goes away."""
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    taking = _Taking(place, asked, Inventory(place.address, at))
    for name, count in (
        ("experiment", taking.experiments),
        ("registered model", taking.models),
        ("run", taking.runs),
        ("logged model", taking.logged_models),
        ("trace", taking.traces),
        ("evaluation dataset", taking.datasets),
        ("scorer", taking.scorers),
        ("webhook", taking.webhooks),
    ):
        found = guarded(count, name, "(listing)")
        if isinstance(found, MigrationError):
            taking.found.unlisted[name] = str(found)
    taking.found.biggest = sorted(taking.biggest, reverse=True)
    return taking.found


class _Taking:
    """One inventory under way."""

    def __init__(self, place: Readable, asked: Asked, found: Inventory) -> None:
        self._place = place
        self._asked = asked
        self._ids: list[str] = []
        self.found = found
        self.biggest: list[Artifact] = []

    def experiments(self) -> None:
        for head in self._place.search_experiments():
            self._ids.append(head["experiment_id"])
            self._count("experiment", "active" if is_active(head) else "deleted")

    def runs(self) -> None:
        heads = self._place.search_runs(self._ids)
        for holder in self._sized(map(self._of_run, heads)):
            info, data = holder.head["info"], holder.head.get("data") or {}
            self._count("run", "active" if is_active(info) else "deleted", str(info.get("status", "")))
            for part in ("params", "metrics", "tags"):
                self.found.counts[part[:-1]]["all"] += len(data.get(part) or ())
            self.found.owners[holder.owner]["runs"] += 1
            self._grow("runs", holder.began)

    def _of_run(self, head: Json) -> _Holder:
        info = head["info"]
        tags = tags_of((head.get("data") or {}).get("tags"))
        owner = info.get("user_id") or facts.first(tags, ("mlflow.user", *OWNER_TAGS)) or NOBODY
        link = links.run(self._place.address, info["experiment_id"], info["run_id"])
        name = info.get("run_name") or info["run_id"]
        return _Holder(head, owner, name, link, run.root_of(head), info.get("start_time"))

    def logged_models(self) -> None:
        for holder in self._sized(map(self._of_logged_model, self._place.models.search(self._ids))):
            self._count("logged model", str(holder.head["info"].get("status", "")).removeprefix("LOGGED_MODEL_"))
            self.found.owners[holder.owner]["logged models"] += 1
            self._grow("logged models", holder.began)

    def _of_logged_model(self, head: Json) -> _Holder:
        info = head["info"]
        owner = facts.first(tags_of(info.get("tags")), ("mlflow.user", *OWNER_TAGS)) or info.get("creator_id") or NOBODY
        link = links.logged_model(self._place.address, info["experiment_id"], info["model_id"])
        name, began = info.get("name") or info["model_id"], info.get("creation_timestamp_ms")
        return _Holder(head, owner, name, link, logged_model.root_of(head), began)

    def models(self) -> None:
        heads = _once(
            chain(self._place.registry.search_models(False), self._place.registry.search_models(True)), "name"
        )
        for head in heads:
            is_prompt = registry.is_prompt(head)
            self._count("prompt" if is_prompt else "registered model")
            owner = facts.first(tags_of(head.get("tags")), OWNER_TAGS) or NOBODY
            self.found.owners[owner]["prompts" if is_prompt else "registered models"] += 1
        versions = chain(self._place.registry.search_versions(False), self._place.registry.search_versions(True))
        for head in _once(versions, "name", "version"):
            is_prompt = registry.is_prompt(head)
            self._count("prompt version" if is_prompt else "model version")
            if not is_prompt:
                self._grow("model versions", head.get("creation_timestamp"))

    def traces(self) -> None:
        for info in self._place.traces.search(self._ids):
            self._count("trace", str(info.get("state") or info.get("status") or ""))
            size = (info.get("trace_metadata") or {}).get("mlflow.trace.sizeBytes", "")
            self.found.sizes["traces"] += int(size) if size.isdigit() else 0
            self._grow("traces", info.get("request_time") or info.get("timestamp_ms"))

    def datasets(self) -> None:
        for _ in self._place.evaluation.search_datasets():
            self._count("evaluation dataset")

    def scorers(self) -> None:
        for _ in self._place.evaluation.list_scorers(self._ids):
            self._count("scorer")

    def webhooks(self) -> None:
        for _ in self._place.webhooks.list_webhooks():
            self._count("webhook")

    def _count(self, kind: str, *states: str) -> None:
        self.found.counts[kind].update(("all", *(state for state in states if state)))

    def _grow(self, what: str, moment: object, number: int = 1) -> None:
        self.found.months[_month(moment)][what] += number

    def _sized(self, holders: Iterator[_Holder]) -> Iterator[_Holder]:
        """The holders, their artifacts counted."""
        if not self._asked.sizes:
            yield from holders
            return
        for holder, files in parallel.each(holders, self._listed, self._asked.workers, threading.Event()):
            root = holder.root
            if isinstance(files, MigrationError):
                self._miss(root, "", str(files))
            else:
                self._add(holder, files)
            yield holder

    def _add(self, holder: _Holder, files: list[File]) -> None:
        root = holder.root
        for file in files:
            if file.path.endswith("/"):
                self._miss(root, f"{file.path} of ", file.problem)
        total = sum(file.size for file in files)
        where = f"{root.kind.replace('_', ' ')} artifacts"
        self.found.sizes[where] += total
        self.found.files[where] += len(files)
        self.found.owners[holder.owner]["bytes"] += total
        self._grow("bytes", holder.began, total)
        found = (Artifact(file.size, file.path, root.kind, root.id, holder.name, holder.link) for file in files)
        self.biggest = heapq.nlargest(self._asked.biggest, chain(self.biggest, found))

    def _miss(self, root: Root, part: str, why: str) -> None:
        self.found.unlisted[f"artifacts {part or 'of '}{root.kind} {root.id}"] = why

    def _listed(self, holder: _Holder) -> tuple[_Holder, list[File] | MigrationError]:
        def files() -> list[File]:
            return list(self._place.files(holder.root))

        return holder, guarded(files, holder.root.kind, holder.root.id)


def _once(heads: Iterable[Json], *keys: str) -> Iterator[Json]:
    """Heads without those that were there before: some registries give prompts in both searches."""
    seen = set()
    for head in heads:
        id_ = tuple(str(head[key]) for key in keys)
        if id_ not in seen:
            seen.add(id_)
            yield head


def _month(moment: object) -> str:
    """YYYY-MM of ms since 1970, or of a text of RFC 3339; "unknown" for none."""
    text = facts.moment(moment)
    return text[:7] if text[:4].isdigit() else "unknown"


def _told(what: str, number: int) -> str:
    return shown_size(number) if what == "bytes" else counted(number, what[:-1])


def table(found: Inventory) -> str:
    """For a terminal."""
    lines = [f"{found.address}, {found.at}", ""]
    for kind, states in found.counts.items():
        others = ", ".join(f"{number:,} {state}" for state, number in states.items() if state != "all")
        lines.append(f"{kind:<20}{states['all']:>12,}" + (f"  ({others})" if others else ""))
    lines.append("")
    lines += [f"{where:<24}{shown_size(size):>12}" for where, size in found.sizes.items()]
    lines += ["", "by month"]
    for month, grown in sorted(found.months.items()):
        told = ", ".join(_told(what, grown[what]) for what in MONTHS if grown[what])
        lines.append(f"  {month}  {told}")
    lines += ["", "owners"]
    ranked = sorted(found.owners.items(), key=lambda each: (-each[1]["runs"], each[0]))
    for name, owned in ranked[:SHOWN]:
        told = ", ".join(_told(what, number) for what, number in owned.items())
        lines.append(f"  {visible(name)}: {told}")
    if len(ranked) > SHOWN:
        lines.append(f"  {len(ranked) - SHOWN:,} more; --format json has all")
    if found.biggest:
        lines += ["", "biggest artifacts"]
        lines += [
            f"  {shown_size(each.size):>10}  {visible(each.path)}  ({each.kind} {visible(each.name)})"
            for each in found.biggest
        ]
    lines += [f"not listed: {visible(what)}: {visible(why)}" for what, why in found.unlisted.items()]
    return "\n".join(lines)


FORMATS: Mapping[str, Callable[[Inventory], str]] = {
    "table": table,
    "json": lambda found: json.dumps(found.as_json(), indent=1, ensure_ascii=False),
    "html": lambda found: stock_page.draw(found.as_json(), made_by.line()),
}
"""How an inventory is given."""
