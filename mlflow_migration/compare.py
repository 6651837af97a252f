"""Whether two places hold the same, value by value: whole histories, artifacts by checksum, ids seen through.

Both places are read themselves, never a ledger. Each object becomes a short summary first; only pairs whose summaries
differ are looked into field by field.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlflow_migration.engine import parallel
from mlflow_migration.engine.pairing import Pairing, Summary
from mlflow_migration.engine.progress import Progress
from mlflow_migration.errors import DONE, INCOMPLETE, MigrationError, NotFoundError
from mlflow_migration.objects import KINDS, experiment
from mlflow_migration.objects.kind import Kind
from mlflow_migration.places import Selection, Source
from mlflow_migration.records import LINEAGE, File, Json, Record, digest_of
from mlflow_migration.report import error_json

SHOWN = 10_000
"""Differences kept for the report; all are counted."""
DETAILED = 500
"""Pairs looked into field by field; with more of them the first ones tell what is wrong."""
VALUE_SHOWN = 120
FIELDS = {
    **{kind: f"{kind}s." for kind in ("param", "tag", "metric", "artifact", "assessment", "permission")},
    "metadata": "metadata.",
    "name": "run_name",
}
"""The fields in which a loss of that kind shows."""
LINKS = ("tags.mlflow.parentRunId", "tags.mlflow.rootRunId", "tags._mlflow_experiment_ids", "source", "run_id")


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

    def waived(self, difference: Difference) -> bool:
        """Whether a difference is of a kind the person allows to be lost."""
        if "all" in self.allowed and difference.sign == "!":
            return True
        if "link" in self.allowed and difference.field in LINKS:
            return True
        return any(difference.field.startswith(FIELDS[kind]) for kind in self.allowed if kind in FIELDS)

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
    """The two places, what of them is compared, and new names at the right for experiments of the left."""

    left: Source
    right: Source
    selection: Selection
    names: Mapping[str, str] = field(default_factory=dict)
    left_origin: str = ""


def compare(ends: Ends, result: Comparison, progress: Progress, workers: int) -> None:
    """Compare everything selected and put what is found into `result`."""
    with Pairing() as pairing:
        rights = list(ends.right.records("experiment", Selection()))
        pairs = _pair_experiments(ends, rights, result) if ends.selection.takes(experiment.NAME) else {}
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
        sides = [
            _Side("left", ends.left, ends.selection, ends.selection, {left: left for left in pairs}),
            _Side("right", ends.right, _whole(ends.selection, tuple(backwards)), free, backwards),
        ]
        for kind in kinds:
            for side in sides:
                _learn_ids(pairing, side, kind)
        for kind in kinds:
            for side in sides:
                _summarize(pairing, side, kind, progress, workers)
        for kind in kinds:
            _judge(ends, pairing, kind, result)


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
class _Side:
    """One of two places. `groups` gives, for its experiments, the id of the left one of each pair; `free` selects
    the kinds that belong to no experiment."""

    name: str
    place: Source
    selection: Selection
    free: Selection
    groups: Mapping[str, str]

    def records(self, kind: str) -> Iterator[Record]:
        return self.place.records(kind, self.selection if experiment.NAME in KINDS[kind].PARENTS else self.free)


def _seen_through(ends: Ends, rights: list[Record]) -> dict[str, str]:
    """Experiment id right → left where experiments are not compared, but named by what is."""
    named = {ends.names.get(left.name, left.name): left.id for left in ends.left.records("experiment", Selection())}
    found = {right.id: named[right.name] for right in rights if right.name in named}
    origins = ((right.id, origin) for right in rights for origin in experiment.origins(right))
    return {**found, **{id_: origin_id for id_, (place, origin_id) in origins if place == ends.left_origin}}


def _pair_experiments(ends: Ends, rights: list[Record], result: Comparison) -> dict[str, str]:
    """Experiment id left → right: by where the right one says it came from, else by name."""
    by_origin = {origin: record for record in rights for origin in experiment.origins(record)}
    by_name = {record.name: record for record in rights}
    pairs: dict[str, str] = {}
    for left in ends.left.records("experiment", ends.selection):
        name = ends.names.get(left.name, left.name)
        right = by_origin.get((ends.left_origin, left.id)) or by_name.get(name)
        if right is None or right.id in pairs.values():
            result.count("experiment", "missing")
            result.add(Difference("-", "experiment", left.id, left.name))
            continue
        pairs[left.id] = right.id
        _judge_experiment(left, right, name, result)
    for right in rights:
        if right.id not in pairs.values() and not ends.selection.experiments:
            result.count("experiment", "extra")
            result.add(Difference("+", "experiment", right.id, right.name))
    return pairs


def _judge_experiment(left: Record, right: Record, name: str, result: Comparison) -> None:
    ours, theirs = experiment.portable(left), experiment.portable(right)
    ours["name"] = name
    _drop_lineage(ours, theirs)
    found = [
        Difference("!", "experiment", left.id, left.name, where, a, b) for where, a, b in _fields("", ours, theirs)
    ]
    result.count("experiment", "different" if found else "equal")
    for difference in found:
        result.add(difference)


def _learn_ids(pairing: Pairing, side: _Side, kind: str) -> None:
    """Note which objects of a place came from others, so that ids in tags can be seen through."""
    if KINDS[kind].NEW_IDS:
        for record in side.records(kind):
            pairing.learn(side.name, record.id, KINDS[kind].origin(record))


def _summarize(pairing: Pairing, side: _Side, name: str, progress: Progress, workers: int) -> None:
    kind = KINDS[name]

    def summary(record: Record) -> Summary:
        swaps = kind.swaps_of(record, lambda id_: pairing.origin(side.name, id_))
        head = kind.portable(record, swaps)
        lineage = {key: value for key, value in head["tags"].items() if key.startswith(LINEAGE)}
        head["tags"] = {key: value for key, value in head["tags"].items() if key not in lineage}
        files = sorted(_checksum(kind, file, swaps) for file in record.files())
        whole = digest_of([head, kind.rows_summary(record, swaps), files])
        group = side.groups.get(record.refs.get(experiment.NAME, ""), "")
        return Summary(name, group, kind.origin(record), record.id, record.name, whole, lineage)

    for found in parallel.each(side.records(name), summary, workers, threading.Event()):
        pairing.add(side.name, found)
        progress.advance(f"{side.name} {name}")
    pairing.flush()


def _checksum(kind: Kind, file: File, swaps: dict[str, str]) -> tuple[str, str]:
    """Path and SHA-256 of an artifact as it would stand at the other end; a bundle's proven checksum is taken."""
    if file.open is None:
        return file.path, f"can't be read: {file.problem}"
    return file.path, kind.comparable(file, swaps).digest()


