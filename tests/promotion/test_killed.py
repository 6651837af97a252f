"""A promotion that is killed anywhere: who served goes on serving, and the same command completes it.

The kill comes from a proxy before the destination, at a chosen write: before the server hears of it, or after it has
done it and before the answer is heard.
"""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests import servers
from tests.conftest import Run, Tool
from tests.faults import start
from tests.faults.proxy import Exchange, Proxy, Request
from tests.promotion.conftest import Stage, aliases, entries, version
from tests.promotion.test_flow import EVERYWHERE
from tests.rest import Api
from tests.servers import Snapshot

READS = ("runs/search", "experiments/search", "logged-models/search", "search-traces", "traces/search")
STEPS = {
    "the version": ("model-versions/create", 1),
    "the alias": ("registered-models/alias", 1),
    # The first one ends the copied run.
    "the end": ("runs/update", 2),
}
"""What the write does, its route, and which of these writes it is."""


def is_write(request: Request) -> bool:
    return request.method not in {"GET", "HEAD"} and not any(word in request.target for word in READS)


class Killer:
    """Kills a process at a write; `number` counts from 1, of all writes or of those to `route`."""

    def __init__(self, number: int, route: str = "", after: bool = False) -> None:
        self._number = number
        self._route = route
        self._after = after
        self._seen = 0
        self._lock = threading.Lock()
        self.pid = 0
        self.started = threading.Event()
        self.killed = threading.Event()

    def matches(self, request: Request) -> bool:
        if not is_write(request) or (self._route and request.route != self._route):
            return False
        with self._lock:
            self._seen += 1
            return self._seen == self._number

    def strike(self, exchange: Exchange) -> None:
        assert self.started.wait(30)
        if self._after:
            exchange.forward()
        os.killpg(self.pid, signal.SIGKILL)
        self.killed.set()
        exchange.cut()


def served(stage: Stage) -> str:
    """The version that serving at test gives out: its week's tag, and its files are all there."""
    number = aliases(stage.test)["champion"]
    head = version(stage.test, number)
    api = Api(stage.test.url)
    query = {"name": "churn", "version": number, "path": "MLmodel"}
    body = api.call("GET", "/model-versions/get-artifact", params=query).content
    api.close()
    assert b"flavors" in body
    return str(head["tags"]["week"])


def kill_and_go_on(stage: Stage, run_tool: Tool, run_here: Run, killer: Killer) -> bool:
    """Promote the better week over the first one; whether it was killed on its way."""
    with Proxy(stage.test.url) as proxy:
        policy = ("--policy", stage.policy(EVERYWHERE, addresses={"test": proxy.url}))
        words = ("promote", "run", f"churn/{stage.trained['better']}", "--to", "test", *policy)
        proxy.add(killer.strike, killer.matches)
        running = start(run_tool, *words)
        killer.pid = running.process.pid
        killer.started.set()
        ended = running.end(120)
        if not killer.killed.is_set():
            assert ended.code == 0, str(ended)
            return False
        assert ended.code == -signal.SIGKILL, str(ended)
        proxy.wait_idle()
        proxy.clear()
        assert served(stage) in {"1", "2"}
        before = served(stage)
        assert before == "1" or aliases(stage.test)["champion"] == "2"
        run_here(*words).expect(0)
        assert_whole(stage)
        assert run_here(*words, "--json").expect(0).json["state"] == "same"
        assert_whole(stage)
    return True


def assert_whole(stage: Stage) -> None:
    """The new version serves, the old one is `previous`, nothing is there twice, and the journal is closed."""
    assert aliases(stage.test) == {"champion": "2", "previous": "1"}
    assert served(stage) == "2"
    api = Api(stage.test.url)
    versions = api.get("model-versions/search", filter="name = 'churn'")["model_versions"]
    found = api.get("experiments/get-by-name", experiment_name="churn training")["experiment"]
    runs = api.post("runs/search", experiment_ids=[found["experiment_id"]])["runs"]
    api.close()
    assert len(versions) == 2
    assert sorted(run["info"]["run_name"] for run in runs) == ["week 1", "week 2"]
    journal = entries(stage.test)
    assert [each["status"] for each in journal if each["status"] == "RUNNING"] == []
    last = journal[-1]
    assert (last["outcome"], last["version"], last["previous"]) == ("done", "2", "1")


