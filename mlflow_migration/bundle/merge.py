"""Joining the shards of an export to the bundle that one export of the whole would have made, byte for byte.

The shards' objects are copied as they are. What speaks of all of them (the lists of what is there, the failures,
SHA256SUMS, the manifest) is made from what each shard says of itself.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_migration.bundle import layout, manifest
from mlflow_migration.errors import BundleError, UsageError
from mlflow_migration.records import Json, canonical

NAMED = 10
"""Missing shards that a complaint names."""
JOB_WIDE = "*"
"""The id in a row of failures that concerns the whole job: each shard has met it, and it is told once."""


@dataclass(frozen=True)
class Part:
    """A shard: its folder and what its manifest says. Of the folder only the files that speak of all are read here."""

    root: Path
    info: Json

    @property
    def shard(self) -> Mapping[str, int]:
        found: Mapping[str, int] = self.info["options"]["shard"]
        return found


def parts_of(folders: Sequence[Path]) -> list[Part]:
    """The shards in the order of their numbers.

    Raises UsageError where they aren't all shards of one and the same export, BundleError where one isn't whole.
    """
    parts = [_part(folder) for folder in folders]
    first = parts[0]
    for part in parts:
        if part.info["source"] != first.info["source"]:
            raise _unlike(first, part, f"{first.info['source']} and {part.info['source']}", "sources")
        if part.shard["of"] != first.shard["of"]:
            raise _unlike(first, part, f"of {first.shard['of']} and of {part.shard['of']}", "numbers of shards")
        for key in sorted({*_without_shard(first.info), *_without_shard(part.info)}):
            values = [_without_shard(each.info).get(key) for each in (first, part)]
            if canonical(values[0]) != canonical(values[1]):
                raise _unlike(first, part, f"{key}: {values[0]!r} and {values[1]!r}", "options")
    by_number: dict[int, Part] = {}
    for part in parts:
        twin = by_number.setdefault(part.shard["number"], part)
        if twin is not part:
            what = f"two bundles hold shard {part.shard['number']} of {part.shard['of']}"
            raise UsageError(what, f"{twin.root}, {part.root}", "give each shard once")
    missing = sorted(set(range(1, first.shard["of"] + 1)) - set(by_number))
    if missing:
        named = ", ".join(f"{number}/{first.shard['of']}" for number in missing[:NAMED])
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise UsageError(f"shards are missing: {named}{more}", hint="export them with --shard, and give all folders")
    return [by_number[number] for number in sorted(by_number)]


def _part(folder: Path) -> Part:
    info = manifest.read_manifest(folder)["info"]
    options = info.get("options")
    shard = options.get("shard") if isinstance(options, dict) else None
    if shard is None:
        raise UsageError(
            f"not a shard: {folder}", "its export was for the whole", "only exports with --shard are joined"
        )
    sane = isinstance(shard, dict) and all(type(shard.get(key)) is int for key in ("number", "of"))
    if not sane or not 0 < shard["number"] <= shard["of"] or not _are_counts(info.get("counts")):
        raise BundleError(f"{folder}/{layout.MANIFEST} is broken", "info.options.shard or info.counts is malformed")
    return Part(folder, info)


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(counts, dict) and all(type(count) is int for count in counts.values()) for counts in value.values()
    )


def _unlike(one: Part, other: Part, why: str, what: str) -> UsageError:
    return UsageError(f"the bundles have different {what}: {one.root}, {other.root}", why, "join shards of one export")


def _without_shard(info: Json) -> Json:
    return {key: value for key, value in info["options"].items() if key != "shard"}


def merge(parts: Sequence[Part], target: Path) -> None:
    """Prove each shard whole and copy it into `target`, a new or empty folder; the manifest comes last.

    Raises BundleError naming the first file that is changed, missing, surplus, or in two of the shards.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / layout.MARK).write_text("Bundles are being merged here. Remove this folder and merge again.\n", "utf-8")
    for part in parts:
        for name, path in manifest.check_sums(part.root, part.info["sha256sums"]):
            if is_of_all(name):
                continue
            copy = target / name
            if copy.exists():
                raise BundleError(
                    f"{name} is in two of the bundles", f"{part.root} is one of them", "export them again"
                )
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    write_whole(parts, target)
    (target / layout.MARK).unlink()


