"""Pages of a list: how answers cut it, and tokens clients send back."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tests.databricks import errors
from tests.databricks.calls import Call

Item = TypeVar("Item")


def page(call: Call, found: Sequence[Item], most: int, default: int | None = None) -> tuple[list[Item], dict[str, str]]:
    """The page a call asks for by max_results (at most `most`) and page_token, and the field with the next token.

    Raises ApiError 400 for a token or size that isn't one.
    """
    size = _number(call.fields, "max_results") or default or most
    start = _start(str(call.fields.get("page_token") or ""))
    size = min(size, most)
    following = {"next_page_token": _token(start + size)} if start + size < len(found) else {}
    return list(found[start : start + size]), following


def _number(fields: Mapping[str, Any], name: str) -> int:
    text = str(fields.get(name) or 0)
    if not text.isdigit():
        raise errors.invalid(f"Invalid value for {name}: {text}")
    return int(text)


def _token(start: int) -> str:
    return base64.urlsafe_b64encode(f"from {start}".encode()).decode()


def _start(token: str) -> int:
    if not token:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(token).decode().partition(" ")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise errors.invalid(f"Invalid page token: {token}") from error
    if word != "from" or not number.isdigit():
        raise errors.invalid(f"Invalid page token: {token}")
    return int(number)
