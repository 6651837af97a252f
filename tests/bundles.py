"""Two bundles compared byte by byte, but for `system`: who wrote a file, and when."""

import json
import re
from pathlib import Path

from tests import databases

SYSTEM = re.compile(rb'^\{\n "system": \{\n(?:  .*\n)+ \},\n')
"""The first part of an object file. A bundle's JSON is written with one space for each level."""


def settled(folder: Path) -> dict[str, bytes]:
    """Every file's bytes without `system`; digests of files that have one are not looked at."""
    found = {name: path.read_bytes() for name, path in databases.files(folder).items()}
    dated = {name for name, data in found.items() if name.endswith(".json") and SYSTEM.match(data)}
    for name in dated:
        found[name] = SYSTEM.sub(b"{\n", found[name])
    if "manifest.json" in found:
        info = json.loads(found["manifest.json"])["info"]
        found["manifest.json"] = found["manifest.json"].replace(info["sha256sums"].encode(), b"")
    if "SHA256SUMS" in found:
        lines = found["SHA256SUMS"].splitlines()
        found["SHA256SUMS"] = b"\n".join(line[64:] if line[66:].decode() in dated else line for line in lines)
    return found


def differences(one: Path, other: Path) -> list[str]:
    """What differs, in words; nothing where the bundles are equal byte for byte."""
    left, right = settled(one), settled(other)
    found = [f"only in {one.name}: {name}" for name in sorted(left.keys() - right.keys())]
    found += [f"only in {other.name}: {name}" for name in sorted(right.keys() - left.keys())]
    found += [
        f"{name}: {left[name][-300:]!r} | {right[name][-300:]!r}"
        for name in sorted(left.keys() & right.keys())
        if left[name] != right[name]
    ]
    return found
