"""The lineage of a model: walked back to what made it, or forward from what it was made of, and drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlflow_migration.errors import DONE, INCOMPLETE
from mlflow_migration.governance import forward, made_by, mermaid, openlineage, page, text, walk
from mlflow_migration.governance.environments import Environments
from mlflow_migration.governance.graph import Graph
from mlflow_migration.records import Json


@dataclass(frozen=True)
class Lineage:
    """A walked graph, and how it came about. `forward`: from origins to results."""

    graph: Graph
    environments: Environments
    asked: str
    forward: bool = False

    @property
    def exit_code(self) -> int:
        """Non-zero where something is missing."""
        return DONE if self.graph.whole else INCOMPLETE

    def as_json(self) -> Json:
        """The document of `--format json`."""
        names = [*self.environments.open, *self.environments.shut]
        places = {name: self.environments.address_of(name) for name in dict.fromkeys(names)}
        return {"asked": self.asked, "forward": self.forward, "environments": places, **self.graph.as_json()}


def back(environments: Environments, place: str, model: str, limit: int) -> Lineage:
    """Where `MODEL`, `MODEL/VERSION` or `MODEL@ALIAS` of an environment comes from. Raises NotFoundError."""
    starts = walk.start_of(environments, place, model)
    return Lineage(walk.back(environments, starts, limit), environments, model)


def ahead(environments: Environments, start: str, limit: int) -> Lineage:
    """What was made from `run:ID`, `dataset:NAME` and so on. Raises UsageError, NotFoundError."""
    found = forward.forward(environments, forward.parse(start), limit)
    return Lineage(found, environments, start, forward=True)


def _page(found: Lineage) -> str:
    title = f"What came of {found.asked}" if found.forward else f"Where {found.asked} comes from"
    return page.lineage(found.graph, title, made_by.line())


FORMATS: Mapping[str, Callable[[Lineage], str]] = {
    "text": lambda found: text.tree(found.graph, found.forward),
    "json": lambda found: json.dumps(found.as_json(), indent=1, ensure_ascii=False),
    "mermaid": lambda found: mermaid.flowchart(found.graph),
    "openlineage": lambda found: openlineage.lines(found.graph, found.environments),
    "html": _page,
}
"""How a lineage is drawn."""
