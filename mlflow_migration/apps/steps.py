"""What a deployment or deletion did, step by step: rows for a person and for `--json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from mlflow_migration.records import Json

DONE, SAME, WOULD, TOLD, FAILED = "done", "same", "would", "told", "failed"
"""States of a row: carried out, there already, would be carried out, left to somebody, failed."""


@dataclass(frozen=True)
class Row:
    """One step: on `what`, and what became of it."""

    step: str
    what: str
    state: str
    detail: str = ""

    def as_json(self) -> Json:
        """The row as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.state:6} {self.step}: {self.what}" + (f" ({self.detail})" if self.detail else "")


class Steps:
    """Collects rows, and tells each one as it comes. With `dry_run` what is done is what would be."""

    def __init__(self, tell: Callable[[str], object], dry_run: bool = False) -> None:
        self._tell = tell
        self._dry_run = dry_run
        self.rows: list[Row] = []

    def add(self, step: str, what: str, state: str = DONE, detail: str = "") -> None:
        """One more row."""
        row = Row(step, what, WOULD if self._dry_run and state == DONE else state, detail)
        self.rows.append(row)
        self._tell(str(row))

    def made(self, *steps: str) -> list[str]:
        """What was made by these steps, in words."""
        return [f"{row.step} {row.what}" for row in self.rows if row.step in steps and row.state == DONE]

    @property
    def has_changed(self) -> bool:
        """Whether anything was carried out, or would be."""
        return any(row.state in {DONE, WOULD} for row in self.rows)
