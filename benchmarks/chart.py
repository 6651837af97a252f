"""Bars as SVG, readable on a light and on a dark page; the same numbers give the same bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LABELS, NUMBERS = 860, 300, 120
LINE, GAP, TITLE = 20, 16, 28
STYLE = """
  .page { fill: #ffffff } .title { fill: #1f2328; font-weight: 600 } .label, .number { fill: #1f2328 }
  .own { fill: #2f6fde } .other { fill: #9aa4af }
  text { font: 12px system-ui, sans-serif }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } .title, .label, .number { fill: #e6edf3 } .own { fill: #6ea8fe } .other { fill: #626d78 }
  }
"""


@dataclass(frozen=True)
class Bar:
    """One bar: what it is, how long, the number in words, whether it is this tool's."""

    label: str
    value: float
    number: str
    own: bool


@dataclass(frozen=True)
class Panel:
    """Bars of one scale under a title."""

    title: str
    bars: Sequence[Bar]


def svg(panels: Sequence[Panel]) -> str:
    """The whole picture, panel under panel, each with a scale of its own that begins at zero."""
    height = GAP + sum(TITLE + LINE * len(panel.bars) + GAP for panel in panels)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">']
    lines += [f"<style>{STYLE}</style>", f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>']
    top = GAP
    for panel in panels:
        lines += panel_lines(panel, top)
        top += TITLE + LINE * len(panel.bars) + GAP
    return "\n".join([*lines, "</svg>"]) + "\n"


def panel_lines(panel: Panel, top: int) -> Iterator[str]:
    """A title and its bars."""
    longest = max((bar.value for bar in panel.bars), default=0.0) or 1.0
    yield f'<text class="title" x="12" y="{top + 14}">{escape(panel.title)}</text>'
    for number, bar in enumerate(panel.bars):
        y = top + TITLE + number * LINE
        length = max(1.0, (WIDTH - LABELS - NUMBERS) * bar.value / longest)
        yield f'<text class="label" x="{LABELS - 8}" y="{y + 11}" text-anchor="end">{escape(bar.label)}</text>'
        side = "own" if bar.own else "other"
        yield f'<rect class="{side}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{LINE - 6}" rx="2"/>'
        yield f'<text class="number" x="{LABELS + length + 6:.1f}" y="{y + 11}">{escape(bar.number)}</text>'
