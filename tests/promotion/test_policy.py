"""A policy is read whole, or refused with every fault named."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_migration.errors import UsageError
from mlflow_migration.promotion.gate_forms import Metric
from mlflow_migration.promotion.policy import Policy, load, parsed, schema, write_starter
from mlflow_migration.promotion.step import asked
from tests.conftest import Run

ENVIRONMENTS = {"dev": {"server": "http://dev"}, "prod": {"server": "http://prod"}}
WHOLE: dict[str, Any] = {"version": 1, "environments": ENVIRONMENTS, "path": ["dev", "prod"]}


def rule(**gate: object) -> dict[str, object]:
    return {"rules": [{"gates": [gate]}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"paths": []}, "paths: Extra inputs are not permitted"),
        ({"path": ["dev"]}, "path: Tuple should have at least 2 items"),
        ({"path": ["dev", "prod", "dev"]}, "path: an environment stands in it twice"),
        ({"path": ["dev", "live"]}, "no such environment: 'live'"),
        ({"alias": "champion!"}, "alias: String should match pattern"),
        ({"alias": "previous"}, "alias, challenger and previous are to be three names"),
        ({"lease_seconds": 0}, "lease_seconds: Input should be greater than or equal to 1"),
        ({"environments": {**ENVIRONMENTS, "prod": {}}}, "environments.prod.server: Field required"),
        ({"environments": {**ENVIRONMENTS, "prod": {"server": "x", "model": "{team}.{model}"}}}, "names what isn't in"),
        ({"environments": {**ENVIRONMENTS, "prod": {"server": "x", "model": "{model.__class__}"}}}, "names what isn't"),
        ({"environments": {**ENVIRONMENTS, "prod": {"server": "x", "model": "{model"}}}, "environments.prod"),
        ({"rules": [{"gates": []}]}, "rules.0.gates: Tuple should have at least 1 item"),
        ({"rules": [{"to": ["live"], "gates": [{"gate": "signature"}]}]}, "no such environment: 'live'"),
        (rule(gate="magic"), "rules.0.gates.0: Input tag 'magic' found using 'gate' does not match any of"),
        (rule(gate="metric", metric="auc"), "rules.0.gates.0.metric: give at_least, at_most or than"),
        (
            rule(gate="metric", metric="auc", at_least="high"),
            "rules.0.gates.0.metric.at_least: Input should be a valid",
        ),
        (rule(gate="metric", metric="auc", atleast=1), "rules.0.gates.0.metric.atleast: Extra inputs"),
        (rule(gate="metric", metric="auc", than="live"), "than: no such alias: live"),
        (rule(gate="slices", metrics="auc_*", than="live"), "than: no such alias: live"),
        (rule(gate="required"), "give params, metrics, tags or artifacts"),
        (rule(gate="check"), "give command or python"),
        (rule(gate="check", command=["a"], python="a:b"), "give command or python"),
        (rule(gate="check", python="os.system"), "python is to be written module:function"),
        (rule(gate="approvals", people=["a"], needed=2), "2 are needed, and 1 named"),
        (rule(gate="approvals", people=["a", "a"], needed=2), "2 are needed, and 1 named"),
        (rule(gate="maximum_age", days=0), "rules.0.gates.0.maximum_age.days: Input should be greater than 0"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_place_and_the_fault(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parsed({**WHOLE, **change}, "promotion.yml")
    assert said in refused.value.why


def test_every_fault_of_a_policy_is_told_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        parsed({**WHOLE, "version": 2, "lease_seconds": 0, "path": 3}, "promotion.yml")
    assert refused.value.why.count(";") == 2


@pytest.mark.parametrize("text", ["version: [", "- 1", "\x00", "&a [*a]"])
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "promotion.yml"
    path.write_text(text)
    with pytest.raises(UsageError, match="the policy"):
        load(path)


def test_a_policy_that_is_not_there_says_how_to_begin(run_here: Run, tmp_path: Path) -> None:
    ended = run_here("promote", "plan", "churn", "--to", "prod", "--policy", tmp_path / "gone.yml").expect(2)
    assert "promote init" in ended.stderr


def test_the_starter_is_a_policy_and_is_never_written_over_another_file(run_here: Run, tmp_path: Path) -> None:
    path = tmp_path / "promotion.yml"
    run_here("promote", "init", "--output", path).expect(0)
    policy = load(path).policy
    assert policy.path == ("dev", "test", "prod")
    assert {gate.gate for gate in policy.gates("churn", "prod")} >= {"signature", "approvals", "maximum_age"}
    path.write_text("mine")
    run_here("promote", "init", "--output", path).expect(2)
    assert path.read_text() == "mine"
    with pytest.raises(UsageError):
        write_starter(path)


def test_what_the_starter_has_in_comments_is_right_too(tmp_path: Path, run_here: Run) -> None:
    path = tmp_path / "promotion.yml"
    run_here("promote", "init", "--output", path).expect(0)
    shown = [line.replace("  # ", "  ", 1) for line in path.read_text().splitlines() if line.startswith("  # -")]
    shown += [line.replace("  # ", "  ", 1) for line in path.read_text().splitlines() if line.startswith("  #   ")]
    gates = [line.strip()[2:] for line in shown if line.strip().startswith("- {gate")]
    assert len(gates) >= 6
    for text in gates:
        parsed({**WHOLE, **rule(**yaml.safe_load(text))}, text)


def test_rules_of_all_that_match_apply_and_names_follow_their_patterns() -> None:
    policy = parsed(
        {
            **WHOLE,
            "environments": {
                "dev": {"server": "x"},
                "prod": {"server": "y", "model": "{catalog}.ml.{model}", "values": {"catalog": "live"}},
            },
            "rules": [
                {"models": "churn*", "gates": [{"gate": "signature"}]},
                {"models": "*", "to": ["prod"], "gates": [{"gate": "input_example"}]},
                {"models": "fraud", "gates": [{"gate": "run_finished"}]},
            ],
        },
        "here",
    )
    assert [gate.gate for gate in policy.gates("churn-eu", "prod")] == ["signature", "input_example"]
    assert [gate.gate for gate in policy.gates("churn-eu", "dev")] == ["signature"]
    assert policy.name_in("prod", "churn") == "live.ml.churn"


def test_a_policys_hash_follows_what_it_says_not_how_it_is_written() -> None:
    turned = dict(reversed(WHOLE.items()))
    assert parsed(WHOLE, "a").digest() == parsed({**turned, "alias": "champion"}, "b").digest()
    assert parsed(WHOLE, "a").digest() != parsed({**WHOLE, "alias": "live"}, "b").digest()


def test_the_schema_names_every_gate_and_every_key_has_words() -> None:
    found = json.loads(schema())
    gates = [form for form in found["$defs"].values() if "gate" in form["properties"]]
    assert len(gates) == 16
    for form in [found, *found["$defs"].values()]:
        for key, value in form["properties"].items():
            assert key == "gate" or value.get("description"), key
    assert Metric.__doc__ in {form["description"] for form in gates}
    assert Policy.model_validate(WHOLE).alias == "champion"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("churn", ("churn", "", "")),
        ("churn/7", ("churn", "7", "")),
        ("main.ml.churn@candidate", ("main.ml.churn", "", "candidate")),
    ],
)
def test_a_model_is_typed_with_a_version_or_an_alias(text: str, parts: tuple[str, str, str]) -> None:
    found = asked(text)
    assert (found.model, found.version, found.alias) == parts


@pytest.mark.parametrize("text", ["", "churn/", "churn/x", "churn@", "a/b/1", "churn/1@x"])
def test_anything_else_is_no_model(text: str) -> None:
    with pytest.raises(UsageError):
        asked(text)
