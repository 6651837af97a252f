"""Ids inside texts: MLflow's own tags and MLmodel files name runs, experiments and artifact addresses.

They are replaced as text, so that nothing else of a value or file changes. Tags a person set are never touched.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from mlflow_migration.places import Ids
from mlflow_migration.records import File, Json, Record

PARENTS = ("mlflow.parentRunId", "mlflow.rootRunId")
"""Tags whose whole value is another run's id."""
WRITTEN_BY_PEOPLE = frozenset({"mlflow.note.content", "mlflow.runName", "mlflow.user"})
LARGEST_MODEL_FILE = 4 * 1024 * 1024
"""An MLmodel file is a few kB of YAML; anything larger is not one, and passes as it is."""
NAMES_IN = {"mlflow.linkedPrompts": "prompt", "mlflow.modelVersions": "registered_model"}
"""MLflow's own tags that hold a list of versions, `[{"name": …, "version": …}]`, and the kind of what they name."""
_NAME = re.compile(r'("name"\s*:\s*)("(?:[^"\\]|\\.)*")')
_RUN_ID = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{32}(?![0-9A-Za-z])")


def holds_ids(key: str) -> bool:
    """Whether a tag is MLflow's own, so that ids in it are to be replaced."""
    return key.startswith("mlflow.") and key not in WRITTEN_BY_PEOPLE


def run_ids_in(text: str) -> set[str]:
    """Everything in a text that looks like a run's id."""
    return set(_RUN_ID.findall(text))


def shared_name(kind: str, name: str) -> str:
    """A model's or prompt's name where the ids of all kinds meet; no text of a server holds the first character."""
    return f"\0{kind} {name}"


def renamed(text: str, new: Callable[[str], str]) -> str:
    """A list of versions with other names in it; nothing else of the text changes."""

    def one(match: re.Match[str]) -> str:
        try:
            old = str(json.loads(match[2]))
        except ValueError:
            return match[0]
        return match[0] if new(old) == old else match[1] + json.dumps(new(old))

    return _NAME.sub(one, text)


def name_swaps(tags: Mapping[str, str], known: Callable[[str], str | None]) -> dict[str, str]:
    """What turns the names in lists of versions into those that both ends share, for `shared_tag`."""
    found: dict[str, str] = {}
    for key in tags.keys() & NAMES_IN.keys():
        for match in _NAME.finditer(tags[key]):
            try:
                shared = shared_name(NAMES_IN[key], str(json.loads(match[2])))
            except ValueError:
                continue
            if there := known(shared):
                found[shared] = there
    return found


def shared_tag(key: str, value: str, swaps: Mapping[str, str] | None) -> str:
    """A tag's value with the ids and names that both ends share."""
    if not swaps or not holds_ids(key):
        return value
    if key in NAMES_IN:
        value = renamed(value, lambda name: swaps.get(shared_name(NAMES_IN[key], name), name))
    return swap(value, swaps)


def swap(text: str, swaps: Mapping[str, str] | None) -> str:
    """`text` with each key replaced by its value, longest first, in one pass."""
    if not swaps or not any(old in text for old in swaps):
        return text
    pattern = "|".join(re.escape(old) for old in sorted(swaps, key=len, reverse=True))
    return re.sub(pattern, lambda match: swaps[match[0]], text)


def localized(file: File, swaps: Mapping[str, str]) -> File:
    """An MLmodel file with its ids replaced; the same file where it holds none, or isn't text."""
    return rewritten(file, lambda text: swap(text, swaps)) if swaps else file


def rewritten(file: File, change: Callable[[str], str]) -> File:
    """A small file of text as `change` has it; the same file where nothing changes, or it isn't text."""
    if file.open is None or file.size > LARGEST_MODEL_FILE:
        return file
    with file.open() as reader:
        data = reader.read(LARGEST_MODEL_FILE + 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return file
    changed = change(text).encode("utf-8")
    return file if changed == data else File(file.path, len(changed), partial(_reader, changed))


@contextmanager
def _reader(data: bytes) -> Iterator[BinaryIO]:
    yield io.BytesIO(data)


class Texts:
    """The tags of one run, sorted by when their values can be known.

    `early` go into the create call; `late` hold the run's own id or artifact address, known only afterwards; `links`
    name runs that are not at the destination yet.
    """

    def __init__(self, record: Record, tags: Mapping[str, str], ids: Ids) -> None:
        info = record.head["info"]
        self._own = [text for text in (info.get("artifact_uri", ""), record.id) if text]
        self._swaps: dict[str, str] = {}
        self.early: dict[str, str] = {}
        self.late: dict[str, str] = {}
        self.links: dict[str, str] = {}
        for key, value in tags.items():
            if not holds_ids(key):
                self.early[key] = value
            elif any(own in value for own in self._own):
                self.late[key] = value
            elif key in PARENTS and value:
                there = ids.get("run", value)
                (self.early if there else self.links)[key] = there or value
            else:
                self.early[key] = self._known(value, ids)

    def settle(self, head: Json) -> None:
        """The destination's run is there: now its own id and artifact address are known."""
        info = head["info"]
        mine = [info.get("artifact_uri", ""), info["run_id"]][-len(self._own) :]
        self._swaps = dict(zip(self._own, mine, strict=True))
        self.late = {key: swap(value, self._swaps) for key, value in self.late.items()}

    def own(self) -> dict[str, str]:
        """MLflow's own tags as they stand at the destination."""
        return {key: value for key, value in {**self.early, **self.late}.items() if holds_ids(key)}

    def localized(self, file: File) -> File:
        return localized(file, self._swaps)

    @staticmethod
    def _known(value: str, ids: Ids) -> str:
        return _RUN_ID.sub(lambda match: ids.get("run", match[0]) or match[0], value)
