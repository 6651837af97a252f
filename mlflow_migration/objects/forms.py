"""The forms of objects that come from outside: checked before anything of them is written."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Base64Bytes, BaseModel, Field

from mlflow_migration.records import Json

NUMBER = (int, float)
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
POINT = len(("step", "timestamp", "value"))
NUMBER_OF_VERSION = r"^[1-9][0-9]{0,5}$"
"""Each number below a version's has to be made at a destination: a bundle must not ask for billions."""

MCP_NAME = r"^[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9]/[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]$"
MCP_VERSION = r"^[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*$"
"""MLflow's own rules for MCP servers (`entities/mcp_server.py` of 3.17.2): both become parts of a request's path."""


class _Pair(BaseModel):
    key: str
    value: str = ""


class Experiment(BaseModel):
    """The head as the REST API shows it; further fields are kept but not looked at."""

    experiment_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    lifecycle_stage: Literal["active", "deleted"] = "active"
    tags: list[_Pair] = []


class _Info(BaseModel):
    run_id: str = Field(min_length=1)
    experiment_id: str = Field(min_length=1)
    run_name: str = ""
    user_id: str = ""
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"] = "RUNNING"
    start_time: int = 0
    end_time: int | None = None
    artifact_uri: str = ""
    lifecycle_stage: Literal["active", "deleted"] = "active"


class _Metric(BaseModel):
    key: str


class _Data(BaseModel):
    metrics: list[_Metric] = []
    params: list[_Pair] = []
    tags: list[_Pair] = []


class _Dataset(BaseModel):
    name: str
    digest: str


class _Input(BaseModel):
    dataset: _Dataset
    tags: list[_Pair] = []


class _ModelLink(BaseModel):
    model_id: str = Field(min_length=1)
    step: int = 0


class _Inputs(BaseModel):
    dataset_inputs: list[_Input] = []
    model_inputs: list[_ModelLink] = []


class _Outputs(BaseModel):
    model_outputs: list[_ModelLink] = []


class Run(BaseModel):
    """The head as the REST API shows it; further fields are kept but not looked at."""

    info: _Info
    data: _Data = _Data()
    inputs: _Inputs = _Inputs()
    outputs: _Outputs = _Outputs()


class _ModelInfo(BaseModel):
    model_id: str = Field(min_length=1)
    experiment_id: str = Field(min_length=1)
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    status: str = ""
    artifact_uri: str = ""
    tags: list[_Pair] = []


class _ModelMetric(BaseModel):
    key: str
    value: float | Literal["NaN"] = 0.0
    timestamp: int = 0
    step: int = 0
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class _ModelData(BaseModel):
    params: list[_Pair] = []
    metrics: list[_ModelMetric] = []


class _NamedBy(BaseModel):
    run_id: str
    outputs: list[tuple[str, int]]


class LoggedModel(BaseModel):
    """The head as the REST API shows it, and for a deleted model the run that names it, "" where none does."""

    info: _ModelInfo
    data: _ModelData = _ModelData()
    deleted_but_named_by: _NamedBy | None = None


class EvaluationDataset(BaseModel):
    """The head as the REST API shows it, with its experiments' ids and, in the same order, their names."""

    dataset_id: str = Field(min_length=1)
    name: str
    tags: str = "{}"
    created_by: str = ""
    experiment_ids: list[str]
    experiment_names: list[str]


class _ScorerVersion(BaseModel):
    version: int = Field(ge=1)
    serialized_scorer: str


class _OnlineConfig(BaseModel):
    sample_rate: float
    filter_string: str | None = None


class Scorer(BaseModel):
    """All versions of a scorer, in order, and when MLflow runs it by itself."""

    experiment_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    versions: list[_ScorerVersion] = Field(min_length=1)
    online_configs: list[_OnlineConfig] = []


