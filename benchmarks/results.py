"""The measured rows in a JSON file, scenario by scenario: measuring one again replaces only that one."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.row import Amount, Row

FILE = Path(__file__).with_name("results.json")


@dataclass(frozen=True)
class Measured:
    """One scenario's rows, when they were measured (UTC) and on what."""

    when: str
    machine: str
    rows: tuple[Row, ...]


def load(path: Path = FILE) -> dict[str, Measured]:
    """Scenario → what was measured; empty where the file isn't there."""
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        name: Measured(each["when"], each["machine"], tuple(map(row_of, each["rows"])))
        for name, each in kept.get("scenarios", {}).items()
    }


def row_of(given: dict[str, Any]) -> Row:
    """A row as it was kept."""
    return Row(**{**given, "amount": Amount(**given["amount"])})


def all_rows(measured: dict[str, Measured]) -> list[Row]:
    """The rows of all scenarios."""
    return [row for each in measured.values() for row in each.rows]


def keep(rows: Sequence[Row], path: Path = FILE) -> None:
    """Write the scenarios of these rows, in the place of what was kept of them."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    found = load(path)
    for name in dict.fromkeys(row.scenario for row in rows):
        found[name] = Measured(now, machine(), tuple(row for row in rows if row.scenario == name))
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"scenarios": {name: asdict(each) for name, each in found.items()}}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def machine() -> str:
    """What the numbers were measured on, in words."""
    from importlib.metadata import version

    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} CPUs, {system}, MLflow {version('mlflow-skinny')}"
