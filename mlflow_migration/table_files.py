"""The artifacts of whole objects on their way from one database's root to another's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from mlflow_migration.database import addresses
from mlflow_migration.database.artifacts import Artifacts
from mlflow_migration.database.copying import Copier, Move
from mlflow_migration.engine import parallel
from mlflow_migration.engine.guard import guarded
from mlflow_migration.errors import MigrationError
from mlflow_migration.objects.run import is_model_file
from mlflow_migration.objects.texts import localized
from mlflow_migration.pipeline import Tools
from mlflow_migration.places import Root, Selection
from mlflow_migration.records import File
from mlflow_migration.report import Row

Outcome = tuple[str, int, list[Row]]
"""Kind of the object, bytes that were copied, and rows for what couldn't be."""


class Files:
    """Copies artifacts, several objects at a time. A file that is there with the same size is not copied again."""

    def __init__(self, source: Artifacts, destination: Artifacts, selection: Selection) -> None:
        self._source = source
        self._destination = destination
        self._selection = selection
        self._folders: dict[str, set[str]] = {}

    def copy(self, copier: Copier, move: Move, tools: Tools) -> None:
        """Copy what the objects of a unit have; what can't go is a row of the report."""
        change = move.target.changes.get(("runs", "artifact_uri"), str)
        roots = addresses.roots(copier.flow, move.unit, move.key)
        pairs = ((root, replace(root, uri=change(root.uri))) for root in roots if self._may_hold(root))
        work = partial(self._copied, tools.report.dry_run)
        for kind, size, rows in parallel.each(pairs, work, tools.workers, tools.stop):
            tools.report.count(kind, "done", 0, size)
            for row in rows:
                tools.report.add(row)

    def _may_hold(self, root: Root) -> bool:
        """Whether an object may have artifacts. Few traces do: one listing tells of all that lie side by side."""
        parent, _, folder = root.uri.removesuffix("/artifacts").rpartition("/")
        if root.kind != "trace" or self._source.problem(root):
            return True
        if parent not in self._folders:
            self._folders[parent] = self._source.folders(parent)
        return folder in self._folders[parent]

    def _copied(self, rehearsal: bool, pair: tuple[Root, Root]) -> Outcome:
        source, target = pair
        there = {file.path: file.size for file in self._destination.files(target)}
        size, rows = 0, []
        for file in self._selection.files_of(partial(self._source.files, source)):
            outcome = guarded(partial(self._put, pair, file, there, rehearsal), source.kind, source.id)
            if isinstance(outcome, MigrationError):
                state = "unsupported" if file.wanted else "skipped"
                rows.append(Row("artifact", source.id, f"{source.kind} {source.id} {file.path}", state, str(outcome)))
            else:
                size += outcome
        return source.kind, size, rows

    def _put(self, pair: tuple[Root, Root], file: File, there: dict[str, int], rehearsal: bool) -> int:
        source, target = pair
        if file.problem:
            raise MigrationError(file.problem)
        if is_model_file(file.path):
            # It holds the address of its own folder.
            file = localized(file, {source.uri: target.uri} if source.uri != target.uri else {})
        if there.get(file.path) == file.size:
            return 0
        if not rehearsal:
            self._destination.put_file(target, file.path, file)
        return file.size
