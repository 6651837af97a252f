"""How the objects of one unit ended, counted while its rows go by; and which differing rows are to be written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from mlflow_migration.database.parts import Part
from mlflow_migration.database.rows import Difference, Stream
from mlflow_migration.errors import ConflictError

Counts = Counter[tuple[str, str]]
"""How many objects of a kind ended in a state."""
OF_EXPERIMENT = {
    "runs": "run",
    "logged_models": "logged_model",
    "trace_info": "trace",
    "scorers": "scorer",
    "issues": "issue",
    "label_schemas": "label_schema",
    "review_queues": "review_queue",
    "model_versions": "model_version",
}
"""The table with one row for each object of a kind, beside those that units are named after."""
LATER = ("step", "timestamp", "value")
"""The latest point of a metric is the one with the largest of these, in this order (MLflow's own rule)."""
KEPT = frozenset(
    {
        *("experiment_tags", "datasets", "label_schemas", "review_queues", "scorers"),
        *("registered_models", "registered_model_tags", "registered_model_aliases"),
        *("workspaces", "mcp_servers", "mcp_server_tags", "mcp_server_aliases", "secrets", "endpoints"),
        *("model_definitions", "endpoint_tags"),
    }
)
"""Tables of which a destination's rows stay as they are where objects are added to another one of the name."""
NUMBERED = frozenset({"model_versions", "scorer_versions", "mcp_server_versions"})


class Tally:
    """Counts the objects of one unit. `shared` says that the destination's own rows stay as they are."""

    def __init__(self, root: str, shared: bool = False) -> None:
        self._roots = {root, *OF_EXPERIMENT}
        self._shared = shared
        self._asked: Counter[str] = Counter()
        self._new: defaultdict[str, set[Any]] = defaultdict(set)
        self._touched: defaultdict[str, set[Any]] = defaultdict(set)
        self._whole: Counts = Counter()
        self.lost: list[tuple[str, str]] = []
        """What didn't go, table and key, and why."""

    def inserted(self, part: Part, count: int) -> None:
        """So many rows of a new unit were written."""
        if part.table in self._roots:
            self._whole[part.kind, "done"] += count

    def wanted(self, part: Part, stream: Stream, found: Iterator[Difference | None]) -> Iterator[Difference]:
        """The differing rows that are to be written. Raises ConflictError where two objects have one number."""
        names = [column.name for column in stream.columns]
        owner = [names.index(name) for name in part.owner]
        later = [names.index(name) for name in LATER] if part.table == "latest_metrics" else []
        for each in found:
            is_root = part.table in self._roots
            self._asked[part.kind] += is_root
            if each is None or not self._goes(part, each, later):
                continue
            whose = tuple(each.new[place] for place in owner)
            (self._new if is_root and each.old is None else self._touched)[part.kind].add(whose)
            yield each

    def _goes(self, part: Part, each: Difference, later: list[int]) -> bool:
        if each.old is None:
            return True
        if later:
            return [each.new[place] for place in later] > [each.old[place] for place in later]
        if self._shared and part.table in NUMBERED:
            raise ConflictError("a version of that number is another one there", f"{part.table} {each.new[:3]}")
        if self._shared and part.table == "experiments":
            # Its own times and place.
            return False
        if self._shared and part.table in KEPT:
            self.lost.append((f"{part.table} {list(each.old[:2])}", "the destination has another value, which is kept"))
            return False
        return True

    def counts(self) -> Counts:
        """What became of each object so far."""
        result: Counts = Counter(self._whole)
        for kind, asked in self._asked.items():
            if not asked:
                # Rows beside objects that have been counted.
                continue
            new = len(self._new[kind])
            updated = len(self._touched[kind] - self._new[kind])
            for state, count in (("done", new), ("updated", updated), ("same", asked - new - updated)):
                if count:
                    result[kind, state] += count
        return result
