"""Versions of registered models and prompts: exact numbers, what they were made of, stage, tags.

MLflow gives a new version the number after the highest one a model ever had, deleted ones too. So versions are made in
ascending order, and a number that the source lacks is made and deleted. For that each version of a job waits until the
one before it, and the one it was made from, have ended.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from mlflow_migration.calls import Live, Readable
from mlflow_migration.errors import ConflictError, LeftOutError, NotFoundError, ServerError
from mlflow_migration.objects import experiment, forms, registry, sources
from mlflow_migration.objects.kind import Known, run_at
from mlflow_migration.objects.registry import SOURCE_VERSION, Family, Standing, version_id
from mlflow_migration.objects.texts import run_ids_in, swap
from mlflow_migration.places import Ids, Selection, Versions, Writing
from mlflow_migration.records import ORIGIN, Identity, Json, Loss, Record, Written, pairs_of, tags_of, without_origin

PLACEHOLDER = ORIGIN + "placeholder"
"""On a version that only takes up a number until it is deleted."""
ADDED_FROM = ORIGIN + "added_from"
"""On a version that was added to a model of the destination's own: place, name and number of the one it came from."""
NO_STAGE = "None"
RUN_TAGS = frozenset({"mlflow.prompt.associatedRunIds", "mlflow.prompt.run_ids"})
"""Tags that hold runs' ids. Others belong to people, as a prompt's text does."""
READY = "READY"
ANYWHERE = "s3://mlflow-migration/placeholder"


@dataclass(frozen=True)
class Queued(Record):
    """A version in the order of writing. `after` are the ids of those that have to be written before it."""

    after: tuple[str, ...] = ()


def validate(family: Family, head: Json) -> Identity:
    """Check a version's head from outside; its home and id. Raises ValueError."""
    form = forms.ModelVersion.model_validate(head)
    if not family.takes(head):
        raise ValueError(f"it is no {family.version}")
    return (family.folder, form.name, form.version), version_id(form.name, form.version)


def read(family: Family, source: Readable, selection: Selection) -> Iterator[Record]:
    """The versions of the selected models, in the order of writing."""
    patterns = family.chosen(selection)
    plain = patterns and not any(char in pattern for pattern in patterns for char in "*?[")
    found = (
        _record(family, head)
        for name in (patterns if plain else ("",))
        for head in source.registry.search_versions(family.prompts, name)
        if family.takes(head)
    )
    return choose(family, found, selection, source.address)


def record(family: Family, source: Readable, id_: str, selection: Selection) -> Record | None:
    """One version by id, or None."""
    name, _, number = id_.rpartition("/")
    head = source.registry.get_version(name, number)
    return _record(family, head) if head and family.takes(head) else None


def choose(family: Family, records: Iterator[Record], selection: Selection, where: str) -> Iterator[Record]:
    """Those that are asked for, each after those it needs: their heads are held at once to be put in order.

    Raises ConflictError where versions are made of each other in a circle, which no server gives.
    """
    patterns = family.chosen(selection)
    named = [each for each in records if registry.named(patterns, each.head["name"])]
    chosen = {each.id: each for each in _chosen(named, selection.versions, where)}
    before: dict[str, tuple[str, ...]] = {}
    last: dict[str, str] = {}
    for each in sorted(chosen.values(), key=lambda each: int(each.head["version"])):
        name = each.head["name"]
        address = sources.address_of(each.head)
        made_of = each.head["source"].removeprefix("models:").lstrip("/") if address.kind == sources.VERSION else ""
        needed = (last.get(name, ""), made_of)
        before[each.id] = tuple(id_ for id_ in needed if id_ in chosen)
        last[name] = each.id
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError as error:
        raise ConflictError("versions are made of each other in a circle", f"{where}: {error.args[1]}") from error
    for id_ in order:
        fields = {name: getattr(chosen[id_], name) for name in Record.__dataclass_fields__}
        yield Queued(**fields, after=before[id_])


def _chosen(records: list[Record], wanted: Versions, where: str) -> list[Record]:
    """Those of the models' versions that are asked for. Raises NotFoundError where a number meets none of them."""
    ids, stages = frozenset(wanted.ids), frozenset(stage.lower() for stage in wanted.stages)
    if ids:
        return [each for each in records if each.id in ids]
    found = [each for each in records if not wanted.numbers or str(each.head["version"]) in wanted.numbers]
    unmet = set(wanted.numbers) - {str(each.head["version"]) for each in found}
    if unmet:
        raise NotFoundError(f"no such version: {', '.join(sorted(unmet))}", f"at {where}", "check the numbers")
    if stages:
        found = [each for each in found if _stage_of(each).lower() in stages]
    if wanted.latest:
        last: dict[tuple[str, str], Record] = {}
        for each in sorted(found, key=lambda each: int(each.head["version"])):
            last[each.head["name"], _stage_of(each)] = each
        found = list(last.values())
    return found


