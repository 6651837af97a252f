"""What can't go whole doesn't go; an interrupted promotion says how to go on; who is at work is known."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_migration.promotion import facts
from mlflow_migration.promotion.step import joined
from mlflow_migration.server.live import Server as Live
from tests.conftest import Run, Tool
from tests.faults import start
from tests.faults.proxy import Exchange, Proxy, cut_before, on
from tests.promotion.conftest import Stage, aliases, entries, version
from tests.promotion.test_flow import EVERYWHERE
from tests.servers import Server


def add_unholdable(stage: Stage, word: str) -> None:
    """A file of the run whose name MLflow's REST API can't give."""
    (home,) = stage.dev.artifacts.rglob(f"{stage.trained.made[word]['run_id']}/artifacts")
    (home / "odd#name.txt").write_text("lost")


def test_a_copy_that_loses_something_is_no_promotion_unless_the_policy_waives_it(stage: Stage, run_here: Run) -> None:
    policy = ("--policy", stage.policy(EVERYWHERE))
    run_here("promote", "run", f"churn/{stage.trained['first']}", "--to", "test", *policy).expect(0)
    add_unholdable(stage, "better")
    words = ("promote", "run", f"churn/{stage.trained['better']}", "--to", "test")
    ended = run_here(*words, *policy).expect(1)
    assert "can't be copied whole" in ended.stderr
    assert "odd#name.txt" in ended.stderr
    assert aliases(stage.test) == {"champion": "1"}
    waived = stage.policy(EVERYWHERE, allow_loss=["artifact"])
    run_here(*words, "--policy", waived).expect(0)
    assert aliases(stage.test)["champion"] == "2"


def test_a_protected_environment_takes_nothing_that_lost_something(stage: Stage, run_here: Run) -> None:
    gate = {"gate": "approvals", "people": ["alice"]}
    own = {"test": {"protected": True}}
    policy = ("--policy", stage.policy({"gates": [gate]}, environments=own, allow_loss=["all"]))
    words = (f"churn/{stage.trained['first']}", "--to", "test", *policy)
    add_unholdable(stage, "first")
    run_here("promote", "approve", *words, "--by", "alice").expect(0)
    run_here("promote", "run", *words).expect(1)
    assert aliases(stage.test) == {}


def test_a_server_that_goes_away_leaves_the_holder_and_the_lock_can_be_had_again(stage: Stage, run_here: Run) -> None:
    with Proxy(stage.test.url) as proxy:
        policy = ("--policy", stage.policy(EVERYWHERE, addresses={"test": proxy.url}))
        run_here("promote", "run", f"churn/{stage.trained['first']}", "--to", "test", *policy).expect(0)
        words = ("promote", "run", f"churn/{stage.trained['better']}", "--to", "test", *policy)
        proxy.add(cut_before(), on("POST", "registered-models/alias"), times=None)
        run_here(*words, "--patience", "2").expect(3)
        proxy.clear()
        assert aliases(stage.test) == {"champion": "1"}
        run_here(*words).expect(0)
    assert aliases(stage.test) == {"champion": "2", "previous": "1"}
    assert [each["outcome"] for each in entries(stage.test)] == ["done", "failed", "done"]


def test_an_interrupted_promotion_ends_what_it_is_at_and_the_same_command_goes_on(
    stage: Stage, run_tool: Tool, run_here: Run
) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait(exchange: Exchange) -> None:
        arrived.set()
        assert go_on.wait(60)
        exchange.send(exchange.forward())

    with Proxy(stage.test.url) as proxy:
        policy = ("--policy", stage.policy(EVERYWHERE, addresses={"test": proxy.url}))
        words = ("promote", "run", f"churn/{stage.trained['first']}", "--to", "test", *policy)
        proxy.add(wait, on("POST", "model-versions/create"))
        running = start(run_tool, *words)
        assert arrived.wait(60), str(running.end(1))
        running.signal(signal.SIGINT)
        go_on.set()
        ended = running.end(60)
        assert ended.code == 130, str(ended)
        assert "same command" in ended.stderr
        assert aliases(stage.test) == {}
        run_here(*words).expect(0)
    assert aliases(stage.test) == {"champion": "1"}
    assert [each["outcome"] for each in entries(stage.test)] == ["failed", "done"]


def test_the_user_of_the_credentials_is_who_is_at_work_and_nobody_else(stage: Stage, run_here: Run) -> None:
    gate = {"gate": "approvals", "people": ["alice", "bob"]}
    config = stage.folder / "places.yml"
    config.write_text(f"places:\n  dev: {{uri: {stage.dev.url}, username: alice, password: open}}\n")
    policy = stage.policy({"gates": [gate]}, addresses={"dev": "@dev"})
    words = ("promote", "approve", f"churn/{stage.trained['first']}", "--to", "test", "--policy", policy)
    refused = run_here(*words, "--config", config, "--by", "bob").expect(2)
    assert "the credentials are those of alice" in refused.stderr
    assert run_here(*words, "--config", config, "--json").expect(0).json["opinion"]["by"] == "alice"
    assert version(stage.dev, stage.trained["first"])["tags"]["approve_test"] == "approved"


@pytest.mark.parametrize("suffix", ["json", "md", "html"])
def test_a_report_is_written_as_its_name_says(stage: Stage, run_here: Run, tmp_path: Path, suffix: str) -> None:
    policy = ("--policy", stage.policy(EVERYWHERE))
    report = tmp_path / f"plan.{suffix}"
    words = ("promote", "plan", f"churn/{stage.trained['worse']}", "--to", "test", *policy, "--report", report)
    run_here(*words).expect(5)
    assert "0.7 is below 0.75" in report.read_text()


def test_a_registry_of_its_own_is_asked_for_versions_and_the_other_server_for_runs(
    stage: Stage, connect: Callable[[Server], Live]
) -> None:
    both = joined(connect(stage.test), connect(stage.dev))
    assert facts.version(both, "churn", "1").name == "churn"
    assert both.get_run(stage.trained.made["first"]["run_id"]) is None
    assert both.address == stage.test.url


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "churn/99", "--to", "test"), "no such version: churn/99"),
        (("plan", "fraud", "--to", "test"), "no version of fraud"),
        (("plan", "churn@nobody", "--to", "test"), "no alias 'nobody' of churn"),
        (("plan", "churn", "--to", "dev"), "nothing is promoted into 'dev'"),
        (("plan", "churn", "--to", "live"), "no such environment: 'live'"),
        (("rollback", "churn", "--environment", "test", "--reason", "x"), "nothing was ever promoted as churn"),
        (("run", "churn", "--to", "test", "--tag", "traffic"), "not a tag: traffic"),
        (("run", "churn", "--to", "test", "--tag", "mlflow_migration.promotion.by=me"), "is not yours to set"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_written(
    stage: Stage, run_here: Run, words: tuple[str, ...], said: str
) -> None:
    ended = run_here("promote", *words, "--policy", stage.policy(EVERYWHERE))
    assert ended.code in {1, 2}
    assert said in ended.stderr
    assert entries(stage.test) == []
