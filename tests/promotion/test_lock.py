"""Of promotions at once one wins, and the others say so; what a dead one holds is taken over, what a living one holds
is not."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlflow_migration.errors import ConflictError
from mlflow_migration.promotion import holder, journal
from mlflow_migration.promotion.lock import Lock, Terms
from mlflow_migration.server.address import Credentials
from mlflow_migration.server.live import Server as Live
from mlflow_migration.server.rest import Rest
from tests import servers
from tests.conftest import Run, ServerFactory, ServerPool, Tool
from tests.faults import start
from tests.faults.proxy import Exchange, Proxy, on
from tests.postgres import Postgres
from tests.promotion.conftest import Stage, aliases, entries
from tests.promotion.test_flow import EVERYWHERE
from tests.servers import Options, Server, Snapshot

AT_ONCE = 8


@pytest.fixture
def empty(template: Path, server_pool: ServerPool) -> Server:
    server = server_pool("destination")
    servers.reset(server, Snapshot(template))
    return server


def opened(server: Server) -> Live:
    live = Live(Rest(server.url, Credentials(), 4, 20))
    live.connect()
    return live


def race(server: Server) -> tuple[set[str], list[int]]:
    """The chains that many promotions at once find, and how many of them own each of three numbers."""
    lives = [opened(server) for _ in range(AT_ONCE)]
    barrier = threading.Barrier(AT_ONCE)

    def one(live: Live) -> tuple[str, list[bool]]:
        barrier.wait()
        chain = journal.chain(live, "promotions", "churn")
        won = []
        for number in (1, 2, 3):
            entry = journal.begin(live, chain, "race", {"by": "somebody"})
            barrier.wait()
            won.append(journal.claim(live, chain, number, entry))
        return chain.run_id, won

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(one, lives))
    for live in lives:
        live.close()
    return {run_id for run_id, _ in found}, [sum(won[at] for _, won in found) for at in range(3)]


def test_of_many_at_once_exactly_one_owns_each_number(empty: Server) -> None:
    chains, winners = race(empty)
    assert len(chains) == 1
    assert winners == [1, 1, 1]


@pytest.mark.slow
def test_so_it_is_with_several_workers_of_a_server(make_server: ServerFactory, template: Path) -> None:
    chains, winners = race(make_server(Options(template=template, workers=3)))
    assert len(chains) == 1
    assert winners == [1, 1, 1]


@pytest.mark.slow
def test_so_it_is_on_postgresql(make_server: ServerFactory, postgres: Postgres) -> None:
    chains, winners = race(make_server(Options(database=postgres.database(), workers=3)))
    assert len(chains) == 1
    assert winners == [1, 1, 1]


@pytest.fixture
def locked(empty: Server) -> Iterator[Callable[[float], Lock]]:
    """Makes locks of one model, each by a connection of its own."""
    lives: list[Live] = []

    def make(lease: float, break_it: bool = False) -> Lock:
        lives.append(opened(empty))
        chain = journal.chain(lives[-1], "promotions", "churn")
        entry = journal.begin(lives[-1], chain, "test", {"by": "ann"})
        return Lock(lives[-1], chain, entry, Terms(lease, break_it))

    yield make
    for live in lives:
        live.close()


def test_a_lock_that_is_held_is_refused_with_who_holds_it(locked: Callable[..., Lock]) -> None:
    first = locked(30)
    first.take()
    with pytest.raises(ConflictError, match="is running") as refused:
        locked(30).take()
    assert "number 1 of ann" in refused.value.why
    first.check()
    first.release()


def test_a_holder_that_tells_it_is_at_work_is_never_followed_however_short_its_lease(
    locked: Callable[..., Lock],
) -> None:
    first = locked(1.0)
    first.take()
    time.sleep(2.5)
    with pytest.raises(ConflictError, match="is running"):
        locked(1.0).take()
    first.check()
    first.release()


def forget(server: Server, holder_text: str) -> None:
    """Say that somebody else holds the open entries, and was last heard of an hour ago."""
    change = "UPDATE tags SET value = ? WHERE key = 'mlflow_migration.promotion.holder'"
    servers.execute(server, change, holder_text)
    change = "UPDATE tags SET value = ? WHERE key = 'mlflow_migration.promotion.beat'"
    servers.execute(server, change, str(int((time.time() - 3600) * 1000)))


def test_a_holder_elsewhere_that_is_silent_past_its_lease_is_followed_and_finds_out(
    locked: Callable[..., Lock], empty: Server
) -> None:
    first = locked(3600)
    first.take()
    forget(empty, "another machine")
    second = locked(1.0)
    second.take()
    with pytest.raises(ConflictError, match="taken over"):
        first.check()
    second.check()
    first.release()
    second.release()
    assert [each["status"] for each in entries(empty)] == ["KILLED", "RUNNING"]
    assert entries(empty)[0]["outcome"] == "abandoned"


def test_a_lock_within_its_lease_can_be_broken_by_hand_only(locked: Callable[..., Lock], empty: Server) -> None:
    first = locked(3600)
    first.take()
    with pytest.raises(ConflictError):
        locked(3600).take()
    second = locked(3600, True)
    second.take()
    second.check()
    with pytest.raises(ConflictError):
        first.check()
    first.release()
    second.release()


def test_a_process_is_known_to_be_gone_only_when_it_is(tmp_path: Path) -> None:
    code = "from mlflow_migration.promotion import holder; print(holder.identity(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdin is not None
    identity = child.stdout.readline()
    assert not holder.is_gone(identity)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    child.stdin.close()
    assert holder.is_gone(identity)
    known = json.loads(holder.identity())
    assert known["pid"] == os.getpid()
    assert not holder.is_gone(json.dumps({**known, "host": "elsewhere", "pid": 1, "started": "1"}))
    assert not holder.is_gone(json.dumps({**known, "boot": "another", "pid": 1, "started": "1"}))
    assert holder.is_gone(json.dumps({**known, "started": "1"})), "the number went to another process"
    assert not holder.is_gone("nonsense")


def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(stage: Stage, run_tool: Tool, run_here: Run) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def wait(exchange: Exchange) -> None:
        arrived.set()
        assert go_on.wait(60)
        exchange.send(exchange.forward())

    with Proxy(stage.test.url) as proxy:
        slow = ("--policy", stage.policy(EVERYWHERE, addresses={"test": proxy.url}))
        proxy.add(wait, on("POST", "model-versions/create"))
        words = ("promote", "run", f"churn/{stage.trained['first']}", "--to", "test")
        first = start(run_tool, *words, *slow, "--by", "ann")
        assert arrived.wait(60), str(first.end(1))
        plain = ("--policy", stage.policy(EVERYWHERE))
        second = run_here("promote", "run", f"churn/{stage.trained['better']}", "--to", "test", *plain).expect(1)
        go_on.set()
        first.end().expect(0)
    assert "another promotion of 'churn' is running" in second.stderr
    assert "number 1 of ann" in second.stderr
    assert aliases(stage.test) == {"champion": "1"}
    found = sorted((each["outcome"], each["source_version"]) for each in entries(stage.test))
    assert found == [("done", f"churn/{stage.trained['first']}"), ("failed", f"churn/{stage.trained['better']}")]
    run_here(*words[:2], f"churn/{stage.trained['better']}", "--to", "test", *plain).expect(0)
    assert aliases(stage.test)["champion"] == "2"
    told = run_here("promote", "history", "churn", "--environment", "test", *plain, "--json").expect(0).json["events"]
    replayed = [(each["number"], each["outcome"], each["version"]) for each in told]
    assert sorted(replayed) == [(0, "failed", ""), (1, "done", "1"), (2, "done", "2")]
