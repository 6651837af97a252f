"""The AI gateway, MCP servers and workspaces as rows. Secrets never leave a server: what needs one is told its id."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlflow_migration.database.made import Guess, Made, Part, Values, made_up_id, pairs, told
from mlflow_migration.database.settled import Settled
from mlflow_migration.records import Json, Record, tags_of

DEFINITION = (Part("model_definitions", ("model_definition_id",), ("model_definition_id",)),)
ENDPOINT = (
    Part("endpoints", ("endpoint_id",), ("endpoint_id",)),
    Part(
        "endpoint_model_mappings",
        ("endpoint_id",),
        ("endpoint_id", "model_definition_id", "linkage_type", "fallback_order"),
    ),
    Part("endpoint_tags", ("endpoint_id",), ("endpoint_id", "key")),
    Part("endpoint_bindings", ("endpoint_id",), ("endpoint_id", "resource_type", "resource_id")),
)
BUDGET = (Part("budget_policies", ("budget_policy_id",), ("budget_policy_id",)),)
GUARDRAIL = (
    Part("guardrails", ("guardrail_id",), ("guardrail_id",)),
    Part("guardrail_configs", ("guardrail_id",), ("endpoint_id", "guardrail_id")),
)
MCP_SERVER = (
    Part("mcp_servers", ("workspace", "name"), ("workspace", "name")),
    Part("mcp_server_tags", ("workspace", "name"), ("workspace", "name", "key")),
    Part("mcp_server_versions", ("workspace", "name"), ("workspace", "name", "version")),
    Part("mcp_server_version_tags", ("workspace", "name"), ("workspace", "name", "version", "key")),
    Part("mcp_server_aliases", ("workspace", "name"), ("workspace", "name", "alias")),
    Part("mcp_access_endpoints", ("workspace", "server_name"), ("id",)),
)
WORKSPACE = (Part("workspaces", ("name",), ("name",)),)
FALLBACK = "FALLBACK"
MCP_TIMES = ("creation_timestamp", "last_updated_timestamp")


def _made_by(head: Json, times: tuple[str, str] = ("created_at", "last_updated_at")) -> Values:
    """Who made and changed it, and when; `times` is what the head calls the latter."""
    return {
        "created_by": head.get("created_by") or None,
        "created_at": told(head, times[0]),
        "last_updated_by": head.get("last_updated_by") or None,
        "last_updated_at": told(head, times[1]),
    }


def definition(record: Record, to: Settled, secret_id: str) -> Made:
    head = record.head
    row = {
        "model_definition_id": record.id,
        "name": head["name"],
        "secret_id": secret_id,
        "provider": head["provider"],
        "model_name": head["model_name"],
        **_made_by(head),
        "workspace": to.workspace,
    }
    return Made((record.id,), {"model_definitions": [row]})


def endpoint(record: Record, to: Settled, scorer_ids: dict[tuple[int, str], str]) -> Made:
    """An endpoint; `scorer_ids` gives the scorers of the database by experiment and name."""
    head = record.head
    known = head.get("experiment_id")
    made_at = head.get("made") or {}
    ties = made_at.get("ties") or [{}] * len(head["models"])
    row = {
        "endpoint_id": record.id,
        "name": head.get("name") or None,
        **_made_by({**head, **made_at}),
        "routing_strategy": head.get("routing_strategy") or None,
        "fallback_config_json": _fallback(head),
        "experiment_id": to.place(known).id if known is not None else None,
        "usage_tracking": head.get("usage_tracking", True),
        "workspace": to.workspace,
    }
    mappings = [
        {
            "mapping_id": _mapping_id(record.id, each, tie),
            "endpoint_id": record.id,
            "model_definition_id": each["model_definition_id"],
            "weight": each.get("weight", 1.0),
            "linkage_type": each["linkage_type"],
            "fallback_order": each.get("fallback_order"),
            "created_by": Guess(tie.get("created_by") or None),
            "created_at": told(tie, "created_at"),
        }
        for each, tie in zip(head["models"], ties, strict=True)
    ]
    bindings = [
        {
            "endpoint_id": record.id,
            "resource_type": "scorer",
            "resource_id": scorer_ids[to.place(each["experiment_id"]).id, each["name"]],
            "created_at": told(each, "created_at"),
            "created_by": each.get("created_by") or None,
            "last_updated_at": told(each, "last_updated_at"),
            "last_updated_by": each.get("last_updated_by") or None,
            "display_name": Guess(each.get("display_name") or None),
        }
        for each in head.get("scorers", ())
        if each["experiment_id"] in to.experiments and (to.place(each["experiment_id"]).id, each["name"]) in scorer_ids
    ]
    rows = {
        "endpoints": [row],
        "endpoint_model_mappings": mappings,
        "endpoint_tags": pairs(tags_of(head.get("tags")), {"endpoint_id": record.id}),
        "endpoint_bindings": bindings,
    }
    return Made((record.id,), rows)


def with_endpoint_ids(serialized: str, ids: Mapping[str, str]) -> str:
    """A scorer as MLflow keeps it: a model of the gateway is named by its endpoint's id there, while REST shows its
    name. `ids` gives the endpoints' ids by name."""
    from mlflow.genai.scorers.scorer_utils import (
        build_gateway_model,
        extract_endpoint_ref,
        extract_model_from_serialized_scorer,
        is_gateway_model,
        update_model_in_serialized_scorer,
    )

    parsed = json.loads(serialized)
    model = extract_model_from_serialized_scorer(parsed) if isinstance(parsed, dict) else None
    if not is_gateway_model(model):
        return serialized
    id_ = ids.get(extract_endpoint_ref(model))
    if id_ is None:
        return serialized
    return json.dumps(update_model_in_serialized_scorer(parsed, build_gateway_model(id_)))


