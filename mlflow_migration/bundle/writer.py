"""Writing a bundle: each object's head file last, the manifest last of all; half an object is written again."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlflow_migration.bundle import layout, manifest, shards
from mlflow_migration.bundle.notebooks import fetched, kept_notebooks, written
from mlflow_migration.errors import StorageError, UsageError
from mlflow_migration.records import File, Json, Loss, Record, Rows, Written, canonical

KEYED = frozenset({"tags", "params", "metrics"})
_WIDER: dict[str, Callable[[int, int], int]] = {"since": min, "until": max}


@dataclass(frozen=True)
class _Line:
    """The line an object is to have: whether it replaces another one, or a folder of the object's own; its rows, and
    the entries of its artifacts that are kept and those that are new."""

    replaces: bool
    has_folder: bool
    rows: dict[str, list[bytes]]
    kept: list[Json]
    made: list[Json] = field(default_factory=list)


class BundleWriter:
    """A bundle to write to. Implements `Sink`."""

    def __init__(self, root: Path, source: str, options: Json, checksum: bool = False) -> None:
        """With `checksum` artifacts that are there already are compared by their bytes, not only by their size.

        Raises UsageError where the folder holds something else, StorageError where it can't be written."""
        self.root = root
        self.address = str(root)
        self._source = source
        self._options = options
        self._checksum = checksum
        self._opened = False
        self._made = not root.exists()
        self._lock = threading.Lock()
        self._shards = shards.Shards(root)
        if root.exists() and not root.is_dir():
            raise UsageError(f"not a folder: {root}", hint="give a new or empty folder")
        if (
            root.is_dir()
            and any(root.iterdir())
            and not any((root / name).exists() for name in (layout.MARK, layout.MANIFEST))
        ):
            raise UsageError(f"the folder is not empty and not a bundle: {root}", hint="give a new or empty folder")
        if (root / layout.MANIFEST).exists():
            there = manifest.read_manifest(root)["info"]
            if there["source"] != source:
                what = f"the folder holds a bundle of {there['source']}"
                raise UsageError(what, f"not of {source}", "give another folder")
            held = there.get("options", {})
            if held.get("shard") != options.get("shard"):
                raise _other_shard(root)
            self._options = _both(held, options)
        elif (root / layout.MARK).exists() and (root / layout.MARK).read_text(encoding="utf-8") != self._mark():
            raise _other_shard(root)

    def put(self, record: Record, dry_run: bool = False, sharded: bool = False) -> Written:
        """Write one object, or bring it up to date; "same" where nothing of it has changed.

        A `sharded` one becomes a line of a file that it shares with others, unless it is too large for that."""
        return self.begin(record, dry_run, sharded)()

    def begin(self, record: Record, dry_run: bool = False, sharded: bool = False) -> Callable[[], Written]:
        """`put` in two parts: all that takes the source is done here; the rest, given back, is short.

        Lines stand in their files in the order in which the rests are called."""
        record = replace(record, head=_settled(record.head))
        files = list(record.files())
        losses = tuple(Loss("artifact", file.path, file.problem, file.wanted) for file in files if file.problem)
        present = [file for file in files if not file.problem]
        size = sum(file.size for file in present)
        folder = self.root / layout.folder(record.home)
        with storage(folder):
            rows = _row_texts(record) if sharded else None
            if rows is None:
                state, missed = self._put_folder(record, present, dry_run, sharded)
                losses += missed
            else:
                line = self._begin_line(record, present, rows, dry_run)

        def rest() -> Written:
            with storage(folder):
                ended = state if rows is None else self._put_line(record, line, dry_run)
            return Written(record.id, ended, losses=losses, bytes=0 if ended == "same" else size)

        return rest

    def _put_folder(
        self, record: Record, files: list[File], dry_run: bool, sharded: bool
    ) -> tuple[str, tuple[Loss, ...]]:
        """Write an object into its own folder; its state, and the notebooks that can't go."""
        folder = self.root / layout.folder(record.home)
        there = self._there(folder, record)
        notebooks = fetched(there, record, dry_run)
        line = self._shards.get(record.kind, record.id) if sharded else None
        if there is not None and line is None and not notebooks.made and self._is_same(there, record, files):
            return "same", notebooks.losses
        state = "done" if there is None and line is None else "updated"
        if dry_run:
            return state, notebooks.losses
        self._open()
        folder.mkdir(parents=True, exist_ok=True)
        # All is fetched before the first change: one that can't be read leaves the object as it was.
        made = [self._write_rows(folder, name, lines) for name, lines in record.rows.items()]
        kept, missing = _kept(there, files, self._checksum)
        made += [self._write_file(folder, layout.artifact(file.path), file) for file in missing]
        made += [written(folder, name, content) for name, content in notebooks.made]
        kept += notebooks.kept
        if line is not None:
            self._shards.drop(record.kind, record.id)
        self._begin(folder, record, made)
        entries = sorted([*kept, *made], key=_by_file)
        self._write_head(folder, record, entries)
        _remove_others(folder, layout.ARTIFACTS, entries)
        _remove_others(folder, layout.NOTEBOOKS, entries)
        if line is not None:
            _remove_others(folder.parent, f"{layout.ARTIFACTS}/{folder.name}", [])
        return state, notebooks.losses

    def _begin_line(
        self, record: Record, files: list[File], rows: dict[str, list[bytes]], dry_run: bool
    ) -> _Line | None:
        """Fetch the artifacts that a line's object lacks; None where the object is the same."""
        old = self._shards.get(record.kind, record.id)
        head = self._there(self.root / layout.folder(record.home), record)
        if old is None and head is not None and self._is_same(head, record, files):
            return None
        folder, name = layout.folder(record.home[:-1]), record.home[-1]
        kept, missing = _kept(json.loads(old) if old else None, files, self._checksum)
        if old and not missing and old == _line_of(record, kept, rows):
            return None
        found = _Line(old is not None, head is not None, rows, kept)
        if dry_run:
            return found
        self._open()
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        # All is fetched before the first change: one that can't be read leaves the object as it was.
        made = [self._write_file(self.root / folder, layout.artifact(file.path, name), file) for file in missing]
        return replace(found, made=made)

    def _put_line(self, record: Record, line: _Line | None, dry_run: bool) -> str:
        """Write an object as a line of a shard; its state."""
        if line is None:
            return "same"
        state = "updated" if line.replaces or line.has_folder else "done"
        if dry_run:
            return state
        folder, name = layout.folder(record.home[:-1]), record.home[-1]
        own = self.root / layout.folder(record.home)
        if line.replaces and line.made:
            # Without its line the object counts as absent, so that a crash from here on never leaves a mixture.
            self._shards.drop(record.kind, record.id)
        _take_over(self.root / folder, line.made)
        entries = [*line.kept, *line.made]
        if line.has_folder:
            (own / f"{record.kind}.json").unlink()
            shutil.rmtree(own)
        self._shards.put(folder, (record.kind, record.id), _line_of(record, entries, line.rows))
        _remove_others(self.root / folder, f"{layout.ARTIFACTS}/{layout.quoted(name)}", entries)
        return state

    def finish(self, info: Json, failures: Iterable[Json]) -> None:
        """Write the lists, SHA256SUMS, and the manifest last. A bundle in which nothing changed is left as it is."""
        with storage(self.root):
            lines = sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in failures)
            if (self.root / layout.MANIFEST).exists() and not self._opened and lines == self._failures():
                (self.root / layout.MARK).unlink(missing_ok=True)
                return
            self._open()
            self._write_failures(lines)
            self._write_index()
            self._shards.finish()
            for name, path in list(layout.walk(self.root)):
                if name.endswith(layout.PART):
                    path.unlink()
                    self._prune(path.parent)
            digest = manifest.write_sums(self.root, self._sums())
            body = {"format": layout.FORMAT, "source": self._source, "options": self._options, **info}
            manifest.write_json(
                self.root / layout.MANIFEST, {"system": manifest.system(), "info": {**body, "sha256sums": digest}}
            )
            (self.root / layout.MARK).unlink(missing_ok=True)

    def discard_empty(self) -> None:
        """Leave no trace of a job that failed before its first object; a folder that was there before stays."""
        if not self._opened or not self.root.is_dir() or any(path.is_file() for path in self.root.glob("*/**/*")):
            return
        if self._made:
            shutil.rmtree(self.root, ignore_errors=True)
        else:
            # The error that ended the job is to be told, not that its mark can't be taken away either.
            with suppress(OSError):
                (self.root / layout.MARK).unlink(missing_ok=True)

    def _open(self) -> None:
        """The first change: from now on the bundle is incomplete until `finish`."""
        with self._lock:
            if not self._opened:
                self._opened = True
                self.root.mkdir(parents=True, exist_ok=True)
                (self.root / layout.MARK).write_text(self._mark(), encoding="utf-8")
                (self.root / layout.MANIFEST).unlink(missing_ok=True)
                (self.root / layout.SUMS).unlink(missing_ok=True)

    def _mark(self) -> str:
        shard = self._options.get("shard")
        of_shard = f"It is shard {shard['number']} of {shard['of']}.\n" if shard else ""
        return "A bundle is being written here. Type the export command again.\n" + of_shard

    def _there(self, folder: Path, record: Record) -> Json | None:
        path = folder / f"{record.kind}.json"
        return manifest.read_json(path, str(path)) if path.is_file() else None

    def _is_same(self, there: Json, record: Record, files: list[File]) -> bool:
        entries, missing = _kept(there, files, self._checksum)
        entries += kept_notebooks(there)
        if missing or there["mlflow"] != record.head:
            return False
        for name, rows in record.rows.items():
            digest, size = hashlib.sha256(), 0
            for row in rows():
                line = _line(row)
                digest.update(line)
                size += len(line)
            entries.append(_rows_entry(name, size, digest.hexdigest()))
        return bool(sorted(entries, key=_by_file) == there["info"]["files"])

    def _write_rows(self, folder: Path, name: str, rows: Rows) -> Json:
        digest, size = hashlib.sha256(), 0
        with (folder / (_rows_file(name) + layout.PART)).open("wb") as target:
            for row in rows():
                line = _line(row)
                digest.update(line)
                size += len(line)
                target.write(line)
        return _rows_entry(name, size, digest.hexdigest())

    def _begin(self, folder: Path, record: Record, made: list[Json]) -> None:
        # Without its head the object counts as absent, so that a crash from here on never leaves a mixture.
        (folder / f"{record.kind}.json").unlink(missing_ok=True)
        _take_over(folder, made)

    def _write_file(self, folder: Path, name: str, file: File) -> Json:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + layout.PART)
        digest, size = hashlib.sha256(), 0
        if file.open is None:
            raise ValueError(f"{file.path} can't be opened")
        with file.open() as reader, part.open("wb") as writer:
            while block := reader.read(manifest.BLOCK):
                digest.update(block)
                size += len(block)
                writer.write(block)
        return {"path": file.path, "file": name, "bytes": size, "sha256": digest.hexdigest()}

    def _write_head(self, folder: Path, record: Record, entries: list[Json]) -> None:
        info = _info_of(record, entries)
        manifest.write_json(
            folder / f"{record.kind}.json", {"system": manifest.system(), "info": info, "mlflow": record.head}
        )

    def _prune(self, folder: Path) -> None:
        """Remove the empty folders that an object left which couldn't be read."""
        while folder != self.root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _failures(self) -> list[str]:
        path = self.root / layout.FAILURES
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def _write_failures(self, lines: list[str]) -> None:
        path = self.root / layout.FAILURES
        if lines:
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)

    def _write_index(self) -> None:
        """For each collection (`experiments/` …) a list of what is in it, for people and other tools."""
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir()):
            rows = []
            for entry in sorted(path for path in folder.iterdir() if path.is_dir()):
                heads = [manifest.read_json(path, str(path)) for path in sorted(entry.glob("*.json"))]
                rows += [{"id": head["info"]["id"], "name": head["info"]["name"]} for head in heads]
            manifest.write_json(
                folder / f"{folder.name}.json", {"system": manifest.system(), "info": {"objects": rows}}
            )

    def _sums(self) -> Iterator[tuple[str, str]]:
        """(path, digest) of every file; heads know the digests of what belongs to them, the few others are read."""
        known: dict[str, str] = {}
        for name, path in layout.walk(self.root):
            parent = self._owner(name)
            if parent is not None and known.get("") != parent:
                known = {"": parent}
                for head in (self.root / parent).glob("*.json"):
                    for entry in manifest.read_json(head, str(head)).get("info", {}).get("files", []):
                        known[f"{parent}/{entry['file']}"] = entry["sha256"]
            if name not in {layout.MANIFEST, layout.SUMS, layout.SUMS + layout.PART, layout.MARK}:
                yield name, known.get(name) or manifest.digest_file(path)

    @staticmethod
    def _owner(name: str) -> str | None:
        """The object's folder of an artifact or a rows file; None for any other file."""
        parts = name.split("/")
        if layout.ARTIFACTS in parts:
            return "/".join(parts[: parts.index(layout.ARTIFACTS)])
        return "/".join(parts[:-1]) if name.endswith(".jsonl") and len(parts) > 1 else None


