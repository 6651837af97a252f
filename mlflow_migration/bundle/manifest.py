"""What proves a bundle whole: SHA256SUMS over every file, and a manifest, written last, that holds its digest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlflow_migration.bundle import layout
from mlflow_migration.errors import BundleError
from mlflow_migration.records import Json

BLOCK = 1 << 20
LARGEST_JSON = 256 * 1024 * 1024
DEEPEST_JSON = 64
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def system() -> Json:
    """Who writes, when, with what: the `system` part of every object file."""
    try:
        tool = version("mlflow-migration")
    except PackageNotFoundError:
        tool = "unknown"
    return {
        "package": "mlflow-migration",
        "package_version": tool,
        "exported_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "platform": sys.platform,
    }


def write_json(path: Path, value: Json) -> str:
    """Write a JSON file atomically; its SHA-256."""
    data = (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "surrogatepass")
    part = path.with_name(path.name + layout.PART)
    with part.open("wb") as file:
        file.write(data)
    part.replace(path)
    return hashlib.sha256(data).hexdigest()


def read_json(path: Path, name: str) -> Json:
    """Read a JSON object from outside. Raises BundleError naming the file when it is none, too large or too deep."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise BundleError(f"{name} is too large", f"{path.stat().st_size} bytes", "it is not from this tool")
        value = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
        check_depth(value)
    except (OSError, ValueError, RecursionError) as error:
        raise broken(name, error) from error
    if not isinstance(value, dict):
        raise BundleError(f"{name} is not a JSON object", "", "get the bundle again from its source")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def check_depth(value: Any, depth: int = 0) -> None:
    """Raise ValueError for JSON that is nested deeper than any object of MLflow's."""
    if depth > DEEPEST_JSON:
        raise ValueError(f"nested deeper than {DEEPEST_JSON}")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        if isinstance(child, (dict, list)):
            check_depth(child, depth + 1)


def broken(name: str, error: Exception) -> BundleError:
    """The error for a file that isn't what it should be; of a form's faults the first, with its field."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    else:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BundleError(f"{name} is broken", reason[:300], "get the bundle again from its source")


def digest_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_sums(root: Path, sums: Iterator[tuple[str, str]]) -> str:
    """Write SHA256SUMS from (path, digest) in order; the digest of the file itself."""
    digest = hashlib.sha256()
    part = root / (layout.SUMS + layout.PART)
    with part.open("wb") as file:
        for path, value in sums:
            line = f"{value}  {path}\n".encode("utf-8", "surrogateescape")
            digest.update(line)
            file.write(line)
    part.replace(root / layout.SUMS)
    return digest.hexdigest()


def read_sums(root: Path) -> Iterator[tuple[str, str]]:
    """(path, digest) for each line of SHA256SUMS, which must be sorted."""
    last = b""
    try:
        with (root / layout.SUMS).open("rb") as file:
            for number, line in enumerate(file, 1):
                match = _LINE.fullmatch(line.decode("utf-8", "surrogateescape").rstrip("\n"))
                name = os.fsencode(match[2]) if match else b""
                if not match or name <= last:
                    raise BundleError(f"{layout.SUMS} is broken", f"line {number}", "get the bundle again")
                last = name
                yield match[2], match[1]
    except OSError as error:
        raise broken(layout.SUMS, error) from error


def read_manifest(root: Path) -> Json:
    """The manifest of a whole bundle. Raises BundleError where there is none, or of another format."""
    if not root.is_dir():
        raise BundleError(f"no such bundle: {root}", "there is no such folder", "check the path given")
    if not (root / layout.MANIFEST).is_file():
        raise BundleError(
            f"not a whole bundle: {root}",
            f"{layout.MANIFEST} is missing: its export was interrupted, or it is not a bundle",
            "type the export command again: it goes on where it stopped",
        )
    manifest = read_json(root / layout.MANIFEST, layout.MANIFEST)
    info = manifest.get("info")
    if (
        not isinstance(info, dict)
        or not isinstance(info.get("sha256sums"), str)
        or not isinstance(info.get("source"), str)
    ):
        raise BundleError(f"{layout.MANIFEST} is broken", "it lacks info.sha256sums or info.source")
    if info.get("format") != layout.FORMAT:
        raise BundleError(
            f"{layout.MANIFEST} is of format {info.get('format')!r}",
            f"this version reads format {layout.FORMAT}",
            "use the version of mlflow-migration that wrote it",
        )
    return manifest


NOT_SUMMED = frozenset({layout.MANIFEST, layout.SUMS, layout.MARK})
"""Files that SHA256SUMS doesn't name."""


def check_sums(root: Path, expected: str) -> Iterator[tuple[str, Path]]:
    """Read the whole bundle and compare it with SHA256SUMS; gives each file once it is proven.

    Raises BundleError naming the first file that is changed, missing or surplus.
    """
    if not (root / layout.SUMS).is_file():
        raise BundleError(f"{layout.SUMS} is missing", "nothing proves the bundle whole", "get the bundle again")
    if digest_file(root / layout.SUMS) != expected:
        raise BundleError(f"{layout.SUMS} is changed", "its digest is not the manifest's", "get the bundle again")
    files = ((name, path) for name, path in layout.walk(root) if name not in NOT_SUMMED)
    sums = read_sums(root)
    here, line = next(files, None), next(sums, None)
    while here is not None or line is not None:
        if line is None or (here is not None and os.fsencode(here[0]) < os.fsencode(line[0])):
            name = here[0] if here else ""
            raise BundleError(
                f"{name} is surplus", f"{layout.SUMS} doesn't name it", "remove it, or get the bundle again"
            )
        if here is None or os.fsencode(line[0]) < os.fsencode(here[0]):
            raise BundleError(
                f"{line[0]} is missing", f"{layout.SUMS} names it", "get the bundle again from its source"
            )
        if digest_file(here[1]) != line[1]:
            raise BundleError(
                f"{here[0]} is changed", "its checksum is another", "get the bundle again from its source"
            )
        yield here
        here, line = next(files, None), next(sums, None)
