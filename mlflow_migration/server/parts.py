"""What a server is put together from. Which parts these are, its address decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from mlflow_migration.calls.access_lists import AccessListCalls
from mlflow_migration.calls.evaluation import EvaluationCalls
from mlflow_migration.calls.gateway import GatewayCalls
from mlflow_migration.calls.logged_models import LoggedModelCalls
from mlflow_migration.calls.mcp_servers import McpCalls
from mlflow_migration.calls.notebooks import NoNotebooks, NotebookCalls
from mlflow_migration.calls.registry import RegistryCalls
from mlflow_migration.calls.reviews import ReviewCalls
from mlflow_migration.calls.rights import RightsReads
from mlflow_migration.calls.traces import TraceCalls
from mlflow_migration.calls.users import UserCalls
from mlflow_migration.calls.webhooks import WebhookCalls
from mlflow_migration.calls.workspaces import WorkspaceCalls
from mlflow_migration.errors import ServerError
from mlflow_migration.places import Abilities, Root
from mlflow_migration.records import Broken, File, Json
from mlflow_migration.server import artifacts, pages
from mlflow_migration.server.evaluation import Evaluation
from mlflow_migration.server.features import Features
from mlflow_migration.server.gateway import Gateway
from mlflow_migration.server.histories import Histories
from mlflow_migration.server.logged_models import LoggedModels
from mlflow_migration.server.mcp_servers import McpServers
from mlflow_migration.server.registry import Registry
from mlflow_migration.server.rest import Rest
from mlflow_migration.server.reviews import Reviews
from mlflow_migration.server.rights import Rights
from mlflow_migration.server.traces import Traces
from mlflow_migration.server.users import Users
from mlflow_migration.server.webhooks import Webhooks
from mlflow_migration.server.workspaces import Workspaces


class FileCalls(Protocol):
    """The artifacts of runs, logged models, traces and versions, wherever they lie."""

    def files(self, root: Root) -> Iterator[File]: ...

    def walk(self, root: Root, folder: str, levels: int) -> Iterator[File]: ...

    def open_file(self, root: Root, path: str) -> AbstractContextManager[BinaryIO]: ...

    def put_file(self, root: Root, path: str, file: File) -> None: ...

    def cannot_hold(self, path: str) -> str: ...


class TrackingForms(Protocol):
    """What experiments and runs look like at a place: from the forms that all places share and back."""

    def search_body(self) -> Json: ...

    def name_out(self, name: str) -> str: ...

    def name_tags(self, name: str, renamed: bool = False) -> Mapping[str, str]: ...

    def is_called(self, head: Json, name: str) -> bool: ...

    def make_room(self, name: str) -> None: ...

    def taken(self, name: str, error: ServerError) -> None: ...

    def experiments_in(self, heads: Iterator[Json]) -> Iterator[Json]: ...

    def experiment_in(self, head: Json) -> Json: ...

    def run_in(self, head: Json) -> Json: ...

    def tag_out(self, key: str) -> str: ...

    def tags_out(self, tags: Mapping[str, str]) -> Mapping[str, str]: ...

    def run_out(self, info: Json, tags: Mapping[str, str]) -> tuple[Json, Mapping[str, str]]: ...

    def batches(self, batch: Json) -> Iterator[Json]: ...

    def out_of_reach(self, experiments: Callable[[], Iterator[Json]]) -> Sequence[Broken]: ...


@dataclass(frozen=True)
class Parts:
    """One answer for each area of a server. `connect` asks it what it is; raises AccessError, UsageError."""

    connect: Callable[[], Abilities]
    forms: TrackingForms
    histories: Histories
    files: FileCalls
    traces: TraceCalls
    models: LoggedModelCalls
    registry: RegistryCalls
    rights: RightsReads
    evaluation: EvaluationCalls
    reviews: ReviewCalls
    webhooks: WebhookCalls
    gateway: GatewayCalls
    mcp: McpCalls
    workspaces: WorkspaceCalls
    users: UserCalls
    access_lists: AccessListCalls | None
    notebooks: NotebookCalls = field(default_factory=NoNotebooks)


def parts_of(rest: Rest, folder: str) -> Parts:
    """The parts of the server a session speaks to. `folder`: where experiments whose names are no workspace paths go,
    "" for the caller's own."""
    if rest.dialect:
        # Imported here: databricks-sdk takes a while to load, and most places are none of its.
        from mlflow_migration.server.databricks.parts import databricks_parts

        return databricks_parts(rest, folder)
    return mlflow_parts(rest)


def mlflow_parts(rest: Rest) -> Parts:
    """Those of an open-source MLflow server."""
    features = Features(rest)
    files = ServerFiles(rest)
    return Parts(
        connect=lambda: Abilities(version=_version(rest)),
        forms=PlainForms(),
        histories=Histories(rest),
        files=files,
        traces=Traces(rest),
        models=LoggedModels(rest),
        registry=Registry(rest),
        rights=Rights(rest),
        evaluation=Evaluation(rest, features),
        reviews=Reviews(rest, features),
        webhooks=Webhooks(rest, features),
        gateway=Gateway(rest, features),
        mcp=McpServers(rest, features),
        workspaces=Workspaces(rest),
        users=Users(rest),
        access_lists=None,
    )


class ServerFiles:
    """Artifacts through the server's proxy or its own routes. Implements `FileCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def files(self, root: Root) -> Iterator[File]:
        return artifacts.list_files(self._rest, root)

    def walk(self, root: Root, folder: str, levels: int) -> Iterator[File]:
        return artifacts.walk(self._rest, root, folder, levels)

    def open_file(self, root: Root, path: str) -> AbstractContextManager[BinaryIO]:
        return artifacts.open_file(self._rest, root, path)

    def put_file(self, root: Root, path: str, file: File) -> None:
        artifacts.put_file(self._rest, root, path, file)

    def cannot_hold(self, path: str) -> str:
        return artifacts.unholdable(path)


class PlainForms:
    """Everything as MLflow's REST API has it, experiments of any name. Implements `TrackingForms`."""

    def search_body(self) -> Json:
        """The search for all experiments, by id."""
        return {"view_type": "ALL", "max_results": 1000, "order_by": ["experiment_id ASC"]}

    def name_out(self, name: str) -> str:
        return name

    def name_tags(self, name: str, renamed: bool = False) -> Mapping[str, str]:
        return {}

    def is_called(self, head: Json, name: str) -> bool:
        """What is found by a name has it."""
        return True

    def make_room(self, name: str) -> None:
        """Nothing has to be there before an experiment."""

    def taken(self, name: str, error: ServerError) -> None:
        """Nothing but an experiment can have an experiment's name."""

    def experiments_in(self, heads: Iterator[Json]) -> Iterator[Json]:
        return heads

    def experiment_in(self, head: Json) -> Json:
        return head

    def run_in(self, head: Json) -> Json:
        return head

    def tag_out(self, key: str) -> str:
        return key

    def tags_out(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        return tags

    def run_out(self, info: Json, tags: Mapping[str, str]) -> tuple[Json, Mapping[str, str]]:
        return info, tags

    def batches(self, batch: Json) -> Iterator[Json]:
        yield batch

    def out_of_reach(self, experiments: Callable[[], Iterator[Json]]) -> Sequence[Broken]:
        return ()


def _version(rest: Rest) -> str:
    pages.post(rest, pages.V2 + "experiments/search", {"max_results": 1, "view_type": "ALL"})
    try:
        version = rest.text("/version").strip()
    except ServerError:
        version = ""
    return version if re.fullmatch(r"\d+\.\d+[\w.+-]*", version) else ""
