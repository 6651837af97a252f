"""Ten weeks of a churn model from dev over test to prod: what goes through, what is refused and why, what is told."""

import contextlib
import json
from collections.abc import Iterator

import requests

from tests.conftest import Run
from tests.promotion.conftest import Stage, aliases, entries, version
from tests.rest import Api, download, upload
from tests.servers import Server

METRIC = {"gate": "metric", "metric": "roc_auc", "at_least": 0.75, "than": "champion", "margin": 0.005}
SLICES = {"gate": "slices", "metrics": "recall_*", "by_at_most": 0.05}
PEOPLE = {"gate": "approvals", "people": ["alice", "bob"], "needed": 1}
SCHEMA = {"gate": "schema_compatible", "name": "schema"}
EVERYWHERE = {"models": "churn*", "gates": [METRIC, SLICES, {"gate": "run_finished"}]}
TEN_WEEKS = {"models": "churn*", "gates": [*EVERYWHERE["gates"], SCHEMA]}
INTO_PROD = {"models": "*", "to": ["prod"], "gates": [PEOPLE]}


def gates_of(document: dict[str, object]) -> dict[str, dict[str, object]]:
    found = document["gates"]
    assert isinstance(found, list)
    return {gate["name"]: gate for gate in found}


@contextlib.contextmanager
def changed_bytes(server: Server, number: str) -> Iterator[None]:
    """A file of a version is another one meanwhile."""
    api = Api(server.url)
    uri = api.get("model-versions/get-download-uri", name="churn", version=number)["artifact_uri"]
    if uri.startswith("models:/"):
        uri = api.get(f"logged-models/{uri.removeprefix('models:/')}")["model"]["info"]["artifact_uri"]
    before = download(api, uri, "requirements.txt")
    upload(api, uri, "requirements.txt", b"evil==6.6.6\n")
    yield
    upload(api, uri, "requirements.txt", before)
    api.close()


def test_ten_weeks_go_from_dev_to_prod_by_the_policy_alone(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy(TEN_WEEKS, INTO_PROD))
    weeks = stage.trained

    run_here("promote", "run", f"churn/{weeks['first']}", "--to", "test", *policy).expect(0)
    assert aliases(stage.test) == {"champion": "1"}
    worse = run_here("promote", "run", f"churn/{weeks['worse']}", "--to", "test", *policy, "--json").expect(5)
    reasons = gates_of(worse.json)
    assert reasons["metric roc_auc"]["reason"] == (
        "0.7 is below 0.75; 0.7 is not 0.005 better than 0.8 of champion (churn/1)"
    )
    assert reasons["slices recall_*"]["passed"]
    hurting = run_here("promote", "run", f"churn/{weeks['hurts the south']}", "--to", "test", *policy, "--json").expect(
        5
    )
    reasons = gates_of(hurting.json)
    assert reasons["metric roc_auc"]["passed"]
    assert reasons["slices recall_*"]["reason"] == "recall_south falls from 0.8 to 0.55"
    assert aliases(stage.test) == {"champion": "1"}
    run_here("promote", "run", f"churn/{weeks['better']}", "--to", "test", *policy).expect(0)
    assert aliases(stage.test) == {"champion": "2", "previous": "1"}

    waiting = run_here("promote", "run", "churn", "--to", "prod", *policy, "--json").expect(5)
    assert waiting.json["version"] == "2"
    assert "1 more to approve" in str(gates_of(waiting.json)["approvals"]["reason"])
    run_here("promote", "approve", "churn", "--to", "prod", "--by", "alice", *policy).expect(0)
    assert version(stage.test, "2")["tags"]["approve_prod"] == "approved"
    with changed_bytes(stage.test, "2"):
        void = run_here("promote", "run", "churn", "--to", "prod", *policy, "--json").expect(5)
        assert "the approval of alice is void" in str(gates_of(void.json)["approvals"]["reason"])
    assert aliases(stage.prod) == {}
    run_here("promote", "run", "churn", "--to", "prod", *policy).expect(0)
    assert aliases(stage.prod) == {"champion": "1"}

    run_here("promote", "run", f"churn/{weeks['best']}", "--to", "test", *policy).expect(0)
    for word, refusing in (("bare", "metric roc_auc"), ("failed", "run_finished"), ("wide", "schema")):
        ended = run_here("promote", "run", f"churn/{weeks[word]}", "--to", "test", *policy, "--json").expect(5)
        assert not gates_of(ended.json)[refusing]["passed"]
    for word in ("late", "last"):
        run_here("promote", "run", f"churn/{weeks[word]}", "--to", "test", *policy).expect(0)
    run_here("promote", "approve", "churn", "--to", "prod", "--by", "bob", *policy).expect(0)
    run_here("promote", "run", "churn", "--to", "prod", *policy).expect(0)
    assert aliases(stage.prod) == {"champion": "2", "previous": "1"}
    back = ("promote", "rollback", "churn", "--environment", "prod", *policy)
    run_here(*back, "--reason", "alerts", "--dry-run").expect(0)
    assert aliases(stage.prod)["champion"] == "2"
    run_here(*back, "--reason", "alerts").expect(0)
    assert aliases(stage.prod) == {"champion": "1", "previous": "2"}
    assert "can't go back so far" in run_here(*back, "--reason", "again").expect(2).stderr

    told = run_here("promote", "history", "churn", *policy, "--json").expect(0).json["events"]
    short = [(each["environment"], each["number"], each["kind"], each["outcome"], each["version"]) for each in told]
    assert short == [
        ("test", 1, "promote", "done", "1"),
        ("test", 2, "promote", "refused", ""),
        ("test", 3, "promote", "refused", ""),
        ("test", 4, "promote", "done", "2"),
        ("test", 5, "promote", "done", "3"),
        ("test", 6, "promote", "refused", ""),
        ("test", 7, "promote", "refused", ""),
        ("test", 8, "promote", "refused", ""),
        ("test", 9, "promote", "done", "4"),
        ("test", 10, "promote", "done", "5"),
        ("prod", 1, "promote", "refused", ""),
        ("prod", 2, "promote", "refused", ""),
        ("prod", 3, "promote", "done", "1"),
        ("prod", 4, "promote", "done", "2"),
        ("prod", 5, "rollback", "done", "1"),
    ]
    assert "is void" in told[-4]["reason"]
    assert told[-1]["reason"] == "alerts"
    between = told[-2]["ended"].replace("+00:00", "")
    held = run_here("promote", "history", "churn", "--environment", "prod", "--at", between, *policy, "--json").expect(
        0
    )
    assert held.json["in_use"] == {"prod": "2"}
    rows = run_here("promote", "status", "churn", *policy, "--verify", "--json").expect(0).json["rows"]
    assert [(row["environment"], row["version"], row["equal"]) for row in rows] == [
        ("dev", "", ""),
        ("test", "5", ""),
        ("prod", "1", "no"),
    ]


