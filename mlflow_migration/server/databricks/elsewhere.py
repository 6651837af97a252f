"""Artifacts of a workspace's experiments that lie in a storage of somebody's own (`s3://`, `abfss://`, `gs://` …).

Databricks gives no signed addresses for it: MLflow's own client for that storage goes there, with the credentials it
finds in the environment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from mlflow_migration.errors import ServerError
from mlflow_migration.places import Root
from mlflow_migration.records import File


def lies_elsewhere(uri: str) -> bool:
    """Whether an artifact root is no place of the workspace's."""
    return urlsplit(uri).scheme not in {"", "dbfs"}


def walk(root: Root, folder: str, levels: int) -> Iterator[File]:
    """Files, and folders as paths that end in "/", so many levels down from a folder. Raises ServerError."""
    with _told(root):
        found = sorted(_repository(root).list_artifacts(folder or None), key=lambda entry: str(entry.path))
    for entry in found:
        path = str(entry.path)
        if not entry.is_dir:
            yield File(path, int(entry.file_size or 0), partial(open_file, root, path))
            continue
        yield File(path + "/", 0)
        if levels > 1:
            yield from walk(root, path, levels - 1)


@contextmanager
def open_file(root: Root, path: str) -> Iterator[BinaryIO]:
    """The bytes of an artifact, by way of a temporary file. Raises ServerError where there is none."""
    with tempfile.TemporaryDirectory(prefix="mlflow-migration-") as folder:
        with _told(root):
            local = Path(_repository(root).download_artifacts(path, dst_path=folder))
        with local.open("rb") as reader:
            yield reader


def _repository(root: Root) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(root.uri)


@contextmanager
def _told(root: Root) -> Iterator[None]:
    """The errors of MLflow's clients, and of the storages' own libraries as far as these are errors of a connection."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError, ImportError, ValueError) as error:
        where = f"{urlsplit(root.uri).scheme}://{urlsplit(root.uri).netloc}"
        raise ServerError(
            f"the artifacts at {where} can't be had", f"{type(error).__name__}: {error}", 0, ""
        ) from error
