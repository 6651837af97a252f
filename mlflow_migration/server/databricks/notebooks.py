"""Notebooks of a Databricks workspace, over the Workspace API 2.0.

An earlier revision is asked for by `revision.revision_timestamp`, which isn't publicly documented: as
mlflow-export-import sends it since its issue 113, in the JSON body of the GET. The parameter it sent before,
`revision_timestamp`, is ignored there, and the newest revision comes.
"""

from __future__ import annotations

import base64
import binascii

from mlflow_migration.errors import NotFoundError, ServerError
from mlflow_migration.records import Json
from mlflow_migration.server.databricks import workspace_files
from mlflow_migration.server.databricks.workspace_files import GONE, TAKEN, WORKSPACE
from mlflow_migration.server.rest import Rest

SOURCE = "SOURCE"
LANGUAGES = {"#": "PYTHON", "//": "SCALA", "--": "SQL"}
"""By how the first line of a notebook's source begins. Of R it is that of Python: in this format R can't be told."""


class WorkspaceNotebooks:
    """The notebooks of one workspace. Implements `NotebookCalls`."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def exist(self) -> bool:
        """Whether there are any."""
        return True

    def fetch(self, path: str, revision: str, format_: str) -> bytes:
        """A notebook in a format, as it was at a revision (a time in ms, as runs name it), or with "" as it is now.

        Raises NotFoundError where it isn't there any more, ForbiddenError where these credentials may not read it, and
        ServerError for a format it can't be given in, or one of more than 10 MB.
        """
        asked: Json = {"path": path, "format": format_}
        try:
            if revision:
                body = {**asked, "revision": {"revision_timestamp": revision}}
                answer = self._rest.call("GET", WORKSPACE + "export", body)
            else:
                answer = self._rest.call("GET", WORKSPACE + "export", query=asked)
        except ServerError as error:
            if error.code != GONE:
                raise
            raise NotFoundError(f"no such notebook: {path}", error.why, "it was moved or deleted") from error
        try:
            return base64.b64decode(answer.get("content", ""), validate=True)
        except (binascii.Error, TypeError) as error:
            raise NotFoundError(f"the notebook {path} didn't come", f"its content is no base64: {error}") from error

    def put(self, path: str, content: bytes, format_: str) -> None:
        """Make a notebook, and the folders above it. One that is there stays as it is.

        Raises ForbiddenError and ServerError where the workspace refuses it.
        """
        if workspace_files.status(self._rest, path) is not None:
            return
        self._rest.call("POST", WORKSPACE + "mkdirs", {"path": path.rpartition("/")[0] or "/"})
        body: Json = {"path": path, "format": format_, "content": base64.b64encode(content).decode()}
        if format_ == SOURCE:
            body["language"] = language_of(content)
        try:
            self._rest.call("POST", WORKSPACE + "import", body)
        except ServerError as error:
            if error.code not in TAKEN:
                raise


def language_of(source: bytes) -> str:
    """The language of a notebook's source, by its first line."""
    first = source.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", "replace")
    mark = first.partition(" ")[0]
    return LANGUAGES.get(mark, "PYTHON")
