"""Signed URLs: whoever has one may do the one thing it is for, without credentials, until it ends.

They answer as object storage does, in the dialects MLflow's client knows: S3 and GCS (PUT, GET), Azure Blob (blocks)
and Azure Data Lake (create, append, flush). The header given with a URL must come with it, `Authorization` must not.
"""

import email.utils
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from tests.databricks import calls
from tests.databricks.calls import Call
from tests.databricks.state import Workspace

HEADER = "x-emulated-signature"


@dataclass
class StorageError(Exception):
    """An error of the object storage: its status, code and message."""

    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Right:
    """What a signed URL allows: `verb` read, write, part, resumable or abort."""

    verb: str
    disk: Path
    ends: float
    proof: str
    upload: str = ""
    part: int = 0


@dataclass
class Upload:
    """A multipart upload under way."""

    disk: Path
    overwrite: bool = True
    parts: dict[int, bytes] = field(default_factory=dict)
    received: bytes = b""


@dataclass
class Signatures:
    """The signed URLs and multipart uploads of a workspace; `seconds` is how long a new URL is good for."""

    seconds: float = 900
    rights: dict[str, Right] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    blocks: dict[Path, dict[str, bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class Url:
    """A signed URL and the header that goes with it."""

    url: str
    headers: tuple[Mapping[str, str], ...]

    @property
    def json(self) -> dict[str, Any]:
        """As the Files API gives it."""
        return {"url": self.url, "headers": list(self.headers)}


def routes(workspace: Workspace) -> list[BaseRoute]:
    """What a signed URL leads to."""
    verbs = ("GET", "PUT", "PATCH", "DELETE")
    return calls.routes(workspace, {f"{verb} /signed/{{key}}": _use for verb in verbs})


def sign(workspace: Workspace, verb: str, disk: Path, upload: str = "", part: int = 0) -> Url:
    """A new signed URL for one file, or for one part of an upload."""
    held = workspace.part(Signatures)
    # Of Azure, and of a resumable upload, the signature is in the URL alone: clients pass no header on to all requests.
    bare = workspace.cloud == "AZURE" or verb == "resumable"
    key, proof = secrets.token_urlsafe(12), "" if bare else secrets.token_hex(8)
    held.rights[key] = Right(verb, disk, time.time() + held.seconds, proof, upload, part)
    url = f"{workspace.url}/signed/{key}?X-Amz-Signature={secrets.token_hex(16)}"
    return Url(url, ({"name": HEADER, "value": proof},) if proof else ())


def begin(workspace: Workspace, disk: Path, overwrite: bool = True) -> str:
    """Start a multipart upload; returns its token."""
    token = secrets.token_urlsafe(12)
    workspace.part(Signatures).uploads[token] = Upload(disk, overwrite)
    return token


def upload_of(workspace: Workspace, token: str) -> Upload | None:
    """The upload under way with this token."""
    return workspace.part(Signatures).uploads.get(token)


def complete(workspace: Workspace, token: str, etags: Mapping[int, str]) -> str:
    """Put the parts together; returns "" or what is wrong with them."""
    upload = workspace.part(Signatures).uploads[token]
    if not etags or sorted(etags) != list(range(1, len(etags) + 1)):
        return "The list of parts was not in ascending order or has gaps."
    for number, etag in etags.items():
        if number not in upload.parts or _etag(upload.parts[number]) != etag.strip('"'):
            return f"One or more of the specified parts could not be found: {number}"
    write(upload.disk, b"".join(upload.parts[number] for number in sorted(etags)))
    del workspace.part(Signatures).uploads[token]
    return ""


def write(disk: Path, content: bytes) -> None:
    """A file with its folders; readers see the old or the new content, never a half."""
    disk.parent.mkdir(parents=True, exist_ok=True)
    half = disk.parent / f".{secrets.token_hex(8)}.half"
    half.write_bytes(content)
    half.replace(disk)


def read(call: Call, disk: Path) -> Response:
    """The file's bytes, or the range asked for; 412 when it changed since `If-Unmodified-Since`."""
    if since := call.headers.get("if-unmodified-since"):
        moment = email.utils.parsedate_to_datetime(since).timestamp()
        if int(disk.stat().st_mtime) > moment:
            return Response(status_code=412)
    return FileResponse(disk, media_type="application/octet-stream")


def _use(call: Call) -> Response:
    try:
        right = _right(call)
        return ANSWERS[right.verb](call, right)
    except StorageError as error:
        text = f"<Error><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
        return Response(text, error.status, media_type="application/xml")


def _right(call: Call) -> Right:
    right = call.workspace.part(Signatures).rights.get(call.names["key"])
    if "authorization" in call.headers:
        raise StorageError(400, "InvalidArgument", "Only one auth mechanism allowed")
    if not right or call.headers.get(HEADER, "") != right.proof:
        raise StorageError(403, "SignatureDoesNotMatch", "The request signature does not match")
    if right.ends < time.time():
        raise StorageError(403, "AccessDenied", "Request has expired")
    if call.method not in METHODS[right.verb]:
        raise StorageError(403, "SignatureDoesNotMatch", "The URL is signed for another method")
    return right


def _read(call: Call, right: Right) -> Response:
    if not right.disk.is_file():
        raise StorageError(404, "NoSuchKey", "The specified key does not exist.")
    return read(call, right.disk)


def _part(call: Call, right: Right) -> Response:
    upload = upload_of(call.workspace, right.upload)
    if not upload:
        raise StorageError(404, "NoSuchUpload", "The upload may have been aborted or completed")
    upload.parts[right.part] = call.body
    return Response(status_code=200, headers={"ETag": f'"{_etag(call.body)}"'})


def _resume(call: Call, right: Right) -> Response:
    """Google's resumable upload: the next bytes by `Content-Range`; 308 tells how many are there (`bytes */*` asks)."""
    upload = upload_of(call.workspace, right.upload)
    if not upload:
        raise StorageError(404, "NoSuchUpload", "The upload may have been aborted or completed")
    if call.method == "DELETE":
        return _abort(call, right)
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", call.headers.get("content-range", ""))
    if not found or (found.group(1) and int(found.group(1)) != len(upload.received)):
        raise StorageError(400, "InvalidArgument", "Content-Range does not go on where the upload ended")
    upload.received += call.body
    if found.group(2) == str(len(upload.received)):
        if upload.disk.exists() and not upload.overwrite:
            raise StorageError(
                412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold."
            )
        write(upload.disk, upload.received)
        del call.workspace.part(Signatures).uploads[right.upload]
        return Response(status_code=200)
    so_far = {"Range": f"bytes=0-{len(upload.received) - 1}"} if upload.received else {}
    return Response(status_code=308, headers=so_far)


def _abort(call: Call, right: Right) -> Response:
    call.workspace.part(Signatures).uploads.pop(right.upload, None)
    return Response(status_code=204)


def _write(call: Call, right: Right) -> Response:
    """Whole, or by Azure's ways: `comp=block`, `comp=blocklist`; `resource=file`, `action=append|flush`."""
    held = call.workspace.part(Signatures)
    blocks = held.blocks.setdefault(right.disk, {})
    if call.query.get("comp") == "block":
        blocks[call.query["blockid"]] = call.body
    elif call.query.get("comp") == "blocklist":
        names = re.findall(r"<Uncommitted>([^<]*)</Uncommitted>", call.body.decode())
        write(right.disk, b"".join(blocks[name] for name in names))
        del held.blocks[right.disk]
    elif call.query.get("resource") == "file":
        write(right.disk, b"")
    elif call.query.get("action") == "append":
        blocks[f"{int(call.query['position']):020}"] = call.body
        if call.query.get("flush") == "true":
            write(right.disk, b"".join(blocks[name] for name in sorted(blocks)))
    elif call.query.get("action") == "flush":
        write(right.disk, b"".join(blocks[name] for name in sorted(blocks)))
        del held.blocks[right.disk]
    else:
        write(right.disk, call.body)
        return Response(status_code=200, headers={"ETag": f'"{_etag(call.body)}"'})
    return Response(status_code=201)


def _etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


ANSWERS = {"read": _read, "write": _write, "part": _part, "resumable": _resume, "abort": _abort}
METHODS = {
    "read": ("GET",),
    "write": ("PUT", "PATCH"),
    "part": ("PUT",),
    "resumable": ("PUT", "DELETE"),
    "abort": ("DELETE",),
}
