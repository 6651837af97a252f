"""From what a person types to what is asked of a place: names, globs, lists in files, times."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

import yaml

from mlflow_migration.errors import UsageError

_AGO = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def names(text: str) -> tuple[str, ...]:
    """Names from `all`, a comma-separated list, globs, or a `.txt` file with one name a line. Empty means all."""
    text = text.strip()
    if not text:
        raise UsageError("no name was given", hint="give names, ids or globs separated by commas, a .txt file, or: all")
    if text == "all":
        return ()
    if text.endswith(".txt"):
        found = [line.strip() for line in _text(Path(text)).splitlines()]
    else:
        found = [part.strip() for part in text.split(",")]
    chosen = tuple(name for name in found if name)
    if not chosen:
        raise UsageError(f"no name in {text!r}", hint="one name a line")
    return chosen


def renames(path: str | None) -> Mapping[str, str]:
    """Old name → new name, from a CSV (`old,new`), YAML or JSON file. Raises UsageError when it isn't one."""
    if not path:
        return {}
    file = Path(path)
    text = _text(file)
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


def moment(text: str | None) -> int | None:
    """A time in ms since 1970 UTC, from `2024-05-01`, `2024-05-01 13:30`, RFC 3339, or an age such as `7d`."""
    if not text:
        return None
    ago = _AGO.fullmatch(text.strip())
    if ago:
        when = datetime.now(timezone.utc) - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
    else:
        try:
            when = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
        except ValueError as error:
            raise UsageError(
                f"not a time: {text!r}", hint="write 2024-05-01, 2024-05-01T13:30:00Z, or 7d for an age"
            ) from error
        when = when.replace(tzinfo=when.tzinfo or timezone.utc)
    return int(when.timestamp() * 1000)


def size(text: str | None) -> int | None:
    """Bytes from `500`, `20k`, `1.5G` or `10MB`; a kilo is 1024."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if not found:
        raise UsageError(f"not a size: {text!r}", hint="write 500, 20k, 1.5G or 10MB")
    return int(float(found[1]) * 1024 ** " kmgt".index(found[2] or " "))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read {path}", str(error)) from error