def test_what_arrives_is_whole_and_its_record_tells_where_it_came_from(stage: Stage, run_here: Run) -> None:
    policy = stage.policy(EVERYWHERE, environments={"test": {"model": "{team}.{model}", "values": {"team": "ml"}}})
    number = stage.trained["first"]
    run_here("promote", "run", f"churn/{number}", "--to", "test", "--policy", policy, "--by", "pia").expect(0)
    there = version(stage.test, "1", "ml.churn")
    tags = {key.removeprefix("mlflow_migration.promotion."): value for key, value in there["tags"].items()}
    assert tags["week"] == "1"
    assert (tags["by"], tags["from"]) == ("pia", f"dev churn/{number} at {stage.dev.url}")

    api = Api(stage.test.url)
    run = api.get("runs/get", run_id=there["run_id"])["run"]
    assert {"key": "rows", "value": "400"} in run["data"]["params"]
    assert {metric["key"] for metric in run["data"]["metrics"]} >= {"roc_auc", "recall_south"}
    entry = api.get("runs/get", run_id=tags["run_id"])["run"]
    document = json.loads(download(api, entry["info"]["artifact_uri"], "promotion.json"))
    api.close()
    assert entry["info"]["status"] == "FINISHED"
    assert document["from"]["version"] == number
    assert document["to"] == {
        "environment": "test",
        "server": stage.test.url,
        "model": "ml.churn",
        "version": "1",
        "digest": document["from"]["digest"],
        "alias": "champion",
        "previous": "",
    }
    assert tags["digest"] == document["from"]["digest"]
    assert [gate["passed"] for gate in document["gates"]] == [True, True, True]
    assert document["policy"] == tags["policy"]
    body = requests.get(
        f"{stage.test.url}/model-versions/get-artifact",
        params={"name": "ml.churn", "version": "1", "path": "MLmodel"},
        timeout=30,
    ).text
    assert there["run_id"] in body
    assert stage.trained.made["first"]["run_id"] not in body


def test_a_promotion_that_is_done_or_refused_again_writes_nothing(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy(EVERYWHERE))
    done = ("promote", "run", f"churn/{stage.trained['first']}", "--to", "test", *policy)
    refused = ("promote", "run", f"churn/{stage.trained['worse']}", "--to", "test", *policy)
    run_here(*done).expect(0)
    assert run_here(*done, "--json").expect(0).json["state"] == "same"
    assert len(entries(stage.test)) == 1
    run_here(*refused).expect(5)
    run_here(*refused).expect(5)
    assert [each["outcome"] for each in entries(stage.test)] == ["done", "refused"]


def test_a_plan_and_a_dry_run_write_nothing_anywhere(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy(EVERYWHERE))
    run_here("promote", "plan", "churn/1", "--to", "test", *policy, "--json").expect(0)
    run_here("promote", "run", "churn/1", "--to", "test", *policy, "--dry-run").expect(0)
    run_here("promote", "plan", "churn/3", "--to", "test", *policy).expect(5)
    assert aliases(stage.test) == {}
    assert entries(stage.test) == []
    api = Api(stage.test.url)
    found = api.post("experiments/search", max_results=100)["experiments"]
    api.close()
    assert [each["name"] for each in found] == ["Default"]


