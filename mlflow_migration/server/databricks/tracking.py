"""What experiments and runs look like in a workspace, and what they are called for everyone else.

An experiment's name is a workspace path there. One that came under another name goes into a folder, keeps its name as
the end of its path, and shows it again. Tags that the platform sets itself, and so refuses, travel as tags of this tool
and are shown as what they were; the user of a run likewise, whom Databricks takes from the credentials.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from mlflow_migration.errors import ConflictError, ServerError
from mlflow_migration.records import ORIGIN, Broken, Json, pairs_of, tags_of
from mlflow_migration.server.databricks import workspace_files
from mlflow_migration.server.rest import Rest

SET_BY_PLATFORM = frozenset(
    {
        "mlflow.user",
        "mlflow.log-model.history",
        "mlflow.rootRunId",
        "mlflow.experiment.sourceType",
        "mlflow.experiment.sourceId",
        "mlflow.experiment.sourceName",
        "mlflow.experimentType",
        "mlflow.ownerId",
        "mlflow.ownerEmail",
    }
)
"""Tags that "cannot or should not be set" on Databricks by what mlflow-export-import's users found out over the years,
and those of an experiment's owner and kind."""
LINKED = "mlflow.experiment.databricks"
"""How the tags begin that tie an experiment to tables of its own workspace (mlflow 3.17.2, `mlflow_tags.py`)."""
TRACES_AT = LINKED + "TraceDestinationPath"
IN_TABLES = "they are in tables of Unity Catalog ({}), which this tool doesn't read"
KEPT = ORIGIN + "tag."
USER = ORIGIN + "user_id"
SOURCE = ORIGIN + "source"
NAME = ORIGIN + "name"
"""On an experiment whose name is no path: what it is called elsewhere, which its path ends with."""
PATH = ORIGIN + "workspace_path"
"""Shown, and never sent: where an experiment is that is shown by another name."""
EXPERIMENTS_PER_PAGE = 1000
MOST_BYTES = 900_000
"""Of a `log-batch`: Databricks takes 1 MB (its own reference of that route)."""
CODE = "%"
NO_PART = {"": CODE, ".": "%2E", "..": "%2E%2E"}


