"""Whether a version's files are those that its promotion recorded, by reading them."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_migration.governance import journal
from mlflow_migration.governance.environments import Environments
from mlflow_migration.promotion import record
from mlflow_migration.promotion.facts import Version
from mlflow_migration.records import Json, tags_of

DIGITS = 12


def differences(environments: Environments, name: str, head: Json) -> Iterator[str]:
    """How the files of a version differ from what was recorded at it and in the journal; nothing for one that was never
    promoted. Raises NotFoundError or ConflictError where they can't be read."""
    place = environments.open[name]
    tag = tags_of(head.get("tags")).get(record.DIGEST, "")
    promotions = journal.Journal(place, environments.journal_of(name)).of(head["name"], str(head["version"]))
    recorded = [_digest(promotion.record) for promotion in promotions]
    wanted = {"at the version": tag, "in the journal": next((each for each in reversed(recorded) if each), "")}
    wanted = {where: digest for where, digest in wanted.items() if digest}
    if not wanted:
        return
    found = Version(place, head).digest
    for where, digest in wanted.items():
        if digest != found:
            yield f"its files have the digest {found[:DIGITS]}, recorded {where} is {digest[:DIGITS]}"


def _digest(document: Json) -> str:
    """The digest of the files at the destination that a record has, "" for none."""
    there = document.get("to")
    return str(there.get("digest") or "") if isinstance(there, dict) else ""
