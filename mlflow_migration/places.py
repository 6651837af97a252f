"""The seams between places, kinds and the loop."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeVar

from mlflow_migration.records import File, Files, Json, Record, Rows, Written

T = TypeVar("T")


@dataclass(frozen=True)
class Abilities:
    """What a place can do, as found by asking it. `version` is MLflow's, "" where it doesn't tell."""

    version: str = ""
    bulk_history: bool = True
    keeps_ids: bool = False
    keeps_times: bool = False
    proxied_artifacts: bool = True

    def before(self, version: str) -> bool:
        """Whether it is known to be an older MLflow than `version`, given as "3.4"."""
        return bool(self.version) and _numbers(self.version) < _numbers(version)


def _numbers(version: str) -> list[int]:
    """The first two numbers of a version."""
    return [int(part) for part in re.findall(r"\d+", version)[:2]]


@dataclass(frozen=True)
class Versions:
    """Which versions of the chosen models or prompts are asked for: all that meet each of these, where given.

    `numbers`: exact ones. `stages`: in one of them, in any case. `latest`: the highest number of each stage only.
    `ids`: exact ones of exact models, `NAME/NUMBER`.
    """

    numbers: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    latest: bool = False
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What of a place is asked for.

    `kinds`: empty for all. `experiments`: names, ids or globs, empty for all.
    `models`, `prompts`: names or globs, empty for all; `versions` of them.
    `logged_models`, `traces`: ids, empty for all. `datasets`: names, ids or globs of evaluation datasets.
    With `needed` what the chosen versions were made of comes along; with `all_runs` every run of those experiments.
    Times are ms since 1970 UTC, compared with a run's start.
    `files` is "copy", "skip" or "reference"; `max_file` is in bytes.
    With `permissions` a whole server's users, roles and their permissions too.
    """

    experiments: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    filter: str = ""
    since: int | None = None
    until: int | None = None
    deleted: bool = True
    nested: bool = False
    files: str = "copy"
    max_file: int | None = None
    models: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    versions: Versions = Versions()
    logged_models: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    needed: bool = False
    all_runs: bool = False
    permissions: bool = False

    def takes(self, kind: str) -> bool:
        """Whether objects of a kind are asked for."""
        return not self.kinds or kind in self.kinds

    def files_of(self, files: Files) -> Iterator[File]:
        """The artifacts asked for; one that is too large comes without its bytes."""
        if self.files != "copy":
            return
        for file in files():
            if self.max_file is not None and file.size > self.max_file and not file.problem:
                reason = f"{file.size} bytes, more than --max-artifact-size {self.max_file}"
                yield File(file.path, file.size, problem=reason, wanted=False)
            else:
                yield file


NAMED = ("experiment", "registered_model", "prompt", "evaluation_dataset")
"""The kinds whose names a person may change on the way."""
FAIL, SKIP, NEW_NAME, UPDATE = "fail", "skip", "new-name", "update"
POLICIES = (SKIP, FAIL, NEW_NAME, UPDATE)
"""What to do where a destination has a thing of the same name that didn't come from this source; "" for each kind's
own way: experiments are added to, models and prompts fail unless they are equal."""


@dataclass(frozen=True)
class Names:
    """What things are called at a destination.

    `new` maps (kind, name at the source) to a name, kind "" meaning every kind. `prefix` goes before all names, new
    ones too. `typed` are the keys of `new` that a person typed one by one, so that each has to be met. `into` is the
    one experiment that everything goes into, whatever experiment it comes from.
    """

    new: Mapping[tuple[str, str], str] = field(default_factory=dict)
    prefix: str = ""
    typed: frozenset[tuple[str, str]] = frozenset()
    into: str = ""

    def of(self, kind: str, name: str) -> str:
        """The name at the destination; kinds that can't be renamed keep theirs."""
        if kind not in NAMED:
            return name
        if kind == "experiment" and self.into:
            return self.prefix + self.into
        return self.prefix + self.new.get((kind, name), self.new.get(("", name), name))

    def names(self, kind: str, name: str) -> bool:
        """Whether a person gave this very thing a new name."""
        return (kind, name) in self.new or ("", name) in self.new or (kind == "experiment" and bool(self.into))

    def as_json(self) -> Json:
        return {"new": sorted([*key, name] for key, name in self.new.items()), "prefix": self.prefix, "into": self.into}


