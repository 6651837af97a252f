"""The result in cells: the same for the terminal and for the page."""

from collections.abc import Sequence

from benchmarks import measure, peer
from benchmarks.row import Row
from benchmarks.targets import against, targets

HEAD = (
    "scenario",
    "action",
    "tool",
    "objects",
    "wall s",
    "objects/s",
    "points/s",
    "MB/s",
    "requests each",
    "CPU s",
    "peak MB",
    "x peer",
    "/ limit",
    "lost",
)
TARGET_HEAD = ("target", "wanted", "measured", "")
LEFT = {"scenario", "action", "tool", "lost", "target", "wanted", ""}
MEGA = 1_000_000
NOTE_LENGTH = 80
UNJUDGED = {"export", "verify"}
"""What proves itself only in the import after it, or by its exit code."""


def lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A table for the terminal, column by column as wide as it has to be."""
    cells = [list(head), *map(list, body)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    text = ["  ".join(pad(*each) for each in zip(line, widths, head, strict=True)) for line in cells]
    return [line.rstrip() for line in [text[0], "  ".join("-" * width for width in widths), *text[1:]]]


def pad(cell: str, width: int, name: str) -> str:
    """Words to the left, numbers to the right."""
    return cell.ljust(width) if name in LEFT else cell.rjust(width)


def rows_of(rows: Sequence[Row]) -> list[list[str]]:
    """Every measured move in words."""
    return [cells_of(row, rows) for row in rows]


def cells_of(row: Row, rows: Sequence[Row]) -> list[str]:
    """One measured move in words; what doesn't concern it stays empty."""
    amount = row.amount
    slower, faster = against(rows, row, measure.LIMIT), against(rows, row, peer.NAME)
    return [
        row.scenario,
        row.action,
        row.tool,
        f"{amount.objects:,}",
        f"{row.seconds:.2f}",
        f"{amount.objects / row.seconds:,.1f}",
        f"{amount.points / row.seconds:,.0f}" if amount.points else "",
        f"{amount.bytes / row.seconds / MEGA:,.1f}" if amount.bytes else "",
        f"{row.requests / amount.objects:.2f}" if row.requests else "",
        f"{row.cpu_seconds:.2f}",
        f"{row.peak_bytes / MEGA:.0f}",
        f"{1 / faster:.1f}" if faster else "",
        f"{slower:.2f}" if slower else "",
        note(row),
    ]


def note(row: Row) -> str:
    """What was lost, short."""
    said = row.lost or ("" if row.action in UNJUDGED or not (row.amount.points or row.requests) else "nothing")
    return said if len(said) <= NOTE_LENGTH else said[: NOTE_LENGTH - 1] + "…"


def target_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Every target in words."""
    return [[each.what, each.bound, each.found, each.verdict] for each in targets(rows)]