def _judge(ends: Ends, pairing: Pairing, kind: str, result: Comparison) -> None:
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
        result.count(kind, "different")
        detailed += 1
        details = list(_details(ends, pairing, left, right)) if detailed <= DETAILED else []
        for difference in details or [Difference("!", kind, left.id, left.name, "content")]:
            result.add(difference)


def _details(ends: Ends, pairing: Pairing, left: Summary, right: Summary) -> Iterator[Difference]:
    ours, theirs = (
        ends.left.record(left.kind, left.id, Selection()),
        ends.right.record(right.kind, right.id, Selection()),
    )
    if ours is None or theirs is None:
        raise NotFoundError(f"{left.kind} {left.id} vanished while it was compared", hint="type the command again")
    kind = KINDS[left.kind]
    swaps = [
        kind.swaps_of(ours, lambda id_: pairing.origin("left", id_)),
        kind.swaps_of(theirs, lambda id_: pairing.origin("right", id_)),
    ]
    heads = [kind.portable(ours, swaps[0]), kind.portable(theirs, swaps[1])]
    _drop_lineage(*heads)
    files = [
        dict(_checksum(kind, file, swap) for file in ends.selection.files_of(record.files))
        for record, swap in zip((ours, theirs), swaps, strict=True)
    ]
    found = [*_fields("", *heads), *kind.differing_rows(ours, theirs), *_fields("artifacts.", *files)]
    for where, a, b in found:
        yield Difference("!", left.kind, left.id, left.name, where, a, b)


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


def _drop_lineage(left: Json, right: Json) -> None:
    """Lineage tags that were asked for at the import are no difference; ones that are lost are."""
    right["tags"] = {
        key: value for key, value in right["tags"].items() if not key.startswith(LINEAGE) or key in left["tags"]
    }
