"""`app create`, `update`, `deploy`, `delete`, `start`, `stop`: what changes an app of a workspace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
PATIENCE = 120.0
"""Seconds for which a request is repeated while the workspace is down or busy."""