def _other_shard(root: Path) -> UsageError:
    what = f"the folder holds another shard, or what was no shard: {root}"
    return UsageError(what, hint="give each shard a folder of its own; `bundle merge` joins them")


def _kept(there: Json | None, files: list[File], checksum: bool) -> tuple[list[Json], list[File]]:
    """The entries of artifacts that are in the bundle already, and the artifacts still to be fetched."""
    known = {entry.get("path"): entry for entry in there["info"]["files"]} if there else {}
    kept = [
        known[file.path]
        for file in files
        if file.path in known and known[file.path]["bytes"] == file.size
        if not checksum or known[file.path]["sha256"] == file.digest()
    ]
    paths = {entry["path"] for entry in kept}
    return kept, [file for file in files if file.path not in paths]


def _take_over(folder: Path, made: list[Json]) -> None:
    """Give files that have been fetched whole their names."""
    for entry in made:
        (folder / (entry["file"] + layout.PART)).replace(folder / entry["file"])


def _remove_others(folder: Path, below: str, entries: list[Json]) -> None:
    """Files of an earlier state, or of a crashed attempt, that the object no longer has."""
    wanted = {entry["file"] for entry in entries}
    if (folder / below).is_dir():
        for name, path in list(layout.walk(folder / below)):
            if f"{below}/{name}" not in wanted:
                path.unlink()


