"""Many objects of a kind in few files: a line of a shard is one whole object with its rows.

A line is only ever added, behind the others; of several lines of an object the last one counts, and none after a line
that says it is gone. A line without its end, which a crash leaves, is none. When the bundle is finished, lines that
don't count are taken out: a finished bundle has one line for each object.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow_migration.bundle import layout, manifest
from mlflow_migration.bundle.index import Index, Place
from mlflow_migration.errors import BundleError
from mlflow_migration.records import Json

MOST_LINES = 1000
LARGEST_SHARD = 64 * 1024 * 1024
"""A shard takes no further line beyond so many, or so many bytes."""
LARGEST_LINE = 4 * 1024 * 1024
"""A larger object gets a folder of its own."""
LONGEST_LINE = 16 * 1024 * 1024
"""The longest line that is read."""
_NAME = re.compile(r"(.*-)([0-9]{5,})\.jsonl")


def is_shard(name: str) -> bool:
    """Whether a file of a bundle, named relative to it, holds objects line by line."""
    parts = name.split("/")
    return layout.ARTIFACTS not in parts and _NAME.fullmatch(parts[-1]) is not None


def lines(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """(where it begins, line) for each whole line. Raises BundleError for one that is too long."""
    begin = 0
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if not line.endswith(b"\n"):
                if len(line) == LONGEST_LINE:
                    raise BundleError(f"{name} is broken", f"a line is longer than {LONGEST_LINE} bytes")
                return
            yield begin, line
            begin += len(line)


def read_line(root: Path, place: Place) -> bytes:
    with (root / place.file).open("rb") as file:
        file.seek(place.begin)
        return file.read(place.size)


@dataclass
class _Tail:
    """The shard of a folder that takes the next line: its number, its lines, and where the last one ends."""

    number: int = 1
    lines: int = 0
    end: int = 0


class Shards:
    """The shards of a bundle that is written. Safe to share between threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._tails: dict[str, _Tail] = {}

    def get(self, kind: str, id_: str) -> bytes | None:
        """The line of an object, or None."""
        with self._lock:
            place = self._loaded().get(kind, id_)
            return None if place is None else read_line(self._root, place)

    def put(self, folder: str, key: tuple[str, str], line: bytes) -> None:
        """Add the line of an object, `key` its kind and id, to the last shard of `folder`; it counts from now on."""
        with self._lock:
            index = self._loaded()
            index.put(*key, self._add(folder, line))

    def drop(self, kind: str, id_: str) -> None:
        """Let the line of an object, if there is any, count no more."""
        with self._lock:
            place = self._loaded().get(kind, id_)
            if place is not None:
                self._add(place.file.rpartition("/")[0], _dumped({"gone": [kind, id_]}))
                self._loaded().drop(kind, id_)

    def finish(self) -> None:
        """Take out of each shard what doesn't count."""
        with self._lock:
            index = self._loaded()
            for name, path in [found for found in layout.walk(self._root) if is_shard(found[0])]:
                places = index.lines(name)
                if not places:
                    path.unlink()
                elif sum(place.size for place in places) != path.stat().st_size:
                    part = path.with_name(path.name + layout.PART)
                    with part.open("wb") as file:
                        for place in places:
                            file.write(read_line(self._root, place))
                    part.replace(path)
            # What was noted of the lines' places is true no more.
            self._index = None

    def _add(self, folder: str, line: bytes) -> Place:
        tail = self._tails.setdefault(folder, _Tail())
        if tail.lines >= MOST_LINES or (tail.end and tail.end + len(line) > LARGEST_SHARD):
            tail.number, tail.lines, tail.end = tail.number + 1, 0, 0
        name = f"{folder}/{folder.rpartition('/')[2]}-{tail.number:05d}.jsonl"
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("ab") as file:
                # What a crash left of a line goes.
                file.truncate(tail.end)
                file.write(line)
        except OSError:
            # So that another worker, before it hears of the full disk, doesn't write behind half a line.
            with suppress(OSError):
                os.truncate(path, tail.end)
            raise
        place = Place(name, tail.end, len(line))
        tail.lines, tail.end = tail.lines + 1, tail.end + len(line)
        return place

    def _loaded(self) -> Index:
        """The index of all lines there are, read once. Raises BundleError for a whole line that is none of ours."""
        if self._index is None:
            index = Index()
            self._tails = {}
            for name, path in list(layout.walk(self._root)) if self._root.is_dir() else []:
                if is_shard(name):
                    self._load(index, name, path)
            self._index = index
        return self._index

    def _load(self, index: Index, name: str, path: Path) -> None:
        # Shards come in the order of their numbers: the last one of a folder stays.
        tail = self._tails[name.rpartition("/")[0]] = _Tail(_number(name))
        for begin, line in lines(path, name):
            tail.lines, tail.end = tail.lines + 1, begin + len(line)
            try:
                value = json.loads(line)
                if "gone" in value:
                    index.drop(*map(str, value["gone"]))
                else:
                    index.put(str(value["info"]["kind"]), str(value["info"]["id"]), Place(name, begin, len(line)))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise manifest.broken(f"{name} line {tail.lines}", error) from error


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match[2]) if match else 1


def line_of(info: Json, head: Json, rows: dict[str, list[bytes]]) -> bytes:
    """The line of an object; `rows` as `row_text` gives them. Equal objects have equal lines."""
    streams = (_dumped(name)[:-1] + b":[" + b",".join(texts) + b"]" for name, texts in sorted(rows.items()))
    parts = b'{"info":' + _dumped(info)[:-1] + b',"mlflow":' + _dumped(head)[:-1] + b',"rows":{' + b",".join(streams)
    return parts + b"}}\n"


def row_text(row: Json) -> bytes:
    return _dumped(row)[:-1]


def _dumped(value: Json | str) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return (text + "\n").encode("utf-8", "surrogatepass")
