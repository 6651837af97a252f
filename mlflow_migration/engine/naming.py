"""New names for what arrives at a destination: from what a person types to `Names`, and whether they can be given."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from mlflow_migration.engine.selection import text_of
from mlflow_migration.errors import UsageError
from mlflow_migration.places import MLFLOW, WORKSPACE, Names, RegistryAbilities, Selection
from mlflow_migration.records import Record

KINDS = {"experiment": "experiment", "model": "registered_model", "prompt": "prompt"}
"""The words that limit a new name to one kind, and those kinds."""
ONE_SPACE = ("registered_model", "prompt")
"""MLflow keeps both in one table, so that no prompt can have a model's name."""
NOT_IN_MODELS = "/:"
"""MLflow takes no registered model or prompt with these in its name (utils/validation.py of 3.17.2)."""
PLAIN = RegistryAbilities()
LEVELS = re.compile(r"[^.\s/\x00-\x1f\x7f]{1,255}(\.[^.\s/\x00-\x1f\x7f]{1,255}){2}")
"""A name of Unity Catalog: docs.databricks.com, "Names" of its SQL reference."""

Key = tuple[str, str]


def renames(path: str | None) -> Mapping[str, str]:
    """Old name → new name, from a CSV (`old,new`), YAML or JSON file. Raises UsageError when it isn't one."""
    if not path:
        return {}
    file = Path(path)
    text = text_of(file)
    if file.suffix.lower() in {".yml", ".yaml", ".json"}:
        try:
            pairs = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"not a rename file: {path}", " ".join(str(error).split())) from error
        if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
            raise UsageError(f"not a rename file: {path}", hint='it maps old names to new ones: {"old": "new"}')
        found = {str(old): new for old, new in pairs.items()}
    else:
        rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
        for number, row in enumerate(rows, 1):
            if len(row) != len(("old", "new")) or not all(row):
                raise UsageError(f"not a rename file: {path}", f"line {number} is not `old,new`")
        found = dict(rows)
    if len(set(found.values())) < len(found):
        raise UsageError(f"two names become one in {path}", hint="give each its own new name")
    return found


def given(renamed: Sequence[str], prefix: str = "", files: Mapping[str, str | None] | None = None) -> Names:
    """The names a person asks for: `FROM=TO` or a file each in `renamed`, and by kind the files of one kind.

    Raises UsageError for what is none, and where one name is given two new ones.
    """
    new: dict[Key, str] = {}
    typed = set()
    for kind, path in (files or {}).items():
        _add(new, (((kind, old), name) for old, name in renames(path).items()))
    for text in renamed:
        if "=" not in text:
            _add(new, ((_key(old), name) for old, name in renames(text).items()))
            continue
        old, _, name = text.partition("=")
        key = _key(old)
        if not key[1].strip() or not name.strip():
            raise UsageError(f"not a new name: {text!r}", hint="write it like OLD=NEW, or give a file of `old,new`")
        _add(new, [(key, name)])
        typed.add(key)
    return Names(new, prefix, frozenset(typed))


def _key(text: str) -> Key:
    word, colon, name = text.partition(":")
    return (KINDS[word], name) if colon and word in KINDS else ("", text)


def _add(new: dict[Key, str], pairs: Iterable[tuple[Key, str]]) -> None:
    for key, name in pairs:
        if new.setdefault(key, name) != name:
            raise UsageError(f"{key[1]!r} is given two new names", f"{new[key]!r} and {name!r}")


def check(
    names: Names,
    records: Callable[[str, Selection], Iterator[Record]],
    selection: Selection,
    registry: RegistryAbilities = PLAIN,
) -> None:
    """Raise UsageError where two things of a source would have one name at the destination, where its registry or
    MLflow refuses a name, and where nothing has a name that was typed: a mistyped one would be merged with whatever is
    there.

    Without new names nothing is asked of a plain registry; `records(kind, selection)` gives the source's things
    otherwise.
    """
    if registry.dialect == MLFLOW and not names.new and not set(names.prefix) & set(NOT_IN_MODELS):
        return
    unmet = set(names.typed)
    taken: dict[Key, str] = {}
    for kind in KINDS.values():
        for record in records(kind, selection) if selection.takes(kind) else ():
            unmet -= {(kind, record.name), ("", record.name)}
            if not (names.into and kind == "experiment"):
                _take(taken, names, record, registry)
    # A new name may be for what isn't moved but named by what is, as the prompts of traces are.
    for kind in KINDS.values() if unmet else ():
        unmet -= {key for record in records(kind, Selection()) for key in ((kind, record.name), ("", record.name))}
    if unmet:
        what = ", ".join(repr(name) for _, name in sorted(unmet))
        raise UsageError(f"nothing at the source is called {what}", "so it can't get a new name", "check --rename")


def _take(taken: dict[Key, str], names: Names, record: Record, registry: RegistryAbilities) -> None:
    name = names.of(record.kind, record.name)
    space = "model" if record.kind in ONE_SPACE else record.kind
    if space == "model":
        _check_levels(name, record, registry)
    if space == "model" and set(name) & set(NOT_IN_MODELS):
        raise UsageError(
            f"no {record.kind.replace('_', ' ')} can be called {name!r}",
            "MLflow takes neither / nor : in it",
            "give another --prefix or --rename",
        )
    other = taken.setdefault((space, name), record.name)
    if other != record.name:
        raise UsageError(
            f"two names become one: {other!r} and {record.name!r} would both be {name!r}",
            "what is put together can't be taken apart again",
            "give each its own name; to put experiments together, move them one by one",
        )


def _check_levels(name: str, record: Record, registry: RegistryAbilities) -> None:
    """Raise UsageError for a name that a registry of Databricks can't give a model."""
    what = record.kind.replace("_", " ")
    if registry.three_levels and not LEVELS.fullmatch(name):
        typed = f"{record.kind.rpartition('_')[2]}:{record.name}"
        raise UsageError(
            f"{name!r} is no name for a {what} of Unity Catalog",
            "that is catalog.schema.name, without spaces and slashes",
            f"give it one: --rename '{typed}=main.ml.name', --model-rename-file FILE, or --prefix main.ml. for all",
        )
    if registry.dialect == WORKSPACE and "." in name:
        raise UsageError(
            f"{name!r} is no name for a {what} of a workspace's registry",
            "it takes no dots",
            f"give another one: --rename 'model:{record.name}={name.rpartition('.')[2]}'",
        )
