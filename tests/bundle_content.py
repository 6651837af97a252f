"""What stands in a bundle, file by file, read without the tool: for comparing two that were made of one server."""

import json
from pathlib import Path
from typing import Any


def content(folder: Path) -> dict[str, Any]:
    """Each file's content by its path: JSON as values, all else as bytes.

    Left out: who exported it and when (`system`), the proof, the source's address. Lines of JSON come in any order.
    """
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"):
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        if "/artifacts/" in f"/{name}" or path.suffix not in {".json", ".jsonl"}:
            found[name] = data
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in data.split(b"\n") if line]
            found[name] = sorted(lines, key=json.dumps) if _is_shard(name) else lines
        else:
            value = json.loads(data)
            value.pop("system", None)
            if name == "manifest.json":
                for own in ("source", "sha256sums"):
                    value["info"].pop(own)
            found[name] = value
    return found


def _is_shard(name: str) -> bool:
    """Whether the lines are objects, which arrive in any order, and not the points of one run."""
    return not name.endswith("metrics.jsonl")


def differing(left: Path, right: Path) -> list[str]:
    """The paths of files that two bundles don't hold alike."""
    ours, theirs = content(left), content(right)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