SAME_NAMES = Names()


@dataclass(frozen=True)
class Adding:
    """Versions are added to a destination's own model under its next numbers, not kept under theirs.

    `create`: the model is made where it isn't there. `metadata`: it takes description and tags of the source's model.
    `aliases`: the versions take stages and aliases.
    """

    create: bool = False
    metadata: bool = False
    aliases: bool = False


@dataclass(frozen=True)
class Writing:
    """How objects are to be written. `on_conflict` is one of POLICIES or "";
    with `checksum` artifacts that are there already are compared byte for byte, not only by their size;
    objects of the kinds in `replace` that have the name at the destination are deleted first."""

    source: str
    names: Names = SAME_NAMES
    lineage: bool = False
    source_user: bool = True
    dry_run: bool = False
    checksum: bool = False
    on_conflict: str = ""
    replace: frozenset[str] = frozenset()
    adding: Adding | None = None


@dataclass
class Found:
    """A run a destination already has. `digest` is what it was completed with, "" for a half-made one."""

    id: str
    digest: str
    deleted: bool
    itself: bool = False


class Ids(Protocol):
    """What of the source the destination has, and under which id."""

    def get(self, kind: str, source_id: str) -> str | None: ...

    def earlier(self, kind: str, source_id: str) -> str | None: ...

    def put(self, kind: str, source_id: str, destination_id: str) -> None: ...

    def made(self, experiment_id: str, source_id: str) -> None: ...

    def find_experiment(self, source: str, source_id: str) -> Json | None: ...

    def find_run(self, experiment_id: str, source_id: str, root: str) -> Found | None: ...

    def locate_run(self, source_id: str) -> str | None: ...

    def reopen(self, experiment_id: str, will_delete: bool) -> None: ...

    def is_deleted(self, experiment_id: str) -> bool: ...

    def has_foreign_runs(self, experiment_id: str) -> bool: ...

    def is_other_dataset(self, experiment_id: str, dataset: Json) -> bool: ...

    def once(self, key: str, load: Callable[[], T]) -> T: ...


@dataclass(frozen=True)
class Root:
    """Where one object's artifacts live: `kind` and `id` of the object, `uri` its artifact URI."""

    kind: str
    id: str
    uri: str


