"""How far a job is: a bar where a person watches, a line every half minute where nobody does."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

LINE_SECONDS = 30.0


class Progress:
    """Counts ended objects by kind. `quiet` shows nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._bytes = 0
        self._begun = time.monotonic()
        self._said = self._begun

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,} {task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, kind: str, size: int = 0, number: int = 1) -> None:
        """So many more objects of a kind have ended; `size` are the bytes that went with them."""
        self._counts[kind] = self._counts.get(kind, 0) + number
        self._bytes += size
        seconds = max(time.monotonic() - self._begun, 1e-9)
        note = f"{self._counts[kind] / seconds:,.1f}/s · {self._bytes / 1e6:,.0f} MB"
        if self._bar is not None:
            if kind not in self._tasks:
                self._tasks[kind] = self._bar.add_task(f"{kind}s", total=None, note="")
            self._bar.update(self._tasks[kind], advance=number, note=note)
        elif not self._quiet and time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            counts = ", ".join(f"{count:,} {kind}s" for kind, count in self._counts.items())
            sys.stderr.write(f"{seconds:,.0f} s: {counts}, {note}\n")
