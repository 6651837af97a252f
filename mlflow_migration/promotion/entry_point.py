"""Run by `python -I entry_point.py FOLDER MODULE:FUNCTION`: a check that is a Python function, in a process of its own.

It imports nothing of this package, so that whatever the check imports is what it finds. What the check prints goes to
stderr: stdout is for the verdict.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main(folder: str, target: str) -> None:
    """Call the function with the JSON document of stdin; print what it answers."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, folder)
    module, _, name = target.partition(":")
    verdict = getattr(importlib.import_module(module), name)(json.load(sys.stdin))
    with answer:
        json.dump(verdict, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
