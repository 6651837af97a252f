"""MLflow's pages where the installed package has none, as with one from a git branch: pieces beside the app's files.

A platform that takes no large file gets one archive in pieces. They are put together in the state folder; nothing is
written where packages are installed, which need not be writable.
"""

import io
import shutil
import zipfile
import zlib
from pathlib import Path

from mlflow_migration.apps.runtime.settings import SettingsError

INDEX = "index.html"


def unpack(pieces: Path, folder: Path) -> None:
    """Put the pages into `folder`, in place of what is there. Raises SettingsError where the pieces give none."""
    found = sorted(piece for piece in pieces.glob("*") if piece.is_file())
    if not found:
        raise SettingsError(f"MLFLOW_APP_UI: there is nothing in {pieces.absolute()}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(io.BytesIO(b"".join(piece.read_bytes() for piece in found))) as archive:
            archive.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SettingsError(f"MLFLOW_APP_UI: the pieces in {pieces.absolute()} are no archive: {error}") from error
    if not (folder / INDEX).is_file():
        raise SettingsError(f"MLFLOW_APP_UI: the archive in {pieces.absolute()} has no {INDEX}")
