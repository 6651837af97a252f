"""Where the nodes of a graph stand when it is drawn: in columns, origins at the left, edges seldom crossing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_migration.governance.graph import Graph

WIDTH, HEIGHT = 230, 58
"""Of a node, in pixels."""
GAP_X, GAP_Y, MARGIN = 110, 22, 24
SWEEPS = 4
"""Rounds in which each column is ordered by its neighbours: more change little."""


@dataclass(frozen=True)
class Curve:
    """One edge as the path of an SVG; the label stands at (x, y)."""

    path: str
    label: str
    x: int
    y: int
    of: str
    origin: str


@dataclass(frozen=True)
class Drawing:
    """The left upper corner of each node, the edges, and the size of the whole, in pixels. `order` is how a keyboard
    goes through the nodes: column by column."""

    corners: Mapping[str, tuple[int, int]]
    curves: tuple[Curve, ...]
    width: int
    height: int
    order: tuple[str, ...]


def draw(graph: Graph) -> Drawing:
    """Place the nodes of a graph; one with cycles too: an edge that closes one bends back."""
    columns = _ordered(graph, _columns(graph))
    tallest = max((len(column) for column in columns), default=1)
    height = 2 * MARGIN + tallest * (HEIGHT + GAP_Y) - GAP_Y
    corners: dict[str, tuple[int, int]] = {}
    for number, column in enumerate(columns):
        free = height - 2 * MARGIN - (len(column) * (HEIGHT + GAP_Y) - GAP_Y)
        for row, id_ in enumerate(column):
            corners[id_] = (MARGIN + number * (WIDTH + GAP_X), MARGIN + free // 2 + row * (HEIGHT + GAP_Y))
    curves = tuple(_curve(edge.origin, edge.of, edge.label, corners) for edge in graph.edges)
    width = 2 * MARGIN + max(len(columns), 1) * (WIDTH + GAP_X) - GAP_X
    return Drawing(corners, curves, width, height, tuple(id_ for column in columns for id_ in column))


def _curve(origin: str, of: str, label: str, corners: Mapping[str, tuple[int, int]]) -> Curve:
    (left, top), (right, bottom) = corners[origin], corners[of]
    x1, y1, x2, y2 = left + WIDTH, top + HEIGHT // 2, right, bottom + HEIGHT // 2
    bend = max(GAP_X // 2, abs(x2 - x1) // 2)
    path = f"M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}"
    return Curve(path, label, (x1 + x2) // 2, (y1 + y2) // 2 - 4, of, origin)


def _columns(graph: Graph) -> dict[str, int]:
    """Each node's column: one behind the last of those it came from. Edges that close a cycle are left out."""
    origins: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        origins[edge.of].append(edge.origin)
    column: dict[str, int] = {}
    open_: set[str] = set()
    for id_ in graph.nodes:
        # A stack of its own: a lineage may be longer than Python's.
        stack = [(id_, iter(origins[id_]))]
        if id_ in column:
            continue
        open_.add(id_)
        while stack:
            at, rest = stack[-1]
            following = next((each for each in rest if each not in column and each not in open_), None)
            if following is not None:
                open_.add(following)
                stack.append((following, iter(origins[following])))
                continue
            column[at] = 1 + max((column[each] for each in origins[at] if each in column), default=-1)
            open_.discard(at)
            stack.pop()
    return _nearer(graph, column)


def _nearer(graph: Graph, column: dict[str, int]) -> dict[str, int]:
    """What came from nothing stands just before the first thing that came from it, not far off at the left."""
    fed = {edge.of for edge in graph.edges}
    near: dict[str, int] = {}
    for edge in graph.edges:
        if edge.origin not in fed:
            near[edge.origin] = min(near.get(edge.origin, column[edge.of] - 1), column[edge.of] - 1)
    return {**column, **{id_: max(0, number) for id_, number in near.items()}}


def _ordered(graph: Graph, column: dict[str, int]) -> list[list[str]]:
    columns: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for id_ in graph.nodes:
        columns[column[id_]].append(id_)
    beside: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        beside[edge.of].append(edge.origin)
        beside[edge.origin].append(edge.of)
    for sweep in range(SWEEPS):
        rank = {id_: row / max(len(each), 1) for each in columns for row, id_ in enumerate(each)}
        for each in columns if sweep % 2 == 0 else reversed(columns):
            means = {id_: _mean([rank[other] for other in beside[id_]], rank[id_]) for id_ in each}
            each.sort(key=means.__getitem__)
            rank.update({id_: row / max(len(each), 1) for row, id_ in enumerate(each)})
    return [each for each in columns if each]


def _mean(values: list[float], own: float) -> float:
    return sum(values) / len(values) if values else own
