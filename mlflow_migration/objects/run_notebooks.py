"""The notebook a run was made with on Databricks: fetched at its revision, and put into another workspace.

A run names it by tags, which stay as they are. Where its copy lies in a workspace is told by a tag of this tool, so
that nothing a person or the platform wrote is changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ForbiddenError, NotFoundError, ServerError, UsageError
from mlflow_migration.places import Writing
from mlflow_migration.records import ORIGIN, File, Json, Loss, Record, Written, pairs_of, tags_of

PATH = "mlflow.databricks.notebookPath"
REVISION = "mlflow.databricks.notebookRevisionID"
"""A time in ms since 1970, which Databricks sets; mlflow/utils/mlflow_tags.py (3.17.2) doesn't list it."""
PLACED = ORIGIN + "notebook"
"""Where a destination has the copy of the notebook."""
ENDINGS = {"SOURCE": "source", "HTML": "html", "JUPYTER": "ipynb", "DBC": "dbc"}
"""Format → ending of its file, those of mlflow-export-import."""
BEST = ("JUPYTER", "SOURCE", "HTML", "DBC")
"""Which of several formats is put into a workspace: one that tells the language first, a folder last."""
DIGITS = 12


def formats(text: str) -> tuple[str, ...]:
    """Formats from `SOURCE,HTML`, in any case, each once. Raises UsageError for one that is none."""
    found = tuple(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    if wrong := [name for name in found if name not in ENDINGS]:
        raise UsageError(f"not a notebook format: {', '.join(wrong)}", hint=f"known: {', '.join(ENDINGS)}")
    return found


def of_run(source: Readable, head: Json, asked: tuple[str, ...]) -> Iterator[File]:
    """The notebook of a run in each format; nothing where the run names none. Its bytes are fetched when opened."""
    tags = tags_of(head["data"].get("tags"))
    path = tags.get(PATH, "")
    if not path:
        return
    for format_ in asked:
        name = file_name(path, tags.get(REVISION, ""), format_)
        if source.notebooks.exist():
            yield File(name, 0, partial(_open, source, (path, tags.get(REVISION, "")), format_))
        else:
            yield File(name, 0, problem="only a Databricks workspace can give it")


def file_name(path: str, revision: str, format_: str) -> str:
    """`Train@1638298534123.source`: what a notebook's file is called."""
    name = path.rstrip("/").rpartition("/")[2] or "notebook"
    return f"{name}@{revision}.{ENDINGS[format_]}" if revision else f"{name}.{ENDINGS[format_]}"


def _open(source: Readable, what: tuple[str, str], format_: str) -> AbstractContextManager[BinaryIO]:
    return io.BytesIO(source.notebooks.fetch(*what, format_))


def with_notebook(sink: Live, record: Record, written: Written, job: Writing) -> Written:
    """How a run ended, after its notebook was put into the workspace folder that the job names, if it does.

    One that is there stays as it is: its path ends in its revision, or in what it holds. A deleted run takes no tag,
    and its notebook stays in the bundle.
    """
    tags = tags_of(record.head["data"].get("tags"))
    if not job.notebook_dir or not tags.get(PATH) or written.state == "skipped":
        return written
    file, format_ = _best(record)
    if file is None:
        return _without(written, tags[PATH], "it wasn't exported: export with --notebook-formats")
    if record.head["info"].get("lifecycle_stage") == "deleted":
        return _without(written, tags[PATH], "its run is deleted, and takes no tag")
    revision = tags.get(REVISION, "")
    # Only a name that holds its revision was fetched at it.
    is_exact = bool(revision) and file.path == file_name(tags[PATH], revision, format_)
    path = _path(job.notebook_dir, tags[PATH], revision if is_exact else file.digest()[:DIGITS])
    head = sink.get_run(written.id) if written.id else None
    is_there = head is not None and tags_of(head["data"].get("tags")).get(PLACED) == path
    return written if is_there else _put(sink, written, (path, file, format_), job.dry_run)


def _put(sink: Live, written: Written, notebook: tuple[str, File, str], dry_run: bool) -> Written:
    path, file, format_ = notebook
    state = "updated" if written.state == "same" else written.state
    if not dry_run:
        try:
            sink.notebooks.put(path, _content(file.open), format_)
        except (NotFoundError, ForbiddenError, ServerError) as error:
            return replace(written, losses=(*written.losses, Loss("notebook", path, str(error))))
        sink.log_batch(written.id, {"tags": pairs_of({PLACED: path})})
    return replace(written, state=state)


def _without(written: Written, name: str, reason: str) -> Written:
    return replace(written, losses=(*written.losses, Loss("notebook", name, reason, wanted=False)))


def _best(record: Record) -> tuple[File | None, str]:
    files = list(record.notebooks())
    for format_ in BEST:
        for file in files:
            if file.path.endswith("." + ENDINGS[format_]) and file.open is not None:
                return file, format_
    return None, ""


def _path(folder: str, path: str, mark: str) -> str:
    """Below the folder as it lay in the other workspace; what comes from outside leads nowhere else."""
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    return f"{folder.rstrip('/')}/{'/'.join(parts) or 'notebook'}@{mark}"


def _content(opened: Callable[[], AbstractContextManager[BinaryIO]] | None) -> bytes:
    if opened is None:
        raise ValueError("a notebook without content can't be put anywhere")
    with opened() as reader:
        return reader.read()
