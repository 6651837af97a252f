"""This tool's own tags under keys that Unity Catalog takes.

Unity Catalog refuses a tag whose key holds one of `. , - = / :` ("Tag name … contains one or more of the reserved
characters", seen at mlflow/recipes-examples#58; docs.databricks.com, "Apply tags to Unity Catalog securable objects").
Those of a person are left to what writes them; the tool's own have a dot by their nature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mlflow_migration.records import LINEAGE, ORIGIN, Json

RESERVED = ".,-=/:"
_PREFIXES = {prefix: prefix.replace(".", "_") for prefix in (ORIGIN, LINEAGE)}
_ESCAPED = re.compile(r"_x([0-9A-F]{2})_")
_TO_ESCAPE = re.compile(rf"[{re.escape(RESERVED)}]|_(?=x[0-9A-F]{{2}}_)")


def encoded(key: str) -> str:
    """The key as Unity Catalog takes it: `mlflow_migration.source` is `mlflow_migration_source`.

    Any other reserved character is its code between `_x` and `_`.
    """
    for prefix, there in _PREFIXES.items():
        if key.startswith(prefix):
            return there + _TO_ESCAPE.sub(lambda found: f"_x{ord(found[0]):02X}_", key.removeprefix(prefix))
    return key


def decoded(key: str) -> str:
    """The inverse of `encoded`."""
    for prefix, there in _PREFIXES.items():
        if key.startswith(there):
            return prefix + _ESCAPED.sub(lambda found: chr(int(found[1], 16)), key.removeprefix(there))
    return key


def outgoing(tags: Iterable[Json]) -> list[Json]:
    """Tags on their way to Unity Catalog."""
    return [{**tag, "key": encoded(tag["key"])} for tag in tags]


def incoming(tags: Iterable[Json] | None) -> list[Json]:
    """Tags as Unity Catalog gives them, under the keys the tool knows."""
    return [{**tag, "key": decoded(tag["key"])} for tag in tags or ()]
