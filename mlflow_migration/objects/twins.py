"""Which registered models and prompts of two places are a pair: by where the right one came from, else by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_migration.objects import registry
from mlflow_migration.places import FAIL, NEW_NAME, SKIP, Selection, Source, Writing
from mlflow_migration.records import Record, tags_of

FAMILIES = tuple(registry.FAMILIES)
_FAMILY_OF = {kind: family.model for family in registry.FAMILIES.values() for kind in (family.model, family.version)}


def family_of(kind: str) -> str:
    """The kind of the model of a version, or of a model itself; "" for other kinds."""
    return _FAMILY_OF.get(kind, "")


def name_of(record: Record) -> str:
    """The model's name, of a version or of itself."""
    return str(record.head["name"])


@dataclass(frozen=True)
class Twins:
    """Of one family: name left → right, name right → left, and the left names that were to be left out."""

    pairs: Mapping[str, str]
    backwards: Mapping[str, str]
    left_out: frozenset[str] = frozenset()

    def key(self, side: str, record: Record) -> tuple[str, str]:
        """What a model or version shares with its twin: the pair's left name, and the number."""
        return self.group(side, name_of(record)), str(record.head.get("version", ""))

    def group(self, side: str, name: str) -> str:
        """What twins share, and what belongs to them: the pair's left name."""
        left = name if side == "left" else self.backwards.get(name)
        # What has no twin must not meet one that happens to have its name.
        return f"={left}" if left is not None else f"+{name}"


NONE = Twins({}, {})


def pair(ends: tuple[Source, Source], family: str, selections: tuple[Selection, Selection], writing: Writing) -> Twins:
    """The models of two places, and which of them are twins."""
    lefts = list(ends[0].records(family, selections[0]))
    rights = list(ends[1].records(family, selections[1]))
    return _Matching(lefts, rights, ends[1].address, writing).twins()


class _Matching:
    def __init__(self, lefts: list[Record], rights: list[Record], address: str, writing: Writing) -> None:
        self.lefts, self.writing = lefts, writing
        self.by_name = {record.name: record for record in rights}
        self.by_root: dict[tuple[str, str], list[str]] = {}
        self.by_origin: dict[str, list[str]] = {}
        for record in rights:
            self.by_root.setdefault(registry.root_of(record, address), []).append(record.name)
            self.by_origin.setdefault(registry.origin(record), []).append(record.name)

    def twins(self) -> Twins:
        pairs: dict[str, str] = {}
        backwards: dict[str, str] = {}
        left_out = set()
        for left in self.lefts:
            found = [name for name in self._of(left) if name not in backwards]
            if found:
                pairs[left.id] = found[0]
                backwards.update(dict.fromkeys(found, left.id))
            elif self.writing.on_conflict == SKIP and self._expected(left) in self.by_name:
                left_out.add(left.id)
        return Twins(pairs, backwards, frozenset(left_out))

    def _expected(self, left: Record) -> str:
        return self.writing.names.of(left.kind, left.name)

    def _of(self, left: Record) -> list[str]:
        """The names at the right of all that came from a left model: the one it should have comes first."""
        expected = self._expected(left)
        root = registry.root_of(left, self.writing.source)
        arrived = self.by_root.get(root, [])
        if arrived:
            return sorted(arrived, key=lambda name: name != expected)
        named = self.by_name.get(expected)
        if named is not None and registry.hold_of(root) in tags_of(named.head.get("tags")):
            return [expected]
        if self.writing.on_conflict in {FAIL, SKIP, NEW_NAME}:
            return []
        return [expected] if named is not None else self.by_origin.get(registry.origin(left), [])
