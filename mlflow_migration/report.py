"""What a job did: every object asked for ends in one row, and the counts add up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlflow_migration.errors import DONE, INCOMPLETE, MigrationError, UsageError
from mlflow_migration.records import Json

STATES = ("done", "updated", "same", "failed", "skipped", "unsupported")
FORMATS = (".json", ".md", ".html")
ROWS_KEPT = 10_000
"""Rows kept for the report; a job with more of them has its full list in the bundle or the ledger."""


@dataclass(frozen=True)
class Row:
    """How one object ended, or one part of it that couldn't go."""

    kind: str
    id: str
    name: str
    state: str
    reason: str = ""
    new_id: str = ""


@dataclass
class Report:
    """The result of moving objects. Counts are by kind and state; `rows` are those that are not plainly there."""

    command: str
    source: str
    destination: str
    dry_run: bool = False
    allowed: frozenset[str] = frozenset()
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    error: MigrationError | None = None
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    next_command: str = ""
    ledger: str = ""

    def add(self, row: Row, size: int = 0) -> None:
        counts = self.kinds.setdefault(row.kind, dict.fromkeys(("asked", *STATES, "bytes"), 0))
        counts["asked"] += 1
        counts[row.state] += 1
        counts["bytes"] += size
        if row.state not in {"done", "updated", "same"} and len(self.rows) < ROWS_KEPT:
            self.rows.append(row)

    def count(self, kind: str, state: str, number: int, size: int = 0) -> None:
        """So many objects of a kind that all ended in one of the good states; `size` are the bytes of their files."""
        counts = self.kinds.setdefault(kind, dict.fromkeys(("asked", *STATES, "bytes"), 0))
        counts["asked"] += number
        counts[state] += number
        counts["bytes"] += size

    def end(self, requests: dict[str, int]) -> None:
        self.seconds = time.monotonic() - self.begun
        self.requests = requests

    def waived(self, row: Row) -> bool:
        return row.state == "unsupported" and ("all" in self.allowed or row.kind in self.allowed)

    @property
    def exit_code(self) -> int:
        """Non-zero when an error ended the job, or anything failed or couldn't go that wasn't waived."""
        if self.error is not None:
            return self.error.exit_code
        for kind, counts in self.kinds.items():
            waived = "all" in self.allowed or kind in self.allowed
            if counts["failed"] or (counts["unsupported"] and not waived):
                return INCOMPLETE
        return DONE

    def as_json(self) -> Json:
        """The document of `--json` and `--report FILE.json`."""
        code = self.exit_code
        return {
            "ok": code == DONE,
            "exit_code": code,
            "command": self.command,
            "dry_run": self.dry_run,
            "source": self.source,
            "destination": self.destination,
            "seconds": round(self.seconds, 3),
            "kinds": self.kinds,
            "rows": [asdict(row) for row in self.rows],
            "requests": self.requests,
            "error": error_json(self.error),
        }

    def lines(self) -> Iterator[str]:
        """The first rows that need a person's eye, failures before what was waived."""
        order = {"failed": 0, "unsupported": 1, "skipped": 2}
        for row in sorted(self.rows, key=lambda row: (order[row.state], self.waived(row))):
            mark = " (waived)" if self.waived(row) else ""
            yield f"{row.state}{mark}: {row.kind} {row.name or row.id}" + (f": {row.reason}" if row.reason else "")

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and body of the summary."""
        head = ["kind", "asked", "would" if self.dry_run else "done", *STATES[1:], "bytes"]
        body = [
            [kind, *(f"{counts[name]:,}" for name in ("asked", *STATES, "bytes"))]
            for kind, counts in self.kinds.items()
        ]
        return head, body


def error_json(error: MigrationError | None) -> Json | None:
    """An error as `--json` shows it."""
    if error is None:
        return None
    return {"code": error.exit_code, "message": str(error), "hint": error.hint}


def check_report_path(path: str | None) -> None:
    """Raise UsageError before the work begins when a report couldn't be written after it."""
    if not path:
        return
    if Path(path).suffix not in FORMATS:
        raise UsageError(f"not a report format: {path}", hint=f"end the name in {', '.join(FORMATS)}")
    if not Path(path).resolve().parent.is_dir():
        raise UsageError(f"no such folder for the report: {Path(path).resolve().parent}")


def write_report(
    path: str, document: Json, title: str, table: tuple[list[str], list[list[str]]], lines: Iterable[str]
) -> None:
    """Write a report in the format its name ends in."""
    suffix = Path(path).suffix
    head, body = table
    if suffix == ".json":
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    elif suffix == ".md":
        rows = ["| " + " | ".join(map(_cell, row)) + " |" for row in (head, ["---"] * len(head), *body)]
        text = "\n".join([f"# {title}", "", *rows, "", *(f"- {_cell(line)}" for line in lines), ""])
    else:
        template = _jinja().from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
        text = template.render(title=title, head=head, body=body, lines=list(lines), ok=document["ok"])
    Path(path).write_text(text, encoding="utf-8")


def visible(text: str) -> str:
    """A text in which control characters, which a terminal or a CI's log would obey, are escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _cell(text: str) -> str:
    """Markdown with nothing of the text taken as markup."""
    escaped = "".join("\\" + char if char in "\\`*_{}[]<>#|!" else char for char in text)
    return " ".join(escaped.split()) if text.strip("-") else text


def _jinja() -> Any:
    # Imported here: most commands write no page.
    import jinja2

    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
