"""Unity Catalog's rules for tags of models, model versions and prompts (Databricks' page "Apply tags to Unity Catalog
securable objects", section "Constraints").
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.databricks import errors

MOST = 50
LONGEST_KEY = 255
LONGEST_VALUE = 1000
# In the order and the words of the platform's own error (mlflow/recipes-examples issue 58).
RESERVED_IN_ORDER = ".,-=/:"
RESERVED = frozenset(RESERVED_IN_ORDER)


def put(tags: dict[str, str], key: str, value: str) -> None:
    """Set one tag; raises ApiError 400 for a key or value the platform refuses, or one tag too many."""
    if RESERVED & set(key):
        reserved = f"contains one or more of the reserved characters: List({', '.join(RESERVED_IN_ORDER)})"
        raise errors.invalid(f"Tag name {key} {reserved}")
    if not key or len(key) > LONGEST_KEY or key != key.strip():
        raise errors.invalid(
            f"Tag name '{key}' is invalid: names have 1 to {LONGEST_KEY} characters and no leading or trailing spaces"
        )
    if len(value) > LONGEST_VALUE or value != value.strip():
        raise errors.invalid(
            f"The value of tag '{key}' is invalid: values have at most {LONGEST_VALUE} characters and no leading or"
            " trailing spaces"
        )
    if key not in tags and len(tags) >= MOST:
        raise errors.invalid(f"An object can't have more than {MOST} tags")
    tags[key] = value


def read(listed: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """The tags of a request's `[{key, value}]`; raises ApiError 400 as `put` does."""
    tags: dict[str, str] = {}
    for tag in listed or ():
        put(tags, str(tag.get("key", "")), str(tag.get("value", "")))
    return tags


def shown(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as answers have them."""
    return [{"key": key, "value": value} for key, value in tags.items()]
