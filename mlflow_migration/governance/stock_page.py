"""An inventory as a page: charts as SVG, each with its numbers in a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlflow_migration.governance import page
from mlflow_migration.records import Json

THOUSAND = 1000
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 220, 70, 26, 12
"""Of a chart with columns, in pixels; LEFT and BOTTOM are for its labels."""
WIDEST = 48
COLUMNS = 36
"""Months that are drawn; the table has all of them."""
ROW, NAMES = 26, 220
"""Of a chart with bars: the height of one, and the width of its name."""
LABEL = 30
"""Characters of a name beside its bar."""
ROWS = 15
UNKNOWN = "unknown"


def shown_size(size: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < THOUSAND:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= THOUSAND
    return f"{size:,.1f} TB"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def draw(document: Json, when: str) -> str:
    """The page of an inventory's document."""
    months = document["months"]
    growth = [
        _columns(
            f"{what[:1].upper()}{what[1:]} by month",
            {month: found.get(what, 0) for month, found in months.items()},
            what,
        )
        for what in ("runs", "logged models", "model versions", "traces", "bytes")
        if any(found.get(what) for found in months.values())
    ]
    owned = document["owners"]
    owners = [
        _bars(
            f"{what[:1].upper()}{what[1:]} by owner", {name: found.get(what, 0) for name, found in owned.items()}, what
        )
        for what in ("runs", "bytes", "logged models", "registered models")
        if any(found.get(what) for found in owned.values())
    ]
    kinds = _bars("Objects by kind", {kind: found["all"] for kind, found in document["counts"].items()}, "objects")
    return page.render(
        "inventory.html",
        f"Inventory of {document['address']}",
        document=document,
        total=shown_size(sum(document["sizes"].values())),
        sizes={where: shown_size(size) for where, size in document["sizes"].items()},
        columns=growth,
        bars=[kinds, *owners],
        biggest=[{**each, "shown": shown_size(each["size"])} for each in document["biggest"]],
        when=when,
    )


def _columns(title: str, values: dict[str, int], unit: str) -> dict[str, Any]:
    """A chart with one column for each month."""
    tell = shown_size if unit == "bytes" else _number
    drawn = [(month, values.get(month, 0)) for month in _months(values)]
    most = max((number for _, number in drawn), default=0) or 1
    step = (WIDTH - LEFT) / max(len(drawn), 1)
    wide = min(step * 0.8, WIDEST)
    high = HEIGHT - BOTTOM - TOP
    every = max(1, round(len(drawn) / 12))
    marks = [
        {
            "x": round(LEFT + place * step + (step - wide) / 2, 1),
            "width": round(wide, 1),
            "height": round(high * number / most, 1),
            "y": round(TOP + high - high * number / most, 1),
            "middle": round(LEFT + place * step + step / 2, 1),
            "label": month if place % every == 0 else "",
            "title": f"{month}: {tell(number)}",
        }
        for place, (month, number) in enumerate(drawn)
    ]
    rows = [(month, tell(number)) for month, number in values.items()]
    return {
        "title": title,
        "marks": marks,
        "rows": rows,
        "most": tell(most),
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "base": TOP + high,
        "top": TOP,
    }


def _months(values: Iterable[str]) -> list[str]:
    """The last COLUMNS months from the first to the last of those given, those without anything too."""
    known = sorted(month for month in values if month != UNKNOWN)
    if not known:
        return []
    first, last = (int(month[:4]) * 12 + int(month[5:7]) - 1 for month in (known[0], known[-1]))
    return [f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(max(first, last - COLUMNS + 1), last + 1)]


def _bars(title: str, values: dict[str, int], unit: str) -> dict[str, Any]:
    """A chart with one bar for each name, the longest first."""
    tell = shown_size if unit == "bytes" else _number
    ranked = sorted(values.items(), key=lambda each: (-each[1], each[0]))
    most = ranked[0][1] if ranked and ranked[0][1] else 1
    wide = WIDTH - NAMES - 90
    marks = [
        {
            "name": name if len(name) <= LABEL else name[: LABEL - 1] + "…",
            "y": place * ROW,
            "width": round(wide * number / most, 1),
            "told": tell(number),
            "title": f"{name}: {tell(number)}",
        }
        for place, (name, number) in enumerate(ranked[:ROWS])
    ]
    rows = [(name, tell(number)) for name, number in ranked]
    return {
        "title": title,
        "marks": marks,
        "rows": rows,
        "width": WIDTH,
        "height": max(len(marks), 1) * ROW,
        "left": NAMES,
        "row": ROW,
    }
