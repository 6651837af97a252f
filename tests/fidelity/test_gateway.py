"""The AI gateway: endpoints with their models, budgets and guardrails arrive; a secret is named and never moved."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests import databases, genai, tables
from tests.conftest import ServerFactory, Tool
from tests.genai import call
from tests.rest import Json
from tests.servers import Options, Server

VALUE = "sk-very-secret-12345"
MASKED = "sk-...2345"
OTHER = "another, so that ids differ"
KINDS = ("gateway_secret", "gateway_model_definition", "gateway_endpoint", "gateway_budget", "gateway_guardrail")
DURATION = {"unit": "DAYS", "value": 7}
ALERT = {"budget_unit": "USD", "duration": DURATION, "target_scope": "GLOBAL", "budget_action": "ALERT"}


def ask(server: Server, path: str, **body: Any) -> Json:
    return call(server, "POST", f"gateway/{path}", json=body)


def secret(server: Server, name: str, value: str = VALUE, **settings: str) -> str:
    body = {"secret_name": name, "secret_value": {"api_key": value}, "provider": "openai", "created_by": "ann"}
    made = ask(server, "secrets/create", **body, **({"auth_config": settings} if settings else {}))
    return str(made["secret"]["secret_id"])


def model(server: Server, name: str, secret_id: str, **body: str) -> str:
    body = {"name": name, "secret_id": secret_id, "provider": "openai", "model_name": f"the {name}", **body}
    made = ask(server, "model-definitions/create", **body)
    return str(made["model_definition"]["model_definition_id"])


def endpoint(server: Server, name: str, *models: Json, **body: Any) -> str:
    made = ask(server, "endpoints/create", name=name, model_configs=models, **body)
    return str(made["endpoint"]["endpoint_id"])


def primary(model_id: str, **settings: Any) -> Json:
    return {"model_definition_id": model_id, "linkage_type": "PRIMARY", **settings}


def fallback(model_id: str, order: int) -> Json:
    return {"model_definition_id": model_id, "linkage_type": "FALLBACK", "fallback_order": order}


def judge(server: Server, experiment_id: str, name: str, endpoint_name: str) -> str:
    """A scorer whose model is an endpoint; its id."""
    parts = {"name": name, "mlflow_version": "3.17.2", "serialization_version": 1}
    data: Json = {"instructions": "Is {{ outputs }} safe?", "model": f"gateway:/{endpoint_name}"}
    data["feedback_value_type"] = {"type": "string"}
    text = json.dumps({**parts, "instructions_judge_pydantic_data": data})
    body = {"experiment_id": experiment_id, "name": name, "serialized_scorer": text}
    return str(call(server, "POST", "scorers/register", json=body)["scorer_id"])


def trace(server: Server, experiment_id: str, endpoint_id: str) -> None:
    """A trace as the gateway writes one for a call of an endpoint."""
    info = {
        "trace_id": "tr-" + "5" * 32,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}},
        "request_time": "2026-01-02T03:04:05Z",
        "execution_duration": "1s",
        "state": "OK",
        "trace_metadata": {"mlflow.gateway.endpointId": endpoint_id, "mlflow.gateway.caller": "judge"},
    }
    call(server, "POST", "traces", json={"trace": {"trace_info": info}})


def seed(server: Server) -> dict[str, str]:
    """A gateway with everything in it; ids by name."""
    ids = {"key": secret(server, "a key", aws_region_name="eu-west-1"), "second": secret(server, "second")}
    ids["big"] = model(server, "big", ids["key"], created_by="ann")
    ids["small"] = model(server, "small é", ids["second"])
    ask(server, "model-definitions/update", model_definition_id=ids["small"], updated_by="bob")
    models = [fallback(ids["small"], 1), primary(ids["big"], weight=0.5), primary(ids["small"], weight=0)]
    routing: Json = {"routing_strategy": "REQUEST_BASED_TRAFFIC_SPLIT"}
    routing["fallback_config"] = {"strategy": "SEQUENTIAL", "max_attempts": 2}
    ids["chat"] = endpoint(server, "chat", *models, **routing, created_by="ann")
    ids["plain"] = endpoint(server, "plain.1", primary(ids["big"]), usage_tracking=False)
    ids["third"] = endpoint(server, "third", primary(ids["big"]), usage_tracking=False, fallback_config={})
    for key, value in (("team", "é & co"), ("empty", "")):
        ask(server, "endpoints/set-tag", endpoint_id=ids["chat"], key=key, value=value)
    trace(server, genai.experiment_id(server, "gateway/chat"), ids["chat"])
    ids["experiment"] = genai.experiment(server, "judged")
    ids["scorer"] = judge(server, ids["experiment"], "safe", "chat")
    config = {"experiment_id": ids["experiment"], "name": "safe", "sample_rate": 0.25}
    call(server, "PUT", "scorers/online-config", json=config)
    bound = {"endpoint_id": ids["plain"], "resource_type": "scorer", "resource_id": ids["scorer"]}
    ask(server, "endpoints/bindings/create", **bound, created_by="bob")
    ids["alert"] = ask(server, "budgets/create", **ALERT, budget_amount=12.5, created_by="ann")["budget_policy"][
        "budget_policy_id"
    ]
    ask(server, "budgets/create", **ALERT, budget_amount=12.5, created_by="ann")
    stop = {**ALERT, "target_scope": "ENDPOINT", "target_value": ids["chat"], "budget_action": "REJECT"}
    ask(server, "budgets/create", **stop, budget_amount=0.1)
    body = {"name": "no harm", "scorer_id": ids["scorer"], "scorer_version": 1, "stage": "BEFORE"}
    made = ask(server, "guardrails/create", **body, action="SANITIZATION", action_endpoint_id=ids["plain"])
    ids["guardrail"] = made["guardrail"]["guardrail_id"]
    ask(server, "guardrails/create", **{**body, "stage": "AFTER"}, action="VALIDATION")
    stand(server, ids, "chat", execution_order=3)
    stand(server, ids, "plain")
    return ids


def stand(server: Server, ids: dict[str, str], where: str, **order: int) -> None:
    ask(server, "guardrails/add-to-endpoint", endpoint_id=ids[where], guardrail_id=ids["guardrail"], **order)


def change(server: Server, ids: dict[str, str]) -> None:
    """One change of each kind that MLflow can change."""
    ask(server, "model-definitions/update", model_definition_id=ids["big"], name="bigger", model_name="next")
    models = [primary(ids["small"], weight=2), fallback(ids["big"], 0)]
    settings: Json = {"fallback_config": {"strategy": "SEQUENTIAL", "max_attempts": 1}, "updated_by": "carl"}
    ask(server, "endpoints/update", endpoint_id=ids["chat"], name="chat-2", model_configs=models, **settings)
    ask(server, "endpoints/update", endpoint_id=ids["third"], routing_strategy="REQUEST_BASED_TRAFFIC_SPLIT")
    ask(server, "endpoints/set-tag", endpoint_id=ids["plain"], key="team", value="new")
    amount: Json = {"budget_amount": 99, "duration": {"unit": "HOURS", "value": 2}, "updated_by": "dora"}
    ask(server, "budgets/update", budget_policy_id=ids["alert"], **amount)
    order = {"guardrail_id": ids["guardrail"], "endpoint_id": ids["chat"]}
    call(server, "PATCH", "gateway/guardrails/update-config", json={**order, "execution_order": 8})
    stand(server, ids, "third", execution_order=1)


def counts(report: Json, state: str) -> dict[str, int]:
    return {kind: report["kinds"][kind][state] for kind in KINDS if report["kinds"][kind][state]}


@pytest.mark.slow
def test_the_gateway_waits_for_its_secrets_and_then_arrives_row_by_row(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    ids = seed(empty_source)
    before = databases.dump(empty_source)
    genai.experiment(destination, OTHER)
    copy = ("copy-all", *genai.pair(empty_source, destination), "--json")
    report = run_tool(*copy).expect(1).json
    told = {row["reason"] for row in report["rows"] if row["kind"] == "secret"}
    assert f"make a gateway secret named 'second' at {destination.url} and type this command again" in told
    assert any("aws_region_name eu-west-1" in text for text in told)
    assert counts(report, "done") == {"gateway_budget": 2}
    assert counts(report, "skipped") == {**dict.fromkeys(KINDS, 2), "gateway_endpoint": 3, "gateway_budget": 1}
    secret(destination, "a key", "another value")
    secret(destination, "second", "another value")
    nothing = databases.dump(destination)
    would = run_tool(*copy, "--dry-run").expect(0).json
    assert databases.dump(destination) == nothing
    report = run_tool(*copy).expect(0).json
    assert counts(report, "done") == counts(would, "done")
    assert counts(report, "done") == {**dict.fromkeys(KINDS[1:], 2), "gateway_endpoint": 3, "gateway_budget": 1}
    assert differences(empty_source, destination) == []
    finds_nothing_to_do(destination, run_tool, copy)
    assert databases.dump(empty_source) == before
    change(empty_source, ids)
    report = run_tool(*copy).expect(0).json
    assert counts(report, "updated") == {**dict.fromkeys(KINDS[1:], 1), "gateway_endpoint": 3}
    assert differences(empty_source, destination) == []
    finds_nothing_to_do(destination, run_tool, copy)
    verified = run_tool("verify", empty_source.url, destination.url, "--json").expect(0).json["kinds"]
    assert all(verified[kind]["equal"] >= 2 for kind in KINDS)


def differences(source: Server, destination: Server) -> list[str]:
    """What differs in the databases, but for the experiment that only the destination has."""
    return [text for text in tables.differences(source, destination) if OTHER not in text]


def finds_nothing_to_do(destination: Server, run_tool: Tool, copy: tuple[str, ...]) -> None:
    after = databases.dump(destination)
    report = run_tool(*copy).expect(0).json
    assert {state for kind in report["kinds"].values() for state in kind if kind[state]} == {"asked", "same"}
    assert databases.dump(destination) == after


def test_a_bundle_holds_no_secret_and_brings_the_gateway_to_another_machine(
    empty_source: Server, destination: Server, run_tool: Tool, tmp_path: Path
) -> None:
    seed(empty_source)
    secret(destination, "a key")
    secret(destination, "second")
    bundle = tmp_path / "bundle"
    shown = run_tool("export-all", "--tracking-uri", empty_source.url, "--output-dir", bundle, "-vv").expect(0)
    written = "".join(path.read_text("utf-8") for path in bundle.rglob("*") if path.is_file())
    for text in (VALUE, MASKED):
        assert text not in written + str(shown)
    into = ("import-all", "--tracking-uri", destination.url, "--input-dir", bundle, "--json")
    run_tool(*into).expect(0)
    assert tables.differences(empty_source, destination) == []
    run_tool("verify", bundle, destination.url).expect(0)
    after = databases.dump(destination)
    assert counts(Tool(tmp_path / "elsewhere")(*into).expect(0).json, "same").keys() == set(KINDS)
    assert databases.dump(destination) == after
    # Back to where it came from: nothing is new there.
    before = gateway_of(empty_source)
    back = run_tool("copy-all", *genai.pair(destination, empty_source), "--json", "--allow-loss", "all").json
    assert counts(back, "done") == counts(back, "updated") == {}
    assert gateway_of(empty_source) == before


def gateway_of(server: Server) -> dict[str, list[Any]]:
    """Every row of the gateway's tables."""
    tables_of_it = ("secrets", "model_definitions", "endpoint", "budget", "guardrail")
    return {table: rows for table, rows in databases.dump(server).items() if table.startswith(tables_of_it)}


