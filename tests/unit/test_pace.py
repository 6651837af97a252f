"""The gate for a server's requests: never more than it allows, and nobody who waits is forgotten."""

import threading
import time
from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from mlflow_migration.server import pace
from mlflow_migration.server.pace import Pace


@pytest.mark.parametrize("held", [0.0, 0.2], ids=["steady", "held back on the way"])
def test_all_who_wait_get_their_turn_and_never_too_many_at_once(held: float) -> None:
    pace, lock = Pace(most=32, begin=2, seeks=True), threading.Lock()
    running, most, ended = 0, 0, 0

    def work() -> None:
        nonlocal running, most, ended
        for _ in range(10):
            with pace.turn():
                with lock:
                    running += 1
                    most = max(most, running)
                time.sleep(0.0005)
                with lock:
                    running -= 1
                    ended += 1
                if held and ended == 40:
                    pace.slow_down(held)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (ended, [thread for thread in threads if thread.is_alive()]) == (320, [])
    # It looks for the best number only after a window of time, which this is shorter than.
    assert most == 2


def test_a_place_that_an_error_leaves_is_free_again() -> None:
    pace = Pace(most=1, begin=1, seeks=False)
    for _ in range(3):
        with pytest.raises(OSError, match="gone"), pace.turn():
            raise OSError("gone")
    with pace.turn():
        pass


@pytest.mark.parametrize("fastest", [1, 2, 5, 8])
def test_the_number_at_once_goes_to_where_most_ends_and_stays_there(
    fastest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is as fast as it gets with so many writers, and a clock of its own."""
    clock = [0.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    gate = Pace(most=8, begin=2, seeks=True)
    used = []
    for _ in range(6000):
        with ExitStack() as turns:
            # As many as get a place: one more would wait for good.
            at_once = 0
            while at_once < gate._limit:
                turns.enter_context(gate.turn())
                at_once += 1
            per_second = 100.0 * min(at_once, fastest) / (1 + 0.3 * max(0, at_once - fastest))
            clock[0] += at_once / per_second
        used.append(at_once)
    settled = used[2000:]
    assert settled.count(fastest) > 0.75 * len(settled), Counter(settled)
