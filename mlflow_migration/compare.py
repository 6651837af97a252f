"""Whether two places hold the same, value by value: whole histories, artifacts by checksum, ids seen through.

Both places are read themselves, never a ledger. Each object becomes a short summary first; only pairs whose summaries
differ are looked into field by field.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from mlflow_migration.engine import parallel
from mlflow_migration.engine.guard import ENDS_LISTING, Listing, guarded
from mlflow_migration.engine.pairing import Pairing, Summary
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import DONE, INCOMPLETE, MigrationError, NotFoundError
from mlflow_migration.objects import (
    KINDS,
    access_list,
    evaluation_dataset,
    experiment,
    registry,
    shown,
    twins,
    waived,
)
from mlflow_migration.objects.kind import Kind
from mlflow_migration.places import FAIL, NAMED, NEW_NAME, SKIP, Selection, Source, Writing
from mlflow_migration.records import LINEAGE, Broken, File, Json, Record, completed, digest_of
from mlflow_migration.report import error_json

SHOWN = 10_000
"""Differences kept for the report; all are counted."""
DETAILED = 500
"""Pairs looked into field by field; with more of them the first ones tell what is wrong."""
VALUE_SHOWN = 120
LEFT_OUT = "left out"
"""The field of what was not to be written."""
UNREAD = "(can't be read)"
"""Stands for the fields of what can't be read, with the reason as its left value."""


@dataclass(frozen=True)
class Difference:
    """`sign` is `-` (only left), `+` (only right) or `!` (differs in `field`)."""

    sign: str
    kind: str
    id: str
    name: str
    field: str = ""
    left: str = ""
    right: str = ""


