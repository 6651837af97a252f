"""Faults a test orders: the next requests for a path answer with an error, late, or not at all."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What goes wrong with requests whose `METHOD /path` matches `path_regex` (searched, not matched whole).

    The first `after` matching requests pass, the next `times` suffer (0: all of them). `status` 0 answers as usual,
    after `delay` seconds; `performed` carries the request out before its answer is lost to the error; `cut` closes the
    connection after that many bytes of the true answer's body.
    """

    path_regex: str
    status: int = 503
    times: int = 1
    body: Mapping[str, Any] | None = None
    retry_after: float | None = None
    delay: float = 0
    after: int = 0
    performed: bool = False
    cut: int | None = None
    principal: str = ""

    @property
    def answer(self) -> Mapping[str, Any]:
        """The error's JSON body."""
        codes = {403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "REQUEST_LIMIT_EXCEEDED", 500: "INTERNAL_ERROR"}
        code = codes.get(self.status, "TEMPORARILY_UNAVAILABLE")
        return self.body if self.body is not None else {"error_code": code, "message": f"ordered fault {self.status}"}

    @property
    def headers(self) -> dict[str, str]:
        """The error's headers."""
        return {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}


@dataclass
class Faults:
    """The faults of one workspace and how often each has matched."""

    _ordered: list[tuple[Fault, list[int]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, fault: Fault) -> None:
        """Order one more."""
        with self._lock:
            self._ordered.append((fault, [0]))

    def clear(self) -> None:
        """Order none."""
        with self._lock:
            self._ordered.clear()

    def next(self, method: str, path: str, principal: str) -> Fault | None:
        """The fault this request suffers, if any; counts it."""
        with self._lock:
            for fault, matched in self._ordered:
                if fault.principal not in ("", principal) or not re.search(fault.path_regex, f"{method} {path}"):
                    continue
                matched[0] += 1
                past = matched[0] - fault.after
                if past > 0 and (fault.times == 0 or past <= fault.times):
                    return fault
        return None
