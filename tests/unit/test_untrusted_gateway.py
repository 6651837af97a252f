"""What a bundle from outside may say of the gateway and of MCP servers."""

import copy
from typing import Any

import pytest

from mlflow_migration.objects import KINDS

MCP: dict[str, Any] = {
    "name": "com.example/weather",
    "display_name": None,
    "description": None,
    "icons": None,
    "tags": {},
    "aliases": [{"alias": "prod", "version": "1.0.0"}],
    "access_endpoints": [{"id": "ae-1", "url": "https://x", "transport_type": "sse", "server_version": "1.0.0"}],
    "versions": [
        {
            "version": "1.0.0",
            "server_json": {"name": "com.example/weather", "version": "1.0.0"},
            "status": "draft",
            "source": None,
            "tools": [],
            "connect_options": {},
            "tags": {},
        }
    ],
}
SCORER = {"experiment_id": "1", "name": "safe", "version": 1}
GUARDRAIL: dict[str, Any] = {
    "guardrail_id": "gr-1",
    "name": "no harm",
    "stage": "BEFORE",
    "action": "VALIDATION",
    "scorer": SCORER,
    "action_endpoint": None,
    "endpoints": [{"endpoint_id": "e-1", "name": "chat", "execution_order": None}],
}
BUDGET: dict[str, Any] = {
    "budget_policy_id": "bp-1",
    "budget_unit": "USD",
    "budget_amount": 1,
    "duration": {"unit": "DAYS", "value": 1},
    "target_scope": "GLOBAL",
    "budget_action": "ALERT",
}
ENDPOINT: dict[str, Any] = {
    "endpoint_id": "e-1",
    "name": "chat",
    "models": [{"model_definition_id": "d-1", "name": "big", "linkage_type": "PRIMARY"}],
    "scorers": [{"experiment_id": "1", "name": "safe", "created_by": ""}],
}
MODEL: dict[str, Any] = {"model_definition_id": "d-1", "name": "big", "provider": "openai", "model_name": "x"}
SECRET: dict[str, Any] = {"name": "key", "provider": "openai", "settings": {}}
SOUND = {
    "mcp_server": MCP,
    "gateway_guardrail": GUARDRAIL,
    "gateway_budget": BUDGET,
    "gateway_endpoint": ENDPOINT,
    "gateway_model_definition": MODEL,
    "gateway_secret": SECRET,
}
HOSTILE = [
    ("mcp_server", ("name",), "com.example/../../experiments"),
    ("mcp_server", ("name",), "com.example/.."),
    ("mcp_server", ("name",), "no-namespace"),
    ("mcp_server", ("versions", 0, "version"), "../1"),
    ("mcp_server", ("versions", 0, "server_json", "version"), "2.0.0"),
    ("mcp_server", ("versions", 0, "server_json", "name"), "com.example/other"),
    ("mcp_server", ("versions", 0, "status"), "deleted"),
    ("mcp_server", ("tags",), {"a": 1}),
    ("gateway_guardrail", ("scorer",), None),
    ("gateway_guardrail", ("endpoints", 0, "endpoint_id"), ""),
    ("gateway_budget", ("budget_amount",), float("nan")),
    ("gateway_budget", ("duration", "value"), 0),
    ("gateway_endpoint", ("models", 0, "linkage_type"), "OTHER"),
    ("gateway_endpoint", ("scorers",), None),
    ("gateway_model_definition", ("provider",), ""),
    ("gateway_secret", ("name",), ""),
]


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_head_is_taken_and_one_that_lacks_anything_needed_is_not(kind: str) -> None:
    home, id_ = KINDS[kind].validate(SOUND[kind])
    assert home[-1] == id_
    for key in SOUND[kind]:
        lacking = {other: value for other, value in SOUND[kind].items() if other != key}
        with pytest.raises(ValueError, match=r"validation error|another"):
            KINDS[kind].validate(lacking)


@pytest.mark.parametrize(("kind", "where", "what"), HOSTILE)
def test_a_head_that_says_what_mlflow_never_does_is_refused(kind: str, where: tuple[Any, ...], what: object) -> None:
    head: Any = copy.deepcopy(SOUND[kind])
    inner = head
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = what
    with pytest.raises(ValueError, match=r"validation error|another"):
        KINDS[kind].validate(head)