@dataclass
class Comparison:
    """What was found. With `strict` (diff) what only the right holds counts as a difference too."""

    command: str
    left: str
    right: str
    strict: bool = False
    allowed: frozenset[str] = frozenset()
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    failed: bool = False
    seconds: float = 0.0
    error: MigrationError | None = None

    def count(self, kind: str, what: str) -> None:
        counts = self.kinds.setdefault(kind, dict.fromkeys(("equal", "different", "missing", "extra"), 0))
        counts[what] += 1

    def add(self, difference: Difference) -> None:
        if not self.waived(difference) and (self.strict or difference.sign != "+" or difference.field == "duplicate"):
            self.failed = True
        if len(self.differences) < SHOWN:
            self.differences.append(difference)

    def add_broken(self, broken: Broken) -> None:
        """What one of the places holds and can't give; what is no object of it (`skipped`) is no difference."""
        if broken.state != "skipped":
            self.count(broken.of, "different")
            named = waived.FIELDS.get(broken.kind, UNREAD) if broken.kind != broken.of else UNREAD
            self.add(Difference("!", broken.of, broken.id, broken.name, named, broken.reason))

    def waived(self, difference: Difference) -> bool:
        """Whether a difference is of a kind the person allows to be lost, or asked to leave out."""
        if difference.field == LEFT_OUT:
            return True
        if "all" in self.allowed and difference.sign == "!":
            return True
        return waived.covers(self.allowed, difference.field)

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        return INCOMPLETE if self.failed else DONE

    def as_json(self) -> Json:
        """The document of `--json`."""
        return {
            "ok": self.exit_code == DONE,
            "exit_code": self.exit_code,
            "command": self.command,
            "left": self.left,
            "right": self.right,
            "seconds": round(self.seconds, 3),
            "kinds": self.kinds,
            "differences": [asdict(difference) for difference in self.differences],
            "error": error_json(self.error),
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and body of the summary, with rclone's signs."""
        head = ["kind", "= equal", "! different", "- missing", "+ extra"]
        return head, [[kind, *(f"{count:,}" for count in counts.values())] for kind, counts in self.kinds.items()]

    def lines(self) -> Iterator[str]:
        for each in self.differences:
            values = f": {each.left} | {each.right}" if each.sign == "!" else ""
            where = f" {each.field}" if each.field else ""
            mark = " (waived)" if self.waived(each) else ""
            yield f"{each.sign} {each.kind} {each.id} {each.name!r}{where}{values}{mark}"


@dataclass(frozen=True)
class Ends:
    """The two places, what of them is compared, and how it was to be written at the right: under which names, and
    what was to be done where another thing had one."""

    left: Source
    right: Source
    selection: Selection
    writing: Writing


def compare(ends: Ends, result: Comparison, progress: Progress, workers: int) -> None:
    """Compare everything selected and put what is found into `result`."""
    ends = replace(ends, left=shown.beside(ends.left, ends.right), right=shown.beside(ends.right, ends.left))
    with Pairing() as pairing:
        rights = [record for record in ends.right.records("experiment", Selection()) if record.whole is None]
        compared = ends.selection.takes(experiment.NAME)
        found = _pair_experiments(ends, rights, result) if compared else _Experiments({}, frozenset())
        pairs = found.pairs
        kinds = [
            name
            for name, kind in KINDS.items()
            if name != experiment.NAME and ends.selection.takes(name) and (pairs or experiment.NAME not in kind.PARENTS)
        ]
        backwards = {right: left for left, right in pairs.items()}
        for right, left in (backwards or _seen_through(ends, rights)).items():
            pairing.learn("right", experiment.shared_id(right), experiment.shared_id(left))
        # What belongs to no experiment is looked for among all of it, unless experiments were chosen.
        free = _whole(ends.selection, tuple(backwards) if ends.selection.experiments else ())
        models, broken = _pair_models(ends, free)
        for family, twin in models.items():
            for name in twin.left_out:
                result.count(family, "missing")
                result.add(Difference("-", family, name, name, LEFT_OUT))
        whole = _whole(ends.selection, tuple(backwards))
        names = partial(_name_at_right, ends, models)
        same = {left: left for left in pairs}
        sides = [
            _Side("left", ends.left, ends.selection, ends.selection, same, _Twins(models, found.left_out, names)),
            _Side("right", ends.right, whole, free, backwards, _Twins(models)),
        ]
        broken += [_learn_ids(pairing, side, kind) for kind in kinds for side in sides]
        broken += [_summarize(pairing, side, kind, progress, workers) for kind in kinds for side in sides]
        unlisted = {found.kind: found for found in broken if found is not None}
        # Versions of models that can't be listed meet none at the other side.
        families = {kind: twins.family_of(kind) for kind in kinds}
        unlisted |= {kind: replace(unlisted[of], kind=kind) for kind, of in families.items() if of in unlisted}
        for kind in kinds:
            # What one side can't list would only look as if it were missing, or surplus, there.
            if kind in unlisted:
                result.count(kind, "different")
                result.add(unlisted[kind])
            else:
                _judge(sides, pairing, kind, result)


def _pair_models(ends: Ends, free: Selection) -> tuple[dict[str, twins.Twins], list[Difference | None]]:
    """Registered models and prompts by who is whose twin, and what stands for those that can't be listed."""
    models: dict[str, twins.Twins] = {}
    broken: list[Difference | None] = []
    for family in twins.FAMILIES:
        models[family] = twins.NONE
        if ends.selection.takes(family):
            pair = partial(twins.pair, (ends.left, ends.right), family, (ends.selection, free), ends.writing)
            found = guarded(pair, family, "(listing)", ENDS_LISTING)
            if isinstance(found, MigrationError):
                broken.append(_unreadable(family, "*", "those of one of the places", str(found)))
            else:
                models[family] = found
    return models, broken


def _whole(selection: Selection, experiments: tuple[str, ...]) -> Selection:
    """All of these experiments: what the left one was asked for by its own ids and times is looked for in them."""
    return Selection(
        experiments,
        selection.kinds,
        files=selection.files,
        max_file=selection.max_file,
        permissions=selection.permissions,
    )


@dataclass(frozen=True)
class _Twins:
    """Which registered models and prompts are a pair; of the left side also the experiments that were to be left out,
    and the names at the right of what stands in tags."""

    models: Mapping[str, twins.Twins]
    left_out: frozenset[str] = frozenset()
    name_at: Callable[[str, str], str] | None = None


def _name_at_right(ends: Ends, models: Mapping[str, twins.Twins], kind: str, name: str) -> str:
    paired = models[kind].pairs.get(name) if kind in models else None
    return paired or ends.writing.name_of(kind, name)


@dataclass(frozen=True)
class _Side:
    """One of two places. `groups` gives, for its experiments, the id of the left one of each pair; `free` selects
    the kinds that belong to no experiment."""

    name: str
    place: Source
    selection: Selection
    free: Selection
    groups: Mapping[str, str]
    twins: _Twins

    def records(self, kind: str) -> Iterator[Record]:
        found = self.place.records(kind, self.selection if experiment.NAME in KINDS[kind].PARENTS else self.free)
        return (record for record in found if not self._is_left_out(record))

    def _is_left_out(self, record: Record) -> bool:
        if self.name != "left":
            return False
        family = twins.family_of(record.kind)
        if family and twins.name_of(record) in self.twins.models[family].left_out:
            return True
        if record.refs.get(experiment.NAME) in self.twins.left_out:
            return True
        if not self.twins.left_out or record.kind != evaluation_dataset.NAME:
            return False
        tied = completed(record).head["experiment_ids"]
        return bool(tied) and self.twins.left_out.issuperset(tied)

    def known(self, pairing: Pairing, id_: str) -> str | None:
        """The first origin of an id, or the name at the right of a model or prompt."""
        if not id_.startswith("\0"):
            return pairing.origin(self.name, id_)
        kind, _, name = id_[1:].partition(" ")
        return self.twins.name_at(kind, name) if self.twins.name_at else None

    def place_of(self, record: Record) -> tuple[str, str]:
        """Group and origin, which two objects that are a pair share."""
        family = twins.family_of(record.kind)
        if family:
            return self.twins.models[family].key(self.name, record)
        for family in filter(record.refs.__contains__, twins.FAMILIES):
            return self.twins.models[family].group(self.name, record.refs[family]), KINDS[record.kind].origin(record)
        return self.groups.get(record.refs.get(experiment.NAME, ""), ""), KINDS[record.kind].origin(record)

    def portable(self, record: Record, swaps: dict[str, str]) -> Json:
        """What must be equal at both ends, under the name that it is to have at the right."""
        head = KINDS[record.kind].portable(record, swaps)
        if "name" in head and self.twins.name_at:
            head["name"] = self.twins.name_at(record.kind, head["name"]) if record.kind in NAMED else head["name"]
        return head


@dataclass(frozen=True)
class _Experiments:
    """Experiment id left → right, and the ids at the left of those that were to be left out."""

    pairs: dict[str, str]
    left_out: frozenset[str]


def _seen_through(ends: Ends, rights: list[Record]) -> dict[str, str]:
    """Experiment id right → left where experiments are not compared, but named by what is."""
    lefts = ends.left.records("experiment", Selection())
    named = {ends.writing.names.of(experiment.NAME, left.name): left.id for left in lefts}
    found = {right.id: named[right.name] for right in rights if right.name in named}
    origins = ((right.id, origin) for right in rights for origin in experiment.origins(right))
    return {**found, **{id_: origin_id for id_, (place, origin_id) in origins if place == ends.writing.source}}


def _pair_experiments(ends: Ends, rights: list[Record], result: Comparison) -> _Experiments:
    """By where the right one says it came from, else by name."""
    by_origin: dict[tuple[str, str], list[Record]] = {}
    for record in rights:
        for origin in experiment.origins(record):
            by_origin.setdefault(origin, []).append(record)
    by_name = {record.name: record for record in rights}
    pairs: dict[str, str] = {}
    left_out = set()
    for left in ends.left.records("experiment", ends.selection):
        name = ends.writing.names.of(experiment.NAME, left.name)
        if left.whole is not None:
            found = guarded(left.whole, left.kind, left.id)
            result.count("experiment", "different")
            result.add(_unreadable("experiment", left.id, left.name, str(found)))
            continue
        named = by_name.get(name)
        arrived = by_origin.get((ends.writing.source, left.id), [])
        right = named if named in arrived or not arrived else arrived[0]
        policy = ends.writing.on_conflict
        if right is not None and policy in {FAIL, SKIP, NEW_NAME}:
            right = None if experiment.is_foreign(right.head, left, ends.right.address, ends.writing) else right
        if right is None or right.id in pairs.values():
            skipped = policy == SKIP and named is not None
            left_out |= {left.id} if skipped else set()
            result.count("experiment", "missing")
            result.add(Difference("-", "experiment", left.id, left.name, LEFT_OUT if skipped else ""))
            continue
        pairs[left.id] = right.id
        if policy == NEW_NAME and re.fullmatch(re.escape(name) + r" \(\d+\)", right.name):
            name = right.name
        _judge_experiment(left, right, name, result)
    for right in rights:
        if right.id not in pairs.values() and not ends.selection.experiments:
            result.count("experiment", "extra")
            result.add(Difference("+", "experiment", right.id, right.name))
    return _Experiments(pairs, frozenset(left_out))


def _judge_experiment(left: Record, right: Record, name: str, result: Comparison) -> None:
    ours, theirs = experiment.portable(left), experiment.portable(right)
    ours["name"] = name
    _drop_lineage(ours, theirs)
    if experiment.is_shared(right) and not result.strict:
        _drop_others(ours, theirs)
    found = [Difference("!", "experiment", left.id, left.name, *each) for each in _fields("", ours, theirs)]
    result.count("experiment", "different" if found else "equal")
    for difference in found:
        result.add(difference)


def _unreadable(kind: str, id_: str, name: str, reason: str) -> Difference:
    return Difference("!", kind, id_, name, UNREAD, reason)


def _unlisted(side: _Side, kind: str, listing: Listing) -> Difference | None:
    """What stands for a kind whose objects can't all be listed, and so not compared."""
    if listing.error is None:
        return None
    return _unreadable(kind, "*", f"those of the {side.name} place", str(listing.error))


def _learn_ids(pairing: Pairing, side: _Side, kind: str) -> Difference | None:
    """Note which objects of a place came from others, so that ids in tags can be seen through."""
    if not KINDS[kind].NEW_IDS:
        return None
    listing = Listing(side.records(kind), kind)
    for record in listing:
        pairing.learn(side.name, record.id, KINDS[kind].origin(record))
    return _unlisted(side, kind, listing)


def _summarize(pairing: Pairing, side: _Side, name: str, progress: Progress, workers: int) -> Difference | None:
    kind = KINDS[name]

    def whole_summary(listed: Record) -> Summary:
        record = completed(listed)
        swaps = kind.swaps_of(record, partial(side.known, pairing))
        head = side.portable(record, swaps)
        lineage = {key: value for key, value in head["tags"].items() if key.startswith(LINEAGE)}
        head["tags"] = {key: value for key, value in head["tags"].items() if key not in lineage}
        files = sorted(_checksum(kind, file, swaps) for file in record.files())
        whole = digest_of([head, kind.rows_summary(record, swaps), files])
        return Summary(name, *side.place_of(record), record.id, record.name, whole, lineage)

    def summary(record: Record) -> Summary:
        found = guarded(lambda: whole_summary(record), name, record.id)
        if not isinstance(found, MigrationError):
            return found
        # It is read again, and told, when it is looked into; no other one is equal to it.
        return Summary(name, *side.place_of(record), record.id, record.name, f"{side.name}: {found}", {})

    listing = Listing(side.records(name), name)
    for found in parallel.each(listing, summary, workers, threading.Event()):
        pairing.add(side.name, found)
        progress.advance(f"{side.name} {name}")
    pairing.flush()
    return _unlisted(side, name, listing)


def _checksum(kind: Kind, file: File, swaps: dict[str, str]) -> tuple[str, str]:
    """Path and SHA-256 of an artifact as it would stand at the other end; a bundle's proven checksum is taken."""
    if file.open is None:
        return file.path, f"can't be read: {file.problem}"
    return file.path, kind.comparable(file, swaps).digest()


def _judge(sides: list[_Side], pairing: Pairing, kind: str, result: Comparison) -> None:
    for left in pairing.only("left", kind):
        result.count(kind, "missing")
        result.add(Difference("-", kind, left.id, left.name))
    for right in pairing.only("right", kind):
        result.count(kind, "extra")
        result.add(Difference("+", kind, right.id, right.name))
    for right in pairing.repeated("right", kind):
        result.count(kind, "extra")
        result.add(Difference("+", kind, right.id, right.name, "duplicate", "", f"also from {right.origin}"))
    detailed = 0
    for left, right in pairing.both(kind):
        if left.digest == right.digest and left.lineage.items() <= right.lineage.items():
            result.count(kind, "equal")
            continue
        detailed += 1
        shares = not result.strict and kind in (*twins.FAMILIES, access_list.NAME)
        details = _details(sides, pairing, (left, right), result.strict) if detailed <= DETAILED or shares else None
        if details == [] and shares:
            # What else a model has that others were added to is no difference, nor who else may do what.
            result.count(kind, "equal")
            continue
        result.count(kind, "different")
        for difference in details or [Difference("!", kind, left.id, left.name, "content")]:
            result.add(difference)


def _details(sides: list[_Side], pairing: Pairing, pair: tuple[Summary, Summary], strict: bool) -> list[Difference]:
    """The differing fields of a pair, or why they can't be read."""
    left = pair[0]
    found = guarded(lambda: list(_differing(sides, pairing, pair, strict)), left.kind, left.id)
    return found if isinstance(found, list) else [_unreadable(left.kind, left.id, left.name, str(found))]


def _differing(
    sides: list[_Side], pairing: Pairing, pair: tuple[Summary, Summary], strict: bool
) -> Iterator[Difference]:
    left = pair[0]
    ours, theirs = (side.place.record(each.kind, each.id, Selection()) for side, each in zip(sides, pair, strict=True))
    if ours is None or theirs is None:
        raise NotFoundError(f"{left.kind} {left.id} vanished while it was compared", hint="type the command again")
    kind = KINDS[left.kind]
    records = (ours, theirs)
    swaps = [kind.swaps_of(record, partial(side.known, pairing)) for side, record in zip(sides, records, strict=True)]
    heads = [side.portable(record, swap) for side, record, swap in zip(sides, records, swaps, strict=True)]
    _drop_lineage(*heads)
    if not strict and left.kind in twins.FAMILIES and registry.is_shared(theirs):
        _drop_others(*heads)
    elif not strict and left.kind == access_list.NAME:
        access_list.drop_others(*heads)
    files = [
        dict(_checksum(kind, file, swap) for file in sides[0].selection.files_of(record.files))
        for record, swap in zip(records, swaps, strict=True)
    ]
    for each in (*_fields("", *heads), *kind.differing_rows(ours, theirs), *_fields("artifacts.", *files)):
        yield Difference("!", left.kind, left.id, left.name, *each)


def _fields(prefix: str, left: Json, right: Json) -> Iterator[tuple[str, str, str]]:
    for key in sorted({**left, **right}):
        ours, theirs = left.get(key, "absent"), right.get(key, "absent")
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            yield from _fields(f"{prefix}{key}.", ours, theirs)
        else:
            yield f"{prefix}{key}", _short(ours), _short(theirs)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= VALUE_SHOWN else f"{text[:VALUE_SHOWN]}… ({len(text)} characters)"


def _drop_others(left: Json, right: Json) -> None:
    """What the right has besides, of its own or of others that were added to it."""
    for part in ("tags", "aliases"):
        if part in right:
            right[part] = {key: value for key, value in right[part].items() if key in left[part]}
    tied = registry.EXPERIMENTS
    if tied in right["tags"]:
        mine = left["tags"][tied].split(",")
        right["tags"][tied] = ",".join(each for each in right["tags"][tied].split(",") if each in mine)
    if "description" in right and not left["description"]:
        right["description"] = left["description"]


def _drop_lineage(left: Json, right: Json) -> None:
    """Lineage tags that were asked for at the import are no difference; ones that are lost are."""
    right["tags"] = {
        key: value for key, value in right["tags"].items() if not key.startswith(LINEAGE) or key in left["tags"]
    }