def test_an_alias_that_somebody_moves_meanwhile_is_left_where_it_is(stage: Stage, run_here: Run) -> None:
    policy = (
        "--policy",
        stage.policy({"gates": [{"gate": "check", "command": ["sh", "-c", "cat >/dev/null; sh move.sh"]}]}),
    )
    (stage.folder / "move.sh").write_text("echo '{\"passed\": true}'\n")
    for word in ("first", "better"):
        run_here("promote", "run", f"churn/{stage.trained[word]}", "--to", "test", *policy).expect(0)
    assert aliases(stage.test)["champion"] == "2"
    # While the third one's gates are asked, a person points the alias at the first one.
    body = json.dumps({"name": "churn", "alias": "champion", "version": "1"})
    url = f"{stage.test.url}/api/2.0/mlflow/registered-models/alias"
    post = f"curl -sf -X POST -H 'Content-Type: application/json' -d '{body}' {url} >/dev/null"
    (stage.folder / "move.sh").write_text(f"{post}\necho '{{\"passed\": true}}'\n")
    ended = run_here("promote", "run", f"churn/{stage.trained['best']}", "--to", "test", *policy).expect(1)
    assert "was moved meanwhile" in ended.stderr
    assert "it was at 2, and is at 1 now" in ended.stderr
    assert aliases(stage.test)["champion"] == "1"
    drift = run_here("promote", "status", "churn", *policy).expect(1)
    assert "the journal has 2, the alias points at 1" in drift.stdout
    assert [each["outcome"] for each in entries(stage.test)] == ["done", "done", "failed"]


def test_a_canary_is_tried_beside_the_champion_and_then_takes_its_place(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy(EVERYWHERE))
    run_here("promote", "run", f"churn/{stage.trained['first']}", "--to", "test", *policy).expect(0)
    canary = ("promote", "run", f"churn/{stage.trained['better']}", "--to", "test", *policy)
    run_here(*canary, "--as", "challenger", "--tag", "traffic=10").expect(0)
    assert aliases(stage.test) == {"champion": "1", "challenger": "2"}
    assert version(stage.test, "2")["tags"]["traffic"] == "10"
    run_here(*canary).expect(0)
    assert aliases(stage.test) == {"champion": "2", "previous": "1"}
    assert [each["kind"] for each in entries(stage.test)] == ["promote", "canary", "promote"]


def test_a_server_that_uses_stages_gets_them_too(stage: Stage, run_here: Run) -> None:
    staged = {"test": {"stage": "Production", "archive_previous": True}}
    policy = ("--policy", stage.policy(EVERYWHERE, environments=staged))
    for word in ("first", "better"):
        run_here("promote", "run", f"churn/{stage.trained[word]}", "--to", "test", *policy).expect(0)
    assert version(stage.test, "1")["current_stage"] == "Archived"
    assert version(stage.test, "2")["current_stage"] == "Production"
    run_here("promote", "rollback", "churn", "--environment", "test", "--reason", "slow", *policy).expect(0)
    assert version(stage.test, "1")["current_stage"] == "Production"
    assert version(stage.test, "2")["current_stage"] == "Archived"


def test_environments_of_one_server_share_run_and_files(stage: Stage, run_here: Run) -> None:
    names = {"test": {"model": "{model}.test"}}
    policy = stage.policy(EVERYWHERE, environments=names, addresses={"test": stage.dev.url})
    number = stage.trained["first"]
    run_here("promote", "run", f"churn/{number}", "--to", "test", "--policy", policy).expect(0)
    there, here = version(stage.dev, "1", "churn.test"), version(stage.dev, number)
    assert there["run_id"] == here["run_id"]
    assert aliases(stage.dev, "churn.test") == {"champion": "1"}


def test_environments_of_one_registered_model_are_told_apart_by_aliases(stage: Stage, run_here: Run) -> None:
    addresses = {"test": stage.dev.url, "prod": stage.dev.url}
    own = {"test": {"alias": "staging"}, "prod": {"alias": "production"}}
    policy = ("--policy", stage.policy(EVERYWHERE, environments=own, addresses=addresses))
    number = stage.trained["first"]
    run_here("promote", "run", f"churn/{number}", "--to", "test", *policy).expect(0)
    run_here("promote", "run", "churn", "--to", "prod", *policy).expect(0)
    assert aliases(stage.dev) == {"staging": number, "production": number}
    before = len(entries(stage.dev))
    for environment in ("test", "prod"):
        run_here("promote", "run", f"churn/{number}", "--to", environment, *policy).expect(0)
    assert len(entries(stage.dev)) == before
    # What is compared with champion is compared with the version in use, whatever its alias is there.
    ended = run_here("promote", "run", f"churn/{stage.trained['worse']}", "--to", "test", *policy).expect(5)
    assert "not 0.005 better than 0.8 of champion" in ended.stdout


def test_a_protected_environment_asks_for_approvals_whatever_its_rules(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy(EVERYWHERE, environments={"test": {"protected": True}}))
    ended = run_here("promote", "run", "churn/1", "--to", "test", *policy, "--json").expect(5)
    assert gates_of(ended.json)["protected"]["reason"] == (
        "test is protected, and no rule of the policy asks for approvals"
    )