class Issue(BaseModel):
    """The head as the REST API shows it; further fields are kept but not looked at."""

    issue_id: str = Field(min_length=1)
    experiment_id: str = Field(min_length=1)
    name: str
    description: str = ""
    status: str = ""
    severity: str = ""
    root_causes: list[str] = []
    categories: list[str] = []
    source_run_id: str = ""
    created_by: str = ""


class LabelSchema(BaseModel):
    """The head as the REST API shows it; MLflow itself checks `input`."""

    schema_id: str = Field(min_length=1)
    experiment_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    type: str
    input: dict[str, object]
    instruction: str = ""
    enable_comment: bool = False
    is_default: bool = False


class _QueueItem(BaseModel):
    item_id: str = Field(min_length=1)
    item_type: str = "TRACE"
    status: str = "PENDING"
    completed_by: str = ""


class ReviewQueue(BaseModel):
    """The head as the REST API shows it, with its items and, by id, the names of its label schemas."""

    queue_id: str = Field(min_length=1)
    experiment_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    queue_type: str
    created_by: str = ""
    users: list[str] = []
    schema_ids: list[str] = []
    items: list[_QueueItem] = []


class _Event(BaseModel):
    entity: str
    action: str


class Webhook(BaseModel):
    """The head as the REST API shows it: without the secret."""

    webhook_id: str = Field(min_length=1)
    name: str
    url: str
    description: str = ""
    events: list[_Event] = []
    status: str = "ACTIVE"


class GatewaySecret(BaseModel):
    """What is known of a secret of the gateway: never its value."""

    name: str = Field(min_length=1)
    provider: str
    settings: dict[str, str]


class GatewayModelDefinition(BaseModel):
    """The head as the REST API shows it; further fields are kept but not looked at."""

    model_definition_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    provider: str = Field(min_length=1)
    model_name: str = Field(min_length=1)
    secret_name: str = ""
    created_by: str = ""
    last_updated_by: str = ""


class _EndpointModel(BaseModel):
    model_definition_id: str = Field(min_length=1)
    name: str
    linkage_type: Literal["PRIMARY", "FALLBACK"]
    weight: float = 1.0
    fallback_order: int | None = None


class _Fallback(BaseModel):
    strategy: str | None = None
    max_attempts: int | None = None


class _BoundScorer(BaseModel):
    experiment_id: str
    name: str
    created_by: str


class GatewayEndpoint(BaseModel):
    """The head as the REST API shows it, with its models' names and the scorers bound to it."""

    endpoint_id: str = Field(min_length=1)
    name: str
    models: list[_EndpointModel]
    routing_strategy: str = ""
    fallback_config: _Fallback = _Fallback()
    usage_tracking: bool = True
    experiment_id: str = Field(default="0", min_length=1)
    tags: list[_Pair] = []
    scorers: list[_BoundScorer]
    created_by: str = ""
    last_updated_by: str = ""


class _Duration(BaseModel):
    unit: str
    value: int = Field(ge=1)


class GatewayBudget(BaseModel):
    """The head as the REST API shows it, with the name of the endpoint it is for."""

    budget_policy_id: str = Field(min_length=1)
    budget_unit: str
    budget_amount: float = Field(allow_inf_nan=False)
    duration: _Duration
    target_scope: str
    target_value: str = ""
    budget_action: str
    endpoint_name: str = ""
    created_by: str = ""
    last_updated_by: str = ""


class _JudgingScorer(BaseModel):
    experiment_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    version: int = Field(ge=1)


class _NamedEndpoint(BaseModel):
    endpoint_id: str = Field(min_length=1)
    name: str


class _GuardedEndpoint(_NamedEndpoint):
    execution_order: int | None


class GatewayGuardrail(BaseModel):
    """A guardrail: the scorer's version it asks, and the endpoints it stands at."""

    guardrail_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    stage: str
    action: str
    scorer: _JudgingScorer
    action_endpoint: _NamedEndpoint | None
    endpoints: list[_GuardedEndpoint]