@pytest.fixture
def serving(stage: Stage, run_here: Run, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The first week serves at test."""
    policy = ("--policy", stage.policy(EVERYWHERE))
    run_here("promote", "run", f"churn/{stage.trained['first']}", "--to", "test", *policy).expect(0)
    return stage


@pytest.mark.parametrize(
    ("step", "after"),
    [
        ("the version", True),
        pytest.param("the alias", False, marks=pytest.mark.slow),
        pytest.param("the alias", True, marks=pytest.mark.slow),
        ("the end", False),
    ],
    ids=["the version is made", "the alias is about to move", "the alias has moved", "only the end is missing"],
)
def test_killed_at_a_step_that_decides(serving: Stage, run_tool: Tool, run_here: Run, step: str, after: bool) -> None:
    route, number = STEPS[step]
    assert kill_and_go_on(serving, run_tool, run_here, Killer(number, route, after))


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before it arrives", "after it is done"])
@pytest.mark.timeout(1800)
def test_killed_at_every_single_write(
    serving: Stage, run_tool: Tool, run_here: Run, tmp_path: Path, after: bool
) -> None:
    first = servers.photograph(serving.test, tmp_path / "first week")
    number = 1
    while kill_and_go_on(serving, run_tool, run_here, Killer(number, after=after)):
        servers.reset(serving.test, Snapshot(first.database, first.artifacts))
        number += 1
    assert number > 25, "a promotion makes more writes than that"


@pytest.mark.slow
def test_one_that_lacks_only_its_end_is_done_for_those_that_come_after(
    serving: Stage, run_tool: Tool, run_here: Run
) -> None:
    route, number = STEPS["the end"]
    killer = Killer(number, route)
    with Proxy(serving.test.url) as proxy:
        policy = ("--policy", serving.policy(EVERYWHERE, addresses={"test": proxy.url}))
        proxy.add(killer.strike, killer.matches)
        running = start(run_tool, "promote", "run", f"churn/{serving.trained['better']}", "--to", "test", *policy)
        killer.pid = running.process.pid
        killer.started.set()
        assert running.end(120).code == -signal.SIGKILL
        proxy.wait_idle()
        proxy.clear()
        assert aliases(serving.test)["champion"] == "2"
        run_here("promote", "run", f"churn/{serving.trained['best']}", "--to", "test", *policy).expect(0)
        outcomes = [(each["status"], each["outcome"], each["version"]) for each in entries(serving.test)]
        assert outcomes == [("FINISHED", "done", number) for number in "123"]
        back = ("promote", "rollback", "churn", "--environment", "test", "--reason", "alerts", *policy)
        run_here(*back).expect(0)
    assert aliases(serving.test)["champion"] == "2"


def test_a_rollback_that_is_killed_after_the_alias_moved_goes_back_once(
    serving: Stage, run_tool: Tool, run_here: Run
) -> None:
    for word in ("better", "best"):
        plain = ("--policy", serving.policy(EVERYWHERE))
        run_here("promote", "run", f"churn/{serving.trained[word]}", "--to", "test", *plain).expect(0)
    killer = Killer(1, "registered-models/alias", True)
    with Proxy(serving.test.url) as proxy:
        policy = ("--policy", serving.policy(EVERYWHERE, addresses={"test": proxy.url}))
        words = ("promote", "rollback", "churn", "--environment", "test", "--reason", "alerts", *policy)
        proxy.add(killer.strike, killer.matches)
        running = start(run_tool, *words)
        killer.pid = running.process.pid
        killer.started.set()
        assert running.end(120).code == -signal.SIGKILL
        proxy.wait_idle()
        proxy.clear()
        assert aliases(serving.test)["champion"] == "2"
        run_here(*words).expect(0)
    assert aliases(serving.test) == {"champion": "2", "previous": "3"}
    assert (entries(serving.test)[-1]["version"], entries(serving.test)[-1]["previous"]) == ("2", "3")