def _stage_of(record: Record) -> str:
    return record.head.get("current_stage") or NO_STAGE


def _record(family: Family, head: Json) -> Record:
    # A model's aliases stand with the model, where a search shows them too.
    kept = {key: value for key, value in head.items() if key != "aliases"}
    name, number = head["name"], str(head["version"])
    id_ = version_id(name, number)
    return Record(family.version, id_, id_, (family.folder, name, number), kept, {family.model: name})


def portable(record: Record, swaps: dict[str, str] | None = None) -> Json:
    """What must be equal at both ends: the model's name may be another one after a rename."""
    head = record.head
    tags = without_origin(tags_of(head.get("tags")))
    return {
        "description": head.get("description") or "",
        "stage": _stage_of(record),
        "source": swap(head.get("source") or "", swaps),
        "run_id": swap(head.get("run_id") or "", swaps),
        "run_link": head.get("run_link") or "",
        "tags": {key: swap(value, swaps) if key in RUN_TAGS else value for key, value in tags.items()},
    }


def origin(record: Record) -> str:
    """Name and number of the version this one came from in the first place, or its own."""
    return tags_of(record.head.get("tags")).get(SOURCE_VERSION) or record.id


def swaps_of(record: Record, known: Known) -> dict[str, str]:
    """What turns the ids in this version into those that both ends share."""
    swaps = sources.swaps_of(record, known)
    for key, value in tags_of(record.head.get("tags")).items():
        if key in RUN_TAGS:
            swaps.update({id_: known(id_) or id_ for id_ in run_ids_in(value)})
    return swaps


@dataclass
class Shelf:
    """One destination model with its versions; only one version of a model is written at a time.

    `highest` is the highest number it has given away, None while that isn't known: deleted versions aren't shown.
    """

    name: str
    stands: Standing
    versions: dict[int, Json] = field(default_factory=dict)
    highest: int | None = None

    def past(self, number: int) -> bool:
        """Whether a number that isn't there can't come any more."""
        return max([self.highest or 0, *self.versions]) >= number


