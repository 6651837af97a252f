"""Folders written by mlflow-export-import: read as if they were bundles, as far as they go.

Both layouts are known, that of the releases up to 1.2.0 on PyPI and that of its newest commits; a whole export, or one
object. Nothing in such a folder proves it whole, so that only what can be seen is checked: links, malformed files, ids
given twice, objects that a list in it names and that aren't there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mlflow_migration.bundle import layout, legacy_genai, legacy_lost, legacy_registry, legacy_runs, manifest
from mlflow_migration.bundle.legacy_files import DATASET, EXPERIMENT, HEADS, LOGGED_MODEL, RUN, TRACE, Folder, read
from mlflow_migration.bundle.legacy_lost import Lost
from mlflow_migration.bundle.reader import Validate, ValidateRow
from mlflow_migration.errors import BundleError
from mlflow_migration.places import Selection
from mlflow_migration.records import Identity, Json, Record

READERS: dict[str, Callable[[Folder], Iterator[Record]]] = {
    EXPERIMENT: legacy_runs.experiments,
    RUN: legacy_runs.runs,
    LOGGED_MODEL: legacy_genai.logged_models,
    **legacy_registry.READERS,
    TRACE: legacy_genai.traces,
    DATASET: legacy_genai.datasets,
}


def is_legacy(root: Path) -> bool:
    """Whether a folder looks like an export of mlflow-export-import and not like a bundle of this tool."""
    if not root.is_dir() or (root / layout.SUMS).exists():
        return False
    head = _first(Folder(root))
    info = head.get("info")
    return isinstance(head.get("mlflow"), dict) and not (isinstance(info, dict) and "home" in info)


def _first(folder: Folder) -> Json:
    """The first file of an object; {} where there is none."""
    path = next((path for name in HEADS for path in folder.heads(name)), None)
    return read(path, folder.name(path)) if path else {}


class LegacyBundle:
    """Such a folder. Implements `Source`, and what else commands ask of a bundle."""

    proof = "{:,} files and no fault to be seen; such a folder has no checksums that prove it whole"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = str(root)
        self._folder = Folder(root)
        system = _first(self._folder).get("system")
        self.origin = str((system if isinstance(system, dict) else {}).get("mlflow_tracking_uri", ""))

    def check(self, validate: dict[str, Validate], validate_row: dict[str, ValidateRow]) -> dict[str, int]:
        """What can be checked; counts of "file"s and objects by kind. Raises BundleError naming the first bad file."""
        counts = {"file": sum(1 for _ in layout.walk(self.root)), **dict.fromkeys(validate, 0)}
        seen: set[tuple[str, str]] = set()
        for kind in READERS:
            for record in self.records(kind, Selection()):
                name = f"{kind} {record.id}"
                try:
                    identity: Identity = validate[kind](record.head)
                    if identity != (record.home, record.id):
                        raise ValueError("its ids are not those of what it belongs to")
                    if (kind, record.id) in seen:
                        raise ValueError("it is in the folder twice")
                    if EXPERIMENT in record.refs and (EXPERIMENT, record.refs[EXPERIMENT]) not in seen:
                        raise ValueError("it lies in the folder of another experiment than its own")
                    for stream in record.rows:
                        for row in record.rows[stream]():
                            validate_row[kind](stream, row)
                    for file in record.files():
                        layout.check_artifact_path(file.path)
                except ValueError as error:
                    raise manifest.broken(name, error) from error
                seen.add((kind, record.id))
                counts[kind] += 1
        missing = [named for named in legacy_lost.promised(self._folder) if seen.isdisjoint(named.may_be)]
        if missing:
            raise BundleError(
                f"{missing[0].kind} {missing[0].id} is missing in {self.root}",
                f"{len(missing)} of the objects that {missing[0].file} and its like name are not there",
                "export it again, or take what is missing out of that file",
            )
        return counts

    def records(self, kind: str, selection: Selection) -> Iterator[Record]:
        """Every object of a kind that such a folder holds."""
        return READERS[kind](self._folder) if kind in READERS else iter(())

    def record(self, kind: str, record_id: str, selection: Selection) -> Record | None:
        """One object by id, or None."""
        return next((found for found in self.records(kind, selection) if found.id == record_id), None)

    def asked_for(self) -> Selection:
        """The kinds of which there is anything in it: nothing tells what else its export was asked for."""
        kinds = (kind for kind in READERS if next(self.records(kind, Selection()), None) is not None)
        return Selection(kinds=tuple(kinds))

    def lost(self) -> Iterator[Lost]:
        """What its own export has lost, as far as the folder tells."""
        return legacy_lost.lost(self._folder)

    def failures(self) -> Iterator[Json]:
        """The same, in the form of a bundle's failures."""
        for each in self.lost():
            row = each.row
            yield {"kind": row.kind, "id": row.id, "name": row.name, "state": row.state, "reason": row.reason}
