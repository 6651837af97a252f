"""The journal of promotions at a destination: runs of one experiment, numbered by MLflow itself.

MLflow has no compare-and-swap, but two things that only the first of several writers gets, whatever they do at once: an
experiment's name (unique in its tables), and a param of a run, which can't be given another value (tried on 3.17.2:
`_log_params` of the SQL store, on its primary key). So

- an experiment `JOURNAL.lock` is made with a tag that names the root run: one is made, everyone reads its tag;
- the root run has a param for each model, with the id of the model's chain;
- the chain is a run whose params `1`, `2`, `3` … are the ids of the journal's runs. Who sets the next number, owns it.

The entry of the highest number holds the lock as long as its run is RUNNING. So the order of the journal is MLflow's
own, and no clock's. An owner that is gone is followed by the next number; one that comes back finds that it is not the
last any more, which it looks at before it moves an alias.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, NotFoundError, ServerError
from mlflow_migration.promotion import holder
from mlflow_migration.records import ORIGIN, Json, digest_of, pairs_of, tags_of

PREFIX = ORIGIN + "promotion."
ROOT = PREFIX + "root"
CHAIN = PREFIX + "chain"
"""On an entry: the run whose params number the entries of its model."""
HOLDER = PREFIX + "holder"
BEAT = PREFIX + "beat"
"""When the owner was last at work, ms since 1970 by its own clock."""
ATTEMPT = PREFIX + "attempt"
KIND = PREFIX + "kind"
MODEL = PREFIX + "model"
NOTE = "mlflow.note.content"
LOCK = ".lock"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
DONE, ABANDONED = "done", "abandoned"
ROLLBACK = "rollback"
TAKEN = "RESOURCE_ALREADY_EXISTS"
TAG_MOST = 4000
"""Characters of a tag that every database takes (MLflow's own limit is 8,000)."""
LOOKS = 4
"""How often in a lease an owner tells that it is at work."""


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass(frozen=True)
class Entry:
    """One run of the journal. `number` is its place in the order, 0 for one that never owned one."""

    run: Json
    number: int

    @property
    def id(self) -> str:
        return str(self.run["info"]["run_id"])

    @property
    def status(self) -> str:
        return str(self.run["info"].get("status", ""))

    @property
    def started(self) -> int:
        return int(self.run["info"].get("start_time") or 0)

    @property
    def tags(self) -> dict[str, str]:
        return tags_of(self.run["data"].get("tags"))

    def said(self, word: str) -> str:
        """What it says under a tag of promotions, "" for nothing."""
        return self.tags.get(PREFIX + word, "")

    @property
    def words(self) -> set[str]:
        """The tags of promotions it has, also those that say nothing."""
        return {key[len(PREFIX) :] for key in self.tags if key.startswith(PREFIX)}

    @property
    def is_open(self) -> bool:
        return self.status in {RUNNING, "SCHEDULED"} and self.run["info"].get("lifecycle_stage") != "deleted"

    @property
    def beat(self) -> int:
        """When its owner was last heard of, ms since 1970."""
        text = self.tags.get(BEAT, "")
        return int(text) if text.isdigit() else self.started

    @property
    def lacks_its_end(self) -> bool:
        """Whether all of it was done and said but its status. A rollback that is typed again has to find that it was
        cut off, for another one would go back one version more."""
        return self.is_open and bool(self.said("outcome")) and self.said("kind") != ROLLBACK


@dataclass(frozen=True)
class Chain:
    """The journal of one model at one place: `experiment_id` holds it, `run_id` numbers it."""

    live: Readable
    model: str
    experiment_id: str
    run_id: str

    def numbers(self) -> dict[int, str]:
        """Number → id of the entry's run. Raises NotFoundError where the chain was deleted."""
        head = self.live.get_run(self.run_id)
        if head is None:
            raise NotFoundError(f"the journal of {self.model!r} is gone", f"run {self.run_id} at {self.live.address}")
        params = tags_of(head["data"].get("params"))
        return {int(key): value for key, value in params.items() if key.isdigit()}

    def entries(self) -> list[Entry]:
        """All entries in their order; one without a number stands before the first that began after it."""
        numbers = {id_: number for number, id_ in self.numbers().items()}
        heads = list(self.live.search_runs([self.experiment_id], f"tags.`{CHAIN}` = '{self.run_id}'"))
        found = [Entry(head, numbers.get(head["info"]["run_id"], 0)) for head in heads]
        ordered = sorted((each for each in found if each.number), key=lambda each: each.number)
        for loose in sorted((each for each in found if not each.number), key=lambda each: each.started, reverse=True):
            place = next((at for at, each in enumerate(ordered) if each.started > loose.started), len(ordered))
            ordered.insert(place, loose)
        return ordered

    def last(self) -> Entry | None:
        """The entry of the highest number."""
        numbers = self.numbers()
        if not numbers:
            return None
        highest = max(numbers)
        head = self.live.get_run(numbers[highest])
        if head is None:
            raise NotFoundError(f"entry {highest} of the journal of {self.model!r} is gone", f"at {self.live.address}")
        return Entry(head, highest)


def find(live: Readable, journal: str, model: str) -> Chain | None:
    """The chain of a model, None where nothing was ever promoted there."""
    root = _root_of(live.get_experiment_by_name(journal + LOCK))
    experiment = live.get_experiment_by_name(journal)
    head = live.get_run(root) if root and experiment else None
    if head is None or experiment is None:
        return None
    run_id = tags_of(head["data"].get("params")).get(_key(model))
    return Chain(live, model, str(experiment["experiment_id"]), run_id) if run_id else None


def chain(live: Live, journal: str, model: str) -> Chain:
    """The chain of a model, made where there is none yet."""
    found = find(live, journal, model)
    if found is not None:
        return found
    experiment_id = _experiment(live, journal)
    root = _root(live, journal, experiment_id)
    known = tags_of((live.get_run(root) or {"data": {}})["data"].get("params")).get(_key(model))
    if not known:
        mine = _bare_run(live, experiment_id, f"order of {model}", {KIND: "chain", MODEL: model})
        known = _claimed(live, root, _key(model), mine)
        if known != mine:
            live.delete_run(mine)
    return Chain(live, model, experiment_id, known)


def _key(model: str) -> str:
    """A param's key for any name."""
    return f"model.{digest_of(model)[:32]}"


def _experiment(live: Live, name: str, tags: Mapping[str, str] | None = None) -> str:
    """The id of the experiment of that name, made where there is none. Raises ConflictError where it is deleted."""
    head = live.get_experiment_by_name(name)
    if head is None:
        try:
            live.create_experiment(name, tags or {NOTE: "The journal of promotions into this server."})
        except ServerError as error:
            if error.code != TAKEN:
                raise
        head = live.get_experiment_by_name(name)
    if head is None or head.get("lifecycle_stage") == "deleted":
        raise ConflictError(f"the experiment {name!r} is deleted", f"at {live.address}", "restore it")
    return str(head["experiment_id"])


def _root_of(experiment: Json | None) -> str:
    return tags_of(experiment.get("tags")).get(ROOT, "") if experiment else ""


def _root(live: Live, journal: str, experiment_id: str) -> str:
    """The run that all agree on: whoever makes the experiment names it."""
    found = _root_of(live.get_experiment_by_name(journal + LOCK))
    if found:
        return found
    mine = _bare_run(live, experiment_id, "order of all models", {KIND: "root"})
    note = f"Its tag names the run of {journal!r} that orders all promotions. Deleting it breaks their lock."
    _experiment(live, journal + LOCK, {ROOT: mine, NOTE: note})
    # Read again, for somebody else's may have come first, whatever the answer to this request was.
    found = _root_of(live.get_experiment_by_name(journal + LOCK))
    if not found:
        why = f"it lacks the tag {ROOT}"
        raise ConflictError(f"the experiment {journal + LOCK!r} is not what promotions made", why, "rename it")
    if found != mine:
        live.delete_run(mine)
    return found


def _bare_run(live: Live, experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
    attempt = uuid.uuid4().hex
    info = {"experiment_id": experiment_id, "start_time": now_ms(), "run_name": name}
    head = live.create_run(info, {**tags, ATTEMPT: attempt}, (ATTEMPT, attempt))
    live.update_run(head["info"]["run_id"], {"status": FINISHED, "end_time": now_ms()})
    return str(head["info"]["run_id"])


def _claimed(live: Live, run_id: str, key: str, value: str) -> str:
    """Set a param that nobody else has set; what it is then, whoever came first.

    A refusal says only that another was faster, or that the answer was lost: what stands there tells which.
    """
    refusal: ServerError | None = None
    try:
        live.log_batch(run_id, {"params": [{"key": key, "value": value}]})
    except ServerError as error:
        refusal = error
    found = tags_of((live.get_run(run_id) or {"data": {}})["data"].get("params")).get(key)
    if found is None:
        raise refusal or ConflictError("the journal's order was not taken", f"run {run_id} at {live.address}")
    return found


def begin(live: Live, chain: Chain, name: str, said: Mapping[str, str]) -> Entry:
    """A new entry, RUNNING, without a number yet. `said` are its tags by their words."""
    attempt = uuid.uuid4().hex
    tags = {PREFIX + word: text[:TAG_MOST] for word, text in said.items()}
    tags |= {CHAIN: chain.run_id, MODEL: chain.model, HOLDER: holder.identity(), BEAT: str(now_ms()), ATTEMPT: attempt}
    info: dict[str, Any] = {"experiment_id": chain.experiment_id, "start_time": now_ms(), "run_name": name}
    if said.get("by"):
        info["user_id"] = said["by"]
        tags["mlflow.user"] = said["by"]
    return Entry(live.create_run(info, tags, (ATTEMPT, attempt)), 0)


def say(live: Live, entry: Entry, said: Mapping[str, str]) -> None:
    """Add to what an entry says."""
    live.log_batch(entry.id, {"tags": pairs_of({PREFIX + word: text[:TAG_MOST] for word, text in said.items()})})


def end(live: Live, entry: Entry, status: str, said: Mapping[str, str]) -> None:
    """Close an entry: what it says first, its status last."""
    say(live, entry, said)
    live.update_run(entry.id, {"status": status, "end_time": now_ms()})


def settle(live: Live, entry: Entry, reason: str) -> None:
    """Close the open entry of an owner that is gone: by what it has said itself, else as abandoned."""
    if not entry.lacks_its_end:
        end(live, entry, KILLED, {"outcome": ABANDONED, "reason": reason})
        return
    status = FINISHED if entry.said("outcome") == DONE else FAILED
    live.update_run(entry.id, {"status": status, "end_time": entry.beat})


def claim(live: Live, chain: Chain, number: int, entry: Entry) -> bool:
    """Try to own a number; whether this entry does."""
    return _claimed(live, chain.run_id, str(number), entry.id) == entry.id
