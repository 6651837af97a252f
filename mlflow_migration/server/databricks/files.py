"""The Files API of a workspace: volumes, and the artifacts of runs, logged models and versions, as streams.

Paths are absolute (`/Volumes/…`, `/WorkspaceInternal/…`, `/Models/…`). Routes, sizes and the shapes of answers are
those of databricks-sdk's own client (`mixins/files.py`, 0.156). Large files go straight to the storage of the cloud by
signed addresses; where these are not to be had, through the workspace.
"""

from __future__ import annotations

import base64
import io
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from http import HTTPStatus
from typing import BinaryIO, cast
from urllib.parse import quote

import requests

from mlflow_migration.errors import ForbiddenError, MigrationError, ServerError
from mlflow_migration.records import File, Json
from mlflow_migration.server.artifacts import Body, Download
from mlflow_migration.server.rest import Rest

log = logging.getLogger(__name__)

Open = Callable[[], AbstractContextManager[Body | BinaryIO]]
"""Opens what is sent, anew for each try."""

FILES = "/api/2.0/fs/files"
DIRECTORIES = "/api/2.0/fs/directories"
FS = "/api/2.0/fs/"
MULTIPART_FROM = 50 * 1024 * 1024
"""From this size on a file is sent in parts, as databricks-sdk does."""
SIGNED_FROM = 8 * 1024 * 1024
"""From this size on a file is read from the storage itself: one request more, and the workspace isn't in the way."""
PART = 10 * 1024 * 1024
MOST_PARTS = 9000
"""S3 takes 10,000."""
MOST_AT_ONCE = 5 * 1024**3
"""The most bytes one PUT takes."""
URL_MINUTES = 60
RENEWALS = 3
"""So often a part's signed address is asked for anew when it has expired."""
MISSING = frozenset({"NOT_FOUND", "RESOURCE_DOES_NOT_EXIST", "FILES_API_DIRECTORY_IS_NOT_FOUND"})


@dataclass(frozen=True)
class _Part:
    number: int
    data: bytes


def walk(rest: Rest, base: str, folder: str = "", levels: int = sys.maxsize) -> Iterator[File]:
    """Files below `base`, by their paths from there, and folders as paths that end in "/", so many levels down.

    One request per folder and page; nothing where there is no such folder. Raises ServerError, ForbiddenError.
    """
    folders = [(folder, levels)]
    while folders:
        folder, left = folders.pop()
        entries = {str(entry["name"]): entry for entry in _listed(rest, _join(base, folder))}
        for name, entry in sorted(entries.items()):
            path = _join(folder, name) if folder else name
            if entry.get("is_directory"):
                yield File(path + "/", 0)
                if left > 1:
                    folders.append((path, left - 1))
            else:
                size = int(entry.get("file_size", 0))
                yield File(path, size, partial(open_file, rest, _join(base, path), size))


def _listed(rest: Rest, path: str) -> Iterator[Json]:
    query: dict[str, str] = {}
    while True:
        try:
            answer = rest.call("GET", DIRECTORIES + quote(path), query=query)
        except ServerError as error:
            if error.status == HTTPStatus.NOT_FOUND and error.code in MISSING:
                return
            raise
        yield from answer.get("contents", [])
        token = answer.get("next_page_token")
        if not token:
            return
        query = {"page_token": str(token)}


@contextmanager
def open_file(rest: Rest, path: str, size: int = 0) -> Iterator[BinaryIO]:
    """The bytes of a file. A broken connection goes on where it broke, with a new signed address if there is one.

    Raises ServerError where there is none.
    """
    with closing(Download(partial(_opened, rest, path, size))) as download:
        yield cast("BinaryIO", download)


def _opened(rest: Rest, path: str, size: int, offset: int) -> requests.Response:
    direct = partial(rest.open, FILES + quote(path), None, offset)
    if size < SIGNED_FROM:
        return direct()
    try:
        query = {"path": path, "expire_time": _expires()}
        found = rest.call("POST", FS + "create-download-url", query=query)
        return rest.open(str(found["url"]), None, offset, headers_of(found))
    except (ServerError, ForbiddenError) as error:
        log.info("no signed address for %s: %s", path, error)
    return direct()


def put_file(rest: Rest, path: str, file: File) -> None:
    """Write a file, over one that is there. Raises ServerError, ForbiddenError."""
    if file.size < MULTIPART_FROM or not _in_parts(rest, path, file):
        if file.size > MOST_AT_ONCE:
            raise ServerError("the workspace takes no parts of files", f"{file.size} bytes are too many for one", 0, "")
        rest.upload("PUT", f"{FILES}{quote(path)}?overwrite=true", partial(body_of, file), file.size)


@contextmanager
def body_of(file: File) -> Iterator[Body]:
    """An artifact's bytes as an upload sends them, opened anew for each try."""
    if file.open is None:
        raise ServerError("an artifact can't be read", file.problem, 0, "")
    with file.open() as reader:
        yield Body(reader, file.size)


