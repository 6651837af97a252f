"""Pages of HTML that stand alone: no request goes out, nothing in a name or tag is markup or script.

Values go through jinja2's autoescape. The page's policy lets run only the one script and the one style that are in it,
known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from mlflow_migration.governance import layout
from mlflow_migration.governance.graph import Graph, Node

FOLDER = Path(__file__).with_name("pages")
NAME_LENGTH, KIND_LENGTH = 25, 32
"""Characters that fit into a node."""


def render(template: str, title: str, **values: Any) -> str:
    """A page from one of the templates; raises jinja2's UndefinedError for a value that wasn't given."""
    style, script = _text("page.css"), _text("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    own = {"style": style, "script": script, "policy": policy}
    return _environment().get_template(template).render(title=title, **own, **values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def lineage(graph: Graph, title: str, when: str) -> str:
    """A lineage drawn: nodes that a keyboard reaches, and the facts of each."""
    drawing = layout.draw(graph)
    number = {id_: position for position, id_ in enumerate(drawing.order)}
    nodes = [_shown(graph, graph.nodes[id_], number, drawing) for id_ in drawing.order]
    curves = [{**vars(curve), "of": number[curve.of], "origin": number[curve.origin]} for curve in drawing.curves]
    kinds = sorted({node.kind for node in graph.nodes.values()})
    return render(
        "lineage.html",
        title,
        nodes=nodes,
        curves=curves,
        drawing=drawing,
        box={"width": layout.WIDTH, "height": layout.HEIGHT},
        kinds=[{"name": kind, "style": _style(kind)} for kind in kinds],
        cut=graph.cut,
        missing=[{"number": number[node.id], "name": node.name, "why": node.missing} for node in graph.missing],
        when=when,
    )


def _shown(graph: Graph, node: Node, number: dict[str, int], drawing: layout.Drawing) -> dict[str, Any]:
    x, y = drawing.corners[node.id]
    return {
        "number": number[node.id],
        "kind": node.kind,
        "style": _style(node.kind)
        + (" missing" if node.missing else "")
        + (" start" if node.id in graph.starts else ""),
        "name": node.name,
        "place": node.place,
        "short": _cut(node.name, NAME_LENGTH),
        "line": _cut(node.kind + (f" · {node.place}" if node.place else ""), KIND_LENGTH),
        "x": x,
        "y": y,
        "link": node.link,
        "missing": node.missing,
        "facts": node.facts,
        "origins": [(label, number[origin.id], origin.name, origin.kind) for label, origin in graph.origins(node.id)],
        "results": [(label, number[of.id], of.name, of.kind) for label, of in graph.results(node.id)],
    }


def _style(kind: str) -> str:
    return "kind-" + kind.replace(" ", "-")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
