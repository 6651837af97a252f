"""What went wrong with a request, in a line a person can read and without what nobody is to read."""

from __future__ import annotations

import email.utils
import json
import logging
import re
import time
from http import HTTPStatus

import requests

log = logging.getLogger(__name__)

LONGEST_MESSAGE = 500
STORAGE_CODE = re.compile(r"<Code>([\w.]{1,80})</Code>")


class TransientError(Exception):
    """A request that may succeed when repeated. `outside` is the host of a signed address, "" for the server itself."""

    def __init__(self, status: int, text: str, retry_after: float | None = None, outside: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.outside = outside


def retry_after(response: requests.Response) -> float | None:
    """Seconds that a server asks to wait, None where it doesn't say."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    when = email.utils.parsedate_to_datetime(text) if text.endswith("GMT") else None
    return max(0.0, when.timestamp() - time.time()) if when else None


def error_in(response: requests.Response) -> tuple[str, str]:
    """MLflow's error code and message."""
    text = response.content.decode("utf-8", "replace")
    try:
        answer = json.loads(text)
        if isinstance(answer, dict) and "error_code" in answer:
            return str(answer["error_code"]), plain(str(answer.get("message", "")))
    except ValueError:
        log.debug("not JSON: %s", text[:200])
    # Some routes that are missing look like another one's: `traces/link-prompts` like a trace of that id (2.22 to 3.4).
    if response.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return "ENDPOINT_NOT_FOUND", f"no such route: {response.request.path_url.partition('?')[0]}"
    return "", plain(text) or str(response.reason)


def storage_error_in(response: requests.Response) -> tuple[str, str]:
    """The error code of an object store, and no more: its texts quote what was signed."""
    found = STORAGE_CODE.search(response.content.decode("utf-8", "replace"))
    code = found.group(1) if found else ""
    return code, code or str(response.reason)


def reason(error: BaseException, *, named: bool = True) -> str:
    """The system's own word for what went wrong with a connection, in place of the libraries' nested texts; these only
    where `named`, since they quote the address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        inner = next((arg for arg in cause.args if isinstance(arg, BaseException)), None)
        cause = inner or getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
        cause = cause if isinstance(cause, BaseException) else None
    return f"{type(error).__name__}: {error}" if named else type(error).__name__


def plain(text: str) -> str:
    """One line of at most 500 characters."""
    line = " ".join(text.split())
    return line[:LONGEST_MESSAGE]
