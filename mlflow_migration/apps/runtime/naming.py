"""Who made something: the platform's user becomes `mlflow.user` in what a client makes without naming one.

MLflow's clients name the user of the machine they run on, and that stays. Copies that mlflow-migration makes stay as
they were at their source: who carries a thing over hasn't made it.
"""

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

USER = "mlflow.user"
# A workspace sets `mlflow.user` itself, to whom it lets in: the app. There the person stands here. Unity Catalog takes
# no model with a dot in the name of a tag.
USER_IN_WORKSPACE = "mlflow_app_user"
_MADE = re.compile(
    r"^/(?:ajax-)?api/[234]\.0/mlflow/"
    r"(runs/create|traces|logged-models|(?:registered-models|model-versions)/create)$"
)
_EXPERIMENT = re.compile(r"^/(?:ajax-)?api/2\.0/mlflow/experiments/create$")
_COPIED = (b'"mlflow_migration.', b'"mlflow_exim.')


def is_named(path: str, prefix: str) -> bool:
    """Whether `named` has to look at what is sent to a path."""
    return bool(_MADE.match(path) or (prefix and _EXPERIMENT.match(path)))


def named(path: str, body: bytes, user: str, prefix: str = "", key: str = USER) -> bytes:
    """The body with who made it under `key`, and an experiment's name below `prefix`.

    Where neither applies it is as it was.
    """
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return body  # MLflow says what is wrong with it
    if not isinstance(document, dict):
        return body
    found = _MADE.match(path)
    if not found:
        document["name"] = prefixed(document.get("name"), prefix)
    elif not user or any(mark in body for mark in _COPIED):
        return body
    elif found[1] == "traces":
        _name_trace(document, user, key)
    else:
        _name_tags(document, user, key, with_user_id=key == USER and found[1] == "runs/create")
    return json.dumps(document).encode()


def prefixed(name: Any, prefix: str) -> Any:
    """An experiment's name as the workspace wants it, a path; those that are one stay."""
    return f"{prefix}/{name}" if isinstance(name, str) and name and not name.startswith("/") else name


def prefixed_query(query: str, prefix: str) -> str:
    """A query string whose `experiment_name` is below `prefix`."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([(key, prefixed(value, prefix) if key == "experiment_name" else value) for key, value in pairs])


def _name_tags(document: dict[str, Any], user: str, key: str, with_user_id: bool) -> None:
    tags = document.get("tags")
    if tags is None:
        tags = document["tags"] = []
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        return
    # A run's `user_id` is the older place of the same; MLflow's pages show the tag.
    given = next((tag.get("value") for tag in tags if tag.get("key") == key), None)
    maker = given or (with_user_id and (document.get("user_id") or document.get("userId"))) or user
    if given is None:
        tags.append({"key": key, "value": maker})
    if with_user_id and not (document.get("user_id") or document.get("userId")):
        document["user_id"] = maker


def _name_trace(document: dict[str, Any], user: str, key: str) -> None:
    trace = document.get("trace")
    if isinstance(trace, dict):
        info = _part(trace, "trace_info", "traceInfo")
        _part(info, "trace_metadata", "traceMetadata").setdefault(key, user)
        return
    pairs = document.setdefault("request_metadata", [])
    if isinstance(pairs, list) and not any(isinstance(pair, dict) and pair.get("key") == key for pair in pairs):
        pairs.append({"key": key, "value": user})


def _part(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """A part under the first of the names it has, made where there is none."""
    for name in names:
        if isinstance(found := document.get(name), dict):
            return found
    made: dict[str, Any] = {}
    document[names[0]] = made
    return made
