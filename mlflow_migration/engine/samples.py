"""Columns and their types from a CSV file of samples, as MLflow infers a signature from the same file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow_migration.errors import UsageError
from mlflow_migration.records import Json

MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "n/a", "NaN", "-NaN", "nan", "-nan", "1.#QNAN", "-1.#QNAN"]
).union(["1.#IND", "-1.#IND", "NULL", "null", "None"])
"""What pandas takes for a missing value (its `read_csv`), with which MLflow's users read such files."""
BOOLEANS = frozenset({"True", "TRUE", "true", "False", "FALSE", "false"})
LONGEST = 2**63
_INTEGER = re.compile(r"\s*[+-]?\d+\s*")


@dataclass
class _Column:
    """What the values seen so far can be."""

    name: str
    long: bool = True
    double: bool = True
    boolean: bool = True
    missing: bool = False
    seen: bool = False

    def add(self, value: str) -> None:
        if value in MISSING:
            self.missing = True
            return
        self.seen = True
        self.boolean = self.boolean and value in BOOLEANS
        self.double = self.double and _is_number(value)
        self.long = self.long and self.double and bool(_INTEGER.fullmatch(value)) and -LONGEST <= int(value) < LONGEST

    def spec(self) -> Json:
        # A column of whole numbers with gaps holds floats, for only those have a value for a gap.
        if self.seen and self.boolean:
            kind = "boolean"
        elif self.long and self.seen and not self.missing:
            kind = "long"
        else:
            kind = "double" if self.double else "string"
        return {"type": kind, "name": self.name, "required": not self.missing}


def columns(path: Path) -> list[Json]:
    """`{type, name, required}` for each column. Raises UsageError where the file is no table with head and samples."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _columns(csv.reader(file), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"can't read {path}", str(error)) from error


def _columns(rows: Iterator[list[str]], path: Path) -> list[Json]:
    head = next(rows, [])
    if not head or len(set(head)) < len(head) or not all(head):
        raise UsageError(f"not a table of samples: {path}", "its first line must name each column, once")
    found = [_Column(name) for name in head]
    samples = 0
    for row in filter(None, rows):
        if len(row) != len(found):
            raise UsageError(
                f"not a table of samples: {path}", f"sample {samples + 1} has {len(row)} values, not {len(found)}"
            )
        samples += 1
        for column, value in zip(found, row, strict=True):
            column.add(value)
    if not samples:
        raise UsageError(f"no samples in {path}", hint="give a line of values for each sample")
    return [column.spec() for column in found]


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value
