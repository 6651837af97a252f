"""Reading a bundle. It may come from anybody: everything is checked before anything is given on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_migration.bundle import layout, manifest
from mlflow_migration.errors import BundleError
from mlflow_migration.places import Selection
from mlflow_migration.records import File, Identity, Json, Record, Rows

LONGEST_LINE = 16 * 1024 * 1024

Validate = Callable[[Json], Identity]
ValidateRow = Callable[[str, Json], None]


class Bundle:
    """A whole bundle to read from. Implements `Source`."""

    proof = "whole: {:,} files as their checksums say"
    """What a check that found no fault shows, in words; it is given the number of files."""

    def __init__(self, root: Path, kinds: tuple[str, ...]) -> None:
        """`kinds` are the object files to look for. Raises BundleError where the folder is not a whole bundle."""
        self.root = root
        self.address = str(root)
        self.manifest = manifest.read_manifest(root)
        self.origin: str = self.manifest["info"]["source"]
        self._kinds = kinds

    def check(self, validate: dict[str, Validate], validate_row: dict[str, ValidateRow]) -> dict[str, int]:
        """Prove the bundle whole and sane; how many "file"s and objects of each kind it has.

        `validate` gives, by kind, the home and id a head says it has; `validate_row` checks a row. Reads every byte
        once. Raises BundleError naming the first file that is wrong.
        """
        seen: set[tuple[str, str]] = set()
        counts = {"file": 0, **dict.fromkeys(self._kinds, 0)}
        for name, path in manifest.check_sums(self.root, self.manifest["info"]["sha256sums"]):
            counts["file"] += 1
            parent, _, last = name.rpartition("/")
            kind = last.removesuffix(".json")
            if last.endswith(".json") and kind in self._kinds and f"/{layout.ARTIFACTS}/" not in f"/{name}":
                counts[kind] += 1
                head = self._head(kind, path, name)
                self._check_head(head, validate[kind], (kind, parent, name), seen)
                self._check_rows(parent, head, validate_row.get(kind))
        return counts

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """Every object of a kind, in the order of their folders."""
        for folder in _folders(self.root, f"{kind}.json"):
            yield self._record(kind, folder)

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        """One object by id, or None. Objects lie in a folder named by the last part of their id."""
        # The last part is a name in some kinds, and may have a `/` in it.
        parts = record_id.split("/")
        names = {layout.quoted("/".join(parts[begin:])) for begin in range(len(parts))}
        for folder in _folders(self.root, f"{kind}.json"):
            if folder.name in names:
                found = self._record(kind, folder)
                if found.id == record_id:
                    return found
        return None

    def kinds_asked_for(self) -> tuple[str, ...]:
        """The kinds its export was asked for."""
        asked = self.manifest["info"].get("options", {}).get("kinds")
        return tuple(map(str, asked)) if isinstance(asked, list) else self._kinds

    def failures(self) -> Iterator[Json]:
        """What was asked for at the export and is not in the bundle."""
        path = self.root / layout.FAILURES
        if path.exists():
            yield from _lines(path, layout.FAILURES)

    def _head(self, kind: str, path: Path, name: str) -> Json:
        head = manifest.read_json(path, name)
        info, value = head.get("info"), head.get("mlflow")
        if not isinstance(info, dict) or not isinstance(value, dict) or not isinstance(info.get("files"), list):
            raise BundleError(f"{name} is broken", f"it is not a {kind} file: info.files or mlflow is missing")
        return head

    def _check_head(
        self, head: Json, validate: Validate, where: tuple[str, str, str], seen: set[tuple[str, str]]
    ) -> None:
        kind, parent, name = where
        try:
            home, id_ = validate(head["mlflow"])
            if layout.folder(home) != parent:
                raise ValueError(f"its ids say it belongs into {layout.folder(home)}")
            if (kind, id_) in seen:
                raise ValueError(f"{kind} {id_!r} is in the bundle twice")
            seen.add((kind, id_))
            info = head["info"]
            if tuple(info["home"]) != home or info["id"] != id_ or not isinstance(info["name"], str):
                raise ValueError("info.id, info.name and info.home are not those of the object")
            if not all(isinstance(text, str) for pair in info["refs"].items() for text in pair):
                raise ValueError("info.refs is not a list of ids")
            files = [_entry(entry) for entry in head["info"]["files"]]
            if len(set(files)) != len(files):
                raise ValueError("info.files names a file twice")
            for file in files:
                if not (self.root / parent / file).is_file():
                    raise ValueError(f"its file {file} is not there")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise manifest.broken(name, error) from error

    def _check_rows(self, parent: str, head: Json, validate_row: ValidateRow | None) -> None:
        for entry in head["info"]["files"]:
            if entry.get("rows") is None:
                continue
            name = f"{parent}/{entry['file']}"
            for number, row in enumerate(_lines(self.root / name, name), 1):
                try:
                    if validate_row is None:
                        raise ValueError("this kind has no rows")
                    validate_row(entry["rows"], row)
                except ValueError as error:
                    raise manifest.broken(f"{name} line {number}", error) from error

    def _record(self, kind: str, folder: Path) -> Record:
        name = (folder / f"{kind}.json").relative_to(self.root).as_posix()
        head = self._head(kind, folder / f"{kind}.json", name)
        rows: dict[str, Rows] = {}
        files = []
        for entry in head["info"]["files"]:
            path = folder / entry["file"]
            if entry.get("rows") is not None:
                rows[entry["rows"]] = partial(_lines, path, f"{folder.name}/{entry['file']}")
            else:
                files.append(File(entry["path"], entry["bytes"], partial(_open, path), sha256=entry["sha256"]))
        info = head["info"]
        return Record(
            kind=kind,
            id=info["id"],
            name=info["name"],
            home=tuple(info["home"]),
            head=head["mlflow"],
            refs=info["refs"],
            rows=rows,
            files=partial(iter, files),
        )


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _entry(entry: Any) -> str:
    """The file of an `info.files` entry; raises ValueError, KeyError or TypeError unless it lies where it belongs."""
    file, size, digest = entry["file"], entry["bytes"], entry["sha256"]
    if not isinstance(file, str) or type(size) is not int or size < 0 or not isinstance(digest, str):
        raise ValueError("info.files has a malformed entry")
    if entry.get("rows") is not None:
        expected = f"{layout.quoted(entry['rows'])}.jsonl"
    else:
        layout.check_artifact_path(entry["path"])
        expected = layout.artifact(entry["path"])
    if file != expected:
        raise ValueError(f"{entry.get('path', file)!r} does not belong into the file {file!r}")
    return file


def _folders(root: Path, head: str) -> Iterator[Path]:
    """Folders with an object file of that name, sorted; artifacts are not looked into."""
    if (root / head).is_file():
        yield root
    for entry in sorted(root.iterdir(), key=lambda path: path.name.encode("utf-8", "surrogateescape")):
        if entry.is_dir() and not entry.is_symlink() and entry.name != layout.ARTIFACTS:
            yield from _folders(entry, head)


def _lines(path: Path, name: str) -> Iterator[Json]:
    """The rows of a `.jsonl` file. Raises BundleError for a line that is no JSON object or too long."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("not a JSON object")
            except (ValueError, RecursionError) as error:
                raise manifest.broken(f"{name} line {number}", error) from error
            yield row
