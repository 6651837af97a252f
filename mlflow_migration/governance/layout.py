"""Where the nodes of a graph stand when it is drawn: in columns, origins at the left, edges seldom crossing.

An edge over several columns has a lane of its own through those between, so that it goes past nodes, not behind them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlflow_migration.governance.graph import Edge, Graph

WIDTH, HEIGHT = 230, 58
"""Of a node, in pixels."""
GAP_X, GAP_Y, MARGIN = 120, 22, 24
LANE = 14
"""The height of an edge that goes through a column."""
SWEEPS = 6
"""Rounds in which each column is ordered by its neighbours: more change little."""
Place = str | tuple[int, int]
"""What stands in a column: a node by its id, or the lane of an edge by its number and the column's."""


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
    column = _columns(graph)
    columns = _ordered(graph, column)
    height = max((_height(each) for each in columns), default=0) + 2 * MARGIN
    tops: dict[Place, tuple[int, int]] = {}
    for number, each in enumerate(columns):
        y = (height - _height(each)) // 2
        for place in each:
            tops[place] = (MARGIN + number * (WIDTH + GAP_X), y)
            y += _size(place) + GAP_Y
    curves = tuple(_curve(number, edge, column, tops) for number, edge in enumerate(graph.edges))
    width = 2 * MARGIN + max(len(columns), 1) * (WIDTH + GAP_X) - GAP_X
    corners = {place: corner for place, corner in tops.items() if isinstance(place, str)}
    return Drawing(corners, curves, width, height, tuple(corners))


def _size(place: Place) -> int:
    return HEIGHT if isinstance(place, str) else LANE


def _height(column: Sequence[Place]) -> int:
    return sum(_size(place) + GAP_Y for place in column) - GAP_Y


def _between(edge: Edge, column: Mapping[str, int]) -> range:
    """The columns an edge goes through."""
    return range(column[edge.origin] + 1, column[edge.of])


def _curve(number: int, edge: Edge, column: Mapping[str, int], tops: Mapping[Place, tuple[int, int]]) -> Curve:
    (left, top), (right, bottom) = tops[edge.origin], tops[edge.of]
    points = [(left + WIDTH, top + HEIGHT // 2)]
    for at in _between(edge, column):
        x, y = tops[number, at]
        points += [(x, y + LANE // 2), (x + WIDTH, y + LANE // 2)]
    points.append((right, bottom + HEIGHT // 2))
    path = f"M{points[0][0]},{points[0][1]}"
    for step, ((x1, y1), (x2, y2)) in enumerate(pairwise(points)):
        bend = max(GAP_X // 2, abs(x2 - x1) // 2)
        # Every second part goes straight through a column.
        path += f" L{x2},{y2}" if step % 2 else f" C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}"
    (x1, y1), (x2, y2) = points[-2:]
    return Curve(path, edge.label, (x1 + x2) // 2, (y1 + y2) // 2 - 4, edge.of, edge.origin)


def _columns(graph: Graph) -> dict[str, int]:
    """Each node's column: one behind the last of those it came from. Edges that close a cycle are left out."""
    origins: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        origins[edge.of].append(edge.origin)
    column: dict[str, int] = {}
    open_: set[str] = set()
    for id_ in graph.nodes:
        if id_ in column:
            continue
        # A stack of its own: a lineage may be longer than Python's.
        stack = [(id_, iter(origins[id_]))]
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
    return _dense(_nearer(graph, column))


def _nearer(graph: Graph, column: dict[str, int]) -> dict[str, int]:
    """What came from nothing stands just before the first thing that came from it, not far off at the left."""
    fed = {edge.of for edge in graph.edges}
    near: dict[str, int] = {}
    for edge in graph.edges:
        if edge.origin not in fed:
            near[edge.origin] = min(near.get(edge.origin, column[edge.of] - 1), column[edge.of] - 1)
    return {**column, **near}


def _dense(column: Mapping[str, int]) -> dict[str, int]:
    """The columns counted from 0, empty ones left out."""
    numbers = {old: new for new, old in enumerate(sorted(set(column.values())))}
    return {id_: numbers[old] for id_, old in column.items()}


def _ordered(graph: Graph, column: Mapping[str, int]) -> list[list[Place]]:
    columns: list[list[Place]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for id_ in graph.nodes:
        columns[column[id_]].append(id_)
    beside: dict[Place, list[Place]] = defaultdict(list)
    for number, edge in enumerate(graph.edges):
        lanes: list[Place] = [(number, at) for at in _between(edge, column)]
        for at, lane in zip(_between(edge, column), lanes, strict=True):
            columns[at].append(lane)
        chain: list[Place] = [edge.origin, *lanes, edge.of]
        for one, other in pairwise(chain):
            beside[one].append(other)
            beside[other].append(one)
    for sweep in range(SWEEPS):
        rank = {place: (row + 0.5) / len(each) for each in columns for row, place in enumerate(each)}
        for each in columns if sweep % 2 == 0 else reversed(columns):
            means = {place: _mean((rank[other] for other in beside[place]), rank[place]) for place in each}
            each.sort(key=means.__getitem__)
            rank.update({place: (row + 0.5) / len(each) for row, place in enumerate(each)})
    return columns


def _mean(values: Iterable[float], own: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else own
