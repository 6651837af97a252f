"""Which process holds a lock, and whether that process is surely gone.

Only where it ran on this very machine, since this start of it, can that be known; elsewhere a lock's lease has to run
out. On Linux a process is known by the machine's boot id, its space of process ids, its id and its start.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

PROC = Path("/proc")
STARTED = 19
"""Where a process's start stands in /proc/PID/stat, counted after the name's closing bracket (proc(5), field 22)."""


def identity() -> str:
    """This process, as text."""
    return json.dumps(
        {
            "host": socket.gethostname(),
            "boot": _text(PROC / "sys/kernel/random/boot_id"),
            "space": _space(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        },
        sort_keys=True,
    )


def is_gone(text: str) -> bool:
    """Whether the process of an `identity()` certainly runs no more; False where that can't be known from here."""
    try:
        known = json.loads(text)
        pid, started = int(known["pid"]), str(known["started"])
        place = tuple(str(known[key]) for key in ("host", "boot", "space"))
    except (ValueError, TypeError, KeyError):
        return False
    here = (socket.gethostname(), _text(PROC / "sys/kernel/random/boot_id"), _space())
    if place != here or not all(here) or not started:
        return False
    return _started(pid) != started


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return str((PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine's start; "" where there is none of that id, or a zombie."""
    fields = _text(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return fields[STARTED] if len(fields) > STARTED and fields[0] not in {"Z", "X"} else ""
