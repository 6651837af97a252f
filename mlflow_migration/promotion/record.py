"""The record of a promotion: `promotion.json` at its entry of the journal, and tags at the promoted version.

At the version (all `mlflow_migration.promotion.*`): `run_id` the entry, `digest` SHA-256 of its files, `from` where it
came from, `by` who promoted it, `at` when, `policy` the policy's SHA-256.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from importlib.metadata import version as version_of
from typing import BinaryIO

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ServerError
from mlflow_migration.objects import run
from mlflow_migration.promotion import approvals, journal
from mlflow_migration.promotion.facts import Version
from mlflow_migration.promotion.journal import PREFIX, Entry
from mlflow_migration.promotion.step import Manner, Step
from mlflow_migration.promotion.verdicts import Verdict
from mlflow_migration.records import File, Json

FILE = "promotion.json"
MOST = 16 * 1024 * 1024
FORMAT = 1
DIGEST = PREFIX + "digest"
RUN = PREFIX + "run_id"


@dataclass(frozen=True)
class Facts:
    """What a record is made of, as far as the promotion came."""

    step: Step
    version: Version
    manner: Manner
    verdicts: Sequence[Verdict] = ()
    number: str = ""
    previous: str = ""
    destination_digest: str = ""


def document(facts: Facts, entry: Entry, outcome: str, reason: str) -> Json:
    """The record as JSON. Times are ISO 8601 in UTC by the clock of the machine that promoted."""
    step, version = facts.step, facts.version
    said = [each.as_json() for each in approvals.opinions(version, step.destination)]
    return {
        "format": FORMAT,
        "tool": f"mlflow-migration {version_of('mlflow-migration')}",
        "number": entry.number,
        "kind": entry.said("kind"),
        "outcome": outcome,
        "reason": reason,
        "at": approvals.now(),
        "by": facts.manner.by,
        "model": step.model,
        "from": {
            "environment": step.source,
            "server": step.src.address,
            "model": version.name,
            "version": version.number,
            "run_id": version.run["info"]["run_id"] if version.run else "",
            "digest": version.digest,
        },
        "to": {
            "environment": step.destination,
            "server": step.dst.address,
            "model": step.dst_name,
            "version": facts.number,
            "digest": facts.destination_digest,
            "alias": facts.manner.alias,
            "previous": facts.previous,
        },
        "policy": step.policy.digest(),
        "gates": [verdict.as_json() for verdict in facts.verdicts],
        "approvals": said,
        "note": facts.manner.reason,
    }


def tags(facts: Facts, entry: Entry) -> Iterator[tuple[str, str]]:
    """What is noted at the promoted version, and what the person asked for besides."""
    step, version = facts.step, facts.version
    yield DIGEST, facts.destination_digest
    yield PREFIX + "from", f"{step.source} {version.id} at {step.src.address}"
    yield PREFIX + "by", facts.manner.by
    yield PREFIX + "at", approvals.now()
    yield PREFIX + "policy", step.policy.digest()
    yield from facts.manner.tags
    yield RUN, entry.id


def put(live: Live, entry: Entry, found: Json) -> None:
    """Keep a record as an artifact of its entry."""
    data = (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    live.put_file(run.root_of(entry.run), FILE, File(FILE, len(data), partial(_reader, data)))


@contextmanager
def _reader(data: bytes) -> Iterator[BinaryIO]:
    yield io.BytesIO(data)


def get(live: Readable, entry: Entry) -> Json | None:
    """The record of an entry; None where it has none, as one that was cut off."""
    try:
        with live.open_file(run.root_of(entry.run), FILE) as reader:
            text = b"".join(iter(partial(reader.read, 1 << 16), b""))
    except ServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    found = json.loads(text[:MOST])
    return found if isinstance(found, dict) else None


def note(facts: Facts, outcome: str, reason: str) -> str:
    """What MLflow's pages show of an entry, as Markdown."""
    step, version = facts.step, facts.version
    to = f"{step.dst_name} {facts.number}".strip()
    lines = [f"**{outcome}**: {step.source} {version.id} → {step.destination} {to} as `{facts.manner.alias}`"]
    lines += ["", reason] if reason else []
    lines += ["", "| gate | | wanted | found | |", "| --- | --- | --- | --- | --- |"] if facts.verdicts else []
    rows = ((each.name, "✓" if each.passed else "✗", each.wanted, each.found, each.reason) for each in facts.verdicts)
    return "\n".join([*lines, *_rows(rows)])


def _rows(rows: Iterable[Iterable[str]]) -> Iterator[str]:
    for row in rows:
        yield "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |"


def said(facts: Facts, outcome: str, reason: str) -> dict[str, str]:
    """What an entry's tags say when it ends."""
    words = {"outcome": outcome, "reason": reason, "version": facts.number, "digest": facts.version.digest}
    refused = ", ".join(each.name for each in facts.verdicts if not each.passed)
    return {**words, "refused": refused} if refused else words


def began(facts: Facts, kind: str) -> dict[str, str]:
    """What an entry's tags say when it begins."""
    step = facts.step
    return {
        "kind": kind,
        "by": facts.manner.by,
        "from": step.source,
        "to": step.destination,
        "source": step.src.address,
        "source_version": facts.version.id,
        "alias": facts.manner.alias,
        "policy": step.policy.digest(),
        "tool": f"mlflow-migration {version_of('mlflow-migration')}",
        "logical": step.model,
        "note": facts.manner.reason,
    }


def noted(entry: Entry, live: Live, text: str) -> None:
    """Put a text on an entry's page."""
    tag = {"key": journal.NOTE, "value": text[: journal.TAG_MOST]}
    live.log_batch(entry.id, {"tags": [tag]})
