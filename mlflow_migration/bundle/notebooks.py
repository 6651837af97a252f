"""Notebooks that runs were made with, in a bundle: beside a run's artifacts, and no part of what is compared.

A notebook's name holds its revision, so that one that is in the bundle is never fetched again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mlflow_migration.bundle import layout
from mlflow_migration.errors import ForbiddenError, NotFoundError, ServerError
from mlflow_migration.records import Json, Loss, Record


@dataclass(frozen=True)
class Notebooks:
    """The entries of those that are in the bundle already, name and content of new ones, and those that can't go."""

    kept: list[Json]
    made: list[tuple[str, bytes]]
    losses: tuple[Loss, ...]


def kept_notebooks(there: Json | None) -> list[Json]:
    """The entries of the notebooks that an object in a bundle has."""
    return [entry for entry in there["info"]["files"] if "notebook" in entry] if there else []


def fetched(there: Json | None, record: Record, dry_run: bool) -> Notebooks:
    """A record's notebooks, beside those of the object that is `there`. One that can't be fetched is a loss, and
    nothing more. A rehearsal fetches none: the new ones then have no content."""
    kept = kept_notebooks(there)
    names = {entry["notebook"] for entry in kept}
    made: list[tuple[str, bytes]] = []
    losses: list[Loss] = []
    for file in record.notebooks():
        if file.path in names:
            continue
        if file.open is None:
            losses.append(Loss("notebook", file.path, file.problem, file.wanted))
        elif dry_run:
            made.append((file.path, b""))
        else:
            try:
                with file.open() as reader:
                    made.append((file.path, reader.read()))
            except (NotFoundError, ForbiddenError, ServerError) as error:
                losses.append(Loss("notebook", file.path, str(error)))
    return Notebooks(kept, made, tuple(losses))


def written(folder: Path, name: str, content: bytes) -> Json:
    """The entry of a notebook whose file lies in its run's folder, still under the name it has while on its way."""
    file = layout.notebook(name)
    (folder / layout.NOTEBOOKS).mkdir(exist_ok=True)
    (folder / (file + layout.PART)).write_bytes(content)
    return {"notebook": name, "file": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
