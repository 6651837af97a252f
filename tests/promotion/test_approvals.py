"""Approvals count for the people and the bytes they were given for."""

import json

import pytest

from tests.conftest import Run
from tests.promotion.conftest import Stage, set_tag, version
from tests.rest import Api, upload

PEOPLE = {
    "gates": [{"gate": "approvals", "people": ["alice", "bob", "dora"], "needed": 2, "tag": "Sign_{environment}"}]
}
TO = ("--to", "test")


@pytest.fixture
def policy(stage: Stage) -> tuple[str, str]:
    return ("--policy", str(stage.policy(PEOPLE)))


def reason(run_here: Run, policy: tuple[str, str]) -> str:
    document = run_here("promote", "plan", "churn/1", *TO, *policy, "--json").json
    return str(document["gates"][0]["reason"])


def say(run_here: Run, policy: tuple[str, str], who: str, word: str = "approve", *more: str) -> None:
    run_here("promote", word, "churn/1", *TO, "--by", who, *policy, *more).expect(0)


def test_so_many_of_the_named_people_have_to_approve(stage: Stage, run_here: Run, policy: tuple[str, str]) -> None:
    say(run_here, policy, "alice")
    assert reason(run_here, policy) == "1 more to approve: mlflow-migration promote approve"
    assert version(stage.dev, "1")["tags"]["Sign_test"] == "pending"
    say(run_here, policy, "alice")
    assert reason(run_here, policy).startswith("1 more")
    say(run_here, policy, "bob")
    assert version(stage.dev, "1")["tags"]["Sign_test"] == "approved"
    run_here("promote", "run", "churn/1", *TO, *policy).expect(0)


def test_an_approval_tells_who_when_and_for_which_bytes(stage: Stage, run_here: Run, policy: tuple[str, str]) -> None:
    say(run_here, policy, "alice", "approve", "--comment", "looked at it")
    tags = version(stage.dev, "1")["tags"]
    (found,) = [json.loads(value) for key, value in tags.items() if key.startswith("mlflow_migration.approval.test.")]
    assert (found["by"], found["verdict"], found["comment"]) == ("alice", "approved", "looked at it")
    assert found["at"].endswith("+00:00")
    assert len(found["digest"]) == 64
    before = dict(tags)
    say(run_here, policy, "alice", "approve", "--comment", "again")
    assert version(stage.dev, "1")["tags"] == before


def test_changed_bytes_void_an_approval(stage: Stage, run_here: Run, policy: tuple[str, str]) -> None:
    say(run_here, policy, "alice")
    say(run_here, policy, "bob")
    assert reason(run_here, policy) == ""
    api = Api(stage.dev.url)
    uri = api.get(f"logged-models/{stage.trained.made['first']['model_id']}")["model"]["info"]["artifact_uri"]
    upload(api, uri, "requirements.txt", b"evil==6.6.6\n")
    api.close()
    ended = run_here("promote", "run", "churn/1", *TO, *policy, "--json").expect(5)
    said = ended.json["gates"][0]["reason"]
    assert "the approval of alice is void: it was for " in said
    assert "the approval of bob is void" in said
    say(run_here, policy, "alice")
    assert version(stage.dev, "1")["tags"]["Sign_test"] == "pending"


def test_nobody_approves_their_own_work_and_strangers_have_no_say(run_here: Run, policy: tuple[str, str]) -> None:
    own = run_here("promote", "approve", "churn/1", *TO, "--by", "dora", *policy).expect(2)
    assert "'dora' made version churn/1" in own.stderr
    stranger = run_here("promote", "approve", "churn/1", *TO, "--by", "mallory", *policy).expect(2)
    assert "the policy names alice, bob, dora" in stranger.stderr


def test_an_authors_approval_counts_for_nothing_however_it_came_there(
    stage: Stage, run_here: Run, policy: tuple[str, str]
) -> None:
    say(run_here, policy, "alice")
    say(run_here, policy, "bob")
    # Bob takes part in the run afterwards, as its user.
    api = Api(stage.dev.url)
    run_id = stage.trained.made["first"]["run_id"]
    api.post("runs/set-tag", run_id=run_id, key="mlflow.user", value="bob")
    api.close()
    assert "bob is an author" in reason(run_here, policy)


def test_a_rejection_stands_against_any_number_of_approvals(
    stage: Stage, run_here: Run, policy: tuple[str, str]
) -> None:
    for who in ("alice", "bob"):
        say(run_here, policy, who)
    say(run_here, policy, "bob", "reject", "--comment", "small shops")
    assert reason(run_here, policy) == "bob rejected it: small shops"
    assert version(stage.dev, "1")["tags"]["Sign_test"] == "rejected"


def test_a_plain_tag_approves_nothing_since_it_does_not_say_who(
    stage: Stage, run_here: Run, policy: tuple[str, str]
) -> None:
    set_tag(stage.dev, "1", "Sign_test", "Approved")
    assert "tag 'Sign_test' says Approved, but not who did, nor for which bytes" in reason(run_here, policy)


def test_an_opinion_under_somebody_elses_key_or_without_sense_is_none(
    stage: Stage, run_here: Run, policy: tuple[str, str]
) -> None:
    say(run_here, policy, "alice")
    tags = version(stage.dev, "1")["tags"]
    (key,) = [key for key in tags if key.startswith("mlflow_migration.approval.test.")]
    forged = json.dumps({**json.loads(tags[key]), "by": "bob"})
    set_tag(stage.dev, "1", "mlflow_migration.approval.test.0000", forged)
    set_tag(stage.dev, "1", "mlflow_migration.approval.test.0001", "[1")
    assert reason(run_here, policy).startswith("1 more")


def test_an_approval_for_one_environment_is_none_for_another(run_here: Run, policy: tuple[str, str]) -> None:
    for who in ("alice", "bob"):
        say(run_here, policy, who)
    run_here("promote", "run", "churn/1", *TO, *policy).expect(0)
    run_here("promote", "run", "churn", "--to", "prod", *policy).expect(5)
