"""What a document of this tool says it was made by."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version

NAME = "mlflow-migration"


@cache
def tool_version() -> str:
    """This tool's version; "unknown" where it runs without being installed."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "unknown"


def line() -> str:
    """What stands at the foot of a page."""
    return f"{NAME} {tool_version()}, {datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC')}"
