"""A lineage as a tree of lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.governance.graph import Graph, Node
from mlflow_migration.report import visible

SHOWN = ("about", "model", "params", "metrics", "record", "gates", "approvals", "assessments")
"""The headings of facts that a terminal shows; tags are in the other formats."""
LONGEST = 100


def tree(graph: Graph, forward: bool = False) -> str:
    """The starts, each with what it came from below it (with `forward`: what came of it); a thing that was shown before
    is only named."""
    lines: list[str] = []
    seen: set[str] = set()
    for start in graph.starts:
        lines += _branch(graph, graph.nodes[start], seen, forward)
    if graph.missing:
        lines += ["", "not whole:"]
        lines += [f"  ! {_title(node)}: {visible(node.missing)}" for node in graph.missing]
    if graph.cut:
        lines += ["", f"not whole: {graph.cut}"]
    return "\n".join(lines)


def _branch(graph: Graph, start: Node, seen: set[str], forward: bool) -> Iterator[str]:
    # A stack of its own: a chain of parents may be longer than Python's.
    stack: list[tuple[Node, str, str, str]] = [(start, "", "", "")]
    while stack:
        node, label, before, after = stack.pop()
        known = node.id in seen
        seen.add(node.id)
        mark = f"{label}: " if label else ""
        yield f"{before}{mark}{_title(node)}" + (" (see above)" if known else "")
        if known:
            continue
        ways = list(graph.results(node.id) if forward else graph.origins(node.id))
        for line in _details(node):
            yield f"{after}{'│' if ways else ' '}    {line}"
        for number, (way, target) in reversed(list(enumerate(ways))):
            last = number == len(ways) - 1
            stack.append((target, way, after + ("└─ " if last else "├─ "), after + ("   " if last else "│  ")))


def _title(node: Node) -> str:
    place = f" [{visible(node.place)}]" if node.place else ""
    return f"{node.kind} {visible(node.name)}{place}" + (" (!)" if node.missing else "")


def _details(node: Node) -> Iterator[str]:
    if node.missing:
        yield f"! {visible(node.missing)}"
    for heading in SHOWN:
        if values := node.facts.get(heading):
            listed = ", ".join(f"{visible(key)}={_cut(visible(value))}" for key, value in values.items())
            yield f"{heading}: {listed}"
    if node.link:
        yield visible(node.link)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