def write(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    """Make the version under its number, or bring it up to date.

    Raises ConflictError where the number is taken or past, NotFoundError where what it was made of isn't there.
    """

    def ended(id_: str) -> threading.Event:
        return ids.once(f"{family.version} {id_} has ended", threading.Event)

    try:
        # Those before it were handed out before it, so that they are written or being written by now.
        for id_ in record.after if isinstance(record, Queued) else ():
            ended(id_).wait()
        return _write(family, sink, record, ids, job)
    finally:
        ended(record.id).set()


def _write(family: Family, sink: Live, record: Record, ids: Ids, job: Writing) -> Written:
    source_name = record.head["name"]
    name = registry.name_at(family, source_name, sink, ids, job)
    if registry.refusal(family, source_name, ids) == registry.LEFT_OUT:
        raise LeftOutError(f"its {family.model} is left out", f"another one has the name {name!r} at {sink.address}")
    stands = ids.once(registry.standing_of(name), registry.unknown)
    if stands is None:
        raise NotFoundError(f"its {family.model} did not arrive", f"{name!r} at {sink.address}")
    shelf = ids.once(f"shelf of {name}", lambda: _shelf(family, sink, name, stands, (ids, job)))
    if job.adding is not None:
        return _add(sink, record, shelf, ids, job)
    number = int(record.head["version"])
    there = shelf.versions.get(number)
    if there is not None:
        return _update(sink, record, there, shelf, (ids, job))
    if shelf.stands.foreign:
        raise ConflictError(f"another model or prompt has the name {name!r}", f"at {sink.address}", experiment.RENAME)
    if job.dry_run:
        if shelf.past(number):
            raise _past(shelf, number)
        return Written("", "done", losses=_static_losses(record))
    return _Maker(sink, record, shelf).make(ids, job)


def _add(sink: Live, record: Record, shelf: Shelf, ids: Ids, job: Writing) -> Written:
    """Make the version under the next number, once: what came from it is known by a tag."""
    for there in shelf.versions.values():
        if tags_of(there.get("tags")).get(ADDED_FROM) == _added_from(record, job):
            return Written(version_id(shelf.name, str(there["version"])), "same")
    if job.dry_run:
        return Written("", "done", losses=_static_losses(record))
    staged = job.adding is not None and job.adding.aliases
    return _Maker(sink, record, shelf, staged).add(ids, job)


def _added_from(record: Record, job: Writing) -> str:
    return f"{job.source} {record.id}"


def _past(shelf: Shelf, number: int) -> ConflictError:
    return ConflictError(
        f"version {number} of {shelf.name!r} can't be made any more",
        "the destination has given away higher numbers, and MLflow never goes back",
        f"delete {shelf.name!r} at the destination and type the command again, or {experiment.RENAME}",
    )


def _shelf(family: Family, sink: Live, name: str, stands: Standing, at: tuple[Ids, Writing]) -> Shelf:
    ids, job = at
    if ids.once(registry.fresh(name), lambda: False):
        return Shelf(name, stands, highest=0)
    shelf = Shelf(name, stands)
    for version in sink.registry.search_versions(family.prompts, name):
        if (stands.ours or stands.joined) and _is_left_over(version, stands):
            if not job.dry_run:
                sink.registry.delete_version(name, version["version"])
        else:
            shelf.versions[int(version["version"])] = version
    return shelf


def _is_left_over(head: Json, stands: Standing) -> bool:
    """Whether a job that was cut off left it: it takes up a number that the source lacks."""
    tags = tags_of(head.get("tags"))
    mark = tags.get(SOURCE_VERSION)
    ours = stands.ours or tags.get(registry.SOURCE) == stands.source
    return PLACEHOLDER in tags or (ours and mark is not None and mark.rpartition("/")[2] != str(head["version"]))


def _is_ours(record: Record, there: Json, stands: Standing) -> bool:
    """Whether a destination's version came from this one. One without a place of its own has its model's."""
    here = tags_of(there.get("tags"))
    if here.get(SOURCE_VERSION) != origin(record):
        return False
    return here[registry.SOURCE] == stands.source if registry.SOURCE in here else stands.ours


def _static_losses(record: Record) -> tuple[Loss, ...]:
    """What no destination can be given."""
    status = record.head.get("status", READY)
    if status == READY:
        return ()
    return (Loss("tag", "status", f"a version is always {READY} when it is made, this one is {status}"),)


def _update(sink: Live, record: Record, there: Json, shelf: Shelf, at: tuple[Ids, Writing]) -> Written:
    ids, job = at
    id_ = version_id(shelf.name, record.head["version"])
    here = tags_of(there.get("tags"))
    if shelf.stands.itself and SOURCE_VERSION not in here:
        return Written(id_, "skipped", reason=registry.ITSELF)
    expected = _expected(sink, record, ids, job)
    tags, losses = _tags(record, ids)
    head = record.head
    changed = (head.get("description") or "") != (there.get("description") or "")
    stage = _stage_of(record)
    moved = stage != (there.get("current_stage") or NO_STAGE)
    fixed = [*expected.losses, *_unlike(expected, head, there), *_static_losses(record)]
    if not _is_ours(record, there, shelf.stands):
        if changed or moved or fixed or tags != without_origin(here):
            raise ConflictError(
                f"another version has the number {head['version']} of {shelf.name!r}",
                f"at {sink.address}",
                experiment.RENAME,
            )
        return Written(id_, "same", losses=tuple(losses))
    wanted = {**tags, **_marks(sink, record, ids, job), **_place(shelf)}
    differing = {key: value for key, value in wanted.items() if here.get(key) != value}
    if not job.dry_run:
        if changed:
            sink.registry.update_version(shelf.name, head["version"], head.get("description") or "")
        for pair in differing.items():
            sink.registry.set_version_tag(shelf.name, head["version"], pair)
    if moved and not job.dry_run:
        losses += _stage(sink, shelf.name, head["version"], stage)
    return Written(id_, "updated" if changed or moved or differing else "same", losses=(*fixed, *losses))


def _expected(sink: Live, record: Record, ids: Ids, job: Writing) -> sources.Target:
    try:
        return sources.resolve(sink, record, ids, job)
    except NotFoundError:
        # It was made when what it was made of could still be found: nothing can be said against it now.
        return sources.Target("", "")


def _unlike(expected: sources.Target, head: Json, there: Json) -> Iterator[Loss]:
    """What of an existing version should be another, which no server can change."""
    for name, wanted in (("source", expected.source), ("run_id", expected.run_id)):
        has = there.get(name) or ""
        if expected.source and wanted != has:
            yield Loss("link", name, f"the destination has {has!r}, it should be {wanted!r}, and can't be changed")
    if expected.source and (head.get("run_link") or "") != (there.get("run_link") or ""):
        yield Loss("link", "run_link", "the destination has another one, which can't be changed")


def _stage(sink: Live, name: str, version: str, stage: str) -> list[Loss]:
    try:
        sink.registry.set_stage(name, version, stage)
    except ServerError as error:
        return [Loss("tag", "stage", error.why)]
    return []


def _marks(sink: Live, record: Record, ids: Ids, job: Writing) -> dict[str, str]:
    kept = {**registry.kept(record.head), **registry.lineage(record.head, job)}
    return {SOURCE_VERSION: origin(record), **kept, **sources.marks(sink, record, ids, job)}


def _place(shelf: Shelf) -> dict[str, str]:
    """Where a version came from, on one that is added to another model: the model tells it of its own."""
    return {registry.SOURCE: shelf.stands.source} if shelf.stands.joined else {}


def _tags(record: Record, ids: Ids) -> tuple[dict[str, str], list[Loss]]:
    """The tags as they are to stand at the destination, and the links that can't be tied there."""
    tags = without_origin(tags_of(record.head.get("tags")))
    losses = []
    for key in tags.keys() & RUN_TAGS:
        found = {id_: run_at(ids, id_) for id_ in run_ids_in(tags[key])}
        tags[key] = swap(tags[key], {old: new for old, new in found.items() if new})
        losses += [Loss("link", key, f"run {id_} is not at the destination") for id_, new in found.items() if not new]
    return tags, losses


@dataclass(frozen=True)
class _Maker:
    """Makes one version under its number."""

    sink: Live
    record: Record
    shelf: Shelf
    staged: bool = True

    def make(self, ids: Ids, job: Writing) -> Written:
        target = sources.resolve(self.sink, self.record, ids, job)
        tags, losses = _tags(self.record, ids)
        body = self._body(target, {**tags, **_marks(self.sink, self.record, ids, job), **_place(self.shelf)})
        number = int(self.record.head["version"])
        if self.shelf.past(number):
            raise _past(self.shelf, number)
        while self.shelf.highest is None or self.shelf.highest < number:
            # Until it is known which number comes next, the version itself is made, as the number may be the right one.
            whole = self.shelf.highest is None or self.shelf.highest + 1 == number
            made = self._create(body if whole else self._filler(body))
            self.shelf.highest = int(made["version"])
            if whole and self.shelf.highest == number:
                return self._whole(made, (*_static_losses(self.record), *target.losses, *losses))
            self.sink.registry.delete_version(self.shelf.name, made["version"])
        twin = self.sink.registry.get_version(self.shelf.name, str(number))
        if twin is not None and tags_of(twin.get("tags")).get(SOURCE_VERSION) == origin(self.record):
            # A network delivered the request twice: the first one made the version, the answer was the second one's.
            return self._whole(twin, (*_static_losses(self.record), *target.losses, *losses))
        raise _past(self.shelf, number)

    def add(self, ids: Ids, job: Writing) -> Written:
        """Make it under whatever number comes next."""
        target = sources.resolve(self.sink, self.record, ids, job)
        tags, losses = _tags(self.record, ids)
        marks = {**registry.lineage(self.record.head, job), ADDED_FROM: _added_from(self.record, job)}
        made = self._create(self._body(target, {**tags, **marks}))
        return self._whole(made, (*_static_losses(self.record), *target.losses, *losses))

    def _whole(self, made: Json, losses: tuple[Loss, ...]) -> Written:
        self.shelf.versions[int(made["version"])] = made
        stage = _stage_of(self.record) if self.staged else NO_STAGE
        if stage != NO_STAGE:
            losses = (*losses, *_stage(self.sink, self.shelf.name, made["version"], stage))
        return Written(version_id(self.shelf.name, made["version"]), "done", losses=losses)

    def _body(self, target: sources.Target, tags: dict[str, str]) -> Json:
        head = self.record.head
        fields = {
            "run_id": target.run_id,
            "model_id": target.model_id,
            "run_link": head.get("run_link"),
            "description": head.get("description"),
        }
        body = {"name": self.shelf.name, "source": target.source, "tags": pairs_of(tags)}
        return {**body, **{key: value for key, value in fields.items() if value}}

    def _filler(self, body: Json) -> Json:
        """A version that only takes up a number. A prompt's has to look like one."""
        prompt = registry.is_prompt(body)
        kept = [tag for tag in body["tags"] if tag["key"] == registry.IS_PROMPT]
        mark = {"key": PLACEHOLDER, "value": "true"}
        return {
            "name": body["name"],
            "source": body["source"] if prompt else ANYWHERE,
            "tags": [*kept, mark],
        }

    def _create(self, body: Json) -> Json:
        tags = tags_of(body["tags"])
        key = next(key for key in (PLACEHOLDER, ADDED_FROM, SOURCE_VERSION) if key in tags)
        return self.sink.registry.create_version(body, (key, tags[key]))
