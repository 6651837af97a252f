"""Reading a bundle. It may come from anybody: everything is checked before anything is given on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import TypeAdapter, ValidationError

from mlflow_migration.bundle import layout, manifest, shards
from mlflow_migration.bundle.index import Index, Place
from mlflow_migration.errors import BundleError
from mlflow_migration.places import Selection
from mlflow_migration.records import File, Identity, Json, Record, Rows

Validate = Callable[[Json], Identity]
ValidateRow = Callable[[str, Json], None]


@dataclass(frozen=True)
class _Found:
    """An object in a bundle: what its file or line holds, and where that is; `name` is for complaints."""

    kind: str
    value: Json
    place: Place
    name: str

    @property
    def id(self) -> str:
        return str(self.value["info"].get("id"))

    @property
    def in_shard(self) -> bool:
        return self.place.size > 0

    @property
    def parent(self) -> str:
        return self.place.file.rpartition("/")[0]


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
        self._index: Index | None = None

    def check(self, validate: dict[str, Validate], validate_row: dict[str, ValidateRow]) -> dict[str, int]:
        """Prove the bundle whole and sane; how many "file"s and objects of each kind it has.

        `validate` gives, by kind, the home and id a head says it has; `validate_row` checks a row. Reads every byte
        once. Raises BundleError naming the first file that is wrong.
        """
        index = Index()
        counts = {"file": 0, **dict.fromkeys(self._kinds, 0)}
        for name, path in manifest.check_sums(self.root, self.manifest["info"]["sha256sums"]):
            counts["file"] += 1
            for found in self._found(name, path):
                counts[found.kind] += 1
                self._check_object(found, validate[found.kind])
                if not index.add(found.kind, found.value["info"]["id"], found.place):
                    raise manifest.broken(found.name, ValueError(f"{found.kind} {found.id!r} is in the bundle twice"))
                self._check_rows(found, validate_row.get(found.kind))
        self._index = index
        return counts

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """Every object of a kind, in the order of their files."""
        for place in self._indexed().all(kind):
            yield self._record(kind, place)

    def records_below(self, kind: str, home: tuple[str, ...]) -> Iterator[Record]:
        """Every object of a kind in a folder and those below it, in the order of their files."""
        for place in self._indexed().below(kind, layout.folder(home)):
            yield self._record(kind, place)

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        """One object by id, or None."""
        place = self._indexed().get(kind, record_id)
        return None if place is None else self._record(kind, place)

    def _indexed(self) -> Index:
        """Where everything is: noted by `check`, or looked up here once."""
        if self._index is None:
            index = Index()
            for name, path in layout.walk(self.root):
                for found in self._found(name, path):
                    index.add(found.kind, found.id, found.place)
            self._index = index
        return self._index

    def _found(self, name: str, path: Path) -> Iterator[_Found]:
        """The objects in a file: one in an object file, many in a shard, none in any other."""
        parts = name.split("/")
        kind = parts[-1].removesuffix(".json")
        if layout.ARTIFACTS in parts:
            return
        if parts[-1].endswith(".json") and kind in self._kinds:
            yield _Found(kind, _head(manifest.read_json(path, name), kind, name), Place(name), name)
        elif shards.is_shard(name):
            end = 0
            for number, (begin, line) in enumerate(shards.lines(path, name), 1):
                where, end = f"{name} line {number}", begin + len(line)
                value = _parsed(line, where)
                kind = _head(value, "shard", where)["info"].get("kind")
                if kind not in self._kinds or not isinstance(value.get("rows"), dict):
                    raise BundleError(f"{where} is broken", f"it is no object of a known kind: {kind!r}"[:200])
                yield _Found(kind, value, Place(name, begin, len(line)), where)
            if end != path.stat().st_size:
                raise BundleError(f"{name} is broken", "its last line has no end", "get the bundle again")

    def asked_for(self) -> Selection:
        """What its export was asked for. Raises BundleError where the manifest says nothing sane of it."""
        try:
            asked = TypeAdapter(Selection).validate_python(self.manifest["info"].get("options", {}))
        except ValidationError as error:
            raise manifest.broken(layout.MANIFEST, error) from error
        return replace(asked, kinds=asked.kinds or self._kinds)

    def failures(self) -> Iterator[Json]:
        """What was asked for at the export and is not in the bundle."""
        path = self.root / layout.FAILURES
        if path.exists():
            yield from _lines(path, layout.FAILURES)

    def _check_object(self, found: _Found, validate: Validate) -> None:
        try:
            home, id_ = validate(found.value["mlflow"])
            belongs = layout.folder(home[:-1] if found.in_shard else home)
            if belongs != found.parent:
                raise ValueError(f"its ids say it belongs into {belongs}")
            info = found.value["info"]
            if tuple(info["home"]) != home or info["id"] != id_ or not isinstance(info["name"], str):
                raise ValueError("info.id, info.name and info.home are not those of the object")
            if not all(isinstance(text, str) for pair in info["refs"].items() for text in pair):
                raise ValueError("info.refs is not a list of ids")
            files = [_entry(entry, home[-1] if found.in_shard else "") for entry in info["files"]]
            if len(set(files)) != len(files):
                raise ValueError("info.files names a file twice")
            for file in files:
                if not (self.root / found.parent / file).is_file():
                    raise ValueError(f"its file {file} is not there")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise manifest.broken(found.name, error) from error

    def _check_rows(self, found: _Found, validate_row: ValidateRow | None) -> None:
        for stream, name, rows in self._streams(found):
            for number, row in enumerate(rows, 1):
                try:
                    if validate_row is None:
                        raise ValueError("this kind has no rows")
                    validate_row(stream, row)
                except ValueError as error:
                    raise manifest.broken(f"{name} {number}", error) from error

    def _streams(self, found: _Found) -> Iterator[tuple[str, str, Iterator[Json]]]:
        """The row streams of an object: name, what a complaint calls a row, rows."""
        if found.in_shard:
            for stream, rows in found.value["rows"].items():
                if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                    raise BundleError(f"{found.name} is broken", f"rows.{stream} is no list of objects"[:200])
                yield stream, f"{found.name} row", iter(rows)
            return
        for entry in found.value["info"]["files"]:
            if entry.get("rows") is not None:
                name = f"{found.parent}/{entry['file']}"
                yield entry["rows"], f"{name} line", _lines(self.root / name, name)

    def _value(self, kind: str, place: Place) -> Json:
        if place.size:
            return _head(_parsed(shards.read_line(self.root, place), place.file), kind, place.file)
        return _head(manifest.read_json(self.root / place.file, place.file), kind, place.file)

    def _record(self, kind: str, place: Place) -> Record:
        value = self._value(kind, place)
        info = value["info"]
        folder = (self.root / place.file).parent
        rows: dict[str, Rows] = {}
        files, notebooks = [], []
        if place.size:
            # The line is read again when its rows are asked for: many records are on their way at once, few are used.
            rows = {name: partial(self._rows_in_line, kind, place, name) for name in value["rows"]}
        for entry in info["files"]:
            path = folder / entry["file"]
            if entry.get("rows") is not None:
                rows[entry["rows"]] = partial(_lines, path, f"{folder.name}/{entry['file']}")
            elif entry.get("notebook") is not None:
                notebooks.append(File(entry["notebook"], entry["bytes"], partial(_open, path), sha256=entry["sha256"]))
            else:
                files.append(File(entry["path"], entry["bytes"], partial(_open, path), sha256=entry["sha256"]))
        return Record(
            kind=kind,
            id=info["id"],
            name=info["name"],
            home=tuple(info["home"]),
            head=value["mlflow"],
            refs=info["refs"],
            rows=rows,
            files=partial(iter, files),
            notebooks=partial(iter, notebooks),
        )

    def _rows_in_line(self, kind: str, place: Place, name: str) -> Iterator[Json]:
        return iter(self._value(kind, place)["rows"][name])


def _head(value: Json, kind: str, name: str) -> Json:
    info = value.get("info")
    if (
        not isinstance(info, dict)
        or not isinstance(value.get("mlflow"), dict)
        or not isinstance(info.get("files"), list)
    ):
        raise BundleError(f"{name} is broken", f"it is not a {kind} file: info.files or mlflow is missing")
    return value


def _parsed(line: bytes, name: str) -> Json:
    """A line's JSON object. Raises BundleError for anything else, or for one too deep but for its rows: a span may be
    nested as deep as protobuf lets it."""
    try:
        value = json.loads(line.decode("utf-8", "surrogatepass"))
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        manifest.check_depth({key: part for key, part in value.items() if key != "rows"})
    except (ValueError, RecursionError) as error:
        raise manifest.broken(name, error) from error
    return value


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _entry(entry: Any, owner: str) -> str:
    """The file of an `info.files` entry, of the `owner` of a line of a shard; raises ValueError, KeyError or TypeError
    unless it lies where it belongs."""
    file, size, digest = entry["file"], entry["bytes"], entry["sha256"]
    if not isinstance(file, str) or type(size) is not int or size < 0 or not isinstance(digest, str):
        raise ValueError("info.files has a malformed entry")
    if entry.get("rows") is not None:
        if owner:
            raise ValueError("the rows of an object in a line are not in a file")
        expected = f"{layout.quoted(entry['rows'])}.jsonl"
    elif entry.get("notebook") is not None:
        layout.check_artifact_path(entry["notebook"])
        if owner:
            raise ValueError("an object in a line has no notebooks")
        expected = layout.notebook(entry["notebook"])
    else:
        layout.check_artifact_path(entry["path"])
        expected = layout.artifact(entry["path"], owner)
    if file != expected:
        raise ValueError(f"{entry.get('path', file)!r} does not belong into the file {file!r}")
    return file


def _lines(path: Path, name: str) -> Iterator[Json]:
    """The rows of a `.jsonl` file. Raises BundleError for a line that is no JSON object or too long."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(shards.LONGEST_LINE):
            number += 1
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("not a JSON object")
            except (ValueError, RecursionError) as error:
                raise manifest.broken(f"{name} line {number}", error) from error
            yield row
