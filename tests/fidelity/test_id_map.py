"""The id map names every object that has another id at the destination."""

import json

from mlflow_migration.objects import KINDS
from tests import genai, servers
from tests.conftest import Tool
from tests.faults.test_broken_objects import seed
from tests.fidelity import test_gateway as gateway
from tests.servers import Server

NAMES = {
    "experiment": "SELECT experiment_id, name FROM experiments",
    "run": "SELECT run_uuid, name FROM runs",
    "logged_model": "SELECT model_id, name FROM logged_models",
    "issue": "SELECT issue_id, name FROM issues",
    "evaluation_dataset": "SELECT dataset_id, name FROM evaluation_datasets",
    "label_schema": "SELECT schema_id, name FROM label_schemas",
    "review_queue": "SELECT queue_id, name FROM review_queues",
    "webhook": "SELECT webhook_id, name FROM webhooks",
    "scorer": "SELECT experiment_id || '/scorers/' || scorer_name, scorer_name FROM scorers",
    "registered_model": "SELECT name, name FROM registered_models WHERE name LIKE '% registered'",
    "prompt": "SELECT name, name FROM registered_models WHERE name LIKE '% prompt'",
    "model_version": "SELECT name || '/' || version, name FROM model_versions WHERE name LIKE '% registered'",
    "gateway_model_definition": "SELECT model_definition_id, name FROM model_definitions",
    "gateway_endpoint": "SELECT endpoint_id, name FROM endpoints",
    "gateway_budget": "SELECT budget_policy_id, budget_amount || '' FROM budget_policies",
    "gateway_guardrail": "SELECT guardrail_id, name FROM guardrails",
    "prompt_version": "SELECT name || '/' || version, name FROM model_versions WHERE name LIKE '% prompt'",
}


def seed_gateway(source: Server, destination: Server) -> None:
    """One of each kind of the gateway's, and at the destination the secret they wait for."""
    gateway.secret(destination, "a key")
    model = gateway.model(source, "big", gateway.secret(source, "a key"))
    gateway.endpoint(source, "chat", gateway.primary(model), usage_tracking=False)
    gateway.ask(source, "budgets/create", **gateway.ALERT, budget_amount=12.5)
    scorer = gateway.judge(source, genai.experiment(source, "judged"), "safe", "chat")
    body = {"name": "no harm", "scorer_id": scorer, "scorer_version": 1, "stage": "BEFORE", "action": "VALIDATION"}
    gateway.ask(source, "guardrails/create", **body)


def test_the_id_map_has_a_row_for_each_object_of_every_kind_with_new_ids(
    empty_source: Server, destination: Server, run_tool: Tool
) -> None:
    seed(empty_source)
    seed_gateway(empty_source, destination)
    genai.experiment(destination, "takes a number, so that ids differ")
    places = ("--src-mlflow-uri", empty_source.url, "--dst-mlflow-uri", destination.url)
    run_tool("copy-all", *places, "--allow-loss", "all").expect(0)
    rows = json.loads(run_tool("id-map", destination.url, "--json").expect(0).stdout)
    assert {row["source"] for row in rows} == {empty_source.url}
    assert {kind for kind, module in KINDS.items() if module.NEW_IDS} <= NAMES.keys()
    for kind, query in NAMES.items():
        left, right = (dict(servers.select(end, query)) for end in (empty_source, destination))
        right = {id_: name for id_, name in right.items() if not name.startswith("takes a number")}
        pairs = [(str(row["source_id"]), str(row["destination_id"])) for row in rows if row["kind"] == kind]
        ours, theirs = ({str(id_): name for id_, name in side.items()} for side in (left, right))
        assert sorted(source for source, _ in pairs) == sorted(ours), kind
        assert sorted(there for _, there in pairs) == sorted(theirs), kind
        assert [ours[source] for source, _ in pairs] == [theirs[there] for _, there in pairs], kind
    # Without its ledger what has no tags isn't known any more, and all else is.
    without = run_tool("id-map", destination.url, "--json", "--state-dir", run_tool.home / "none").expect(0)
    lost = {"issue", "label_schema", "review_queue", "webhook", "scorer"}
    lost |= {"gateway_model_definition", "gateway_budget", "gateway_guardrail"}
    assert json.loads(without.stdout) == [row for row in rows if row["kind"] not in lost]