def is_of_all(name: str) -> bool:
    """Whether a file of a bundle speaks of all of it: not an object's."""
    folder, _, file = name.rpartition("/")
    return name in {layout.MANIFEST, layout.SUMS, layout.FAILURES} or (file == f"{folder}.json" and "/" not in folder)


def write_whole(parts: Sequence[Part], target: Path) -> tuple[Json, list[str]]:
    """Write into `target` what speaks of all shards together, the manifest last; the counts and lines of failures.

    Their objects need not be there.
    """
    counts, failures = added_up((part.info["counts"], _failure_lines(part.root)) for part in parts)
    digests = _write_lists(parts, target)
    if failures:
        (target / layout.FAILURES).write_text("".join(line + "\n" for line in failures), encoding="utf-8")
        digests[layout.FAILURES] = manifest.digest_file(target / layout.FAILURES)
    digest = manifest.write_sums(target, _sums(parts, digests))
    options = _without_shard(parts[0].info)
    info = {"format": layout.FORMAT, "source": parts[0].info["source"], "options": options, "counts": counts}
    manifest.write_json(target / layout.MANIFEST, {"system": manifest.system(), "info": {**info, "sha256sums": digest}})
    return counts, failures


def added_up(shards: Iterable[tuple[Json, Iterable[str]]]) -> tuple[Json, list[str]]:
    """Counts and lines of failures of all shards; what concerns the whole job is in them once.

    Raises BundleError for a line that is no row of failures.
    """
    counts: dict[str, dict[str, int]] = {}
    told: set[str] = set()
    kept: list[str] = []
    for number, (found, lines) in enumerate(shards, 1):
        for kind, states in found.items():
            total = counts.setdefault(kind, dict.fromkeys(states, 0))
            for state, count in states.items():
                total[state] = total.get(state, 0) + count
        for line in lines:
            try:
                row = json.loads(line)
                if row["id"] == JOB_WIDE and line in told:
                    counts[row["kind"]]["asked"] -= 1
                    counts[row["kind"]][row["state"]] -= 1
                    continue
                if row["id"] == JOB_WIDE:
                    told.add(line)
            except (ValueError, KeyError, TypeError) as error:
                raise manifest.broken(f"{layout.FAILURES} of shard {number}", error) from error
            kept.append(line)
    return dict(sorted(counts.items())), sorted(kept)


def failures_of(root: Path) -> list[Json]:
    """The rows of a shard's failures."""
    return [json.loads(line) for line in _failure_lines(root)]


def _failure_lines(root: Path) -> list[str]:
    path = root / layout.FAILURES
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _write_lists(parts: Iterable[Part], target: Path) -> dict[str, str]:
    """For each collection the list of what is in it, in the order of its folders; the files' digests."""
    rows: dict[str, list[Json]] = {}
    for part in parts:
        for folder in sorted(path for path in part.root.iterdir() if path.is_dir()):
            path = folder / f"{folder.name}.json"
            if path.is_file():
                rows.setdefault(folder.name, []).extend(_objects(path))
    digests = {}
    for name, objects in rows.items():
        (target / name).mkdir(exist_ok=True)
        value = {"system": manifest.system(), "info": {"objects": sorted(objects, key=_by_folder)}}
        digests[f"{name}/{name}.json"] = manifest.write_json(target / name / f"{name}.json", value)
    return digests


def _objects(path: Path) -> list[Json]:
    info = manifest.read_json(path, str(path)).get("info")
    objects = info.get("objects") if isinstance(info, dict) else None
    if not isinstance(objects, list) or not all(isinstance(row, dict) and _has_id(row) for row in objects):
        raise BundleError(f"{path} is broken", "info.objects is not a list of ids and names")
    return objects


def _has_id(row: Json) -> bool:
    return isinstance(row.get("id"), str)


def _by_folder(row: Json) -> str:
    return layout.quoted(row["id"])


def _sums(parts: Iterable[Part], digests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(path, digest) of every file, in order: what the shards say of their objects' files, and what was made here."""
    objects = (
        ((name, digest) for name, digest in manifest.read_sums(part.root) if not is_of_all(name)) for part in parts
    )
    made = iter(sorted(digests.items(), key=_in_order))
    return heapq.merge(*objects, made, key=_in_order)


def _in_order(line: tuple[str, str]) -> bytes:
    return os.fsencode(line[0])
