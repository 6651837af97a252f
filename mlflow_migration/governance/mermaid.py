"""A lineage as a Mermaid flowchart, fit for a page of Markdown."""

from __future__ import annotations

from mlflow_migration.governance.graph import Graph, Node

PLAIN = frozenset(" _.,/@:=+-()!")
LONGEST = 80


def flowchart(graph: Graph) -> str:
    """The graph with its origins at the left. Names are data: what could end a label or be markup is written as
    Mermaid's entity codes."""
    short = {id_: f"n{number}" for number, id_ in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for id_, node in graph.nodes.items():
        style = "missing" if node.missing else node.kind.replace(" ", "_")
        lines.append(f'  {short[id_]}["{_label(node)}"]:::{style}')
    for edge in graph.edges:
        lines.append(f'  {short[edge.origin]} -->|"{_plain(edge.label)}"| {short[edge.of]}')
    if starts := ",".join(short[id_] for id_ in graph.starts):
        lines.append("  classDef start stroke-width:4px")
        lines.append(f"  class {starts} start")
    lines.append("  classDef missing stroke:#cf222e,stroke-dasharray:5 4")
    return "\n".join(lines)


def _label(node: Node) -> str:
    place = f" @ {node.place}" if node.place else ""
    missing = f"<br/>! {_plain(node.missing)}" if node.missing else ""
    return f"{_plain(node.kind)}<br/>{_plain(node.name + place)}{missing}"


def _plain(text: str) -> str:
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return "".join(char if _is_plain(char) else f"#{ord(char)};" if char.isprintable() else " " for char in cut)


def _is_plain(char: str) -> bool:
    return char in PLAIN or char.isalnum()