def test_what_is_somebody_elses_is_left_alone_and_told(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    ids = {}
    for server, weight, name in ((destination, 2, "theirs"), (empty_source, 1, "ours")):
        key = secret(server, "a key")
        model(server, "taken", key, model_name=name)
        ids["free"] = model(server, "free", key)
        endpoint(server, "chat", primary(ids["free"], weight=weight), usage_tracking=False)
        ids["equal"] = endpoint(server, "equal", primary(ids["free"]), usage_tracking=False)
    before = gateway_of(destination)
    copy = ("copy-all", *genai.pair(empty_source, destination), "--json")
    report = run_tool(*copy).expect(1).json
    failed = {row["name"]: row["reason"] for row in report["rows"] if row["state"] == "failed"}
    assert failed.keys() == {"taken", "chat"}
    assert all("is another one at the destination" in reason for reason in failed.values())
    assert gateway_of(destination) == before
    # What was equal is no more this job's than before.
    ask(empty_source, "model-definitions/update", model_definition_id=ids["free"], model_name="next")
    ask(empty_source, "endpoints/set-tag", endpoint_id=ids["equal"], key="a", value="b")
    report = run_tool(*copy).expect(1).json
    assert {row["name"] for row in report["rows"] if row["state"] == "failed"} == {"taken", "free", "chat", "equal"}
    assert gateway_of(destination) == before


@pytest.mark.slow
def test_a_gateway_that_is_switched_off_holds_nothing(
    destination: Server, make_server: ServerFactory, template: Path, run_tool: Tool
) -> None:
    off = make_server(Options(template=template, env={"MLFLOW_ENABLE_AI_GATEWAY": "false"}))
    report = run_tool("copy-all", *genai.pair(off, destination), "--json").expect(0).json
    assert not set(KINDS) & report["kinds"].keys()
    key = secret(destination, "a key")
    model(destination, "big", key)
    report = run_tool("copy-all", *genai.pair(destination, off), "--json", "--allow-loss", "secret").expect(0).json
    assert [report["kinds"][kind]["skipped"] for kind in KINDS[:2]] == [1, 1]
