"""What `promote` writes down, lineage and audit read: who promoted and approved, from where, which bytes."""

import json
from pathlib import Path

import pytest
import yaml

from tests import servers
from tests.conftest import Run, ServerPool
from tests.governance import scene
from tests.governance.scene import COMMIT
from tests.rest import Api, Json
from tests.servers import Snapshot

PEOPLE = {"models": "*", "to": ["prod"], "gates": [{"gate": "approvals", "people": ["alice", "bob"], "needed": 1}]}


@pytest.fixture
def policy(template: Path, server_pool: ServerPool, tmp_path: Path, run_here: Run) -> Path:
    """A model trained at dev, promoted to test, approved by alice and promoted to prod by pia."""
    there = {"dev": server_pool("source"), "test": server_pool("destination"), "prod": server_pool("prod")}
    for server in there.values():
        servers.reset(server, Snapshot(template))
    scene.train(there["dev"])
    environments = {name: {"server": server.url} for name, server in there.items()}
    environments["prod"]["journal"] = "releases"
    path = tmp_path / "promotion.yml"
    words = {"version": 1, "environments": environments, "path": list(there), "rules": [PEOPLE]}
    path.write_text(yaml.safe_dump({**words, "audit": {"rules": {"naming": "off"}}}))
    policy = ("--policy", path)
    run_here("promote", "run", "churn/1", "--to", "test", *policy, "--by", "pia").expect(0)
    asked = ("churn@champion", "--to", "prod", *policy)
    run_here("promote", "approve", *asked, "--by", "alice", "--comment", "looks good").expect(0)
    run_here("promote", "run", *asked, "--by", "pia", "--note", "weekly").expect(0)
    return path


def test_lineage_tells_who_promoted_and_approved_and_reaches_the_commit(run_here: Run, policy: Path) -> None:
    document = run_here("lineage", "show", "churn@champion", "--policy", policy, "--json").expect(0).json
    nodes = {(node["kind"], node["environment"]): node for node in document["nodes"]}
    assert document["starts"] == ["model version|prod|churn/1"]
    assert ("git commit", "") in nodes and nodes["git commit", ""]["name"] == COMMIT
    for place in ("dev", "test", "prod"):
        assert nodes["model version", place]["name"] == "churn version 1"
    promotion = nodes["promotion", "prod"]
    assert promotion["facts"]["record"]["by"] == "pia"
    assert promotion["facts"]["record"]["note"] == "weekly"
    assert "environment=test" in promotion["facts"]["record"]["from"]
    assert "passed=True" in promotion["facts"]["gates"]["approvals"]
    assert "approved" in promotion["facts"]["approvals"]["alice"]
    said = nodes["model version", "test"]["facts"]["approvals"]
    assert said["alice for prod"].startswith("approved at ")
    assert said["alice for prod"].endswith(": looks good")
    labels = {edge["label"] for edge in document["edges"] if edge["origin"] == promotion["id"]}
    assert labels == {"promoted by"}
    assert promotion["link"].startswith(nodes["model version", "prod"]["link"].partition("#")[0])


def test_what_a_promotion_made_is_traced_forward_from_the_run_of_dev(run_here: Run, policy: Path) -> None:
    words = ("--downstream", "dataset:customers", "--policy", policy, "--json")
    document = run_here("lineage", "show", *words).expect(0).json
    found = {(node["kind"], node["environment"]) for node in document["nodes"]}
    assert {
        ("model version", "dev"),
        ("model version", "prod"),
        ("promotion", "prod"),
        ("promotion", "test"),
        ("run", "dev"),
    } <= found


def grave(document: Json) -> set[tuple[str, str]]:
    """The grave findings of a report."""
    return {(each["rule"], each["name"]) for each in document["findings"] if each["severity"] == "high"}


def test_an_audit_of_a_promoted_model_finds_nothing_grave_until_its_bytes_change(
    run_here: Run, policy: Path, server_pool: ServerPool
) -> None:
    asked = ("audit", "run", "--policy", policy, "--fail-on", "high", "--json")
    document = run_here(*asked).expect(0).json
    assert grave(document) == set()
    assert document["address"] == server_pool("prod").url
    (mlmodel,) = server_pool("prod").artifacts.rglob("MLmodel")
    mlmodel.write_bytes(mlmodel.read_bytes() + b"# changed by somebody\n")
    document = run_here(*asked).expect(1).json
    assert grave(document) == {("bytes-differ", "churn/1")}
    (finding,) = [each for each in document["findings"] if each["rule"] == "bytes-differ"]
    assert "recorded at the version" in finding["message"] and "recorded in the journal" in finding["message"]


def test_an_audit_traces_a_version_in_use_to_an_origin_that_was_deleted(
    run_here: Run, policy: Path, server_pool: ServerPool
) -> None:
    dev = Api(server_pool("source").url)
    run_id = dev.get("model-versions/get", name="churn", version="1")["model_version"]["run_id"]
    dev.post("runs/delete", run_id=run_id)
    dev.close()
    document = run_here("audit", "run", "--policy", policy, "--json").expect(0).json
    assert grave(document) == {("origin-untraceable", "churn/1")}


def test_a_policy_with_a_part_for_audits_promotes_as_one_without(policy: Path, run_here: Run) -> None:
    told = run_here("promote", "history", "churn", "--policy", policy, "--json").expect(0).json
    assert [event["outcome"] for event in told["events"]] == ["done", "done"]
    changed = yaml.safe_load(policy.read_text())
    changed["audit"] = {"stale_days": 1}
    policy.write_text(yaml.safe_dump(changed))
    # What an audit looks for is no part of what a promotion was decided by.
    again = run_here("promote", "run", "churn@champion", "--to", "prod", "--policy", policy, "--by", "pia", "--json")
    assert json.loads(again.expect(0).stdout)["ok"]
    assert len(run_here("promote", "history", "churn", "--policy", policy, "--json").json["events"]) == 2
