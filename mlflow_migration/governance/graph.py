"""A lineage as values: things, and what each of them came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlflow_migration.records import Json

VERSION = "model version"
PROMPT = "prompt version"
RUN = "run"
LOGGED_MODEL = "logged model"
DATASET = "dataset"
COMMIT = "git commit"
CODE = "notebook or script"
TRACES = "traces"
PROMOTION = "promotion"
FILES = "files"

UNGIVEN = "its place wasn't given"
SHUT = "its place can't be asked"
UNREAD = "it can't be read"
"""How `missing` begins where a thing may well be there."""

Facts = Mapping[str, Mapping[str, str]]
"""Headings, each with names and values, as a person reads them."""


@dataclass(frozen=True)
class Ref:
    """Something to look at: an object of a kind at an environment."""

    kind: str
    place: str
    id: str

    @property
    def key(self) -> str:
        """The node's id: the same thing is met by many ways and drawn once."""
        return f"{self.kind}|{self.place}|{self.id}"


@dataclass(frozen=True)
class Node:
    """One thing of a lineage.

    `place` is the name of its environment; `link` an address of MLflow's pages, "" where there is none. `missing` says
    why it, or what it came from, isn't shown: the lineage is then not whole.
    """

    id: str
    kind: str
    name: str
    place: str = ""
    facts: Facts = field(default_factory=dict)
    link: str = ""
    missing: str = ""

    def as_json(self) -> Json:
        """The node in the document of `--format json`."""
        found = {"id": self.id, "kind": self.kind, "name": self.name, "environment": self.place}
        return {
            **found,
            "link": self.link,
            "missing": self.missing,
            "facts": {key: dict(part) for key, part in self.facts.items()},
        }


@dataclass(frozen=True)
class Edge:
    """`of` came from `origin`, by way of `label`."""

    of: str
    origin: str
    label: str


@dataclass(frozen=True)
class Graph:
    """A whole lineage. `starts` are the nodes that were asked for; `cut` says where the walk stopped, if it did."""

    starts: tuple[str, ...]
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    cut: str = ""

    @property
    def missing(self) -> tuple[Node, ...]:
        """What couldn't be shown."""
        return tuple(node for node in self.nodes.values() if node.missing)

    @property
    def whole(self) -> bool:
        """Whether every link led somewhere."""
        return not self.missing and not self.cut

    def origins(self, id_: str) -> Iterator[tuple[str, Node]]:
        """What a node came from, each with the label of the way."""
        return ((edge.label, self.nodes[edge.origin]) for edge in self.edges if edge.of == id_)

    def results(self, id_: str) -> Iterator[tuple[str, Node]]:
        """What came from a node."""
        return ((edge.label, self.nodes[edge.of]) for edge in self.edges if edge.origin == id_)

    def as_json(self) -> Json:
        """The document of `--format json`."""
        return {
            "starts": list(self.starts),
            "whole": self.whole,
            "cut": self.cut,
            "nodes": [node.as_json() for node in self.nodes.values()],
            "edges": [{"of": edge.of, "origin": edge.origin, "label": edge.label} for edge in self.edges],
        }


class Growing:
    """A graph while it is walked. Nodes keep the order they were met in; of two edges between the same two nodes the
    first stays, whichever way the second points: what took part in making a thing isn't made from it."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._edges: dict[frozenset[str], Edge] = {}

    def add(self, node: Node) -> None:
        """Put a node in; one that is there already stays."""
        self.nodes.setdefault(node.id, node)

    def join(self, of: str, origin: str, label: str) -> None:
        """Say that `of` came from `origin`."""
        if of != origin:
            self._edges.setdefault(frozenset((of, origin)), Edge(of, origin, label))

    def done(self, starts: tuple[str, ...], cut: str = "") -> Graph:
        """The graph as a value."""
        return Graph(starts, dict(self.nodes), tuple(self._edges.values()), cut)