def headers_of(found: Json) -> dict[str, str]:
    """The headers that have to be sent with a signed address: a list of pairs, or (of a download) a mapping."""
    headers = found.get("headers") or []
    if isinstance(headers, Mapping):
        return {str(name): str(value) for name, value in headers.items()}
    return {str(each["name"]): str(each["value"]) for each in headers}


def parts_of(file: File, size: int) -> Iterator[bytes]:
    """A file's bytes in pieces of `size`. Raises ServerError where it has not as many as were told."""
    with body_of(file) as body:
        while True:
            wanted, chunks = size, []
            while wanted and (data := body.read(wanted)):
                chunks.append(data)
                wanted -= len(data)
            if not chunks:
                return
            yield b"".join(chunks)


def _in_parts(rest: Rest, path: str, file: File) -> bool:
    """Send a file in parts; False where the workspace gives no signed addresses for it."""
    route = FILES + quote(path)
    try:
        begun = rest.call("POST", f"{route}?action=initiate-upload&overwrite=true")
    except (ServerError, ForbiddenError) as error:
        log.info("no upload in parts for %s: %s", path, error)
        return False
    if resumable := begun.get("resumable_upload"):
        return _at_once(rest, path, str(resumable["session_token"]), file)
    session = str(begun["multipart_upload"]["session_token"])
    whole = False
    try:
        etags = _send_parts(rest, path, session, file)
        if etags:
            query = {"action": "complete-upload", "upload_type": "multipart", "session_token": session}
            parts = [{"part_number": number, "etag": etag} for number, etag in etags]
            rest.call("POST", route, {"parts": parts}, query=query)
        whole = bool(etags)
    finally:
        if not whole:
            _abort(rest, path, session)
    return whole


def _send_parts(rest: Rest, path: str, session: str, file: File) -> list[tuple[int, str]]:
    """The parts that arrived; none where the first one is refused, for then the storage can't be reached from here."""
    size = max(PART, -(-file.size // MOST_PARTS))
    etags: list[tuple[int, str]] = []
    for number, data in enumerate(parts_of(file, size), start=1):
        part = _Part(number, data)
        try:
            etags.append((number, _send_part(rest, path, session, part)))
        except (ServerError, ForbiddenError) as error:
            if etags:
                raise
            log.info("the storage takes no part of %s: %s", path, error)
            return []
    return etags


def _send_part(rest: Rest, path: str, session: str, part: _Part) -> str:
    def ask() -> Json:
        body = {"path": path, "session_token": session, "start_part_number": part.number, "count": 1}
        body["expire_time"] = _expires()
        answer: Json = rest.call("POST", FS + "create-upload-part-urls", body)["upload_part_urls"][0]
        return answer

    return send_signed(rest, "PUT", ask, part.data).get("ETag", "")


def send_signed(rest: Rest, method: str, ask: Callable[[], Json], data: bytes) -> Mapping[str, str]:
    """Send bytes to a signed address, which `ask` gives as `{"url", "headers"}` and again when it has expired.

    The headers of the answer. Raises ServerError.
    """
    return _send(rest, method, ask, partial(_bytes, data), len(data))


def put_signed(rest: Rest, ask: Callable[[], Json], file: File) -> None:
    """PUT a whole file to a signed address, as `send_signed` does."""
    _send(rest, "PUT", ask, partial(body_of, file), file.size)


def _send(rest: Rest, method: str, ask: Callable[[], Json], body: Open, size: int) -> Mapping[str, str]:
    for attempt in range(RENEWALS + 1):
        found = ask()
        try:
            return rest.upload(method, str(found["url"]), body, size, headers_of(found))
        except ServerError as error:
            if error.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or attempt == RENEWALS:
                raise
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _bytes(data: bytes) -> Iterator[BinaryIO]:
    yield io.BytesIO(data)


def _at_once(rest: Rest, path: str, session: str, file: File) -> bool:
    """Google's storage: the whole file in one request to the address of its upload, which takes it from the start
    again where it breaks off."""
    try:
        found = rest.call("POST", FS + "create-resumable-upload-url", {"path": path, "session_token": session})
        address = found["resumable_upload_url"]
        rest.upload("PUT", str(address["url"]), partial(body_of, file), file.size, headers_of(address))
    except (ServerError, ForbiddenError) as error:
        log.info("the storage takes no upload of %s: %s", path, error)
        return False
    return True


def _abort(rest: Rest, path: str, session: str) -> None:
    try:
        body = {"path": path, "session_token": session, "expire_time": _expires()}
        found = rest.call("POST", FS + "create-abort-upload-url", body)["abort_upload_url"]
        rest.upload("DELETE", str(found["url"]), partial(_bytes, b""), 0, headers_of(found))
    except MigrationError as error:
        # What failed before is what is told; parts without an end cost their owner storage until they expire.
        log.warning("parts of %s are left behind: %s", path, error)


def block_id(number: int) -> str:
    """An id of a block of Azure's storage: all of one length, in base64."""
    return base64.b64encode(f"{number:08d}".encode()).decode()


def _expires() -> str:
    return (datetime.now(timezone.utc) + timedelta(minutes=URL_MINUTES)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _join(base: str, path: str) -> str:
    return f"{base}/{path}" if path else base