class LoggedModelCalls(Protocol):
    """What a running MLflow can be asked about logged models."""

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]: ...

    def get(self, model_id: str) -> Json | None: ...

    def create(self, body: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json: ...

    def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None: ...

    def finalize(self, model_id: str, status: str) -> None: ...

    def delete(self, model_id: str) -> None: ...

    def log_inputs(self, run_id: str, model_ids: Sequence[str]) -> None: ...

    def log_outputs(self, run_id: str, outputs: Sequence[Json]) -> None: ...

    def with_inputs(self, run: Json) -> Json: ...

    def exist(self) -> bool: ...


class RegistryCalls(Protocol):
    """The model registry of a running MLflow. Prompts are registered models and versions with a tag of their own."""

    def search_models(self, prompts: bool) -> Iterator[Json]: ...

    def get_model(self, name: str) -> Json | None: ...

    def create_model(self, name: str, description: str, tags: Mapping[str, str]) -> None: ...

    def update_model(self, name: str, description: str) -> None: ...

    def delete_model(self, name: str) -> None: ...

    def set_model_tag(self, name: str, key: str, value: str) -> None: ...

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def search_versions(self, prompts: bool, name: str = "") -> Iterator[Json]: ...

    def get_version(self, name: str, version: str) -> Json | None: ...

    def download_uri(self, name: str, version: str) -> str: ...

    def create_version(self, body: Json, origin: tuple[str, str]) -> Json: ...

    def update_version(self, name: str, version: str, description: str) -> None: ...

    def set_version_tag(self, name: str, version: str, tag: tuple[str, str]) -> None: ...

    def set_stage(self, name: str, version: str, stage: str) -> None: ...

    def delete_version(self, name: str, version: str) -> None: ...


class EvaluationCalls(Protocol):
    """Evaluation datasets with their records, and scorers."""

    def search_datasets(self, experiment_ids: Sequence[str] | None = None) -> Iterator[Json]: ...

    def get_dataset(self, dataset_id: str) -> Json | None: ...

    def get_dataset_experiment_ids(self, dataset_id: str) -> list[str]: ...

    def get_dataset_records(self, dataset_id: str) -> Iterator[Json]: ...

    def create_dataset(self, body: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json: ...

    def delete_dataset(self, dataset_id: str) -> None: ...

    def set_dataset_tags(self, dataset_id: str, tags: Mapping[str, str]) -> None: ...

    def delete_dataset_tag(self, dataset_id: str, key: str) -> None: ...

    def add_dataset_to_experiments(self, dataset_id: str, experiment_ids: Sequence[str]) -> None: ...

    def upsert_dataset_records(self, dataset_id: str, records: Sequence[Json]) -> None: ...

    def delete_dataset_records(self, dataset_id: str, record_ids: Sequence[str]) -> None: ...

    def list_scorers(self, experiment_ids: Sequence[str]) -> Iterator[Json]: ...

    def list_scorer_versions(self, experiment_id: str, name: str) -> list[Json]: ...

    def register_scorer(self, experiment_id: str, name: str, serialized: str, version: int) -> int: ...

    def delete_scorer(self, experiment_id: str, name: str, version: int) -> None: ...

    def get_online_configs(self, scorer_id: str) -> list[Json]: ...

    def set_online_config(self, experiment_id: str, name: str, config: Json) -> None: ...


class ReviewCalls(Protocol):
    """Issues, label schemas and review queues."""

    def search_issues(self, experiment_id: str = "") -> Iterator[Json]: ...

    def get_issue(self, issue_id: str) -> Json | None: ...

    def create_issue(self, body: Json, look: Callable[[], Json | None]) -> Json: ...

    def update_issue(self, issue_id: str, fields: Json) -> None: ...

    def list_label_schemas(self, experiment_id: str) -> Iterator[Json]: ...

    def get_label_schema(self, schema_id: str) -> Json | None: ...

    def get_label_schema_by_name(self, experiment_id: str, name: str) -> Json | None: ...

    def create_label_schema(self, body: Json) -> Json: ...

    def update_label_schema(self, schema_id: str, fields: Json) -> None: ...

    def list_review_queues(self, experiment_id: str) -> Iterator[Json]: ...

    def get_review_queue(self, queue_id: str) -> Json | None: ...

    def get_review_queue_by_name(self, experiment_id: str, name: str) -> Json | None: ...

    def create_review_queue(self, body: Json) -> Json: ...

    def update_review_queue(self, queue_id: str, fields: Json) -> None: ...

    def list_queue_items(self, queue_id: str) -> Iterator[Json]: ...

    def add_queue_items(self, queue_id: str, item_ids: Sequence[str]) -> None: ...

    def set_queue_item_status(self, queue_id: str, item: Json) -> None: ...


class WebhookCalls(Protocol):
    """Webhooks, without their secrets: MLflow never gives those."""

    def list_webhooks(self) -> Iterator[Json]: ...

    def get_webhook(self, webhook_id: str) -> Json | None: ...

    def create_webhook(self, body: Json, look: Callable[[], Json | None]) -> Json: ...

    def update_webhook(self, webhook_id: str, fields: Json) -> None: ...


class RightsCalls(Protocol):
    """What these credentials may not read, as far as the server says so."""

    def denied(self, kind: str) -> tuple[str, ...]: ...

    def are_limited(self) -> bool: ...


class GatewayCalls(Protocol):
    """The AI gateway: endpoints, model definitions, guardrails, budgets. Of secrets MLflow gives the names."""

    def list_secrets(self) -> Iterator[Json]: ...

    def list_model_definitions(self) -> Iterator[Json]: ...

    def get_model_definition(self, model_definition_id: str) -> Json | None: ...

    def create_model_definition(self, body: Json) -> Json: ...

    def update_model_definition(self, model_definition_id: str, fields: Json) -> None: ...

    def list_endpoints(self) -> Iterator[Json]: ...

    def get_endpoint(self, endpoint_id: str) -> Json | None: ...

    def create_endpoint(self, body: Json) -> Json: ...

    def update_endpoint(self, endpoint_id: str, fields: Json) -> None: ...

    def set_endpoint_tag(self, endpoint_id: str, key: str, value: str) -> None: ...

    def list_bindings(self, endpoint_id: str) -> Iterator[Json]: ...

    def create_binding(self, body: Json, look: Callable[[], Json | None]) -> None: ...

    def list_guardrails(self) -> Iterator[Json]: ...

    def get_guardrail(self, guardrail_id: str) -> Json | None: ...

    def create_guardrail(self, body: Json, look: Callable[[], Json | None]) -> Json: ...

    def list_endpoint_guardrails(self, endpoint_id: str) -> Iterator[Json]: ...

    def add_guardrail(self, body: Json) -> None: ...

    def reorder_guardrail(self, body: Json) -> None: ...

    def list_budgets(self) -> Iterator[Json]: ...

    def get_budget(self, budget_id: str) -> Json | None: ...

    def create_budget(self, body: Json, look: Callable[[], Json | None]) -> Json: ...

    def update_budget(self, budget_id: str, fields: Json) -> None: ...


class McpCalls(Protocol):
    """The registry of MCP servers."""

    def list_servers(self) -> Iterator[Json]: ...

    def get_server(self, name: str) -> Json | None: ...

    def list_versions(self, name: str) -> Iterator[Json]: ...

    def create_server(self, body: Json) -> None: ...

    def update_server(self, name: str, fields: Json) -> None: ...

    def set_server_tag(self, name: str, key: str, value: str) -> None: ...

    def set_alias(self, name: str, alias: str, version: str) -> None: ...

    def create_version(self, name: str, body: Json) -> None: ...

    def update_version(self, name: str, version: str, fields: Json) -> None: ...

    def set_version_tag(self, name: str, version: str, tag: tuple[str, str]) -> None: ...

    def create_access_endpoint(self, name: str, body: Json, look: Callable[[], Json | None]) -> Json: ...

    def update_access_endpoint(self, name: str, endpoint_id: str, fields: Json) -> None: ...


class WorkspaceCalls(Protocol):
    """The workspaces of a server."""

    def at_default(self) -> bool: ...

    def exist(self) -> bool: ...

    def list_workspaces(self) -> list[Json]: ...

    def get_workspace(self, name: str) -> Json | None: ...

    def create_workspace(self, body: Json) -> None: ...

    def update_workspace(self, name: str, fields: Json) -> None: ...


class UserCalls(Protocol):
    """Users, without their passwords: MLflow never gives those. Roles and permissions are those of one workspace."""

    @property
    def workspace(self) -> str: ...

    def exist(self) -> bool: ...

    def list_users(self) -> list[Json]: ...

    def list_roles(self) -> list[Json]: ...

    def create_user(self, username: str) -> Json: ...

    def set_admin(self, username: str, is_admin: bool) -> None: ...

    def create_role(self, name: str, description: str) -> Json: ...

    def update_role(self, role_id: int, description: str) -> None: ...

    def add_role_permission(self, role_id: int, permission: Json) -> None: ...

    def update_permission(self, permission_id: int, level: str) -> None: ...

    def remove_permission(self, permission_id: int) -> None: ...

    def assign_role(self, username: str, role_id: int) -> None: ...

    def grant(self, username: str, permission: Json) -> None: ...

    def resource_names(self, resource_type: str) -> dict[str, str]: ...


class TraceCalls(Protocol):
    """The traces of a live place."""

    def search(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]: ...

    def get(self, trace_id: str) -> Json | None: ...

    def tied_to(self, experiment_ids: Sequence[str], prompt_version: str) -> Iterator[tuple[str, str]]: ...
    def get_many(self, trace_ids: Sequence[str]) -> Mapping[str, Json] | None: ...

    def of_runs(self, experiment_ids: Sequence[str], run_ids: Iterable[str]) -> Iterator[tuple[str, Json]]: ...

    def with_spans(self, infos: Iterable[Json]) -> Iterator[tuple[Json, Rows, Files]]: ...

    def log_spans(self, experiment_id: str, spans: list[Json], tags: Mapping[str, str]) -> None: ...

    def start(self, info: Json) -> Json: ...

    def set_tag(self, trace_id: str, key: str, value: str) -> None: ...

    def delete_tag(self, trace_id: str, key: str) -> None: ...

    def create_assessment(self, trace_id: str, assessment: Json) -> None: ...

    def delete_assessment(self, trace_id: str, assessment_id: str) -> None: ...

    def link_to_run(self, trace_id: str, run_id: str) -> None: ...

    def link_prompts(self, trace_id: str, versions: list[Json]) -> None: ...


class Live(Protocol):
    """A running MLflow, spoken to in plain JSON heads and lazy rows; calls are named after MLflow's REST methods."""

    address: str
    abilities: Abilities

    @property
    def registry(self) -> RegistryCalls: ...

    @property
    def models(self) -> LoggedModelCalls: ...

    @property
    def evaluation(self) -> EvaluationCalls: ...

    @property
    def reviews(self) -> ReviewCalls: ...

    @property
    def webhooks(self) -> WebhookCalls: ...

    @property
    def gateway(self) -> GatewayCalls: ...

    @property
    def mcp(self) -> McpCalls: ...

    @property
    def workspaces(self) -> WorkspaceCalls: ...

    @property
    def users(self) -> UserCalls: ...

    @property
    def traces(self) -> TraceCalls: ...

    @property
    def rights(self) -> RightsCalls: ...

    def search_experiments(self) -> Iterator[Json]: ...

    def get_experiment(self, experiment_id: str) -> Json | None: ...

    def get_experiment_by_name(self, name: str) -> Json | None: ...

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str: ...

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None: ...

    def rename_experiment(self, experiment_id: str, name: str) -> None: ...

    def delete_experiment(self, experiment_id: str) -> None: ...

    def restore_experiment(self, experiment_id: str) -> None: ...

    def search_runs(self, experiment_ids: Sequence[str], filter_: str = "", limit: int = 0) -> Iterator[Json]: ...

    def get_run(self, run_id: str) -> Json | None: ...

    def with_histories(self, runs: Iterable[Json]) -> Iterator[tuple[Json, Rows]]: ...

    def history(self, run_id: str, key: str) -> Iterator[Json]: ...

    def create_run(self, info: Json, tags: Mapping[str, str], origin: tuple[str, str]) -> Json: ...

    def update_run(self, run_id: str, fields: Json) -> None: ...

    def log_batch(self, run_id: str, batch: Json) -> None: ...

    def log_inputs(self, run_id: str, datasets: list[Json]) -> None: ...

    def delete_tag(self, run_id: str, key: str) -> None: ...

    def delete_run(self, run_id: str) -> None: ...

    def restore_run(self, run_id: str) -> None: ...

    def files(self, root: Root) -> Iterator[File]: ...

    def open_file(self, root: Root, path: str) -> AbstractContextManager[BinaryIO]: ...

    def put_file(self, root: Root, path: str, file: File) -> None: ...

    def cannot_hold(self, path: str) -> str: ...


class Source(Protocol):
    """A place to read from."""

    address: str

    def records(self, kind: str, selection: Selection) -> Iterator[Record]: ...

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None: ...


class Sink(Protocol):
    """A place to write to."""

    address: str

    def put(self, record: Record) -> Written: ...
