"""Times and durations as protobuf's JSON has them, which is how MLflow's REST API shows those of traces."""

from __future__ import annotations

from datetime import datetime, timedelta

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00")
SECOND = 1000
"""In milliseconds."""


def time_of(milliseconds: int) -> str:
    """A time, given in ms since 1970 UTC."""
    whole = EPOCH + timedelta(seconds=milliseconds // SECOND)
    return f"{whole.isoformat()}{_fraction(milliseconds % SECOND)}Z"


def duration_of(milliseconds: int) -> str:
    """A duration, given in ms."""
    sign = "-" if milliseconds < 0 else ""
    whole, part = divmod(abs(milliseconds), SECOND)
    return f"{sign}{whole}{_fraction(part)}s"


def _fraction(milliseconds: int) -> str:
    return f".{milliseconds:03d}" if milliseconds else ""
