"""Many objects at once, in a bounded window: results come as they end, and reading never runs far ahead of writing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        try:
            more = True
            while more or running:
                while more and len(running) < workers * AHEAD and not stop.is_set():
                    item = next(items, None)
                    if item is None:
                        more = False
                    else:
                        running.add(pool.submit(work, item))
                if stop.is_set():
                    more = False
                if running:
                    # The time limit lets a Ctrl-C be seen: a wait without one can't be interrupted on every system.
                    ended, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in ended:
                        yield future.result()
        finally:
            for future in running:
                future.cancel()


def in_order(
    items: Iterator[Item], work: Callable[[Item], Result], workers: int, stop: threading.Event
) -> Iterator[Result]:
    """As `each`, with the results in the order of the items. At most `workers * AHEAD_IN_ORDER` are held."""
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        try:
            more = True
            while more or running:
                while more and len(running) < workers * AHEAD_IN_ORDER and not stop.is_set():
                    item = next(items, None)
                    if item is None:
                        more = False
                    else:
                        running.append(pool.submit(work, item))
                if stop.is_set():
                    more = False
                # The time limit lets a Ctrl-C be seen: a wait without one can't be interrupted on every system.
                if running and wait([running[0]], timeout=1.0).done:
                    yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