def _mapping_id(endpoint_id: str, each: Json, tie: Json) -> Guess:
    known = tie.get("mapping_id")
    return Guess(known) if known else made_up_id("mapping", endpoint_id, *map(str, each.values()), prefix="m-")


def _fallback(head: Json) -> str | None:
    """MLflow's own text of how an endpoint falls back, with the models it falls back to in order."""
    config = head.get("fallback_config")
    ids = [each["model_definition_id"] for each in head["models"] if each["linkage_type"] == FALLBACK]
    if config is None and not ids:
        return None
    config = config or {}
    return json.dumps(
        {
            "strategy": config.get("strategy"),
            "max_attempts": config.get("max_attempts"),
            "model_definition_ids": ids,
        }
    )


def budget(record: Record, to: Settled) -> Made:
    head = record.head
    row = {
        "budget_policy_id": record.id,
        "budget_unit": head["budget_unit"],
        "budget_amount": float(head["budget_amount"]),
        "duration_unit": head["duration"]["unit"],
        "duration_value": int(head["duration"]["value"]),
        "target_scope": head["target_scope"],
        "budget_action": head["budget_action"],
        **_made_by(head),
        "workspace": to.workspace,
        "target_value": head.get("target_value") or None,
    }
    return Made((record.id,), {"budget_policies": [row]})


def guardrail(record: Record, to: Settled, scorer_id: str) -> Made:
    head = record.head
    action = head.get("action_endpoint")
    row = {
        "guardrail_id": record.id,
        "name": head["name"],
        "scorer_id": scorer_id,
        "scorer_version": int(head["scorer"]["version"]),
        "stage": head["stage"],
        "action": head["action"],
        "action_endpoint_id": action["endpoint_id"] if action else None,
        **_made_by(head),
        "workspace": to.workspace,
    }
    configs = [
        {
            "endpoint_id": each["endpoint_id"],
            "guardrail_id": record.id,
            "execution_order": each.get("execution_order"),
            "created_by": Guess(each.get("created_by")),
            "created_at": told(each, "created_at"),
            "workspace": to.workspace,
        }
        for each in head["endpoints"]
    ]
    return Made((record.id,), {"guardrails": [row], "guardrail_configs": configs})


def mcp_server(record: Record, to: Settled) -> Made:
    head = record.head
    made_at = head.get("made") or {}
    owner = {"workspace": to.workspace, "name": record.id}
    row = {
        **owner,
        "display_name": head.get("display_name"),
        "description": head.get("description"),
        "icons": head.get("icons"),
        **_made_by(made_at.get("server") or {}, MCP_TIMES),
    }
    of_versions, of_endpoints = made_at.get("versions") or {}, made_at.get("access_endpoints") or {}
    rows: dict[str, list[Values]] = {
        "mcp_servers": [row],
        "mcp_server_tags": pairs(head.get("tags") or {}, owner),
        "mcp_server_versions": [
            _version(each, owner, of_versions.get(each["version"]) or {}) for each in head["versions"]
        ],
        "mcp_server_version_tags": [
            tag
            for each in head["versions"]
            for tag in pairs(each.get("tags") or {}, {**owner, "version": each["version"]})
        ],
        "mcp_server_aliases": [
            {**owner, "alias": each["alias"], "version": each["version"]} for each in head.get("aliases", ())
        ],
        "mcp_access_endpoints": [
            {
                "id": each["id"],
                "workspace": to.workspace,
                "server_name": record.id,
                "server_version": each.get("server_version"),
                "server_alias": each.get("server_alias"),
                "url": each["url"],
                "transport_type": each["transport_type"],
                **_made_by(of_endpoints.get(each["id"]) or {}, MCP_TIMES),
            }
            for each in head.get("access_endpoints", ())
        ],
    }
    return Made((to.workspace, record.id), rows)


def _version(each: Json, owner: Values, made_at: Json) -> Values:
    from mlflow.utils.semver_utils import encode_prerelease_sort_key, parse_semver

    parsed = parse_semver(each["version"])
    return {
        **owner,
        "version": each["version"],
        "version_major": parsed.major,
        "version_minor": parsed.minor,
        "version_patch": parsed.patch,
        "version_prerelease_sort_key": encode_prerelease_sort_key(parsed),
        "server_json": each["server_json"],
        "status": each["status"],
        "tools": each.get("tools") or None,
        "source": each.get("source"),
        # REST shows {} where there are none.
        "connect_options": each.get("connect_options") or None,
        **_made_by(made_at, MCP_TIMES),
    }


def workspace(record: Record, to: Settled) -> Made:
    """A workspace; where its artifacts go is the destination's own."""
    head = record.head
    row = {
        "name": record.id,
        "description": head.get("description") or None,
        "default_artifact_root": Guess(None),
        "trace_archival_location": Guess(None),
        "trace_archival_retention": (head.get("trace_archival_config") or {}).get("retention") or None,
    }
    return Made((record.id,), {"workspaces": [row]})
