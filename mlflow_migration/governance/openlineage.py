"""A lineage as OpenLineage events, one a line, as a backend takes them by `POST /api/v1/lineage`.

Form: https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent. A run of MLflow is a run of a job; a promotion
or copy is one too, which takes a version at one place and gives one at another. Datasets, models, logged models and
prompts are datasets, in the namespace of their place.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from mlflow_migration.governance import graph as kinds
from mlflow_migration.governance.environments import Environments
from mlflow_migration.governance.graph import Graph, Node
from mlflow_migration.governance.made_by import tool_version
from mlflow_migration.records import Json

PRODUCER = f"https://pypi.org/project/mlflow-migration/{tool_version()}"
SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
PARENT = "https://openlineage.io/spec/facets/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet"
CODE = "https://openlineage.io/spec/facets/1-0-1/SourceCodeLocationJobFacet.json#/$defs/SourceCodeLocationJobFacet"
DATA = (kinds.VERSION, kinds.PROMPT, kinds.LOGGED_MODEL, kinds.DATASET, kinds.FILES)
COPY = "copy of"
ENDED = {"FINISHED": "COMPLETE", "FAILED": "FAIL", "KILLED": "ABORT", "RUNNING": "RUNNING", "SCHEDULED": "START"}
"""MLflow's states of a run, as events."""
UNKNOWN = "1970-01-01T00:00:00Z"
"""The time of an event whose own time isn't recorded anywhere: the form needs one."""


@dataclass(frozen=True)
class _Writer:
    """Makes the events of one graph."""

    graph: Graph
    environments: Environments

    def events(self) -> Iterator[Json]:
        for node in self.graph.nodes.values():
            if node.kind == kinds.RUN:
                yield self._of_run(node)
        for edge in self.graph.edges:
            of, origin = self.graph.nodes[edge.of], self.graph.nodes[edge.origin]
            if edge.label == COPY and of.kind in DATA and origin.kind in DATA:
                yield self._of_copy(of, origin)

    def _of_run(self, node: Node) -> Json:
        about = node.facts.get("about", {})
        inputs = [origin for _, origin in self.graph.origins(node.id) if origin.kind in DATA]
        outputs = [of for label, of in self.graph.results(node.id) if of.kind in DATA and label != "evaluated by"]
        facets = {"mlflow": _facet(self._shown(node), "RunFacet")}
        parents = [origin for label, origin in self.graph.origins(node.id) if label == "child of"]
        if parents:
            facets["parent"] = {
                "_producer": PRODUCER,
                "_schemaURL": PARENT,
                "run": {"runId": self._run_id(parents[0])},
                "job": self._job(parents[0]),
            }
        job: Json = self._job(node)
        commit = next((origin for _, origin in self.graph.origins(node.id) if origin.kind == kinds.COMMIT), None)
        if commit is not None and (url := commit.facts.get("about", {}).get("repository")):
            where = {"type": "git", "url": url, "version": commit.name}
            job["facets"] = {"sourceCodeLocation": {"_producer": PRODUCER, "_schemaURL": CODE, **where}}
        when = about.get("ended") or about.get("started") or ""
        run = {"runId": self._run_id(node), "facets": facets}
        return self._event(ENDED.get(about.get("status", ""), "OTHER"), when, (run, job), (inputs, outputs))

    def _of_copy(self, of: Node, origin: Node) -> Json:
        run = {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._name(origin)} {self._name(of)}"))}
        job = {"namespace": self._space(of), "name": f"promotion of {of.name}"}
        when = of.facts.get("about", {}).get("registered here", "")
        return self._event("COMPLETE", when, (run, job), ([origin], [of]))

    def _event(self, type_: str, when: str, what: tuple[Json, Json], data: tuple[list[Node], list[Node]]) -> Json:
        return {
            "eventType": type_,
            "eventTime": _time(when),
            "run": what[0],
            "job": what[1],
            "inputs": [self._dataset(node) for node in data[0]],
            "outputs": [self._dataset(node) for node in data[1]],
            "producer": PRODUCER,
            "schemaURL": f"{SPEC}#/$defs/RunEvent",
        }

    def _dataset(self, node: Node) -> Json:
        facet = _facet(self._shown(node), "DatasetFacet")
        return {"namespace": self._space(node), "name": f"{node.kind}/{node.name}", "facets": {"mlflow": facet}}

    def _job(self, node: Node) -> Json:
        experiment = node.facts.get("about", {}).get("experiment", "")
        return {"namespace": self._space(node), "name": experiment or node.name}

    def _space(self, node: Node) -> str:
        if node.kind == kinds.DATASET:
            about = node.facts.get("about", {})
            return about.get("source_type") or "dataset"
        return self.environments.address_of(node.place) or node.place or "unknown"

    def _name(self, node: Node) -> str:
        return f"{self._space(node)} {node.id}"

    def _run_id(self, node: Node) -> str:
        """MLflow's own id as the UUID it is; one made from it where a server's ids aren't."""
        text = node.id.rpartition("|")[2]
        try:
            return str(uuid.UUID(text))
        except ValueError:
            return str(uuid.uuid5(uuid.NAMESPACE_URL, self._name(node)))

    def _shown(self, node: Node) -> Json:
        facts = {heading: dict(values) for heading, values in node.facts.items()}
        return {
            "kind": node.kind,
            "environment": node.place,
            "link": node.link,
            "missing": node.missing,
            "facts": facts,
        }


def lines(graph: Graph, environments: Environments) -> str:
    """The events, each as one line of JSON. What is missing has it in its facet `mlflow`."""
    return "\n".join(json.dumps(event, ensure_ascii=False) for event in _Writer(graph, environments).events())


def _facet(values: Json, form: str) -> Json:
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}#/$defs/{form}", **values}


def _time(text: str) -> str:
    """A moment as facts show it, in the form of RFC 3339."""
    try:
        found = datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=timezone.utc)
    except ValueError:
        return UNKNOWN
    return found.isoformat().replace("+00:00", "Z")
