"""The lock of a model at a destination: the last number of its journal, while its entry is RUNNING.

No clock decides who owns it. Clocks only tell how long an owner hasn't been heard of: one whose lease is over by this
machine's clock is watched for a while longer, and is followed only if it still says nothing. A clock that is wrong
makes a dead owner's lock last longer, or has a living one watched; it never gives one lock to two.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from mlflow_migration.calls import Live
from mlflow_migration.errors import ConflictError, MigrationError
from mlflow_migration.promotion import holder, journal
from mlflow_migration.promotion.journal import Chain, Entry


@dataclass(frozen=True)
class Terms:
    """How a lock is taken: the seconds of its lease, and whether somebody else's is broken."""

    lease: float
    break_it: bool = False


class Lock:
    """Owned from `take` to `release`. Meanwhile a thread tells the journal that its owner is at work."""

    def __init__(self, live: Live, chain: Chain, entry: Entry, terms: Terms) -> None:
        self._live = live
        self._chain = chain
        self._terms = terms
        self._stop = threading.Event()
        self._failure: MigrationError | None = None
        self._beats = threading.Thread(target=self._beat, name="promotion-lock", daemon=True)
        self.entry = entry

    def take(self) -> None:
        """Own the next number. Raises ConflictError where another promotion owns the last one, or was faster."""
        last = self._chain.last()
        if last is not None and last.is_open:
            self._make_sure_it_is_gone(last)
        number = (last.number if last else 0) + 1
        if not journal.claim(self._live, self._chain, number, self.entry):
            raise ConflictError(
                f"another promotion of {self._chain.model!r} was faster",
                f"it has number {number} at {self._live.address}",
                "promote status shows what it did; then type the command again if need be",
            )
        self.entry = replace(self.entry, number=number)
        self._beats.start()
        for each in self._chain.entries():
            if (
                each.is_open
                and each.id != self.entry.id
                and (each.number or holder.is_gone(each.tags.get(journal.HOLDER, "")))
            ):
                journal.settle(self._live, each, f"its process was gone; number {number} went on")

    def _make_sure_it_is_gone(self, last: Entry) -> None:
        if self._terms.break_it or holder.is_gone(last.tags.get(journal.HOLDER, "")):
            return
        beat = last.beat
        silent = (journal.now_ms() - beat) / 1000
        if silent > self._terms.lease:
            time.sleep(self._terms.lease / journal.LOOKS * 2)
            again = self._chain.last()
            if again is not None and again.id == last.id and again.is_open and again.beat == beat:
                return
            silent = 0
        who = last.said("by") or "somebody"
        raise ConflictError(
            f"another promotion of {self._chain.model!r} is running",
            f"number {last.number} of {who}, at work {max(0, silent):.0f} s ago",
            f"wait for it to end; if its process is gone, {self._terms.lease:g} s are enough, or give --break-lock",
        )

    def check(self) -> None:
        """Raise ConflictError where the lock was taken over, and whatever kept this process from telling that it is
        at work."""
        if self._failure is not None:
            raise self._failure
        number = max(self._chain.numbers(), default=0)
        if number != self.entry.number:
            raise ConflictError(
                "the lock was taken over, so nothing more is changed",
                f"this is number {self.entry.number} of the journal of {self._chain.model!r}, the last is {number}",
                "promote history shows what the other one did",
            )

    def release(self) -> None:
        """Stop telling; the lock is free once its entry is ended."""
        self._stop.set()
        if self._beats.is_alive():
            self._beats.join()

    def _beat(self) -> None:
        while not self._stop.wait(self._terms.lease / journal.LOOKS):
            try:
                journal.say(self._live, self.entry, {"beat": str(journal.now_ms())})
            except MigrationError as error:
                self._failure = error
                return
