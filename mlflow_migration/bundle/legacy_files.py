"""The files of a folder that mlflow-export-import wrote: found, read, and taken for what they are, untrusted.

Each is JSON with the parts `system`, `info` and `mlflow`. Artifacts lie beside it in a folder of that name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_migration.bundle import layout, manifest
from mlflow_migration.errors import BundleError
from mlflow_migration.records import File, Json, Record

EXPERIMENT, RUN, LOGGED_MODEL, TRACE = "experiment", "run", "logged_model", "trace"
MODEL, VERSION, PROMPT, PROMPT_VERSION = "registered_model", "model_version", "prompt", "prompt_version"
DATASET = "evaluation_dataset"
HEADS = {
    "experiment.json": EXPERIMENT,
    "run.json": RUN,
    "model.json": MODEL,
    "version.json": VERSION,
    "model_version.json": VERSION,
    "logged_model.json": LOGGED_MODEL,
    "trace.json": TRACE,
    "prompt.json": PROMPT_VERSION,
    "evaluation_dataset.json": DATASET,
}
"""Which file holds which kind; `model_version.json` is an earlier name of `version.json`."""
LARGEST = 4 * 1024**3
"""A run's file holds all its metric points, so that it may be far larger than a head of a bundle."""
COPIES = "version_model"
"""Folders beginning so hold copies of a version's model files, which may have any name."""
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
AGAIN = "export it again"


class Folder:
    """Such a folder. Raises BundleError, naming the file, for whatever isn't as mlflow-export-import writes it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def heads(self, name: str) -> Iterator[Path]:
        """The files of that name, sorted. An empty one is left by an export that failed while it wrote it."""
        return (path for path in found(self.root, name) if path.stat().st_size)

    def empty(self) -> Iterator[tuple[str, Path]]:
        """(kind, file) of each object of which only an empty file is there."""
        for name, kind in HEADS.items():
            yield from ((kind, path) for path in found(self.root, name) if not path.stat().st_size)

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def head(self, path: Path) -> Json:
        """The whole file, of which `mlflow` is a JSON object and `info` one too."""
        head = read(path, self.name(path))
        if not isinstance(head.get("mlflow"), dict) or not isinstance(head.setdefault("info", {}), dict):
            raise BundleError(f"{self.name(path)} is broken", "mlflow or info is no JSON object", AGAIN)
        return head

    def value(self, path: Path) -> Json:
        """The object in the file."""
        value: Json = self.head(path)["mlflow"]
        return value

    def records(self, name: str, make: Callable[[Path, Json], Iterator[Record]]) -> Iterator[Record]:
        """What `make` gives for each file of that name and the object in it."""
        for path in self.heads(name):
            value = self.value(path)
            try:
                if name != "run.json":  # Which may hold millions of points, and is flat.
                    manifest.check_depth(value)
                yield from list(make(path, value))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
                raise manifest.broken(self.name(path), _named(error)) from error

    def files(self, path: Path) -> Iterator[File]:
        """The artifacts of the object in a file."""
        folder = path.parent / layout.ARTIFACTS
        if folder.is_dir():
            for name, file in layout.walk(folder):
                yield File(name, file.stat().st_size, partial(_open, file))


def found(root: Path, name: str) -> Iterator[Path]:
    """The files of that name, sorted; artifacts are not looked into, and links never followed."""
    if (root / name).is_file() and not (root / name).is_symlink():
        yield root / name
    for entry in sorted(root.iterdir(), key=lambda path: path.name):
        inside = entry.name != layout.ARTIFACTS and not entry.name.startswith(COPIES)
        if inside and entry.is_dir() and not entry.is_symlink():
            yield from found(entry, name)


def read(path: Path, name: str) -> Json:
    """A JSON object."""
    if path.stat().st_size > LARGEST:
        raise BundleError(f"{name} is too large", f"more than {LARGEST} bytes", "")
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise manifest.broken(name, error) from error
    if not isinstance(head, dict):
        raise BundleError(f"{name} is broken", "not a JSON object", AGAIN)
    return head


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _named(error: Exception) -> Exception:
    """A missing key alone tells nothing."""
    return ValueError(f"{error.args[0]} is missing") if isinstance(error, KeyError) else error


def pairs(values: Any) -> list[Json]:
    """`{key: value}`, or a list of pairs in which a key may be there twice, as MLflow's REST API has it."""
    if isinstance(values, list):
        values = {pair["key"]: pair.get("value", "") for pair in values}
    if not isinstance(values or {}, dict):
        raise ValueError("params or tags are not an object")
    return [{"key": str(key), "value": text(value)} for key, value in (values or {}).items()]


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def plain(value: Json, *without: str) -> Json:
    """The fields as the REST API shows them: those left out that are empty or that the old tool adds (`_…`)."""
    return {
        key: part for key, part in value.items() if part is not None and not key.startswith("_") and key not in without
    }


def moment(milliseconds: int) -> str:
    """Milliseconds since 1970 UTC as protobuf's JSON writes a Timestamp."""
    when = EPOCH + timedelta(milliseconds=int(milliseconds))
    shown = when.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{shown}.{when.microsecond // 1000:03}Z" if when.microsecond else f"{shown}Z"


def duration(milliseconds: int) -> str:
    """Milliseconds as protobuf's JSON writes a Duration."""
    seconds, rest = divmod(abs(int(milliseconds)), 1000)
    sign = "-" if milliseconds < 0 else ""
    return f"{sign}{seconds}.{rest:03}s" if rest else f"{sign}{seconds}s"
