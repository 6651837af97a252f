"""What a place can be asked about the rights of who asks."""

from __future__ import annotations

from typing import Protocol


class RightsReads(Protocol):
    """What these credentials may not read, as far as the server says so."""

    def denied(self, kind: str) -> tuple[str, ...]: ...

    def are_limited(self) -> bool: ...
