"""Who of a source is who at a destination, as a person says it in a file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from mlflow_migration.engine.selection import text_of
from mlflow_migration.errors import UsageError

ALIKE = ("source", "destination")
"""A first line that only says what stands in the columns."""


def mapping(path: str | None) -> Mapping[str, str]:
    """Source principal → destination principal, "" for nobody, from a CSV (`source,destination`), YAML or JSON file.

    Users are known by name, groups by display name, service principals by application id. Raises UsageError where the
    file can't be read, a line of it isn't such a pair, or one principal is mapped twice.
    """
    if not path:
        return {}
    file = Path(path)
    is_yaml = file.suffix.lower() in {".yml", ".yaml", ".json"}
    found: dict[str, str] = {}
    for where, source, destination in _of_yaml(path, text_of(file)) if is_yaml else _of_csv(path, text_of(file)):
        if source in found:
            raise _wrong(path, f"{where}: {source!r} is mapped twice")
        found[source] = destination
    return found


def _of_csv(path: str, text: str) -> Iterable[tuple[str, str, str]]:
    reader = csv.reader(text.splitlines(), skipinitialspace=True)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells) or (reader.line_num == 1 and tuple(cells) == ALIKE):
            continue
        if len(cells) != len(ALIKE) or not cells[0]:
            raise _wrong(path, f"line {reader.line_num} is not `source,destination`")
        yield f"line {reader.line_num}", cells[0], cells[1]


def _of_yaml(path: str, text: str) -> Iterable[tuple[str, str, str]]:
    try:
        pairs = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _wrong(path, " ".join(str(error).split())) from error
    if not isinstance(pairs, dict):
        raise _wrong(path, "it maps principals: {source: destination}")
    for source, destination in pairs.items():
        if not isinstance(source, str) or not isinstance(destination, str | None) or not source.strip():
            raise _wrong(path, f"{source!r} is not mapped to a name, or to nothing")
        yield source, source.strip(), (destination or "").strip()


def _wrong(path: str, why: str) -> UsageError:
    hint = "write `source,destination` lines; an empty destination leaves a principal out"
    return UsageError(f"not a file of principals: {path}", why, hint)
