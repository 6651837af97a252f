"""The result: a table to read and a JSON file to keep."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import measure, peer
from benchmarks.measure import Row

HEAD = (
    "action",
    "tool",
    "runs",
    "wall s",
    "runs/s",
    "points/s",
    "MB/s",
    "req/run",
    "peak MB",
    "x peer",
    "/ limit",
    "lost",
)
LEFT = {"action", "tool", "lost"}
MEGA = 1_000_000
NOTE_LENGTH = 80


def lines(rows: Sequence[Row]) -> list[str]:
    """The table, column by column as wide as it has to be."""
    cells = [list(HEAD), *(cells_of(row, rows) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    text = [
        "  ".join(pad(cell, width, name) for cell, width, name in zip(line, widths, HEAD, strict=True))
        for line in cells
    ]
    return [line.rstrip() for line in [text[0], "  ".join("-" * width for width in widths), *text[1:]]]


def pad(cell: str, width: int, name: str) -> str:
    """Words to the left, numbers to the right."""
    return cell.ljust(width) if name in LEFT else cell.rjust(width)


def cells_of(row: Row, rows: Sequence[Row]) -> list[str]:
    """One measured move in words."""
    shape = row.shape
    faster, slower = against(row, rows, peer.NAME), against(row, rows, measure.LIMIT)
    return [
        row.action,
        row.tool,
        f"{shape.runs:,}",
        f"{row.seconds:.1f}",
        f"{shape.runs / row.seconds:.1f}",
        f"{shape.points / row.seconds:,.0f}",
        f"{shape.bytes / row.seconds / MEGA:.1f}",
        f"{row.requests / shape.runs:.1f}",
        f"{row.peak_bytes / MEGA:.0f}",
        f"{1 / faster:.1f}" if faster else "",
        f"{slower:.2f}" if slower else "",
        note(row),
    ]


def note(row: Row) -> str:
    """What was lost, short; an export proves itself only in the import after it."""
    unjudged = row.action == "export"
    said = row.lost or ("" if unjudged else "nothing")
    return said if len(said) <= NOTE_LENGTH else said[: NOTE_LENGTH - 1] + "…"


def against(row: Row, rows: Sequence[Row], tool: str) -> float | None:
    """How many times as long per run as `tool` takes for the same action; None when it was not measured to its end."""
    if row.exit_code != 0:
        return None
    for other in rows:
        same_runs = other.shape.runs == row.shape.runs or tool == peer.NAME
        if (other.action, other.tool) == (row.action, tool) and other.exit_code == 0 and same_runs:
            return row.seconds_per_run / other.seconds_per_run
    return None


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything measured, with the machine it was measured on."""
    measured = []
    for row in rows:
        ratios = {"peer": against(row, rows, peer.NAME), "limit": against(row, rows, measure.LIMIT)}
        measured.append(asdict(row) | {"requests_per_run": row.requests / row.shape.runs, "seconds_against": ratios})
    machine = {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    return {"when": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": machine, "rows": measured}


def write(rows: Sequence[Row], path: Path) -> None:
    """Keep the result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(rows), indent=2) + "\n", encoding="utf-8")
