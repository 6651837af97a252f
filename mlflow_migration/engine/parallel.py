"""Many objects at once, in a bounded window: results come as they end, and reading never runs far ahead of writing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items read ahead for each worker."""
AHEAD_IN_ORDER = 4
"""The same where results keep their order: a slow item then doesn't stop the other workers at once."""


def each(
    items: Iterator[Item], work: Callable[[Item], Result], workers: int, stop: threading.Event
) -> Iterator[Result]:
    """`work(item)` for each item, by `workers` threads; results in the order they end.

    After `stop` is set no further item is taken, what runs is let end. An exception of `work` or of `items` ends it
    the same way and is raised.
    """
    return _each(items, work, _Window(workers, AHEAD), stop)


def in_order(
    items: Iterator[Item], work: Callable[[Item], Result], workers: int, stop: threading.Event
) -> Iterator[Result]:
    """As `each`, with the results in the order of the items. At most `workers * AHEAD_IN_ORDER` are held."""
    return _each(items, work, _Window(workers, AHEAD_IN_ORDER, ordered=True), stop)


@dataclass(frozen=True)
class _Window:
    """How many items are taken ahead for each worker, and whether results keep the items' order."""

    workers: int
    ahead: int
    ordered: bool = False


def _each(
    items: Iterator[Item], work: Callable[[Item], Result], window: _Window, stop: threading.Event
) -> Iterator[Result]:
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(window.workers, thread_name_prefix="worker") as pool:
        try:
            more = True
            while more or running:
                while more and len(running) < window.workers * window.ahead and not stop.is_set():
                    item = next(items, None)
                    if item is None:
                        more = False
                    else:
                        running.append(pool.submit(work, item))
                if stop.is_set():
                    more = False
                if running:
                    awaited = [running[0]] if window.ordered else list(running)
                    # The time limit lets a Ctrl-C be seen: a wait without one can't be interrupted on every system.
                    for future in wait(awaited, timeout=1.0, return_when=FIRST_COMPLETED).done:
                        running.remove(future)
                        yield future.result()
        finally:
            for future in running:
                future.cancel()