def _row_texts(record: Record) -> dict[str, list[bytes]] | None:
    """The rows as they stand in a line, or None for an object that is too large for one."""
    size = len(json.dumps(record.head))
    texts: dict[str, list[bytes]] = {name: [] for name in record.rows}
    for name, rows in record.rows.items():
        for row in rows():
            texts[name].append(shards.row_text(row))
            size += len(texts[name][-1])
            if size > shards.LARGEST_LINE:
                return None
    return texts if size <= shards.LARGEST_LINE else None


def _settled(head: Any) -> Any:
    """A head with its tags, params and metrics ordered by key: no server promises an order, and two exports of the
    same are to be equal byte for byte."""
    if not isinstance(head, dict):
        return head
    return {key: _by_key(part) if key in KEYED else _settled(part) for key, part in head.items()}


def _by_key(pairs: Any) -> Any:
    if isinstance(pairs, list) and all(isinstance(pair, dict) and isinstance(pair.get("key"), str) for pair in pairs):
        return sorted(pairs, key=lambda pair: (pair["key"], canonical(pair)))
    return pairs


def _line_of(record: Record, entries: list[Json], rows: dict[str, list[bytes]]) -> bytes:
    info = {**_info_of(record, sorted(entries, key=_by_file)), "kind": record.kind}
    return shards.line_of(info, record.head, rows)


