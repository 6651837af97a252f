"""What one registry has and another can't hold: kept in origin tags there, and given back where it can be.

Stages, aliases, links to runs that aren't there, and tags whose keys a platform refuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_migration.places import TagRules
from mlflow_migration.records import ORIGIN, Json, Loss, tags_of, without_origin

TAG = ORIGIN + "tag."
"""Followed by the key of a person's tag, whose value it has as JSON: so nothing of it is lost where spaces are."""
STAGE = ORIGIN + "stage"
ALIAS = ORIGIN + "alias."
"""Followed by the alias; the value is the version's number."""
RUN = ORIGIN + "run_id"
RUN_LINK = ORIGIN + "run_link"
NO_STAGE = "None"
OF_PROMPTS = frozenset({"mlflow.prompt.is_prompt", "mlflow.prompt.text"})
"""Fields of a prompt that only look like tags."""
OWN = 20
"""So many tags are left to the tool itself where their number is limited."""


@dataclass(frozen=True)
class Fitted:
    """A person's tags as a registry takes them. `held` are origin tags with those it refuses by their keys."""

    tags: dict[str, str]
    held: dict[str, str]
    losses: tuple[Loss, ...] = ()


def restored(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags a person or MLflow set, wherever they stand."""
    held = {key.removeprefix(TAG): _read(value) for key, value in tags.items() if key.startswith(TAG)}
    return {**held, **without_origin(tags)}


def fitted(tags: Mapping[str, str], rules: TagRules) -> Fitted:
    """Which of a person's tags a registry takes as they are, and which are held."""
    taken: dict[str, str] = {}
    held: dict[str, str] = {}
    losses = []
    for key, value in tags.items():
        if key in OF_PROMPTS:
            taken[key] = value
        elif rules.most and len(taken) + len(held) >= rules.most - OWN:
            losses.append(Loss("tag", key, f"the registry takes {rules.most} tags at most"))
        elif rules.value and len(json.dumps(value, ensure_ascii=False)) > rules.value:
            losses.append(Loss("tag", key, f"the registry takes {rules.value} characters at most, it has {len(value)}"))
        elif not rules.takes(key, value):
            if rules.key and len(TAG + key) > rules.key:
                losses.append(Loss("tag", key, f"the registry takes keys of {rules.key} characters at most"))
            else:
                held[TAG + key] = json.dumps(value, ensure_ascii=False)
        else:
            taken[key] = value
    return Fitted(taken, held, tuple(losses))


def stage_of(head: Json) -> str:
    """The stage a version has, or had where it comes from; "" where nothing is known of one."""
    kept = tags_of(head.get("tags")).get(STAGE, "")
    return kept if head.get("current_stage") in {None, "", NO_STAGE} and kept else str(head.get("current_stage") or "")


def aliases_of(head: Json) -> dict[str, str]:
    """Alias → version, those too that are kept in tags."""
    held = {key.removeprefix(ALIAS): value for key, value in tags_of(head.get("tags")).items() if key.startswith(ALIAS)}
    return {**held, **{entry["alias"]: str(entry["version"]) for entry in head.get("aliases") or ()}}


def run_of(head: Json) -> str:
    """The id of the run a version came from, wherever it stands."""
    return str(head.get("run_id") or tags_of(head.get("tags")).get(RUN, ""))


def run_link_of(head: Json) -> str:
    """The address of the run a version came from, wherever it stands."""
    return str(head.get("run_link") or tags_of(head.get("tags")).get(RUN_LINK, ""))


def _read(value: str) -> str:
    """The value of a held tag; one that is no JSON is nobody's but the person's who wrote it."""
    try:
        return str(json.loads(value))
    except ValueError:
        return value
