"""Where things lie in a bundle, and which file names are safe everywhere.

Any name becomes a file name that Linux, Windows and object stores take, by percent-encoding what one of them refuses.
The true names stand in the object's JSON; what a bundle from outside says is checked against this, and never used as
a path.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from mlflow_migration.errors import BundleError

FORMAT = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
FAILURES = "failures.jsonl"
MARK = ".mlflow-migration"
"""Stands in a folder while it is written, so that a half-made bundle is known from somebody's own folder. One beside a
manifest is of a job that was killed when all was done."""
ARTIFACTS = "artifacts"
NOTEBOOKS = "notebooks"
PART = ".part"
"""Ending of files on their way; a leftover one is from an interrupted job."""
LONGEST_NAME = 200
_SAFE = re.compile(r"[A-Za-z0-9_\-+=@,.~ ()\[\]{}!$&';^]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|artifacts", re.IGNORECASE)


def quoted(name: str) -> str:
    """A safe file name for any name; equal names give equal file names, different names different ones."""
    whole = unicodedata.is_normalized("NFC", name)
    text = "".join(char if _SAFE.match(char) or (whole and char.isalnum()) else _encoded(char) for char in name)
    if text[:1] in {".", " "}:
        text = _encoded(text[0]) + text[1:]
    if text[-1:] in {".", " "}:
        text = text[:-1] + _encoded(text[-1])
    if _RESERVED.fullmatch(text):
        text = _encoded(text[0]) + text[1:]
    if len(text.encode()) > LONGEST_NAME:
        # `%~` can't come from encoding, so that a shortened name never meets a whole one.
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        text = text.encode()[:100].decode("utf-8", "ignore") + "%~" + digest
    return text or "%00~empty"


def _encoded(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def folder(home: tuple[str, ...]) -> str:
    """The folder of an object, relative, with `/`."""
    return "/".join(quoted(part) for part in home)


def artifact(path: str, owner: str = "") -> str:
    """The file of an artifact, relative to its object's folder; with `owner`, the last part of the home of an object
    that has none of its own, relative to the folder of its shard."""
    return "/".join([ARTIFACTS, *([quoted(owner)] if owner else []), *(quoted(part) for part in path.split("/"))])


def notebook(name: str) -> str:
    """The file of a notebook that a run was made with, relative to the run's folder."""
    return f"{NOTEBOOKS}/{quoted(name)}"


def check_artifact_path(path: str) -> None:
    """Raise ValueError for an artifact path no MLflow gives: absolute, with `..` or empty parts, or with a NUL."""
    parts = path.split("/")
    if "" in parts or ".." in parts or "." in parts or "\0" in path:
        raise ValueError(f"not an artifact path: {path!r}")


def walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file below `root` as (relative path with `/`, path), sorted bytewise by relative path, like SHA256SUMS.

    Raises BundleError for a link or special file: nothing in a bundle may lead out of it.
    """
    yield from _walk(root, "")


def _walk(root: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    entries = []
    with os.scandir(root) as found:
        for entry in found:
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                raise BundleError(
                    f"{prefix + entry.name} is a link or special file", f"in {root}", "bundles hold plain files only"
                )
            name = os.fsencode(entry.name) + (b"/" if entry.is_dir() else b"")
            entries.append((name, entry.name, entry.is_dir()))
    for _, child, is_dir in sorted(entries):
        if is_dir:
            yield from _walk(root / child, f"{prefix}{child}/")
        else:
            yield prefix + child, root / child
