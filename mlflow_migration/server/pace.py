"""How many requests a server gets at once, found while running.

More writers at once help only until the server is busy: on a SQLite backend two are about the best and eight cost half
the speed (measured), so their number climbs towards what finishes most requests a second, and stays there: a probe for
a better one costs speed, and is made now and then. Readers don't disturb each other: all workers read at once. Either
number halves when the server says 429 or 503, and a `Retry-After` holds back every worker of that server.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_REQUESTS = 60
WINDOW_SECONDS = 1.5
GAIN = 0.08
"""One more at once has to be faster by this share, or it is taken as noise."""
HOLD = 8
"""So many windows go by between two probes."""


class Pace:
    """A gate for one server's requests. With `seeks` it looks for the best number at once, else it allows `most`."""

    def __init__(self, most: int, begin: int, seeks: bool) -> None:
        self.most = max(1, most)
        self._seeks = seeks
        self._limit = max(1, min(begin, most))
        self._running = 0
        self._held_until = 0.0
        self._gate = threading.Condition()
        self._best = self._limit
        self._best_rate = 0.0
        self._step = 1
        self._until_probe = 1
        self._begin_window()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a place, hold it for one request."""
        with self._gate:
            while True:
                wait = self._held_until - time.monotonic()
                if wait > 0:
                    self._gate.wait(wait)
                elif self._running >= self._limit:
                    self._gate.wait()
                else:
                    break
            self._running += 1
            if self._running == self._limit:
                self._full = True
        try:
            yield
        finally:
            with self._gate:
                self._running -= 1
                self._finished += 1
                self._adapt()
                # Only as many as there are places: waking all who wait, to wait on, costs more than a request does.
                self._gate.notify(max(0, self._limit - self._running))

    def slow_down(self, seconds: float) -> None:
        """The server is overloaded: hold every worker for so long, and go on with half as many."""
        with self._gate:
            self._held_until = max(self._held_until, time.monotonic() + seconds)
            self._limit = self._best = max(1, self._limit // 2)
            self._best_rate = 0.0
            self._step = 1
            self._until_probe = HOLD
            self._begin_window()

    def _begin_window(self) -> None:
        self._since = time.monotonic()
        self._finished = 0
        self._full = False

    def _adapt(self) -> None:
        seconds = time.monotonic() - self._since
        if self._finished < WINDOW_REQUESTS or seconds < WINDOW_SECONDS:
            return
        rate = self._finished / seconds
        if not self._seeks:
            self._limit = min(self.most, self._limit + 1)
            self._begin_window()
            return
        # A window in which the limit was never reached says nothing about the limit.
        if self._full:
            self._seek(rate)
        self._begin_window()

    def _seek(self, rate: float) -> None:
        """Go on from what a window showed: a probe that was better is the new best, and the next goes further."""
        if self._limit == self._best:
            self._best_rate = (self._best_rate + rate) / 2 if self._best_rate else rate
            self._until_probe -= 1
        elif rate > self._best_rate * (1 + GAIN if self._step > 0 else 1):
            self._best, self._best_rate = self._limit, rate
            self._until_probe = 0
        else:
            self._limit = self._best
            self._step = -self._step
            self._until_probe = HOLD
        if self._until_probe <= 0:
            probe = min(self.most, max(1, self._best + self._step))
            if probe == self._best:
                self._step = -self._step
                self._until_probe = HOLD
            self._limit = probe