class _McpVersion(BaseModel):
    version: str = Field(pattern=MCP_VERSION, max_length=128)
    server_json: dict[str, object]
    status: Literal["draft", "active", "deprecated"]
    source: str | None
    tools: list[dict[str, object]]
    connect_options: dict[str, dict[str, bool]]
    tags: dict[str, str]


class _McpAlias(BaseModel):
    alias: str = Field(min_length=1)
    version: str


class _McpEndpoint(BaseModel):
    id: str = Field(min_length=1)
    url: str
    transport_type: str
    server_version: str | None = None
    server_alias: str | None = None


class McpServer(BaseModel):
    """An MCP server with its versions, in the order they were made; MLflow itself checks their `server_json`."""

    name: str = Field(pattern=MCP_NAME, max_length=256)
    display_name: str | None
    description: str | None
    icons: list[dict[str, object]] | None
    tags: dict[str, str]
    aliases: list[_McpAlias]
    access_endpoints: list[_McpEndpoint]
    versions: list[_McpVersion]


def validate_run_row(name: str, row: Json) -> None:
    """Check a row from outside. Raises ValueError."""
    points = row.get("points")
    if set(row) != {"key", "points"} or not isinstance(row["key"], str) or not isinstance(points, list):
        raise ValueError("a line must be {key, points}")
    for point in points:
        if (
            not isinstance(point, list)
            or len(point) != POINT
            or type(point[0]) is not int
            or type(point[1]) is not int
            or not (type(point[2]) in NUMBER or point[2] in NOT_FINITE)
            or not (-(1 << 63) <= point[0] < 1 << 63 and -(1 << 63) <= point[1] < 1 << 63)
        ):
            raise ValueError(f"not a [step, timestamp, value]: {str(point)[:100]}")


class _Alias(BaseModel):
    alias: str = Field(min_length=1)
    version: str = Field(pattern=NUMBER_OF_VERSION)


class RegisteredModel(BaseModel):
    """A model or prompt as the REST API shows it; further fields are kept but not looked at."""

    name: str = Field(min_length=1)
    description: str | None = None
    tags: list[_Pair] = []
    aliases: list[_Alias] = []


class ModelVersion(BaseModel):
    """A version as the REST API shows it; further fields are kept but not looked at."""

    name: str = Field(min_length=1)
    version: str = Field(pattern=NUMBER_OF_VERSION)
    source: str = ""
    run_id: str | None = None
    run_link: str | None = None
    description: str | None = None
    current_stage: Literal["None", "Staging", "Production", "Archived"] = "None"
    tags: list[_Pair] = []


class _Experiment(BaseModel):
    experiment_id: str = Field(min_length=1)


class _Location(BaseModel):
    mlflow_experiment: _Experiment


class _Assessment(BaseModel):
    assessment_id: str = Field(min_length=1)
    assessment_name: str
    metadata: dict[str, str] = {}


class _PromptVersion(BaseModel):
    name: str = Field(min_length=1)
    version: str = Field(pattern=NUMBER_OF_VERSION)


class Trace(BaseModel):
    """The info as the REST API shows it; further fields are kept but not looked at."""

    trace_id: str = Field(min_length=1)
    trace_location: _Location
    request_time: datetime
    state: Literal["STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"] = "STATE_UNSPECIFIED"
    request_preview: str = ""
    response_preview: str = ""
    client_request_id: str = ""
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[_Assessment] = []
    linked_runs: list[str] = []
    tied_prompts: list[_PromptVersion] = []


class _Span(BaseModel):
    trace_id: Base64Bytes
    span_id: Base64Bytes
    name: str = ""
    attributes: list[Json] = []
    events: list[Json] = []
    links: list[Json] = []


def validate_span(name: str, row: Json) -> None:
    """Check a span from outside. Raises ValueError."""
    if name != "spans":
        raise ValueError("a trace has no other rows than spans")
    _Span.model_validate(row)
