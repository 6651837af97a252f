"""From what a person types to what is asked of a place: names, globs, lists in files, times."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

from mlflow_migration.errors import UsageError
from mlflow_migration.places import Shard

_AGO = re.compile(r"(\d+)([smhdw])")
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def names(text: str) -> tuple[str, ...]:
    """Names from `all`, a comma-separated list, globs, or a `.txt` file with one name a line. Empty means all."""
    text = text.strip()
    if not text:
        raise UsageError("no name was given", hint="give names, ids or globs separated by commas, a .txt file, or: all")
    if text == "all":
        return ()
    if text.endswith(".txt"):
        found = [line.strip() for line in text_of(Path(text)).splitlines()]
    else:
        found = [part.strip() for part in text.split(",")]
    chosen = tuple(name for name in found if name)
    if not chosen:
        raise UsageError(f"no name in {text!r}", hint="one name a line")
    return chosen


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


def shard(text: str | None) -> Shard | None:
    """One of several parts, from `2/8`."""
    if text is None:
        return None
    found = _SHARD.fullmatch(text.strip())
    if not found or not 0 < int(found[1]) <= int(found[2]):
        raise UsageError(f"not a shard: {text!r}", hint="write 1/8 for the first of eight, up to 8/8 for the last")
    return Shard(int(found[1]), int(found[2]))


def text_of(path: Path) -> str:
    """What a file holds. Raises UsageError where it can't be read as text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read {path}", str(error)) from error