def _info_of(record: Record, entries: list[Json]) -> Json:
    return {
        "id": record.id,
        "name": record.name,
        "home": list(record.home),
        "refs": dict(record.refs),
        "files": entries,
    }


def _line(row: Json) -> bytes:
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "surrogatepass")


def _rows_file(name: str) -> str:
    return f"{layout.quoted(name)}.jsonl"


def _rows_entry(name: str, size: int, digest: str) -> Json:
    return {"rows": name, "file": _rows_file(name), "bytes": size, "sha256": digest}


def _by_file(entry: Json) -> str:
    return str(entry["file"])


def _both(one: Json, other: Json) -> Json:
    """What a bundle holds that two exports wrote into: of what both limited, the wider choice."""
    both: Json = {}
    for key in one.keys() & other.keys():
        if one[key] == other[key]:
            both[key] = one[key]
        elif isinstance(one[key], list | tuple) and isinstance(other[key], list | tuple):
            both[key] = sorted({*map(str, one[key]), *map(str, other[key])})
        elif key in _WIDER:
            both[key] = _WIDER[key](one[key], other[key])
    return both


@contextmanager
def storage(folder: Path) -> Iterator[None]:
    """Turn a full disk or an unwritable folder into an error that ends the job."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        raise StorageError(
            "the disk is full" if full else "can't write the bundle",
            f"{folder}: {error.strerror or error}",
            "free some space, then type the same command: it goes on where it stopped"
            if full
            else "give a folder that can be written",
        ) from error