class WorkspaceTracking:
    """The experiments and runs of one workspace. Implements `TrackingForms`."""

    def __init__(self, rest: Rest, folder: str) -> None:
        self._rest = rest
        self.folder = folder
        self._made: set[str] = set()
        self._in_tables: dict[str, str] | None = None
        self._lock = threading.Lock()

    def search_body(self) -> Json:
        """The search for all experiments; Databricks orders them by name or last change only (its own reference)."""
        return {"view_type": "ALL", "max_results": EXPERIMENTS_PER_PAGE, "order_by": ["name ASC"]}

    def name_out(self, name: str) -> str:
        """The workspace path of an experiment that is called so elsewhere."""
        return name if name.startswith("/") else f"{self.folder}/{_path_of(name)}"

    def name_tags(self, name: str, renamed: bool = False) -> dict[str, str]:
        """The tags that an experiment of this name gets, for it to be shown by it. A path needs none, but in place of
        that of the name before."""
        return {} if name.startswith("/") and not renamed else {NAME: name}

    def is_called(self, head: Json, name: str) -> bool:
        """Whether the experiment at the path of a name, as it is shown, is the one of that name: `x` and the path that
        `x` has come to may be two experiments where they come from."""
        return head["name"] == name or SOURCE not in tags_of(head.get("tags"))

    def make_room(self, name: str) -> None:
        """Make the folders above an experiment. Raises ConflictError where something else is in the way."""
        parent = workspace_files.parent_of(self.name_out(name))
        with self._lock:
            if parent not in self._made and parent != "/":
                workspace_files.mkdirs(self._rest, parent)
                self._made.add(parent)

    def taken(self, name: str, error: ServerError) -> None:
        """Raises ConflictError where a name is taken by what is no experiment of that name."""
        found = workspace_files.status(self._rest, self.name_out(name))
        if found:
            what = str(found.get("object_type", "something else")).lower()
            hint = "give it another name with --rename, or another folder with --dst-experiment-dir"
            raise ConflictError(f"another {what} is at {self.name_out(name)}", error.why, hint) from error

    def experiments_in(self, heads: Iterator[Json]) -> Iterator[Json]:
        """All experiments by id, each once: one that is renamed between two pages may come twice."""
        found = {str(head["experiment_id"]): head for head in heads}
        return (self.experiment_in(found[id_]) for id_ in sorted(found, key=lambda id_: (len(id_), id_)))

    def experiment_in(self, head: Json) -> Json:
        """An experiment as it is shown: under the name and with the tags it came with."""
        tags = tags_of(head.get("tags"))
        if self._in_tables is not None and TRACES_AT in tags:
            self._in_tables[str(head["experiment_id"])] = tags[TRACES_AT]
        shown = _shown(tags)
        name, path = tags.get(NAME, ""), str(head["name"])
        found = {**head, "tags": pairs_of(shown)}
        if name and path.endswith("/" + _path_of(name)):
            found.update({"name": name, "tags": pairs_of({**shown, PATH: path})})
        return found

    def batches(self, batch: Json) -> Iterator[Json]:
        """What is logged at once, in requests that Databricks takes; tags last, as within one request."""
        items = [(key, item) for key in ("params", "metrics", "tags") for item in batch.get(key, ())]
        if len(items) == 1 or len(json.dumps(batch)) <= MOST_BYTES:
            yield batch
            return
        for part in (items[: len(items) // 2], items[len(items) // 2 :]):
            whole: Json = {}
            for key, item in part:
                whole.setdefault(key, []).append(item)
            yield from self.batches(whole)

    def out_of_reach(self, experiments: Callable[[], Iterator[Json]]) -> Sequence[Broken]:
        """Traces in tables of Unity Catalog, one for each experiment that is tied to some. Looked for once."""
        if self._in_tables is None:
            self._in_tables = {}
            deque(experiments(), maxlen=0)  # Each is looked at as it comes in.
        return [
            Broken("trace", "*", f"those of experiment {id_}", "unsupported", IN_TABLES.format(place), "trace", id_)
            for id_, place in sorted(self._in_tables.items())
        ]

    def run_in(self, head: Json) -> Json:
        """A run as it is shown: with the user and the tags it came with."""
        tags = tags_of(head["data"].get("tags"))
        user = tags.pop(USER, None)
        info = head["info"] if user is None else {**head["info"], "user_id": user}
        return {**head, "info": info, "data": {**head["data"], "tags": pairs_of(_shown(tags))}}

    def tag_out(self, key: str) -> str:
        """The tag that holds what one of this name does elsewhere."""
        return KEPT + key if _is_set_by_platform(key) else key

    def tags_out(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {self.tag_out(key): value for key, value in tags.items() if key != PATH}

    def run_out(self, info: Json, tags: Mapping[str, str]) -> tuple[Json, dict[str, str]]:
        """What makes a run: its info and tags."""
        info = dict(info)
        user = info.pop("user_id", None)
        return info, {**self.tags_out(tags), **({} if user is None else {USER: user})}


def _path_of(name: str) -> str:
    """A name as a path below a folder, each name's own: parts that no path can have go by their codes, and those that
    look like a code by one too."""
    return "/".join("%25" + part[1:] if part.startswith(CODE) else NO_PART.get(part, part) for part in name.split("/"))


def _shown(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as they came. What the platform set on a thing that came from elsewhere is none of its own."""
    arrived = SOURCE in tags
    own = {key: value for key, value in tags.items() if not key.startswith(KEPT)}
    if arrived:
        own = {key: value for key, value in own.items() if not _is_set_by_platform(key)}
    return {**own, **{key.removeprefix(KEPT): value for key, value in tags.items() if key.startswith(KEPT)}}


def _is_set_by_platform(key: str) -> bool:
    return key in SET_BY_PLATFORM or key.startswith(LINKED)
